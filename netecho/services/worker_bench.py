"""A bench of several processes: each carries out a part of the plan, and what they record adds up exactly.

All connect, begin at one moment, and tell what has happened at the end of each interval and at their own
end. Of one that dies all is known up to what it last told, and the result says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from netecho import protocols
from netecho.errors import ConnectError, NetechoError
from netecho.measure.flows import OF_FLOWS
from netecho.measure.intervals import Interval
from netecho.measure.merging import Account, merge, so_far_of
from netecho.measure.parts import Part
from netecho.measure.progress import Progress
from netecho.measure.prospects import out_of_reach
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary
from netecho.plans import SECOND, BenchPlan, ReactorName
from netecho.protocols._contract import Adapter, Route
from netecho.services import files, keylog, plan_json
from netecho.services.benchmark import Benchmark
from netecho.services.conclusion import conclude
from netecho.services.intervals import OnInterval, OnProgress
from netecho.services.routing import route_by
from netecho.services.worker_progress import STAGES, Board, Tick
from netecho.services.workers import (
    FIRST_DESCRIPTOR,
    START_TIMEOUT,
    STOP_TIMEOUT,
    OnWorker,
    Parent,
    Worker,
    check_supported,
    start_each,
)

NOTICE_NS: Final = 50_000_000
"""How long before the moment at which all begin they are told of it."""


class BenchWorkers:
    """Runs a `BenchPlan` in as many processes as it says; see `Benchmark`, which runs it in this one.

    Args:
        reactor: runs us.
        plan: what they run together.
        reactor_name: what they run on; its default if `None`.
        adapter: the target's protocol.
        route: the way to the target, resolved.
        on_progress: told of all of them together, once every interval.
        on_worker: told of workers as they come and die.
        on_interval: told of each interval of what is measured, with all that they recorded in it together;
            of the same time again, if a worker tells late.
    """

    def __init__(
        self,
        reactor: Any,
        plan: BenchPlan,
        reactor_name: ReactorName | None,
        adapter: Adapter,
        route: Route,
        on_progress: OnProgress,
        on_worker: OnWorker,
        on_interval: OnInterval | None = None,
    ) -> None:
        check_supported()
        self._reactor = reactor
        self._plan = plan
        self._reactor_name = reactor_name
        self._adapter = adapter
        self._route = route
        shares = plan.split(plan.workers)
        board = Board(plan, len(shares), self._ticked, on_interval)
        self._members = [
            _Member(reactor, index, share, board, on_worker) for index, share in enumerate(shares)
        ]
        self._on_progress = on_progress
        self._objectives = tuple(map(Objective.parse, plan.slo))
        self._out_of_reach: tuple[Objective, ...] = ()
        self.interrupted = False

    async def run(self) -> None:
        """Run the plan to its end, or until `interrupt`.

        Raises:
            NetechoError: not one connection could be opened.
        """
        members = self._members
        try:
            await start_each(members, self._start)
            for member in members:
                await member.connected
            if not self.interrupted:
                at_ns = time.monotonic_ns() + NOTICE_NS
                for member in members:
                    member.worker.tell({"begin_ns": at_ns})
            for member in members:
                await member.ended
        finally:
            for member in members:
                member.worker.kill()
        if not self.interrupted and not any(member.account.part.connections.opened for member in members):
            raise self._failure()

    def _start(self, member: _Member) -> Deferred[None]:
        # What was resolved once is counted once.
        resolve_ns = self._route.resolve_ns if member is self._members[0] else None
        order, descriptors = self._order(member.share)
        return member.start({**order, "resolve_ns": resolve_ns}, descriptors)

    def _order(self, share: BenchPlan) -> tuple[dict[str, Any], list[int]]:
        """Return a worker's order, and the descriptors that it inherits."""
        log = None if self._route.tls is None else self._route.tls.keylog
        lent, pipes = keylog.lend(share.tls, log, FIRST_DESCRIPTOR)
        plan = dataclasses.replace(share, tls=lent, slo=(), abort_on_fail=False)
        order = {
            "work": "bench",
            "reactor": self._reactor_name,
            "busy_poll_ns": share.busy_poll_ns,
            "plan": plan_json.to_json(plan),
            "files": files.kept(),
            "addresses": self._route.addresses,
        }
        return order, pipes

    def _failure(self) -> NetechoError:
        """Return why there was not one connection."""
        for member in self._members:
            if member.failure is not None:
                return ConnectError(member.failure)
        return NetechoError(f"no worker came so far as to connect: the first {self._members[0].how}")

    def interrupt(self) -> None:
        """Stop now, with what has been recorded so far."""
        self.interrupted = True
        for member in self._members:
            member.interrupt()

    def summary(self, started: str, system: Mapping[str, Any]) -> Summary:
        """Return what the run means; see `Benchmark.summary`."""
        total = dataclasses.replace(self._total(), interrupted=self.interrupted)
        return conclude(total, self._plan, self._adapter, started, system, self._out_of_reach)

    def _total(self) -> Part:
        return merge(member.account.part for member in self._members)

    def _ticked(self, progress: Progress) -> None:
        """Show where all are together, and end the run if an objective cannot be met any more."""
        self._on_progress(progress)
        if not self._plan.abort_on_fail or progress.phase != "measuring" or not progress.whole:
            return
        so_far = so_far_of(self._total())
        self._out_of_reach = out_of_reach(self._objectives, self._plan, so_far, progress.elapsed_ns)
        if self._out_of_reach:
            for member in self._members:
                member.worker.tell({"stop": True})


