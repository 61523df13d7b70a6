"""The connections of a benchmark: those that there are to be, those that leave, and what became of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import deferLater

from netecho.errors import NetechoError
from netecho.measure.counts import Connections
from netecho.measure.flows import FlowTotal
from netecho.services.bench_connection import Connection

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

CONCURRENT_CONNECTS: Final = 256
"""Connections being opened at one moment, so that a server's backlog does not overflow."""


class Roster:
    """Opens connections, keeps them, and lets them go.

    Args:
        benchmark: whose they are.
        make: returns the connection of a number, which is not open.
    """

    def __init__(self, benchmark: Benchmark, make: Callable[[int], Connection]) -> None:
        self._benchmark = benchmark
        self._make = make
        self.present: list[Connection] = []
        """Those that there are to be, open or about to be opened again."""
        self.requested = benchmark.plan.connections
        self.opened = self.failed = self.lost = self.reopened = self.churned = 0
        self.first_failure: NetechoError | None = None
        """Why the first connection failed that did; `None` if none has."""
        self._leaving: list[Connection] = []
        """Those that are to be no more, as soon as nothing is in flight on them."""
        self._gone: list[FlowTotal | None] = []
        """What those carried that are no more, as `Connection.total` has it."""
        self._places = DeferredSemaphore(CONCURRENT_CONNECTS)

    def __iter__(self) -> Iterator[Connection]:
        """Go through those that are there, and then those that leave."""
        return iter([*self.present, *self._leaving])

    @property
    def is_open(self) -> bool:
        """Whether any of those that there are to be can carry exchanges now."""
        return any(one.is_open for one in self.present)

    @property
    def counts(self) -> Connections:
        """What became of them all."""
        return Connections(self.requested, self.opened, self.failed, self.lost, self.reopened, self.churned)

    def totals(self) -> dict[int, FlowTotal]:
        """Return what has become of the datagrams of each flow, by the number of its connection."""
        totals: dict[int, FlowTotal] = {}
        for total in (*self._gone, *(connection.total() for connection in self)):
            if total is not None:  # one that came after another had gone may have its number
                earlier = totals.get(total.number)
                totals[total.number] = total if earlier is None else earlier + total
        return totals

    def fail(self, failure: NetechoError) -> None:
        """Count a connection that could not be opened."""
        self.failed += 1
        self.first_failure = self.first_failure or failure

    async def open(self) -> None:
        """Open as many as are asked for, at the connect rate if there is one; count what becomes of each."""

        def attempt(number: int) -> Deferred[None]:
            return Deferred.fromCoroutine(self._open_one(number))

        benchmark = self._benchmark
        rate = benchmark.plan.connect_rate
        begun = benchmark.reactor.seconds()
        attempts = []
        for index in range(benchmark.plan.connections):
            if rate is not None and (wait := begun + index / rate - benchmark.reactor.seconds()) > 0:
                await deferLater(benchmark.reactor, wait)
            elif index and not index % CONCURRENT_CONNECTS:
                await deferLater(benchmark.reactor, 0)  # attempts that fail at once let nobody interrupt us
            attempts.append(self._places.run(attempt, index))
        await gatherResults(attempts, consumeErrors=True)

    async def _open_one(self, number: int) -> None:
        benchmark = self._benchmark
        connection = self._make(number)
        try:
            await connection.open()
        except NetechoError as failure:
            if not benchmark.interrupted:  # else it is we who gave it up
                self.fail(failure)
                benchmark.recorder.failed(failure.kind)
        else:
            self.opened += 1
            self.present.append(connection)

    def have(self, wanted: int) -> None:
        """Open connections, or have those that were opened last retire, so that there are so many."""
        self.requested = max(self.requested, wanted)
        while len(self.present) < wanted:
            connection = self._make(len(self.present))
            self.present.append(connection)
            Deferred.fromCoroutine(self._join(connection)).addErrback(self._benchmark.fail)
        while len(self.present) > wanted:
            self._retire(self.present.pop())

    async def _join(self, connection: Connection) -> None:
        """Open one more connection in the middle of the run."""
        if await self._places.run(lambda: Deferred.fromCoroutine(connection.reopen())):
            self.opened += 1

    def _retire(self, connection: Connection) -> None:
        self._leaving.append(connection)

        def retired() -> None:
            self._leaving.remove(connection)
            self._gone.append(connection.total())

        connection.retire(retired)
