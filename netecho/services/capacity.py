"""Looks for the highest rate at which objectives hold: a run at each rate that `measure.capacity` says."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from netecho.errors import NetechoError, ServerDiedError
from netecho.measure.capacity import Answer, Search
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary
from netecho.measure.trials import Found, Trial, failed, try_rate
from netecho.protocols._contract import Route
from netecho.services.silence import unanswered, unheard

RunAt = Callable[[float], Awaitable[Summary]]
"""Runs at a rate, in exchanges a second, and returns the result."""
OnTrial = Callable[[Trial], object]


class CapacitySearch:
    """A search, and the runs that it makes.

    Args:
        run_at: makes a run; one that is interrupted ends the search.
        objectives: what is to hold, one at least.
        search: where to begin, and how finely to look.
        on_trial: told of each run when it has ended.
        route: the way to what all runs are of.
    """

    def __init__(
        self,
        run_at: RunAt,
        objectives: Sequence[Objective],
        search: Search,
        on_trial: OnTrial,
        route: Route,
    ) -> None:
        self._route = route
        self._run_at = run_at
        self._objectives = objectives
        self._search = search
        self._on_trial = on_trial
        self._trials: list[Trial] = []
        self._held: dict[float, Summary] = {}
        self._last: Summary | None = None

    async def run(self) -> Summary:
        """Search to the end, or until a run is interrupted.

        The result is that of the highest rate that held, or of the last run if none did, with the search.

        Raises:
            NetechoError: the first run could not be made, or nothing at the other end listens or answers.
        """
        steps = [trial.step for trial in self._trials]
        while not isinstance(rate := self._search.next(steps), Answer):
            if await self._is_interrupted(rate):
                return self._result(self._search.so_far(steps), interrupted=True)
            steps.append(self._trials[-1].step)
            self._on_trial(self._trials[-1])
        return self._result(rate)

    async def _is_interrupted(self, rate: float) -> bool:
        try:
            summary = await self._run_at(rate)
        except NetechoError as error:  # the last rate was too much for it, perhaps
            if self._last is None:
                raise
            if isinstance(error, ServerDiedError):
                return True
            self._trials.append(failed(rate, str(error)))
            return False
        if summary.interrupted:
            self._last = self._last or summary
            return True
        if self._last is None:
            self._check_heard(summary)
        self._last = summary
        trial = try_rate(rate, summary, self._objectives)
        self._trials.append(trial)
        if trial.held:
            self._held[rate] = summary
        return False

    def _check_heard(self, summary: Summary) -> None:
        """Check that something listens, and answers: if not, it does no more at a lower rate.

        Raises:
            RefusedError: it does not listen.
            NoReplyError: nothing came back.
        """
        if (silence := unheard(self._route, summary) or unanswered(self._route.target, summary)) is not None:
            raise silence

    def _result(self, answer: Answer, *, interrupted: bool = False) -> Summary:
        if self._last is None:
            raise AssertionError("a search has made a run, or has raised what kept it from that")
        found = Found.of(self._objectives, answer, self._trials)
        summary = self._last if answer.rate is None else self._held[answer.rate]
        caveat = found.caveat
        best = "the best of what was tried" if self._trials else "what there is of its first step"
        remarks = [f"the search was interrupted: this is {best}"] if interrupted else []
        return dataclasses.replace(
            summary,
            interrupted=summary.interrupted or interrupted,
            trustworthy=summary.trustworthy and caveat is None,
            caveats=(*([] if caveat is None else [caveat]), *summary.caveats, *remarks),
            search=found.to_json(),
        )
