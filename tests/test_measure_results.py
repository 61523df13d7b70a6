"""Several results as one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho.measure.counts import Connections, Counts
from netecho.measure.directions import Losses
from netecho.measure.flows import FlowSummary, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.intervals import IntervalSummary
from netecho.measure.oneway import Offset
from netecho.measure.reflected import Reflected
from netecho.measure.results import merge_results
from netecho.measure.segments import Segment
from netecho.measure.sending import Sending
from netecho.measure.summary import Summary
from netecho.plans import SECOND
from tests import samples

AT_NOON, A_TENTH_LATER, A_MINUTE_LATER = (
    f"2026-03-01T{time}+00:00" for time in ("12:00:00.000000", "12:00:00.100000", "12:01:00")
)
BRIEF = {"p50": 5, "p99": 6, "max": 7}


def result(started: str, *times: int, **changes: Any) -> Summary:
    """Return the result of 10 s in which exchanges took these times, all in the third second."""
    response = Histogram.of(times)
    return samples.bench(
        **{
            "started": started,
            "counts": Counts(len(times), len(times)),
            "latencies": {"response": response, "service": response},
            "intervals": (IntervalSummary(2 * SECOND, SECOND, len(times), 0, BRIEF),),
            "segments": (Segment(2 * SECOND, 2 * SECOND, response),),
            "connections": Connections(10, 9, 1),
            "plan": {"target": "tcp://a:1", "connections": 10, "rate_per_s": 100.0, "exchanges": None},
            "caveats": (),
            **changes,
        }
    )


def test_side_by_side() -> None:
    """Two machines that loaded one server together: amounts add up, times do not."""
    merged = merge_results([result(A_TENTH_LATER, 3, 5), result(AT_NOON, 4)])
    assert merged.started == AT_NOON
    assert merged.elapsed_ns == 10 * SECOND + SECOND // 10
    assert merged.counts == Counts(3, 3)
    assert merged.latencies["response"] == Histogram.of([3, 4, 5])
    assert merged.connections == Connections(20, 18, 2)
    assert merged.plan == {
        "target": "tcp://a:1",
        "connections": 20,
        "rate_per_s": 200.0,
        "exchanges": None,
    }
    assert merged.intervals == (IntervalSummary(2 * SECOND, SECOND + SECOND // 10, 3, 0, None),)
    assert merged.segments == (Segment(2 * SECOND, 2 * SECOND + SECOND // 10, Histogram.of([3, 4, 5])),)
    assert merged.workers == 2


def test_one_after_the_other() -> None:
    """The same run made twice: its time adds up, and the plan is what it was."""
    merged = merge_results([result(AT_NOON, 3), result(A_MINUTE_LATER, 4)])
    assert merged.elapsed_ns == 20 * SECOND
    assert merged.exchanges_per_s == 0.1
    assert merged.plan["connections"] == 10
    assert [one.start_ns for one in merged.intervals] == [2 * SECOND, 62 * SECOND]
    assert [one.response for one in merged.intervals] == [BRIEF, BRIEF]
    assert [one.start_ns for one in merged.segments] == [2 * SECOND, 62 * SECOND]


def test_the_wait_for_what_is_lost_is_no_interval_in_the_midst() -> None:
    """What was found out in it stays counted, in the last interval of the run; nothing came back then."""
    intervals = (
        *(IntervalSummary(second * SECOND, SECOND, 5, 1, BRIEF) for second in range(2)),
        IntervalSummary(2 * SECOND, SECOND, 2, 3, BRIEF),
        IntervalSummary(3 * SECOND, SECOND, 0, 4, None),
        IntervalSummary(4 * SECOND, SECOND, 0, 0, None),
    )
    lossy = {"elapsed_ns": 2 * SECOND + SECOND // 2, "intervals": intervals}
    merged = merge_results([result(AT_NOON, 3, **lossy), result(A_MINUTE_LATER, 4, **lossy)])
    kept = [(0, 5, 1), (1, 5, 1), (2, 2, 7)]
    assert [(one.start_ns // SECOND, one.completed, one.errors) for one in merged.intervals] == [
        (start + second, completed, errors) for start in (0, 60) for second, completed, errors in kept
    ]
    assert [one.length_ns for one in merged.intervals] == [SECOND, SECOND, SECOND // 2] * 2
    again = merge_results([merged, result("2026-03-01T12:02:00+00:00", 5, **lossy)])
    assert again.intervals[: len(merged.intervals)] == merged.intervals
    assert len(again.intervals) == 9


def test_a_run_without_an_echo_keeps_its_intervals() -> None:
    """None of them is of a load that got any answer."""
    intervals = (IntervalSummary(0, SECOND, 0, 4, None),)
    silent = result(
        AT_NOON, counts=Counts(4, 0, 4), latencies={}, segments=(), intervals=intervals, elapsed_ns=0
    )
    assert merge_results([silent]).intervals == intervals


@pytest.mark.parametrize(("second", "rate"), [(AT_NOON, 200), (A_MINUTE_LATER, 100)])
def test_schedules(second: str, rate: float) -> None:
    """Beside each other their rates add up; one after the other their times do."""
    sending = Sending(1_000, 900, 10 * SECOND, 9 * SECOND, HeldBack(3, 100, 5))
    merged = merge_results([result(AT_NOON, 3, sending=sending), result(second, 4, sending=sending)])
    assert merged.sending is not None
    assert (merged.sending.due, merged.sending.sent) == (2_000, 1_800)
    assert merged.sending.asked_per_s == rate
    assert merged.sending.achieved_per_s == 0.9 * rate
    assert merged.sending.held_back == HeldBack(6, 200, 5)


def test_a_schedule_beside_a_closed_loop() -> None:
    """What had none is not in its time."""
    sending = Sending(1_000, 900, 10 * SECOND, 9 * SECOND)
    merged = merge_results([result(AT_NOON, 3, sending=sending), result(A_MINUTE_LATER, 4)])
    assert merged.sending == sending


@pytest.mark.parametrize("started", ["yesterday", "2026-03-01T12:00:00"])
def test_times_that_do_not_compare(started: str) -> None:
    """A date that is none, or that may be any zone's, is taken for the same as the others."""
    merged = merge_results([result(AT_NOON, 3), result(started, 4)])
    assert merged.elapsed_ns == 10 * SECOND
    assert merged.intervals[0].completed == 2


