"""The intervals of a run: what is recorded of each, and what a result says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from netecho.measure.histogram import Histogram
from netecho.measure.reading import natural, naturals


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """What happened in one stretch of a run. Times in nanoseconds from the run's start."""

    start_ns: int
    length_ns: int
    completed: int
    errors: int
    response: Histogram
    service: Histogram | None = None
    """`None` in a closed loop, where it is the response time."""

    def compact(self) -> None:
        """Keep it for long, and in little memory: see `Histogram.compact`."""
        self.response.compact()
        if self.service is not None:
            self.service.compact()


@dataclasses.dataclass(frozen=True, slots=True)
class IntervalSummary:
    """One stretch of a run. Times in nanoseconds from the start of what is measured."""

    start_ns: int
    length_ns: int
    completed: int
    errors: int
    response: Mapping[str, int] | None
    """`p50`, `p99` and `max` of response time; `None` if nothing completed."""

    @classmethod
    def of(cls, interval: Interval) -> IntervalSummary:
        """Summarise what a recorder closed."""
        return cls(
            interval.start_ns,
            interval.length_ns,
            interval.completed,
            interval.errors,
            interval.response.brief(),
        )

    @classmethod
    def from_json(cls, one: Mapping[str, Any]) -> IntervalSummary:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        response = one["response"]
        return cls(
            **{name: natural(one, name) for name in ("start_ns", "length_ns", "completed", "errors")},
            response=None if response is None else naturals(response),
        )

    @property
    def exchanges_per_s(self) -> float:
        """Completed exchanges a second."""
        return self.completed * 1e9 / self.length_ns if self.length_ns else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the object in `intervals`."""
        answer = dataclasses.asdict(self)
        answer["response"] = None if self.response is None else dict(self.response)
        return answer
