"""Which connection carries what is due: those that leave take no more, and give back what they had."""

from __future__ import annotations

from typing import Any

from netecho.services.lanes import PlacesLane, RoomLane


def test_places_go_with_a_connection() -> None:
    """One that left while it had exchanges in flight has no place when they end."""
    lane, one, other = PlacesLane(2), *_connections()
    lane.enter(one)
    lane.enter(other)
    taken: Any = lane.take()
    assert taken is one
    lane.leave(one, 0)
    lane.forgo()
    assert [lane.take(), lane.take(), lane.take()] == [other, other, None]


def test_turns() -> None:
    """The next to be taken is the one that has been free for longest."""
    lane, one, other = PlacesLane(1), *_connections()
    lane.enter(one)
    lane.enter(other)
    turns = []
    for _ in range(6):
        taken: Any = lane.take()
        turns.append(taken)
        lane.give(taken)
    assert turns == [one, other] * 3


def test_room_comes_back() -> None:
    """Room is everybody's: what one that left had in flight is room again when that has ended."""
    lane, one, other = RoomLane(2), *_connections()
    lane.enter(one)
    assert [lane.take(), lane.take()] == [one, one]
    lane.leave(one, 0)
    lane.enter(other)
    assert lane.take() is None
    lane.forgo()
    assert [lane.take(), lane.take()] == [other, None]
    lane.leave(other, 1)
    lane.forgo()
    lane.enter(one)
    assert [lane.take(), lane.take(), lane.take()] == [one, one, None]


def _connections() -> tuple[Any, Any]:
    """Return two connections, of which a lane wants no more than to tell them apart."""
    return object(), object()
