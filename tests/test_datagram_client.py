"""The client side of datagrams, on sockets of each reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import udp
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from netecho.plans import ClientTLS, SocketOptions, Target
from netecho.protocols import for_target
from netecho.protocols._contract import Route
from netecho.protocols._datagram_client import DatagramExchanger
from netecho.services import tls
from netecho.services.failures import explain_loss, loss_kind
from tests import reactors
from tests.servers import Server

NOBODY = "255.255.255.255"
"""An address to which a socket cannot be connected, unless it asks to be allowed to."""
TARGETS = [
    Target("udp", "udp", host=NOBODY),
    Target("dtls", "udp", True, NOBODY, is_dtls=True),
    Target("stamp", "stamp", host=NOBODY),
]


@pytest.mark.parametrize("kind", reactors.KINDS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_port_that_cannot_be_connected_is_closed(kind: str, target: Target) -> None:
    """While there is no way to a target, each attempt to go there takes a port no longer than it lasts."""

    async def scenario(reactor: Any) -> None:
        client = tls.for_client(ClientTLS(insecure=True), NOBODY, datagrams=True) if target.secure else None
        told: list[Any] = []
        route = Route(target, (NOBODY,), tls=client)
        with pytest.raises(PermissionError):
            await for_target(target).connect(reactor, route, lambda *_: None, told.append)
        ports = [one for one in reactor.getReaders() if isinstance(one, udp.Port)]
        assert ports == []
        assert told == []

    reactors.run(kind, scenario)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve all that is carried by datagrams and can be talked to."""
    with Server("udp://127.0.0.1:0", "dtls://127.0.0.1:0", "quic://127.0.0.1:0") as running:
        yield running


class Heard(Protocol):
    """Waits for what the other end says."""

    transport: Any

    def __init__(self) -> None:
        self._awaited: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Have it be heard."""
        awaited, self._awaited = self._awaited, Deferred()
        awaited.callback(data)

    def echo(self, message: bytes) -> Deferred[bytes]:
        """Send something; fires with what is heard next."""
        awaited = self._awaited
        self.transport.write(message)
        return awaited


@pytest.mark.parametrize("kind", reactors.KINDS)
@pytest.mark.parametrize("number", [0, 1, 2], ids=["udp", "dtls", "quic"])
def test_network_that_is_away_for_a_moment(
    kind: str, number: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses to send is lost like any other datagram, and the conversation goes on."""
    listener = server.listeners[number]
    host, port = listener.address
    refused: list[bytes] = []
    send = udp.Port.write

    def refuse(port: udp.Port, datagram: bytes, addr: Any = None) -> None:
        monkeypatch.setattr(udp.Port, "write", send)
        refused.append(datagram)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    async def scenario(reactor: Any) -> None:
        adapter, secure = listener.form
        target = Target(listener.scheme, adapter.name, secure, host, port, is_dtls=listener.scheme == "dtls")
        client = tls.for_client(ClientTLS(insecure=True), host, datagrams=target.is_dtls) if secure else None
        talk = Heard()
        await adapter.converse(reactor, Route(target, (host,), tls=client, timeout=30), talk)
        assert await talk.echo(b"before") == b"before"
        monkeypatch.setattr(udp.Port, "write", refuse)
        first = talk.echo(b"away")
        if adapter.name == "quic":
            assert await first == b"away"  # it was sent again
        assert await talk.echo(b"after") == b"after"
        talk.transport.loseConnection()

    reactors.run(kind, scenario)
    assert len(refused) == 1


class Parting(Protocol):
    """Ends the conversation at the first thing that it hears."""

    transport: Any

    def __init__(self) -> None:
        self.told: list[bytes | None] = []
        """What was heard, and `None` for the end."""

    def dataReceived(self, data: bytes) -> None:
        """Part."""
        self.told.append(data)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.told.append(None)


@pytest.mark.parametrize("kind", reactors.KINDS)
def test_nothing_is_heard_after_the_end(kind: str) -> None:
    """What came together with the datagram at which a protocol parts is not given to it any more."""
    talk = Parting()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        host, number = peer.getsockname()

        async def scenario(reactor: Any) -> None:
            target = Target("udp", "udp", host=host, port=number)
            await for_target(target).converse(reactor, Route(target, (host,)), talk)
            port: Any = talk.transport.transport
            for datagram in b"one", b"two":
                peer.sendto(datagram, (host, port.getHost().port))
            ended: Deferred[None] = Deferred()
            port.protocol.stopProtocol = lambda: ended.callback(None)
            await ended

        reactors.run(kind, scenario)
    assert talk.told == [b"one", None]


@pytest.mark.parametrize("kind", reactors.KINDS)
def test_zone_that_cannot_be_sent_from(kind: str) -> None:
    """An address with a zone that is none of this machine's is told as one without a zone is."""

    async def scenario(reactor: Any) -> None:
        route = Route(Target("udp", "udp", host="::1"), ("::1",), SocketOptions(source="fe80::1%lo"))
        with pytest.raises(CannotListenError):
            await for_target(route.target).connect(reactor, route, lambda *_: None, lambda _: None)

    reactors.run(kind, scenario)


class TooLarge:
    """A port whose system finds so many datagrams too large, and then sends the rest."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self.sent: list[bytes] = []

    def write(self, datagram: bytes) -> None:
        """Send a datagram, or do not."""
        if self._refusals:
            self._refusals -= 1
            raise MessageLengthError("message too long")
        self.sent.append(datagram)

    def stopListening(self) -> None:
        """Close it."""


def test_word_of_an_earlier_datagram() -> None:
    """One that is not sent because of what the system has just heard of another is sent after all."""
    lost: list[Failure] = []
    exchanger = DatagramExchanger(lambda *_: None, lost.append)
    exchanger.transport = port = TooLarge(1)
    exchanger.send(0, b"first")
    exchanger.send(1, b"second")
    assert (port.sent, lost) == ([b"first", b"second"], [])


def test_datagram_that_is_too_large() -> None:
    """One that the system never sends, as large as it is, is counted as that, and told in its words."""
    lost: list[Failure] = []
    exchanger = DatagramExchanger(lambda *_: None, lost.append)
    exchanger.transport = TooLarge(2)
    exchanger.send(0, b"large")
    (reason,) = lost
    assert loss_kind(reason) == "too large"
    assert str(explain_loss(reason)) == "the connection was lost: Message too long"
