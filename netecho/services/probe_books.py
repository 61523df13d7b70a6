"""The books of a run of probes: what was due and sent, what became of each, and what it all means."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from netecho.errors import NoReplyError
from netecho.measure.counts import Connections, Counts, Outcome
from netecho.measure.datagrams import DatagramFlow
from netecho.measure.directions import Losses
from netecho.measure.flow import Flow
from netecho.measure.flows import FlowTotal, datagrams_of
from netecho.measure.histogram import Histogram
from netecho.measure.pacing import Pacer
from netecho.measure.payload import Payload
from netecho.measure.progress import ProbeReply
from netecho.measure.quality import Observed, judge
from netecho.measure.recorder import Recorder
from netecho.measure.reflected import Reflected, delays_of
from netecho.measure.reflected_flow import ReflectedFlow
from netecho.measure.summary import Summary
from netecho.plans import SECOND, ProbePlan, Verify
from netecho.protocols._contract import Adapter, Kind, Receipt
from netecho.services.conclusion import plan_of_result
from netecho.services.silence import silence

if TYPE_CHECKING:
    from netecho.measure.oneway import Reflection
    from netecho.protocols._contract import Answer
    from netecho.services.instrument import Instrument

_FLUSH: Final = 10_000
"""Samples kept before they are counted in histograms."""
_MEANINGFUL_ELAPSED: Final = SECOND // 10
"""In less time than this, starting up outweighs measuring in the share of a processor used."""


class ProbeBooks:
    """Keeps account of the probes of one plan. Times are integers of nanoseconds on the caller's clock.

    Args:
        plan: what is sent, and when.
        adapter: the target's protocol.
        on_probe: called with what became of each probe, as soon as it is known.
        key: tells this run's payloads from others; random by default.
    """

    def __init__(
        self, plan: ProbePlan, adapter: Adapter, on_probe: Callable[[ProbeReply], object], key: int | None
    ) -> None:
        self._plan = plan
        self._adapter = adapter
        self._on_probe = on_probe
        key = random.getrandbits(32) if key is None else key
        message = plan.message if plan.request is None or plan.message is not None else plan.request.message
        self._payload = Payload(plan.size, key, message, text=adapter.is_text)
        self._pacer = Pacer(plan.interval_ns, plan.count, plan.duration_ns)
        self.recorder = Recorder(closed_loop=False)
        self._flow = _flow_of(adapter)(self.recorder)
        self._lateness = Histogram()
        self._late_samples: list[int] = []
        self._begun_ns = 0
        self._ended_ns = 0
        self._over_ns = 0
        """When the end of all that has left was known: to wait for what is lost is no part of the load."""

    @property
    def counts(self) -> Counts:
        """What became of the probes."""
        return self.recorder.counts

    @property
    def sent(self) -> int:
        """How many probes have left."""
        return self._flow.newest + 1

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is due, and the end of all that was sent is known."""
        return self._flow.in_flight == 0 and self._pacer.due_ns(self.sent) is None

    def begin(self, now_ns: int) -> None:
        """Have the schedule begin."""
        self._begun_ns = self._ended_ns = self._over_ns = now_ns

    def end(self, now_ns: int) -> None:
        """Have the run end now, and not when the last thing happened."""
        self._ended_ns = now_ns

    def next_due_ns(self) -> int | None:
        """Return when the next probe is due; `None` if none is any more."""
        due_ns = self._pacer.due_ns(self.sent)
        return None if due_ns is None else self._begun_ns + due_ns

    def send(self, due_ns: int, now_ns: int) -> tuple[int, bytes]:
        """Count the next probe as sent now; return its number and its payload."""
        self._late_samples.append(now_ns - due_ns)
        self._ended_ns = now_ns
        sequence = self._flow.sent(due_ns, now_ns, self._payload.size)
        return sequence, self._payload.make(sequence)

    def replied(
        self,
        sequence: int | None,
        payload: bytes,
        now_ns: int,
        reflection: Reflection | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Take a reply; see `netecho.protocols._contract.OnReply`."""
        flow = self._flow
        if not self._adapter.numbered:
            sequence = self._payload.sequence_of(payload, flow.newest)
            if sequence is None and not self._payload.numbered:
                sequence = flow.newest
        receipt = None
        if answer is not None:
            receipt = answer.receipt
            flow.answered(sequence, answer.status, untold=receipt is Receipt.UNTOLD)
            if answer.refused:
                self._refused(sequence, len(payload), f"status {answer.status}", now_ns)
                return
        intact = (
            sequence is None
            or self._plan.verify is Verify.NONE
            or (
                self._payload.intact(sequence, payload) if receipt is None else receipt is not Receipt.DIFFERS
            )
        )
        if answer is not None and answer.redirects and not intact:
            self._refused(sequence, len(payload), f"status {answer.status}", now_ns)
            return
        if flow.is_overdue(sequence, now_ns - self._plan.timeout_ns):
            self.give_up(now_ns)
        outcome = flow.replied(sequence, now_ns, len(payload), intact=intact)
        if isinstance(flow, ReflectedFlow) and sequence is not None and reflection is not None:
            flow.reflected(sequence, outcome, reflection)
        self._ended_ns = now_ns
        due = None if sequence is None else self._pacer.due_ns(sequence)
        response = None if outcome is Outcome.STRAY or due is None else now_ns - self._begun_ns - due
        self._on_probe(ProbeReply(sequence, outcome, len(payload), response))
        if len(self.recorder.response_samples) >= _FLUSH:
            _ = self.recorder.response  # which counts the samples, and forgets them
            self._count_lateness()

    def _refused(self, sequence: int | None, size: int, kind: str, now_ns: int) -> None:
        if self._flow.refuse(sequence, size, kind):
            self._ended_ns = now_ns
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None, kind))

    def _count_lateness(self) -> None:
        self._lateness.record(self._late_samples)
        self._late_samples.clear()

    def expires_ns(self) -> int | None:
        """Return when the probe that has waited longest has done so for too long; `None` if none waits."""
        oldest = self._flow.oldest_sent_ns()
        return None if oldest is None else oldest + self._plan.timeout_ns

    def give_up(self, now_ns: int) -> None:
        """Count as lost what has waited too long by now."""
        for sequence in self._flow.give_up(now_ns - self._plan.timeout_ns + 1):
            self._over_ns = now_ns
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None))

    def lose(self, kind: str, now_ns: int) -> None:
        """Count as lost, by `kind`, all that is in flight: its connection is gone."""
        self._ended_ns = now_ns
        for sequence in self._flow.give_up(now_ns + 1, kind):
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None, kind))
        if not self.recorder.errors[kind]:
            self.recorder.failed(kind)

    def silence(self) -> NoReplyError | None:
        """Return what to say if there was not one echo."""
        if self.counts.completed:
            return None
        target = self._plan.target
        if self.recorder.statuses:
            return NoReplyError(f"no echo from {target}: it answers with {', '.join(self.recorder.statuses)}")
        return silence(target, self._payload.size)

    def summary(
        self,
        started: str,
        system: Mapping[str, Any],
        instrument: Instrument,
        *,
        interrupted: bool,
        opened: int,
        lost: int,
        reopened: int,
        transport: Mapping[str, Any] | None,
    ) -> Summary:
        """Return what the run means.

        Args:
            started: when it began, in ISO 8601.
            system: what it ran on.
            instrument: what counts the processor time, from when it began.
            interrupted: it was ended before its time.
            opened: how many connections were: none if it was interrupted before.
            lost: how many connections were.
            reopened: how often there was a new one in the place of one that was.
            transport: what TLS came to.
        """
        self._count_lateness()
        over_ns = max(self._over_ns, self._ended_ns)
        under_way_ns = over_ns - self._begun_ns
        cpu_share = steal_share = None
        if under_way_ns >= _MEANINGFUL_ELAPSED:
            cpu_share, steal_share = instrument.cpu_share(under_way_ns), instrument.steal_share()
        flow, recorder = self._flow, self.recorder
        datagrams = datagrams_of([FlowTotal.of(0, flow)] if isinstance(flow, DatagramFlow) else [])
        recorder.one_way.losses = datagrams.losses or Losses()
        reflected = Reflected.of(recorder.one_way) if self._adapter.reflects else None
        judgement = judge(
            Observed(
                self.counts,
                closed_loop=False,
                verified=self._plan.verify is Verify.FULL,
                cpu_share=cpu_share,
                steal_share=steal_share,
                connections_requested=1,
                connections_opened=opened,
                interrupted=interrupted,
                reflected=reflected,
                unnumbered=not (self._adapter.numbered or self._payload.numbered),
            )
        )
        return Summary(
            command="client",
            started=started,
            elapsed_ns=(self._ended_ns if self.counts.completed else over_ns) - self._begun_ns,
            interrupted=interrupted,
            system=system,
            plan=plan_of_result(self._plan, self._adapter),
            connections=Connections(requested=1, opened=opened, failed=0, lost=lost, reopened=reopened),
            counts=self.counts,
            errors=dict(recorder.errors),
            statuses=dict(recorder.statuses),
            latencies=recorder.latencies(),
            cpu_share=cpu_share,
            steal_share=steal_share,
            lateness=self._lateness.brief(),
            distributions={**datagrams.distributions, **delays_of(recorder.one_way)},
            jitter=datagrams.jitter,
            flows=datagrams.flows,
            reflected=reflected,
            transport=transport,
            trustworthy=judgement.trustworthy,
            caveats=judgement.caveats,
        )


def _flow_of(adapter: Adapter) -> type[Flow]:
    if adapter.reflects:
        return ReflectedFlow
    return DatagramFlow if adapter.kind is Kind.DATAGRAM else Flow
