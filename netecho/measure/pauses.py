"""When a result was not under way: between the runs that were added up to it. One run has no pauses."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from netecho.measure.intervals import IntervalSummary


class Pauses:
    """The pauses between intervals, which may come in any order and overlap."""

    def __init__(self, intervals: Iterable[IntervalSummary]) -> None:
        self._ends: list[int] = []
        self._paused_ns = [0]
        """Before any has ended, and after each."""
        until_ns = 0
        for one in sorted(intervals, key=lambda interval: interval.start_ns):
            if one.start_ns > until_ns:
                self._ends.append(one.start_ns)
                self._paused_ns.append(self._paused_ns[-1] + one.start_ns - until_ns)
            until_ns = max(until_ns, one.start_ns + one.length_ns)

    @property
    def total_ns(self) -> int:
        """How long they are together."""
        return self._paused_ns[-1]

    def under_way_ns(self, time_ns: int) -> int:
        """Return for how long the result has been under way at a time that is in none of them."""
        return time_ns - self._paused_ns[bisect.bisect_right(self._ends, time_ns)]
