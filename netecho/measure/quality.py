"""Whether a result can be trusted, and what its reader must know: rules over what was measured.

A result is not trustworthy when the client, and not what it measured, made it; the reason is said in
words, with what to do about it. Each rule is plain arithmetic on the numbers of a run, so that it is
tested from recorded cases.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Final

from netecho.measure import humanise
from netecho.measure.counts import Counts
from netecho.measure.histogram import Histogram
from netecho.measure.reflected import Reflected
from netecho.measure.sending import Sending
from netecho.measure.stalls import Stalls
from netecho.plans import Mode

BUSY_CPU_SHARE: Final = 0.9
"""Above this share of one processor, exchanges wait for the instrument and not for the network."""
CROWDED_CPU_SHARE: Final = 0.75
"""Above this share of processors that are fewer than the workers on them, a worker is more likely than not to
wait for another (Erlang's C formula, for up to four processors)."""
ACHIEVED_SHARE: Final = 0.99
"""Below this share of the rate that was asked for, another load was measured than was to be."""
UNSENT_SHARE: Final = 0.001
"""Above this share of what was due, what never left would have changed the high percentiles."""
HELD_BACK_SHARE: Final = 0.01
"""Above this share of what was due, the connections are too few for the rate."""
LATE_SHARE: Final = 0.25
"""Above this share of a response time, the instrument's own lateness is worth a remark."""
LATE_NS: Final = 1_000_000
"""If it also is more than this, nothing but the instrument can be blamed for it."""
STEAL_SHARE: Final = 0.005
"""Above this share of all processors' time, what their host kept from us may be in a high percentile."""
STALLED_SHARE: Final = 0.05
"""Above this share of the time in which a closed loop's client stood still itself, its rate is another."""
STALLED_TIMES: Final = 2.0
"""So many times the service time, the response time tells of waiting, and the reader should know."""


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    """The numbers that the rules look at."""

    counts: Counts
    closed_loop: bool
    verified: bool
    cpu_share: float | None
    """Of one processor, by the busiest worker."""
    connections_requested: int
    connections_opened: int
    interrupted: bool = False
    unnumbered: bool = False
    """Datagrams say nothing of which exchange they belong to."""
    told_apart: int | None = None
    """How many exchanges a datagram's number tells apart; `None`: all that there may be."""
    asked: int | None = None
    """How many exchanges there were to be, if nothing else ends a run."""
    sending: Sending | None = None
    """`None` in a closed loop."""
    response: Histogram | None = None
    service: Histogram | None = None
    lateness: Histogram | None = None
    reflected: Reflected | None = None
    """`None`: the other end is no reflector."""
    workers: int = 1
    workers_died: int = 0
    cpu_total: float | None = None
    """Of one processor, by all workers together."""
    cpus: int | None = None
    """How many processors the instrument's machine has."""
    embedded: bool = False
    """It was a server of its own that was measured: one process, on the same machine."""
    mode: Mode = Mode.EXCHANGE
    steal_share: float | None = None
    """Of all processors' time, what the host of a virtual machine took; `None`: the system does not say."""
    stalls: Stalls | None = None
    """When the instrument stood still; `None` in an open loop, whose lateness has it."""
    no_port: int = 0
    """How many connections had no local port to come from."""
    no_file: int = 0
    """How many connections there was no file descriptor for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the instrument, and not what it measured, made the result; and remarks in words."""

    trustworthy: bool
    caveats: tuple[str, ...]


def judge(observed: Observed) -> Judgement:
    """Apply every rule; reasons for distrust come first."""
    reasons = list(_reasons(observed))
    return Judgement(not reasons, (*reasons, *_remarks(observed)))


def _reasons(observed: Observed) -> Iterator[str]:
    """Yield why the result is not what it should be, and what to do."""
    opening = observed.mode is not Mode.EXCHANGE
    if observed.counts.completed == 0:
        what = "not one connection could be opened" if opening else "no echo came back"
        yield f"{what}: there is nothing to measure"
    if observed.workers_died:
        yield (
            f"{observed.workers_died} of {humanise.count(observed.workers, 'worker')} died: what they did "
            "after they last told is missing, and their share of the load was not carried out"
        )
    if observed.connections_opened < observed.connections_requested and not opening:
        yield (
            f"only {observed.connections_opened:,} of {observed.connections_requested:,} connections opened"
        )
    yield from limits_of_the_client(observed)
    counts, sending = observed.counts, observed.sending
    unsent = 0 if sending is None else sending.held_back.unsent
    if counts.completed and observed.asked is not None and counts.sent + unsent < observed.asked:
        yield (
            f"ended after {counts.sent:,} of {humanise.count(observed.asked, 'exchange')}: no connection was "
            "left, and none could be opened"
        )
    if (
        observed.told_apart is not None
        and counts.sent > observed.told_apart
        and counts.lost + counts.duplicated + counts.late
    ):
        yield (
            f"messages of this size tell {observed.told_apart:,} exchanges apart: an echo that comes when as "
            "many more have been sent counts as another's; use a size (-l) of 4 bytes or more"
        )
    if sending is not None and sending.held_back.unsent > sending.due * UNSENT_SHARE:
        yield (
            f"{humanise.count(sending.held_back.unsent, 'exchange')} that were due never left, as no "
            f"connection was free, and are in no percentile; {_room(observed, sending)}"
        )


def limits_of_the_client(observed: Observed) -> Iterator[str]:
    """Yield how the client, and not what it measured, set the result, and what to do."""
    if observed.cpu_share is not None and observed.cpu_share > BUSY_CPU_SHARE:
        yield (
            f"this client used {observed.cpu_share:.0%} of a processor: rates and latencies are partly "
            f"its own; {_relief(observed)}"
        )
    else:
        yield from _crowd(observed)
    if observed.stalls is not None and observed.stalls.share > STALLED_SHARE:
        yield (
            f"{_stalls(observed.stalls)} and {observed.stalls.share:.0%} of the time: rates and latencies "
            "are partly its own; measure again when the machine has a processor for it"
        )
    if observed.no_port:
        yield (
            f"{humanise.count(observed.no_port, 'connection')} found no local port free: each that was "
            "closed keeps its own for a minute (TIME_WAIT); use a lower rate (-q), or have the system allow "
            "more (net.ipv4.ip_local_port_range) or use them again sooner (net.ipv4.tcp_tw_reuse=1)"
        )
    if observed.no_file:
        yield (
            f"{humanise.count(observed.no_file, 'connection')} could not be opened as this client has too "
            "many open files; raise the limit (ulimit -Hn), or use fewer connections (-c)"
        )
    sending = observed.sending
    if (
        sending is not None
        and sending.achieved_per_s < sending.asked_per_s * ACHIEVED_SHARE
        and not is_held_back(sending)
    ):
        yield (
            f"{humanise.rate(sending.achieved_per_s)} of the {humanise.rate(sending.asked_per_s)} that were "
            f"due left: the client was too slow; {_relief(observed)}"
        )
    if is_late(observed):
        yield f"{_lateness(observed)}: the client did not keep to its schedule; {_relief(observed)}"


def _crowd(observed: Observed) -> Iterator[str]:
    """Yield how workers that are more than processors were in each other's way."""
    left = _processors_left(observed)
    if observed.cpu_total is None or left is None:
        return
    share = observed.cpu_total / left
    if observed.workers > left and share > CROWDED_CPU_SHARE:
        place = humanise.count(left, "processor")
        if observed.embedded:
            place += ", as the server of its own has another"
        yield (
            f"{observed.workers} workers together used {share:.0%} of {place}: they waited for each other, "
            f"and rates and latencies are partly their own; {_relief(observed)}"
        )


def _remarks(observed: Observed) -> Iterator[str]:
    """Yield what qualifies the result without spoiling it."""
    opening = observed.mode is not Mode.EXCHANGE
    if observed.closed_loop:
        what = "a connection" if opening else "an exchange"
        yield (
            f"closed loop: {what} waits for the one before it, so a stall delays few samples and "
            "percentiles understate what users on a schedule would see"
        )
    if observed.stalls is not None:
        yield from _remarks_on_stalls(observed, observed.stalls)
    if observed.sending is not None:
        yield from _remarks_on_sending(observed, observed.sending)
    late = _lateness(observed)
    if late is not None and not is_late(observed):
        yield f"{late}: service times are without it"
    if not (observed.verified or opening):
        yield "replies were not compared with what was sent (--verify none)"
    if observed.steal_share is not None and observed.steal_share > STEAL_SHARE:
        yield (
            f"the host of this virtual machine kept {observed.steal_share:.1%} of the processors' time from "
            "it (steal): the highest percentiles may be its doing; measure again when it is idle"
        )
    if observed.counts.untold and observed.verified:
        yield (
            f"{humanise.count(observed.counts.untold, 'answer')} did not say what had been received (its "
            "size and SHA-256): that the other end took it is all that is known"
        )
    if observed.reflected is not None:
        yield from observed.reflected.remarks()
    if observed.unnumbered:
        yield (
            "messages carry no number: with several in flight it is not known which of them an echo answers"
        )
    if observed.interrupted:
        yield "interrupted: these are the results so far"


def _remarks_on_stalls(observed: Observed, stalls: Stalls) -> Iterator[str]:
    longest_ns = _percentile(observed.response, 100)
    if stalls.longest_ns > longest_ns * LATE_SHARE and stalls.share <= STALLED_SHARE:  # else it is a reason
        yield f"{_stalls(stalls)}: the longest response times may be its own"


def _stalls(stalls: Stalls) -> str:
    return (
        f"this client stood still {humanise.count(stalls.count, 'time')} (stopped, or kept from its "
        f"processor), for up to {humanise.duration(stalls.longest_ns)}"
    )


def _remarks_on_sending(observed: Observed, sending: Sending) -> Iterator[str]:
    response_ns, service_ns = _percentile(observed.response, 99), _percentile(observed.service, 99)
    held_back = humanise.count(sending.held_back.count, "exchange")
    late = is_late(observed)
    waited = "had to wait" if late else "had to wait for a connection"
    if sending.held_back.count and service_ns and response_ns > STALLED_TIMES * service_ns:
        yield (
            f"response time (p99 {humanise.duration(response_ns)}) counts from when an exchange was due, "
            f"service time (p99 {humanise.duration(service_ns)}) from when it left: {held_back} {waited}, "
            f"up to {humanise.duration(sending.held_back.longest_ns)}, and service time alone hides that"
        )
    if is_held_back(sending) and not late:  # else they waited for us, and more connections are no use
        yield (
            f"{held_back} ({humanise.share(sending.held_back.count, sending.due)} of those due) found no "
            f"connection free; {_room(observed, sending)}"
        )


def is_held_back(sending: Sending) -> bool:
    """Return whether it is for want of connections that exchanges leave late."""
    return sending.held_back.count > sending.due * HELD_BACK_SHARE


def is_late(observed: Observed) -> bool:
    """Return whether it is the client's own fault that exchanges leave late."""
    late = _lateness(observed)
    return late is not None and late.lateness_ns > LATE_NS


def _room(observed: Observed, sending: Sending) -> str:
    """Return what to do when connections are too few for the rate (Little's law)."""
    statistics = None if observed.service is None else observed.service.to_json()
    if statistics is not None:
        needed = math.ceil(sending.asked_per_s * statistics["mean"] / 1e9)
        if needed > observed.connections_opened:
            return (
                f"at a service time of {humanise.duration(statistics['mean'])} the rate takes "
                f"{needed:,} connections (-c) or more, and a lower rate (-q) fewer"
            )
    return "use more connections (-c) or a lower rate (-q)"


def _relief(observed: Observed) -> str:
    """Return what to do when the client is too slow."""
    less = "fewer connections (-c) for latency" if observed.closed_loop else "a lower rate (-q)"
    left = _processors_left(observed)
    if left is None or observed.workers >= left:
        return f"use {less}"
    return f"use --workers {min(2 * observed.workers, left)}, or {less}"


def _processors_left(observed: Observed) -> int | None:
    """Return how many processors there are for workers; `None` if nobody knows."""
    return None if observed.cpus is None else max(1, observed.cpus - observed.embedded)


@dataclasses.dataclass(frozen=True, slots=True)
class _Late:
    """Where the instrument's lateness is a good part of a response time."""

    percentile: int
    lateness_ns: int
    response_ns: int

    def __str__(self) -> str:
        return (
            f"sends were late by {humanise.duration(self.lateness_ns)} at p{self.percentile}, of a response "
            f"time of {humanise.duration(self.response_ns)}"
        )


def _lateness(observed: Observed) -> _Late | None:
    """Return the percentile at which the lateness is longest, of those where it matters."""
    every = [
        _Late(
            percentile, _percentile(observed.lateness, percentile), _percentile(observed.response, percentile)
        )
        for percentile in (50, 99)
    ]
    return max(
        (late for late in every if 0 < late.response_ns * LATE_SHARE < late.lateness_ns),
        key=lambda late: late.lateness_ns,
        default=None,
    )


def _percentile(histogram: Histogram | None, percentile: float) -> int:
    """Return a percentile; 0 if there are no samples."""
    if histogram is None or histogram.minimum is None:
        return 0
    return histogram.at_percentile(percentile)
