"""TLS for the messages of an established connection without pyOpenSSL's and the reactor's detours.

The handshake, the end, and whatever goes wrong are Twisted's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from OpenSSL.SSL import Error, ZeroReturnError
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from netecho.reactor.records import DRAINED_MOST, PublicRecords, Records, records_of

_GATHERED_MOST: Final = 64_000
"""Bytes of small writes that are kept to be sent together, as Twisted has it."""
_RECORD: Final = 1 << 14
"""Bytes in the largest record (RFC 8446 section 5.1)."""


class DirectTLSTransport(BufferingTLSTransport):
    """One TLS connection.

    Small writes are gathered as by Twisted's own `BufferingTLSTransport`, which programs know it for:
    those that answer what has just been received until all of that has been delivered, others until the
    reactor's next turn.
    """

    # What gathers them is not Twisted's, so that its base's methods are called where that is at work.

    transport: Any
    wrappedProtocol: Any

    def __init__(self, factory: Any, wrappedProtocol: Any, _connectWrapped: bool = True) -> None:
        TLSMemoryBIOProtocol.__init__(self, factory, wrappedProtocol, _connectWrapped)
        self._records: Records | None = None
        """`None` until the handshake is over."""
        self._receiving = False
        self._flush_later: Any = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        # Twisted has these in the class, where it takes longer to find them, for every message.
        self._lostTLSConnection = self._aborted = self.disconnecting = False
        self._producer = None

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone and self._records is None and self._tlsConnection is not None:
            self._records = records_of(self._tlsConnection)

    def write(self, data: bytes) -> None:
        """Send `data`, together with what is written after it in the same turn."""
        self._gathered.append(data + b"")  # a TypeError for all but bytes
        self._gathered_size += len(data)
        if self._gathered_size > _GATHERED_MOST:
            self._flush_writes()
        elif not self._receiving and self._flush_later is None:
            clock: Any = self.factory._clock
            self._flush_later = clock.callLater(0, self._flush_gathered)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec`."""
        self.write(b"".join(iovec))

    def _flush_gathered(self) -> None:
        self._flush_later = None
        self._flush_writes()

    def _flush_writes(self) -> None:
        """Encrypt and send what has been gathered."""
        gathered = self._gathered
        if gathered:
            data = b"".join(gathered)
            gathered.clear()
            self._gathered_size = 0
            if not self.disconnecting or self._producer is not None:
                self._write(data)

    def loseConnection(self) -> None:
        """Send what was written and close_notify, and disconnect."""
        self._flush_writes()
        TLSMemoryBIOProtocol.loseConnection(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of the transport beneath."""
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        self._flush_writes()
        TLSMemoryBIOProtocol.connectionLost(self, reason)
        self._records = None
        self.write = _discard  # type: ignore[method-assign]

    def dataReceived(self, data: bytes) -> None:
        """Take bytes off the wire."""
        if self._records is None:
            super().dataReceived(data)
            return
        self._records.feed(data)
        if self._appSendBuffer:
            self._unbufferPendingWrites()
        self._flushReceiveBIO()

    def _flushReceiveBIO(self) -> None:
        """Deliver what has arrived, then send what was written meanwhile."""
        if self._records is None:
            super()._flushReceiveBIO()
            return
        self._receiving = True
        try:
            self._deliver(self._records)
        finally:
            self._receiving = False
        if self._gathered:
            self._flush_writes()
        else:
            self._flushSendBIO()
        self._delivered()

    def _delivered(self) -> None:
        """Do what else is to be done when all that has arrived is delivered, and answered if it was."""

    def _deliver(self, records: Records) -> None:
        while not self._lostTLSConnection:
            try:
                data = records.read()
            except ZeroReturnError:
                self._shutdownTLS()
                self._tlsShutdownFinished(None)
            except Error:
                self._tlsShutdownFinished(Failure())
            else:
                if data is None:
                    return
                if not self._aborted:
                    self.wrappedProtocol.dataReceived(data)
                if not records.has_unread():
                    return

    def _flushSendBIO(self) -> None:
        """Hand what OpenSSL wants sent to the transport beneath."""
        records = self._records
        if records is None:
            if self._tlsConnection is None:
                return
            records = PublicRecords(self._tlsConnection)
        data = records.drain()
        if data:
            self.transport.write(data)
            if len(data) >= DRAINED_MOST:
                self._flushSendBIO()

    def _write(self, data: bytes) -> None:
        """Encrypt and send `data`; keep what OpenSSL does not take yet."""
        records = self._records
        if records is None:
            super()._write(data)
            return
        sent, size = 0, len(data)
        while sent < size and not self._lostTLSConnection:
            try:
                taken = records.write(data[sent : sent + _RECORD])
            except Error:
                self._tlsShutdownFinished(Failure())
                return
            if not taken:
                self._bufferedWrite(data[sent:])
                return
            sent += taken
            self._flushSendBIO()


def _discard(data: bytes) -> None:
    """Take what is written after the end, and do nothing."""


class DirectTLSFactory(TLSMemoryBIOFactory):
    """Twisted's `TLSMemoryBIOFactory`, for `DirectTLSTransport`s."""

    protocol = DirectTLSTransport
