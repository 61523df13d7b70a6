"""What Twisted's tests of TLS transports can show only of its own, of the fast reactor's beside it."""

from __future__ import annotations

from typing import Any

import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.reactor import records
from netecho.reactor.tls import DirectTLSTransport


class End(Protocol):
    """Keeps what comes, and why its connection ended."""

    reason: Failure | None = None

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep what has come."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.reason = reason


Side = tuple[Any, StringTransport]
"""A TLS transport, and the transport beneath it."""


def handshaken(
    kind: type[TLSMemoryBIOProtocol], clock: Clock, client_end: type[Protocol] = End
) -> tuple[Side, Side]:
    """Return a client's side of a connection after its handshake, and the server's."""
    pair = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    contexts: list[Any] = [CertificateOptions(), PrivateCertificate.loadPEM(pair).options()]
    time: Any = clock
    sides: list[Side] = []
    for context, is_client in zip(contexts, (True, False), strict=True):
        wrapped: Any = Factory.forProtocol(client_end if is_client else End)
        factory = TLSMemoryBIOFactory(context, is_client, wrapped, time)
        factory.protocol = kind
        transport = StringTransport()
        protocol: Any = factory.buildProtocol(None)
        protocol.makeConnection(transport)
        sides.append((protocol, transport))
    clock.advance(0)
    client, server = sides
    while client[1].value() or server[1].value():
        carry(client, server)
        carry(server, client)
    return client, server


def carry(source: Side, destination: Side) -> None:
    """Have what one side has sent arrive at the other."""
    data = source[1].value()
    source[1].clear()
    if data:
        destination[0].dataReceived(data)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # as Twisted itself does
@pytest.mark.parametrize("kind", [BufferingTLSTransport, DirectTLSTransport])
def test_what_cannot_be_encrypted_ends_the_connection(kind: type[TLSMemoryBIOProtocol]) -> None:
    """OpenSSL refuses to write: the transport is closed, and the protocol told why."""
    clock = Clock()
    (client, transport), _ = handshaken(kind, clock)
    end = client.wrappedProtocol
    client.getHandle().shutdown()  # beneath the transport, which takes itself for open
    client.write(b"too late")
    clock.advance(0)
    assert transport.disconnecting
    client.connectionLost(Failure(ConnectionDone()))
    assert end.reason.check(SSL.Error), end.reason
    assert "protocol is shutdown" in str(end.reason.value)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest.mark.parametrize("kind", [BufferingTLSTransport, DirectTLSTransport])
def test_end_behind_what_is_unread(kind: type[TLSMemoryBIOProtocol], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who fails over a record is given those behind it, and told that no close_notify came."""
    clock = Clock()
    client, server = handshaken(kind, clock)
    for record in b"one, ", b"two, ", b"three":
        client[0].write(record)
        clock.advance(0)
    end = server[0].wrappedProtocol

    def fail(data: bytes) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(end, "dataReceived", fail)
    with pytest.raises(ZeroDivisionError):
        carry(client, server)
    server[0].connectionLost(Failure(ConnectionDone()))
    assert end.received == b"two, three"
    assert end.reason.check(ConnectionLost), end.reason


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [1, 1 << 14, (1 << 14) + 1, 100_000])
def test_records(monkeypatch: pytest.MonkeyPatch, size: int, known: bool) -> None:
    """What is written arrives, whether pyOpenSSL is what it is known to be or not."""
    monkeypatch.setattr(records, "_KNOWN", known)
    clock = Clock()
    client, server = handshaken(DirectTLSTransport, clock)
    kind = records.DirectRecords if known else records.PublicRecords
    assert isinstance(client[0]._traffic.records, kind)
    message = bytes(range(256)) * (size // 256 + 1)
    for source, destination in ((client, server), (server, client)):
        source[0].write(message[:size])
        clock.advance(0)
        carry(source, destination)
        assert destination[0].wrappedProtocol.received == message[:size]


@implementer(IHandshakeListener)
class Eager(End):
    """Writes before the handshake, and much as soon as it is over."""

    transport: Any

    def connectionMade(self) -> None:
        """Write a little."""
        self.transport.write(b"first")

    def handshakeCompleted(self) -> None:
        """Write more than is gathered."""
        self.transport.write(b"x" * 100_000)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
def test_order_over_the_end_of_a_handshake() -> None:
    """What waits for a handshake goes before what is written at its end (in Twisted's own it does not)."""
    clock = Clock()
    client, server = handshaken(DirectTLSTransport, clock, Eager)
    clock.advance(0)
    carry(client, server)
    assert server[0].wrappedProtocol.received == b"first" + b"x" * 100_000
