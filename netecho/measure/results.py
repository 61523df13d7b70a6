"""Several results as one: of parts of a load that ran side by side, or of the same run made again.

All that is counted, and every distribution, adds up exactly. Percentiles do not: of intervals that are
added up, whose distributions a result does not keep, they are left out.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from netecho.measure import circumstances
from netecho.measure.intervals import Interval, IntervalSummary
from netecho.measure.merging import merge, summarise
from netecho.measure.parts import Part
from netecho.measure.pauses import Pauses
from netecho.measure.quality import Judgement
from netecho.measure.reflected import Reflected
from netecho.measure.segments import GRID_NS, Segment, align, place_of
from netecho.measure.sending import Sending
from netecho.measure.summary import Summary

_AMOUNTS: Final = ("connections", "exchanges", "count", "rate_per_s", "connect_rate_per_s")
"""What of a plan is divided among those who carry it out."""


def merge_results(summaries: Sequence[Summary]) -> Summary:
    """Return one result of several, of which there is at least one.

    The time taken is that in which at least one of them ran. The plan is the first one's, with the
    amounts of all if they ran side by side. Objectives are left out: the whole is to be judged anew.
    """
    starts = _starts(summaries)
    first = min(zip(starts, summaries, strict=True), key=lambda pair: pair[0])[1]
    reasons = [caveat for one in summaries if not one.trustworthy for caveat in one.caveats]
    remarks = [caveat for one in summaries for caveat in one.caveats]
    elapsed_ns = _covered_ns(starts, [one.elapsed_ns for one in summaries])
    side_by_side = elapsed_ns < sum(one.elapsed_ns for one in summaries)
    plans = [one.plan for one in summaries]
    divided = _AMOUNTS if side_by_side else ()
    said = [[circumstances.of_plan(one, without=divided)] for one in plans]
    if differences := circumstances.differences(said):
        remarks.append(f"added up of what was not made alike: {', '.join(differences)}")
    merged = summarise(
        dataclasses.replace(merge(map(_part, summaries)), elapsed_ns=elapsed_ns),
        command=first.command,
        started=first.started,
        system={**first.system, "host": ", ".join(_unlike(str(one.system.get("host")) for one in summaries))},
        plan=_plan(plans, side_by_side=side_by_side),
        judgement=Judgement(not reasons, tuple(_unlike([*reasons, *remarks]))),
    )
    return dataclasses.replace(
        merged,
        sending=_sending(starts, summaries),
        intervals=_intervals(starts, summaries),
        segments=_segments(starts, summaries),
        reflected=_reflected([one.reflected for one in summaries if one.reflected is not None]),
        # Each began to count its connections at 0.
        flows=tuple(dataclasses.replace(flow, number=number) for number, flow in enumerate(merged.flows)),
        version=first.version,
    )


def _reflected(every: Sequence[Reflected]) -> Reflected | None:
    return functools.reduce(operator.add, every) if every else None


def _part(summary: Summary) -> Part:
    return Part(
        summary.counts,
        summary.connections,
        summary.errors,
        {**summary.latencies, **summary.distributions},
        (),
        summary.warmup,
        summary.elapsed_ns,
        summary.interrupted,
        summary.cpu_shares or (() if summary.cpu_share is None else (summary.cpu_share,)),
        summary.steal_share,
        summary.sending,
        summary.jitter,
        summary.flows,
        summary.workers,
        summary.workers_died,
        whole=True,
        stalls=summary.stalls,
    )


def _unlike(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _starts(summaries: Sequence[Summary]) -> list[int]:
    """Return when each began, in nanoseconds from the first; all at once if one does not say."""
    try:
        times = [datetime.datetime.fromisoformat(one.started) for one in summaries]
        since = min(times)
        return [(time - since) // datetime.timedelta(microseconds=1) * 1000 for time in times]
    except (ValueError, TypeError):  # no date, or some with an offset from UTC and some without
        return [0] * len(summaries)


def _covered_ns(starts: Sequence[int], lengths: Sequence[int]) -> int:
    """Return for how long at least one was under way."""
    covered = until = 0
    for start, length in sorted(zip(starts, lengths, strict=True)):
        covered += max(0, start + length - max(start, until))
        until = max(until, start + length)
    return covered


def _sending(starts: Sequence[int], summaries: Sequence[Summary]) -> Sending | None:
    """Return the schedules as one: of runs one after the other, rates do not add up and times do."""
    scheduled = [
        (start, one.sending) for start, one in zip(starts, summaries, strict=True) if one.sending is not None
    ]
    if not scheduled:
        return None
    begun = [start for start, _ in scheduled]
    sendings = [sending for _, sending in scheduled]
    return dataclasses.replace(
        functools.reduce(operator.add, sendings),
        planned_ns=_covered_ns(begun, [one.planned_ns for one in sendings]),
        took_ns=_covered_ns(begun, [one.took_ns for one in sendings]),
    )


def _plan(plans: Sequence[Mapping[str, Any]], *, side_by_side: bool) -> dict[str, Any]:
    plan = {**plans[0], "target": ", ".join(_unlike(str(one.get("target")) for one in plans))}
    for key in _AMOUNTS if side_by_side else ():
        amounts = [one.get(key) for one in plans]
        if all(isinstance(amount, int | float) for amount in amounts):
            plan[key] = sum(amounts)
    return plan


def _intervals(starts: Sequence[int], summaries: Sequence[Summary]) -> tuple[IntervalSummary, ...]:
    places: dict[int, list[IntervalSummary]] = {}
    for start, summary in zip(starts, summaries, strict=True):
        for one in _of_the_load(summary):
            moved = dataclasses.replace(one, start_ns=one.start_ns + start)
            places.setdefault(place_of(moved.start_ns), []).append(moved)
    return tuple(_sum(places[place]) for place in sorted(places))


def _of_the_load(summary: Summary) -> tuple[IntervalSummary, ...]:
    """Return the intervals of a run up to its last echo.

    What was found out later, in the wait for what was lost, is in the last of them: in the midst of others
    the wait would look like time in which nothing came back.
    """
    elapsed_ns, pauses = summary.elapsed_ns, Pauses(summary.intervals)
    number = sum(pauses.under_way_ns(one.start_ns) < elapsed_ns for one in summary.intervals)
    if not number:
        return summary.intervals
    last, *after = summary.intervals[number - 1 :]
    return (
        *summary.intervals[: number - 1],
        dataclasses.replace(
            last,
            length_ns=min(last.length_ns, elapsed_ns - pauses.under_way_ns(last.start_ns)),
            completed=last.completed + sum(one.completed for one in after),
            errors=last.errors + sum(one.errors for one in after),
        ),
    )


def _sum(intervals: Sequence[IntervalSummary]) -> IntervalSummary:
    if len(intervals) == 1:
        return intervals[0]
    start_ns = min(one.start_ns for one in intervals)
    return IntervalSummary(
        start_ns,
        max(one.start_ns + one.length_ns for one in intervals) - start_ns,
        sum(one.completed for one in intervals),
        sum(one.errors for one in intervals),
        None,
    )


def _segments(starts: Sequence[int], summaries: Sequence[Summary]) -> tuple[Segment, ...]:
    """Return the segments on the grid of the longest of them."""
    every = [
        Interval(one.start_ns + start, one.length_ns, one.response.count, 0, one.response)
        for start, summary in zip(starts, summaries, strict=True)
        for one in summary.segments
    ]
    longest_ns = max((one.length_ns for one in every), default=GRID_NS)
    grid_ns = max(1, round(longest_ns / GRID_NS)) * GRID_NS
    return tuple(Segment(one.start_ns, one.length_ns, one.response) for one in align(every, grid_ns))
