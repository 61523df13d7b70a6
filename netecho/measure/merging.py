"""What several workers recorded, added up exactly: the same as if one had recorded it all.

A worker tells what it has recorded as a `Part`, as JSON, at the end of each interval and once more when it
is done. What it counted it tells anew every time; each interval it tells once. Its parent keeps an
`Account` of it, so that of a worker that dies all is known but its last moments:

    # worker, at the end of each interval, and at its own end
    send(Part(recorder.counts, connections, recorder.errors, {}, (interval,), ...).to_json())
    send(Part(..., distributions_of(recorder), (last,), whole=True).to_json())
    # of datagrams, with `datagrams_of(flows)`: its distributions added, its jitter and its flows

    # parent
    accounts = [Account(share.connections) for share in plan.split(workers)]
    accounts[worker].told(Part.from_json(message))
    accounts[worker].ended()  # its process has: if it had not told all, it died
    total = merge(account.part for account in accounts)
    judgement = judge(observe(total, closed_loop=False, verified=True))
    summary = summarise(total, command="bench", ..., judgement=judgement)
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from netecho.errors import NoFileError, NoPortError
from netecho.measure.counts import Connections, Counts
from netecho.measure.flows import MOST_FLOWS, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import IntervalSummary
from netecho.measure.oneway import OneWay
from netecho.measure.parts import Part
from netecho.measure.quality import Judgement, Observed
from netecho.measure.reflected import Reflected, delays_of
from netecho.measure.segments import GRID_NS, align, segments_of
from netecho.measure.stalls import Stalls
from netecho.measure.summary import LATENCIES, LATENESS, Summary
from netecho.plans import Mode

DIED: Final = "worker died"
"""The kind of failure of an exchange that was in flight when its worker died."""


class Account:
    """What is known of one worker.

    Args:
        connections: how many it has been asked to open, if it should die before it says so.
    """

    def __init__(self, connections: int) -> None:
        self.part = Part(Counts(), Connections(connections, 0, 0))

    def told(self, part: Part) -> None:
        """Take what it has told: its counts replace the last ones, its intervals come after them."""
        self.part = dataclasses.replace(part, intervals=self.part.intervals + part.intervals)

    def ended(self) -> bool:
        """Return whether its process ended as it should; if not, what was in flight is lost with it."""
        if not self.part.whole:
            self.part = _died(self.part)
        return self.part.whole


def _died(part: Part) -> Part:
    counts = dataclasses.replace(part.counts, lost=part.counts.lost + part.counts.in_flight)
    return dataclasses.replace(
        so_far_of(part),
        counts=counts,
        errors={**part.errors, DIED: part.errors.get(DIED, 0) + max(1, part.counts.in_flight)},
        died=1,
    )


def so_far_of(part: Part) -> Part:
    """Return what workers that go on have told, with the distributions that their intervals have."""
    response = Histogram.sum(one.response for one in part.intervals)
    service = Histogram.sum(one.service or one.response for one in part.intervals)
    told = {**part.distributions, "response": response, "service": service}
    return dataclasses.replace(part, distributions=told)


def merge(parts: Iterable[Part], grid_ns: int = GRID_NS) -> Part:
    """Return the sum of parts, of which there is at least one.

    Args:
        parts: of one run, begun together.
        grid_ns: how far apart their intervals begin.
    """
    every = list(parts)
    warmups = [one.warmup for one in every if one.warmup is not None]
    jitters = [one.jitter for one in every if one.jitter is not None]
    sendings = [one.sending for one in every if one.sending is not None]
    stalls = [one.stalls for one in every if one.stalls is not None]
    return Part(
        _counts(one.counts for one in every),
        _connections(one.connections for one in every),
        _words(one.errors for one in every),
        _distributions(one.distributions for one in every),
        align((interval for one in every for interval in one.intervals), grid_ns),
        _counts(warmups) if warmups else None,
        max(one.elapsed_ns for one in every),
        any(one.interrupted for one in every),
        tuple(sorted(share for one in every for share in one.cpu_shares)),
        max((one.steal_share for one in every if one.steal_share is not None), default=None),
        functools.reduce(operator.add, sendings) if sendings else None,
        sum(jitters, Jitter()) if jitters else None,
        tuple(sorted((flow for one in every for flow in one.flows), key=lambda flow: flow.number)),
        sum(one.workers for one in every),
        sum(one.died for one in every),
        all(one.whole for one in every),
        _one_way([one.one_way for one in every if one.one_way is not None]),
        _words(one.statuses for one in every),
        next((one.transport for one in every if one.transport is not None), None),
        sum(stalls, Stalls()) if stalls else None,
    )


def _counts(every: Iterable[Counts]) -> Counts:
    total = Counts()
    for one in every:
        total.add(one)
    return total


def _connections(every: Iterable[Connections]) -> Connections:
    return Connections(*map(sum, zip(*map(dataclasses.astuple, every), strict=True)))


def _words(every: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for one in every:
        total.update(one)
    return dict(sorted(total.items()))


def _distributions(every: Iterable[Mapping[str, Histogram]]) -> dict[str, Histogram]:
    total: dict[str, Histogram] = {}
    for one in every:
        for name, distribution in one.items():
            total.setdefault(name, Histogram()).add(distribution)
    return total


def _one_way(every: Sequence[OneWay]) -> OneWay | None:
    total = OneWay()
    for one in every:
        total.add(one)
    return total if every else None


def observe(
    part: Part,
    *,
    closed_loop: bool,
    verified: bool,
    unnumbered: bool = False,
    told_apart: int | None = None,
    asked: int | None = None,
    cpus: int | None = None,
    embedded: bool = False,
    mode: Mode = Mode.EXCHANGE,
) -> Observed:
    """Return what the rules look at, for `judge`."""
    return Observed(
        counts=part.counts,
        closed_loop=closed_loop,
        verified=verified,
        cpu_share=max(part.cpu_shares, default=None),
        connections_requested=part.connections.requested,
        connections_opened=part.connections.opened,
        interrupted=part.interrupted,
        unnumbered=unnumbered,
        told_apart=told_apart,
        asked=asked,
        sending=part.sending,
        response=part.distributions.get("response"),
        service=part.distributions.get("service"),
        lateness=part.distributions.get(LATENESS),
        reflected=None if part.one_way is None else Reflected.of(part.one_way),
        workers=part.workers,
        workers_died=part.died,
        cpu_total=sum(part.cpu_shares) if part.cpu_shares else None,
        cpus=cpus,
        embedded=embedded,
        mode=mode,
        steal_share=part.steal_share,
        stalls=part.stalls,
        no_port=part.errors.get(NoPortError.kind, 0),
        no_file=part.errors.get(NoFileError.kind, 0),
    )


def summarise(
    part: Part,
    *,
    command: str,
    started: str,
    system: Mapping[str, Any],
    plan: Mapping[str, Any],
    judgement: Judgement,
    slo: Sequence[Mapping[str, Any]] = (),
    grid_ns: int = GRID_NS,
) -> Summary:
    """Return what a run means that one process recorded, or several together."""
    latencies = {name: part.distributions[name] for name in LATENCIES if name in part.distributions}
    others = {name: one for name, one in part.distributions.items() if name not in latencies}
    if part.one_way is not None:
        others |= delays_of(part.one_way)
    lateness = others.get(LATENESS)
    return Summary(
        command=command,
        started=started,
        elapsed_ns=part.elapsed_ns,
        interrupted=part.interrupted,
        system=system,
        plan=plan,
        connections=part.connections,
        counts=part.counts,
        errors=part.errors,
        statuses=part.statuses,
        latencies={name: one for name, one in latencies.items() if one.count},
        intervals=tuple(map(IntervalSummary.of, part.intervals)),
        warmup=part.warmup,
        cpu_share=max(part.cpu_shares, default=None),
        trustworthy=judgement.trustworthy,
        caveats=judgement.caveats,
        lateness=None if lateness is None else lateness.to_json(),
        slo=tuple(slo),
        distributions={name: one for name, one in others.items() if one.count},
        sending=part.sending,
        jitter=part.jitter,
        flows=part.flows if len(part.flows) <= MOST_FLOWS else (),
        reflected=None if part.one_way is None else Reflected.of(part.one_way),
        segments=segments_of(part.intervals, grid_ns),
        workers=part.workers,
        workers_died=part.died,
        cpu_shares=part.cpu_shares if part.workers > 1 else (),
        steal_share=part.steal_share,
        stalls=part.stalls,
        transport=part.transport,
    )
