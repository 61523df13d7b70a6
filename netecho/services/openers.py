"""What a connection costs: each exchange is one that is opened, and closed again in order.

An `Opener` is a place for one such connection at a time, as a `Connection` is for exchanges: to the schedule,
the recorder and the result it makes no difference. An exchange is completed when the connection is there, or
the TLS handshake is over; the place is free for the next when both ends have closed it. We close first, so
that it is our port that is kept for a minute (TIME_WAIT, RFC 9293 section 3.6.1); a reset in place of that
would be cheaper, and another thing than what clients do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netecho.errors import NetechoError, ResolveError
from netecho.measure.flow import Flow
from netecho.measure.setup import CONNECT, HANDSHAKE, HANDSHAKE_RESUMED, RESOLVE, Setup
from netecho.plans import Mode
from netecho.protocols._contract import Route
from netecho.services.bench_connection import Connection
from netecho.services.open_loop import PacedConnection
from netecho.services.opening import Opening
from netecho.services.resolving import connect_failure, is_name, resolve
from netecho.services.sessions import is_resumed

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

UNCLOSED: Final = "close timeout"
"""The kind of failure of a connection that the other end did not close in time."""


class _Visit(Protocol):
    """A connection that carries nothing."""

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.alert: Failure | None = None
        """By which the other end has ended it, if it has; it may refuse us after our end of a handshake."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say so, whoever ended it."""
        if reason.check(SSL.Error):
            self.alert = reason
        self.ended.callback(None)


class Opener(Connection):
    """A place in which connections are opened and closed, one after another.

    What begins the next one is for the two loops to say: `LoopedOpener` and `PacedOpener`.
    """

    def __init__(self, benchmark: Benchmark, number: int, *more: Any) -> None:
        super().__init__(benchmark, number, *more)
        plan = benchmark.plan
        self._with_tls = plan.mode is Mode.HANDSHAKE
        self._resolves = plan.target.path is None and is_name(plan.target.host)
        if not self._with_tls:
            self._route = dataclasses.replace(self._route, tls=None)
        self._attempt: Deferred[None] | None = None
        self._answered = True
        self._closing = False
        self._retired: Callable[[], object] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the other end has answered, when it was last asked."""
        return self._answered

    async def open(self) -> None:
        """Do nothing: what is opened from now on is measured."""

    def depart(self, due_ns: int, *, held_back: bool = False) -> None:
        """Open the connection that was due at that time, and close it."""
        begun = self._clock()
        self.flow = flow = Flow(self._benchmark.recorder)
        flow.sent(due_ns, begun, 0, held_back=held_back)
        self._attempt = Deferred.fromCoroutine(self._open_and_close(flow, begun))
        self._attempt.addErrback(self._went_wrong)

    def _went_wrong(self, failure: Failure) -> None:
        if not self._closing:
            self._benchmark.fail(failure)

    async def _open_and_close(self, flow: Flow, begun_ns: int) -> None:
        """Make one exchange, from its beginning until the place is free again."""
        benchmark = self._benchmark
        try:
            visit, ended_ns = await self._open(flow.recorder.setup, begun_ns)
            if self._with_tls:  # and the other end may not have accepted us yet
                await self._close(visit)
        except NetechoError as failure:
            if self._closing:
                return
            now = self._clock()
            flow.end(failure.kind)
            benchmark.opening_failed(failure)
            benchmark.exchange_lost(now)
            self._answered = False
            # Nobody is helped by being asked at once again. A schedule asks when it says, but not in this
            # very turn, in which it may be sending.
            await deferLater(benchmark.reactor, 0.0 if benchmark.plan.open_loop else self.backoff.pause())
        else:
            self._answered = True
            self.backoff.reset()
            flow.replied(0, ended_ns, 0)
            if self._with_tls:
                ended_ns = self._clock()
            else:
                await self._close(visit)
            benchmark.exchange_ended(ended_ns)
        self._attempt = None
        if self._retired is None:
            self.send()
        else:
            self._retired()

    async def _open(self, setup: Setup, begun_ns: int) -> tuple[_Visit, int]:
        """Open a connection; return it, and when the exchange was completed by that.

        Raises:
            NetechoError: it did not connect, or the handshake failed.
        """
        benchmark = self._benchmark
        visit = _Visit()
        opening = None
        try:
            route = await self._find(setup, begun_ns)
            opening = Opening(self._clock)
            await benchmark.adapter.visit(benchmark.reactor, route, visit, opening.on_connected)
        except Exception:
            raise connect_failure(Failure(), benchmark.plan.target, opening) from None
        opened = self._clock()
        if opening.connect_ns is not None:
            setup.took(CONNECT, opening.connect_ns)
        if not self._with_tls:
            return visit, opening.connected_ns or opened
        benchmark.agreed(visit.transport)
        resumed = benchmark.plan.resume and is_resumed(visit.transport)
        setup.took(HANDSHAKE_RESUMED if resumed else HANDSHAKE, opening.handshake_ns(opened))
        return visit, opened

    async def _find(self, setup: Setup, begun_ns: int) -> Route:
        """Return the way there, found anew if the target has a name."""
        if not self._resolves:
            return self._route
        benchmark = self._benchmark
        target, sockets = benchmark.plan.target, benchmark.plan.sockets
        found = Deferred.fromCoroutine(
            resolve(benchmark.reactor, target.host, target.port, sockets, benchmark.adapter.kind)
        )
        try:
            addresses = await found.addTimeout(self._route.timeout, benchmark.reactor)
        except DeferredTimeoutError:
            raise ResolveError(f"{target.host} was not resolved in time: wait longer with -w") from None
        setup.took(RESOLVE, self._clock() - begun_ns)
        return dataclasses.replace(self._route, addresses=addresses)

    async def _close(self, visit: _Visit) -> None:
        """Close a connection in order, or by force if the other end does not do so in time.

        Raises:
            NetechoError: the other end refused it. In TLS 1.3 it says so when our end of the handshake is
                over: that our certificate is missing or wrong, for one.
        """
        benchmark = self._benchmark

        def abort() -> None:
            benchmark.recorder.failed(UNCLOSED)
            visit.transport.abortConnection()

        benchmark.closing += 1
        if self._with_tls:
            visit.transport.loseConnection()
        else:  # which would not wait for the other end
            visit.transport.loseWriteConnection()
        patience = benchmark.reactor.callLater(self._route.timeout, abort)
        try:
            await visit.ended
        finally:
            benchmark.closing -= 1
            if patience.active():
                patience.cancel()
        if visit.alert is not None:
            raise connect_failure(visit.alert, benchmark.plan.target)

    def retire(self, retired: Callable[[], object]) -> None:
        """Begin nothing more, and call `retired` when what is under way has ended."""
        self._retired = retired
        if self._attempt is None:
            retired()

    def expire(self, now_ns: int) -> None:
        """Do nothing: each piece of an attempt has its own time-out."""

    def close(self) -> Deferred[None] | None:
        """Give up what is under way."""
        self._closing = True
        parted = super().close()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        return parted


class LoopedOpener(Opener):
    """Opens a connection when the last one has been closed."""

    def start(self) -> None:
        """Open the first."""
        self.send()

    def send(self) -> None:
        """Open the next, if there is to be one."""
        benchmark = self._benchmark
        if benchmark.sending and not (self._counted and not benchmark.take_turn()):
            self.depart(self._clock())


class PacedOpener(Opener, PacedConnection):
    """Opens a connection when one is due."""

    def retire(self, retired: Callable[[], object]) -> None:
        """See `Opener.retire`."""
        self._lane.leave(self, 0 if self._attempt is None else 1)
        super().retire(retired)
