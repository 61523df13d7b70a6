"""Comparisons: no alarm without a change, none missed, and never more said than was measured."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.comparison import (
    Change,
    Comparison,
    Method,
    Verdict,
    compare,
    is_repeated,
    too_short,
    unlike,
)
from netecho.measure.counts import Counts
from netecho.measure.histogram import Histogram
from netecho.measure.results import merge_results
from netecho.measure.summary import Summary
from netecho.plans import SECOND
from tests import samples

SECONDS = 8
ECHOES = 1_000
"""In each second: enough for the 99th percentile of a quarter."""
Wander = Callable[[random.Random], Iterator[float]]


def steady(rng: random.Random) -> Iterator[float]:
    """Yield no change in the machine's speed, ever."""
    return itertools.repeat(0.0)


def correlated(rng: random.Random, memory: float = 0.7) -> Iterator[float]:
    """Yield an AR(1) process of unit variance: what it was a second ago, in part, and chance."""
    level = rng.gauss(0, 1)
    while True:
        yield level
        level = memory * level + math.sqrt(1 - memory**2) * rng.gauss(0, 1)


def flicker(rng: random.Random) -> Iterator[float]:
    """Yield 1/f noise: something changes at every time scale, and at each as much."""
    parts = [correlated(rng, math.exp(-1 / 2**octave)) for octave in range(9)]
    while True:
        yield sum(map(next, parts)) / 3


def drift(rng: random.Random) -> Iterator[float]:
    """Yield a random walk."""
    level = 0.0
    while True:
        yield level
        level += rng.gauss(0, 0.4)


def regimes(rng: random.Random) -> Iterator[float]:
    """Yield a speed and another, each for a minute or so."""
    other = 0.0
    while True:
        if rng.random() < 1 / 60:
            other = 2.0 - other
        yield other + rng.gauss(0, 0.2)


class Machine:
    """Makes results, one after the other, while its speed wanders.

    Args:
        wander: how, from second to second, in any unit.
        share: how much a unit is, of a latency.
        seed: of all chance.
    """

    def __init__(self, wander: Wander, share: float = 0.0, seed: int = 1) -> None:
        self._rng = random.Random(seed)  # noqa: S311
        self._levels = wander(random.Random(-seed))  # noqa: S311
        self._share = share

    def run(self, slower: float = 1.0, seconds: int = SECONDS) -> Summary:
        """Return a run with latencies of about 1 ms, skewed, each like the one before it."""
        return samples.by_the_second([self._second(slower) for _ in range(seconds)])

    def _second(self, slower: float) -> Histogram:
        middle = 1e6 * slower * math.exp(self._share * next(self._levels))
        memory, count = 0.9, int(ECHOES * 1e6 / middle)
        level, values = self._rng.gauss(0, 1), []
        gauss, chance = self._rng.gauss, math.sqrt(1 - memory**2)
        for _ in range(count):
            level = memory * level + chance * gauss(0, 1)
            values.append(int(middle * math.exp(0.35 * level + 0.1 * abs(level))))
        return Histogram.of(values)


def change_of(comparison: Comparison, metric: str) -> Change:
    """Return what became of one number."""
    return next(change for change in comparison.changes if change.metric == metric)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("wander", "share"),
    [(steady, 0.0), (correlated, 0.1), (flicker, 0.1), (drift, 0.1), (regimes, 0.3)],
)
def test_the_same_thing_twice_raises_an_alarm_in_one_pair_of_twenty_at_most(
    wander: Wander, share: float
) -> None:
    """Whatever else the machine did; each pair is of runs that follow each other."""
    machine = Machine(wander, share)
    alarms = [bool(compare([machine.run()], [machine.run()]).regressions(0.05)) for _ in range(20)]
    assert sum(alarms) <= 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("wander", "share"),
    [(steady, 0.0), (correlated, 0.005), (flicker, 0.005), (drift, 0.005), (regimes, 0.01)],
)
def test_a_tenth_more_delay_is_found_in_nineteen_pairs_of_twenty(wander: Wander, share: float) -> None:
    """Where the machine's own changes are small beside it."""
    machine = Machine(wander, share)
    found = [bool(compare([machine.run()], [machine.run(1.1)]).regressions(0.05)) for _ in range(20)]
    assert sum(found) >= 19


def test_what_cannot_be_told_is_not_said() -> None:
    """Where the machine changes by more than is looked for, the interval is as wide."""
    machine = Machine(flicker, 0.3)
    change = change_of(compare([machine.run()], [machine.run(1.1)]), "p50")
    assert change.verdict is Verdict.NONE
    assert change.high / change.low > 1.5


