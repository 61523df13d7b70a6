"""What Twisted's tests of TLS transports can show only of its own, of the fast reactor's beside it."""

from __future__ import annotations

from typing import Any

import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from netecho.reactor.tls import DirectTLSTransport


class End(Protocol):
    """Keeps why its connection ended."""

    reason: Failure | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.reason = reason


def handshaken(kind: type[TLSMemoryBIOProtocol], clock: Clock) -> tuple[Any, StringTransport]:
    """Return a client's TLS transport after its handshake, and the transport beneath it."""
    pair = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    contexts: list[Any] = [CertificateOptions(), PrivateCertificate.loadPEM(pair).options()]
    wrapped: Any = Factory.forProtocol(End)
    time: Any = clock
    sides: list[tuple[Any, StringTransport]] = []
    for context, is_client in zip(contexts, (True, False), strict=True):
        factory = TLSMemoryBIOFactory(context, is_client, wrapped, time)
        factory.protocol = kind
        transport = StringTransport()
        protocol: Any = factory.buildProtocol(None)
        protocol.makeConnection(transport)
        sides.append((protocol, transport))
    (client, from_client), (server, from_server) = sides
    while from_client.value() or from_server.value():
        for transport, protocol in ((from_client, server), (from_server, client)):
            data = transport.value()
            transport.clear()
            if data:
                protocol.dataReceived(data)
    return client, from_client


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # as Twisted itself does
@pytest.mark.parametrize("kind", [BufferingTLSTransport, DirectTLSTransport])
def test_what_cannot_be_encrypted_ends_the_connection(kind: type[TLSMemoryBIOProtocol]) -> None:
    """OpenSSL refuses to write: the transport is closed, and the protocol told why."""
    clock = Clock()
    client, transport = handshaken(kind, clock)
    end = client.wrappedProtocol
    client.getHandle().shutdown()  # beneath the transport, which takes itself for open
    client.write(b"too late")
    clock.advance(0)
    assert transport.disconnecting
    client.connectionLost(Failure(ConnectionDone()))
    assert end.reason.check(SSL.Error), end.reason
    assert "protocol is shutdown" in str(end.reason.value)
