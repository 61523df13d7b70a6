"""DTLS without sockets: a server, peers at any address, and the way between; time is turned by hand."""

from __future__ import annotations

import collections
import functools
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho.plans import ClientTLS, ServerTLS
from netecho.protocols._dtls_association import Association
from netecho.protocols._dtls_server import DTLSServer
from netecho.protocols._listener import ListenSettings, Totals
from netecho.services import tls
from netecho.services.certificates import Credentials, make_credentials

Address = tuple[str, int]
SERVER: Address = ("192.0.2.1", 4433)
DATAGRAM = 1232


@functools.cache
def credentials() -> tuple[Credentials, bytes]:
    """Return a server's certificate and its authority's, in PEM."""
    made, authority = make_credentials(["localhost"], "here")
    with open(authority.path, "rb") as file:
        trusted = file.read()
    authority.remove()
    return made, trusted


class Wire:
    """A server, and all that goes to it and comes from it. Provides as much of its transport as it uses.

    Args:
        settings: what of the listener's is not the default.
    """

    maxThroughput = 1 << 20  # noqa: N815 - Twisted's

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.totals = Totals()
        self.events: list[tuple[str, dict[str, Any]]] = []
        context = tls.for_server(ServerTLS(), made=credentials()[0]).offering((), datagrams=True)
        self.server = DTLSServer(
            self.clock,
            ListenSettings(
                self.totals,
                tls=context,
                on_event=lambda name, particulars: self.events.append((name, particulars)),
                **settings,
            ),
        )
        self.failure: Exception | None = None
        """What the system says of what is sent."""
        self.out: collections.deque[tuple[bytes, Address]] = collections.deque()
        """What the server has sent that nobody has taken yet."""
        transport: Any = self
        self.server.makeConnection(transport)

    def getHost(self) -> IPv4Address:
        """Return the server's address."""
        return IPv4Address("UDP", *SERVER)

    def write(self, datagram: bytes, address: Address) -> None:
        """Take a datagram that the server sends."""
        if self.failure is not None:
            raise self.failure
        self.out.append((datagram, address))

    def ask(self, datagram: bytes, address: Address) -> list[bytes]:
        """Give the server a datagram; return those that it sends to that address for it."""
        self.server.datagramReceived(datagram, address)
        sent = [one for one, to in self.out if to == address]
        self.out.clear()
        return sent

    def run(self, *peers: Peer) -> None:
        """Carry datagrams until there are no more."""
        homes = {peer.address: peer for peer in peers}
        while self.out or any(peer.out for peer in peers):
            for peer in peers:
                while peer.out:
                    self.server.datagramReceived(peer.out.popleft(), peer.address)
            while self.out:
                datagram, address = self.out.popleft()
                if address in homes:
                    homes[address].association.received(datagram)

    def connect(self, peer: Peer) -> Peer:
        """Have a peer shake hands to the end."""
        peer.association.shake_hands()
        self.run(peer)
        assert peer.is_established
        return peer

    def ends(self) -> list[str]:
        """Return why associations have ended, in order."""
        return [told["reason"] for name, told in self.events if name == "disconnected"]

    def dropped(self) -> dict[str, int]:
        """Return what the server has dropped, by the reason."""
        return dict(self.totals.dropped)


class Peer:
    """A client, on whose clock no time passes; provides `netecho.protocols._dtls_association.Party`."""

    def __init__(self, port: int = 5000, host: str = "198.51.100.7") -> None:
        self.address = (host, port)
        self.out: collections.deque[bytes] = collections.deque()
        self.heard: list[bytes] = []
        self.is_established = False
        self.reason: Failure | None = None
        connection = tls.for_client(ClientTLS(insecure=True), "localhost", {}, datagrams=True)
        end = connection.clientConnectionForTLS(self)
        end.set_connect_state()
        self.association = Association(Clock(), end, DATAGRAM, self._send, self)

    def _send(self, datagram: bytes) -> bool:
        self.out.append(datagram)
        return True

    def hello(self) -> bytes:
        """Return its first ClientHello."""
        self.association.shake_hands()
        return self.out.popleft()

    def hello_with_cookie(self, wire: Wire) -> bytes:
        """Return its second ClientHello, for which it has asked for a cookie."""
        [request] = wire.ask(self.hello(), self.address)
        self.association.received(request)
        return self.out.popleft()

    def established(self) -> None:
        """See `Party.established`."""
        self.is_established = True

    def message_received(self, message: bytes) -> None:
        """See `Party.message_received`."""
        self.heard.append(message)

    def ended(self, reason: Failure) -> None:
        """See `Party.ended`."""
        self.reason = reason
