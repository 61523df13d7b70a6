"""Histograms: exact ends, close percentiles, and sums that do not depend on how they were made."""

from __future__ import annotations

import fractions
import json
import math
import tracemalloc
from collections.abc import Callable

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.histogram import HIGHEST_NS, PERCENTILES, Histogram, percentile_key
from tests.samples import encoded_histogram

durations = st.integers(1, HIGHEST_NS)
samples = st.lists(st.one_of(durations, st.integers(1, 5000)), min_size=1, max_size=200)


@given(samples)
def test_percentiles_are_within_a_thousandth_of_a_plain_sort(values: list[int]) -> None:
    """A percentile is the sample of its rank, to three digits; the ends are exact."""
    histogram = Histogram.of(values)
    ordered = sorted(values)
    for percentile in PERCENTILES:
        rank = math.ceil(fractions.Fraction(str(percentile)) * len(values) / 100)
        exact = ordered[rank - 1]
        assert abs(histogram.at_percentile(percentile) - exact) <= exact / 1000
    assert (histogram.minimum, histogram.maximum) == (ordered[0], ordered[-1])
    assert histogram.count == len(values)


@given(samples, st.data())
def test_any_split_of_the_samples_adds_up_to_the_same(values: list[int], data: st.DataObject) -> None:
    """Workers, connections and runs merge exactly, in whatever order."""
    at = data.draw(st.integers(0, len(values)))
    parts = [Histogram.of(values[:at]), Histogram.of(values[at:])]
    total = Histogram()
    for part in data.draw(st.permutations(parts)):
        total.add(part)
    assert total == Histogram.of(values)
    assert total.to_json() == Histogram.of(values).to_json()


@given(samples, samples)
def test_compact(values: list[int], more: list[int]) -> None:
    """What is kept in less memory is the same, and can be counted in."""
    histogram = Histogram.of(values)
    histogram.compact()
    assert histogram == Histogram.of(values)
    assert histogram.to_json() == Histogram.of(values).to_json()
    histogram.compact()
    histogram.record(more)
    assert histogram == Histogram.of(values + more)


def test_compact_with_large_counts() -> None:
    """However many there are."""
    histogram = Histogram()
    histogram.record_counts({7: 1 << 40, 9: 1})
    histogram.compact()
    assert histogram.buckets() == [(7, 1 << 40), (9, 1)]
    empty = Histogram()
    empty.compact()
    assert empty.count == 0


def test_compact_takes_little() -> None:
    """It is less than a quarter of what it was."""

    def size_of(make: Callable[[], Histogram]) -> int:
        tracemalloc.start()
        try:
            kept = make()
            return tracemalloc.get_traced_memory()[0] if kept else 0
        finally:
            tracemalloc.stop()

    def compact() -> Histogram:
        histogram = Histogram.of(range(100_000, 10_000_000, 1000))
        histogram.compact()
        return histogram

    assert size_of(compact) < size_of(lambda: Histogram.of(range(100_000, 10_000_000, 1000))) / 4


@pytest.mark.thorough
@settings(deadline=None, max_examples=20)
@given(samples)
def test_others_read_what_is_encoded(values: list[int]) -> None:
    """The HdrHistogram library finds the same samples, and the same statistics to its resolution."""
    histogram = Histogram.of(values)
    theirs = HdrHistogram.decode(histogram.encode())
    assert theirs.get_total_count() == len(values)
    recorded = [(item.value_iterated_to, item.count_at_value_iterated_to) for item in theirs]
    assert recorded == histogram.buckets()


@settings(deadline=None)
@given(samples)
def test_decode_reverses_encode(values: list[int]) -> None:
    """Nothing is lost on the way through a file."""
    histogram = Histogram.of(values)
    statistics = histogram.to_json()
    assert statistics is not None
    decoded = Histogram.decode(histogram.encode(), statistics)
    assert decoded == histogram
    assert decoded.to_json() == statistics


@given(samples)
def test_statistics_are_in_order(values: list[int]) -> None:
    """No percentile exceeds a higher one, and all lie between the ends."""
    statistics = Histogram.of(values).to_json()
    assert statistics is not None
    ladder = [statistics[key] for key in ("min", *map(percentile_key, PERCENTILES), "max")]
    assert ladder == sorted(ladder)
    assert statistics["min"] <= statistics["mean"] <= statistics["max"]
    assert all(type(value) is int for value in statistics.values())


def test_mean_and_deviation_are_those_of_the_samples() -> None:
    """Within the resolution of three digits."""
    statistics = Histogram.of([1_000_000, 2_000_000, 3_000_000]).to_json()
    assert statistics is not None
    assert statistics["mean"] == pytest.approx(2_000_000, rel=1e-3)
    assert statistics["stddev"] == pytest.approx(816_497, rel=1e-2)


def test_brief() -> None:
    """Three numbers, where a full set would be too many."""
    assert Histogram.of(range(1, 101)).brief() == {"p50": 50, "p99": 99, "max": 100}
    assert Histogram().brief() is None


def test_an_empty_histogram_says_nothing() -> None:
    """No samples: no statistics, no made-up zeros."""
    empty = Histogram.of([])
    assert empty.count == 0
    assert empty.to_json() is None
    assert empty.buckets() == []
    with pytest.raises(ValueError, match="no samples"):
        empty.at_percentile(50)


def test_adding_an_empty_histogram_changes_nothing() -> None:
    """Workers that completed nothing do not spoil the minimum."""
    histogram = Histogram.of([5, 7])
    histogram.add(Histogram())
    assert histogram == Histogram.of([5, 7])


