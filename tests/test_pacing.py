"""When exchanges are due."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.pacing import Agenda, Pacer, Schedule, connections_at, lanes_of
from netecho.plans import SECOND, Arrival, BenchPlan, Stage, Target

CONSTANT, POISSON, UNIFORM = Arrival.CONSTANT, Arrival.POISSON, Arrival.UNIFORM
KOLMOGOROV = 1.63
"""The statistic times the root of the count exceeds this in one of a hundred samples of the distribution."""
arrivals = st.sampled_from(Arrival)
stages = st.lists(
    st.builds(Stage, st.integers(0, 3 * SECOND), st.integers(0, 200).map(float)), max_size=3
).map(tuple)
schedules = st.builds(
    Schedule,
    rate=st.builds(Fraction, st.integers(100, 300), st.integers(1, 7)),
    arrival=arrivals,
    seed=st.integers(0, 2**32),
    stages=stages,
    duration_ns=st.integers(SECOND // 10, 3 * SECOND),
    count=st.none() | st.integers(1, 30) | st.integers(1, 500),
)


def test_table() -> None:
    """Count and duration each end the schedule, whichever comes first; without them it has no end."""
    #         interval  count  duration  due times, and then none
    for interval, count, duration, due in [
        (10, 3, None, [0, 10, 20]),
        (10, None, 25, [0, 10, 20]),
        (10, None, 30, [0, 10, 20]),
        (10, None, 1, [0]),
        (10, 2, 100, [0, 10]),
        (10, 100, 15, [0, 10]),
    ]:
        pacer = Pacer(interval, count, duration)
        assert [pacer.due_ns(sequence) for sequence in range(len(due) + 1)] == [*due, None]
    assert Pacer(10).due_ns(10**12) == 10**13


@settings(deadline=None)
@given(st.integers(1, 10**10), st.integers(0, 10**6))
def test_no_drift(interval: int, sequence: int) -> None:
    """However far into a run, a probe is due at an exact multiple of the interval."""
    assert Pacer(interval).due_ns(sequence) == sequence * interval


@pytest.mark.parametrize("arrival", [CONSTANT, UNIFORM])
@pytest.mark.parametrize(
    ("rate", "seconds", "exchanges"),
    [(100, 10, 1000), (Fraction(1, 10), 100, 10), (3, 1, 3), (8, Fraction(1, 2), 4), (10_000, 1, 10_000)],
)
def test_as_many_as_the_rate_says(
    arrival: Arrival, rate: Fraction, seconds: Fraction, exchanges: int
) -> None:
    """100 a second for 10 seconds is exactly 1000, all of them within the 10 seconds."""
    duration = int(seconds * SECOND)
    times = list(Schedule(Fraction(rate), arrival, 1, duration_ns=duration).times())
    assert len(times) == exchanges
    assert 0 <= times[0] <= times[-1] < duration


def test_constant() -> None:
    """At equal distances from the start; a third of a second is not rounded twice."""
    assert list(Schedule(Fraction(3), count=4).times()) == [0, 333_333_333, 666_666_666, SECOND]
    assert list(Schedule(Fraction(4), count=9, duration_ns=SECOND).times()) == [
        0,
        *(SECOND * quarter // 4 for quarter in (1, 2, 3)),
    ]


def test_stages() -> None:
    """A ramp from nothing to 1000/s in 10 s is 5000 exchanges, the k-th at the root of k."""
    times = list(Schedule(Fraction(0), stages=(Stage(10 * SECOND, 1000.0),)).times())
    assert len(times) == 5000
    for number in (0, 1, 2, 777, 4999):
        assert abs(times[number] - math.isqrt(number * 2 * SECOND**2 // 100)) <= 1


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        (Schedule(Fraction(10)), None),
        (Schedule(Fraction(10), count=10), SECOND),
        (Schedule(Fraction(10), count=10, index=1, parts=2), SECOND),
        (Schedule(Fraction(10), count=10, duration_ns=SECOND), SECOND),
        (Schedule(Fraction(10), count=10, duration_ns=SECOND // 2), SECOND // 2),
        (Schedule(Fraction(10), count=2, duration_ns=SECOND), SECOND // 5),
        (Schedule(Fraction(10), duration_ns=7), 7),
        (Schedule(Fraction(0), stages=(Stage(SECOND, 4.0), Stage(SECOND, 4.0)), count=4), SECOND * 3 // 2),
        (Schedule(Fraction(0), stages=(Stage(SECOND, 4.0), Stage(SECOND, 4.0)), count=99), 2 * SECOND),
    ],
)
def test_lengths(schedule: Schedule, length: int | None) -> None:
    """How long a schedule takes is until one more would have been due, or until it is ended."""
    assert schedule.length_ns == length


def gaps(places: Sequence[float]) -> list[float]:
    """Return the distances between neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(places)]


