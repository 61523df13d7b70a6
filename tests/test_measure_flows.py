"""Flows in a result: each, and what all come to."""

from __future__ import annotations

import dataclasses
import json

from netecho.measure.counts import Counts
from netecho.measure.datagrams import DatagramFlow
from netecho.measure.directions import Losses
from netecho.measure.flows import MOST_FLOWS, OF_FLOWS, FlowSummary, FlowTotal, Jitter, datagrams_of
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import Reflection
from netecho.measure.recorder import Recorder
from netecho.measure.reflected_flow import ReflectedFlow


def test_several_flows() -> None:
    """Distributions are of all flows, jitter is their average and the largest, and each is told."""
    recorder = Recorder(closed_loop=False)
    flows = [DatagramFlow(recorder) for _ in range(2)]
    for flow, order in zip(flows, [[0, 1, 2], [2, 0]], strict=True):
        for number in range(3):
            flow.sent(0, number * 1000, 10)
        for number in order:
            flow.replied(number, 5000 + 160 * number**2, 10)
    told = datagrams_of(map(FlowTotal.of, [4, 7], flows))
    assert told.distributions["variation"] == Histogram.sum(flow.path.variation for flow in flows)
    assert told.distributions["extent"] == Histogram.of([1])
    first, second = (flow.path.jitter_ns for flow in flows)
    assert first != second
    assert told.jitter == Jitter(3 * first + 2 * second, 5, max(first, second))
    assert [flow.number for flow in told.flows] == [4, 7]
    assert [flow.counts for flow in told.flows] == [flow.counts for flow in flows]
    assert [flow.jitter_ns for flow in told.flows] == [first, second]
    assert told.flows[0].extent is None
    assert told.flows[1].extent == {"p50": 1, "p99": 1, "max": 1}
    assert told.flows[0].variation == flows[0].path.variation.brief()


def test_no_flows_and_too_many() -> None:
    """Nothing is made up of nothing; of very many there is but the total."""
    nothing = datagrams_of([])
    assert (nothing.distributions, nothing.jitter, nothing.losses, nothing.flows) == ({}, None, None, ())
    assert Jitter().average_ns is None
    recorder = Recorder(closed_loop=False)
    flows = [FlowTotal.of(number, DatagramFlow(recorder)) for number in range(MOST_FLOWS + 1)]
    assert len(datagrams_of(flows[:-1]).flows) == MOST_FLOWS
    assert datagrams_of(flows).flows == ()


def test_single_arrivals() -> None:
    """Jitter is of differences: one datagram has none, and weighs nothing beside others that have."""
    recorder = Recorder(closed_loop=False)
    flows = [DatagramFlow(recorder) for _ in range(3)]
    for flow, arrivals in zip(flows, [1, 1, 2], strict=True):
        for number in range(arrivals):
            flow.sent(0, 0, 10)
            flow.replied(number, 1600 * (number + 1), 10)
    single, other, pair = (FlowTotal.of(number, flow) for number, flow in enumerate(flows))
    assert datagrams_of([single, other]).jitter is None
    assert datagrams_of([single, pair]).jitter == pair.jitter == Jitter(200, 2, 100)


def test_jitter_adds_up() -> None:
    """Each flow weighs as much as came on it."""
    total = Jitter(100 * 10, 10, 100) + Jitter(400 * 30, 30, 400)
    assert total == Jitter(13_000, 40, 400)
    assert total.average_ns == 325
    assert dataclasses.astuple(total + Jitter()) == dataclasses.astuple(total)


def reflected(recorder: Recorder, numbers: dict[int, int], sent: int, dwell: int = 5) -> ReflectedFlow:
    """Return a session in which exchanges, one a microsecond, have had answers of these numbers."""
    flow = ReflectedFlow(recorder)
    for sequence in range(sent):
        flow.sent(0, sequence * 1000, 10)
    for sequence, number in numbers.items():
        left, came = sequence * 1000, sequence * 1000 + 100 + sequence
        outcome = flow.replied(sequence, came, 10)
        reflection = Reflection(left, left + 40, left + 40 + dwell, came, number, 64)
        flow.reflected(sequence, outcome, reflection)
    flow.give_up(10**9)
    return flow


def test_opened_again() -> None:
    """What a connection carries after it was lost is added to what it carried before: it is one flow."""
    recorder = Recorder(closed_loop=False)
    first = reflected(recorder, {0: 0, 2: 1, 3: 2}, 4)
    second = reflected(recorder, {1: 0, 0: 1, 4: 2}, 5)
    total = FlowTotal.of(7, first) + FlowTotal.of(7, second)
    told = datagrams_of([total])
    assert told.losses == Losses(out=3)
    (flow,) = told.flows
    assert flow.number == 7
    assert flow.counts == Counts(sent=9, completed=6, lost=3, reordered=1)
    assert flow.losses == told.losses
    for name, distribution in told.distributions.items():
        assert distribution == Histogram.sum([first.distributions[name], second.distributions[name]])
    assert set(told.distributions) == set(OF_FLOWS)
    jitter = Jitter(first.path.jitter_ns * 3, 3, first.path.jitter_ns)
    assert told.jitter == jitter + Jitter(second.path.jitter_ns * 3, 3, second.path.jitter_ns)
    assert FlowSummary.from_json(json.loads(json.dumps(flow.to_json()))) == flow