class _Member:
    """One of the workers, and what it has told."""

    def __init__(self, reactor: Any, index: int, share: BenchPlan, board: Board, on_worker: OnWorker) -> None:
        self._index = index
        self._board = board
        self._on_worker = on_worker
        self._interrupted = False
        self.share = share
        self.worker = Worker(reactor, self._told, self._ended)
        self.account = Account(share.connections)
        self.failure: str | None = None
        """Why it has not a single connection."""
        self.how = "goes on"
        """How it ended."""
        self.up: Deferred[None] = Deferred()
        """Fires when it has something to say, or has ended."""
        self.connected: Deferred[None] = Deferred()
        """Fires when it has opened its connections, as far as it could, or has ended."""
        self.ended: Deferred[None] = Deferred()

    def start(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> Deferred[None]:
        """Start it, with descriptors that it inherits, unless it was interrupted before; return `up`."""
        if self._interrupted:
            self._ended("was not started")
            return self.up
        try:
            self.worker.start(order, descriptors)
        except OSError as error:
            self._ended(f"was refused by the system: {error.strerror or error}")
        else:
            self.worker.kill_after(START_TIMEOUT, "it did not come up")
        return self.up

    def interrupt(self) -> None:
        """Have it end with what it has; if it is not up yet, that is nothing."""
        self._interrupted = True
        if not self.up.called:
            self.worker.kill()
            return
        self.worker.tell({"interrupt": True})
        self.worker.kill_after(STOP_TIMEOUT, "it did not end")

    def _told(self, message: dict[str, Any]) -> None:
        if not self.up.called:
            if self._interrupted:  # which has ended it
                return
            self.worker.expect_news()  # all would wait for one that has none, for ever
            self.worker.spare()
            self._on_worker("worker_started", {"worker": self._index, "pid": self.worker.pid})
            self.up.callback(None)
        if "part" not in message:
            return
        part = Part.from_json(message["part"])
        tick = Tick(**message["tick"]) if "tick" in message else None
        # Only what is measured has intervals in the result.
        measuring = tick is None or STAGES[tick.phase] == STAGES["measuring"]
        self.account.told(part if measuring else dataclasses.replace(part, intervals=()))
        if tick is not None:
            self._board.told(self._index, tick, part)
        self.failure = self.failure or message.get("failure")
        if "connected" in message:
            self.failure = message["connected"]["failure"]
            if not self.connected.called:
                self.connected.callback(None)

    def _ended(self, how: str) -> None:
        self.how = how
        if self._interrupted and not self.up.called:  # we have ended it, or whoever told us to
            self.account.told(dataclasses.replace(self.account.part, whole=True))
        if not self.account.ended():
            self._on_worker("worker_died", {"worker": self._index, "pid": self.worker.pid, "reason": how})
        self._board.left(self._index, self.account.part)
        for fired in (self.up, self.connected):
            if not fired.called:
                fired.callback(None)
        self.ended.callback(None)


async def bench_share(reactor: Any, parent: Parent, order: Mapping[str, Any]) -> None:
    """Carry out a worker's order: run a part of a plan, and tell the parent what was recorded.

    Raises:
        NetechoError: it cannot be done.
    """
    files.keep(order["files"])
    plan = plan_json.from_json(BenchPlan, order["plan"])
    route = route_by(tuple(order["addresses"]), plan)
    route = dataclasses.replace(route, resolve_ns=order["resolve_ns"])
    begin: Deferred[int] = Deferred()
    stage = number = 0

    async def when_connected() -> None:
        # Before the moment that all agree on, not after it as `Benchmark` does.
        gc.collect()
        gc.freeze()
        failure = benchmark.roster.first_failure if not benchmark.connections.opened else None
        parent.tell(
            {
                "connected": {"failure": None if failure is None else str(failure)},
                "part": told_of(benchmark, (), 0).to_json(),
            }
        )
        wait_ns = await begin - benchmark.clock()
        if wait_ns > 0:
            await deferLater(reactor, wait_ns / SECOND)

    def on_tick(progress: Progress) -> None:
        nonlocal stage, number
        number = number + 1 if STAGES[progress.phase] == stage else 0
        stage = STAGES[progress.phase]
        elapsed_ns = progress.elapsed_ns if stage == STAGES["measuring"] else 0
        part = told_of(benchmark, benchmark.recorder.intervals[-1:], elapsed_ns)
        tick = Tick.of(progress, number)
        parent.tell({"tick": dataclasses.asdict(tick), "part": part.to_json()})

    def on_message(message: dict[str, Any]) -> None:
        if "interrupt" in message:
            benchmark.interrupt()
        elif "stop" in message:
            benchmark.stop_sending()
        elif not begin.called:
            begin.callback(message["begin_ns"])

    adapter = protocols.for_target(plan.target)
    key = secrets.randbits(32)
    benchmark = Benchmark(reactor, plan, adapter, route, key, when_connected=when_connected, on_tick=on_tick)
    parent.tell({"hello": True})
    parent.hear(on_message)
    parent.gone.addCallback(lambda _: benchmark.interrupt())
    with contextlib.suppress(NetechoError):  # not one connection, as has been told
        await benchmark.run()
    whole = dataclasses.replace(benchmark.part(), intervals=())  # which have been told
    failure = benchmark.roster.first_failure
    parent.tell({"part": whole.to_json(), "failure": None if failure is None else str(failure)})


def told_of(benchmark: Benchmark, intervals: Iterable[Interval], elapsed_ns: int) -> Part:
    """Return what a worker tells while it goes on: of times, nothing but the intervals given."""
    part = benchmark.part()
    return dataclasses.replace(
        part,
        distributions={name: part.distributions[name] for name in OF_FLOWS if name in part.distributions},
        flows=(),
        intervals=tuple(intervals),
        elapsed_ns=elapsed_ns,
        whole=False,
    )