def distance(sample: list[float], distribution: Callable[[float], float]) -> float:
    """Return the statistic of Kolmogorov and Smirnov, times the root of the count."""
    ordered, count = sorted(sample), len(sample)
    return math.sqrt(count) * max(
        max((rank + 1) / count - expected, expected - rank / count)
        for rank, value in enumerate(ordered)
        for expected in [distribution(value)]
    )


def exponential(value: float) -> float:
    """Return the share of exponential gaps of mean 1 that are at most this."""
    return 1 - math.exp(-value)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_poisson_arrivals_have_exponential_gaps(seed: int) -> None:
    """By the test of Kolmogorov and Smirnov, which constant and uniform arrivals fail."""
    for arrival, passes in ((POISSON, True), (CONSTANT, False), (UNIFORM, False)):
        times = list(Schedule(Fraction(1000), arrival, seed, count=20_000).times())
        found = distance([gap / 1e6 for gap in gaps(times)], exponential)
        assert (found < KOLMOGOROV) is passes


def test_poisson_gaps_are_independent() -> None:
    """A gap says nothing of the next one."""
    found = gaps(list(Schedule(Fraction(1000), POISSON, 5, count=20_000).times()))
    assert abs(statistics.correlation(found[:-1], found[1:])) < 0.02


@pytest.mark.thorough
def test_poisson_arrivals_on_a_ramp() -> None:
    """In the time of the ramp's own integral they are those of a steady rate."""
    schedule = Schedule(Fraction(0), POISSON, 3, (Stage(20 * SECOND, 1000.0), Stage(10 * SECOND, 0.0)))
    places = [float(schedule.ramp.until(time)) for time in schedule.times()]
    assert len(places) == pytest.approx(15_000, rel=0.03)
    assert distance(gaps(places), exponential) < KOLMOGOROV


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_uniform_arrivals_have_a_slot_each(seed: int) -> None:
    """Each is somewhere in its own slot, so that they are never a slot away from the rate."""
    times = list(Schedule(Fraction(1000), UNIFORM, seed, count=300).times())
    assert [time // 1_000_000 for time in times] == list(range(300))


def test_uniform_arrivals_are_anywhere_in_their_slots() -> None:
    """No place in it is likelier than another."""
    times = Schedule(Fraction(1000), UNIFORM, 1, count=20_000).times()
    assert distance([time % 1_000_000 / 1e6 for time in times], lambda value: value) < KOLMOGOROV


@pytest.mark.parametrize("arrival", [POISSON, UNIFORM])
def test_seeds(arrival: Arrival) -> None:
    """A seed says it all, and another one says something else."""
    one, again, other = (list(Schedule(Fraction(9), arrival, seed, count=50).times()) for seed in (1, 1, 2))
    assert one == again
    assert one != other


@settings(deadline=None)
@given(schedules, st.integers(1, 5), st.integers(1, 3))
def test_parts_are_the_whole(schedule: Schedule, parts: int, again: int) -> None:
    """However it is divided, and divided again, every exchange is one part's, at its own time."""
    whole = list(schedule.times())
    assert whole == sorted(whole)
    split = [part for half in schedule.split(parts) for part in half.split(again)]
    divided = [list(part.times()) for part in split]
    assert sorted(itertools.chain.from_iterable(divided)) == whole
    sizes = [len(times) for times in divided]
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(schedules, st.integers(1, 6))
def test_lanes(schedule: Schedule, lanes: int) -> None:
    """Where the rate is each connection's, an agenda has all of theirs; a count is for all together."""
    each = [schedule.lane(number, lanes) for number in range(lanes)]
    agenda = Agenda(each)
    found = agenda.due_until(10 * SECOND)
    expected = [(time, number) for number, lane in enumerate(each) for time in lane.times()]
    assert found == sorted(expected)
    assert agenda.due == len(expected)
    assert agenda.next_due_ns is None
    if schedule.arrival is CONSTANT:
        assert [due for due, _ in found] == list(
            Schedule(
                schedule.rate,
                stages=schedule.stages,
                duration_ns=schedule.duration_ns,
                count=schedule.count,
                multiple=lanes,
            ).times()
        )
    elif schedule.count is not None:
        assert sum(lane.count or 0 for lane in each) == schedule.count


@pytest.mark.parametrize("arrival", Arrival)
def test_each_lane_has_the_rate(arrival: Arrival) -> None:
    """20/s on each of three connections for 10 s is 200 on each, at times of its own."""
    whole = Schedule(Fraction(20), arrival, duration_ns=10 * SECOND)
    lanes = [list(whole.lane(number, 3).times()) for number in range(3)]
    for times in lanes:
        assert len(times) == pytest.approx(200, abs=40 if arrival is POISSON else 0)
    assert len(set(itertools.chain.from_iterable(lanes))) == sum(map(len, lanes))


plans = st.builds(
    dataclasses.replace,
    st.sampled_from(
        [
            BenchPlan(Target(), rate=200.0, duration_ns=SECOND),
            BenchPlan(Target(), rate=200.0, exchanges=1, duration_ns=None),
            BenchPlan(Target(), rate_per_connection=20.0, duration_ns=SECOND),
            BenchPlan(Target(), rate_per_connection=20.0, exchanges=1, duration_ns=None),
            BenchPlan(Target(), stages=(Stage(SECOND, 90.0), Stage(SECOND, 0.0)), duration_ns=None),
        ]
    ),
    connections=st.integers(1, 12),
    arrival=arrivals,
    seed=st.integers(0, 99),
)


@settings(deadline=None)
@given(plans, st.integers(1, 60), st.integers(1, 5), st.integers(1, 3))
def test_lanes_of_parts_are_those_of_the_whole(plan: BenchPlan, count: int, parts: int, again: int) -> None:
    """However a plan is divided, each exchange is due in one part, at its time, and as many as it is for."""
    if plan.exchanges is not None:
        plan = dataclasses.replace(plan, exchanges=count)
    whole = sorted(time for lane in lanes_of(plan) for time in lane.times())
    split = [part for half in plan.split(parts) for part in half.split(again)]
    divided = [[list(lane.times()) for lane in lanes_of(part)] for part in split]
    assert sorted(time for lanes in divided for times in lanes for time in times) == whole
    assert [sum(map(len, lanes)) for lanes in divided if plan.exchanges] == [
        part.exchanges for part in split if plan.exchanges
    ]
    assert [len(lanes) for lanes in divided] == [
        1 if plan.rate_per_connection is None else part.connections for part in split
    ]


def test_a_closed_loop_has_no_lanes() -> None:
    """Nothing in it is due."""
    assert lanes_of(BenchPlan(Target())) == ()


def test_a_plan_in_full() -> None:
    """What a plan says of its rate is the schedule's."""
    steps = (Stage(SECOND, 5.0),)
    plan = BenchPlan(
        Target(),
        rate=0.1,
        arrival=POISSON,
        seed=7,
        stages=steps,
        exchanges=9,
        duration_ns=None,
        connections=3,
    )
    assert lanes_of(plan) == (Schedule(Fraction(1, 10), POISSON, 7, steps, SECOND, 9),)


def test_connections_over_time() -> None:
    """A ramp of connections begins with those there are, and is divided exactly."""
    steps = (Stage(10 * SECOND, 110.0), Stage(10 * SECOND, 110.0), Stage(SECOND, 5.0))
    plan = BenchPlan(Target(), connections=10, connections_stages=steps, duration_ns=None)
    times = [0, SECOND - 1, SECOND, 10 * SECOND, 20 * SECOND, 21 * SECOND, 99 * SECOND]
    wanted = [10, 19, 20, 110, 110, 5, 5]
    assert [connections_at(plan, time) for time in times] == wanted
    for parts in (2, 3, 10):
        for time, total in zip(times, wanted, strict=True):
            assert sum(connections_at(part, time) for part in plan.split(parts)) == total
    assert connections_at(BenchPlan(Target(), connections=7), SECOND) == 7


@settings(deadline=None)
@given(
    schedules, st.lists(st.tuples(st.integers(0, SECOND // 2), st.none() | st.integers(0, 40)), max_size=30)
)
def test_agenda(schedule: Schedule, steps: list[tuple[int, int | None]]) -> None:
    """Whenever it is asked, it has all that is due since, up to as much as is wanted, and what is next."""
    agenda = Agenda([schedule])
    rest = list(schedule.times())
    total, now = len(rest), 0
    for time, at_most in steps:
        now += time
        due = [time for time in rest if time <= now][:at_most]
        rest = rest[len(due) :]
        assert agenda.due_until(now, at_most) == [(time, 0) for time in due]
        assert agenda.next_due_ns == (rest[0] if rest else None)
        assert agenda.due == total - len(rest)


def test_no_more_than_is_wanted() -> None:
    """An agenda that is behind is caught up with in bursts."""
    agenda = Agenda([Schedule(Fraction(1000))])
    for burst in (2, 3, 100, 1000):
        assert len(agenda.due_until(10 * SECOND, burst)) == burst
    assert agenda.next_due_ns == 1_105_000_000


def test_an_agenda_without_end() -> None:
    """A schedule that nothing ends is only worked out as far as it is asked for."""
    agenda = Agenda([Schedule(Fraction(1000))])
    assert len(agenda.due_until(10 * SECOND)) == 10_001
    assert agenda.next_due_ns == 10_001_000_000
