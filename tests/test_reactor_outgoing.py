"""When clients send what they write while a turn's events are passed on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ClientFactory, Protocol
from zope.interface import implementer

from netecho.reactor.fast import EVENTS
from netecho.reactor.outgoing import SMALL_MESSAGE
from tests import reactors
from tests.reactors import turn

Action = Callable[["Client"], object]


class Client(Protocol):
    """A protocol that does what the test wants when it is told something.

    Args:
        peer: the other end.
        number: which it is, from 0.
        action: called with this.
    """

    transport: Any

    def __init__(self, peer: Peer, number: int, action: Action) -> None:
        self.peer = peer
        self.number = number
        self._action = action

    def dataReceived(self, data: bytes) -> None:
        """Do it."""
        self._action(self)


class Peer:
    """The other end: a socket."""

    def __init__(self) -> None:
        self.socket: Any = None
        self.received = b""

    def arrived(self) -> bytes:
        """Return all that has arrived up to now."""
        with contextlib.suppress(BlockingIOError):
            self.received += self.socket.recv(1 << 20)
        return self.received


@pytest.fixture
def reactor() -> Iterator[Any]:
    """Make a reactor of ours."""
    with reactors.fresh("fast") as made:
        yield made


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        yield listening


def connect(reactor: Any, listener: socket.socket, count: int, action: Action) -> list[Peer]:
    """Connect so many clients, and return their peers."""
    peers = []
    for number in range(count):
        peer = Peer()
        client = Client(peer, number, action)
        factory = ClientFactory.forProtocol(lambda client=client: client)  # type: ignore[misc]
        factory.noisy = False
        reactor.connectTCP("127.0.0.1", listener.getsockname()[1], factory)
        turn(reactor, lambda client=client: client.connected)  # type: ignore[misc]
        peer.socket, _ = listener.accept()
        peer.socket.setblocking(False)
        peers.append(peer)
    return peers


def tell_all(reactor: Any, peers: list[Peer]) -> None:
    """Have something arrive at every client in one turn."""
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    for peer in peers:
        turn(reactor, peer.arrived)
    close(peers)


def close(peers: list[Peer]) -> None:
    """Close the other ends."""
    for peer in peers:
        peer.socket.close()


def test_sent_together(reactor: Any, listener: socket.socket) -> None:
    """What is written is sent when all the events of a turn have been dealt with, and not before."""
    at_the_time: list[bytes] = []

    def answer(client: Client) -> None:
        client.transport.write(b"one")
        client.transport.write(b"two")
        at_the_time.extend(peer.arrived() for peer in peers)

    peers = connect(reactor, listener, 3, answer)
    tell_all(reactor, peers)
    assert at_the_time == [b""] * 9
    assert [peer.received for peer in peers] == [b"onetwo"] * 3


def test_nobody_waits_for_more_than_some(reactor: Any, listener: socket.socket) -> None:
    """After so many events what they wrote is sent, however many there are still."""
    sent_before = dict.fromkeys(range(2 * EVENTS + 1), 0)

    def answer(client: Client) -> None:
        sent_before[len(answered)] = sum(bool(peer.arrived()) for peer in peers)
        answered.append(client)
        client.transport.write(b"!")

    answered: list[Client] = []
    peers = connect(reactor, listener, 2 * EVENTS + 1, answer)
    tell_all(reactor, peers)
    assert sent_before == {index: index // EVENTS * EVENTS for index in sent_before}


def test_alone(reactor: Any, listener: socket.socket) -> None:
    """In a turn of one event nothing is kept."""

    def answer(client: Client) -> None:
        client.transport.write(b"!")
        assert client.peer.arrived() == b"!"

    tell_all(reactor, connect(reactor, listener, 1, answer))


def test_large_message(reactor: Any, listener: socket.socket) -> None:
    """A large message is sent at once, after all that was written before it."""
    large = bytes(SMALL_MESSAGE + 1)

    def answer(client: Client) -> None:
        client.transport.write(b"small")
        assert not client.peer.arrived()
        client.transport.write(large)
        assert client.peer.arrived() == b"small" + large

    tell_all(reactor, connect(reactor, listener, 2, answer))


def test_aborted_by_another(reactor: Any, listener: socket.socket) -> None:
    """Of a connection that is aborted in the same turn, nothing that is kept is sent."""
    clients: list[Client] = []

    def answer(client: Client) -> None:
        client.transport.write(b"!")
        if clients:
            clients[0].transport.abortConnection()
        clients.append(client)

    peers = connect(reactor, listener, 2, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    first, second = (client.peer for client in clients)
    turn(reactor, second.arrived)
    turn(reactor, lambda: not clients[0].connected or clients[0].transport.disconnected)
    with pytest.raises(ConnectionResetError):
        first.socket.recv(1)
    close(peers)


def test_lost_before_it_is_sent(reactor: Any, listener: socket.socket) -> None:
    """To write to a connection whose peer has gone does not keep others from being sent what is theirs."""

    def answer(client: Client) -> None:
        if client.number == 0:
            client.transport.socket.shutdown(socket.SHUT_WR)  # so that it cannot be sent to
        client.transport.write(b"!")

    peers = connect(reactor, listener, 3, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    for peer in peers[1:]:
        turn(reactor, peer.arrived)
    assert not peers[0].arrived()
    close(peers)


class ShortSocket:
    """A socket that takes one byte at first."""

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self._most = 1

    def send(self, data: bytes) -> int:
        """Send what it takes."""
        most, self._most = self._most, len(data)
        return self._wrapped.send(data[:most])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


@implementer(IPushProducer)
class Writing:
    """A producer that does something when it is told to pause."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action

    def pauseProducing(self) -> None:
        """Do it."""
        self._action()

    def resumeProducing(self) -> None:
        """Nothing to do."""

    def stopProducing(self) -> None:
        """Nothing to do."""


def test_written_while_others_are_sent(reactor: Any, listener: socket.socket) -> None:
    """What a producer writes elsewhere when it is told to pause follows what is kept there."""
    large = bytes(SMALL_MESSAGE + 1)
    told: list[Client] = []

    def answer(client: Client) -> None:
        told.append(client)
        transport = client.transport
        transport.write(b"small")
        if len(told) == 1:
            transport.bufferSize = 1
            transport.socket = ShortSocket(transport.socket)
            transport.registerProducer(Writing(lambda: told[1].transport.write(large)), True)

    peers = connect(reactor, listener, 2, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    turn(reactor, lambda: told[1].peer.arrived() == b"small" + large)
    turn(reactor, lambda: told[0].peer.arrived() == b"small")
    told[0].transport.unregisterProducer()
    close(peers)


@pytest.mark.parametrize("turning", [0, 1])
def test_turned_in_the_middle_of_an_event(reactor: Any, listener: socket.socket, turning: int) -> None:
    """Who turns the reactor to wait for an answer has sent what the answer is to, and keeps what follows."""
    told: list[Client] = []

    def answer(client: Client) -> None:
        client.transport.write(b"!")
        told.append(client)
        if len(told) == turning + 1:
            reactor.iterate(0.0)  # in which the other one is told, if it was not before
            assert [each.peer.arrived() for each in told] == [b"!", b"!"]
            client.transport.write(b"?")
            assert client.peer.arrived() == b"!"

    peers = connect(reactor, listener, 2, answer)
    tell_all(reactor, peers)
    assert sorted(peer.received for peer in peers) == [b"!", b"!?"]
