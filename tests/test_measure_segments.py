"""Intervals on a grid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.segments import SEGMENTS, Segment, align, segments_of

GRID = 1000
histograms = st.lists(st.integers(1, 10**6), max_size=5).map(Histogram.of)
intervals = st.lists(
    st.builds(
        Interval,
        st.integers(0, 100 * GRID),
        st.integers(0, GRID),
        st.integers(0, 9),
        st.integers(0, 9),
        histograms,
        st.none() | histograms,
    ),
    max_size=30,
)


def interval(start: int, length: int, *samples: int) -> Interval:
    """Return an interval in which these completed, in an open loop."""
    return Interval(start, length, len(samples), 1, Histogram.of(samples), Histogram.of([1] * len(samples)))


def test_align() -> None:
    """Two workers whose clocks tick a little late have the same intervals."""
    assert align(
        [
            interval(0, 1003, 5),
            interval(1003, 999, 6),
            interval(2002, 900, 7),
            interval(-2, 1012, 8, 9),
            interval(1010, 1501),
        ],
        GRID,
    ) == (
        Interval(-2, 1012, 3, 2, Histogram.of([5, 8, 9]), Histogram.of([1, 1, 1])),
        Interval(1003, 1508, 1, 2, Histogram.of([6]), Histogram.of([1])),
        Interval(2002, 900, 1, 1, Histogram.of([7]), Histogram.of([1])),
    )


def test_align_in_a_closed_loop() -> None:
    """What has no service time of its own gets none."""
    one = Interval(0, 1000, 1, 0, Histogram.of([5]))
    assert align([one, one], GRID) == (Interval(0, 1000, 2, 0, Histogram.of([5, 5])),)


@settings(deadline=None)
@given(intervals, st.data())
def test_any_order_and_any_grouping(every: list[Interval], data: st.DataObject) -> None:
    """What is added up in two steps, or another way round, is the same."""
    shuffled = data.draw(st.permutations(every))
    at = data.draw(st.integers(0, len(every)))
    whole = align(every, GRID)
    assert align([*align(shuffled[:at], GRID), *shuffled[at:]], GRID) == whole
    assert sum(one.completed for one in whole) == sum(one.completed for one in every)


@settings(deadline=None)
@given(intervals)
def test_segments(every: list[Interval]) -> None:
    """A run of any length is in few segments, which have all of its samples between them."""
    aligned = align(every, GRID)
    segments = segments_of(aligned, GRID)
    assert len(segments) <= SEGMENTS
    assert all(segment.response.count for segment in segments)
    whole = Histogram.sum(one.response for one in every)
    assert Histogram.sum(segment.response for segment in segments) == whole


def test_segments_are_of_as_many_intervals() -> None:
    """33 intervals make eleven segments of three; what no echo came in is left out."""
    every = [interval(GRID * number, GRID, *[number + 1] * (number not in (3, 4, 5))) for number in range(33)]
    segments = segments_of(every, GRID)
    assert [segment.start_ns for segment in segments] == [
        GRID * 3 * number for number in range(11) if number != 1
    ]
    assert segments[0] == Segment(0, 3 * GRID, Histogram.of([1, 2, 3]))
    assert segments_of([], GRID) == ()


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20).map(Histogram.of))
def test_json(response: Histogram) -> None:
    """A segment comes back from a file as it was."""
    segment = Segment(5, 7, response)
    assert Segment.from_json(segment.to_json()) == segment