def test_an_interval_holds_what_was_done() -> None:
    """The change itself, to a few per cent, on both sides of which it lies."""
    machine = Machine(steady)
    comparison = compare([machine.run()], [machine.run(1.6)])
    assert comparison.method is Method.STRETCHES
    for metric in ("p10", "p50", "p99"):
        change = change_of(comparison, metric)
        assert change.low < 1.6 < change.high
    for metric in ("p10", "p50"):
        change = change_of(comparison, metric)
        assert change.high < 2
        assert (change.verdict, change.confidence) == (Verdict.SLOWER, 0.99)
        assert change.ratio == pytest.approx(change.new / change.old)
    throughput = change_of(comparison, "throughput")
    assert throughput.low < 1 / 1.6 < throughput.high < 1
    assert throughput.verdict is Verdict.SLOWER
    assert [throughput.old, throughput.new] == pytest.approx([1000, 1000 / 1.6], rel=1e-3)


def test_a_result_does_not_differ_from_itself() -> None:
    """Nor is an interval ever narrower than what a histogram resolves."""
    run = samples.by_the_second([samples.latencies(4_000)] * SECONDS)
    for change in compare([run], [run]).changes:
        assert change.verdict is Verdict.NONE
        assert change.ratio == 1
        assert [change.low, change.high] == pytest.approx([0.999, 1.001], rel=1e-5)


@pytest.mark.thorough
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3))
def test_old_for_new_is_the_inverse(seed: int, old: int, new: int) -> None:
    """By either method, and the same each time."""
    rng = random.Random(seed)  # noqa: S311
    runs = [
        samples.by_the_second([samples.latencies(1_000, rng.randrange(10, 15) * 100_000) for _ in range(4)])
        for _ in range(old + new)
    ]
    there, back = compare(runs[:old], runs[old:]), compare(runs[old:], runs[:old])
    assert there == compare(runs[:old], runs[old:])
    for one, other in zip(there.changes, back.changes, strict=True):
        assert [one.low, one.high] == pytest.approx([1 / other.high, 1 / other.low])
        assert one.ratio == pytest.approx(1 / other.ratio)


def level(middle_ns: float) -> Summary:
    """Return a run that has that median, and changes by nothing within itself."""
    return samples.by_the_second([samples.latencies(4_000, round(middle_ns))] * 4)


def test_from_five_results_on_runs_are_compared_with_runs() -> None:
    """How they differ is all that counts: as much as they do, nothing is shown; ten times that, it is."""
    old = [level(1e6 * (1 + by)) for by in (-0.02, -0.01, 0.01, 0.02)]
    slight, large = compare(old, [level(1.02e6)]), compare(old, [level(1.2e6)])
    assert slight.method is large.method is Method.RUNS
    assert change_of(slight, "p50").verdict is Verdict.NONE
    assert change_of(large, "p50").verdict is Verdict.SLOWER
    # Two samples with one variance: t of 3 degrees of freedom is 5.841.
    logarithms = [math.log(one.latencies["response"].at_percentile(50)) for one in old]
    mean = sum(logarithms) / 4
    variance = sum((one - mean) ** 2 for one in logarithms) / 3
    half = 5.841 * math.sqrt(variance * (1 + 1 / 4)) + 0.001
    change = change_of(large, "p50")
    assert math.log(change.high / change.low) / 2 == pytest.approx(half, rel=1e-3)
    assert change.old == pytest.approx(math.exp(mean))


def test_runs_need_no_segments() -> None:
    """A series of probes has none."""
    probes = [samples.probes(200) for _ in range(5)]
    comparison = compare(probes[:4], probes[4:])
    assert [change.metric for change in comparison.changes] == ["p10", "p50", "throughput"]
    assert comparison.unknown == {"p99": "a run has 200 echoes and 1,000 are needed: measure for longer"}


def test_below_five_results_that_differ_among_themselves_widen_the_interval() -> None:
    """Even when each is steady in itself."""
    alike = compare([level(1e6)] * 2, [level(1.1e6)] * 2)
    unlike = compare([level(1e6), level(1.05e6)], [level(1.1e6), level(1.15e6)])
    assert alike.method is unlike.method is Method.STRETCHES
    assert change_of(alike, "p50").verdict is Verdict.SLOWER
    assert change_of(unlike, "p50").verdict is Verdict.NONE


