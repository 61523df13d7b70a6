"""Runs a `ProbePlan`: probes at their times over one connection, and what becomes of each, as ping does.

The schedule never waits for a reply: a probe's response time counts from when it was due, whatever
held it up.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import ExitStatus, LostError, NetechoError, NoReplyError, RefusedError
from netecho.measure.counts import Outcome
from netecho.measure.datagrams import DatagramFlow
from netecho.measure.directions import Losses
from netecho.measure.flow import Flow
from netecho.measure.flows import FlowTotal, datagrams_of
from netecho.measure.histogram import Histogram
from netecho.measure.humanise import count
from netecho.measure.pacing import Pacer
from netecho.measure.payload import Payload
from netecho.measure.progress import ProbeReply
from netecho.measure.quality import Observed, judge
from netecho.measure.recorder import Recorder
from netecho.measure.reflected import Reflected, delays_of
from netecho.measure.reflected_flow import ReflectedFlow
from netecho.measure.setup import CONNECT, HANDSHAKE, RESOLVE
from netecho.measure.summary import Connections, Summary, brief, latencies_of
from netecho.plans import SECOND, ProbePlan, Verify
from netecho.protocols._contract import Adapter, Exchanger, Kind, Receipt, Route
from netecho.services import system
from netecho.services.conclusion import plan_of_result
from netecho.services.failures import explain_loss, loss_kind
from netecho.services.handshake import describe
from netecho.services.instrument import Instrument
from netecho.services.intervals import INTERVAL, OnInterval
from netecho.services.opening import Opening
from netecho.services.resolving import connect_failure

if TYPE_CHECKING:
    from netecho.measure.oneway import Reflection
    from netecho.protocols._contract import Answer

_BURST: Final = 64
"""Overdue probes sent in one turn of the reactor, so that their replies are read in between."""
_FLUSH: Final = 10_000
"""Samples kept before they are counted in histograms."""
_MEANINGFUL_ELAPSED: Final = SECOND // 10
"""In less time than this, starting up outweighs measuring in the share of a processor used."""


@implementer(IPushProducer)
class ProbeRun:
    """One run of a plan.

    Args:
        reactor: provides `IReactorTime` and what the adapter needs.
        plan: what to send, when, and for how long.
        adapter: the target's protocol.
        route: the way to it.
        on_probe: called with what became of each probe, as soon as it is known.
        clock: monotonic, in nanoseconds.
        key: tells this run's payloads from others; random by default.
        on_interval: called with all that was recorded in each interval, when it has ended.
    """

    def __init__(
        self,
        reactor: Any,
        plan: ProbePlan,
        adapter: Adapter,
        route: Route,
        on_probe: Callable[[ProbeReply], object],
        clock: Callable[[], int] = time.monotonic_ns,
        key: int | None = None,
        on_interval: OnInterval | None = None,
    ) -> None:
        self.transport: Any = None
        """The connection's, once there is one."""
        self.failure: NetechoError | None = None
        """Why the run ended before its time, or has nothing to show."""
        self._reactor = reactor
        self._plan = plan
        self._adapter = adapter
        self._route = route
        self._on_probe = on_probe
        self._clock = clock
        self._on_interval = on_interval
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = reactor
        self._interval_ns = 0
        key = random.getrandbits(32) if key is None else key
        message = plan.message if plan.request is None or plan.message is not None else plan.request.message
        self._payload = Payload(plan.size, key, message, text=adapter.is_text)
        self._pacer = Pacer(plan.interval_ns, plan.count, plan.duration_ns)
        self._recorder = Recorder(closed_loop=False)
        self._flow = _flow_of(adapter)(self._recorder)
        self._exchanger: Exchanger | None = None
        self._agreed: dict[str, Any] | None = None
        self._ended: Deferred[None] = Deferred()
        self._send_call: Any = None
        self._expiry_call: Any = None
        self._lateness = Histogram()
        self._late_samples: list[int] = []
        self._held = False
        self._interrupted = False
        self._lost = 0
        self._started = ""
        self._start_ns = 0
        self._end_ns = 0
        self._instrument: Instrument | None = None

    @property
    def setup(self) -> Mapping[str, Histogram]:
        """What the connection took, by the names in `measure.setup.PIECES`."""
        return self._recorder.setup.distributions()

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            NetechoError: it could not be opened.
        """
        if self._route.resolve_ns is not None:
            self._recorder.setup.took(RESOLVE, self._route.resolve_ns)
        opening = Opening(self._clock)
        try:
            exchanger = await self._adapter.connect(
                self._reactor, self._route, self._replied, self._connection_lost, opening.on_connected
            )
        except Exception:
            raise connect_failure(Failure(), self._plan.target) from None
        self._exchanger = exchanger
        self.transport = exchanger.transport
        if self._route.tls is not None and (negotiated := describe(self.transport)) is not None:
            self._agreed = negotiated.of_result()
        if self._adapter.kind is not Kind.DATAGRAM:
            if opening.connect_ns is not None:
                self._recorder.setup.took(CONNECT, opening.connect_ns)
            # What a peer does not take waits here, and not in the transport's buffer, which has no bound.
            self.transport.registerProducer(self, True)
        if self._plan.target.secure:
            self._recorder.setup.took(HANDSHAKE, opening.handshake_ns(self._clock()))

    async def run(self) -> Summary:
        """Send the probes over the connection, wait for the last reply, and say what it all means."""
        self._started = datetime.datetime.now().astimezone().isoformat()
        self._instrument = Instrument()
        self._start_ns = self._end_ns = self._interval_ns = self._clock()
        if self._on_interval is not None:
            self._ticks.start(INTERVAL, now=False).addErrback(self._ended.errback)
        if self.failure is None:
            self._send_due()
        else:  # the connection was lost before anything was sent
            self._finish()
        try:
            await self._ended
        finally:
            self._close()
        return self._summary()

    def interrupt(self) -> None:
        """End now, with what there is."""
        self._interrupted = True
        self._finish()

    @property
    def exit_status(self) -> ExitStatus:
        """How the command ends, after `run`."""
        counts = self._recorder.counts
        if self._interrupted:
            return ExitStatus.INTERRUPTED
        if counts.corrupted:
            return ExitStatus.CORRUPTED
        return ExitStatus.FAILED if self.failure is not None or not counts.completed else ExitStatus.GOOD

    def _send_due(self) -> None:
        """Send what is due, and come back when the next probe is."""
        exchanger = self._exchanger
        self._send_call = None
        if exchanger is None or self._held or self._ended.called:
            return
        for _ in range(_BURST):
            due = self._pacer.due_ns(self._flow.newest + 1)
            if due is None:
                self._finish_if_complete()
                return
            due += self._start_ns
            now = self._clock()
            if due > now:
                self._send_call = self._reactor.callLater((due - now) / SECOND, self._send_due)
                return
            self._late_samples.append(now - due)
            sequence = self._flow.sent(due, now, self._payload.size)
            self._watch_expiry()
            exchanger.send(sequence, self._payload.make(sequence))
            if self._held or self._ended.called:
                return
        self._send_call = self._reactor.callLater(0, self._send_due)

    def pauseProducing(self) -> None:
        """Send nothing for now: the peer does not take what was sent."""
        self._held = True

    def resumeProducing(self) -> None:
        """Send what has become due."""
        self._held = False
        if self._send_call is None:
            self._send_call = self._reactor.callLater(0, self._send_due)

    def stopProducing(self) -> None:
        """Send no more: the connection is gone."""
        self._held = True

    def _replied(
        self,
        sequence: int | None,
        payload: bytes,
        reflection: Reflection | None = None,
        answer: Answer | None = None,
    ) -> None:
        now = self._clock()
        if self._ended.called:
            return
        if not self._adapter.numbered:
            sequence = self._payload.sequence_of(payload, self._flow.newest)
            if sequence is None and not self._payload.numbered:
                sequence = self._flow.newest
        receipt = None
        if answer is not None:
            receipt = answer.receipt
            self._flow.answered(sequence, answer.status, untold=receipt is Receipt.UNTOLD)
            if answer.refused:
                self._refused(sequence, len(payload), f"status {answer.status}", now)
                return
        intact = (
            sequence is None
            or self._plan.verify is Verify.NONE
            or (
                self._payload.intact(sequence, payload) if receipt is None else receipt is not Receipt.DIFFERS
            )
        )
        flow = self._flow
        if flow.is_overdue(sequence, now - self._plan.timeout_ns):
            self._give_up(now)
        outcome = flow.replied(sequence, now, len(payload), intact=intact)
        if isinstance(flow, ReflectedFlow) and sequence is not None and reflection is not None:
            flow.reflected(sequence, outcome, reflection)
        self._end_ns = now
        due = None if sequence is None else self._pacer.due_ns(sequence)
        response = None if outcome is Outcome.STRAY or due is None else now - self._start_ns - due
        self._on_probe(ProbeReply(sequence, outcome, len(payload), response))
        if len(self._recorder.response_samples) >= _FLUSH:
            _ = self._recorder.response  # which counts the samples, and forgets them
            self._count_lateness()
        self._finish_if_complete()

    def _refused(self, sequence: int | None, size: int, kind: str, now_ns: int) -> None:
        if self._flow.refuse(sequence, size, kind):
            self._end_ns = now_ns
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None, kind))
            self._finish_if_complete()

    def _count_lateness(self) -> None:
        self._lateness.record(self._late_samples)
        self._late_samples.clear()

    def _watch_expiry(self) -> None:
        oldest = self._flow.oldest_sent_ns()
        if self._expiry_call is None and oldest is not None:
            wait = max(0, oldest + self._plan.timeout_ns - self._clock())
            self._expiry_call = self._reactor.callLater(wait / SECOND, self._expire)

    def _expire(self) -> None:
        self._expiry_call = None
        self._give_up(self._clock())
        self._watch_expiry()
        self._finish_if_complete()

    def _give_up(self, now_ns: int) -> None:
        for sequence in self._flow.give_up(now_ns - self._plan.timeout_ns + 1):
            self._end_ns = now_ns
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None))

    def _finish_if_complete(self) -> None:
        if self._flow.in_flight == 0 and self._pacer.due_ns(self._flow.newest + 1) is None:
            self._finish()

    def _connection_lost(self, reason: Failure) -> None:
        target, kind, now = self._plan.target, loss_kind(reason), self._clock()
        self._exchanger = None
        if self._ended.called:
            return
        if reason.check(ConnectionRefusedError):
            self.failure = RefusedError(f"{target} refused: nothing listens on that port")
        elif isinstance(reason.value, NetechoError):
            self.failure = reason.value
        elif reason.check(ConnectionDone):
            self.failure = LostError(
                f"{target} closed the connection after {count(self._flow.newest + 1, 'probe')}"
            )
        else:
            self.failure = explain_loss(reason, target)
        self._lost = 1
        self._end_ns = now
        for sequence in self._flow.give_up(now + 1, kind):
            self._on_probe(ProbeReply(sequence, None, self._payload.size, None, kind))
        if not self._recorder.errors[kind]:
            self._recorder.failed(kind)
        self._finish()

    def _tick(self) -> None:
        """End an interval."""
        if self._on_interval is not None:
            now, begun_ns = self._clock(), self._start_ns
            self._on_interval(self._recorder.end_interval(self._interval_ns - begun_ns, now - begun_ns))
            self._interval_ns = now
            self._recorder.intervals.clear()  # the probes of a client go on for ever, perhaps

    def _finish(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)

    def _close(self) -> None:
        if self._ticks.running:
            self._ticks.stop()
            self._tick()
        for call in (self._send_call, self._expiry_call):
            if call is not None and call.active():
                call.cancel()
        if self._exchanger is not None:
            self._exchanger.close()

    def _summary(self) -> Summary:
        counts = self._recorder.counts
        if self._interrupted:
            self._end_ns = self._clock()
        elif not counts.completed and self.failure is None:
            self.failure = NoReplyError(
                f"no echo from {self._plan.target}: it answers with {', '.join(self._recorder.statuses)}"
                if self._recorder.statuses
                else f"no reply from {self._plan.target}: does an echo server listen there? (-w waits longer)"
            )
        self._count_lateness()
        elapsed = self._end_ns - self._start_ns
        cpu_share = steal_share = None
        if self._instrument is not None and elapsed >= _MEANINGFUL_ELAPSED:
            cpu_share, steal_share = self._instrument.cpu_share(elapsed), self._instrument.steal_share()
        flow, recorder = self._flow, self._recorder
        datagrams = datagrams_of([FlowTotal.of(0, flow)] if isinstance(flow, DatagramFlow) else [])
        recorder.one_way.losses = datagrams.losses or Losses()
        reflected = Reflected.of(recorder.one_way) if self._adapter.reflects else None
        judgement = judge(
            Observed(
                counts,
                closed_loop=False,
                verified=self._plan.verify is Verify.FULL,
                cpu_share=cpu_share,
                steal_share=steal_share,
                connections_requested=1,
                connections_opened=1,
                interrupted=self._interrupted,
                reflected=reflected,
                unnumbered=not (self._adapter.numbered or self._payload.numbered),
            )
        )
        return Summary(
            command="client",
            started=self._started,
            elapsed_ns=elapsed,
            interrupted=self._interrupted,
            system=system.describe(self._reactor),
            plan=plan_of_result(self._plan, self._adapter),
            connections=Connections(requested=1, opened=1, failed=0, lost=self._lost),
            counts=counts,
            errors=dict(self._recorder.errors),
            statuses=dict(self._recorder.statuses),
            latencies=latencies_of(self._recorder),
            cpu_share=cpu_share,
            steal_share=steal_share,
            lateness=brief(self._lateness),
            distributions={**datagrams.distributions, **delays_of(recorder.one_way)},
            jitter=datagrams.jitter,
            flows=datagrams.flows,
            reflected=reflected,
            transport=self._agreed,
            trustworthy=judgement.trustworthy,
            caveats=judgement.caveats,
        )


def _flow_of(adapter: Adapter) -> type[Flow]:
    if adapter.reflects:
        return ReflectedFlow
    return DatagramFlow if adapter.kind is Kind.DATAGRAM else Flow
