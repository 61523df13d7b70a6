"""What is due and cannot leave yet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.holdback import HeldBack, Holdback


def test_in_due_order() -> None:
    """What was due first leaves first; how long each waited is known, and the longest is kept."""
    holdback = Holdback()
    assert holdback.totals(50) == HeldBack(0, 0, 0)
    for due in (100, 200, 300):
        holdback.hold(due)
    assert (holdback.count, holdback.waiting) == (3, 3)
    assert holdback.release(450) == 100
    assert holdback.release(460) == 200
    assert (holdback.count, holdback.waiting) == (3, 1)
    assert holdback.totals(470) == HeldBack(3, 1, 350)
    assert holdback.release(480) == 300
    assert holdback.totals(9999) == HeldBack(3, 0, 350)
    holdback.hold(500)
    assert holdback.totals(900) == HeldBack(4, 1, 400)


def test_none_waits() -> None:
    """There is nothing to release where nothing is held."""
    holdback = Holdback()
    holdback.hold(1)
    assert holdback.release(1) == 1
    with pytest.raises(IndexError):
        holdback.release(2)


def test_what_has_left_is_forgotten() -> None:
    """However many come and go, little is kept where none waits for long."""
    holdback = Holdback()
    for due in range(10_000):
        holdback.hold(due)
        assert holdback.release(due) == due
        assert len(holdback._due) <= 4096


@settings(deadline=None)
@given(st.lists(st.integers(1, 20_000), max_size=8), st.lists(st.integers(1, 20_000), max_size=8))
def test_nothing_disappears(held: list[int], released: list[int]) -> None:
    """However many come and go, each that was held is released once, or still waits."""
    holdback = Holdback()
    due = left = 0
    for more in held:
        for _ in range(more):
            holdback.hold(due)
            due += 1
        fewer = released.pop() if released else 0
        for _ in range(min(fewer, due - left)):
            assert holdback.release(due) == left
            left += 1
        assert holdback.totals(due).unsent == holdback.waiting == due - left
        assert len(holdback._due) <= max(4096 + due - left, 2 * (due - left) + 1)
    assert holdback.count == due


def test_totals_add_up() -> None:
    """Counts are summed, and the longest of all is the longest."""
    assert HeldBack(3, 1, 70) + HeldBack(4, 0, 90) == HeldBack(7, 1, 90)
    assert sum([HeldBack(1, 1, 1)] * 3, HeldBack()) == HeldBack(3, 3, 1)
