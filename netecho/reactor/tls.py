"""TLS with a shorter way for the messages of an established connection: see `netecho.reactor.records`.

The handshake, the end, and whatever goes wrong are Twisted's code.
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


class Traffic:
    """What an established connection does for every message.

    It is an object beside the transport because that, like every `ProtocolWrapper`, has a `__getattr__`, and
    Python looks up each attribute of such an object the slow way.

    Attributes:
        beneath: the transport that takes what is encrypted.
        wrapped: the protocol that is told what was decrypted.
        lost: whether TLS has ended, or failed.
        muted: whether what still arrives is kept from the wrapped protocol.
        read_ended: whether nothing more is to be read.
        write_ended: whether nothing more can be written.
        disconnecting: whether what is written is dropped, unless a producer writes it.
        closing: whether the transport is to be told, by `_shutdownTLS`, when what arrived has been delivered.
    """

    __slots__ = (
        "_buffered",
        "_flush_later",
        "_gathered",
        "_gathered_size",
        "_receiving",
        "_transport",
        "beneath",
        "closing",
        "disconnecting",
        "lost",
        "muted",
        "read_ended",
        "records",
        "wrapped",
        "write_ended",
    )

    def __init__(self, transport: DirectTLSTransport) -> None:
        self._transport: Any = transport
        """`None` after the end, so that no connection waits for the garbage collector."""
        self.beneath: Any = None
        self.wrapped: Any = None
        self.records: Records | None = None
        """`None` until the handshake is over."""
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._flush_later: Any = None
        self._receiving = self._buffered = False
        self.lost = self.muted = self.read_ended = self.write_ended = False
        self.disconnecting = self.closing = False

    def received(self, data: bytes) -> None:
        """Take bytes off the wire, deliver what was in them, then send what was written meanwhile."""
        records: Any = self.records
        transport = self._transport
        self._receiving = True
        try:
            while not (self.read_ended or self.lost):
                try:
                    message = records.open(data) if data else records.read()
                except ZeroReturnError:
                    transport._read_ended()
                except Error:
                    transport._tlsShutdownFinished(Failure())
                else:
                    if message is None:
                        break
                    if not self.muted:
                        self.wrapped.dataReceived(message)
                    if records.single or not records.has_unread():
                        break
                data = b""
        finally:
            self._receiving = False
        if self._buffered:  # what has arrived may be what OpenSSL waited for before it would encrypt
            self._buffered = False
            transport._unbufferPendingWrites()
        if self._gathered:
            self.flush()
        else:
            self.drain(records)
        if self.closing:
            transport._shutdownTLS()

    def write(self, data: bytes) -> None:
        """Send `data`, together with what is written after it in the same turn."""
        self._gathered.append(data + b"")  # a TypeError for all but bytes
        self._gathered_size += len(data)
        if self._gathered_size > _GATHERED_MOST:
            self.flush()
        elif not self._receiving and self._flush_later is None and self._transport is not None:
            clock: Any = self._transport.factory._clock
            self._flush_later = clock.callLater(0, self._flush_gathered)

    def send_kept(self) -> None:
        """Send what is gathered, and have what follows wait for no more than the reactor's next turn."""
        self._receiving = False
        self.flush()

    def _flush_gathered(self) -> None:
        self._flush_later = None
        self.flush()

    def flush(self) -> None:
        """Encrypt and send what has been gathered."""
        gathered = self._gathered
        if gathered:
            data = b"".join(gathered)
            gathered.clear()
            self._gathered_size = 0
            transport = self._transport
            if transport is not None and (not self.disconnecting or transport._producer is not None):
                self.send(data)

    def send(self, data: bytes) -> None:
        """Encrypt and send `data`; have the transport keep what OpenSSL does not take yet."""
        records = self.records
        if records is None:
            self._transport._write(data)
            return
        start, size = 0, len(data)
        while start < size and not (self.write_ended or self.lost):
            piece = data[start : start + _RECORD] if start or size > _RECORD else data
            try:
                wire = records.encrypt(piece)
            except Error:
                self._transport._tlsShutdownFinished(Failure())
                return
            if wire is None:
                self._buffered = True
                self._transport._bufferedWrite(data[start:])
                return
            self.beneath.write(wire)
            start += records.taken

    def drain(self, records: Records) -> None:
        """Hand what OpenSSL wants sent to the transport beneath."""
        data = records.drain()
        if data:
            self.beneath.write(data)
            if len(data) >= DRAINED_MOST:
                self.drain(records)

    def close(self) -> None:
        """Flush for the last time."""
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        self.flush()

    def forget(self) -> None:
        """Let go of the objects that refer to this one; what is written from now on is dropped."""
        self.records = self._transport = None


