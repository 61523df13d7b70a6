"""How an open loop waits, and what it counts of that."""

from __future__ import annotations

import time

import pytest
from twisted.internet.task import Clock

from netecho import protocols
from netecho.commands.bench_plan import _timer_for
from netecho.plans import SECOND, BenchPlan, Target, Timer
from netecho.protocols._contract import Route
from netecho.services.benchmark import Benchmark
from netecho.services.instrument import Instrument
from netecho.services.open_loop import OpenLoop
from netecho.services.timing import AWAKE_NS, TURN_NS, HybridTimer, SimpleTimer
from tests.benches import bench
from tests.servers import Server


def test_asleep() -> None:
    """A simple timer sleeps for as long as there is nothing to do, and is never awake for nothing."""
    timer = SimpleTimer()
    assert timer.sleep_ns(7, 0, 0) == 7
    assert timer.awake_ns == 0


def test_awake_for_the_last_of_it() -> None:
    """A hybrid one sleeps until shortly before, and then turns until it is time."""
    timer = HybridTimer()
    assert timer.sleep_ns(AWAKE_NS + 5, 0, 1) == 5
    assert [timer.sleep_ns(AWAKE_NS - late, 5 + late, 1) for late in (0, 1000, 3000)] == [0, 0, 0]
    assert timer.awake_ns == 3000
    assert timer.sleep_ns(AWAKE_NS, 4005, 2) == 0, "an echo came"
    assert timer.awake_ns == 3000
    assert timer.sleep_ns(AWAKE_NS - 10, 4015, 2) == 0
    assert timer.awake_ns == 3010
    assert timer.sleep_ns(SECOND, 9000, 3) == SECOND - AWAKE_NS, "it was time"
    assert timer.sleep_ns(AWAKE_NS, SECOND, 3) == 0, "it has slept"
    assert timer.awake_ns == 3010
    assert timer.sleep_ns(AWAKE_NS - TURN_NS, SECOND + TURN_NS, 3) == 0, "another had the processor"
    assert timer.awake_ns == 3010


@pytest.mark.parametrize(
    ("rate", "workers", "cpus", "timer"),
    [
        (5.0, 1, 2, Timer.HYBRID),
        (5.0, 2, 2, Timer.SIMPLE),
        (5.0, 2, 4, Timer.HYBRID),
        (5.0, 1, 1, Timer.SIMPLE),
        (5.0, 1, None, Timer.SIMPLE),
        (None, 1, 8, Timer.SIMPLE),
    ],
)
def test_where_there_is_a_processor_for_it(
    rate: float | None, workers: int, cpus: int | None, timer: Timer
) -> None:
    """It is awake unless that could take a processor from anyone, and in an open loop only."""
    assert _timer_for(BenchPlan(Target(), rate=rate, workers=workers), cpus) is timer


@pytest.mark.parametrize("timer", Timer)
def test_run(timer: Timer) -> None:
    """Either way all leaves that is due."""
    with Server("udp://127.0.0.1:0") as server:
        result = bench(server.listener.url, "-q", "5k", "-n", "2500", "--timer", timer)
    assert result["plan"]["timer"] == timer
    assert result["exchanges"]["sent"] == result["instrument"]["due"] == 2500


def test_waiting_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was waited awake is not of the processor time that a run has used."""
    plan = BenchPlan(Target(), rate=5.0, timer=Timer.HYBRID)
    monkeypatch.setattr(time, "process_time_ns", lambda: 0)
    instrument = Instrument(Clock())
    benchmark = Benchmark(Clock(), plan, protocols.load("udp"), Route(Target()), 1)
    monkeypatch.setattr(benchmark, "clock", lambda: 10 * SECOND)
    monkeypatch.setattr(time, "process_time_ns", lambda: 9 * SECOND)
    monkeypatch.setattr(OpenLoop, "awake_ns", 6 * SECOND)
    monkeypatch.setattr(benchmark, "_instrument", instrument)
    monkeypatch.setattr(benchmark, "_over_ns", 10 * SECOND)
    benchmark._close_books()
    assert benchmark.cpu_share == 0.3
