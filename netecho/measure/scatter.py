"""How far off the ratio of old results and new ones may be: by how much runs that are alike scatter.

Two methods say so; both assume no more of the samples than that their percentiles, over some time, scatter
about evenly on a logarithmic scale. So all numbers here are natural logarithms.

**Runs with runs**, from five results together on. A run is the unit, as in Georges et al., "Statistically
rigorous Java performance evaluation" (OOPSLA 2007), Kalibera and Jones, "Rigorous benchmarking in
reasonable time" (ISMM 2013), JMH's forks and benchstat's `-count 10`: whatever differs from one run to the
next (the machine's other work, memory layout, routes) is in it. The interval is Student's t for two samples
with one variance.

**Stretches of the runs**, if there are fewer, most often one old result and one new. One run says nothing of
how runs differ, and its samples are no sample of that: they depend on each other, and machines drift. Tests
that take each as a fact of its own (Mann-Whitney, a bootstrap) find differences between any two runs, and
so do blocks of them: where speed wanders as most machines' does (1/f noise), a moving-block bootstrap over 16
stretches raises a false alarm in one direction in 19 of 100 pairs, at 99 % confidence. So each run is
compared with itself, as clocks are: by the Allan variance (D. W. Allan, "Statistics of atomic frequency
standards", Proc. IEEE 54, 1966) of the same percentile in adjacent halves and quarters of each run, of which
the larger is taken for that of adjacent runs. It is exact for noise that is the same at every time scale
(flicker), too wide by a factor of two for noise without memory, and a little too narrow for a random walk
or a machine that goes at one of two speeds, by turns: 99 % intervals then raise a false alarm in one
direction in 1 and in 2 of 100 pairs. The degrees of freedom are those of a mean square of successive
differences (von Neumann et al., "The mean square successive difference", Ann. Math. Stat. 12, 1941).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Final

from netecho.measure import humanise
from netecho.measure.histogram import Histogram
from netecho.measure.pauses import Pauses
from netecho.measure.segments import GRID_NS
from netecho.measure.summary import Summary

FEWEST_RUNS: Final = 5
"""Results, old and new together, from which on runs are compared with runs: three degrees of freedom."""
_FEWEST_BEYOND: Final = 10
"""Samples there must be on either side of a percentile."""
_WHOLE, _HALVES, _QUARTERS = 1, 2, 4
SHORTEST_NS: Final = _QUARTERS * GRID_NS
"""How long a run is that can be compared with itself: each of its quarters has an interval."""
_PARTS: Final = {_WHOLE: "a run", _HALVES: "half of a run", _QUARTERS: "a quarter of a run"}


class UnknownError(Exception):
    """A number that cannot be compared; the message says why."""


class Run:
    """A result, and what it says of its halves and quarters. Numbers are natural logarithms."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._histograms: dict[int, list[Histogram]] = {}
        self._pauses = Pauses(summary.intervals)

    def whole(self, percentile: float | None) -> float:
        """Return a percentile of the run's response times, or its throughput for `None`."""
        if percentile is None:
            return _log(self._summary.exchanges_per_s, _WHOLE)
        return _at(self._summary.latencies.get("response", Histogram()), percentile, _WHOLE)

    def stretches(self, percentile: float | None, parts: int) -> list[float]:
        """Return the same of each of so many equal parts of the run."""
        if "response" in self._summary.latencies and not self._summary.intervals:
            raise UnknownError(
                f"a run of {self._summary.command} is kept as a whole only, and not how it went on: compare "
                f"{FEWEST_RUNS} or more of them, old and new together"
            )
        if percentile is None:
            return [_log(rate, parts) for rate in self._rates(parts)]
        if parts not in self._histograms:
            self._histograms[parts] = self._divide(parts)
        return [_at(one, percentile, parts) for one in self._histograms[parts]]

    def _divide(self, parts: int) -> list[Histogram]:
        segments = self._summary.segments
        if "response" not in self._summary.latencies:
            raise UnknownError(f"nothing came back in {_PARTS[_WHOLE]}")
        if len(segments) < parts:
            raise UnknownError(
                f"a run is kept in {humanise.count(len(segments), 'segment')} and {parts} are needed: "
                "measure for 4 seconds or more"
            )
        divided = [Histogram() for _ in range(parts)]
        for one in segments:
            part, _ = self._place(one.start_ns, one.length_ns, parts)
            divided[part].add(one.response)
        return divided

    def _rates(self, parts: int) -> list[float]:
        completed, length_ns = [0] * parts, [0] * parts
        for one in self._summary.intervals:
            part, within_ns = self._place(one.start_ns, one.length_ns, parts)
            completed[part] += one.completed
            length_ns[part] += within_ns
        return [
            number * 1e9 / length if length else 0.0
            for number, length in zip(completed, length_ns, strict=True)
        ]

    def _place(self, start_ns: int, length_ns: int, parts: int) -> tuple[int, int]:
        """Return in which part the middle of a stretch of time lies, and how much of it is of the run.

        What is not is the wait for what is lost, after the last echo.
        """
        elapsed_ns = self._summary.elapsed_ns
        begin_ns, end_ns = (
            min(self._pauses.under_way_ns(time_ns), elapsed_ns)
            for time_ns in (start_ns, start_ns + length_ns)
        )
        part = (begin_ns + end_ns) // 2 * parts // max(1, elapsed_ns)
        return min(part, parts - 1), end_ns - begin_ns


