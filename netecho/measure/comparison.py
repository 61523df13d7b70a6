"""Whether a result differs from an old one: every change comes with the interval that it lies in.

What is compared is a latency's percentiles and the throughput, as ratios: latencies are skewed, and their
logarithms far less. How far off a ratio may be is told by one of two methods: see `netecho.measure.scatter`.

What neither can see is what changed between the old results and the new other than what is to be compared:
a machine that is slower for minutes. Results made in turn, old, new, old, new, see that.

Nothing here is drawn by lot: the same results always compare the same.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from netecho.measure import circumstances, humanise, student
from netecho.measure.histogram import percentile_key
from netecho.measure.reading import checked
from netecho.measure.scatter import (
    FEWEST_RUNS,
    SHORTEST_NS,
    Run,
    UnknownError,
    scatter_of_runs,
    scatter_of_stretches,
)
from netecho.measure.summary import Summary

SCHEMA: Final = "netecho.comparison/1"
CONFIDENCE: Final = 0.99
"""Of each interval; high, as a result has several and any of them may fail a build."""
THROUGHPUT: Final = "throughput"
PERCENTILES: Final = (10.0, 50.0, 99.0)
"""The quickest tenth is the steadiest: what else a machine does only ever adds to a latency."""
_RESOLUTION: Final = 0.001
"""By how much the percentiles of a histogram of 3 digits may be off, as a share."""


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
            "old": _rounded(self.old, 3),
            "new": _rounded(self.new, 3),
            "ratio": _rounded(self.ratio, 6),
            "low": _rounded(self.low, 6),
            "high": _rounded(self.high, 6),
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
    before, after = [Run(one) for one in old], [Run(one) for one in new]
    method = Method.RUNS if len(old) + len(new) >= FEWEST_RUNS else Method.STRETCHES
    changes, unknown = [], {}
    for metric, percentile in [*((percentile_key(one), one) for one in PERCENTILES), (THROUGHPUT, None)]:
        try:
            scatter = scatter_of_runs if method is Method.RUNS else scatter_of_stretches
            deviation, degrees = scatter(before, after, percentile)
            means = [statistics.fmean(run.whole(percentile) for run in side) for side in (before, after)]
        except UnknownError as reason:
            unknown[metric] = str(reason)
            continue
        most = student.quantile(confidence, degrees) * deviation + _RESOLUTION
        apart = means[1] - means[0]
        bounds = (math.exp(apart - most), math.exp(apart + most))
        changes.append(Change(metric, math.exp(means[0]), math.exp(means[1]), *bounds, confidence))
    return Comparison(tuple(changes), unknown, method, tuple(_caveats(old, new, method)))


def _rounded(number: float, places: int) -> float:
    """Return a number above 0 to so many decimal places, or as it is if there would be nothing left of it."""
    return round(number, places) or number


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
    if len(old) + 1 < FEWEST_RUNS and length_ns is not None and length_ns < SHORTEST_NS:
        return (
            f"{humanise.span(length_ns)} is too short to be compared: measure for "
            f"{humanise.span(SHORTEST_NS)} or more, or have {FEWEST_RUNS - 1} or more to compare with"
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
