"""The timeouts of a benchmark: what has waited too long is given up, be it an exchange or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.task import LoopingCall

from netecho.plans import SECOND
from netecho.protocols._backoff import LONGEST

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

SWEEPS_PER_TIMEOUT: Final = 20
"""How often in one timeout its expiry is looked for."""
GRACE: Final = 5
"""How often it is not looked for after a time in which the client did not run."""
_PAUSE_NS: Final = int(LONGEST * SECOND)
"""For how long a server is left alone, at most, before it is asked for another connection."""


class Timeouts:
    """Looks again and again for exchanges that have waited too long, on any of the connections.

    Args:
        benchmark: whose they are. It sends nothing more if nobody has been there to answer for too long, and
            it has no other end.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._connected_ns = 0
        """When a connection was open, or it was time to wait for one."""
        self._grace = 0
        """How often it is still not looked for what has waited too long."""
        self._sweeps = LoopingCall.withCount(self._sweep)
        self._sweeps.clock = benchmark.reactor

    def start(self) -> None:
        """Begin to look."""
        benchmark = self._benchmark
        period = benchmark.plan.timeout_ns / SECOND / SWEEPS_PER_TIMEOUT
        self._sweeps.start(period, now=False).addErrback(benchmark.fail)

    def stop(self) -> None:
        """Look no more."""
        if self._sweeps.running:
            self._sweeps.stop()

    def connected(self) -> None:
        """Note that there is somebody to answer, or from now on should be."""
        self._connected_ns = self._benchmark.clock()

    def _sweep(self, periods: int) -> None:
        """Give up what has waited too long, after so many periods; not at once if it is we who were away.

        What came meanwhile has not been read then, and would be taken for lost.
        """
        if self._grace:
            self._grace -= 1
            if self._grace:
                return
        elif periods > 1:
            self._grace = GRACE
            return
        benchmark = self._benchmark
        plan, now = benchmark.plan, benchmark.clock()
        for connection in benchmark.roster:
            connection.expire(now)
        if benchmark.roster.is_open:
            self._connected_ns = now
        elif plan.length_ns is None and now - self._connected_ns > plan.timeout_ns + _PAUSE_NS:
            benchmark.stop_sending()  # a count that nobody is there to answer has no other end
