"""When the instrument itself stood still: it was stopped, or kept from its processor.

In an open loop that is in its lateness. In a closed loop nothing is due, so that it looks like a server that
took long; here it is told by a timer that wakes much later than it was set to, though the process has not
used that time. What it has used is for its share of a processor to tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from netecho.measure.reading import checked, naturals

PERIOD_NS: Final = 20_000_000
"""From one wake to the next: as much of a stall may not be seen."""
NOTABLE_NS: Final = 10_000_000
"""Shorter ones are those that any process has, on a machine that does anything else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stalls:
    """What stalls came to, over a run or a worker's share of it. The shares add up. Times in nanoseconds."""

    count: int = 0
    total_ns: int = 0
    longest_ns: int = 0
    watched_ns: int = 0
    """For how long it was looked for them."""

    def __add__(self, other: Stalls) -> Stalls:
        return Stalls(
            self.count + other.count,
            self.total_ns + other.total_ns,
            max(self.longest_ns, other.longest_ns),
            self.watched_ns + other.watched_ns,
        )

    @property
    def share(self) -> float:
        """Of the time that was watched."""
        return self.total_ns / self.watched_ns if self.watched_ns else 0.0

    def to_json(self) -> dict[str, int]:
        """Return the object in a result's `instrument`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, owner: Mapping[str, Any]) -> Stalls | None:
        """Read back what `to_json` gave, under `stalls`; `None`: there is none. Raises as `reading` does."""
        return None if owner.get("stalls") is None else cls(**naturals(checked(owner, "stalls", dict), cls))


class StallWatch:
    """Adds up stalls, as somebody tells who wakes every `PERIOD_NS`.

    Args:
        now_ns: when it begins.
        used_ns: how much processor time the process has used by then.
    """

    def __init__(self, now_ns: int, used_ns: int) -> None:
        self._begun_ns = self._woken_ns = now_ns
        self._used_ns = used_ns
        self._stalls = Stalls()

    def woke(self, now_ns: int, used_ns: int) -> None:
        """Note a wake, and that another one is to come a period later."""
        self._stalls = self.stalls(now_ns, used_ns)
        self._woken_ns, self._used_ns = now_ns, used_ns

    def stalls(self, now_ns: int, used_ns: int) -> Stalls:
        """Return what they have come to, with one that the time is in, if the next wake is overdue."""
        away_ns = now_ns - self._woken_ns - PERIOD_NS - (used_ns - self._used_ns)
        watched = dataclasses.replace(self._stalls, watched_ns=now_ns - self._begun_ns)
        return watched if away_ns < NOTABLE_NS else watched + Stalls(1, away_ns, away_ns)
