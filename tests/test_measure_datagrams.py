"""What a path does to datagrams, against the definitions taken at their word."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure import datagrams
from netecho.measure.counts import Counts, Outcome
from netecho.measure.datagrams import DatagramFlow, Path, from_minimum
from netecho.measure.histogram import PERCENTILES, Histogram, percentile_key
from netecho.measure.recorder import Recorder
from netecho.plans import SECOND

Arrival = tuple[int, int, int]
"""A datagram's number, when it left and when it came."""


def extents(numbers: Sequence[int]) -> list[int]:
    """Return the extent of each that is reordered (RFC 4737 sections 3.3 and 4.2), as they arrive."""
    found = []
    expected = 0
    for i, number in enumerate(numbers):
        if number >= expected:
            expected = number + 1
        else:
            found.append(i - min(j for j in range(i) if numbers[j] > number))
    return found


def variations(arrivals: Sequence[Arrival]) -> list[int]:
    """Return by how much the delays of neighbours in the order of sending differ (RFC 3393)."""
    delays = {number: came - left for number, left, came in arrivals}
    return [abs(delays[one + 1] - delays[one]) for one in delays if one + 1 in delays]


def jitter(arrivals: Sequence[Arrival]) -> int:
    """Return the jitter after the last of these, in the arithmetic of RFC 3550 appendix A.8."""
    sixteenths = 0
    for (_, earlier_left, earlier_came), (_, left, came) in itertools.pairwise(arrivals):
        difference = abs((came - earlier_came) - (left - earlier_left))
        sixteenths += difference - ((sixteenths + 8) >> 4)
    return sixteenths >> 4


def walked(arrivals: Sequence[Arrival]) -> Path:
    """Return the path that these came by."""
    path = Path()
    for arrival in arrivals:
        path.arrived(*arrival)
    return path


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        # numbers as they arrive, and the extents of those that are reordered
        ([0, 1, 2, 3], []),
        # RFC 4737 section 7.1: one datagram is late by four places
        ([1, 2, 3, 5, 6, 7, 8, 4, 9, 10], [4]),
        # neighbours that change places
        ([0, 2, 1, 4, 3], [1, 1]),
        # one that overtakes three others: these are the reordered ones
        ([0, 4, 1, 2, 3, 5], [1, 2, 3]),
        # what is lost is nobody's extent
        ([0, 5, 9, 6], [1]),
        ([9, 5, 7, 6, 8], [1, 2, 3, 4]),
    ],
)
def test_extents(numbers: list[int], expected: list[int]) -> None:
    """How many had come since the first that overtook it."""
    path = walked([(number, 0, 10) for number in numbers])
    assert path.arrivals == len(numbers)
    assert extents(numbers) == expected
    assert path.extent == Histogram.of(expected)
    assert path.arrivals == len(numbers)


@pytest.mark.parametrize(
    ("delays", "expected", "smoothed"),
    [
        # delays in the order of sending, differences of neighbours, and the jitter after the last
        ([100], [], 0),
        ([100, 100, 100], [0, 0], 0),
        ([100, 160, 100], [60, 60], 7),
        ([1600, 0], [1600], 100),
    ],
)
def test_variation_and_jitter(delays: list[int], expected: list[int], smoothed: int) -> None:
    """Of datagrams that come in order, one a microsecond."""
    arrivals = [(n, n * 1000, n * 1000 + delay) for n, delay in enumerate(delays)]
    path = walked(arrivals)
    assert path.variation == Histogram.of(expected)
    assert path.jitter_ns == smoothed == jitter(arrivals)


def test_paths_look_in_turn() -> None:
    """Paths that began together do not all look at what came at the same time, which would take long."""
    paths = [Path() for _ in range(32)]
    looked = [
        sum(path.arrived(number, 0, 1000 + place) or not path._pending for place, path in enumerate(paths))
        for number in range(1000)
    ]
    assert looked[0] == 32
    assert max(looked[1:]) == 1


def test_a_steady_difference_is_the_jitter() -> None:
    """Delays that go to and fro by a millisecond have a jitter of a millisecond, in time."""
    path = walked([(n, n * SECOND, n * SECOND + n % 2 * 1_000_000) for n in range(500)])
    assert path.jitter_ns == pytest.approx(1_000_000, rel=1e-3)


def test_how_far_apart_clocks_are_makes_no_difference() -> None:
    """A stamp of another clock will do, be it ahead or behind."""
    arrivals = [(n, n * 1000, n * 1000 + delay) for n, delay in enumerate([5, 900, 30, 7])]
    here = walked(arrivals)
    for offset in (-(10**18), 10**18):
        there = walked([(n, left, came + offset) for n, left, came in arrivals])
        assert (there.variation, there.jitter_ns) == (here.variation, here.jitter_ns)


@settings(deadline=None)
@given(st.permutations(range(30)), st.sets(st.integers(0, 29)), st.data())
def test_any_order(numbers: list[int], lost: set[int], data: st.DataObject) -> None:
    """In whatever order they come, and whatever is forgotten on the way that is of no more use."""
    delays = data.draw(st.lists(st.integers(0, 10**6), min_size=30, max_size=30))
    coming = [number for number in numbers if number not in lost]
    arrivals = [(n, n * 1000, n * 1000 + delays[n]) for n in coming]
    path = Path()
    for index, arrival in enumerate(arrivals):
        path.arrived(*arrival)
        if data.draw(st.booleans()):
            path.forget(min(coming[index + 1 :], default=30))
    assert path.extent == Histogram.of(extents(coming))
    assert path.variation == Histogram.of(variations(arrivals))
    assert path.jitter_ns == jitter(arrivals)


