"""Pauses between intervals."""

from __future__ import annotations

import pytest

from netecho.measure.intervals import IntervalSummary
from netecho.measure.pauses import Pauses


@pytest.mark.parametrize(
    ("intervals", "times"),
    [
        ([], {0: 0, 7: 7}),
        ([(0, 10), (10, 5)], {0: 0, 10: 10, 15: 15}),
        ([(0, 10), (8, 7), (2, 1)], {0: 0, 8: 8, 15: 15}),
        ([(0, 10), (100, 10), (110, 5), (1_000, 1)], {9: 9, 10: 10, 100: 10, 112: 22, 115: 25, 1_001: 26}),
        ([(100, 10), (0, 10)], {10: 10, 105: 15}),
        ([(3, 4)], {3: 0, 7: 4}),
    ],
)
def test_time_under_way(intervals: list[tuple[int, int]], times: dict[int, int]) -> None:
    """It is as long as the intervals are, without what is between them."""
    pauses = Pauses(IntervalSummary(start, length, 0, 0, None) for start, length in intervals)
    assert {time: pauses.under_way_ns(time) for time in times} == times
    assert pauses.total_ns == max((time - under_way for time, under_way in times.items()), default=0)
