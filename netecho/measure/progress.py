"""What is told of a run while it goes on: how far it has come, and what becomes of each probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from netecho.measure.counts import Counts, Outcome
from netecho.measure.intervals import IntervalSummary

Phase = Literal["idle", "connecting", "warm-up", "measuring", "finishing"]


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: what a live view is told, at the end of each interval and in between."""

    phase: Phase
    elapsed_ns: int
    """Since this phase began."""
    total_ns: int | None
    """How long this phase lasts; `None` if a count ends it."""
    completed: int
    """Exchanges in this phase so far."""
    total: int | None
    """How many exchanges end this phase; `None` if time does."""
    interval: IntervalSummary | None
    """The stretch of time that has just ended; `None` when none has since the last call."""
    counts: Counts
    connections_open: int
    errors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """So far, by kind."""
    connections_requested: int | None = None
    response: Callable[[], Mapping[str, int] | None] = lambda: None
    """Returns `p50`, `p99` and `max` of response time over the whole phase so far, if that is known. It takes
    a while, and is to be called at once or never."""
    whole: bool = True
    """It is not just of what was left of an interval at the end, or of what somebody told too late of one."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProbeReply:
    """What became of one probe, as it is found out."""

    sequence: int | None
    """`None`: something came that answers no probe."""
    outcome: Outcome | None
    """`None`: no echo came within the timeout."""
    size: int
    """Bytes of payload that came; of a lost probe, that were sent."""
    time_ns: int | None
    """From when the probe was due until its echo; `None` if that is not known."""
    reason: str | None = None
    """Why it is lost, when that is not the timeout."""
