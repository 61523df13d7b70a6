"""Which connection carries what is due next, and what waits because none can.

A `Lane` is one schedule's: everybody's, or one connection's if the rate is that of each. It gives out its
connections in turn, so that all have the same share, and holds back what finds none.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Protocol

from netecho.measure.holdback import Holdback

if TYPE_CHECKING:
    from netecho.services.open_loop import PacedConnection


class Lane(Protocol):
    """The connections that carry one schedule's exchanges, and those exchanges that wait for one."""

    holdback: Holdback
    """It waits only while there is nothing to `take`."""

    def take(self) -> PacedConnection | None:
        """Return the connection that carries the next exchange; `None` if no more may be in flight."""

    def give(self, connection: PacedConnection) -> None:
        """Take back what one exchange of a connection had, as it has ended."""

    def enter(self, connection: PacedConnection) -> None:
        """Add a connection that has opened."""

    def leave(self, connection: PacedConnection, in_flight: int) -> None:
        """Remove a connection that is closing, with so many exchanges in flight."""

    def forgo(self) -> None:
        """Note that an exchange has ended of a connection that left without it being counted as in flight."""


class PlacesLane:
    """Of a protocol that answers in order: a connection has a place for each exchange it may have in flight.

    Args:
        pipeline: how many that are.
    """

    def __init__(self, pipeline: int) -> None:
        self.holdback = Holdback()
        self._pipeline = pipeline
        self._free: collections.deque[PacedConnection] = collections.deque()

    def take(self) -> PacedConnection | None:
        """See `Lane.take`: the one whose place has been free for longest."""
        free = self._free
        return free.popleft() if free else None

    def give(self, connection: PacedConnection) -> None:
        """See `Lane.give`."""
        self._free.append(connection)

    def enter(self, connection: PacedConnection) -> None:
        """See `Lane.enter`."""
        self._free.extend([connection] * self._pipeline)

    def leave(self, connection: PacedConnection, in_flight: int) -> None:
        """See `Lane.leave`."""
        if in_flight < self._pipeline:
            self._free = collections.deque(one for one in self._free if one is not connection)

    def forgo(self) -> None:
        """See `Lane.forgo`: its place went with the connection."""


class RoomLane:
    """Of datagrams: any connection carries any number, as long as there is room for them all together.

    Args:
        room: how many may be in flight.
    """

    def __init__(self, room: int) -> None:
        self.holdback = Holdback()
        self._room = room
        self._open: collections.deque[PacedConnection] = collections.deque()

    def take(self) -> PacedConnection | None:
        """See `Lane.take`: each in its turn."""
        connections = self._open
        if self._room <= 0 or not connections:
            return None
        self._room -= 1
        connection = connections[0]
        if len(connections) > 1:
            connections.rotate(-1)
        return connection

    def give(self, connection: PacedConnection) -> None:
        """See `Lane.give`."""
        self._room += 1

    def enter(self, connection: PacedConnection) -> None:
        """See `Lane.enter`."""
        self._open.append(connection)

    def leave(self, connection: PacedConnection, in_flight: int) -> None:
        """See `Lane.leave`."""
        if connection in self._open:
            self._open.remove(connection)
            self._room += in_flight

    def forgo(self) -> None:
        """See `Lane.forgo`."""
        self._room += 1
