"""How well a schedule was kept to."""

from __future__ import annotations

import pytest

from netecho.measure.holdback import HeldBack
from netecho.measure.sending import Sending
from netecho.plans import SECOND


@pytest.mark.parametrize(
    ("sending", "asked", "achieved"),
    [
        # 1000 in 10 s, the last of which was due, and left, before they were over
        (Sending(1000, 1000, 10 * SECOND, 10 * SECOND - 10_000_000), 100, 100),
        # all of them left, but the last only 10 s after the end
        (Sending(1000, 1000, 10 * SECOND, 20 * SECOND), 100, 50),
        # some never did
        (Sending(1000, 900, 10 * SECOND, 10 * SECOND, HeldBack(200, 100, 5)), 100, 90),
        (Sending(0, 0, 0, 0), 0, 0),
    ],
)
def test_rates(sending: Sending, asked: float, achieved: float) -> None:
    """What was asked for is the schedule's, what was achieved is what left in all the time it took."""
    assert sending.asked_per_s == asked
    assert sending.achieved_per_s == achieved


def test_shares_add_up() -> None:
    """Two workers that each had half of the exchanges had them in the same time."""
    one = Sending(500, 499, 10 * SECOND, 9 * SECOND, HeldBack(5, 1, 70))
    other = Sending(500, 500, 10 * SECOND, 11 * SECOND, HeldBack(2, 0, 90))
    assert one + other == Sending(1000, 999, 10 * SECOND, 11 * SECOND, HeldBack(7, 1, 90))
