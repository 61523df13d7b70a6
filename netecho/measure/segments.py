"""A run's intervals on one grid, so that those of several workers add up, and as a few segments to keep.

Intervals are told apart by the place on the grid that their start is nearest to: timers are late by a
little, and workers do not tick together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.reading import natural

GRID_NS: Final = 1_000_000_000
"""How far apart intervals begin."""
SEGMENTS: Final = 16
"""Into how many stretches, at most, a run is divided whose distributions are kept in its result."""


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """The response times of one stretch of a run. Times in nanoseconds from the start of what is measured."""

    start_ns: int
    length_ns: int
    response: Histogram

    def to_json(self) -> dict[str, Any]:
        """Return the object in `segments`."""
        return {
            "start_ns": self.start_ns,
            "length_ns": self.length_ns,
            "min": self.response.minimum,
            "max": self.response.maximum,
            "response": self.response.encode(),
        }

    @classmethod
    def from_json(cls, one: Mapping[str, Any]) -> Segment:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        ends = {key: natural(one, key) for key in ("min", "max")}
        response = Histogram.decode(one["response"], ends)
        return cls(natural(one, "start_ns"), natural(one, "length_ns"), response)


def place_of(start_ns: int, grid_ns: int = GRID_NS) -> int:
    """Return which place on the grid is the nearest to a time."""
    return (start_ns + grid_ns // 2) // grid_ns


def align(intervals: Iterable[Interval], grid_ns: int = GRID_NS) -> tuple[Interval, ...]:
    """Add up the intervals that have the same place on the grid, in whatever order they come."""
    return _together(intervals, lambda one: place_of(one.start_ns, grid_ns))


def segments_of(intervals: Sequence[Interval], grid_ns: int = GRID_NS) -> tuple[Segment, ...]:
    """Return the run in at most `SEGMENTS` stretches of as many intervals each, without empty ones."""
    if not intervals:
        return ()
    in_each = -(-(1 + max(place_of(one.start_ns, grid_ns) for one in intervals)) // SEGMENTS)
    together = _together(intervals, lambda one: place_of(one.start_ns, grid_ns) // in_each)
    return tuple(Segment(one.start_ns, one.length_ns, one.response) for one in together if one.response.count)


def _together(intervals: Iterable[Interval], place: Callable[[Interval], int]) -> tuple[Interval, ...]:
    """Return the sum of the intervals at each place, in order."""
    groups: dict[int, list[Interval]] = {}
    for one in intervals:
        groups.setdefault(place(one), []).append(one)
    return tuple(_sum(groups[number]) for number in sorted(groups))


def _sum(intervals: Sequence[Interval]) -> Interval:
    start_ns = min(one.start_ns for one in intervals)
    services = [one.service for one in intervals if one.service is not None]
    return Interval(
        start_ns,
        max(one.start_ns + one.length_ns for one in intervals) - start_ns,
        sum(one.completed for one in intervals),
        sum(one.errors for one in intervals),
        Histogram.sum(one.response for one in intervals),
        Histogram.sum(services) if services else None,
    )
