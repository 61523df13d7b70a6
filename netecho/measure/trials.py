"""A search for the highest rate that holds its objectives, as it is told: each run, and the answer.

Whether a rate held is judged by what was measured at it: the objectives are met, and it was that rate that
was measured, and not what was left of it. A rate that is missed because the client was too slow says nothing
of what it measures, and an answer that ends at such a rate is the client's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self

from netecho.measure import humanise
from netecho.measure.capacity import Answer, Step
from netecho.measure.quality import (
    ACHIEVED_SHARE,
    UNSENT_SHARE,
    Observed,
    is_held_back,
    is_late,
    limits_of_the_client,
)
from netecho.measure.reading import checked
from netecho.measure.slo import Objective
from netecho.measure.summary import LATENESS, Summary

_OF_LOSS: Final = frozenset(("loss", "lost", "errors"))
"""Metrics of which one has an objective for what is lost."""
_CLIENT: Final = "it was the client that was too slow"


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """A run at one rate."""

    rate: float
    """Exchanges a second that were asked for."""
    achieved: float
    """Those that left."""
    held: bool
    observed: tuple[str, ...]
    """What became of each objective, in words."""
    reasons: tuple[str, ...] = ()
    """Why it did not hold, in words."""
    limits: tuple[str, ...] = ()
    """How the client set the result, in words: with none, it did not."""

    @property
    def step(self) -> Step:
        """What a search needs to know of it."""
        return Step(self.rate, self.held, "; ".join(self.reasons))

    def to_json(self) -> dict[str, Any]:
        """Return the object in `steps`."""
        return {
            "rate_per_s": self.rate,
            "achieved_rate_per_s": round(self.achieved, 3),
            "held": self.held,
            "observed": list(self.observed),
            "reasons": list(self.reasons),
            "limits_of_client": list(self.limits),
        }

    @classmethod
    def from_json(cls, one: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        words = [
            tuple(map(str, checked(one, key, list))) for key in ("observed", "reasons", "limits_of_client")
        ]
        return cls(
            float(one["rate_per_s"]), float(one["achieved_rate_per_s"]), checked(one, "held", bool), *words
        )


def try_rate(rate: float, summary: Summary, objectives: Sequence[Objective]) -> Trial:
    """Return what a run at a rate came to.

    Args:
        rate: what was asked for, in exchanges a second.
        summary: the result of an open loop at that rate.
        objectives: what it is to meet.
    """
    verdicts = [one.evaluate(summary) for one in objectives]
    observed = _observe(summary)
    limits = tuple(limits_of_the_client(observed))
    missed = [str(verdict) for verdict in verdicts if not verdict.passed]
    crowded = bool(missed) and not is_late(observed)
    reasons = (*missed, *_another_rate(rate, summary, crowded=crowded, objectives=objectives))
    if reasons and limits:
        reasons = (*reasons, _CLIENT)
    achieved = 0.0 if summary.sending is None else summary.sending.achieved_per_s
    return Trial(rate, achieved, not reasons, tuple(map(str, verdicts)), reasons, limits)


def failed(rate: float, reason: str) -> Trial:
    """Return what a run came to that could not be made at all."""
    return Trial(rate, 0.0, held=False, observed=(), reasons=(reason,))


def _another_rate(
    rate: float, summary: Summary, *, crowded: bool, objectives: Sequence[Objective]
) -> Iterator[str]:
    """Yield how what was measured is not the rate that was asked for.

    Args:
        rate: what was asked for; of a short schedule's whole exchanges the average may be another.
        summary: what was measured.
        crowded: something is wrong for which too few connections may be to blame.
        objectives: what it was to meet.
    """
    sending, counts = summary.sending, summary.counts
    if sending is not None and sending.achieved_per_s < sending.asked_per_s * ACHIEVED_SHARE:
        yield f"{humanise.rate(sending.achieved_per_s)} of {humanise.rate(rate)} left"
    if sending is not None and sending.held_back.unsent > sending.due * UNSENT_SHARE:
        yield f"{humanise.share(sending.held_back.unsent, sending.due)} of what was due never left"
    elif crowded and sending is not None and is_held_back(sending):
        share = humanise.share(sending.held_back.count, sending.due)
        yield f"{share} of what was due found no connection free (-c)"
    spoken_of = any(one.metric in _OF_LOSS for one in objectives)
    if counts.lost > counts.sent * UNSENT_SHARE and not spoken_of:
        yield f"{humanise.share(counts.lost, counts.sent)} of what left was lost, and is in no percentile"


def _observe(summary: Summary) -> Observed:
    return Observed(
        counts=summary.counts,
        closed_loop=False,
        verified=True,
        cpu_share=summary.cpu_share,
        connections_requested=summary.connections.requested,
        connections_opened=summary.connections.opened,
        sending=summary.sending,
        response=summary.distribution("response"),
        service=summary.distribution("service"),
        lateness=summary.distribution(LATENESS),
        workers=summary.workers,
        cpu_total=sum(summary.cpu_shares) if summary.cpu_shares else summary.cpu_share,
        cpus=summary.system.get("cpus"),
        embedded=summary.plan.get("embedded") is True,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a search came to, with all that it tried."""

    objectives: tuple[str, ...]
    rate: float | None
    """The highest that held; `None` if none did."""
    confirmed: bool
    """As in `Answer`."""
    limited_by: str | None
    """What missed above it: `client` or `target`; `None` if nothing was tried that missed."""
    words: str
    """The answer as a sentence."""
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, objectives: Sequence[Objective], answer: Answer, trials: Sequence[Trial]) -> Self:
        """Return the answer of a search whose steps are those of the trials."""
        limited_by = None
        if answer.missed is not None:
            above = [one for one in trials if one.rate == answer.missed.rate and not one.held]
            limited_by = "client" if any(one.limits for one in above) else "target"
        return cls(
            tuple(one.expression for one in objectives),
            answer.rate,
            answer.confirmed,
            limited_by,
            str(answer),
            tuple(trials),
        )

    @property
    def caveat(self) -> str | None:
        """What is to be known of it, if it is the client that could not do more."""
        if self.limited_by != "client":
            return None
        limits = [limit for trial in self.trials if not trial.held for limit in trial.limits]
        return f"the highest rate is the limit of this client, and not of what it measured: {limits[-1]}"

    def to_json(self) -> dict[str, Any]:
        """Return the object `search` of `netecho.result/1`."""
        return {
            "objectives": list(self.objectives),
            "rate_per_s": self.rate,
            "confirmed": self.confirmed,
            "limited_by": self.limited_by,
            "answer": self.words,
            "steps": [trial.to_json() for trial in self.trials],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave.

        Raises:
            ValueError: it is no such object.
        """
        try:
            rate, limited_by = found["rate_per_s"], found["limited_by"]
            return cls(
                tuple(map(str, checked(found, "objectives", list))),
                None if rate is None else float(rate),
                checked(found, "confirmed", bool),
                None if limited_by is None else checked(found, "limited_by", str),
                checked(found, "answer", str),
                tuple(map(Trial.from_json, found["steps"])),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a search: {error!r}") from error
