"""Workers' parts of a result: any split of the same samples is the same result."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.counts import Connections, Counts
from netecho.measure.directions import Losses
from netecho.measure.flow import Flow
from netecho.measure.flows import FlowSummary, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.merging import DIED, Account, merge, observe, summarise
from netecho.measure.oneway import OneWay, Reflection
from netecho.measure.parts import Part, distributions_of
from netecho.measure.quality import Judgement, Observed
from netecho.measure.recorder import Recorder
from netecho.measure.segments import Segment
from netecho.measure.sending import Sending
from netecho.measure.stalls import Stalls
from netecho.measure.summary import Summary
from netecho.plans import SECOND
from tests import samples

Exchange = tuple[int, int, int, str]
"""In which interval, how late it left, how long it took, and what became of it."""
exchanges = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 10**6),
        st.integers(1, 10**9),
        st.sampled_from(["completed", "corrupted", "duplicated", "lost", "in flight", "held back"]),
    ),
    max_size=40,
)


def recorded(mine: list[Exchange], *, closed_loop: bool = False) -> Part:
    """Return the part of a worker that had these exchanges, of 4 intervals of a second each."""
    recorder = Recorder(closed_loop=closed_loop)
    flow = Flow(recorder)
    held_back = 0
    for one in mine:
        recorder.setup.took("connect", 1000 + one[2])
    for second in range(4):
        for _, late, took, fate in (one for one in mine if one[0] == second):
            due = second * SECOND
            left = due if closed_loop else due + late
            sequence = flow.sent(due, left, 10, held_back=fate == "held back")
            held_back += fate == "held back"
            if fate == "lost":
                flow.give_up(left + 1)
            elif fate != "in flight":
                for _ in range(1 + (fate == "duplicated")):
                    flow.replied(sequence, left + took, 10, intact=fate != "corrupted")
        recorder.end_interval(second * SECOND, (second + 1) * SECOND)
    return Part(
        recorder.counts,
        Connections(2, 2, 0),
        recorder.errors,
        distributions_of(recorder),
        tuple(recorder.intervals),
        elapsed_ns=4 * SECOND,
        cpu_shares=(0.5,),
        steal_share=0.25,
        stalls=Stalls(1, 2, 2, 30) if closed_loop else None,
        sending=None if closed_loop else Sending(len(mine), len(mine), 4 * SECOND, 1, HeldBack(held_back)),
        whole=True,
    )


def summary_of(part: Part, connections: int) -> Summary:
    """Return the result, but for how many workers it took."""
    return dataclasses.replace(
        summarise(
            dataclasses.replace(part, connections=Connections(connections, connections, 0)),
            command="bench",
            started=samples.STARTED,
            system=samples.SYSTEM,
            plan={},
            judgement=Judgement(True, ()),
        ),
        workers=1,
        cpu_shares=(),
        stalls=None,
    )


def through_json(part: Part) -> Part:
    """Return the part as another process gets it."""
    return Part.from_json(json.loads(json.dumps(part.to_json())))


@settings(deadline=None, max_examples=60)
@given(exchanges.filter(lambda every: all(one[3] != "lost" for one in every)), st.booleans(), st.data())
def test_any_split_is_the_same_result(every: list[Exchange], closed_loop: bool, data: st.DataObject) -> None:
    """However exchanges are spread over workers, added up in any order and told through JSON."""
    owners = data.draw(st.lists(st.integers(0, 3), min_size=len(every), max_size=len(every)))
    # Without loss, as giving up an exchange here gives up those of the same worker before it.
    parts = [
        recorded(
            [one for one, mine in zip(every, owners, strict=True) if mine == owner], closed_loop=closed_loop
        )
        for owner in range(4)
    ]
    whole = recorded(every, closed_loop=closed_loop)
    shuffled = data.draw(st.permutations([through_json(part) for part in parts]))
    at = data.draw(st.integers(1, 3))
    merged = merge([merge(shuffled[:at]), merge(shuffled[at:])])
    assert (merged.workers, merged.connections) == (4, Connections(8, 8, 0))
    assert summary_of(merged, 2) == summary_of(whole, 2)
    assert summary_of(merged, 2).to_json() == summary_of(whole, 2).to_json()


@settings(deadline=None, max_examples=30)
@given(exchanges, st.booleans())
def test_json(every: list[Exchange], closed_loop: bool) -> None:
    """What a worker tells is what its parent hears."""
    part = recorded(every, closed_loop=closed_loop)
    assert through_json(part) == part
    flow = FlowSummary(3, Counts(5, 4), 9, {"p50": 1, "p99": 2, "max": 3}, None)
    fuller = dataclasses.replace(
        part,
        warmup=Counts(3, 2),
        interrupted=True,
        died=1,
        whole=False,
        jitter=Jitter(7, 2, 5),
        flows=(flow, dataclasses.replace(flow, number=4, variation=None, extent={"p50": 1})),
    )
    assert through_json(fuller) == fuller


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counts", None),
        ("counts", {"sent": -1}),
        ("connections", {}),
        ("errors", {"timeout": "often"}),
        ("distributions", {"response": [1, 2, 3]}),
        ("intervals", [{}]),
        ("warmup", 3),
        ("elapsed_ns", 1.5),
        ("interrupted", None),
        ("cpu_shares", ["half"]),
        ("steal_share", "half"),
        ("sending", {}),
        ("stalls", [1]),
        ("stalls", {"count": "often"}),
        ("workers", None),
        ("jitter", {"jitter_arrivals": 1}),
        ("flows", [{}]),
        ("whole", "yes"),
    ],
)
def test_a_spoilt_part_is_refused(key: str, value: Any) -> None:
    """What a worker says in its last moments may be anything."""
    part = {**recorded([]).to_json(), key: value}
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Part.from_json(part)


def grown(parts: list[Part], *, whole: bool) -> Account:
    """Return what is known of a worker that told these and ended."""
    account = Account(connections=3)
    for part in parts:
        account.told(part)
    assert account.ended() is whole
    return account


@settings(deadline=None, max_examples=40)
@given(exchanges, st.integers(0, 4), st.booleans())
def test_a_worker_that_dies(every: list[Exchange], told: int, closed_loop: bool) -> None:
    """All that it told counts, what was in flight is lost by its death, and the sum holds."""
    whole = recorded(every, closed_loop=closed_loop)
    tellings = []
    for second in range(told):
        so_far = recorded([one for one in every if one[0] <= second], closed_loop=closed_loop)
        tellings.append(
            dataclasses.replace(
                so_far, intervals=so_far.intervals[second : second + 1], distributions={}, whole=False
            )
        )
    account = grown([through_json(one) for one in tellings], whole=False)
    part = account.part
    counts = part.counts
    assert counts.in_flight == 0
    assert counts.sent == counts.completed + counts.lost
    assert part.errors[DIED] >= 1
    assert part.died == 1
    assert part.distributions["response"].count == part.distributions["service"].count == counts.completed
    if told:
        assert counts.sent == tellings[-1].counts.sent
        assert part.errors[DIED] == max(1, tellings[-1].counts.in_flight)
        assert part.distributions["response"] == Histogram.sum(one.response for one in whole.intervals[:told])
    else:
        assert part.connections == Connections(3, 0, 0)
    merged = merge([part, whole])
    assert (merged.workers, merged.died, merged.whole) == (2, 1, False)
    assert merged.counts.sent == merged.counts.completed + merged.counts.lost + merged.counts.in_flight
    assert summary_of(merged, 2).partial


def test_a_worker_that_tells_all() -> None:
    """Its intervals are those it told in between, and one more."""
    whole = recorded([(0, 0, 5, "completed"), (2, 0, 5, "lost")])
    tellings = [
        dataclasses.replace(whole, intervals=(interval,), whole=interval is whole.intervals[-1])
        for interval in whole.intervals
    ]
    assert grown(tellings, whole=True).part == whole


def test_sums() -> None:
    """What is counted is added, what lasts is as long as the longest, what is known of one is known."""
    one = Part(Counts(1), Connections(1, 1, 0), {"a": 1}, elapsed_ns=5, warmup=Counts(2), cpu_shares=(0.9,))
    other = Part(Counts(2), Connections(2, 1, 1), {"a": 2, "b": 1}, elapsed_ns=7, interrupted=True)
    assert merge([one, other]) == Part(
        Counts(3),
        Connections(3, 2, 1),
        {"a": 3, "b": 1},
        elapsed_ns=7,
        interrupted=True,
        warmup=Counts(2),
        cpu_shares=(0.9,),
        workers=2,
    )
    assert merge([one]).sending is None
    stolen = [dataclasses.replace(one, steal_share=share) for share in (0.1, None, 0.3)]
    assert merge(stolen).steal_share == 0.3
    still = [dataclasses.replace(one, stalls=stalls) for stalls in (Stalls(1, 5, 5, 9), Stalls(2, 4, 3, 9))]
    assert merge([one, *still]).stalls == Stalls(3, 9, 5, 18)


def test_flows_of_workers() -> None:
    """They come in the order of their connections; of too many, there is but the total."""
    flows = [FlowSummary(number, Counts(), 0, None, None) for number in range(300)]
    one, other = (
        Part(Counts(), Connections(1, 1, 0), jitter=Jitter(5, 1, 5), flows=tuple(flows[part::2][:128]))
        for part in (1, 0)
    )
    merged = merge([one, other])
    assert merged.flows == tuple(flows[:256])
    assert merged.jitter == Jitter(10, 2, 5)
    assert summary_of(merged, 2).flows == merged.flows
    assert summary_of(dataclasses.replace(merged, flows=tuple(flows[:257])), 2).flows == ()
    assert summary_of(merged, 2).jitter == merged.jitter


def test_the_busiest_worker_is_shown() -> None:
    """Each has a processor of its own to be short of."""
    part = dataclasses.replace(recorded([(0, 7, 5, "completed")]), cpu_shares=(0.2, 0.95, 0.4))
    summary = summary_of(part, 2)
    assert (summary.cpu_share, summary.steal_share) == (0.95, 0.25)
    assert summary.lateness == Histogram.of([7]).to_json()
    assert set(summary.latencies) == {"response", "service", "connect"}
    assert set(summary.distributions) == {"lateness"}
    assert summary.segments == (Segment(0, SECOND, Histogram.of([12])),)
    nobody = summary_of(dataclasses.replace(part, cpu_shares=(), distributions={}), 2)
    assert (nobody.cpu_share, nobody.lateness) == (None, None)


def test_what_the_rules_look_at() -> None:
    """They are told what was recorded, and of the busiest worker."""
    part = dataclasses.replace(recorded([(0, 7, 5, "completed")]), cpu_shares=(0.2, 0.95), died=1, workers=2)
    observed = observe(part, closed_loop=False, verified=True, unnumbered=True, cpus=2, embedded=True)
    assert observed == Observed(
        part.counts,
        closed_loop=False,
        verified=True,
        cpu_share=0.95,
        connections_requested=2,
        connections_opened=2,
        unnumbered=True,
        sending=part.sending,
        response=Histogram.of([12]),
        service=Histogram.of([5]),
        lateness=Histogram.of([7]),
        workers=2,
        workers_died=1,
        steal_share=0.25,
        cpu_total=0.2 + 0.95,
        cpus=2,
        embedded=True,
    )
    nobody = dataclasses.replace(part, cpu_shares=())
    assert observe(nobody, closed_loop=False, verified=True).cpu_total is None


def test_a_closed_loop_has_no_lateness() -> None:
    """Nothing in it is due."""
    assert "lateness" not in recorded([(0, 0, 5, "completed")], closed_loop=True).distributions


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3), max_size=20), st.data())
def test_reflectors(trips: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """What a reflector told several workers is what it would have told one."""
    reflections = [
        Reflection(0, out + 5, out + dwell + 5, out + dwell + back, 0, 64) for out, dwell, back in trips
    ]
    owners = [data.draw(st.integers(0, 2)) for _ in trips]
    parts = []
    for owner in (*range(3), None):
        one_way = OneWay()
        for reflection, mine in zip(reflections, owners, strict=True):
            if owner in (mine, None):
                one_way.record(reflection)
        one_way.losses = Losses(1, 2, 3) if owner is not None else Losses(3, 6, 9)
        parts.append(Part(Counts(), Connections(1, 1, 0), one_way=one_way, whole=True))
    *several, whole = parts
    merged = summary_of(merge(map(through_json, several)), 1)
    assert merged.to_json() == summary_of(whole, 1).to_json()
    assert merged.reflected is not None
    assert merged.reflected.losses == Losses(3, 6, 9)
    assert Summary.from_json(merged.to_json()) == merged
    for name in ("out", "back", "dwell", "response"):
        assert whole.distribution(name) == merged.distribution(name)
    assert observe(whole, closed_loop=True, verified=True).reflected == merged.reflected


def test_what_a_worker_that_died_told_of_datagrams() -> None:
    """It is kept, beside the times of its intervals."""
    told = Part(Counts(5, 5), Connections(1, 1, 0), {}, {"extent": Histogram.of([3])})
    account = Account(1)
    account.told(told)
    assert not account.ended()
    assert account.part.distribution("extent") == Histogram.of([3])


def test_statuses_of_workers() -> None:
    """What servers said to all workers adds up, and is told by a result that has any of it."""
    parts = [
        Part(Counts(), Connections(1, 1, 0), statuses={"200": 3, "503": 1}, whole=True),
        Part(Counts(), Connections(1, 1, 0), statuses={"200": 4}, whole=True),
    ]
    total = merge(map(through_json, parts))
    assert total.statuses == {"200": 7, "503": 1}
    result = summary_of(total, 2).to_json()
    assert result["exchanges"]["statuses"] == total.statuses
    assert Summary.from_json(result).statuses == total.statuses
    assert "statuses" not in summary_of(dataclasses.replace(total, statuses={}), 2).to_json()["exchanges"]


def test_transport_of_workers() -> None:
    """What TLS came to at the first of those who had any is told by a result, and read back from it."""
    agreed = {"version": "TLSv1.3", "cipher": "AES"}
    parts = [
        Part(Counts(), Connections(1, 0, 1), whole=True),
        Part(Counts(), Connections(1, 1, 0), transport=agreed, whole=True),
        Part(Counts(), Connections(1, 1, 0), transport={"version": "TLSv1.2"}, whole=True),
    ]
    total = merge(map(through_json, parts))
    assert total.transport == agreed
    result = summary_of(total, 2).to_json()
    assert result["transport"] == agreed
    assert Summary.from_json(result).transport == agreed
    assert "transport" not in summary_of(dataclasses.replace(total, transport=None), 2).to_json()
