"""Objectives: how they are written, what is refused, and what becomes of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.errors import UsageError
from netecho.measure.counts import Connections, Counts
from netecho.measure.flows import Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.parts import Part
from netecho.measure.sending import Sending
from netecho.measure.slo import Objective, Unit, Verdict
from netecho.plans import SECOND
from netecho.rendering.schema import result_schema
from tests import samples

NS, SHARE, PER_SECOND, COUNT = Unit.NANOSECONDS, Unit.SHARE, Unit.PER_SECOND, Unit.COUNT
MS = SECOND // 1000
MEASURED = samples.bench(
    elapsed_ns=10 * SECOND,
    counts=Counts(sent=10_000, completed=9_990, lost=10, late=3, duplicated=2, reordered=5, corrupted=1),
    errors={"timeout": 10, "refused": 2},
    latencies={
        "response": Histogram.of([MS] * 990 + [20 * MS] * 9 + [30 * MS]),
        "service": Histogram.of([MS] * 1000),
        "connect": Histogram.of([2 * MS]),
    },
    distributions={"lateness": Histogram.of([5_000])},
)


@pytest.mark.parametrize(
    ("expression", "observed", "passed", "unit"),
    [
        ("p(99)<20ms", MS, True, NS),
        ("p(99.9)<20ms", 20 * MS, False, NS),
        ("p(99.9)<=20ms", 20 * MS, False, NS),  # the bucket's upper end, see below
        ("p(99.9)<=20.01ms", 20 * MS, True, NS),
        ("p(100)<=30ms", 30 * MS, True, NS),
        ("response.p(50)<1.001ms", MS, True, NS),
        ("service.p(99.99)<=1000us", MS, True, NS),
        (" connect.p(99) < 3ms ", 2 * MS, True, NS),
        ("lateness.p(99)<1us", 5_000, False, NS),
        ("min>=1ms", MS, True, NS),
        ("max==30000000ns", 30 * MS, True, NS),
        ("mean>1s", 1_200_000, False, NS),
        ("service.mean<0.5h", MS, True, NS),
        ("max<1m", 30 * MS, True, NS),
        ("handshake.p(99)<1s", None, False, NS),
        ("handshake.p(99)>=0", None, False, NS),
        ("loss<0.1%", 0.001, False, SHARE),
        ("loss<=0.1%", 0.001, True, SHARE),
        ("loss==0", 0.001, False, SHARE),
        ("lost<=10", 10, True, COUNT),
        ("errors==0", 12, False, COUNT),
        ("errors<=0.12%", 0.0012, True, SHARE),
        ("corrupted!=1", 1, False, COUNT),
        ("duplicated<2k", 2, True, COUNT),
        ("reordered>0.04%", 0.0005, True, SHARE),
        ("late<0.5k", 3, True, COUNT),
        ("rate>=999", 999, True, PER_SECOND),
        ("rate>=1k", 999, False, PER_SECOND),
        ("rate<1k/s", 999, True, PER_SECOND),
        ("rate<0.001M", 999, True, PER_SECOND),
        ("held_back==0", None, False, COUNT),
        ("unsent<1%", None, False, SHARE),
    ],
)
def test_verdicts(expression: str, observed: float | None, passed: bool, unit: Unit) -> None:
    """What is observed, whether it is what was wanted; what was not measured is not."""
    verdict = Objective.parse(expression).evaluate(MEASURED)
    assert verdict.expression == expression.strip()
    assert verdict.passed is passed
    assert verdict.unit is unit
    assert verdict.observed == (None if observed is None else pytest.approx(observed, rel=1e-3))


@pytest.mark.parametrize(
    ("expression", "observed", "passed"),
    [
        ("held_back==0", 50, False),
        ("held_back<=0.25%", 0.0025, True),
        ("unsent<2", 2, False),
        ("unsent<0.1%", 0.0001, True),
        # what completed in the 10 s in which exchanges left, though the last echo came at 12 s
        ("rate>=999/s", 999, True),
    ],
)
def test_open_loop(expression: str, observed: float, passed: bool) -> None:
    """What was held back is a share of what was due; the rate is that of sending."""
    sending = Sending(20_000, 9_998, 10 * SECOND, 10 * SECOND, HeldBack(50, 2, 7))
    measured = samples.bench(counts=MEASURED.counts, elapsed_ns=12 * SECOND, sending=sending)
    verdict = Objective.parse(expression).evaluate(measured)
    assert (verdict.observed, verdict.passed) == (observed, passed)


@pytest.mark.parametrize(
    ("expression", "observed", "passed"),
    [
        ("jitter<2ms", MS, True),
        ("variation.p(99)<1ms", 2 * MS, False),
        ("out.p(50)<1ms", 3, True),
        ("back.p(50)<1ms", None, False),
        ("extent.max<=3", 3, True),
    ],
)
def test_datagrams(expression: str, observed: float | None, passed: bool) -> None:
    """What a path does to datagrams has its limits too; an extent counts datagrams."""
    measured = samples.bench(
        jitter=Jitter(10 * MS, 10, 5 * MS),
        distributions={
            "variation": Histogram.of([2 * MS]),
            "extent": Histogram.of([1, 3]),
            "out": Histogram.of([3]),
        },
    )
    verdict = Objective.parse(expression).evaluate(measured)
    assert (verdict.observed, verdict.passed) == (observed, passed)


@pytest.mark.parametrize(
    "expression", ["errors==0", "loss==0", "rate>=0", "p(99)<1h", "max>=0", "lost==0", "jitter>=0"]
)
def test_nothing_measured_is_nothing_met(expression: str) -> None:
    """A run in which nothing was sent meets no objective."""
    nothing = samples.bench(counts=Counts(), elapsed_ns=0, latencies={})
    assert Objective.parse(expression).evaluate(nothing) == Verdict(
        expression, None, False, Objective.parse(expression).unit
    )


def test_nothing_reordered() -> None:
    """Datagrams that all came in their order meet what is asked of reordering; if none came, nothing does."""
    objective = Objective.parse("extent.max<3")
    verdict = objective.evaluate(samples.bench(jitter=Jitter(0, 10, 0)))
    assert (verdict.observed, verdict.passed) == (0, True)
    assert not objective.evaluate(samples.bench()).passed


def test_while_it_is_measured() -> None:
    """A part of a result is looked at in the same way."""
    part = Part(Counts(10, 10), Connections(1, 1, 0), {}, {"response": Histogram.of([5])}, elapsed_ns=SECOND)
    for expression in ("p(99)<=5ns", "rate==10", "errors==0", "loss==0"):
        assert Objective.parse(expression).evaluate(part).passed
    assert not Objective.parse("service.p(99)<=5ns").evaluate(part).passed


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "not a metric, a comparison and a number"),
        ("p(99)", "not a metric, a comparison and a number"),
        ("p(99)=5ms", "not a metric, a comparison and a number"),
        ("p(99)<", "not a metric, a comparison and a number"),
        ("p(99)<5ms<6ms", "not a metric, a comparison and a number"),
        ("p(99) <5 ms", "not a metric, a comparison and a number"),
        ("p(99)=<5ms", "not a metric, a comparison and a number"),
        ("p99<5ms", r"'p99' is not a metric: they are p\(99\)"),
        ("p(0)<5ms", r"'p\(0\)' is not a metric"),
        ("p(101)<5ms", r"'p\(101\)' is not a metric"),
        ("p(99.9999)<5ms", r"'p\(99.9999\)' is not a metric"),
        ("p()<5ms", r"'p\(\)' is not a metric"),
        ("median<5ms", "'median' is not a metric: they are .* rate"),
        ("conect.p(99)<5ms", "'conect' is no distribution: they are response, service"),
        ("service.loss<5%", "write loss, not service.loss"),
        ("a.b.c<5", "'a.b.c' is not a metric"),
        ("jitter<5", "'5' is not a time"),
        ("extent.max<5ms", "'5ms' is not a count"),
        ("extent.max<5%", "'5%' is not a count"),
        ("p(99)<5", "'5' is not a time: write 20ms"),
        ("p(99)<5%", "'5%' is not a time"),
        ("p(99)<5sec", "'5sec' is not a time"),
        ("p(99)<-5ms", "'-5ms' is not a number"),
        ("p(99)<fast", "'fast' is not a number"),
        ("p(99)<.5ms", "'.5ms' is not a number"),
        ("loss<0.001", r"'0.001' is not a share: write 0.1%"),
        ("loss<101%", "'101%' is more than everything"),
        ("rate>5ms", "'5ms' is not a rate"),
        ("errors<5ms", "'5ms' is not a count or a share"),
        ("errors<5/s", "'5/s' is not a count or a share"),
    ],
)
def test_not_understood(expression: str, reason: str) -> None:
    """What cannot be understood is refused in one line that shows what part of it."""
    with pytest.raises(UsageError, match=reason) as caught:
        Objective.parse(expression)
    assert str(caught.value).isprintable()
    assert f"objective '{expression}'" in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=30) | st.text(alphabet="p(99).<>=! 5mskM%\n", max_size=20))
def test_anything(expression: str) -> None:
    """Any text is either an objective or a usage error of one line."""
    refused = None
    try:
        understood = Objective.parse(expression)
    except UsageError as error:
        refused = str(error)
    assert refused.isprintable() if refused is not None else understood.expression == expression.strip()


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 3),
    st.sampled_from(["", "ns", "us", "µs", "μs", "ms", "s", "m", "h"]),
)
def test_limits_are_exact(number: int, digits: int, unit: str) -> None:
    """What was written is what is compared with, digits after the point included."""
    scale = {"": 0, "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
    scale |= {"m": 60 * 10**9, "h": 3600 * 10**9}
    written = f"{number // 10**digits}.{number % 10**digits:0{digits}}" if digits else str(number)
    if not unit and number:
        return
    limit = Objective.parse(f"max<{written}{unit}").limit
    assert limit == Fraction(number, 10**digits) * scale[unit]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("p(99.9)<20ms", "p(99.9)<20ms: 20,004,863 ns, missed"),
        ("loss<1%", "loss<1%: 0.1%, met"),
        ("rate>=2k", "rate>=2k: 999/s, missed"),
        ("reordered<1M", "reordered<1M: 5, met"),
        ("handshake.max<1s", "handshake.max<1s: not measured, missed"),
    ],
)
def test_words(expression: str, words: str) -> None:
    """A verdict is read at a glance."""
    assert str(Objective.parse(expression).evaluate(MEASURED)) == words


@pytest.mark.parametrize(
    ("expression", "observed", "unit", "shown"),
    [
        ("rate>=20k", 19_999.9667, Unit.PER_SECOND, "19,999.9667/s"),
        ("rate>=20k", 19_900.0, Unit.PER_SECOND, "19.9k/s"),
        ("rate>=20k", 20_000.0, Unit.PER_SECOND, "20.0k/s"),
        ("p(99)<20ms", 19_988_479, Unit.NANOSECONDS, "19,988,479 ns"),
        ("loss<0.1%", 0.00100001, Unit.SHARE, "0.100001%"),
        ("calm<0.1%", 0.00100001, Unit.SHARE, "0.1%"),
        ("lost<10k", 9_999, Unit.COUNT, "9,999"),
        ("lost<10k", 10_000, Unit.COUNT, "10,000"),
    ],
)
def test_what_misses_a_limit_by_little_is_not_shown_as_the_limit(
    expression: str, observed: float, unit: Unit, shown: str
) -> None:
    """Three digits are enough, unless they hide why it was missed, or met."""
    assert str(Verdict(expression, observed, False, unit)) == f"{expression}: {shown}, missed"


@pytest.mark.parametrize("expression", ["p(99)<20ms", "loss<0.1%", "rate>=10k", "handshake.p(99)<1s"])
def test_json(expression: str) -> None:
    """A result holds verdicts by its schema, with numbers that JSON has."""
    verdict: dict[str, Any] = Objective.parse(expression).evaluate(MEASURED).to_json()
    assert set(verdict) == {"expression", "observed", "passed", "unit"}
    jsonschema.Draft202012Validator(result_schema()).validate(samples.bench(slo=(verdict,)).to_json())
