"""A server's QUIC connection, whatever it answers: its deadlines, what it counts, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
)
from aioquic.quic.packet import QuicErrorCode

from netecho.protocols._credit import Credit
from netecho.protocols._quic_link import INTERNAL_ERROR, Address, Link
from netecho.protocols._quic_wire import Wire
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT

if TYPE_CHECKING:
    from netecho.protocols._quic_server import QUICPort

FREE: Final = 8
"""Frames that move nothing: so many in a datagram cost its sender no credit."""


class ServerLink(Link):
    """A connection to a server, whatever it answers there.

    Args:
        port: where it came to.
        wire: its core.
        peer: its address, so far.
        ids: the connection IDs by which it is known at first.
    """

    excess: tuple[int, bool] = (INTERNAL_ERROR, False)
    """How a connection is ended whose peer's frames move nothing: a code, and whose it is, as `farewell`."""

    def __init__(self, port: QUICPort, wire: Wire, peer: Address, ids: set[bytes]) -> None:
        super().__init__(port.reactor, wire, port.send_datagram)
        self.port = port
        self.ids = ids
        self.peer = peer
        self.begun = self.reactor.seconds()
        self.credit = Credit(self.begun)
        self.is_open = False
        """The handshake is complete."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.is_draining = False
        self._backlog = 0
        self.deadline = self.begun + HANDSHAKE_TIMEOUT

    # For whoever knows what is answered.

    def heard(self, event: QuicEvent) -> None:
        """Take what has come on a stream."""
        raise NotImplementedError

    @property
    def is_answered(self) -> bool:
        """Whether the peer has acknowledged all that it is owed."""
        return not self.wire.backlog

    # The same whatever is answered.

    def received(self, datagram: bytes, source: Address) -> None:
        """Take a datagram."""
        before = self.wire.idle_frames
        super().received(datagram, source)
        self.pay(self.wire.idle_frames - before - FREE)

    def pay(self, frames: int) -> None:
        """Take frames that move nothing from the peer's credit, and end the connection if that is used up."""
        if frames > 0 and not self.credit.spend(frames, self.reactor.seconds()):
            code, by_application = self.excess
            self.end(code, "too much is asked for nothing", by_application=by_application)

    def happened(self, event: QuicEvent) -> None:
        """Take note of the handshake and of connection IDs; what comes on streams is for `heard`."""
        match event:
            case HandshakeCompleted():
                if self.port.is_full:  # others were faster
                    self.port.refused(self.peer)
                    self.end(QuicErrorCode.CONNECTION_REFUSED, "too many connections")
                    return
                self.is_open = True
                self.deadline = None
                self.progressed()
                self.port.opened(self)
                if self.is_draining:
                    self.finish_if_answered()
            case ConnectionIdIssued():
                self.port.links[event.connection_id] = self
                self.ids.add(event.connection_id)
            case ConnectionIdRetired():
                self.port.links.pop(event.connection_id, None)
                self.ids.discard(event.connection_id)
            case _:
                self.heard(event)

    def progressed(self) -> None:
        """Give the peer its idle time anew."""
        if self.is_open and (patience := self.port.settings.idle_timeout) is not None:
            self.deadline = self.reactor.seconds() + patience

    def flushed(self) -> None:
        """Finish, if that is wanted and the peer has all that it is owed."""
        if self.deadline is not None and self.is_open:
            before, self._backlog = self._backlog, self.wire.backlog
            if before != self._backlog:  # the peer takes its echo
                self.progressed()
        if self.is_draining:
            self.finish_if_answered()

    def overdue(self) -> None:
        """End a connection that made no progress."""
        if not self.is_open:
            self.end(QuicErrorCode.CONNECTION_REFUSED, "the handshake took too long")
        elif not self.is_answered:
            self.cut("idle")
        else:
            self.part("idle")

    def drain(self) -> None:
        """Answer what has been received up to now, then finish."""
        self.is_draining = True
        if self.is_open:
            self.finish_if_answered()
        else:  # it has sent nothing that could be answered
            self.end(QuicErrorCode.CONNECTION_REFUSED, "the server ends")

    def finish_if_answered(self) -> None:
        """Say that it is over once the peer has acknowledged all that it is owed."""
        if not self.is_over and self.is_answered:
            self.part("the server ends")

    def cut(self, why: str) -> None:
        """End the connection at once; it counts as cut unless the peer has all that it was owed."""
        if not self.is_over:
            self.port.settings.totals.cut += bool(self.is_open and not self.is_answered)
            self.part(why)

    def over(self, why: ConnectionTerminated) -> None:
        """See `Link.over`: have the port forget it."""
        self.port.closed(self, why)
