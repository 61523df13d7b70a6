"""Runs a `ProbePlan`: probes at their times over one connection, and what becomes of each, as ping does.

The schedule never waits for a reply: a probe's response time counts from when it was due, whatever
held it up. What was sent and what came of it is in its books: `netecho.services.probe_books`.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import ExitStatus, LostError, NetechoError, NoReplyError
from netecho.measure.histogram import Histogram
from netecho.measure.humanise import count
from netecho.measure.progress import ProbeReply
from netecho.measure.setup import CONNECT, HANDSHAKE, RESOLVE
from netecho.measure.summary import Summary
from netecho.plans import SECOND, ProbePlan
from netecho.protocols._contract import Adapter, Exchanger, Kind, Route
from netecho.services import system
from netecho.services.failures import explain_loss, loss_kind
from netecho.services.handshake import describe
from netecho.services.instrument import Instrument
from netecho.services.intervals import INTERVAL, OnInterval
from netecho.services.opening import Opening
from netecho.services.probe_books import ProbeBooks
from netecho.services.resolving import connect_failure, refusal

if TYPE_CHECKING:
    from netecho.measure.oneway import Reflection
    from netecho.protocols._contract import Answer

_BURST: Final = 64
"""Overdue probes sent in one turn of the reactor, so that their replies are read in between."""


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
        self._route = dataclasses.replace(route, on_reopened=self._connection_replaced)
        self._clock = clock
        self._on_interval = on_interval
        self._books = ProbeBooks(plan, adapter, on_probe, key)
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = reactor
        self._begun_ns = self._interval_ns = 0
        self._exchanger: Exchanger | None = None
        self._connecting: Deferred[Exchanger] | None = None
        self._agreed: dict[str, Any] | None = None
        self._ended: Deferred[None] = Deferred()
        self._send_call: Any = None
        self._expiry_call: Any = None
        self._held = False
        self._is_stuck = False
        """The peer has taken nothing for long, and nothing is in flight any more."""
        self._interrupted = False
        self._opened = self._lost = self._reopened = 0

    @property
    def setup(self) -> Mapping[str, Histogram]:
        """What the connection took, by the names in `measure.setup.PIECES`."""
        return self._books.recorder.setup.distributions()

    async def connect(self) -> None:
        """Open the connection; `interrupt` ends that, too, and there is none then.

        Raises:
            NetechoError: it could not be opened.
        """
        if self._route.resolve_ns is not None:
            self._books.recorder.setup.took(RESOLVE, self._route.resolve_ns)
        opening = Opening(self._clock)
        try:
            self._connecting = self._adapter.connect(
                self._reactor, self._route, self._replied, self._connection_lost, opening.on_connected
            )
            exchanger = await self._connecting
        except Exception:
            if self._interrupted:
                return
            raise connect_failure(Failure(), self._plan.target, opening) from None
        finally:
            self._connecting = None
        self._opened = 1
        self._exchanger = exchanger
        self._attend(exchanger.transport)
        if self._route.tls is not None and (negotiated := describe(self.transport)) is not None:
            self._agreed = negotiated.of_result()
        if opening.connect_ns is not None:
            self._books.recorder.setup.took(CONNECT, opening.connect_ns)
        if self._plan.target.secure:
            self._books.recorder.setup.took(HANDSHAKE, opening.handshake_ns(self._clock()))

    def _attend(self, transport: Any) -> None:
        """Have the connection say when to pause, also one that has come into the place of another (HTTP)."""
        if transport is self.transport:
            return
        self.transport = transport
        if self._adapter.kind is not Kind.DATAGRAM:
            # What a peer does not take waits here, and not in the transport's buffer, which has no bound.
            transport.registerProducer(self, True)

    async def run(self) -> Summary:
        """Send the probes over the connection, wait for the last reply, and say what it all means."""
        started = datetime.datetime.now().astimezone().isoformat()
        instrument = Instrument(self._reactor)
        self._begun_ns = self._interval_ns = self._clock()
        self._books.begin(self._begun_ns)
        if self._on_interval is not None:
            self._ticks.start(INTERVAL, now=False).addErrback(self._ended.errback)
        if self.failure is None:
            self._send_due()
        else:  # the connection was lost before anything was sent
            self._finish()
        try:
            await self._ended
        finally:
            parted = self._close()
        if self._interrupted:
            self._books.end(self._clock())
        elif self.failure is None:
            self.failure = self._books.silence()
        summary = self._books.summary(
            started,
            system.describe(self._reactor),
            instrument,
            interrupted=self._interrupted,
            opened=self._opened,
            lost=self._lost,
            reopened=self._reopened,
            transport=self._agreed,
        )
        if parted is not None and not self._interrupted:
            await parted
        return summary

    def interrupt(self) -> None:
        """End now, with what there is."""
        self._interrupted = True
        if self._connecting is not None:
            self._connecting.cancel()
        self._finish()

    @property
    def exit_status(self) -> ExitStatus:
        """How the command ends, after `run`."""
        counts = self._books.counts
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
        self._attend(exchanger.transport)
        for _ in range(_BURST):
            due = self._books.next_due_ns()
            if due is None:
                self._finish_if_complete()
                return
            now = self._clock()
            if due > now:
                self._send_call = self._reactor.callLater((due - now) / SECOND, self._send_due)
                return
            sequence, payload = self._books.send(due, now)
            self._watch_expiry()
            exchanger.send(sequence, payload)
            if self._held or self._ended.called:
                return
        self._send_call = self._reactor.callLater(0, self._send_due)

    def pauseProducing(self) -> None:
        """Send nothing for now: the peer does not take what was sent."""
        self._held = True

    def resumeProducing(self) -> None:
        """Send what has become due."""
        self._held = False
        if self._is_stuck and self._expiry_call is not None:
            self._is_stuck = False
            self._expiry_call.cancel()
            self._expiry_call = None
        if self._send_call is None:
            self._send_call = self._reactor.callLater(0, self._send_due)

    def stopProducing(self) -> None:
        """Wait for this connection no longer: it is gone, and if the run goes on, then on another."""
        if self._held:
            self.resumeProducing()

    def _replied(
        self,
        sequence: int | None,
        payload: bytes,
        reflection: Reflection | None = None,
        answer: Answer | None = None,
    ) -> None:
        if not self._ended.called:
            self._books.replied(sequence, payload, self._clock(), reflection, answer)
            self._finish_if_complete()
            if self._held and not self._books.counts.in_flight:
                self.resumeProducing()  # what the peer has answered it need not take any more

    def _watch_expiry(self) -> None:
        expires = self._books.expires_ns()
        if self._expiry_call is None and expires is not None:
            wait = max(0, expires - self._clock())
            self._expiry_call = self._reactor.callLater(wait / SECOND, self._expire)

    def _expire(self) -> None:
        self._expiry_call = None
        self._books.give_up(self._clock())
        self._watch_expiry()
        if self._held and self._expiry_call is None:
            self._despair()
        self._finish_if_complete()

    def _despair(self) -> None:
        """End if the peer goes on taking nothing, for as long again as a probe is waited for."""
        if self._is_stuck:
            self.failure = NoReplyError(f"{self._plan.target} takes no more of what is sent; -w waits longer")
            self._finish()
        else:
            self._is_stuck = True
            self._expiry_call = self._reactor.callLater(self._plan.timeout_ns / SECOND, self._expire)

    def _finish_if_complete(self) -> None:
        if self._books.is_complete:
            self._finish()

    def _connection_lost(self, reason: Failure) -> None:
        target, kind, now = self._plan.target, loss_kind(reason), self._clock()
        self._exchanger = None
        if self._ended.called:
            return
        if reason.check(ConnectionRefusedError):
            self.failure = refusal(self._route)
        elif isinstance(reason.value, NetechoError):
            self.failure = reason.value
        elif reason.check(ConnectionDone):
            self.failure = LostError(
                f"{target} closed the connection after {count(self._books.sent, 'probe')}"
            )
        else:
            self.failure = explain_loss(reason, target)
        self._lost += 1
        self._books.lose(kind, now)
        self._finish()

    def _connection_replaced(self) -> None:
        """Count a connection that fell silent, and the new one in its place; what was in flight times out."""
        self._lost += 1
        self._reopened += 1

    def _tick(self) -> None:
        """End an interval."""
        if self._on_interval is not None:
            now, begun_ns = self._clock(), self._begun_ns
            self._on_interval(self._books.recorder.end_interval(self._interval_ns - begun_ns, now - begun_ns))
            self._interval_ns = now
            self._books.recorder.intervals.clear()  # the probes of a client go on for ever, perhaps

    def _finish(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)

    def _close(self) -> Deferred[None] | None:
        if self._ticks.running:
            self._ticks.stop()
            self._tick()
        for call in (self._send_call, self._expiry_call):
            if call is not None and call.active():
                call.cancel()
        if self._exchanger is None:
            return None
        if self._adapter.kind is not Kind.DATAGRAM:
            # TLS keeps its farewell back for as long as a producer might write.
            self.transport.unregisterProducer()
        return self._exchanger.close()
