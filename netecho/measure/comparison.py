"""Whether a result differs from an old one: every change comes with the interval that it lies in.

What is compared is a latency's percentiles and the throughput, as ratios: latencies are skewed, and their
logarithms far less. Two methods say how far off a ratio may be; both assume no more of the samples than
that their percentiles, over some time, scatter about evenly on a logarithmic scale.

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

What neither can see is what changed between the old results and the new other than what is to be compared:
a machine that is slower for minutes. Results made in turn, old, new, old, new, see that.

Nothing here is drawn by lot: the same results always compare the same.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from netecho.measure import circumstances, humanise, student
from netecho.measure.histogram import Histogram, percentile_key
from netecho.measure.pauses import Pauses
from netecho.measure.reading import checked
from netecho.measure.segments import GRID_NS
from netecho.measure.summary import Summary

SCHEMA: Final = "netecho.comparison/1"
CONFIDENCE: Final = 0.99
"""Of each interval; high, as a result has several and any of them may fail a build."""
THROUGHPUT: Final = "throughput"
PERCENTILES: Final = (10.0, 50.0, 99.0)
"""The quickest tenth is the steadiest: what else a machine does only ever adds to a latency."""
_FEWEST_RUNS: Final = 5
"""Results, old and new together, from which on runs are compared with runs: three degrees of freedom."""
_RESOLUTION: Final = 0.001
"""By how much the percentiles of a histogram of 3 digits may be off, as a share."""
_FEWEST_BEYOND: Final = 10
"""Samples there must be on either side of a percentile."""
_WHOLE, _HALVES, _QUARTERS = 1, 2, 4
SHORTEST_NS: Final = _QUARTERS * GRID_NS
"""How long a run is that can be compared with itself: each of its quarters has an interval."""
_PARTS: Final = {_WHOLE: "a run", _HALVES: "half of a run", _QUARTERS: "a quarter of a run"}


class Verdict(enum.StrEnum):
    """What a change means to who waits for echoes."""

    FASTER = "faster"
    SLOWER = "slower"
    NONE = "no difference shown"
    """There may be one: the interval says how large, at most."""


class Method(enum.StrEnum):
    """How far off a ratio may be was told from what."""

    RUNS = "Student's t of runs"
    STRETCHES = "Allan variance of stretches of the runs"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What one number was, what it is, and between what bounds the ratio of the two lies."""

    metric: str
    """`p50` and its like, of response time, or `throughput`."""
    old: float
    """In nanoseconds, or exchanges a second; of several results, their geometric mean."""
    new: float
    low: float
    """The least and the largest that new / old may be, with `confidence`."""
    high: float
    confidence: float

    @classmethod
    def from_json(cls, one: Mapping[str, Any]) -> Change:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        numbers = {key: float(one[key]) for key in ("old", "new", "low", "high", "confidence")}
        if not all(0 < number < math.inf for number in numbers.values()):
            raise ValueError("a change is of numbers above 0")
        return cls(checked(one, "metric", str), **numbers)

    @property
    def ratio(self) -> float:
        """New over old."""
        return self.new / self.old

    @property
    def verdict(self) -> Verdict:
        """Faster or slower if the interval says so: all of it lies on one side of 1."""
        if self.low <= 1 <= self.high:
            return Verdict.NONE
        return Verdict.FASTER if (self.ratio > 1) == (self.metric == THROUGHPUT) else Verdict.SLOWER

    def regressed(self, by: float) -> bool:
        """Return whether it is shown to be slower, and slower by more than a share: 0.05 is 5 %.

        A latency has regressed by 5 % at 1.05 times the old, a throughput at 0.95 times.
        """
        return self.verdict is Verdict.SLOWER and self._slower(self.ratio) > by

    def within(self, by: float) -> bool:
        """Return whether it is shown not to be slower by more than a share."""
        return self._slower(self.low if self.metric == THROUGHPUT else self.high) <= by

    def _slower(self, ratio: float) -> float:
        return 1 - ratio if self.metric == THROUGHPUT else ratio - 1

    def to_json(self) -> dict[str, Any]:
        """Return the object in `changes`."""
        return {
            "metric": self.metric,
            "unit": "per_s" if self.metric == THROUGHPUT else "ns",
            "old": round(self.old, 3),
            "new": round(self.new, 3),
            "ratio": round(self.ratio, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "confidence": self.confidence,
            "verdict": self.verdict.value,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Old results beside new ones."""

    changes: tuple[Change, ...]
    unknown: Mapping[str, str]
    """What could not be compared, by metric, and why not."""
    method: Method
    caveats: tuple[str, ...]

    @classmethod
    def from_json(cls, comparison: Mapping[str, Any]) -> Comparison:
        """Read back what `to_json` gave.

        Raises:
            ValueError: it is no such object.
        """
        try:
            return cls(
                tuple(map(Change.from_json, comparison["changes"])),
                {str(metric): str(reason) for metric, reason in comparison["unknown"].items()},
                Method(comparison["method"]),
                tuple(map(str, comparison["caveats"])),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a comparison: {error!r}") from error

    def regressions(self, by: float) -> tuple[Change, ...]:
        """Return what has regressed by more than a share: 0.05 is 5 %."""
        return tuple(change for change in self.changes if change.regressed(by))

    def judged(self, baseline: str, allowed: float | None) -> dict[str, Any]:
        """Return the object with what it was compared with, and what has regressed by more than is allowed.

        Args:
            baseline: the file of the old results.
            allowed: by what share the new ones may be slower; `None`: by any.
        """
        regressions = () if allowed is None else self.regressions(allowed)
        return {
            **self.to_json(),
            "baseline": baseline,
            "allowed": allowed,
            "regressions": [change.metric for change in regressions],
        }

    def to_json(self) -> dict[str, Any]:
        """Return the object `netecho.comparison/1`, ready for `json.dumps`."""
        return {
            "schema": SCHEMA,
            "method": self.method.value,
            "changes": [change.to_json() for change in self.changes],
            "unknown": dict(self.unknown),
            "caveats": list(self.caveats),
        }


def compare(old: Sequence[Summary], new: Sequence[Summary], confidence: float = CONFIDENCE) -> Comparison:
    """Compare results of the same measurement, at least one old and one new.

    Args:
        old: what it is compared with.
        new: what is compared.
        confidence: with what probability each interval holds the truth.
    """
    before, after = [_Run(one) for one in old], [_Run(one) for one in new]
    method = Method.RUNS if len(old) + len(new) >= _FEWEST_RUNS else Method.STRETCHES
    changes, unknown = [], {}
    for metric, percentile in [*((percentile_key(one), one) for one in PERCENTILES), (THROUGHPUT, None)]:
        try:
            scatter = _scatter_of_runs if method is Method.RUNS else _scatter_of_stretches
            deviation, degrees = scatter(before, after, percentile)
            means = [statistics.fmean(run.whole(percentile) for run in side) for side in (before, after)]
        except _UnknownError as reason:
            unknown[metric] = str(reason)
            continue
        most = student.quantile(confidence, degrees) * deviation + _RESOLUTION
        apart = means[1] - means[0]
        bounds = (math.exp(apart - most), math.exp(apart + most))
        changes.append(Change(metric, math.exp(means[0]), math.exp(means[1]), *bounds, confidence))
    return Comparison(tuple(changes), unknown, method, tuple(_caveats(old, new, method)))


class _UnknownError(Exception):
    """A number that cannot be compared; the message says why."""


class _Run:
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
            raise _UnknownError(
                f"a run of {self._summary.command} is kept as a whole only, and not how it went on: compare "
                f"{_FEWEST_RUNS} or more of them, old and new together"
            )
        if percentile is None:
            return [_log(rate, parts) for rate in self._rates(parts)]
        if parts not in self._histograms:
            self._histograms[parts] = self._divide(parts)
        return [_at(one, percentile, parts) for one in self._histograms[parts]]

    def _divide(self, parts: int) -> list[Histogram]:
        segments = self._summary.segments
        if "response" not in self._summary.latencies:
            raise _UnknownError(f"nothing came back in {_PARTS[_WHOLE]}")
        if len(segments) < parts:
            raise _UnknownError(
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


def _scatter_of_runs(old: Sequence[_Run], new: Sequence[_Run], percentile: float | None) -> tuple[float, int]:
    """Return the standard deviation of new minus old, and its degrees of freedom, from how runs differ."""
    variance, degrees = _between_runs((old, new), percentile)
    return math.sqrt(variance * (1 / len(old) + 1 / len(new))), degrees


def _scatter_of_stretches(
    old: Sequence[_Run], new: Sequence[_Run], percentile: float | None
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


def _between_runs(sides: Sequence[Sequence[_Run]], percentile: float | None) -> tuple[float, int]:
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
        raise _UnknownError(
            f"{_PARTS[parts]} has {humanise.count(count, 'echo', 'echoes')} and {needed:,} are needed: "
            "measure for longer"
        )
    return math.log(max(1, histogram.at_percentile(percentile)))


def _log(rate: float, parts: int) -> float:
    if rate <= 0:
        raise _UnknownError(f"nothing came back in {_PARTS[parts]}")
    return math.log(rate)


def unlike(old: Sequence[Summary], new: Sequence[Summary]) -> tuple[str, ...]:
    """Return how results came about otherwise than alike, with the values: `--size 64 and 512`."""
    return circumstances.differences([[circumstances.of_result(one) for one in side] for side in (old, new)])


def is_repeated(summaries: Sequence[Summary]) -> bool:
    """Return whether one run is there twice, whatever was added to its result when it was saved again."""
    runs = [(one.started, one.elapsed_ns, one.counts, one.latencies) for one in summaries]
    return any(run in runs[:place] for place, run in enumerate(runs))


def too_short(old: Sequence[Summary], length_ns: int | None) -> str | None:
    """Return why a run that is still to be made could not be compared with results; `None` if it could.

    Args:
        old: at least one.
        length_ns: how long the run is going to be; `None` if that is not known.
    """
    if len(old) + 1 < _FEWEST_RUNS and length_ns is not None and length_ns < SHORTEST_NS:
        return (
            f"{humanise.span(length_ns)} is too short to be compared: measure for "
            f"{humanise.span(SHORTEST_NS)} or more, or have {_FEWEST_RUNS - 1} or more to compare with"
        )
    return None


def _caveats(old: Sequence[Summary], new: Sequence[Summary], method: Method) -> list[str]:
    caveats = []
    if differences := unlike(old, new):
        caveats.append(f"not made alike: {', '.join(differences)}")
    doubtful = sum(not one.trustworthy for one in (*old, *new))
    if doubtful:
        are = "is" if doubtful == 1 else "are"
        caveats.append(
            f"{doubtful} of {len(old) + len(new)} results {are} not trustworthy: the client may have "
            "changed, and not what it measured"
        )
    lost = [sum(one.counts.lost for one in side) for side in (old, new)]
    sent = [sum(one.counts.sent for one in side) for side in (old, new)]
    if any(lost):
        shares = [humanise.share(*pair) for pair in zip(lost, sent, strict=True)]
        caveats.append(
            f"{shares[0]} of the exchanges were lost before, {shares[1]} now: latencies leave those out"
        )
    if method is Method.STRETCHES:
        caveats.append(
            "what differs from one run to the next is seen only as far as it shows within them: five results "
            "or more, old and new together and made in turn, are compared as runs"
        )
    return caveats
