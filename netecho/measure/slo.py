"""Service level objectives: what a result has to be, in an expression, and whether it is.

    p(99)<20ms                 response time, from when an exchange was due: p(50), p(99.9), mean, min, max
    service.p(99.9)<5ms        another time: response, service, lateness; of connections resolve, connect,
                               handshake, handshake_resumed, first_byte; of datagrams variation; with a
                               reflector out, back, dwell
    jitter<2ms                 interarrival jitter of datagrams
    extent.max<3               how far datagrams were reordered
    loss<0.1%                  share of the exchanges sent
    rate>=10k                  exchanges completed a second; in an open loop, of the time in which they left
    errors==0                  failures; likewise lost, late, corrupted, duplicated, reordered, held_back,
                               unsent, each also as a share of the exchanges: corrupted<0.01%

The comparisons are < <= > >= == and !=. Times have a unit (ns, us, ms, s, m, h), counts and rates may have
k, M or G, shares end in %. What was not measured, such as the handshakes of a protocol without any, is no
success: the objective is missed.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, Protocol

from netecho.errors import UsageError
from netecho.measure import humanise
from netecho.measure.counts import Counts
from netecho.measure.datagrams import EXTENT, VARIATION
from netecho.measure.flows import Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.reflected import BACK, DWELL, OUT
from netecho.measure.sending import Sending
from netecho.measure.setup import PIECES


class Unit(enum.StrEnum):
    """What a number counts, in a result."""

    NANOSECONDS = "ns"
    SHARE = "share"
    """Of the exchanges: 0.001 is 0.1 %."""
    PER_SECOND = "per_s"
    COUNT = "count"


class Measured(Protocol):
    """What objectives look at: a `Summary`, or a `Part` of one while it is measured."""

    @property
    def counts(self) -> Counts: ...  # noqa: D102
    @property
    def errors(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def elapsed_ns(self) -> int: ...  # noqa: D102
    @property
    def sending(self) -> Sending | None: ...  # noqa: D102
    @property
    def jitter(self) -> Jitter | None: ...  # noqa: D102
    def distribution(self, name: str) -> Histogram | None:
        """Return the distribution of that name; `None` if there is none, or nothing in it."""


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_TIMES: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # MICRO SIGN
    "μs": 10**3,  # GREEK SMALL LETTER MU
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MULTIPLES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_SUFFIXES: Final[Mapping[Unit, tuple[Mapping[str, int | Fraction], str]]] = {
    Unit.NANOSECONDS: (_TIMES, "a time: write 20ms, 250us or 1s"),
    Unit.SHARE: ({"%": Fraction(1, 100)}, "a share: write 0.1%"),
    Unit.PER_SECOND: (
        {**_MULTIPLES, **{f"{one}/s": by for one, by in _MULTIPLES.items()}},
        "a rate: write 200, 10k or 1.5M, per second",
    ),
    Unit.COUNT: (_MULTIPLES, "a count or a share: write 10, 20k or 0.1%"),
}
_DISTRIBUTIONS: Final = {
    **dict.fromkeys(("response", "service", *PIECES, "lateness"), Unit.NANOSECONDS),
    **dict.fromkeys((VARIATION, OUT, BACK, DWELL), Unit.NANOSECONDS),
    EXTENT: Unit.COUNT,
}
_STATISTICS: Final = ("mean", "min", "max")
_COUNTS: Final = ("errors", "lost", "late", "corrupted", "duplicated", "reordered", "held_back", "unsent")
_UNITS: Final = {
    "loss": Unit.SHARE,
    "rate": Unit.PER_SECOND,
    "jitter": Unit.NANOSECONDS,
    **dict.fromkeys(_COUNTS, Unit.COUNT),
}
_EXPRESSION: Final = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|==|!=|<|>)\s*([^<>=!\s]+)\s*")
_SUBJECT: Final = re.compile(r"(?:([a-z_]+)\.)?([a-z_]+|p[(]?[0-9.]+[)]?)")
_PERCENTILE: Final = re.compile(r"p\(([0-9]{1,3}(?:\.[0-9]{1,3})?)\)")
_NUMBER: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(.*)")
_EXAMPLES: Final = "write it like p(99)<20ms, service.mean<=1ms, loss<0.1%, rate>=10k or errors==0"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an objective."""

    expression: str
    observed: int | float | None
    """In `unit`; `None`: it was not measured."""
    passed: bool
    unit: Unit

    def to_json(self) -> dict[str, Any]:
        """Return the object in a result's `slo`."""
        return {
            "expression": self.expression,
            "observed": self.observed,
            "passed": self.passed,
            "unit": self.unit.value,
        }

    def __str__(self) -> str:
        """Return it in words: `p(99)<20ms: 23.4 ms, missed`."""
        return f"{self.expression}: {self._observed()}, {'met' if self.passed else 'missed'}"

    def _observed(self) -> str:
        """Return it to three digits, or to more if those would make it the limit that it is not."""
        if self.observed is None:
            return "not measured"
        shown = _shown(self.observed, self.unit)
        try:
            limit = float(Objective.parse(self.expression).limit)
        except UsageError:  # it has come from a file that says anything
            return shown
        if self.observed == limit or shown != _shown(limit, self.unit):
            return shown
        return _shown_exactly(self.observed, self.unit)


