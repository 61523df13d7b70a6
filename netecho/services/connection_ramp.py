"""How many connections there are: of which kind a plan needs them, and as many as its stages say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.task import LoopingCall

from netecho.measure.pacing import connections_at
from netecho.plans import BenchPlan, Mode
from netecho.services.bench_connection import Connection
from netecho.services.open_loop import PacedConnection
from netecho.services.openers import LoopedOpener, PacedOpener
from netecho.services.retiring import PacedRetiring, Retiring

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

PERIOD: Final = 0.02
"""Seconds between looks at how many connections there are to be."""


def kinds_of(plan: BenchPlan) -> tuple[type[Connection], type[PacedConnection]]:
    """Return what a plan's connections are, in a closed loop and in an open one."""
    if plan.mode is not Mode.EXCHANGE:
        return LoopedOpener, PacedOpener
    if plan.connections_stages or plan.connections_lifetime_ns is not None:
        return Retiring, PacedRetiring
    return Connection, PacedConnection


class ConnectionRamp:
    """Opens and retires connections, so that there are as many as the stages of a plan say.

    Args:
        benchmark: whose connections they are.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._begun_ns = 0
        self._loop = LoopingCall(self._follow)
        self._loop.clock = benchmark.reactor

    def begin(self, begun_ns: int) -> None:
        """Follow the stages, which count from that time."""
        self._begun_ns = begun_ns
        self._loop.start(PERIOD).addErrback(self._benchmark.fail)

    def stop(self) -> None:
        """Leave the connections as they are."""
        if self._loop.running:
            self._loop.stop()

    def _follow(self) -> None:
        benchmark = self._benchmark
        if not benchmark.sending:
            self.stop()
            return
        benchmark.roster.have(connections_at(benchmark.plan, benchmark.clock() - self._begun_ns))
