"""The intervals of a benchmark, and what is told at the end of each: what was in it, how the run goes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.task import Cooperator, LoopingCall

from netecho.measure.intervals import Interval, IntervalSummary
from netecho.measure.progress import Progress
from netecho.measure.prospects import out_of_reach
from netecho.measure.recorder import Recorder
from netecho.measure.slo import Objective

if TYPE_CHECKING:
    from netecho.services.benchmark import Benchmark

INTERVAL: Final = 1.0
"""Seconds between the entries of a result's `intervals`."""
OnProgress = Callable[[Progress], object]
OnInterval = Callable[[Interval], object]
"""Called with each interval of what is measured, when it has ended."""


class Intervals:
    """Ends one interval after another, and tells of each.

    It ends the run too, if an objective is out of reach and the plan has `abort_on_fail`.

    Args:
        benchmark: whose they are. They count from its `begun_ns`.
        on_progress: see `Benchmark`, as for those that follow.
        on_tick: of all but percentiles.
        on_interval: of what is measured.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        on_progress: OnProgress | None,
        on_tick: OnProgress | None,
        on_interval: OnInterval | None,
    ) -> None:
        self.out_of_reach: tuple[Objective, ...] = ()
        """Objectives for which the run was ended early."""
        self._benchmark = benchmark
        self._on_progress = on_progress
        self._on_tick = on_tick
        self._on_interval = on_interval
        self._objectives = tuple(map(Objective.parse, benchmark.plan.slo))
        self._ended_ns = 0
        """When the last ended, or the first began."""
        self._open = 0
        """Connections that were, when the last whole one ended or the run."""
        self._looks: list[Iterator[None]] = []
        """At those that have ended, of which not all is said yet."""
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = benchmark.reactor
        self._steps = Cooperator(
            terminationPredicateFactory=lambda: lambda: True,  # one step a turn of the reactor
            scheduler=functools.partial(benchmark.reactor.callLater, 0),
        )

    def start(self) -> None:
        """Begin the first."""
        self._ended_ns = self._benchmark.begun_ns
        self._ticks.start(INTERVAL, now=False).addErrback(self._benchmark.fail)

    def restart(self) -> None:
        """Begin anew, with another phase of the run."""
        self._ended_ns = self._benchmark.begun_ns
        self._ticks.reset()

    def stop(self) -> None:
        """End no more of them: the run is over, and its connections are about to be closed."""
        if self._ticks.running:
            self._ticks.stop()
        self._steps.stop()
        self._count_open()

    def end_last(self, now_ns: int) -> None:
        """End what is left after the last whole one, with the run; say at once what is not said yet."""
        for _ in itertools.chain(*self._looks):
            pass
        if now_ns <= self._ended_ns:
            return
        interval = self._end_one(now_ns)
        if self._on_tick is not None:
            self._on_tick(self._progress(now_ns, None, whole=False))
        if self._on_progress is not None:
            self._on_progress(self._progress(now_ns, IntervalSummary.of(interval), whole=False))

    def _end_one(self, now_ns: int) -> Interval:
        benchmark = self._benchmark
        begun_ns = benchmark.begun_ns
        interval = benchmark.recorder.end_interval(self._ended_ns - begun_ns, now_ns - begun_ns)
        self._ended_ns = now_ns
        if self._on_interval is not None and benchmark.phase in ("measuring", "finishing"):
            self._on_interval(interval)
        return interval

    def _tick(self) -> None:
        benchmark = self._benchmark
        now = benchmark.clock()
        interval = self._end_one(now)
        self._count_open()
        progress = self._progress(now, None)  # now: when it is told of, the run may be in its next phase
        if self._on_tick is not None:
            self._on_tick(progress)
        if benchmark.phase in ("connecting", "warm-up"):
            benchmark.recorder.intervals.clear()
        look = self._look_at(interval, benchmark.recorder, progress)
        self._looks.append(look)
        self._steps.cooperate(look).whenDone().addCallbacks(self._looks.remove, benchmark.fail)

    def _look_at(self, interval: Interval, recorder: Recorder, progress: Progress) -> Iterator[None]:
        """Say how the run goes, step by step: all at once would be a pause in what is measured."""
        yield from recorder.settle()
        if self._on_progress is not None:
            summary = IntervalSummary.of(interval)
            yield
            self._on_progress(dataclasses.replace(progress, interval=summary))
        benchmark = self._benchmark
        is_measured = progress.phase == benchmark.phase == "measuring"
        if benchmark.plan.abort_on_fail and is_measured and benchmark.sending:
            self._give_up(progress.elapsed_ns)
        yield
        interval.compact()  # a run may have thousands

    def _give_up(self, elapsed_ns: int) -> None:
        """End the run if an objective cannot be met any more."""
        benchmark = self._benchmark
        self.out_of_reach = out_of_reach(self._objectives, benchmark.plan, benchmark.part(), elapsed_ns)
        if self.out_of_reach:
            benchmark.stop_sending()

    def _count_open(self) -> None:
        self._open = sum(connection.is_open for connection in self._benchmark.roster)

    def _progress(self, now_ns: int, interval: IntervalSummary | None, *, whole: bool = True) -> Progress:
        benchmark = self._benchmark
        plan, recorder = benchmark.plan, benchmark.recorder
        return Progress(
            phase=benchmark.phase,
            elapsed_ns=now_ns - benchmark.begun_ns,
            total_ns=plan.warmup_ns if benchmark.phase == "warm-up" else plan.length_ns,
            completed=recorder.counts.completed,
            total=plan.exchanges,
            interval=interval,
            counts=dataclasses.replace(recorder.counts),
            connections_requested=plan.connections,
            connections_open=self._open,
            errors=dict(recorder.errors),
            response=lambda: recorder.response.brief(),
            whole=whole,
        )
