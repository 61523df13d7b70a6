"""A server of several processes: each has all the listeners, and the system spreads peers over them.

The parent opens the sockets and keeps them, and its children serve. What peers send to a child that has
died waits in its socket until its successor serves it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from netecho import protocols
from netecho.errors import NetechoError
from netecho.plans import ListenPlan, ReactorName
from netecho.protocols._listener import OnEvent, Opened, Totals
from netecho.services import files, keylog, plan_json, tls
from netecho.services.certificates import Credentials
from netecho.services.echo_server import EchoServer, resolve_bind_address
from netecho.services.keys import read_key
from netecho.services.workers import (
    ENDED_WELL,
    FIRST_DESCRIPTOR,
    START_TIMEOUT,
    STOP_TIMEOUT,
    OnWorker,
    Parent,
    Worker,
    check_supported,
    start_each,
)

RESTART_FIRST: Final = 0.1
RESTART_LONGEST: Final = 5.0
"""Seconds before a worker that has died is replaced: twice as long after each that did not last as long as
the longest. One that does not even come up after the longest is the end."""
REPORT_INTERVAL: Final = 1.0
"""Seconds between what a worker tells of its totals, also if they are the same: it is what is known of them
if it is killed, and that it goes on."""


class ServerWorkers:
    """Runs a `ListenPlan` in as many processes as it says; see `EchoServer`, which runs it in this one.

    Args:
        reactor: runs us.
        plan: what they run.
        reactor_name: what they run on; its default if `None`.
        busy_poll_ns: for how long they look for events before they sleep.
        on_worker: told of workers as they come and go.
        on_event: told of connections as they come and go.
    """

    def __init__(
        self,
        reactor: Any,
        plan: ListenPlan,
        reactor_name: ReactorName | None,
        busy_poll_ns: int,
        on_worker: OnWorker,
        on_event: OnEvent | None = None,
    ) -> None:
        check_supported()
        self._reactor = reactor
        self._plan = plan
        self._reactor_name = reactor_name
        self._busy_poll_ns = busy_poll_ns
        self._on_worker = on_worker
        self._on_event = on_event
        self._posts: list[_Post] = []
        self.listeners: list[Opened] = []
        self.tls: tls.ServerContext | None = None
        """What secure listeners show; `None` if there are none."""
        self.failed: Deferred[None] = Deferred()
        """Fails when a worker that died cannot be replaced."""

    @property
    def totals(self) -> Totals:
        """What all workers have done, as far as they have told."""
        total = Totals()
        for post in self._posts:
            total.add(post.totals)
        return total

    async def start(self) -> None:
        """Open every listener, and have every worker serve them all.

        Raises:
            ListenError: a listener cannot be opened.
            UsageError: the plan names a certificate, key or cipher that is not usable.
            ResolveError: a host to listen on has no address.
            NetechoError: a worker did not come up.
        """
        plan = self._plan
        if plan.hmac_key is not None:
            read_key(plan.hmac_key)  # what is wrong with it is said once
        if plan.tls_hosts:
            self.tls = tls.for_server(plan.tls, plan.tls_hosts)
        try:
            for target in plan.listeners:
                address = await resolve_bind_address(self._reactor, target)
                self.listeners.append(protocols.for_target(target).open(address, plan.workers))
            bound = dataclasses.replace(plan, listeners=tuple(one.target for one in self.listeners))
            log = None if self.tls is None else self.tls.keylog
            lent, pipes = keylog.lend(plan.tls, log, FIRST_DESCRIPTOR + len(self.listeners))
            for index, share in enumerate(bound.split()):
                descriptors = [*(one.sockets[index].fileno() for one in self.listeners), *pipes]
                order = self._order(dataclasses.replace(share, tls=lent))
                post = _Post(self._reactor, index, order, descriptors, self._on_worker, self._tell)
                self._posts.append(post)
                post.failed.addErrback(self._fail)
            await start_each(self._posts, _Post.fill)
        except BaseException:
            self.close()
            self.abort()
            for post in self._posts:
                post.filled.addErrback(lambda _: None)  # the first failure is the one to tell
            await self._wait_for_all()
            raise

    def _order(self, share: ListenPlan) -> dict[str, Any]:
        made = None if self.tls is None else self.tls.made
        return {
            "work": "serve",
            "reactor": self._reactor_name,
            "busy_poll_ns": self._busy_poll_ns,
            "plan": plan_json.to_json(share),
            "files": files.kept(),
            "credentials": None if made is None else made.to_json(),
            "events": self._on_event is not None,
        }

    def _tell(self, name: str, particulars: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(name, particulars)

    def _fail(self, reason: Any) -> None:
        if not self.failed.called:
            self.failed.errback(reason)

    async def stop(self) -> None:
        """Have every worker answer what was received, end every connection, and end."""
        self._close_sockets()  # so that the last worker to close its own takes the address from the system
        for post in self._posts:
            post.leave(self._plan.drain_timeout_ns / 1e9 + STOP_TIMEOUT)
        await self._wait_for_all()

    async def _wait_for_all(self) -> None:
        for post in self._posts:
            await post.left

    def abort(self) -> None:
        """End every worker at once."""
        for post in self._posts:
            post.leave(0)

    def _close_sockets(self) -> None:
        for one in self.listeners:
            one.close()

    def close(self) -> None:
        """Close the sockets, and remove what TLS left in the file system."""
        self._close_sockets()
        if self.tls is not None:
            self.tls.close()


class _Post:
    """One worker's place, whoever holds it: when a worker dies, another one takes it."""

    def __init__(
        self,
        reactor: Any,
        index: int,
        order: Mapping[str, Any],
        descriptors: list[int],
        on_worker: OnWorker,
        on_event: OnEvent,
    ) -> None:
        self._reactor = reactor
        self._index = index
        self._order = order
        self._descriptors = descriptors
        self._on_worker = on_worker
        self._on_event = on_event
        self._worker: Worker | None = None
        self._before = Totals()
        self._now = Totals()
        self._serves_since: float | None = None
        self._pause = 0.0  # before the worker that is here now; the first has none
        self._successor: Any = None
        self._leaving = False
        self._aborted = False
        self.filled: Deferred[None] = Deferred()
        """Fires when the first worker serves; fails if it does not come so far."""
        self.failed: Deferred[None] = Deferred()
        """Fails when one that died cannot be replaced."""
        self.left: Deferred[None] = Deferred()
        """Fires when, after `leave`, nobody is here any more."""

    @property
    def totals(self) -> Totals:
        """What all who held it have done."""
        total = Totals()
        total.add(self._before)
        total.add(self._now)
        return total

    def fill(self) -> Deferred[None]:
        """Start a worker; return `filled`."""
        self._successor, self._serves_since = None, None
        self._worker = worker = Worker(self._reactor, self._told, self._ended)
        try:
            worker.start(self._order, self._descriptors)
        except OSError as error:
            self._ended(f"was refused by the system: {error.strerror or error}")
        else:
            worker.kill_after(START_TIMEOUT, "it did not come up")
        return self.filled

    def _told(self, message: dict[str, Any]) -> None:
        worker = self._worker
        if worker is None:
            return
        if "totals" in message:
            self._now = Totals(**message["totals"])
        elif "event" in message:
            self._on_event(message["event"], {**message["particulars"], "worker": self._index})
        elif self._serves_since is None:
            self._serves_since = self._reactor.seconds()
            worker.expect_news()  # the system goes on giving peers to one that has none
            if not self._leaving:
                worker.spare()
            self._on_worker("worker_started", {"worker": self._index, "pid": worker.pid})
            if not self.filled.called:
                self.filled.callback(None)

    def _ended(self, how: str) -> None:
        pid = 0 if self._worker is None else self._worker.pid
        self._worker = None
        self._before, self._now = dataclasses.replace(self.totals, open=0), Totals()
        if self._leaving:
            if not (self._aborted or how.startswith(ENDED_WELL)):
                self._on_worker("worker_died", {"worker": self._index, "pid": pid, "reason": how})
            self.left.callback(None)
        elif not self.filled.called:
            self._leaving = True
            self.left.callback(None)
            self.filled.errback(NetechoError(f"a worker did not start: it {how}"))
        else:
            self._replace(pid, how)

    def _replace(self, pid: int, how: str) -> None:
        """Start another one after a pause, unless none has come up for too long."""
        since = self._serves_since
        if since is None and self._pause >= RESTART_LONGEST:
            self._leaving = True
            self.left.callback(None)
            self.failed.errback(NetechoError(f"worker {self._index} does not start again: it {how}"))
            return
        if since is not None and self._reactor.seconds() - since > RESTART_LONGEST:
            self._pause = 0.0
        self._pause = pause = min(2 * self._pause, RESTART_LONGEST) or RESTART_FIRST
        self._on_worker(
            "worker_died",
            {"worker": self._index, "pid": pid, "reason": how, "restart_ns": round(pause * 1e9)},
        )
        self._successor = self._reactor.callLater(pause, self.fill)

    def leave(self, patience: float) -> None:
        """Have whoever is here end, within so many seconds; if 0, at once. Nobody comes after."""
        self._leaving = True
        self._aborted = not patience
        if self._successor is not None:
            self._successor.cancel()
            self._successor = None
        if self._worker is not None:
            self._worker.let_go()
            if patience:
                self._worker.kill_after(patience, "it did not end")
            else:
                self._worker.kill()
        elif not self.left.called:
            self.left.callback(None)


async def serve_share(reactor: Any, parent: Parent, order: Mapping[str, Any]) -> None:
    """Carry out a worker's order: serve until the parent lets us go, then end in order.

    Raises:
        NetechoError: it cannot be done.
    """
    files.keep(order["files"])
    plan = plan_json.from_json(ListenPlan, order["plan"])
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(plan.listeners))
    credentials = None if order["credentials"] is None else Credentials.from_json(order["credentials"])

    def tell(name: str, particulars: dict[str, Any]) -> None:
        parent.tell({"event": name, "particulars": particulars})

    def report() -> None:
        parent.tell({"totals": dataclasses.asdict(server.totals)})

    server = EchoServer(reactor, plan, tell if order["events"] else None, descriptors, credentials)
    await server.start()
    parent.tell({"serving": True})
    reports = LoopingCall(report)
    reports.clock = reactor
    reports.start(REPORT_INTERVAL, now=False)
    try:
        await parent.gone
        await server.stop()
    finally:
        reports.stop()
        server.abort()
        server.close()
        report()
