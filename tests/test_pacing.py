"""When probes are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netecho.measure.pacing import Pacer


def test_table() -> None:
    """Count and duration each end the schedule, whichever comes first; without them it has no end."""
    #         interval  count  duration  due times, and then none
    for interval, count, duration, due in [
        (10, 3, None, [0, 10, 20]),
        (10, None, 25, [0, 10, 20]),
        (10, None, 30, [0, 10, 20]),
        (10, None, 1, [0]),
        (10, 2, 100, [0, 10]),
        (10, 100, 15, [0, 10]),
    ]:
        pacer = Pacer(interval, count, duration)
        assert [pacer.due_ns(sequence) for sequence in range(len(due) + 1)] == [*due, None]
    assert Pacer(10).due_ns(10**12) == 10**13


@given(st.integers(1, 10**10), st.integers(0, 10**6))
def test_no_drift(interval: int, sequence: int) -> None:
    """However far into a run, a probe is due at an exact multiple of the interval."""
    assert Pacer(interval).due_ns(sequence) == sequence * interval
