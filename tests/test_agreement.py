"""netecho, irtt and sockperf measure one path, and agree."""

from __future__ import annotations

import concurrent.futures

import pytest

from tests.yardsticks import YARDSTICKS, netecho

DELAY = 0.01
"""Seconds each way: so long that what the programs add themselves is little of it, on any machine."""
SECONDS = 1.0


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_agreement(tcp: bool) -> None:
    """The medians are within 10 % of each other, and no shorter than the path.

    They are taken at one time, each on a path of its own, as the programs rest nearly all of it.
    """
    programs = {"netecho": netecho, **{name: one for name, by_tcp, one in YARDSTICKS if by_tcp is tcp}}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        running = {name: threads.submit(one, tcp, DELAY, SECONDS) for name, one in programs.items()}
    medians = {name: one.result() for name, one in running.items()}
    ours = medians.pop("netecho")
    assert ours >= 2 * DELAY
    assert medians == pytest.approx(dict.fromkeys(medians, ours), rel=0.1)
