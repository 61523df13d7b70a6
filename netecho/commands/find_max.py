"""`bench --find-max`: runs of a plan at one rate after the other, each said as it ends."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from netecho.errors import UsageError
from netecho.measure.capacity import Search
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary
from netecho.measure.trials import Trial
from netecho.plans import BenchPlan
from netecho.protocols._contract import Route
from netecho.rendering.capacity import trial_line
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.live import ProgressView
from netecho.rendering.streams import write_out
from netecho.services.capacity import CapacitySearch

FIRST_RATE: Final = 1_000.0
"""Exchanges a second that a search begins with unless -q says otherwise."""
Measure = Callable[[BenchPlan, Route], Awaitable[Summary]]
"""Makes a run of a plan."""


def check_alone(flags: Mapping[str, object]) -> None:
    """Check that no flag is given that a search has no use for.

    Args:
        flags: their values, which are false if they were not given.

    Raises:
        UsageError: one is.
    """
    for flag, value in flags.items():
        if value:
            raise UsageError(f"--find-max makes runs of its own, of -z each, from -q on: leave out {flag}")


class TrialView:
    """Says what became of each run.

    Args:
        views: what shows how far each run has come; it makes room first.
        stream: where events go, if there are any.
        quiet: nothing is said on standard error.
    """

    def __init__(self, views: Sequence[ProgressView], stream: JSONStream | None, *, quiet: bool) -> None:
        self._views = views
        self._stream = stream
        self._quiet = quiet
        self._number = 0

    def show(self, trial: Trial) -> None:
        """Say it."""
        self._number += 1
        for view in self._views:
            view.finish()
        if self._stream is not None:
            self._stream.event("step", number=self._number, **trial.to_json())
        if not self._quiet:
            write_out(f"{trial_line(self._number, trial)}\n", sys.stderr)


async def search(measure: Measure, view: TrialView, plan: BenchPlan, route: Route) -> Summary:
    """Return the result of the highest rate at which a plan's objectives hold, with the search for it.

    Args:
        measure: makes a run.
        view: told of each.
        plan: what to run at each rate; its own is the first.
        route: the way to the target.

    Raises:
        NetechoError: the first run could not be made, or nothing at the other end listens or answers.
    """
    objectives = tuple(map(Objective.parse, plan.slo))

    async def run_at(rate: float) -> Summary:
        return await measure(dataclasses.replace(plan, rate=rate), route)

    first, usual = plan.rate or FIRST_RATE, Search()
    within = Search(first, min(first, usual.lowest), max(first, usual.highest))
    return await CapacitySearch(run_at, objectives, within, view.show, route).run()
