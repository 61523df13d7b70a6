"""A conversation over QUIC: one stream, on a connection of its own."""

from __future__ import annotations

from typing import Any

from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netecho.protocols._quic_client import ClientLink, ResetError, Transport, Unheard


class StreamConversation(Transport):
    """The transport of a protocol that has one stream, which is opened by its first write.

    Half-closing it ends our side of the stream. When the stream has ended, so does the connection.
    """

    def __init__(self, link: ClientLink, protocol: Protocol) -> None:
        super().__init__(link)
        link.transport = self
        self.protocol = protocol
        self._stream: int | None = None
        self._write_ended = False
        self._told_of_write_end = False
        self._losing = False
        self._held: list[bytes] | None = None
        """What has come while paused; `None` when not paused."""
        self._held_end = False
        link.use(self)

    def write(self, data: bytes) -> None:
        """Send on the stream."""
        self._send(data, False)

    def writeSequence(self, pieces: Any) -> None:
        """Send on the stream."""
        self._send(b"".join(pieces), False)

    def _send(self, data: bytes, is_end: bool) -> None:
        if self._write_ended or self.link.is_over:
            return
        if self._stream is None:
            self._stream = self.link.wire.get_next_available_stream_id()
        self.link.wire.send_stream_data(self._stream, data, is_end)
        self._write_ended = is_end
        self.link.flush_soon()

    def loseWriteConnection(self) -> None:
        """End our side of the stream."""
        self._send(b"", True)

    def loseConnection(self) -> None:
        """End the connection when all that was written has arrived."""
        self.disconnecting = self._losing = True
        if self._stream is not None:
            self._send(b"", True)
        self.flushed()

    def abortConnection(self) -> None:
        """End the connection at once."""
        self.disconnecting = True
        self._over(Failure(ConnectionAborted()))

    def pauseProducing(self) -> None:
        """Deliver nothing for now; the other end can send no more than a window meanwhile."""
        if self._held is None:
            self._held = []

    def resumeProducing(self) -> None:
        """Deliver what has come, and go on."""
        held, self._held = self._held, None
        for data in held or ():
            if self._held is None:
                self._pass_on(data)
            else:
                self._held.append(data)
        self.link.wire.withheld = sum(map(len, self._held or ()))
        if self._held is None and self._held_end:
            self._held_end = False
            self._end_of_reading()
        self.link.flush_soon()

    def stopProducing(self) -> None:
        """End the connection: nobody wants what comes."""
        self.loseConnection()

    def happened(self, event: QuicEvent) -> None:
        """Take what comes."""
        if isinstance(event, StreamDataReceived) and event.stream_id == self._stream:
            if event.data:
                if self._held is None:
                    self._pass_on(event.data)
                else:
                    self._held.append(event.data)
                    self.link.wire.withheld += len(event.data)
            if event.end_stream:
                if self._held is None:
                    self._end_of_reading()
                else:
                    self._held_end = True
        elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id == self._stream:
            self._over(Failure(ResetError(f"{ResetError.__doc__}: {event.error_code:#x}")))

    def _pass_on(self, data: bytes) -> None:
        if not self._losing:
            self.protocol.dataReceived(data)

    def _end_of_reading(self) -> None:
        half: Any = IHalfCloseableProtocol(self.protocol, None)
        if half is None or self._losing:
            self.loseConnection()
        else:
            half.readConnectionLost()

    def flushed(self) -> None:
        """Look whether what was written has arrived."""
        wire = self.link.wire
        owed = 0 if self._stream is None or self.link.is_over else wire.owed(self._stream)
        self.regulate(owed)
        if owed:
            return
        if self._write_ended and not self._told_of_write_end and not self._losing:
            self._told_of_write_end = True
            half: Any = IHalfCloseableProtocol(self.protocol, None)
            if half is not None:
                half.writeConnectionLost()
        # Do not end before the session ticket has come, which the server sends with the end of the handshake.
        if self._losing and (wire.is_confirmed or not self.link.route.tls.resumes):
            self._over(Failure(ConnectionDone()))

    def lost(self, reason: Failure) -> None:
        """Tell the protocol that the connection is lost."""
        self._over(reason)

    def _over(self, reason: Failure) -> None:
        protocol, self.protocol = self.protocol, Unheard()
        self._producer = None
        self.link.abort()
        if not isinstance(protocol, Unheard):
            protocol.connectionLost(reason)
