"""Runs a `BenchPlan` over many connections, each of which, in a closed loop, sends when its echo has come.

In an open loop it is `OpenLoop` that says when something leaves. Connections are opened first and counted.
Then, after a warm-up that is recorded apart, every exchange is followed from its sending to its echo, its
timeout, or the loss of its connection; a connection that is lost is counted by what ended it and opened
again. When the plan's end is reached nothing more is sent, and what is in flight may still come back, so
that the slowest exchanges are not left out.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netecho.errors import NetechoError
from netecho.measure.counts import Connections
from netecho.measure.directions import Losses
from netecho.measure.flows import datagrams_of
from netecho.measure.parts import Part, distributions_of
from netecho.measure.payload import Payload
from netecho.measure.progress import Phase
from netecho.measure.recorder import Recorder
from netecho.measure.setup import RESOLVE
from netecho.measure.summary import Summary
from netecho.plans import SECOND, BenchPlan, Mode, Verify
from netecho.protocols._contract import Adapter, Kind, Route
from netecho.services.bench_connection import Connection
from netecho.services.conclusion import conclude
from netecho.services.connection_ramp import ConnectionRamp, kinds_of
from netecho.services.handshake import describe
from netecho.services.instrument import Instrument, Wakes
from netecho.services.intervals import Intervals, OnInterval, OnProgress
from netecho.services.open_loop import OpenLoop
from netecho.services.roster import Roster
from netecho.services.sessions import ResumingContext
from netecho.services.timeouts import Timeouts

_TURNS_TO_CLOSE: Final = 2
"""Turns of the reactor in which connections are closed that have nothing more to send: the first may be the
one that it is in."""


class Benchmark:
    """A run of a plan; when it has ended, what it recorded.

    Args:
        reactor: where it runs.
        plan: what it runs.
        adapter: the target's protocol.
        route: the way to the target, resolved.
        key: tells this run's payloads from others, 32 bits.
        on_progress: told of each interval (see `netecho.services.intervals`), a little after its end.
        when_connected: waited for when all connections have been opened, before anything is sent.
        on_tick: told at the end of each, of all but percentiles.
        on_interval: told of each of what is measured, with all that was recorded in it.
        clock: monotonic time in nanoseconds.
    """

    def __init__(
        self,
        reactor: Any,
        plan: BenchPlan,
        adapter: Adapter,
        route: Route,
        key: int,
        on_progress: OnProgress | None = None,
        when_connected: Callable[[], Awaitable[None]] | None = None,
        on_tick: OnProgress | None = None,
        on_interval: OnInterval | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.reactor = reactor
        self.plan = plan
        self.adapter = adapter
        self.route = route
        self.clock = clock
        self.is_datagram = adapter.kind is Kind.DATAGRAM
        message = None if plan.request is None else plan.request.message
        self.payload = Payload(plan.size, key, message, repeating=adapter.numbered, text=adapter.is_text)
        self.size = plan.size
        self.verified = plan.verify is Verify.FULL
        self.measured = self._new_recorder()
        self.recorder = self.measured
        """Where what is sent now is recorded."""
        self.warmup: Recorder | None = None
        self.transport: dict[str, Any] | None = None
        """What TLS came to on the first connection."""
        self.closing = 0
        """Connections that are being closed, for the last of which the run waits."""
        self.phase: Phase = "connecting"
        self.begun_ns = 0
        """When the connecting began, the warm-up, or what is measured: whichever is recorded now."""
        self.sending = False
        self.interrupted = False
        self.cpu_share: float | None = None
        self.steal_share: float | None = None
        self.elapsed_ns = 0
        self._when_connected = when_connected
        self._looped, paced = kinds_of(plan)
        self._open_loop = (
            OpenLoop(self, plan, paced, is_datagram=self.is_datagram) if plan.open_loop else None
        )
        self._ramp = ConnectionRamp(self) if plan.connections_stages else None
        self.roster = Roster(self, self._new)
        self._remaining: int | None = None
        self._timeouts = Timeouts(self)
        self._intervals = Intervals(self, on_progress, on_tick, on_interval)
        self._instrument: Instrument | None = None
        """What counts from when measuring begins; `None`: it has not begun."""
        self._wakes: Wakes | None = None
        """What sees stalls, in a closed loop, from then on."""
        self._last_ns = self._over_ns = 0
        self._opening: Deferred[None] | None = None
        self._ended: Deferred[None] = Deferred()

    def _new_recorder(self) -> Recorder:
        return Recorder(closed_loop=not self.plan.open_loop, size=self.payload.size)

    @property
    def connections(self) -> Connections:
        """What became of the connections."""
        if self.plan.mode is not Mode.EXCHANGE:  # each is an exchange
            counts = self.measured.counts
            return Connections(self.roster.requested, counts.completed, counts.lost)
        return self.roster.counts

    @property
    def is_measuring(self) -> bool:
        """Whether what happens now is part of the result, and not of the warm-up, which is recorded apart."""
        return self.recorder is self.measured

    async def run(self) -> None:
        """Run the plan to its end, or until `interrupt`.

        Raises:
            NetechoError: not one connection could be opened.
        """
        plan, roster = self.plan, self.roster
        if self.route.resolve_ns is not None and plan.mode is Mode.EXCHANGE:
            self.measured.setup.took(RESOLVE, self.route.resolve_ns)
        self.begun_ns = self.clock()
        self._intervals.start()
        self._timeouts.start()
        try:
            await self._open_all()
            if not roster.opened and roster.first_failure is not None and not self.interrupted:
                raise roster.first_failure
            if not self.interrupted:
                self._begin()
            await self._ended
            if self._nobody_answers and not self.interrupted and roster.first_failure is not None:
                raise roster.first_failure
        finally:
            self.sending = False
            if self._open_loop is not None:
                self._open_loop.stop()
            self._intervals.stop()
            self._timeouts.stop()
            partings = [connection.close() for connection in roster]
            self._close_books()
        if not self.interrupted:
            await DeferredList([one for one in partings if one is not None])
        for _ in range(_TURNS_TO_CLOSE):  # there may be no file descriptor left for a result to be saved with
            await deferLater(self.reactor, 0)

    def interrupt(self) -> None:
        """Stop now, with what has been recorded so far."""
        self.interrupted = True
        self.sending = False
        if self._open_loop is not None:
            self._open_loop.stop()
        self._last_ns = self._over_ns = self.clock()
        if self._opening is not None:
            self._opening.cancel()
        self._end()

    async def _open_all(self) -> None:
        self._opening = Deferred.fromCoroutine(self._open_each())
        try:
            await self._opening
        except CancelledError:
            if not self.interrupted:
                raise
        finally:
            self._opening = None

    async def _open_each(self) -> None:
        await self.roster.open()
        if self._when_connected is not None and not self.interrupted:
            await self._when_connected()

    def agreed(self, transport: Any) -> None:
        """Note what TLS came to on a connection, if it is the first."""
        if self.transport is None and (negotiated := describe(transport)) is not None:
            self.transport = negotiated.of_result()

    def route_of_one(self) -> Route:
        """Return the way that one connection takes, and those that come after it in its place."""
        context = ResumingContext(self.route.tls) if self.plan.resume else self.route.tls
        on_reopened = self._connection_replaced if self.plan.reconnect else None
        return dataclasses.replace(self.route, tls=context, on_reopened=on_reopened)

    def _new(self, number: int) -> Connection:
        return self._looped(self, number) if self._open_loop is None else self._open_loop.connection(number)

    def _begin(self) -> None:
        """Begin the warm-up, or what is measured if there is none."""
        # Neither what is loaded nor the connections are garbage: looking at them again and again would
        # show as pauses in what is measured.
        gc.collect()
        gc.freeze()
        if self.plan.warmup_ns:
            self.phase = "warm-up"
            self.recorder = self.warmup = self._new_recorder()
            self._record_in(self.recorder)
            self.begun_ns = self.clock()
            self._intervals.restart()
            self.reactor.callLater(self.plan.warmup_ns / SECOND, self._end_warmup)
        else:
            self._begin_measuring()
        self._timeouts.connected()
        self.sending = True
        for place, connection in enumerate(self.roster.present, 1):
            connection.first_life = place / len(self.roster.present)
            if connection.is_open:
                connection.start()
            elif self.plan.reconnect:
                connection.reopen_later()
        if self._open_loop is not None:
            self._open_loop.begin(self.begun_ns, warmup=self.warmup is not None)
        if self._ramp is not None and self.warmup is None:
            self._ramp.begin(self.begun_ns)

    def _end_warmup(self) -> None:
        if self.sending:
            self._begin_measuring()
            if self._open_loop is not None:
                self._open_loop.begin(self.begun_ns)
            if self._ramp is not None:
                self._ramp.begin(self.begun_ns)

    def _begin_measuring(self) -> None:
        self.phase = "measuring"
        self.recorder = self.measured
        self._record_in(self.recorder)
        self._remaining = self.plan.exchanges
        self.begun_ns = self._last_ns = self._over_ns = self.clock()
        self._intervals.restart()  # they begin with what is measured, in every process at once
        self._instrument = Instrument(self.reactor)
        if self._open_loop is None:
            self._wakes = Wakes(self.reactor, self.clock)
        if self.plan.length_ns is not None:
            end = self.stop_sending if self._open_loop is None else self._open_loop.end
            self.reactor.callLater(self.plan.length_ns / SECOND, end)

    def _record_in(self, recorder: Recorder) -> None:
        for connection in self.roster:
            connection.record_in(recorder)

    def take_turn(self) -> bool:
        """Return whether one more of a number of exchanges may be sent now, and count it if so."""
        if self._remaining is None:  # the warm-up
            return True
        if self._remaining == 0:
            return False
        self._remaining -= 1
        if self._remaining == 0:
            self.stop_sending()
        return True

    def stop_sending(self) -> None:
        """Send nothing more, and end when what is in flight has."""
        if self.sending:
            self.sending = False
            self.phase = "finishing"
            if self._open_loop is not None:
                self._open_loop.stop()
            # What may be sent in this very turn is counted before it is asked whether all is back.
            self.reactor.callLater(0, self.exchange_ended, self.clock())

    def exchange_ended(self, now_ns: int) -> None:
        """Note that an exchange ended, when nothing more is sent: the last one ends the run."""
        self._last_ns = max(self._last_ns, now_ns)
        self.exchange_lost(now_ns)

    def exchange_lost(self, now_ns: int) -> None:
        """Note that one ended without an echo. To wait for what is lost is no part of the load."""
        self._over_ns = max(self._over_ns, now_ns)
        if not self.sending and self.phase == "finishing" and not self._in_flight():
            self._end()

    def _in_flight(self) -> int:
        warmup = 0 if self.warmup is None else self.warmup.counts.in_flight
        return self.measured.counts.in_flight + warmup + self.closing

    def connection_reopened(self) -> None:
        """Note that there is somebody to answer."""
        self.roster.reopened += self.is_measuring
        self._timeouts.connected()

    def _connection_replaced(self) -> None:
        """Count a connection that fell silent, and the new one in its place; what was in flight times out."""
        self.roster.lost += self.is_measuring
        self.connection_reopened()

    def connection_lost(self, connection: Connection, kind: str) -> None:
        """Count a connection that ended by itself, with what was in flight on it, and open it again."""
        self.roster.lost += self.is_measuring
        if not connection.flow.end(kind):
            self.recorder.failed(kind)
        if self.sending:
            if self.plan.reconnect:
                connection.reopen_later()
            elif not self.roster.is_open:
                self.stop_sending()
        else:
            self.exchange_lost(self.clock())

    def opening_failed(self, failure: NetechoError) -> None:
        """Note that an exchange failed that was to open a connection; end the run if nobody is there."""
        self.roster.fail(failure)
        if self._nobody_answers and self.roster.failed >= self.plan.connections:
            self.stop_sending()

    @property
    def _nobody_answers(self) -> bool:
        """Whether opening connections is all there is to do, and not one could be opened."""
        warmup = 0 if self.warmup is None else self.warmup.counts.completed
        return self.plan.mode is not Mode.EXCHANGE and not self.measured.counts.completed + warmup

    def fail(self, failure: Failure) -> None:
        """End the run by a defect."""
        self._end(failure)

    def _close_books(self) -> None:
        gc.unfreeze()
        if self._wakes is not None:
            self._wakes.stop()
        instrument = self._instrument
        if instrument is None or self._over_ns <= self.begun_ns:
            return
        end_ns = self._last_ns if self.measured.counts.completed else self._over_ns
        self.elapsed_ns = end_ns - self.begun_ns
        awake_ns = 0 if self._open_loop is None else self._open_loop.awake_ns
        self.cpu_share = instrument.cpu_share(self.clock() - self.begun_ns, awake_ns)
        self.steal_share = instrument.steal_share()
        self._intervals.end_last(self._over_ns)

    def summary(self, started: str, system: Mapping[str, Any]) -> Summary:
        """Return what the run means.

        Args:
            started: when it began, in ISO 8601.
            system: what it ran on.
        """
        return conclude(self.part(), self.plan, self.adapter, started, system, self._intervals.out_of_reach)

    def part(self) -> Part:
        """Return what has been measured so far, or in the end."""
        recorder = self.measured
        flows = {} if self._instrument is None else self.roster.totals()
        datagrams = datagrams_of(flows[number] for number in sorted(flows))
        recorder.one_way.losses = datagrams.losses or Losses()
        return Part(
            counts=recorder.counts,
            connections=self.connections,
            errors=recorder.errors,
            statuses=recorder.statuses,
            distributions={**distributions_of(recorder), **datagrams.distributions},
            intervals=tuple(recorder.intervals),
            warmup=None if self.warmup is None else self.warmup.counts,
            elapsed_ns=self.elapsed_ns,
            interrupted=self.interrupted,
            cpu_shares=() if self.cpu_share is None else (self.cpu_share,),
            steal_share=self.steal_share,
            stalls=None if self._wakes is None else self._wakes.stalls(),
            sending=None if self._open_loop is None else self._open_loop.kept(),
            jitter=datagrams.jitter,
            flows=datagrams.flows,
            one_way=recorder.one_way if self.adapter.reflects else None,
            whole=True,
            transport=self.transport,
        )

    def _end(self, failure: Failure | None = None) -> None:
        if not self._ended.called:
            self._ended.callback(None if failure is None else failure)
