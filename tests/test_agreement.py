"""netecho, irtt and sockperf measure one path, and agree."""

from __future__ import annotations

import pytest

from tests.yardsticks import YARDSTICKS, Yardstick, netecho

DELAY = 0.01
"""Seconds each way: so long that what the programs add themselves is little of it, on any machine."""
SECONDS = 1.0


@pytest.mark.parametrize(
    ("tcp", "yardstick"),
    [(tcp, yardstick) for _, tcp, yardstick in YARDSTICKS],
    ids=[f"{name}-{'tcp' if tcp else 'udp'}" for name, tcp, _ in YARDSTICKS],
)
def test_agreement(tcp: bool, yardstick: Yardstick) -> None:
    """The medians are within 10 % of each other, and no shorter than the path."""
    theirs = yardstick(tcp, DELAY, SECONDS)
    ours = netecho(tcp, DELAY, SECONDS)
    assert ours == pytest.approx(theirs, rel=0.1)
    assert min(ours, theirs) >= 2 * DELAY