@pytest.mark.thorough
def test_what_is_kept() -> None:
    """However many come, memory is for what has not come, and may; of what may, what is of use is kept."""
    recorder = Recorder(closed_loop=False)
    flow = DatagramFlow(recorder)
    for number in range(30_000):
        assert flow.sent(0, number, 1) == number
        if number % 10:
            flow.replied(number, number + 5, 1)
        if number >= 1000:
            flow.give_up(number - 1000)
        assert len(flow.path._transits) + len(flow.path._beyond) <= 2048
        assert len(flow.path._pending) <= 128
        recorder.flush()
    assert flow.path.variation.count == 24_000
    first = flow.oldest()
    assert first == 29_000
    assert flow.replied(first, 10**9, 1) is Outcome.COMPLETED
    assert flow.path.extent.maximum == 900


Step = tuple[str, int, bool]
steps = st.lists(
    st.tuples(
        st.sampled_from(["send"] * 4 + ["reply"] * 4 + ["again", "stray", "give up", "phase"]),
        st.integers(0, 1000),
        st.booleans(),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=3), st.booleans())
def test_each_flow_and_the_total(every: list[list[Step]], tidy: bool) -> None:
    """What is counted for the flows is what is counted in all, once; and so is what was reordered.

    Whether what is of no more use is forgotten at every arrival, or hardly ever.
    """
    with contextlib.ExitStack() as stack:
        if tidy:
            stack.enter_context(mock.patch.object(datagrams, "_BATCH", 1))
            stack.enter_context(mock.patch.object(datagrams, "_ROOM", -1))
        walk(every)


def walk(every: list[list[Step]]) -> None:
    """Let these steps happen, in turn for each flow, and look at the counts."""
    recorders = [Recorder(closed_loop=False)]
    flows = [DatagramFlow(recorders[0]) for _ in every]
    now = 0
    for turn in itertools.zip_longest(*every):
        for flow, step in zip(flows, turn, strict=True):
            if step is None:
                continue
            what, choice, intact = step
            now += choice
            waiting = list(flow._outstanding)
            ended = sorted(set(range(flow.newest + 1)) - set(waiting))
            if what == "send":
                flow.sent(now, now, 10)
            elif what == "reply" and waiting:
                flow.replied(waiting[choice % len(waiting)], now, 10, intact=intact)
            elif what == "again" and ended:
                flow.replied(ended[choice % len(ended)], now, 10)
            elif what == "stray":
                flow.replied(None if intact else flow.newest + 1, now, 10)
            elif what == "give up":
                flow.give_up(now - choice)
            elif what == "phase":
                recorders.append(Recorder(closed_loop=False))
                for one in flows:
                    one.record_in(recorders[-1])
    if len(recorders) > 1:
        # What became of what was sent before is counted there.
        assert all(flow.counts.sent == flow.newest + 1 - flow._since for flow in flows)
    total = Counts()
    for flow in flows:
        total.add(flow.counts)
        assert flow.path.extent.count == flow.counts.reordered
        assert flow.path.arrivals == flow.counts.completed
    assert total == dataclasses.replace(recorders[-1].counts, bytes_sent=0, bytes_received=0)


@mock.patch.object(datagrams, "_BATCH", 1)
@mock.patch.object(datagrams, "_ROOM", -1)
def test_what_may_yet_come_is_not_forgotten() -> None:
    """However little room there is, the gap of one that is waited for is kept."""
    flow = DatagramFlow(Recorder(closed_loop=False))
    for _ in range(4):
        flow.sent(0, 0, 1)
    for number in (1, 2, 3, 0):
        assert flow.replied(number, 10 * number, 1) is Outcome.COMPLETED
    assert flow.path.extent == Histogram.of([3])
    assert flow.path.variation == Histogram.of([10, 10, 10])


def test_another_phase() -> None:
    """What was sent in the warm-up is no part of a flow's numbers, whenever it comes."""
    warmup, measured = Recorder(closed_loop=False), Recorder(closed_loop=False)
    flow = DatagramFlow(warmup)
    for _ in range(4):
        flow.sent(0, 0, 10)
    flow.replied(1, 50, 10)
    flow.record_in(measured)
    for _ in range(2):
        flow.sent(100, 100, 10)
    flow.replied(4, 150, 10)
    flow.replied(0, 160, 10)  # reordered, there
    flow.replied(0, 160, 10)
    flow.give_up(50)
    flow.replied(2, 170, 10)
    flow.replied(5, 180, 10)
    assert flow.counts == Counts(sent=2, completed=2)
    assert measured.counts == Counts(sent=2, completed=2, bytes_sent=20, bytes_received=20)
    assert warmup.counts == Counts(4, 2, 2, 1, 1, 1, bytes_sent=40, bytes_received=40)
    assert flow.path.extent.count == 0
    assert flow.path.variation == Histogram.of([30])


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
def test_from_minimum(delays: list[int]) -> None:
    """By how much delays exceed the smallest is a shift of their distribution."""
    least = min(delays)
    found = from_minimum(Histogram.of(delays))
    exact = Histogram.of([delay - least for delay in delays])
    assert found is not None
    assert found["max"] == exact.maximum
    for percentile in PERCENTILES:
        wanted = exact.at_percentile(percentile)
        assert found[percentile_key(percentile)] == pytest.approx(wanted, abs=1 + max(delays) / 1000)


def test_nothing_from_minimum() -> None:
    """Of no delays there is no smallest."""
    assert from_minimum(Histogram()) is None


def test_no_short_cut() -> None:
    """A closed loop's turn is not taken in one step, which would leave out the path."""
    flow = DatagramFlow(Recorder(closed_loop=True))
    assert flow.turn(flow.sent(0, 0, 1), 10) is None
    assert flow.counts == Counts(sent=1)
    assert flow.losses is None
