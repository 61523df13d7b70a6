"""The highest rate that holds an objective: which rate to try next, given what became of those tried.

The search doubles the rate until the objective is missed, then halves the gap, on a logarithmic scale, until
it is as small as was asked. What is tried is noisy: a rate may hold by luck and miss by a hiccup. So the
two rates that decide, the highest that held and the lowest that missed, are run until two of their runs
agree, three times at most, and so is the miss that ends the doubling, before all of what follows is based on
it. An answer that does not hold again is lowered; a miss that is not one any more is forgotten.

It ends, whatever the objective does: no rate is run more than three times, those between two others are no
nearer to them than half of the precision, and there are `most_steps`.

    search, steps = Search(start=1_000), []
    while not isinstance(then := search.next(steps), Answer):
        steps.append(Step(then, held=...))
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from netecho.measure import humanise

_AGREEING: Final = 2
"""Runs of a rate that say the same, after which it is believed."""
_DIGITS: Final = 4
"""Significant ones of a rate that is tried: finer is not worth the reading."""
_FINEST: Final = 0.01
"""The smallest precision, beside which what is lost by rounding a rate is small."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A run at one rate, and what became of the objective."""

    rate: float
    """Exchanges a second that were asked for."""
    held: bool
    """The objective was met, at that rate: not at another that was reached instead."""
    reason: str = ""
    """Why it was not, in words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a search came to."""

    rate: float | None
    """The highest rate that held; `None` if none did."""
    confirmed: bool
    """Two runs at that rate held, and two above it did not; or it is the highest that was to be tried."""
    missed: Step | None
    """The last run at the lowest rate that missed; `None` if none did."""
    steps: int
    """How many runs it took."""

    def __str__(self) -> str:
        """Return it in words."""
        if not self.steps:
            return "interrupted before the first step was over; nothing is known"
        if self.rate is None:
            rate = "" if self.missed is None else f", down to {humanise.rate(self.missed.rate)}"
            text = f"no rate held{rate}"
        else:
            text = f"{humanise.rate(self.rate)} held"
            if self.missed is not None:
                text += f", {humanise.rate(self.missed.rate)} did not"
            elif self.confirmed:
                text += ", the highest rate to be tried"
        if self.missed is not None and self.missed.reason:
            text += f" ({self.missed.reason})"
        return text if self.confirmed else f"{text}; not confirmed"


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """How to search. Rates are in exchanges a second."""

    start: float = 1_000.0
    lowest: float = 1.0
    """No lower rate is tried."""
    highest: float = 10_000_000.0
    precision: float = 0.05
    """By what share the lowest rate that missed may be above the answer."""
    growth: float = 2.0
    """By how much a rate is multiplied while all hold, and divided while none does."""
    most_steps: int = 40

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: it makes no sense; the message says why.
        """
        if not 0 < self.lowest <= self.start <= self.highest < math.inf:
            raise ValueError("a search starts between its lowest and its highest rate, above 0")
        if not _FINEST <= self.precision < math.inf:
            raise ValueError(f"rates are not searched for more finely than {_FINEST:.0%}")
        if not 1 + self.precision < self.growth < math.inf:
            raise ValueError("rates grow by more than the precision of the answer")
        if self.most_steps < 1:
            raise ValueError("a search takes a step at least")

    def next(self, steps: Sequence[Step]) -> float | Answer:
        """Return the rate to try next, or the answer.

        Args:
            steps: all of this search so far, in order.
        """
        rate = self._rate(_Tried(steps))
        return rate if rate is not None and len(steps) < self.most_steps else self.so_far(steps)

    def so_far(self, steps: Sequence[Step]) -> Answer:
        """Return what is known after some steps, all that there were or not."""
        tried = _Tried(steps)
        missed = next((one for one in reversed(steps) if one.rate == tried.high), None)
        return Answer(tried.low, self._rate(tried) is None, missed, len(steps))

    def _rate(self, tried: _Tried) -> float | None:
        """Return the rate to try next; `None` if there is nothing left to find out."""
        low, high = tried.low, tried.high
        if high is None:
            if low is None:
                return self.start
            if low < self.highest:
                return min(_round(low * self.growth), self.highest)
            return None if tried.is_believed(low) else low
        if not tried.has_believed_miss:
            return high
        if low is None:
            if high > self.lowest:
                return max(_round(high / self.growth), self.lowest)
            return None if tried.is_believed(high) else high
        if high / low > 1 + self.precision:
            return _round(math.sqrt(low * high))
        for rate in (low, high):
            if not tried.is_believed(rate):
                return rate
        return None


class _Tried:
    """The rates that were tried. Whether one held is what most of its runs say, or the last of two."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._runs: collections.defaultdict[float, list[bool]] = collections.defaultdict(list)
        for step in steps:
            self._runs[step.rate].append(step.held)
        self.held = {rate for rate, runs in self._runs.items() if self._holds(runs)}
        self.missed = self._runs.keys() - self.held
        # All that held are below all that missed: each new rate lies between the two, and only they change.
        self.low, self.high = max(self.held, default=None), min(self.missed, default=None)
        self.has_believed_miss = any(self.is_believed(rate) for rate in self.missed)

    @staticmethod
    def _holds(runs: Sequence[bool]) -> bool:
        balance = 2 * sum(runs) - len(runs)
        return runs[-1] if balance == 0 else balance > 0

    def is_believed(self, rate: float) -> bool:
        """Return whether two runs at that rate agree."""
        runs = self._runs[rate]
        return max(sum(runs), len(runs) - sum(runs)) >= _AGREEING


def _round(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")