def scatter_of_runs(old: Sequence[Run], new: Sequence[Run], percentile: float | None) -> tuple[float, int]:
    """Return the standard deviation of new minus old, and its degrees of freedom, from how runs differ."""
    variance, degrees = _between_runs((old, new), percentile)
    return math.sqrt(variance * (1 / len(old) + 1 / len(new))), degrees


def scatter_of_stretches(
    old: Sequence[Run], new: Sequence[Run], percentile: float | None
) -> tuple[float, int]:
    """Return the same, from how stretches of the runs differ, and the runs if that is more."""
    runs = [*old, *new]
    # Half the mean square of the differences of neighbours: the Allan variance.
    allan = max(
        statistics.fmean(
            (later - earlier) ** 2 / 2
            for run in runs
            for earlier, later in itertools.pairwise(run.stretches(percentile, parts))
        )
        for parts in (_QUARTERS, _HALVES)
    )
    between, _ = _between_runs((old, new), percentile)
    # Of n neighbours, 2 (n - 1)^2 / (3 n - 4): 9 / 4 for quarters.
    degrees = len(runs) * 9 // 4
    return math.sqrt(max(allan, between) * (1 / len(old) + 1 / len(new))), degrees


def _between_runs(sides: Sequence[Sequence[Run]], percentile: float | None) -> tuple[float, int]:
    """Return the variance of runs that are alike, and its degrees of freedom; 0 and 0 if it is not known."""
    degrees = sum(len(side) - 1 for side in sides)
    squares = 0.0
    for side in sides:
        values = [run.whole(percentile) for run in side]
        mean = statistics.fmean(values)
        squares += math.fsum((value - mean) ** 2 for value in values)
    return squares / max(1, degrees), degrees


def _at(histogram: Histogram, percentile: float, parts: int) -> float:
    count = histogram.count
    needed = round(_FEWEST_BEYOND * 100 / min(percentile, 100 - percentile))
    if count < needed:
        raise UnknownError(
            f"{_PARTS[parts]} has {humanise.count(count, 'echo', 'echoes')} and {needed:,} are needed: "
            "measure for longer"
        )
    return math.log(max(1, histogram.at_percentile(percentile)))


def _log(rate: float, parts: int) -> float:
    if rate <= 0:
        raise UnknownError(f"nothing came back in {_PARTS[parts]}")
    return math.log(rate)