def of_traffic(name: str) -> Any:
    """Return a property of a transport for an attribute of its `Traffic`: both have to see the same value."""
    return property(
        lambda self: getattr(self._traffic, name), lambda self, value: setattr(self._traffic, name, value)
    )


class DirectTLSTransport(BufferingTLSTransport):
    """One TLS connection.

    Small writes are gathered as by Twisted's own `BufferingTLSTransport`, which programs know it for:
    those that answer what has just been received until all of that has been delivered, others until the
    reactor's next turn.
    """

    # `Traffic` gathers them, not Twisted's own buffer: methods that would use that are passed over, and those
    # of its base class, `TLSMemoryBIOProtocol`, are called.

    transport = of_traffic("beneath")
    wrappedProtocol = of_traffic("wrapped")
    disconnecting = of_traffic("disconnecting")
    _lostTLSConnection = of_traffic("lost")

    def __init__(self, factory: Any, wrappedProtocol: Any, _connectWrapped: bool = True) -> None:
        self._traffic = Traffic(self)
        TLSMemoryBIOProtocol.__init__(self, factory, wrappedProtocol, _connectWrapped)
        self.write = self._traffic.write  # type: ignore[method-assign]

    def abortConnection(self) -> None:
        """Disconnect at once, deliver nothing more, and send nothing more.

        A close_notify, which Twisted's own writes here and the transport beneath then drops, would be sent at
        once here, and have the peer take what it has for all that there was.
        """
        self._aborted = self.disconnecting = self._traffic.muted = True
        self.transport.abortConnection()

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone and self._traffic.records is None and self._tlsConnection is not None:
            self._traffic.records = records_of(self._tlsConnection)
            self.dataReceived = self._traffic.received  # type: ignore[method-assign]

    def send_kept(self) -> None:
        """Send now what would be kept until all that was received has been delivered."""
        self._traffic.send_kept()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec`."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Send what was written and close_notify, and disconnect."""
        self._traffic.flush()
        TLSMemoryBIOProtocol.loseConnection(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol.connectionLost`: the transport beneath has ended."""
        self._traffic.close()
        if self._traffic.records is not None and not self._traffic.lost:
            # After an exception, or within an event, something is unread. Only behind that is an end found.
            self._traffic.received(b"")
        TLSMemoryBIOProtocol.connectionLost(self, reason)
        self._traffic.forget()
        self.write = self.dataReceived = _discard  # type: ignore[method-assign]

    def _read_ended(self) -> None:
        """Take the peer's close_notify."""
        self._shutdownTLS()
        self._tlsShutdownFinished(None)

    def _flushReceiveBIO(self) -> None:
        if self._traffic.records is None:
            super()._flushReceiveBIO()
        else:
            self._traffic.received(b"")

    def _flushSendBIO(self) -> None:
        records = self._traffic.records
        if records is not None:
            self._traffic.drain(records)
        elif self._tlsConnection is not None:
            self._traffic.drain(PublicRecords(self._tlsConnection))

    def _write(self, data: bytes) -> None:
        if self._traffic.records is not None:
            self._traffic.send(data)
        elif self._appSendBuffer:  # which goes first, also if it could all be sent now
            self._bufferedWrite(data)
        else:
            super()._write(data)


def _discard(data: bytes) -> None:
    """Take what is written after the end, and do nothing."""


class DirectTLSFactory(TLSMemoryBIOFactory):
    """Twisted's `TLSMemoryBIOFactory`, for `DirectTLSTransport`s."""

    protocol = DirectTLSTransport
