"""Connections that are closed in order in the middle of a run: between exchanges, so that none is lost by it.

One that retires sends nothing more, and is closed when all that it has sent has come back, or is given up.
A plan with lifetimes has them opened anew then; in one with stages of connections they are not missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from netecho.plans import SECOND
from netecho.services.bench_connection import Connection
from netecho.services.open_loop import PacedConnection

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from netecho.services.benchmark import Benchmark


class Retiring(Connection):
    """A closed loop's connection that may retire.

    Until it does, its hot path is that of any other connection.
    """

    def __init__(self, benchmark: Benchmark, number: int, *more: Any) -> None:
        super().__init__(benchmark, number, *more)
        self._retired: Callable[[], object] | None = None
        """What to do when it has; `None` if it does not retire."""
        self._gone = False
        """Whether it is not opened again."""
        self._end_of_life: Any = None
        self._lives = 0

    def retire(self, retired: Callable[[], object]) -> None:
        """Send nothing more, close when nothing is in flight any more, and then call `retired`."""
        self._gone = True
        self._let_end(retired)

    def _let_end(self, retired: Callable[[], object]) -> None:
        self._cancel_end_of_life()
        self._retired = retired
        self._made = ()  # which brings every echo to `send`
        self._stop_taking()
        if not self.flow.in_flight:
            self._finish()

    def start(self) -> None:
        """Begin to carry exchanges, for a lifetime if there is one."""
        self._begin_life()
        super().start()

    def send(self) -> None:
        """Send the next exchange, or close after the last."""
        if self._retired is None:
            super().send()
            return
        self._took_back()
        if not self.flow.in_flight:
            self._finish()

    def reopen_later(self) -> None:
        """Connect again, unless it was to close anyhow."""
        retired, self._retired = self._retired, None
        self._made = () if self._counted else self._benchmark.payload.made
        if not self._gone:
            super().reopen_later()
        elif retired is not None:
            retired()

    def _wanted(self) -> bool:
        return super()._wanted() and not self._gone

    def close(self) -> Deferred[None] | None:
        """See `Connection.close`."""
        self._cancel_end_of_life()
        return super().close()

    def _lost(self, reason: Failure) -> None:
        self._cancel_end_of_life()
        super()._lost(reason)

    def _stop_taking(self) -> None:
        """Take nothing more that is due."""

    def _took_back(self) -> None:
        """Note that an exchange has ended whose place nothing takes."""

    def _finish(self) -> None:
        """Close in order; if the other end does not, by force, but only after the timeout."""
        benchmark = self._benchmark
        exchanger = self._exchanger
        retired, self._retired = self._retired, None
        self._made = () if self._counted else benchmark.payload.made
        self.close()
        if exchanger is not None and benchmark.plan.target.secure:
            # TLS waits for the other end to close too. For one that has closed this does nothing.
            benchmark.reactor.callLater(
                benchmark.plan.timeout_ns / SECOND, exchanger.transport.abortConnection
            )
        if retired is not None:
            retired()

    def _begin_life(self) -> None:
        lifetime_ns = self._benchmark.plan.connections_lifetime_ns
        if lifetime_ns is None:
            return
        # All would end their lives together, again and again, if their first ones were as long.
        share = 1.0 if self._lives else self.first_life
        self._lives += 1
        self._end_of_life = self._benchmark.reactor.callLater(lifetime_ns / SECOND * share, self._renew)

    def _renew(self) -> None:
        """Be closed, and opened anew."""
        benchmark = self._benchmark

        def retired() -> None:
            benchmark.roster.churned += benchmark.is_measuring
            Deferred.fromCoroutine(self.reopen()).addErrback(benchmark.fail)

        if benchmark.sending:
            self._let_end(retired)

    def _cancel_end_of_life(self) -> None:
        call, self._end_of_life = self._end_of_life, None
        if call is not None and call.active():
            call.cancel()


class PacedRetiring(Retiring, PacedConnection):
    """An open loop's connection that may retire."""

    def _stop_taking(self) -> None:
        self._lane.leave(self, 0)

    def _took_back(self) -> None:
        self._lane.forgo()
        if self._lane.holdback.waiting:
            self._loop.release(self._lane)

    def _leave(self) -> None:
        if self._retired is None:
            super()._leave()
            return
        for _ in range(self.flow.in_flight):
            self._lane.forgo()
