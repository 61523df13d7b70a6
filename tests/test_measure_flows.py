"""Flows in a result: each, and what all come to."""

from __future__ import annotations

import dataclasses

from netecho.measure.datagrams import DatagramFlow
from netecho.measure.flows import MOST_FLOWS, FlowTotal, Jitter, datagrams_of
from netecho.measure.histogram import Histogram
from netecho.measure.recorder import Recorder


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


def test_jitter_adds_up() -> None:
    """Each flow weighs as much as came on it."""
    total = Jitter(100 * 10, 10, 100) + Jitter(400 * 30, 30, 400)
    assert total == Jitter(13_000, 40, 400)
    assert total.average_ns == 325
    assert dataclasses.astuple(total + Jitter()) == dataclasses.astuple(total)
