"""A session with a reflector: its losses by direction, and what each way does."""

from __future__ import annotations

import pytest

from netecho.measure.counts import Outcome
from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import Reflection
from netecho.measure.recorder import Recorder
from netecho.measure.reflected_flow import ReflectedFlow

AHEAD = 10**15
"""How far the reflector's clock is ahead."""


def session(*fates: str, recorder: Recorder | None = None) -> ReflectedFlow:
    """Return a session with a stateful reflector, whose exchanges had these fates, one after the other.

    Each is answered after 100 ns times its number: 60 of the 100 on the way out, and the rest back.
    """
    flow = ReflectedFlow(recorder or Recorder(closed_loop=False))
    begin(flow, *fates)
    return flow


def begin(flow: ReflectedFlow, *fates: str, number: int = 0) -> None:
    """Let exchanges have these fates, the first of those that reach the reflector having that number."""
    for fate in fates:
        left = 1000 * (flow.newest + 1)
        sequence = flow.sent(left, left, 10)
        reached, answered, came = (left + one * (sequence + 1) for one in (60, 60, 100))
        reflection = Reflection(left, reached + AHEAD, answered + AHEAD, came, number, 64)
        if fate == "late":
            flow.give_up(left + 1)
        if fate in ("answered", "late", "twice", "mute"):
            for _ in range(1 + (fate == "twice")):
                outcome = flow.replied(sequence, came, 10)
                if fate != "mute":
                    flow.reflected(sequence, outcome, reflection)
        number += fate != "lost out"


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ("answered", Losses()),
        ("answered,lost out,answered", Losses(out=1)),
        ("answered,lost out,answered,lost back,answered,lost out", Losses(1, 1, 1)),
        ("answered,lost back,answered", Losses(unknown=1)),
        # what came late was not lost on any way
        ("answered,lost out,late,answered", Losses(out=1)),
        ("lost out,twice", Losses(out=1)),
        # an answer that did not say its number was none on the way back
        ("answered,lost out,mute,lost back,answered", Losses(unknown=2)),
    ],
)
def test_losses(fates: str, expected: Losses) -> None:
    """Those that had no answer by the end, and no others, by the way on which they were lost."""
    flow = session(*fates.split(","))
    flow.give_up(10**9)
    counts = flow.counts
    assert flow.losses == expected
    assert expected.out + expected.back + expected.unknown == counts.lost - counts.late


def test_in_flight() -> None:
    """What may yet be answered is not lost: if it has been overtaken, it is not told from what is."""
    flow = session("answered", "lost out", "answered", "in flight")
    assert flow.losses == Losses()
    flow.give_up(1001)
    assert flow.losses == Losses(out=1)
    flow = session("lost out", "in flight", "answered", "answered")
    flow.give_up(1)
    assert flow.losses == Losses(unknown=1)


def test_each_way() -> None:
    """Delays go to the recorder, and the path has their variation; of what came twice or too late neither."""
    recorder = Recorder(closed_loop=False)
    flow = session("answered", "twice", "late", "answered", "answered", recorder=recorder)
    one_way = recorder.one_way
    assert one_way.count == 4
    assert one_way.dwell == Histogram.of([0] * 4)
    # As the fastest has it, which took 60 out and 40 back, the clocks are 10 further apart than they are.
    assert one_way.out == Histogram.of([50, 110, 230, 290])
    assert flow.distributions["variation_out"] == Histogram.of([60, 60])
    assert flow.distributions["variation_back"] == Histogram.of([40, 40])
    assert flow.distributions["variation"] == Histogram.of([100, 100])


def test_implausible() -> None:
    """An exchange in which a clock was set is in no way's variation."""
    flow = ReflectedFlow(Recorder(closed_loop=False))
    for back in (10, 10):
        sequence = flow.sent(0, 0, 1)
        outcome = flow.replied(sequence, 50, 1)
        flow.reflected(sequence, outcome, Reflection(0, 10, 10 - 5 * sequence, back, sequence, 64))
    assert flow.recorder.one_way.implausible == 1
    assert flow.distributions["variation_out"].count == 0


def test_another_phase() -> None:
    """What was sent in the warm-up is no part of what a session is said to have lost, or taken."""
    flow = session("answered", "lost out", "answered", "in flight")
    measured = Recorder(closed_loop=False)
    flow.record_in(measured)
    assert flow.losses == Losses()
    reflection = Reflection(0, 10, 10, 20, 2, 64)
    flow.reflected(3, flow.replied(3, 50, 1), reflection)
    begin(flow, "answered", "lost out", "answered", "lost back", "answered", number=3)
    flow.give_up(10**9)
    assert flow.losses == Losses(out=1, back=1)
    assert measured.one_way.count == 3


def test_answers_nothing() -> None:
    """What no exchange was sent for says nothing of any."""
    flow = session("answered")
    assert flow.replied(5, 0, 1) is Outcome.STRAY
    flow.reflected(5, Outcome.STRAY, Reflection(0, 0, 0, 0, 5, 64))
    assert flow.losses == Losses()
    assert flow.recorder.one_way.count == 1
