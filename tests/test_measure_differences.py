"""Signed times of any size, in distributions that are the same however they were split."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.measure.differences import Differences
from netecho.measure.histogram import Histogram

samples = st.lists(st.integers(-(10**15), 10**15) | st.integers(-20, 20))
CELLS = 8


def of(values: list[int], cells: int = CELLS) -> Differences:
    """Return the distribution of some values."""
    differences = Differences(cells)
    differences.record(values)
    return differences


@given(st.lists(samples), st.randoms(use_true_random=False))
def test_any_split_is_the_same(parts: list[list[int]], order: random.Random) -> None:
    """In however many parts samples are recorded, and in whatever order added, the sum is the same."""
    whole = of([value for part in parts for value in part])
    order.shuffle(parts)
    one_by_one, added = Differences(CELLS), Differences(CELLS)
    for part in parts:
        one_by_one.record(part)
        added.add(of(part))
    assert one_by_one == added == whole


@given(samples.filter(bool), st.integers(-(10**15), 10**15))
def test_over(values: list[int], base: int) -> None:
    """Every sample is found above the base, within a cell, and the extremes exactly; none below nothing."""
    differences = of(values)
    above = differences.over(base)
    assert above.count == len(values)
    assert above.minimum == max(0, min(values) - base)
    assert above.maximum == max(0, max(values) - base)
    assert len(differences._counts) <= CELLS


@given(samples)
def test_packed(values: list[int]) -> None:
    """It goes through JSON as it is."""
    differences = of(values)
    assert Differences.unpack(json.loads(json.dumps(differences.pack()))) == differences


def test_few_are_exact() -> None:
    """As long as there are no more values than cells, each is kept to the nanosecond, however far off."""
    far = 10**18
    assert of([far + 5, far + 7, far + 5]).over(far) == Histogram.of([5, 7, 5])
    assert of([-far + 5, -far - 5]).over(-far - 5) == Histogram.of([0, 10])


def test_resolution() -> None:
    """Many values share cells, whose width is the smallest power of two that leaves few enough."""
    values = list(range(1000, 1064))
    assert of(values, 64).over(1000).count == 64
    coarse = of(values, 8).over(1000)
    assert {value for value, _ in coarse.buckets()} == {4, 12, 20, 28, 36, 44, 52, 60}
    assert {count for _, count in coarse.buckets()} == {8}
    assert (coarse.minimum, coarse.maximum) == (0, 63)
    assert of(values, 8).over(990).minimum == 10


def test_nothing() -> None:
    """Without samples there is nothing, and adding that changes nothing."""
    nothing, some = of([]), of([3])
    assert nothing.over(0).to_json() is None
    some.add(nothing)
    assert some == of([3])
    nothing.add(some)
    assert nothing == some
    assert nothing != 3


def test_does_not_hash() -> None:
    """It changes as it counts."""
    with pytest.raises(TypeError):
        hash(of([]))
