"""What may still become of an objective while a run goes on: whether it can be met at all.

Two ends of the run are imagined, on top of what has been measured: one in which all that is still to come
goes as well as can be, and one in which it goes as badly. What will be observed lies between what would be
observed at those two. An objective that no value between them meets is out of reach.

How much is to come is known where a number of exchanges ends the run, and in an open loop. In a closed loop
that time ends it is taken to go on like its fastest interval so far.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Final

from netecho.measure.datagrams import EXTENT, VARIATION
from netecho.measure.histogram import HIGHEST_NS, LOWEST_NS, Histogram
from netecho.measure.pacing import Schedule, lanes_of
from netecho.measure.parts import Part
from netecho.measure.reflected import BACK, DWELL, OUT
from netecho.measure.setup import PIECES
from netecho.measure.slo import Objective
from netecho.measure.summary import LATENESS
from netecho.plans import SECOND, Arrival, BenchPlan, share

_GROWING: Final = {
    **dict.fromkeys(("response", "service", LATENESS, EXTENT, *PIECES), 1),
    VARIATION: 2,
}
"""Distributions to which each exchange adds, or may, and how many samples at most. Connections are opened in
the run as well."""
_ANYTHING: Final = ("jitter", OUT, BACK, DWELL)
"""What may come to anything until the end: it is smoothed, or rests on an estimate that changes."""
_DEVIATIONS: Final = 6
"""So many standard deviations beyond the mean, nobody will see random arrivals."""


def out_of_reach(
    objectives: Iterable[Objective], plan: BenchPlan, so_far: Part, elapsed_ns: int
) -> tuple[Objective, ...]:
    """Return the objectives that cannot be met any more.

    Args:
        objectives: all of them.
        plan: what is run.
        so_far: what has been measured.
        elapsed_ns: in how much time.
    """
    to_come = _to_come(plan, so_far, elapsed_ns)
    if to_come is None:
        return ()
    best, worst = _ends(so_far, to_come, elapsed_ns, plan.length_ns)
    return tuple(one for one in objectives if _is_out_of_reach(one, best, worst))


def _is_out_of_reach(objective: Objective, best: Part, worst: Part) -> bool:
    if objective.metric in _ANYTHING or objective.distribution in _ANYTHING:
        return False
    if objective.distribution == EXTENT and best.distribution(EXTENT) is None:
        return False
    ends = [observed for end in (best, worst) if (observed := objective.observe(end)) is not None]
    if len(ends) < 2:  # it is not measured yet, and may be
        return False
    least, most, limit = min(ends), max(ends), objective.limit
    return {
        "<": least >= limit,
        "<=": least > limit,
        ">": most <= limit,
        ">=": most < limit,
        "==": not least <= limit <= most,
        "!=": least == limit == most,
    }[objective.comparison]


def _to_come(plan: BenchPlan, so_far: Part, elapsed_ns: int) -> int | None:
    """Return how many exchanges have not left yet, at most; `None` if that cannot be said yet."""
    sent = so_far.counts.sent
    if plan.open_loop:
        return max(0, sum(map(_most, lanes_of(plan))) - sent)
    bounds = [] if plan.exchanges is None else [plan.exchanges - sent]
    if plan.length_ns is not None:
        fastest = max((one.completed / one.length_ns for one in so_far.intervals if one.length_ns), default=0)
        if not fastest:
            return None
        bounds.append(math.ceil(fastest * max(0, plan.length_ns - elapsed_ns)))
    return max(0, min(bounds))


def _most(schedule: Schedule) -> int:
    """Return how many exchanges a schedule has, at most."""
    ramp, bounds = schedule.ramp, []
    if schedule.count is not None:
        bounds.append(share(schedule.count, schedule.parts, schedule.index))
    if ramp.duration_ns is not None:
        mean = float(ramp.until(ramp.duration_ns))
        spread = _DEVIATIONS * math.sqrt(mean) if schedule.arrival is Arrival.POISSON else 0.0
        bounds.append(math.ceil((mean + spread) / schedule.parts))
    return min(bounds)


def _ends(so_far: Part, to_come: int, elapsed_ns: int, length_ns: int | None) -> tuple[Part, Part]:
    """Return what will have been measured in the end, at best and at worst."""
    counts, sending = so_far.counts, so_far.sending
    uncertain = counts.in_flight + to_come
    soonest_ns = max(elapsed_ns, length_ns or 0)
    best = dataclasses.replace(
        so_far,
        counts=dataclasses.replace(
            counts, sent=counts.sent + to_come, completed=counts.completed + uncertain
        ),
        distributions=_with(so_far, uncertain, LOWEST_NS),
        elapsed_ns=soonest_ns,
    )
    ruined = {
        name: getattr(counts, name) + uncertain
        for name in ("lost", "late", "duplicated", "reordered", "corrupted")
    }
    worst = dataclasses.replace(
        so_far,
        counts=dataclasses.replace(counts, sent=counts.sent + to_come, **ruined),
        errors={**so_far.errors, "": uncertain},
        distributions=_with(so_far, uncertain, HIGHEST_NS),
        elapsed_ns=soonest_ns if length_ns is not None else max(soonest_ns, SECOND) * SECOND,  # or never
    )
    if sending is None:
        return best, worst
    held_back = sending.held_back
    return (
        dataclasses.replace(
            best,
            sending=dataclasses.replace(
                sending,
                planned_ns=best.elapsed_ns,
                took_ns=0,
                due=counts.sent + to_come,
                held_back=dataclasses.replace(held_back, unsent=0),
            ),
        ),
        dataclasses.replace(
            worst,
            sending=dataclasses.replace(
                sending,
                planned_ns=worst.elapsed_ns,
                due=counts.sent + to_come,
                held_back=dataclasses.replace(
                    held_back, count=held_back.count + to_come, unsent=held_back.unsent + to_come
                ),
            ),
        ),
    )


def _with(so_far: Part, count: int, value_ns: int) -> dict[str, Histogram]:
    """Return the distributions with so many more samples of one value in those that grow."""
    more = Histogram.unpack([value_ns, value_ns, [value_ns], [count]]) if count else Histogram()
    return {
        name: Histogram.sum([one, *[more] * _GROWING.get(name, 0)])
        for name, one in so_far.distributions.items()
    }
