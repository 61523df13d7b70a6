"""TLS over any stream transport, in which each direction closes on its own.

Twisted's TLS treats the peer's close_notify as the end of both directions and a bare FIN as the end
of everything, and so loses what is still to be echoed. Here the two directions are two facts:

- the read side is closed by the peer's close_notify, or by the transport's FIN without one;
- the write side is closed by our close_notify, sent when all that was written before it has gone.

When both are closed the transport beneath is closed, which sends what is in its buffer first. TLS 1.3
has this half-close by definition (RFC 8446 section 6.1); TLS 1.2 peers answer a close_notify with
their own at once (RFC 5246 section 7.2.1), which then ends the connection in order.

Twisted offers no public way to change how a TLS connection ends, so this overrides private methods of
`TLSMemoryBIOProtocol`; each keeps its name and what its callers expect of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL.SSL import Error
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from netecho.reactor.tls import DirectTLSFactory, DirectTLSTransport, of_traffic

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IOpenSSLClientConnectionCreator,
        IOpenSSLServerConnectionCreator,
        IProtocolFactory,
        IReactorTime,
    )


class TruncationError(ConnectionLost):
    """The peer closed the connection without close_notify: what it sent may have been cut short"""  # noqa: D400, D415 - Twisted shows this as the error's message, and adds the full stop


@implementer(IHalfCloseableProtocol)
class HalfCloseableTLSTransport(DirectTLSTransport):
    """One TLS connection, as a transport with `loseWriteConnection` for the protocol it wraps.

    A wrapped protocol that provides `IHalfCloseableProtocol` is told `readConnectionLost` when the peer
    closes its side, and may go on writing until it closes its own; any other is disconnected then,
    after all that it wrote has been sent. A protocol whose peer closed without close_notify learns of
    it from the reason of its `connectionLost`, a `TruncationError`.

    `loseConnection` sends everything that was written, then close_notify, and waits for the peer to close
    its side; what still arrives is thrown away. How long that may take is the caller's to limit, with
    `abortConnection`. A producer that is this transport itself (`transport.registerProducer(transport,
    True)`, which stops reading from a peer that does not read) is unregistered by closing the write side;
    any other is waited for, as everywhere in Twisted.
    """

    # Twisted's own annotations are for protocols at large.
    transport: Any
    wrappedProtocol: Any
    _producer: Any

    # Each is looked at for every message; see `Traffic`.
    _read_closed = of_traffic("read_ended")
    _write_closing = of_traffic("closing")
    _close_notify_sent = of_traffic("write_ended")

    @property  # type: ignore[override]
    def disconnecting(self) -> bool:
        """Whether both sides are being closed: what still arrives is thrown away."""
        return self._traffic.disconnecting

    @disconnecting.setter
    def disconnecting(self, value: bool) -> None:
        self._traffic.disconnecting = self._traffic.muted = value

    @override
    def loseConnection(self) -> None:
        """Send what was written and close_notify, wait for the peer to close, and disconnect.

        Before the handshake there is nothing to send and nobody to tell: the connection is aborted.
        """
        if self.disconnecting or not self.connected:
            return
        if self._close_notify_sent:
            # As on TCP after loseWriteConnection: whoever asks for both ends does not wait for the peer.
            self.disconnecting = True
            self.transport.loseConnection()
            return
        self._traffic.flush()
        if not self._handshakeDone and not self._appSendBuffer:
            self.abortConnection()
            return
        self.disconnecting = True
        self._write_closing = True
        if not self._read_closed:
            # Reading may be paused, and the peer's close_notify must not wait for ever behind that.
            self.transport.resumeProducing()
        self._shutdownTLS()

    def loseWriteConnection(self) -> None:
        """Send what was written and close_notify; go on receiving until the peer closes its side."""
        if self._write_closing or not self.connected:
            return
        self._write_closing = True
        self._shutdownTLS()

    @override
    def failVerification(self, reason: Failure) -> None:
        """Remember why the peer's certificate is refused, for the wrapped protocol's `connectionLost`.

        The handshake fails by itself when its verify callback has said no; aborting here, as Twisted
        does, would keep the alert that explains it from reaching the peer.
        """
        self._reason = reason

    @override
    def unregisterProducer(self) -> None:
        """Stop consuming from the producer; close the write side if that waited for it."""
        super().unregisterProducer()  # type: ignore[no-untyped-call]
        self._shutdownTLS()

    def readConnectionLost(self) -> None:
        """Take the transport's FIN: the peer sends nothing more, and said so in TLS or did not."""
        if self._read_closed or self._lostTLSConnection:
            return  # a transport that is resumed after its FIN reads it again
        if self._handshakeDone:
            # All that arrived has been decrypted. Not for OpenSSL to hear of: it takes an end without
            # close_notify for an error after which nothing can be sent.
            self._close_read(Failure(TruncationError()))
        else:
            self._tlsConnection.bio_shutdown()
            self._checkHandshakeStatus()

    def writeConnectionLost(self) -> None:
        """Take the transport's word that our close_notify and FIN are out."""
        wrapped: Any = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if wrapped is not None and not self.disconnecting:
            wrapped.writeConnectionLost()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of the transport beneath."""
        ended = self._lostTLSConnection or self._read_closed or self.disconnecting
        if self._handshakeDone and not ended and reason.check(ConnectionDone):
            self._reason = self._reason or Failure(TruncationError())
        has_parted = self._read_closed and self._close_notify_sent and not _is_sending(self.transport)
        if has_parted and reason.check(ConnectionLost):
            reason = connectionDone  # nobody has to wait for the other's close_notify (RFC 8446 section 6.1)
        # Nothing is left to decrypt: every arrival is decrypted whole.
        self._lostTLSConnection = True
        super().connectionLost(reason)
        self._producer = None  # the transport beneath has told it

    @override
    def _read_ended(self) -> None:
        """Take the peer's close_notify."""
        self._close_read(None)

    def _close_read(self, reason: Failure | None) -> None:
        """Note that the peer sends nothing more, and close our side too if nobody wants it open."""
        self._read_closed = True
        if not self.disconnecting:  # else nobody wanted to hear the rest
            self._reason = self._reason or reason
        wrapped: Any = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if wrapped is not None and not self.disconnecting:
            wrapped.readConnectionLost()
        else:
            self._traffic.flush()
            self.disconnecting = True
            self._write_closing = True
            self._dismiss_producer()
        if self._close_notify_sent:
            self.transport.loseConnection()
        else:
            self._shutdownTLS()

    @override
    def _shutdownTLS(self) -> None:
        """Send close_notify, if that is wanted and everything that goes before it has gone."""
        if not self._write_closing or self._close_notify_sent or self._aborted:
            return
        self._traffic.flush()
        if self._lostTLSConnection or not self._handshakeDone or self._appSendBuffer:
            return
        if self._producer is not None:
            if self._producer._producer is not self:
                return
            self._release_self()
        self._close_notify_sent = True
        try:
            # Once only: a second call would read, and stumble over the peer's data.
            self._tlsConnection.shutdown()
        except Error:
            self._tlsShutdownFinished(Failure())
            return
        self._flushSendBIO()
        if self._read_closed:
            self.transport.loseConnection()
        elif IHalfCloseableDescriptor.providedBy(self.transport):
            # Peers that overlook a close_notify still see the FIN.
            self.transport.loseWriteConnection()
        else:
            self.writeConnectionLost()

    def _release_self(self) -> None:
        """Stop being our own producer: nothing more is written, so nothing need hold back reading."""
        paused = self._producer._producerPaused
        self._producer = None
        # A transport that is told to close while its producer is paused resumes that in place of closing.
        self.transport.unregisterProducer()
        if paused and not self._read_closed:
            self.transport.resumeProducing()

    def _dismiss_producer(self) -> None:
        """Unregister the producer, whoever it is, and tell it that its work is over."""
        membrane, self._producer = self._producer, None
        if membrane is not None:
            self.transport.unregisterProducer()
            if membrane._producer is not self:
                membrane.stopProducing()

    @override
    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """Disconnect after an error that TLS does not recover from."""
        self._dismiss_producer()
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    @override
    def _bufferedWrite(self, octets: bytes) -> None:
        """Keep what cannot be encrypted before the handshake is complete."""
        self._appSendBuffer.append(octets)
        # To pause ourselves would be to stop reading, and the handshake with it.
        if self._producer is not None and self._producer._producer is not self:
            self._producer.pauseProducing()


class HalfCloseableTLSFactory(DirectTLSFactory):
    """Puts `HalfCloseableTLSTransport` between a stream transport and another factory's protocols.

    Args:
        connections: makes the OpenSSL side of each connection.
        is_client: whether ours is the side that begins the handshake.
        wrapped: makes the protocols that talk through TLS. Where it makes none, the connection is closed.
        clock: runs the flush of small writes that are sent together, at the end of the reactor's turn.
    """

    protocol = HalfCloseableTLSTransport

    def __init__(
        self,
        connections: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        is_client: bool,
        wrapped: IProtocolFactory,
        clock: IReactorTime,
    ) -> None:
        super().__init__(connections, is_client, wrapped, clock)

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return a TLS transport around a new protocol of the wrapped factory."""
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def _is_sending(transport: Any) -> bool:
    """Return whether a transport has bytes the system has not taken: Twisted keeps them in two places."""
    queued = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    return bool(queued or getattr(transport, "_tempDataBuffer", None))