def test_one_is_itself() -> None:
    """But for its objectives."""
    lateness = Histogram.of([5])
    one = samples.bench(
        sending=Sending(451_234, 451_234, 10 * SECOND, 9 * SECOND, HeldBack(5, 0, 3)),
        distributions={"lateness": lateness},
        lateness=lateness.to_json(),
        segments=(Segment(0, 10 * SECOND, samples.latencies(50)),),
    )
    assert merge_results([one]) == one
    troubled = dataclasses.replace(samples.troubled(), lateness=None)
    assert merge_results([troubled]) == dataclasses.replace(troubled, slo=())


def test_distrust_is_shared() -> None:
    """Whatever spoils one spoils them all, and is read first; what is said twice is said once."""
    good = result(AT_NOON, 1, caveats=("closed loop", "interrupted"), system={"host": "a", "os": "x"})
    bad = result(
        AT_NOON,
        1,
        trustworthy=False,
        caveats=("busy", "closed loop"),
        interrupted=True,
        cpu_share=0.97,
        workers=2,
        workers_died=1,
        system={"host": "b", "os": "x"},
        plan={"target": "tcp://b:1"},
    )
    merged = merge_results([good, bad, good])
    assert not merged.trustworthy
    assert merged.caveats == ("busy", "closed loop", "interrupted")
    assert merged.interrupted
    assert merged.cpu_share == 0.97
    assert merged.partial
    assert merged.system == {"host": "a, b", "os": "x"}
    assert merged.plan["target"] == "tcp://a:1, tcp://b:1"
    assert merged.plan["connections"] == 10


def test_what_was_not_made_alike_is_said() -> None:
    """The plan that is shown is the first one's only."""
    plan = {"target": "tcp://a:1", "connections": 10, "size": 64, "duration_ns": 5, "verify": "full"}
    other = {**plan, "target": "udp://b:2", "connections": 20, "size": 4096, "duration_ns": 7}
    beside = merge_results([result(AT_NOON, 3, plan=plan), result(AT_NOON, 4, plan=other)])
    unlike = "added up of what was not made alike: protocol tcp and udp, "
    assert beside.caveats == (f"{unlike}--size 64 and 4096",)
    after = merge_results([result(AT_NOON, 3, plan=plan), result(A_MINUTE_LATER, 4, plan=other)])
    assert after.caveats == (f"{unlike}--connections 10 and 20, --size 64 and 4096",)
    log = {"target": "tcp://a:1"}  # the plan of a histogram log has no more
    assert merge_results([result(AT_NOON, 3, plan=plan), result(AT_NOON, 4, plan=log)]).caveats == ()


def test_flows_are_numbered_anew() -> None:
    """Each machine counts its connections from 0."""
    flow = FlowSummary(0, Counts(3, 3), 5, None, None)
    merged = merge_results([result(AT_NOON, 3, flows=(flow,), jitter=Jitter(5, 1, 5))] * 2)
    assert [one.number for one in merged.flows] == [0, 1]
    assert merged.jitter == Jitter(10, 2, 5)


def test_old_results_without_segments() -> None:
    """They say less, and what they say adds up."""
    old = result(AT_NOON, 3, segments=(), cpu_share=None, intervals=())
    merged = merge_results([old, old])
    assert (merged.segments, merged.cpu_share, merged.intervals) == ((), None, ())
    assert merged.counts.completed == 2


def test_reflectors() -> None:
    """What they told adds up."""
    reflected = Reflected(Losses(1, 2, 3), Offset(5, 2), False, None, 0, {64: 10})
    merged = merge_results([result(AT_NOON, 3, reflected=reflected)] * 2 + [result(AT_NOON, 3)])
    assert merged.reflected == reflected + reflected
    assert merge_results([result(AT_NOON, 3)]).reflected is None
