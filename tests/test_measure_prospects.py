"""Whether an objective can still be met while a run goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho.measure.counts import Connections, Counts
from netecho.measure.flows import Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.parts import Part
from netecho.measure.prospects import out_of_reach
from netecho.measure.sending import Sending
from netecho.measure.slo import Objective
from netecho.plans import SECOND, Arrival, BenchPlan, Stage, Target

MS = SECOND // 1000
RESPONSE = Histogram.of([MS] * 900 + [50 * MS] * 80)
SO_FAR = Part(
    counts=Counts(sent=1000, completed=980, lost=15),  # and 5 in flight
    connections=Connections(1, 1, 0),
    errors={"timeout": 15},
    distributions={"response": RESPONSE, "service": RESPONSE, "connect": Histogram.of([MS])},
    intervals=(Interval(0, SECOND, 980, 15, RESPONSE),),
    sending=Sending(1000, 1000, SECOND, SECOND),
)
OPEN: dict[str, Any] = {"rate": 1000.0, "duration_ns": 10 * SECOND}
COUNT: dict[str, Any] = {"exchanges": 2000, "duration_ns": None}
OPEN_COUNT: dict[str, Any] = {"rate": 1000.0, "exchanges": 2000, "duration_ns": None}
CLOSED: dict[str, Any] = {"duration_ns": 10 * SECOND}
FALLING: dict[str, Any] = {"rate": 1000.0, "stages": (Stage(10 * SECOND, 0.0),), "duration_ns": None}


@pytest.mark.parametrize(
    ("load", "expression", "lost"),
    [
        # 80 of 10,000 will have taken 50 ms: 0.8 % if no more do
        (OPEN, "p(99)<20ms", False),
        (OPEN, "p(99.19)<20ms", False),
        (OPEN, "p(99.2)<20ms", True),
        (OPEN, "p(99.9)<20ms", True),
        (OPEN, "service.p(99.9)<20ms", True),
        (OPEN, "p(99.9)>20ms", False),
        (OPEN, "p(50)>1h", True),  # but nothing takes longer than that
        (OPEN, "max<=50ms", False),
        (OPEN, "max<50ms", True),
        (OPEN, "max==40ms", True),
        (OPEN, "max!=50ms", False),
        (OPEN, "min<=1ms", False),
        (OPEN, "min>1ms", True),
        # of 2000 they are 4 %
        (COUNT, "p(99)<20ms", True),
        (COUNT, "p(95)<20ms", False),
        (OPEN_COUNT, "p(99)<20ms", True),
        (OPEN_COUNT, "p(95)<20ms", False),
        # the rest of a closed loop's time is taken to go as fast as the fastest second
        (CLOSED, "p(99)<20ms", False),
        (CLOSED, "p(99.9)<20ms", True),
        # half as many as at a constant rate: 80 of 5000
        (FALLING, "p(99)<20ms", True),
        (FALLING, "p(98)<20ms", False),
        # connections may be opened in the run as well
        (OPEN, "connect.max<1ms", True),
        (OPEN, "connect.mean<1ms", False),
        (OPEN, "connect.max<2ms", False),
        (OPEN, "handshake.max<2ms", False),  # there may be one
        (OPEN, "lost<=15", False),
        (OPEN, "lost<15", True),
        (OPEN, "lost>9020", True),  # the 5 in flight and the 9000 to come may be
        (OPEN, "lost>=9020", False),
        (OPEN, "errors==0", True),
        (OPEN, "errors==15", False),
        (OPEN, "loss<=0.15%", False),
        (OPEN, "loss<0.15%", True),
        (COUNT, "loss<0.15%", True),
        (OPEN, "duplicated==0", False),
        (OPEN, "corrupted>0", False),
        (OPEN, "held_back==0", False),
        (OPEN, "unsent>9000", True),
        # 15 are lost, all others may be completed
        (OPEN, "rate>=998.5", False),
        (OPEN, "rate>998.5", True),
        (OPEN, "rate<98", True),
        (FALLING, "rate>=600", True),
        (FALLING, "rate>=498", False),
        (COUNT, "rate>=1k", False),
        (COUNT, "rate>2k", True),
        (COUNT, "rate<1", False),  # the rest may take its time
    ],
)
def test_out_of_reach(load: dict[str, Any], expression: str, lost: bool) -> None:
    """An objective is given up when the best that may still come does not save it, and not before."""
    plan = BenchPlan(Target(), **load)
    so_far = SO_FAR if plan.open_loop else Part(**{**vars(SO_FAR), "sending": None})
    objective = Objective.parse(expression)
    assert out_of_reach([objective], plan, so_far, SECOND) == ((objective,) if lost else ())


def test_nothing_measured() -> None:
    """Before the first echo nothing is decided, not even what will be judged a failure in the end."""
    so_far = Part(Counts(), Connections(1, 1, 0))
    every = [Objective.parse(one) for one in ("p(99)<1ms", "loss<1%", "rate>1", "errors==0")]
    assert out_of_reach(every, BenchPlan(Target()), so_far, SECOND) == ()


def test_random_arrivals() -> None:
    """There may be more of them than the rate says."""
    load = {**OPEN, "arrival": Arrival.POISSON}
    objective = Objective.parse("p(99.2)<20ms")
    assert out_of_reach([objective], BenchPlan(Target(), **OPEN), SO_FAR, SECOND) == (objective,)
    assert out_of_reach([objective], BenchPlan(Target(), **load), SO_FAR, SECOND) == ()


@pytest.mark.parametrize(
    ("expression", "lost"),
    [
        # 10 of 100 neighbours differ by 5 ms, and 2,010 more differences are to come at most
        ("variation.p(99)<5ms", False),
        ("variation.p(99.6)<5ms", True),
        ("variation.max<5ms", True),
        ("extent.max<=3", False),
        ("extent.max<3", True),
        # what may come to anything
        ("jitter<1ns", False),
        ("out.max<1ns", False),
        ("dwell.p(50)<1ns", False),
    ],
)
def test_datagrams(expression: str, lost: bool) -> None:
    """Differences of delays and extents grow in number; the rest is not known before the end."""
    so_far = dataclasses.replace(
        SO_FAR,
        sending=None,
        jitter=Jitter(100 * MS, 100, MS),
        distributions={
            **SO_FAR.distributions,
            "variation": Histogram.of([1] * 90 + [5 * MS] * 10),
            "extent": Histogram.of([3]),
            "out": Histogram.of([MS]),
            "dwell": Histogram.of([MS]),
        },
    )
    objective = Objective.parse(expression)
    plan = BenchPlan(Target(), **COUNT)
    assert out_of_reach([objective], plan, so_far, SECOND) == ((objective,) if lost else ())


def test_nothing_reordered_yet() -> None:
    """What has not happened may."""
    so_far = dataclasses.replace(SO_FAR, sending=None, jitter=Jitter(100 * MS, 100, MS))
    assert not out_of_reach([Objective.parse("extent.max>0")], BenchPlan(Target(), **COUNT), so_far, SECOND)
