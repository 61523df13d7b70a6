"""What drives the core of one QUIC connection, which does no I/O itself: datagrams, timers, and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aioquic.quic.events import ConnectionTerminated, QuicEvent
from aioquic.quic.packet import QuicErrorCode
from twisted.logger import Logger

from netecho.protocols._quic_wire import NO_ERROR, Wire

INTERNAL_ERROR: Final = int(QuicErrorCode.INTERNAL_ERROR)
_log = Logger()
Address = tuple[str, int]


class Link:
    """One connection; subclasses say what its streams are for.

    What is sent in one turn of the reactor leaves at its end, all together.

    Args:
        reactor: provides `IReactorTime`.
        wire: its core.
        send: sends a datagram to an address.
    """

    farewell: tuple[int, bool] = (NO_ERROR, False)
    """How a connection is ended when nothing is wrong: the error code, and whether it is the
    application's."""
    deadline: float | None = None
    """When `overdue` is called, in seconds of the reactor's clock, whatever else happens."""

    def __init__(self, reactor: Any, wire: Wire, send: Callable[[bytes, Address], None]) -> None:
        self.reactor = reactor
        self.wire = wire
        self._send = send
        self._timer: Any = None
        self._flush_call: Any = None
        self.is_over = False
        self.ended_first = False
        """Whether it is over as this end has said so."""

    # For subclasses.

    def happened(self, event: QuicEvent) -> None:
        """Take an event of the core."""
        raise NotImplementedError

    def over(self, why: ConnectionTerminated) -> None:
        """Take the end of the connection, whoever ended it."""
        raise NotImplementedError

    def gather(self) -> None:
        """Give the core what is to be sent: called at the end of a turn, before it is sent."""

    def flushed(self) -> None:
        """Look at what has been sent and acknowledged: called at the end of a turn with anything new."""

    def overdue(self) -> None:
        """Deal with the `deadline`, which has passed."""

    # In and out.

    def received(self, datagram: bytes, source: Address) -> None:
        """Take a datagram."""
        if self.is_over:
            return
        try:
            self.wire.receive_datagram(datagram, source, self.reactor.seconds())
        except Exception as error:
            # An exception in aioquic ends the connection of the peer whose packet caused it, and nothing
            # else.
            _log.debug("aioquic tripped over a packet: {error!r}", error=error)
            self.end(INTERNAL_ERROR, "a packet could not be dealt with")
        self._go_on()

    def _take_events(self) -> None:
        while not self.is_over and (event := self.wire.next_event()) is not None:
            if not isinstance(event, ConnectionTerminated):  # `Wire.ended` has told that long before
                self.happened(event)

    def _go_on(self) -> None:
        self._take_events()
        if not self.is_over:
            if (why := self.wire.ended) is not None:
                self.stop(why)
            else:
                self.flush_soon()

    def flush_soon(self) -> None:
        """Send what there is at the end of this turn."""
        if self._flush_call is None and not self.is_over:
            self._flush_call = self.reactor.callLater(0, self._flush_now)

    def _flush_now(self) -> None:
        self._flush_call = None
        self.gather()
        if self.is_over:
            return
        if (why := self.wire.ended) is not None:
            self.stop(why)
            return
        self.flush()
        if not self.is_over:
            self.flushed()

    def flush(self) -> None:
        """Send what there is, and wait for what comes next."""
        now = self.reactor.seconds()
        for datagram, address in self.wire.datagrams_to_send(now):
            self._send(datagram, address)
            if self.is_over:
                return
        self._take_events()  # sending makes events too: the connection IDs that have been issued
        self._wait()

    def _wait(self) -> None:
        due = self.wire.get_timer()
        if self.deadline is not None:
            due = self.deadline if due is None else min(due, self.deadline)
        if due is None:
            return
        # A timer that fires too early does no harm, and to leave it costs less than to move it each time.
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self.reactor.callLater(max(0.0, due - self.reactor.seconds()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.reactor.seconds()
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.overdue()
            if self.is_over:
                return
        due = self.wire.get_timer()
        if due is not None and now >= due:
            self.wire.handle_timer(now)
            self._go_on()
        else:
            self._wait()

    # The end.

    def end(self, code: int, reason: str = "", *, by_application: bool = False) -> None:
        """End the connection, and tell the other end.

        Args:
            code: why: an error code of the transport (RFC 9000 section 20.1), or of the application protocol.
            reason: the same in words.
            by_application: the code is the application protocol's.
        """
        if not self.is_over:
            self.wire.end(code, reason, by_application=by_application)
            if (why := self.wire.ended) is not None:
                self.stop(why)

    def part(self, reason: str = "") -> None:
        """End the connection, and tell the other end that nothing is wrong (see `farewell`)."""
        code, by_application = self.farewell
        self.end(code, reason, by_application=by_application)

    def stop(self, why: ConnectionTerminated) -> None:
        """Take it that the connection is over; the other end is told if it does not know."""
        self.is_over = True
        self.ended_first = not self.wire.is_told
        if self.ended_first:
            for datagram, address in self.wire.datagrams_to_send(self.reactor.seconds()):
                self._send(datagram, address)
        self.stop_timers()
        self.over(why)

    def stop_timers(self) -> None:
        """Cancel the timers, and close the core's log."""
        for call in (self._timer, self._flush_call):
            if call is not None and call.active():
                call.cancel()
        self.wire.forget()
