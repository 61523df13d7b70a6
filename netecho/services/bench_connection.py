"""One connection of a benchmark, from its opening to its end and, if it is lost, to its next opening."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netecho.errors import NetechoError, NoReflectorError
from netecho.measure.counts import Outcome
from netecho.measure.datagrams import DatagramFlow
from netecho.measure.flow import Flow
from netecho.measure.flows import FlowTotal
from netecho.measure.payload import PERIOD
from netecho.measure.recorder import Recorder
from netecho.measure.reflected_flow import ReflectedFlow
from netecho.measure.setup import CONNECT, FIRST_BYTE, HANDSHAKE, HANDSHAKE_RESUMED
from netecho.protocols._backoff import Backoff
from netecho.protocols._contract import Kind, Receipt
from netecho.protocols._first_byte import tell_first_byte
from netecho.services.failures import loss_kind
from netecho.services.opening import Opening
from netecho.services.resolving import connect_failure
from netecho.services.sessions import is_resumed

if TYPE_CHECKING:
    from netecho.measure.oneway import Reflection
    from netecho.protocols._contract import Answer, OnReply
    from netecho.services.benchmark import Benchmark

_ENDS: Final = (Outcome.COMPLETED, Outcome.CORRUPTED)
"""What an echo that ends an exchange turns out to be."""


class Connection:
    """One of the connections asked for, through all the times that it is opened.

    This is a closed loop's, which sends when an echo has come; `open_loop` has one that does not.

    Args:
        benchmark: whose it is.
        number: which of the benchmark's it is, from 0.
    """

    first_life: float = 1.0
    """Which share of a lifetime it has at first, where connections have one."""

    def __init__(self, benchmark: Benchmark, number: int) -> None:
        self._benchmark = benchmark
        portion = benchmark.plan.portion
        # More may come than there are at first: their numbers go on in the same way.
        self._number = number if portion is None else portion.index + portion.parts * number
        # Looked at for every message, and found sooner here.
        self._clock = benchmark.clock
        self._make = benchmark.payload.make
        self._counted = benchmark.plan.exchanges is not None
        self._made = () if self._counted else benchmark.payload.made
        """The payloads, if they repeat and there is no end to them but that of the run."""
        self._exchanger: Any = None  # an Exchanger, or None
        self._route = benchmark.route_of_one()
        self.backoff = Backoff()
        self.flow = Flow(benchmark.recorder)
        self._earlier: FlowTotal | None = None
        """What became of datagrams in this phase before the connection was last opened."""

    @property
    def is_open(self) -> bool:
        """Whether it can carry exchanges now."""
        return self._exchanger is not None

    async def open(self) -> None:
        """Connect, and record how long that took.

        Raises:
            NetechoError: it did not connect.
        """
        benchmark = self._benchmark
        setup = benchmark.recorder.setup
        opening = Opening(benchmark.clock)
        on_reply = self._begin_flow()
        flow = self.flow
        try:
            self._exchanger = await benchmark.adapter.connect(
                benchmark.reactor, self._route, on_reply, self._lost, opening.on_connected
            )
        except Exception:
            raise connect_failure(Failure(), benchmark.plan.target, opening) from None
        opened = benchmark.clock()
        if opening.connect_ns is not None:
            setup.took(CONNECT, opening.connect_ns)
        transport = self._exchanger.transport
        if self._route.tls is not None:
            benchmark.agreed(transport)
        if benchmark.plan.target.secure:
            resumed = benchmark.plan.resume and is_resumed(transport)
            setup.took(
                HANDSHAKE_RESUMED if resumed else HANDSHAKE,
                opening.handshake_ns(opened),
            )
        if benchmark.adapter.kind is Kind.STREAM:

            def on_first_byte() -> None:
                sent_ns = flow.oldest_sent_ns()
                if sent_ns is not None:
                    setup.took(FIRST_BYTE, opened - opening.begun_ns + benchmark.clock() - sent_ns)

            tell_first_byte(transport, on_first_byte)

    def _begin_flow(self) -> OnReply:
        """Begin to count anew, and return what takes the echoes."""
        benchmark = self._benchmark
        self._earlier = self.total()
        if benchmark.adapter.reflects:
            self.flow = reflected = ReflectedFlow(benchmark.recorder)
            return functools.partial(self._reflected, reflected)
        self.flow = (DatagramFlow if benchmark.is_datagram else Flow)(benchmark.recorder)
        return self._replied if benchmark.adapter.numbered else self._replied_by_payload

    def record_in(self, recorder: Recorder) -> None:
        """Count exchanges sent from now on in another recorder."""
        self._earlier = None
        self.flow.record_in(recorder)

    def total(self) -> FlowTotal | None:
        """Return what has become of the datagrams of this phase; `None` if it carries a stream."""
        if not isinstance(self.flow, DatagramFlow):
            return None
        total = FlowTotal.of(self._number, self.flow)
        return total if self._earlier is None else self._earlier + total

    def start(self) -> None:
        """Send as many exchanges as may be in flight."""
        for _ in range(self._benchmark.plan.pipeline - self.flow.in_flight):
            self.send()

    def send(self) -> None:
        """Send the next exchange, if there is to be one and a connection for it."""
        exchanger, benchmark = self._exchanger, self._benchmark
        if exchanger is None or not benchmark.sending or (self._counted and not benchmark.take_turn()):
            return
        clock, made = self._clock, self._made
        now = clock()
        sequence = self.flow.sent(now, now, benchmark.size)
        exchanger.send(sequence, made[sequence % PERIOD] if made else self._make(sequence))

    def _replied(
        self, sequence: int | None, payload: bytes, _: Reflection | None = None, answer: Answer | None = None
    ) -> None:
        """Take an echo on a protocol that says which exchange it answers."""
        clock, made = self._clock, self._made
        now = clock()
        status = None if answer is None else answer.status
        if (
            made
            and sequence is not None
            and (answer is None or (answer.receipt is None and not answer.refused))
            and self._benchmark.sending
            and payload == made[sequence % PERIOD]
            and (following := self.flow.turn(sequence, now, status)) is not None
        ):
            self._exchanger.send(following, made[following % PERIOD])
            return
        if answer is not None:
            receipt = answer.receipt
            self.flow.answered(sequence, answer.status, untold=receipt is Receipt.UNTOLD)
            if answer.refused:
                self._refused(sequence, len(payload), answer.status, now)
                return
            if receipt is not None:
                intact = receipt is not Receipt.DIFFERS or not self._benchmark.verified
                if self.flow.replied(sequence, now, len(payload), intact=intact) in _ENDS:
                    self._go_on(now)
                return
        intact = sequence is None or payload == self._make(sequence) or not self._benchmark.verified
        if answer is not None and answer.redirects and not intact:
            self._refused(sequence, len(payload), answer.status, now)
            return
        if self.flow.replied(sequence, now, len(payload), intact=intact) in _ENDS:
            if self._benchmark.sending:
                self.send()
            else:
                self._benchmark.exchange_ended(now)

    def _refused(self, sequence: int | None, size: int, status: str, now_ns: int) -> None:
        if self.flow.refuse(sequence, size, f"status {status}"):
            self._go_on(now_ns)

    def _replied_by_payload(
        self, _: int | None, payload: bytes, __: Reflection | None = None, ___: Answer | None = None
    ) -> None:
        """Take an echo that says itself which exchange it answers."""
        benchmark = self._benchmark
        now = benchmark.clock()
        flow = self.flow
        sequence = benchmark.payload.sequence_of(payload, flow.newest)
        if sequence is None and not benchmark.payload.numbered:
            # All are alike, so that the oldest in flight is as good as any; if none is, it came twice.
            oldest = flow.oldest()
            sequence = flow.newest if oldest is None else oldest
        intact = not benchmark.verified or sequence is None or benchmark.payload.intact(sequence, payload)
        if flow.is_overdue(sequence, now - benchmark.plan.timeout_ns):
            self.expire(now)
        if flow.replied(sequence, now, len(payload), intact=intact) in _ENDS:
            self._go_on(now)

    def _reflected(
        self, flow: ReflectedFlow, sequence: int | None, payload: bytes, reflection: Reflection | None = None
    ) -> None:
        """Take a reflector's answer in the session of a flow."""
        benchmark = self._benchmark
        now = benchmark.clock()
        intact = not benchmark.verified or sequence is None or payload == self._make(sequence)
        if flow.is_overdue(sequence, now - benchmark.plan.timeout_ns):
            self.expire(now)
        outcome = flow.replied(sequence, now, len(payload), intact=intact)
        if sequence is not None and reflection is not None:
            flow.reflected(sequence, outcome, reflection)
        if outcome in _ENDS:
            self._go_on(now)

    def _go_on(self, now_ns: int) -> None:
        """Have the next exchange in the place of one that has ended."""
        if self._benchmark.sending:
            self.send()
        else:
            self._benchmark.exchange_ended(now_ns)

    def _lost(self, reason: Failure) -> None:
        self._exchanger = None
        if reason.check(NoReflectorError):
            self._benchmark.fail(reason)  # there is nothing to be measured
        else:
            self._benchmark.connection_lost(self, loss_kind(reason))

    def expire(self, now_ns: int) -> None:
        """Give up what has waited longer than the timeout.

        A datagram's place is taken by the next. On the other protocols nothing can overtake what is
        late, so the connection itself is given up.
        """
        benchmark = self._benchmark
        oldest = self.flow.oldest_sent_ns()
        if oldest is None or now_ns - oldest < benchmark.plan.timeout_ns:
            return
        if benchmark.is_datagram:
            for _ in self.flow.give_up(now_ns - benchmark.plan.timeout_ns + 1):
                self.send()
            benchmark.exchange_lost(now_ns)
        else:
            self.close()
            benchmark.connection_lost(self, "timeout")

    def reopen_later(self) -> None:
        """Connect again after a pause, and go on sending."""
        if self.flow.highest >= 0:
            self.backoff.reset()

        async def reopen() -> None:
            if await self.reopen(self.backoff.pause()):
                self._benchmark.connection_reopened()

        Deferred.fromCoroutine(reopen()).addErrback(self._benchmark.fail)

    async def reopen(self, pause: float = 0.0) -> bool:
        """Connect again after so many seconds, and go on sending; return whether it did connect.

        If not, it is tried again.
        """
        benchmark = self._benchmark
        await deferLater(benchmark.reactor, pause)
        if not self._wanted():
            return False
        try:
            await self.open()
        except NetechoError as failure:
            benchmark.recorder.failed(failure.kind)
            self.reopen_later()
            return False
        if self._wanted():
            self.start()
        else:
            self.close()
        return True

    def _wanted(self) -> bool:
        """Return whether it is to carry anything more."""
        return self._benchmark.sending

    def retire(self, retired: Callable[[], object]) -> None:
        """See `netecho.services.retiring.Retiring`, which connections are where they retire."""
        raise NotImplementedError

    def close(self) -> Deferred[None] | None:
        """End the connection; see `Exchanger.close` for what is returned."""
        exchanger, self._exchanger = self._exchanger, None
        return None if exchanger is None else exchanger.close()