@settings(deadline=None)
@given(st.lists(durations, max_size=50))
def test_unpack_reverses_pack(values: list[int]) -> None:
    """Through the JSON between processes, empty or not, nothing is lost."""
    histogram = Histogram.of(values)
    assert Histogram.unpack(json.loads(json.dumps(histogram.pack()))) == histogram


@pytest.mark.parametrize("packed", [[], [1, 1, [1]], [1, 1, [1, 2], [1]]])
def test_what_is_not_packed_is_not_unpacked(packed: list[object]) -> None:
    """A value has its count."""
    with pytest.raises(ValueError, match=r"unpack|zip"):
        Histogram.unpack(packed)


@settings(deadline=None)
@given(st.lists(st.lists(durations, max_size=20), max_size=5))
def test_sum(parts: list[list[int]]) -> None:
    """The sum has every sample, and its parts are as they were."""
    histograms = [Histogram.of(part) for part in parts]
    assert Histogram.sum(histograms) == Histogram.of(value for part in parts for value in part)
    assert histograms == [Histogram.of(part) for part in parts]


@settings(deadline=None)
@given(st.lists(durations, max_size=20), st.integers(1, 8))
def test_parts(values: list[int], buckets: int) -> None:
    """The parts of a histogram are as small as asked for, and add up to it."""
    whole = Histogram.of(values)
    parts = list(whole.in_parts(buckets))
    assert Histogram.sum(parts) == whole == Histogram.of(values)
    assert [len(part.buckets()) for part in parts[:-1]] == [buckets] * (len(parts) - 1)


def test_less_than_nothing_is_nothing() -> None:
    """What left a nanosecond before it was due was not late."""
    histogram = Histogram.of([-7, 5])
    assert (histogram.minimum, histogram.maximum, histogram.count) == (0, 5, 2)
    assert Histogram.of([-7]).to_json() == Histogram.of([0]).to_json()


def test_samples_beyond_the_bounds_are_counted_and_the_ends_stay_true() -> None:
    """A clock that stood still and a reply after two hours are still samples."""
    histogram = Histogram.of([0, 2 * HIGHEST_NS])
    assert histogram.count == 2
    assert (histogram.minimum, histogram.maximum) == (0, 2 * HIGHEST_NS)


def test_recording_twice_keeps_both_ends() -> None:
    """Later batches widen the ends in both directions."""
    histogram = Histogram.of([10])
    histogram.record([3, 30])
    histogram.record([])
    assert (histogram.minimum, histogram.maximum, histogram.count) == (3, 30, 3)


def test_buckets_hold_all_samples_in_order() -> None:
    """Small values have a bucket each."""
    assert Histogram.of([7, 3, 7]).buckets() == [(3, 1), (7, 2)]


def test_a_histogram_differs_from_what_is_not_the_same() -> None:
    """Equality is of what was counted."""
    assert Histogram.of([1]) != Histogram.of([2])
    assert Histogram.of([1]) != "a histogram"


@pytest.mark.parametrize(
    ("encoded", "statistics"),
    [
        ("not base64!", {"min": 1, "max": 1}),
        ("", {"min": 1, "max": 1}),
        (Histogram.of([1]).encode()[:-6], {"min": 1, "max": 1}),
        (Histogram.of([1]).encode(), {}),
        (Histogram().encode(), {"min": 1, "max": 1}),
        (Histogram.of([5, 9]).encode(), {"min": 9, "max": 5}),
        (Histogram.of([5, 9]).encode(), {"min": 6, "max": 9}),
        (Histogram.of([5, 9]).encode(), {"min": 5, "max": 10**12}),
    ],
)
def test_what_is_not_a_histogram_is_refused(encoded: str, statistics: dict[str, int]) -> None:
    """Whatever is wrong with a file is one kind of error."""
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(encoded, statistics)


def test_what_inflates_to_more_than_a_histogram_is_refused_before_it_has() -> None:
    """A few kilobytes of a file do not become hundreds of megabytes of memory."""
    bomb = encoded_histogram(bytes(128 << 20))
    assert len(bomb) < 1 << 18
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="not a histogram: it inflates to more than 4 MiB"):
            Histogram.decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 5])
def test_others_may_have_any_number_of_digits(digits: int) -> None:
    """Each of their values is counted, the first and the last that they have room for too."""
    theirs = HdrHistogram(1, HIGHEST_NS, digits)
    last = theirs.get_value_from_index(len(theirs.counts) - 1)
    values = [1, 2, 31, *(1 << bits for bits in range(8, 41)), last]
    for value in values:
        assert theirs.record_value(value)
    decoded = Histogram.decode(theirs.encode().decode()).buckets()
    assert [count for _, count in decoded] == [1] * len(values)
    for value, (most, _) in zip(values, decoded, strict=True):
        held = theirs.get_highest_equivalent_value(value)
        assert held <= most < held * 1.001


def test_the_largest_of_ours_is_read() -> None:
    """Every bucket has samples, and as many as a count can hold in its nine bytes."""
    one = b"\xfe" + b"\xff" * 8  # 2^63 - 1, zigzag, in LEB128 whose ninth byte is whole
    histogram = Histogram.decode(encoded_histogram(one * 33_792))
    assert len(histogram.buckets()) == 33_792


@given(st.lists(st.tuples(st.integers(-5, 10**14), st.integers(1, 5))))
def test_counted_samples(counted: list[tuple[int, int]]) -> None:
    """Samples that come with a count are counted as if each had come as often."""
    counts = dict(counted)
    histogram = Histogram()
    histogram.record_counts(counts)
    assert histogram == Histogram.of([value for value, count in counts.items() for _ in range(count)])
    histogram.record_counts({7: 2})
    assert histogram.count == sum(counts.values()) + 2