def test_adjacent_halves_count_as_well_as_quarters() -> None:
    """A run that changes once, in its middle, differs most in its halves."""
    fast, slow = samples.latencies(4_000), samples.latencies(4_000, 1_200_000)
    once = samples.by_the_second([fast, fast, slow, slow])
    change = change_of(compare([once], [once]), "p50")
    # The mean square of the halves' one difference; t of 4 degrees of freedom is 4.604.
    half = 4.604 * math.log(slow.at_percentile(50) / fast.at_percentile(50)) + 0.001
    assert math.log(change.high / change.low) / 2 == pytest.approx(half, rel=1e-3)


def test_a_short_end_belongs_to_the_last_quarter() -> None:
    """What came back in the last milliseconds is not a stretch of its own."""
    whole = samples.by_the_second([samples.latencies(4_000)] * 4)
    end = samples.by_the_second([samples.latencies(4_000)] * 4 + [Histogram.of([1_000_000] * 30)])
    last = dataclasses.replace(end.segments[-1], length_ns=SECOND // 100)
    end = dataclasses.replace(
        end,
        elapsed_ns=4 * SECOND + SECOND // 100,
        segments=(*end.segments[:-1], last),
        intervals=(*end.intervals[:-1], dataclasses.replace(end.intervals[-1], length_ns=SECOND // 100)),
    )
    comparison = compare([whole], [end])
    assert not comparison.unknown
    assert {change.verdict for change in comparison.changes} == {Verdict.NONE}


def test_the_wait_for_what_is_lost_is_no_part_of_a_rate() -> None:
    """It comes after the last echo, and would be a quarter in which next to nothing came back."""
    second = samples.latencies(4_000)
    whole = samples.by_the_second([second] * 4)
    waiting = samples.by_the_second([second] * 4 + [Histogram()] * 5)
    waiting = dataclasses.replace(waiting, elapsed_ns=whole.elapsed_ns)
    change = change_of(compare([whole], [waiting]), "throughput")
    assert (change.low, change.high) == pytest.approx((0.999, 1.001), abs=1e-6)


def test_a_pause_between_runs_that_are_added_up_is_no_part_of_them() -> None:
    """An hour between two runs of four seconds leaves eight, which have halves and quarters."""
    second = samples.latencies(4_000)
    runs = [
        dataclasses.replace(samples.by_the_second([second] * 4), started=f"2026-03-01T{hour}:00:00+00:00")
        for hour in (12, 13)
    ]
    merged = merge_results(runs)
    assert merged.elapsed_ns == 8 * SECOND
    comparison = compare([samples.by_the_second([second] * 8)], [merged])
    assert not comparison.unknown
    assert {change.ratio for change in comparison.changes} == {1.0}
    assert all(change.high < 1.01 for change in comparison.changes)


def test_probes_are_compared_as_runs_only() -> None:
    """Their results do not say what came when, however long they are: they are not to be called too short."""
    words = "a run of client is kept as a whole only, and not how it went on: compare 5 or more of them"
    run = samples.probes(200)
    comparison = compare([run], [run])
    assert not comparison.changes
    assert all(reason.startswith(words) for reason in comparison.unknown.values())
    assert len(comparison.unknown) == 4
    assert change_of(compare([run] * 3, [run] * 2), "p50").ratio == pytest.approx(1)


def without_echoes() -> Summary:
    """Return a run in which nothing came back for a quarter of the time."""
    return samples.by_the_second([samples.latencies(4_000)] * 3 + [Histogram(), samples.latencies(4_000)] * 2)


@pytest.mark.parametrize(
    ("run", "unknown"),
    [
        (
            samples.bench(),
            dict.fromkeys(
                ("p10", "p50", "p99"),
                "a run is kept in 0 segments and 4 are needed: measure for 4 seconds or more",
            ),
        ),
        (
            samples.by_the_second([samples.latencies(4_000)] * 3),
            {
                **dict.fromkeys(
                    ("p10", "p50", "p99"),
                    "a run is kept in 3 segments and 4 are needed: measure for 4 seconds or more",
                ),
                "throughput": "nothing came back in a quarter of a run",
            },
        ),
        (
            samples.by_the_second([samples.latencies(50)] * 4),
            {
                "p10": "a quarter of a run has 50 echoes and 100 are needed: measure for longer",
                "p99": "a quarter of a run has 50 echoes and 1,000 are needed: measure for longer",
            },
        ),
        (
            samples.by_the_second([samples.latencies(4_000)] * 3 + [Histogram(), samples.latencies(1)]),
            {
                "p10": "a quarter of a run has 1 echo and 100 are needed: measure for longer",
                "p50": "a quarter of a run has 1 echo and 20 are needed: measure for longer",
                "p99": "a quarter of a run has 1 echo and 1,000 are needed: measure for longer",
            },
        ),
    ],
)
def test_what_cannot_be_compared_is_named_with_the_reason(run: Summary, unknown: dict[str, str]) -> None:
    """An old file, too short a run, too few echoes: on either side."""
    good = samples.by_the_second([samples.latencies(4_000)] * 4)
    for comparison in (compare([run], [good]), compare([good], [run])):
        assert comparison.unknown == unknown
        assert {change.metric for change in comparison.changes} | set(unknown) == {
            "p10",
            "p50",
            "p99",
            "throughput",
        }


def test_a_run_without_any_echo_is_compared_in_nothing() -> None:
    """Not by runs either."""
    good = samples.by_the_second([samples.latencies(4_000)] * 4)
    nothing = samples.bench(latencies={}, counts=Counts(sent=3, lost=3), intervals=(), segments=())
    comparison = compare([good] * 4, [nothing])
    assert not comparison.changes
    assert comparison.unknown["p50"] == "a run has 0 echoes and 20 are needed: measure for longer"
    assert comparison.unknown["throughput"] == "nothing came back in a run"
    assert set(compare([good], [nothing]).unknown.values()) == {
        "nothing came back in a run",
        "nothing came back in a quarter of a run",
    }


def test_latencies_of_nothing_have_a_logarithm() -> None:
    """A clock that stood still says 0 ns."""
    still = samples.by_the_second([Histogram.of([0] * 2_000)] * 4)
    assert change_of(compare([still], [still]), "p50").old == 1


@pytest.mark.parametrize(
    ("metric", "new", "low", "high", "verdict", "regressed", "within"),
    [
        ("p50", 1.10, 1.02, 1.18, Verdict.SLOWER, True, False),
        ("p50", 1.10, 0.99, 1.52, Verdict.NONE, False, False),
        ("p50", 0.90, 0.85, 0.95, Verdict.FASTER, False, True),
        ("p50", 1.00, 1.00, 1.05, Verdict.NONE, False, True),
        ("p50", 1.03, 1.02, 1.04, Verdict.SLOWER, False, True),
        ("throughput", 0.90, 0.85, 0.95, Verdict.SLOWER, True, False),
        ("throughput", 1.10, 1.02, 1.18, Verdict.FASTER, False, True),
        ("throughput", 0.90, 0.79, 1.02, Verdict.NONE, False, False),
        ("throughput", 0.98, 0.96, 1.00, Verdict.NONE, False, True),
    ],
)
def test_verdicts(
    metric: str, new: float, low: float, high: float, verdict: Verdict, regressed: bool, within: bool
) -> None:
    """Only an interval on one side of 1 is one; a regression is also as large as was asked."""
    change = Change(metric, 1.0, new, low, high, 0.99)
    assert change.verdict is verdict
    assert change.regressed(0.05) is regressed
    assert not change.regressed(0.11)
    assert change.within(0.051) is within


def test_what_a_comparison_cannot_answer_for_is_said() -> None:
    """Unlike runs, a doubtful client, losses, and what two runs cannot tell."""
    run = samples.by_the_second([samples.latencies(4_000)] * 4)
    assert compare([run] * 4, [run]).caveats == ()
    (pair,) = compare([run], [run]).caveats
    assert "five results or more" in pair
    other = dataclasses.replace(
        run,
        plan={**run.plan, "size": 128, "target": "tcp://example:8000", "duration_ns": 1},
        system={**run.system, "python": "3.12.1"},
        version="9.9",
        trustworthy=False,
        counts=Counts(sent=1_000, completed=900, lost=100),
    )
    alike, doubt, lost, _ = compare([run], [other]).caveats
    assert alike == (
        f"not made alike: --size 64 and 128, python 3.11.7 and 3.12.1, netecho {run.version} and 9.9"
    )
    assert doubt.startswith("1 of 2 results is not trustworthy")
    assert compare([other], [other]).caveats[0].startswith("2 of 2 results are not trustworthy")
    assert lost == "0% of the exchanges were lost before, 10.0% now: latencies leave those out"
    mixed = compare([run, other], [run]).caveats
    assert "--size 64 or 128 and 64" in mixed[0]


def test_as_json() -> None:
    """Ratios and bounds, and what they are of."""
    machine = Machine(steady)
    found = compare([machine.run()], [machine.run(1.9)]).to_json()
    assert found["schema"] == "netecho.comparison/1"
    assert found["method"] == "Allan variance of stretches of the runs"
    assert [(one["metric"], one["unit"], one["verdict"]) for one in found["changes"]] == [
        ("p10", "ns", "slower"),
        ("p50", "ns", "slower"),
        ("p99", "ns", "slower"),
        ("throughput", "per_s", "slower"),
    ]
    assert all(one["low"] < one["ratio"] < one["high"] for one in found["changes"])
    assert found["unknown"] == {}


def test_judged_by_what_is_allowed() -> None:
    """What has regressed is named if somebody asked, beside the file that it is compared with."""
    comparison = compare([level(1_000_000)], [level(1_200_000)])
    slower = [change.metric for change in comparison.changes if change.verdict is Verdict.SLOWER]
    for allowed, regressions in ((None, []), (0.1, slower), (0.3, [])):
        told = comparison.judged("old.json", allowed)
        assert told == {
            **comparison.to_json(),
            "baseline": "old.json",
            "allowed": allowed,
            "regressions": regressions,
        }
    assert slower


def test_json_is_read_again() -> None:
    """What is shown of a comparison that was saved is what was shown of it at first."""
    comparison = compare([samples.bench()] * 3, [samples.bench(elapsed_ns=11 * SECOND)] * 2)
    assert comparison.changes
    again = Comparison.from_json(comparison.to_json())
    assert again.to_json() == comparison.to_json()


def test_no_bound_is_rounded_to_nothing() -> None:
    """A ratio of next to nothing is above 0 in JSON too: else a comparison is not read again."""
    change = Change("p50", 0.0001, 0.0002, 2e-9, 8_843_759.481, 0.99)
    told = change.to_json()
    assert told["low"] == 2e-9
    assert Change.from_json(told) == change


HUGE = {"metric": "p50", "old": 10**400, "new": 1, "low": 1, "high": 1, "confidence": 0.99}


@pytest.mark.parametrize(
    "broken",
    [
        {"changes": None},
        {"changes": [{"metric": "p50"}]},
        {"changes": [{"metric": "p50", "old": 0, "new": 1, "low": 1, "high": 1, "confidence": 0.99}]},
        {"changes": [{"metric": 50, "old": 1, "new": 1, "low": 1, "high": 1, "confidence": 0.99}]},
        {"changes": [HUGE]},
        {"unknown": []},
        {"method": "a guess"},
    ],
    ids=str,
)
def test_what_is_no_comparison_is_refused(broken: dict[str, object]) -> None:
    """A file may say anything."""
    comparison = compare([samples.bench()], [samples.bench()]).to_json()
    with pytest.raises(ValueError, match=r"not a comparison|above 0|not a valid Method|metric"):
        Comparison.from_json({**comparison, **broken})


def test_what_differs_is_named_before_a_run() -> None:
    """The protocol too, though not where it is spoken."""
    old, plan = samples.bench(), samples.bench().plan
    assert unlike([old], [old]) == ()
    elsewhere = {**plan, "target": "tcp://elsewhere:1", "slo": ["errors==0"], "overhead": 44}
    moved = dataclasses.replace(old, plan=elsewhere)
    assert unlike([old], [moved]) == ()
    other = dataclasses.replace(old, plan={**plan, "target": "udp://127.0.0.1:1", "size": 512})
    assert unlike([old], [other]) == ("protocol tcp and udp", "--size 64 and 512")
    plain_tls = {"target": "tls://127.0.0.1:1", "tls": {"insecure": False}}
    secure = dataclasses.replace(old, plan={**plan, **plain_tls})
    assert unlike([old], [secure]) == ("protocol tcp and tls",)
    assert "not made alike: protocol tcp and tls" in compare([old], [secure]).caveats


def test_a_run_that_is_there_twice_is_known() -> None:
    """Also when its result was saved again with a comparison in it; not so another run like it."""
    one, other = samples.bench(), samples.bench(elapsed_ns=SECOND)
    assert is_repeated([one, other, dataclasses.replace(one, comparison={})])
    assert not is_repeated([one, other])
    assert not is_repeated([one, samples.bench(latencies={"response": samples.latencies(10)})])


@pytest.mark.parametrize(
    ("olds", "length_ns", "short"),
    [
        (1, 4 * SECOND, False),
        (1, 4 * SECOND - 1, True),
        (1, None, False),
        (4, SECOND, False),
        (3, SECOND, True),
    ],
)
def test_a_run_that_would_be_too_short_is_known_before(olds: int, length_ns: int | None, short: bool) -> None:
    """Its quarters have to have an interval each, unless runs are compared with runs."""
    assert (too_short([samples.bench()] * olds, length_ns) is not None) == short
