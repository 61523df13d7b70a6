"""What is told of a benchmark's intervals, against a clock turned by hand."""

from __future__ import annotations

import types
from typing import Any

from twisted.internet.task import Clock

from netecho.measure.progress import Progress
from netecho.measure.recorder import Recorder
from netecho.plans import SECOND, BenchPlan, Target
from netecho.services.intervals import Intervals


def test_an_interval_is_told_as_what_it_was_when_it_ended() -> None:
    """A run may go on from its warm-up to what is measured while the last interval is looked at."""
    clock = Clock()
    benchmark: Any = types.SimpleNamespace(
        reactor=clock,
        clock=lambda: round(clock.seconds() * SECOND),
        plan=BenchPlan(Target(), warmup_ns=SECOND, duration_ns=SECOND),
        phase="warm-up",
        recorder=Recorder(closed_loop=True),
        begun_ns=0,
        roster=(),
        sending=True,
        fail=lambda failure: failure.raiseException(),
    )
    warmup = benchmark.recorder
    warmup.counts.completed = 7
    told: list[Progress] = []

    def begin_measuring(_: Progress) -> None:
        benchmark.phase, benchmark.begun_ns = "measuring", benchmark.clock() + 1
        benchmark.recorder = Recorder(closed_loop=True)

    intervals = Intervals(benchmark, told.append, begin_measuring, None)
    intervals.start()
    clock.advance(1)
    intervals.stop()
    [progress] = told
    assert (progress.phase, progress.elapsed_ns, progress.total_ns) == ("warm-up", SECOND, SECOND)
    assert progress.completed == 7
    assert progress.interval is not None
