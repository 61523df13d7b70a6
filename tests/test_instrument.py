"""What a benchmark says of itself while it runs."""

from __future__ import annotations

import time

import pytest
from twisted.internet.task import Clock

from netecho.measure.stalls import PERIOD_NS, Stalls
from netecho.plans import SECOND
from netecho.services.instrument import Wakes
from tests.benches import bench
from tests.servers import Server


def test_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops the process, its timer comes late."""
    monkeypatch.setattr(time, "process_time_ns", lambda: 0)
    reactor, stopped_ns = Clock(), 0
    wakes = Wakes(reactor, lambda: round(reactor.seconds() * SECOND) + stopped_ns)
    reactor.pump([PERIOD_NS / SECOND] * 5)
    assert wakes.stalls() == Stalls(watched_ns=5 * PERIOD_NS)
    stopped_ns = SECOND
    reactor.pump([PERIOD_NS / SECOND] * 5)
    stalls = Stalls(1, SECOND, SECOND, SECOND + 10 * PERIOD_NS)
    assert wakes.stalls() == stalls
    wakes.stop()
    wakes.stop()
    assert reactor.getDelayedCalls() == []
    assert wakes.stalls() == stalls


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_a_run(workers: str) -> None:
    """A closed loop is watched as long as it is measured, by each worker; an open loop has its lateness."""
    with Server("tcp://127.0.0.1:0") as server:
        words = [server.listener.url, "-c", "2", "-z", "200ms", "--warmup", "100ms", "--workers", workers]
        closed, opened = bench(*words), bench(*words, "-q", "50")
    watched_ns = closed["instrument"]["stalls"]["watched_ns"]
    assert int(workers) * SECOND // 5 <= watched_ns < int(workers) * (closed["elapsed_ns"] + SECOND)
    assert "stalls" not in opened["instrument"]
