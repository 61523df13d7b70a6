"""The search for the highest rate that holds its objectives, as a function of what was tried so far.

    trials = []
    while isinstance(step := next_step(search, trials), Try):
        summary = ...  # a run at step.rate
        trials.append(Trial.of(step.rate, summary, objectives))
    print(step)  # an Answer

Rates are doubled until one fails, or halved until one holds; then halved between, in proportion, until
what holds and what fails are as near each other as asked. What the search has come to is noise as likely
as not, so the answer is run again: if it fails then, it is lowered and the search goes on below. The rate
above it, if it has failed but once, is run again too: if it holds then, and a third time, the search goes
on above. No rate is run more than three times, and there is an end to the trials as a whole.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Final

from netecho.measure import humanise
from netecho.measure.quality import ACHIEVED_SHARE, BUSY_CPU_SHARE
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary

_DIGITS: Final = 3
"""Rates are tried to so many significant digits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """Where to look, and how closely. Rates are per second."""

    start: float = 100.0
    lowest: float = 1.0
    highest: float = 10_000_000.0
    precision: float = 0.05
    """The answer is less than this share below a rate that fails."""
    most_trials: int = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """A rate, and whether it held."""

    rate: float
    passed: bool
    by_client: bool = False
    """It failed, and may have for want of a faster client."""

    @classmethod
    def of(cls, rate: float, summary: Summary, objectives: Sequence[Objective]) -> Trial:
        """Return what became of a run: it holds if it meets every objective at the rate asked for."""
        sending = summary.sending
        kept = sending is not None and sending.achieved_per_s >= sending.asked_per_s * ACHIEVED_SHARE
        passed = kept and all(objective.evaluate(summary).passed for objective in objectives)
        busy = summary.cpu_share is not None and summary.cpu_share > BUSY_CPU_SHARE
        held_back = sending is not None and sending.held_back.count > 0
        return cls(rate, passed, not passed and (busy or not (kept or held_back)))


class Purpose(enum.StrEnum):
    """Why a rate is tried."""

    GROWING = "growing"
    FALLING = "falling"
    NARROWING = "narrowing"
    CONFIRMING = "confirming"
    """It held."""
    DOUBTING = "doubting"
    """It failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Try:
    """What to do next."""

    rate: float
    purpose: Purpose

    def __str__(self) -> str:
        return f"{self.purpose}: {humanise.rate(self.rate)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the search has come to."""

    rate: float | None
    """The highest that holds; `None` if not even the lowest does."""
    confirmed: bool
    """It held in a second run."""
    failed_rate: float | None
    """The lowest above it that does not hold; `None` if there is none up to the highest."""
    by_client: bool = False
    """That one may have failed for want of a faster client: the answer is the client's own."""

    def __str__(self) -> str:
        if self.rate is None:
            return f"not even {humanise.rate(self.failed_rate or 0)} holds"
        words = [f"{humanise.rate(self.rate)} holds" + (", confirmed" if self.confirmed else ", unconfirmed")]
        if self.failed_rate is None:
            words.append("more was not asked for")
        else:
            words.append(f"{humanise.rate(self.failed_rate)} does not")
        if self.by_client:
            words.append("but that may be the client's limit")
        return "; ".join(words)


def next_step(search: Search, trials: Sequence[Trial]) -> Try | Answer:
    """Return the rate to try next, or the answer. It depends on nothing but these trials, in order."""
    known = _Known(trials)
    if len(trials) >= search.most_trials:
        return known.answer()
    if known.undecided is not None:
        return Try(known.undecided, Purpose.DOUBTING)
    low, high = known.low, known.high
    if low is None and high is None:
        return Try(search.start, Purpose.GROWING)
    if high is None and low is not None and low < search.highest:
        return Try(min(_rounded(2 * low), search.highest), Purpose.GROWING)
    if low is None and high is not None:
        if high <= search.lowest:
            return known.answer()
        return Try(max(_rounded(high / 2), search.lowest), Purpose.FALLING)
    if low is not None and high is not None:
        between = _rounded(math.sqrt(low * high))
        if high > low * (1 + search.precision) and low < between < high:
            return Try(between, Purpose.NARROWING)
    if low is not None and not known.is_confirmed(low):
        return Try(low, Purpose.CONFIRMING)
    if high is not None and known.has_failed_once(high):
        return Try(high, Purpose.DOUBTING)
    return known.answer()


class _Known:
    """What the trials say of each rate."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials: dict[float, list[Trial]] = {}
        for trial in trials:
            self._trials.setdefault(trial.rate, []).append(trial)
        results = {rate: [one.passed for one in mine] for rate, mine in self._trials.items()}
        self.undecided = next((rate for rate, mine in results.items() if mine == [False, True]), None)
        """It failed, and then it held."""
        holding = {rate for rate, mine in results.items() if mine == [True] or mine[-2:] == [True, True]}
        self.high = min((rate for rate in results if rate not in holding), default=None)
        """The lowest that does not hold."""
        self.low = max((one for one in holding if self.high is None or one < self.high), default=None)
        """The highest below it that does."""

    def is_confirmed(self, rate: float) -> bool:
        """Return whether a rate that holds did so twice."""
        return len(self._trials[rate]) > 1

    def has_failed_once(self, rate: float) -> bool:
        """Return whether a rate that does not hold was tried but once."""
        return len(self._trials[rate]) == 1

    def answer(self) -> Answer:
        """Return what the search has come to, if it ends here."""
        failed = [] if self.high is None else [one for one in self._trials[self.high] if not one.passed]
        return Answer(
            self.low,
            self.low is not None and self.is_confirmed(self.low),
            self.high,
            bool(failed) and all(one.by_client for one in failed),
        )


def _rounded(rate: float) -> float:
    """Return a rate to the digits that are worth saying."""
    return float(f"{rate:.{_DIGITS}g}")
