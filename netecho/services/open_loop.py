"""An open loop: what is due leaves on time, whatever has come back, and what cannot is held back.

One timer wakes it for the next exchange that is due, and all that are due by then leave together. The
bookkeeping is in `measure/`: `pacing` says what is due, `holdback` keeps what waits, `recorder` counts.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netecho.measure.holdback import HeldBack, Holdback
from netecho.measure.pacing import Agenda, Schedule, lanes_of
from netecho.measure.payload import PERIOD
from netecho.measure.sending import Sending
from netecho.plans import SECOND, BenchPlan, Timer, share
from netecho.services.bench_connection import Connection
from netecho.services.lanes import Lane, PlacesLane, RoomLane
from netecho.services.timing import HybridTimer, SimpleTimer

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

BURST: Final = 64
"""Overdue exchanges that leave in one turn of the reactor, so that echoes are read in between."""
_FEW: Final = 32
_MANY: Final = 4096
"""Samples kept until they are counted: a few if there is nothing to do, many if there is."""
_IDLE_NS: Final = 50_000
"""With so long until the next exchange is due, there is nothing to do."""


class PacedConnection(Connection):
    """A connection that sends when it is told to, and not when an echo has come."""

    def __init__(self, benchmark: Benchmark, number: int, loop: OpenLoop, lane: Lane) -> None:
        super().__init__(benchmark, number)
        self._loop = loop
        self._lane = lane

    def start(self) -> None:
        """Carry what is due from now on, and what waits."""
        self._lane.enter(self)
        self._loop.release(self._lane)

    def send(self) -> None:
        """Have another exchange in the place of one that has ended, as soon as there is one to send."""
        lane = self._lane
        lane.give(self)
        if lane.holdback.waiting:
            self._loop.release(lane)

    def depart(self, due_ns: int, *, held_back: bool = False) -> None:
        """Send the exchange that was due at that time."""
        exchanger, made = self._exchanger, self._made
        if exchanger is None:
            raise AssertionError("a lane gives out open connections only")
        sequence = self.flow.sent(due_ns, self._clock(), self._benchmark.size, held_back=held_back)
        exchanger.send(sequence, made[sequence % PERIOD] if made else self._make(sequence))

    def close(self) -> Deferred[None] | None:
        """See `Connection.close`."""
        self._leave()
        return super().close()

    def _lost(self, reason: Failure) -> None:
        self._leave()
        super()._lost(reason)

    def _leave(self) -> None:
        if self._loop.is_sending:
            self._lane.leave(self, self.flow.in_flight)


class OpenLoop:
    """Sends what the schedules of a plan have due, over the connections of its benchmark.

    Args:
        benchmark: whose connections and recorder they are, and who is told when all has left.
        plan: says what is due when.
        kind: what its connections are.
        is_datagram: connections carry any number of exchanges at once.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        plan: BenchPlan,
        kind: type[PacedConnection] = PacedConnection,
        *,
        is_datagram: bool,
    ) -> None:
        self._benchmark = benchmark
        self._kind = kind
        self._plan = plan
        self._reactor: Any = benchmark.reactor
        self._clock = benchmark.clock
        schedules = lanes_of(plan)
        self._planned_ns = max((one.length_ns or 0 for one in schedules), default=0)
        # Beginning is quick if the first exchanges are worked out already.
        self._measured = Agenda(schedules)
        self._warmup = Agenda(_warmup_of(plan) if plan.warmup_ns else ())
        self._agenda = self._warmup
        count = len(schedules)
        self._lanes: list[Lane] = [
            RoomLane(max(1, share(plan.max_in_flight, count, number)))
            if is_datagram
            else PlacesLane(plan.pipeline)
            for number in range(count)
        ]
        self._new_timer = HybridTimer if plan.timer is Timer.HYBRID else SimpleTimer
        self._timer: HybridTimer | SimpleTimer = self._new_timer()
        self._begun_ns = self._last_ns = 0
        self._last_due_ns = 0
        self._stopped_ns: int | None = None
        self.is_sending = False
        """Whether anything may still leave."""
        self._has_ended = False
        self._call: Any = None

    @property
    def awake_ns(self) -> int:
        """How long it has waited awake for what is measured, or sent before: processor time for nothing."""
        return self._timer.awake_ns

    def connection(self, number: int) -> PacedConnection:
        """Return a connection that is to be opened, by its number from 0."""
        return self._kind(self._benchmark, number, self, self._lanes[number % len(self._lanes)])

    def begin(self, begun_ns: int, *, warmup: bool = False) -> None:
        """Begin to send: what is measured, or what is sent before. What waited until now never leaves.

        Args:
            begun_ns: the time from which the schedule counts.
            warmup: it is the warm-up that begins.
        """
        self._cancel()
        self._agenda = self._warmup if warmup else self._measured
        self._begun_ns = self._last_ns = self._last_due_ns = begun_ns
        self._timer = self._new_timer()
        for lane in self._lanes:
            lane.holdback = Holdback()
        self.is_sending = True
        self._send_due()

    def end(self) -> None:
        """Nothing more becomes due. What waits may still leave, until the timeout of an exchange is over."""
        self._cancel()
        if self.is_sending:
            self._catch_up(self._clock() - self._begun_ns)

    def _catch_up(self, until_ns: int) -> None:
        """Send the last of what was due, little by little: at a rate that nobody keeps up with it is much."""
        due = self._agenda.due_until(until_ns, BURST)
        self._depart(due)
        if not self.is_sending:  # the last connection was lost
            return
        if len(due) == BURST:
            self._call = self._reactor.callLater(0, self._catch_up, until_ns)
            return
        self._has_ended = True
        self._call = self._reactor.callLater(self._plan.timeout_ns / SECOND, self._benchmark.stop_sending)
        self._stop_if_complete()

    def stop(self) -> None:
        """Send nothing more: what waits never leaves."""
        if self.is_sending:
            self.is_sending = False
            self._stopped_ns = self._clock()
            self._cancel()

    def release(self, lane: Lane) -> None:
        """Send what waits in a lane, as far as it has connections for it, in the order it was due."""
        holdback = lane.holdback
        while self.is_sending and holdback.waiting and (connection := lane.take()) is not None:
            now = self._last_ns = self._clock()
            connection.depart(holdback.release(now), held_back=True)
        if self._agenda.next_due_ns is None:
            self._stop_if_complete()

    def kept(self) -> Sending:
        """Return how well the schedule of what is measured has been kept to, so far or in the end."""
        if self._agenda is not self._measured:
            return Sending(0, 0, 0, 0)
        until_ns = self._clock() if self._stopped_ns is None else self._stopped_ns
        planned_ns = max(self._planned_ns, self._last_due_ns - self._begun_ns)
        if self._agenda.next_due_ns is not None:
            planned_ns = min(planned_ns, until_ns - self._begun_ns)
        held_back = [lane.holdback.totals(until_ns) for lane in self._lanes]
        return Sending(
            due=self._agenda.due,
            sent=self._benchmark.measured.counts.sent,
            planned_ns=planned_ns,
            took_ns=self._last_ns - self._begun_ns,
            held_back=sum(held_back, HeldBack()),
        )

    def _send_due(self) -> None:
        """Send what is due, and come back when something is again."""
        self._call = None
        self._depart(self._agenda.due_until(self._clock() - self._begun_ns, BURST))
        if not self.is_sending:  # the last connection was lost
            return
        next_ns = self._agenda.next_due_ns
        if next_ns is None:
            self._stop_if_complete()
            return
        now_ns = self._clock()
        wait_ns = max(0, self._begun_ns + next_ns - now_ns)
        done = self._agenda.due + self._benchmark.recorder.counts.completed
        sleep_ns = self._timer.sleep_ns(wait_ns, now_ns, done)
        self._call = self._reactor.callLater(sleep_ns / SECOND, self._send_due)
        if wait_ns > _IDLE_NS:
            self._benchmark.recorder.flush_one(_FEW)
        elif len(self._benchmark.recorder.response_samples) > _MANY:
            self._benchmark.recorder.flush()

    def _depart(self, due: list[tuple[int, int]]) -> None:
        """Send what is due, each on its lane, or hold it back."""
        begun_ns, lanes = self._begun_ns, self._lanes
        now_ns, late = self._clock(), self._benchmark.recorder.lateness_samples
        for due_ns, number in due:
            lane = lanes[number]
            connection = lane.take()
            if connection is None:
                lane.holdback.hold(begun_ns + due_ns)
                # Had we come in time, there might have been a connection free.
                late.append(now_ns - begun_ns - due_ns)
            else:
                connection.depart(begun_ns + due_ns)
        if due:
            self._last_due_ns = begun_ns + due[-1][0]
            self._last_ns = self._clock()

    def _stop_if_complete(self) -> None:
        """Stop when all has left that was to: a number of exchanges, or what was due in a time."""
        has_all = self._agenda is self._measured and self._agenda.due == self._plan.exchanges
        if (
            self.is_sending
            and (self._has_ended or has_all)
            and not any(lane.holdback.waiting for lane in self._lanes)
        ):
            self._benchmark.stop_sending()

    def _cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()


def _warmup_of(plan: BenchPlan) -> tuple[Schedule, ...]:
    """Return the schedules of what is sent before measuring: at the rate that is begun with."""
    portion = None if plan.portion is None else dataclasses.replace(plan.portion, exchanges=None)
    return lanes_of(
        dataclasses.replace(
            plan,
            duration_ns=plan.warmup_ns,
            exchanges=None,
            stages=(),
            connections_stages=(),
            portion=portion,
        )
    )
