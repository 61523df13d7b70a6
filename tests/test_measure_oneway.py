"""Delays each way, the reflector's dwell time, and how far two clocks are apart."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import MANY, Offset, OneWay, Reflection

NOW = 1_583_020_800 * 10**9


def reflection(
    out: int, dwell: int, back: int, ahead: int = 0, at: int = NOW, *, error: int | None = None
) -> Reflection:
    """Return the times of an exchange with a reflector whose clock is ahead of ours, all in nanoseconds.

    With an `error`, both clocks say that they are synchronised to within it.
    """
    received = at + out + ahead
    answered = received + dwell
    return Reflection(
        at, received, answered, answered - ahead + back, 0, 64, synchronised=error is not None, error_ns=error
    )


def of(*reflections: Reflection) -> OneWay:
    """Return what some exchanges come to."""
    one_way = OneWay()
    for one in reflections:
        one_way.record(one)
    return one_way


@pytest.mark.parametrize("ahead", [0, 37 * 10**9, -(10**18)])
def test_clocks_apart(ahead: int) -> None:
    """However far the clocks are apart, delays are as they are if the fastest exchange took equally long."""
    one_way = of(
        reflection(900, 5, 200, ahead),
        reflection(100, 7, 100, ahead, NOW + 50),
        reflection(100, 6, 300, ahead),
    )
    assert one_way.offset == Offset(ahead, 100)
    assert not one_way.clocks_agree
    assert one_way.out == Histogram.of([900, 100, 100])
    assert one_way.back == Histogram.of([200, 100, 300])
    assert one_way.dwell == Histogram.of([5, 7, 6])
    assert one_way.count == 3


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(-(10**18), 10**18))
def test_estimate_is_no_worse_than_it_says(out: int, back: int, dwell: int, ahead: int) -> None:
    """The clocks are no further from the estimate than its uncertainty, however unequal the ways are."""
    offset = of(reflection(out, dwell, back, ahead)).offset
    assert offset is not None
    assert abs(offset.estimate_ns - ahead) <= offset.uncertainty_ns <= (out + back + 1) // 2


def test_estimate_is_of_the_fastest() -> None:
    """An exchange that waited on its way says less of the clocks than one that did not."""
    one_way = of(
        reflection(50_000, 5, 100, 1000), reflection(100, 5, 100, 1000), reflection(100, 5, 9000, 1000)
    )
    assert one_way.offset == Offset(1000, 100)


def test_samples_are_counted_as_they_come() -> None:
    """However many exchanges there are, few are kept, and all are counted."""
    one_way = OneWay()
    for number in range(10 * MANY + 1):
        one_way.record(reflection(100 + number, 5, 100))
        assert len(one_way._samples) < MANY
    assert one_way.count == one_way.dwell.count == one_way.out.count == 10 * MANY + 1
    assert one_way.out == Histogram.of([100 + number for number in range(10 * MANY + 1)])


def test_synchronised_clocks() -> None:
    """Two clocks that both are synchronised are believed: ways may then be seen to be unequal."""
    one_way = of(reflection(900, 5, 100, error=500), reflection(950, 5, 120, error=300))
    assert one_way.clocks_agree
    assert one_way.error_ns == 500
    assert one_way.offset == Offset(400, 500)
    assert one_way.out == Histogram.of([900, 950])
    assert one_way.back == Histogram.of([100, 120])


@pytest.mark.parametrize(
    "reflections",
    [
        [],
        [reflection(100, 5, 100)],
        [reflection(100, 5, 100, error=50), reflection(100, 5, 100)],
        [dataclasses.replace(reflection(100, 5, 100, error=50), synchronised=False)],
        [dataclasses.replace(reflection(100, 5, 100), synchronised=True)],
        [reflection(100, 5, 100, ahead=151, error=50)],
    ],
    ids=["no exchange", "never", "once not", "an error alone", "no error told", "contradicted"],
)
def test_clocks_that_are_not_believed(reflections: list[Reflection]) -> None:
    """They must say so every time, and how well, and what they show must not contradict it."""
    one_way = of(*reflections)
    assert not one_way.clocks_agree
    assert one_way.out == Histogram.of([100 for _ in reflections])


def test_clocks_just_believed() -> None:
    """The offset that is estimated may be as large as the errors on both sides allow."""
    assert of(reflection(100, 5, 100, ahead=150, error=50)).clocks_agree


def test_clock_that_is_set_meanwhile() -> None:
    """An exchange that a clock makes last less than no time is counted apart, and spoils nothing."""
    one_way = of(reflection(100, -1, 100), reflection(100, 5, -101), reflection(100, 5, 100))
    assert one_way.implausible == 2
    assert one_way.count == 1
    assert one_way.offset == Offset(0, 100)
    assert one_way.dwell == Histogram.of([5])


def test_nothing() -> None:
    """Without exchanges there is no estimate, and no distribution."""
    one_way = of()
    assert one_way.offset is None
    assert one_way.out.to_json() is one_way.back.to_json() is one_way.dwell.to_json() is None


def test_hops() -> None:
    """The hops that packets had left are counted."""
    hops = [dataclasses.replace(reflection(1, 1, 1), ttl=ttl) for ttl in (250, 250, 251)]
    assert of(*hops).ttls == {250: 2, 251: 1}


reflections = st.builds(
    reflection,
    st.integers(0, 10**7),
    st.integers(-1, 10**6),
    st.integers(0, 10**7),
    st.integers(-1000, 1000),
    st.integers(NOW, NOW + 10**12),
    error=st.none() | st.integers(0, 10**6),
)
losses = st.builds(Losses, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(st.lists(reflections), losses)), st.randoms(use_true_random=False))
def test_any_split_is_the_same(parts: list[tuple[list[Reflection], Losses]], order: random.Random) -> None:
    """In however many parts exchanges are recorded, and in whatever order added, the sum is the same."""
    whole, added = OneWay(), OneWay()
    for part, lost in parts:
        for one in part:
            whole.record(one)
        whole.losses += lost
    order.shuffle(parts)
    for part, lost in parts:
        some = of(*part)
        some.losses += lost
        added.add(some)
    for name in ("offset", "clocks_agree", "out", "back", "dwell", "ttls", "losses", "implausible", "count"):
        assert getattr(added, name) == getattr(whole, name), name
    assert (added.synchronised, added.error_ns) == (whole.synchronised, whole.error_ns)


@given(st.lists(reflections), losses)
def test_packed(part: list[Reflection], lost: Losses) -> None:
    """What a worker tells as JSON is all there is."""
    one_way = of(*part)
    one_way.losses += lost
    told = OneWay.unpack(json.loads(json.dumps(one_way.pack())))
    for name in ("offset", "clocks_agree", "out", "back", "dwell", "ttls", "losses", "implausible", "count"):
        assert getattr(told, name) == getattr(one_way, name), name
    assert told.pack() == one_way.pack()
    one_way.add(told)
    assert one_way.count == 2 * told.count


def test_flush_keeps_no_samples() -> None:
    """Samples are forgotten once they are counted, and counted once."""
    one_way = of(*[reflection(100, 5, 100)] * 10)
    one_way.flush()
    assert not one_way._samples
    one_way.flush()
    assert one_way.dwell.count == one_way.out.count == one_way.back.count == 10
