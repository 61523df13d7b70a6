"""netecho, irtt and sockperf measure one path, and agree."""

from __future__ import annotations

import pytest

from tests.yardsticks import YARDSTICKS, netecho

DELAY = 0.1
"""Seconds each way: so long that what the programs add themselves is little of it, on any machine."""
SECONDS = 2.0


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_agreement(tcp: bool) -> None:
    """The medians are within 10 % of each other, and no shorter than the path."""
    ours = netecho(tcp, DELAY, SECONDS)
    assert ours >= 2 * DELAY
    for name, by_tcp, yardstick in YARDSTICKS:
        if by_tcp is tcp:
            assert ours == pytest.approx(yardstick(tcp, DELAY, SECONDS), rel=0.1), name
