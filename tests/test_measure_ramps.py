"""Rates in straight lines, and their integrals, against exact fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.ramps import Leg, Ramp, exactly
from netecho.plans import SECOND, Stage

HOUR = 3600 * SECOND
rates = st.one_of(st.just(0.0), st.integers(1, 10**6).map(float), st.floats(0.01, 1e6))
stages = st.lists(
    st.builds(Stage, st.one_of(st.just(0), st.integers(1, HOUR), st.integers(1, 10 * SECOND)), rates),
    min_size=1,
    max_size=5,
)


def numbers(ramp: Ramp, step: int) -> list[int]:
    """Return some whole numbers, ascending, of which the last ones are not reached any more."""
    assert ramp.legs[-1].after is not None
    return list(range(0, math.ceil(ramp.legs[-1].after) + 2 * step, step))


def test_a_tenth_is_a_tenth() -> None:
    """A rate is the number that was written, not the float nearest to it."""
    assert exactly(0.1) == Fraction(1, 10)
    assert exactly(20_000.0) == 20_000


@pytest.mark.parametrize(
    ("start", "steps", "at", "value", "until"),
    [
        # from, then stages of seconds and targets; after so many seconds it is, and so many were due
        (0, [(10, 1000)], 0, 0, 0),
        (0, [(10, 1000)], 5, 500, 1250),
        (0, [(10, 1000)], 10, 1000, 5000),
        (0, [(10, 1000)], 99, 1000, 5000),
        (0, [(10, 1000), (30, 5000), (10, 0)], 25, 3000, 35_000),
        (0, [(10, 1000), (30, 5000), (10, 0)], 50, 0, 120_000),
        (200, [(10, 200)], 7, 200, 1400),
        (5, [(0, 100), (10, 100)], 0, 100, 0),
        (5, [(0, 100), (10, 100)], 4, 100, 400),
        (7, [(4, 7), (0, 3)], 4, 3, 28),
        (7, [], 9, 7, 63),
    ],
)
def test_values_and_integrals(
    start: int, steps: list[tuple[int, float]], at: int, value: float, until: int
) -> None:
    """Lines from what was reached to what is to be; a stage without duration is a step."""
    ramp = Ramp(Fraction(start), [Stage(seconds * SECOND, target) for seconds, target in steps])
    assert ramp.value_at(at * SECOND) == value
    assert ramp.until(at * SECOND) == until
    tripled = Ramp(Fraction(start), [Stage(s * SECOND, target) for s, target in steps], scale=3)
    assert tripled.value_at(at * SECOND) == 3 * value
    assert tripled.until(at * SECOND) == 3 * until


def test_durations() -> None:
    """A ramp is as long as its stages; without any, as long as it is told."""
    assert Ramp(Fraction(0), [Stage(3, 1.0), Stage(4, 1.0)]).duration_ns == 7
    assert Ramp(Fraction(1), duration_ns=5).duration_ns == 5
    assert Ramp(Fraction(1)).duration_ns is None
    assert Ramp(Fraction(1), duration_ns=5 * SECOND).until(9 * SECOND) == 5


@settings(deadline=None)
@given(rates, stages, st.integers(1, 1000))
def test_times_are_where_the_integral_is(start: float, steps: list[Stage], resolution: int) -> None:
    """Each number is due where the integral reaches it, and none is left out or too many.

    To a nanosecond, but for what a float leaves open: where the rate falls to nothing, the last few of
    millions are due so far apart that this is more.
    """
    ramp = Ramp(exactly(start), steps)
    total = ramp.legs[-1].after
    assert total is not None
    assert ramp.duration_ns is not None
    wanted = numbers(ramp, max(1, math.ceil(total) // resolution))
    times = list(itertools.chain.from_iterable(ramp.times([wanted[:3], wanted[3:]])))
    assert len(times) == sum(number < total for number in wanted)
    assert times == sorted(times)
    for number, time in zip(wanted, times, strict=False):
        assert 0 <= time < ramp.duration_ns
        open_ = total / 2**50
        assert ramp.until(max(0, time - 1)) - open_ <= number <= ramp.until(time + 2) + open_


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 997), st.integers(0, 10**12))
def test_a_constant_rate_is_exact(numerator: int, denominator: int, number: int) -> None:
    """However far into a run, to the nanosecond that the fraction says."""
    ramp = Ramp(Fraction(numerator, denominator))
    assert list(ramp.times([[number]])) == [[number * SECOND * denominator // numerator]]


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_between_numbers(rate: int, seconds: int, part: float) -> None:
    """Places that are no whole numbers have their time too, and none is beyond the end."""
    ramp = Ramp(Fraction(rate), duration_ns=seconds * SECOND)
    place = part * rate * seconds
    (times,) = ramp.times([[place]])
    assert times[0] == pytest.approx(place / rate * SECOND, abs=1, rel=1e-15)


@pytest.mark.parametrize(
    ("length", "start", "end", "before", "place"),
    [
        # the last float before the end, which is rounded up to it, or under a root to less than nothing
        (57_366_976_068, "692.156", "692.156", "458146.8", 497853.6966873226),
        (36_718_834_753, "1082.755", "1702.585", "10866.526", 62003.7455954605),
        (17_681_864_432, "937.736", "0", "7098.181", 15388.641412502975),
    ],
)
def test_what_is_rounded_stays_before_the_end(
    length: int, start: str, end: str, before: str, place: float
) -> None:
    """Nothing is due at the end of a leg, where the next one begins."""
    leg = Leg(0, length, Fraction(start), Fraction(end), Fraction(before))
    assert leg.after is not None
    assert place < leg.after
    assert leg.times([place]) == [length - 1]


def test_nothing_is_due_at_a_rate_of_nothing() -> None:
    """A pause between two stages."""
    ramp = Ramp(Fraction(10), [Stage(SECOND, 10.0), Stage(0, 0.0), Stage(SECOND, 0.0), Stage(SECOND, 20.0)])
    times = list(itertools.chain.from_iterable(ramp.times([range(100)])))
    assert len(times) == 20
    assert times[9] == SECOND * 9 // 10
    assert times[10] == 2 * SECOND
    assert times[11] == 2 * SECOND + math.isqrt(SECOND**2 // 10)