def _shown(value: float, unit: Unit) -> str:
    if unit is Unit.NANOSECONDS:
        return humanise.duration(value)
    if unit is Unit.SHARE:
        return humanise.share(value, 1)
    if unit is Unit.PER_SECOND:
        return humanise.rate(value)
    return f"{value:,}"


def _shown_exactly(value: float, unit: Unit) -> str:
    if unit is Unit.NANOSECONDS:
        return f"{value:,} ns"
    return f"{100 * value:.9g}%" if unit is Unit.SHARE else f"{value:,.9g}/s"


@dataclasses.dataclass(frozen=True, slots=True)
class Objective:
    """One objective, understood."""

    expression: str
    """As it was written."""
    metric: str
    """A statistic of a distribution (`mean`, `min`, `max`, or `p` for a percentile), or a count's name."""
    comparison: str
    limit: Fraction
    unit: Unit
    distribution: str | None = None
    percentile: float | None = None

    @classmethod
    def parse(cls, expression: str) -> Objective:
        """Understand an expression.

        Raises:
            UsageError: it is none; the message says what part of it is wrong.
        """
        try:
            return _parse(expression)
        except UsageError as wrong:
            shown = expression if expression.isprintable() else repr(expression)
            raise UsageError(f"objective '{shown}': {wrong}") from None

    def evaluate(self, measured: Measured) -> Verdict:
        """Return whether what was measured meets the objective."""
        observed = self.observe(measured)
        passed = observed is not None and _COMPARISONS[self.comparison](observed, self.limit)
        shown = float(observed) if isinstance(observed, Fraction) else observed
        return Verdict(self.expression, shown, passed, self.unit)

    def observe(self, measured: Measured) -> int | Fraction | None:
        """Return what is to be compared with the limit, exactly; `None`: it was not measured."""
        if self.distribution is not None:
            histogram = measured.distribution(self.distribution)
            if histogram is None and self.distribution == EXTENT and measured.jitter is not None:
                return 0  # datagrams came, and none out of its place
            return None if histogram is None else self._statistic(histogram)
        if self.metric == "rate":
            return _rate(measured)
        if self.metric == "jitter":
            return None if measured.jitter is None else measured.jitter.average_ns
        count = _count(measured, "lost" if self.metric == "loss" else self.metric)
        if self.unit is not Unit.SHARE or count is None:
            return count
        whole = measured.counts.sent
        if self.metric in ("held_back", "unsent") and measured.sending is not None:
            whole = measured.sending.due
        return Fraction(count, whole) if whole else None

    def _statistic(self, histogram: Histogram) -> int | None:
        if self.percentile is not None:
            return histogram.at_percentile(self.percentile)
        statistics = histogram.to_json()
        return None if statistics is None else statistics[self.metric]


def _rate(measured: Measured) -> Fraction | None:
    sending = measured.sending
    time_ns = measured.elapsed_ns if sending is None else max(sending.planned_ns, sending.took_ns)
    return Fraction(measured.counts.completed * 10**9, time_ns) if time_ns else None


def _count(measured: Measured, name: str) -> int | None:
    """Return a count; `None` if nothing was sent that could have been counted."""
    counts, sending = measured.counts, measured.sending
    if name == "held_back":
        return None if sending is None else sending.held_back.count
    if name == "unsent":
        return None if sending is None else sending.held_back.unsent
    if not counts.sent:
        return None
    if name == "errors":
        return sum(measured.errors.values())
    count: int = getattr(counts, name)
    return count


def _parse(expression: str) -> Objective:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise UsageError(f"it is not a metric, a comparison and a number: {_EXAMPLES}")
    subject, comparison, value = match.groups()
    distribution, metric, percentile = _parse_subject(subject)
    unit = _UNITS[metric] if distribution is None else _DISTRIBUTIONS[distribution]
    if metric in _COUNTS and value.endswith("%"):
        unit = Unit.SHARE
    limit = _parse_limit(value, unit)
    return Objective(expression.strip(), metric, comparison, limit, unit, distribution, percentile)


def _parse_subject(subject: str) -> tuple[str | None, str, float | None]:
    """Return the distribution, if it is of one; the metric; and the percentile, if it is one."""
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        raise UsageError(f"{subject!r} is not a metric: {_EXAMPLES}")
    distribution, metric = match.groups()
    if metric in _UNITS:
        if distribution is not None:
            raise UsageError(f"{metric} is of the whole run: write {metric}, not {subject}")
        return None, metric, None
    distribution = distribution or "response"
    if distribution not in _DISTRIBUTIONS:
        raise UsageError(f"{distribution!r} is no distribution: they are {', '.join(_DISTRIBUTIONS)}")
    if metric in _STATISTICS:
        return distribution, metric, None
    number = _PERCENTILE.fullmatch(metric)
    if number is None or not 0 < float(number[1]) <= 100:
        known = ", ".join([*_STATISTICS, *_UNITS])
        raise UsageError(f"{metric!r} is not a metric: they are p(99) and other percentiles, {known}")
    return distribution, "p", float(number[1])


def _parse_limit(value: str, unit: Unit) -> Fraction:
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise UsageError(f"{value!r} is not a number")
    number, suffix = Fraction(match[1]), match[2]
    if not number and not suffix:
        return number
    factors, like = _SUFFIXES[unit]
    if suffix not in factors:
        raise UsageError(f"{value!r} is not {like}")
    if unit is Unit.SHARE and number > 100:
        raise UsageError(f"{value!r} is more than everything")
    return number * factors[suffix]
