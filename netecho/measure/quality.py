"""Whether a result can be trusted, and what its reader must know: rules over what was measured.

Each rule is plain arithmetic on the numbers of a run, so that it is tested from recorded cases.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from netecho.measure.recorder import Counts

BUSY_CPU_SHARE: Final = 0.9
"""Above this share of one processor, exchanges wait for the instrument and not for the network."""


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    """The numbers that the rules look at."""

    counts: Counts
    closed_loop: bool
    verified: bool
    cpu_share: float | None
    connections_requested: int
    connections_opened: int
    interrupted: bool = False
    unnumbered: bool = False
    """Datagrams say nothing of which exchange they belong to."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the instrument, and not what it measured, made the result; and remarks in words."""

    trustworthy: bool
    caveats: tuple[str, ...]


def judge(observed: Observed) -> Judgement:
    """Apply every rule; reasons for distrust come first."""
    reasons = []
    if observed.counts.completed == 0:
        reasons.append("no echo came back: there is nothing to measure")
    if observed.cpu_share is not None and observed.cpu_share > BUSY_CPU_SHARE:
        reasons.append(
            f"this client used {observed.cpu_share:.0%} of a processor: rates and latencies are partly "
            "its own; use fewer connections (-c) for latency"
        )
    if observed.connections_opened < observed.connections_requested:
        reasons.append(
            f"only {observed.connections_opened} of {observed.connections_requested} connections opened"
        )
    remarks = []
    if observed.closed_loop:
        remarks.append(
            "closed loop: an exchange waits for the one before it, so a stall delays few samples and "
            "percentiles understate what users on a schedule would see"
        )
    if not observed.verified:
        remarks.append("replies were not compared with what was sent (--verify none)")
    if observed.unnumbered:
        remarks.append(
            "messages carry no number: with several in flight it is not known which of them an echo answers"
        )
    if observed.interrupted:
        remarks.append("interrupted: these are the results so far")
    return Judgement(not reasons, tuple(reasons + remarks))
