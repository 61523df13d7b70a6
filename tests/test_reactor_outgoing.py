"""When connections send what is written while a turn's events are passed on."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from zope.interface import implementer

from netecho.reactor.fast import EVENTS
from netecho.reactor.outgoing import KEPT_MOST
from netecho.reactor.streams import LARGE_PIECES
from tests import reactors
from tests.reactors import flush_errors, turn

Action = Callable[["Asked"], object]


class Asked(Protocol):
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
        self.asked: Any = None
        """Our end's `Asked`."""
        self.received = b""

    def arrived(self) -> bytes:
        """Return all that has arrived up to now."""
        with contextlib.suppress(BlockingIOError):
            self.received += self.socket.recv(1 << 20)
        return self.received


class Time:
    """What the reactor takes for the time: none passes unless a test says so."""

    now = 0.0

    def __call__(self) -> float:
        """Return it, in seconds."""
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Have time pass for the reactor as the test wants it."""
    time = Time()
    monkeypatch.setattr("netecho.reactor.fast.monotonic", time)
    return time


@pytest.fixture
def reactor(time: Time) -> Iterator[Any]:
    """Make a reactor of ours."""
    with reactors.fresh("fast") as made:
        yield made


Connect = Callable[[int, Action], list[Peer]]
"""Makes so many connections of which each does something when it is told something; returns their peers."""


@pytest.fixture(params=["client", "server"])
def connect(request: pytest.FixtureRequest, reactor: Any) -> Iterator[Connect]:
    """Make connections in which the reactor has this role."""
    with contextlib.ExitStack() as stack:
        waiting: list[Asked] = []
        if request.param == "client":
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        else:
            factory = Factory.forProtocol(lambda: waiting[-1])
            factory.noisy = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            stack.callback(port.stopListening)

        def connect_one(peer: Peer, asked: Asked) -> None:
            if request.param == "client":
                factory = ClientFactory.forProtocol(lambda: asked)
                factory.noisy = False
                reactor.connectTCP("127.0.0.1", listening.getsockname()[1], factory)
                turn(reactor, lambda: asked.connected)
                peer.socket, _ = listening.accept()
            else:
                waiting.append(asked)
                peer.socket = socket.create_connection(("127.0.0.1", port.getHost().port))
                turn(reactor, lambda: asked.connected)
            peer.socket.setblocking(False)

        def connect(count: int, action: Action) -> list[Peer]:
            peers = [Peer() for _ in range(count)]
            for number, peer in enumerate(peers):
                peer.asked = Asked(peer, number, action)
                connect_one(peer, peer.asked)
            return peers

        yield connect


def tell_all(reactor: Any, peers: list[Peer]) -> None:
    """Have something arrive at every connection in one turn."""
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


def test_sent_together(reactor: Any, connect: Connect) -> None:
    """What is written is sent when all the events of a turn have been dealt with, and not before."""
    at_the_time: list[bytes] = []

    def answer(asked: Asked) -> None:
        asked.transport.write(b"one")
        asked.transport.write(b"two")
        at_the_time.extend(peer.arrived() for peer in peers)

    peers = connect(3, answer)
    tell_all(reactor, peers)
    assert at_the_time == [b""] * 9
    assert [peer.received for peer in peers] == [b"onetwo"] * 3


def test_nobody_waits_for_more_than_some(reactor: Any, connect: Connect) -> None:
    """After so many events what they wrote is sent, however many there are still."""
    sent_before = dict.fromkeys(range(2 * EVENTS + 1), 0)

    def answer(asked: Asked) -> None:
        sent_before[len(answered)] = sum(bool(peer.arrived()) for peer in peers)
        answered.append(asked)
        asked.transport.write(b"!")

    answered: list[Asked] = []
    peers = connect(2 * EVENTS + 1, answer)
    tell_all(reactor, peers)
    assert sent_before == {index: index // EVENTS * EVENTS for index in sent_before}


def test_alone(reactor: Any, connect: Connect) -> None:
    """In a turn of one event nothing is kept."""

    def answer(asked: Asked) -> None:
        asked.transport.write(b"!")
        assert asked.peer.arrived() == b"!"

    tell_all(reactor, connect(1, answer))


def test_slow_events(reactor: Any, connect: Connect, time: Time) -> None:
    """Nothing is kept in a turn after one whose events took long, until they take no longer."""
    taken = 0.0
    at_the_time: list[bytes] = []

    def answer(asked: Asked) -> None:
        asked.transport.write(b"!")
        at_the_time.append(asked.peer.arrived())
        asked.peer.received = b""
        time.now += taken

    peers = connect(2, answer)
    for taken in (0.5, 1.0, 0.25, 0.25):
        taken *= reactor.KEPT_LONGEST
        for peer in peers:
            peer.socket.send(b"?")
        reactor.iterate(0.0)
        for peer in peers:
            peer.arrived()
            peer.received = b""
    assert at_the_time == [b"", b"", b"", b"", b"!", b"!", b"", b""]
    close(peers)


def test_large_message(reactor: Any, connect: Connect) -> None:
    """A large message is sent at once, after all that was written before it."""
    large = bytes(KEPT_MOST + 1)

    def answer(asked: Asked) -> None:
        asked.transport.write(b"small")
        assert not asked.peer.arrived()
        asked.transport.write(large)
        assert asked.peer.arrived() == b"small" + large

    tell_all(reactor, connect(2, answer))


def test_producer_of_a_small_buffer(reactor: Any, connect: Connect) -> None:
    """Who writes more than a connection buffers is told to pause while it writes."""

    def answer(asked: Asked) -> None:
        transport = asked.transport
        transport.registerProducer(Writing(lambda: told.append(asked.number)), True)
        transport.bufferSize = 5
        transport.write(b"small")
        assert asked.number not in told
        transport.write(b"larger")
        assert asked.number in told
        transport.unregisterProducer()

    told: list[int] = []
    peers = connect(2, answer)
    tell_all(reactor, peers)
    assert [peer.received for peer in peers] == [b"smalllarger"] * 2


def test_many_small_messages(reactor: Any, connect: Connect) -> None:
    """No more is kept of a connection than so much, and it is sent in as few pieces as that takes."""

    def answer(asked: Asked) -> None:
        transport = asked.transport
        transport.socket = counting = CountingSocket(transport.socket)
        for _ in range(9):
            transport.write(piece)
        assert counting.sizes == [2 * len(piece), len(piece)] * 3
        sockets.append(counting)

    sockets: list[CountingSocket] = []
    piece = bytes(KEPT_MOST // 2)
    peers = connect(2, answer)
    tell_all(reactor, peers)
    for peer in peers:
        assert peer.received == 9 * piece
    assert [counting.sizes for counting in sockets] == [[2 * len(piece), len(piece)] * 3] * 2


class CountingSocket:
    """A socket that notes how much is sent at once."""

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self.sizes: list[int] = []

    def send(self, data: bytes) -> int:
        """Send it, and note."""
        self.sizes.append(len(data))
        return self._wrapped.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def test_aborted_by_another(reactor: Any, connect: Connect) -> None:
    """Of a connection that is aborted in the same turn, nothing that is kept is sent."""
    several: list[Asked] = []

    def answer(asked: Asked) -> None:
        asked.transport.write(b"!")
        if several:
            several[0].transport.abortConnection()
        several.append(asked)

    peers = connect(2, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    first, second = (asked.peer for asked in several)
    turn(reactor, second.arrived)
    turn(reactor, lambda: not several[0].connected or several[0].transport.disconnected)
    with pytest.raises(ConnectionResetError):
        first.socket.recv(1)
    close(peers)


def test_lost_before_it_is_sent(reactor: Any, connect: Connect) -> None:
    """To write to a connection whose peer has gone does not keep others from being sent what is theirs."""

    def answer(asked: Asked) -> None:
        if asked.number == 0:
            asked.transport.socket.shutdown(socket.SHUT_WR)  # so that it cannot be sent to
        asked.transport.write(b"!")

    peers = connect(3, answer)
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


class FullSocket:
    """A socket that takes nothing at first."""

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self._is_full = True

    def send(self, data: bytes) -> int:
        """Send it, but for the first time."""
        if self._is_full:
            self._is_full = False
            raise BlockingIOError(errno.EAGAIN, "no room")
        return self._wrapped.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class BottomlessSocket:
    """A socket that takes all that it is given, as one does whose peer reads as fast."""

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped

    def send(self, data: bytes) -> int:
        """Take it."""
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def test_what_is_kept_cannot_be_sent(reactor: Any, connect: Connect) -> None:
    """What is too much to be kept follows what was, though the system did not take that and takes this."""
    large = bytes(KEPT_MOST)

    def answer(asked: Asked) -> None:
        transport = asked.transport
        transport.socket = FullSocket(transport.socket)
        for piece in (b"first", large, b"last"):
            transport.write(piece)

    peers = connect(2, answer)
    for peer in peers:
        peer.socket.send(b"?")
    for peer in peers:
        turn(reactor, lambda: len(peer.arrived()) == KEPT_MOST + 9)  # noqa: B023 - it is called at once
        assert peer.received == b"first" + large + b"last"
    close(peers)


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


def test_written_while_others_are_sent(reactor: Any, connect: Connect) -> None:
    """What a producer writes elsewhere when it is told to pause follows what is kept there."""
    large = bytes(KEPT_MOST + 1)
    told: list[Asked] = []

    def answer(asked: Asked) -> None:
        told.append(asked)
        transport = asked.transport
        transport.write(b"small")
        if len(told) == 1:
            transport.bufferSize = 1
            transport.socket = ShortSocket(transport.socket)
            transport.registerProducer(Writing(lambda: told[1].transport.write(large)), True)

    peers = connect(2, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    turn(reactor, lambda: told[1].peer.arrived() == b"small" + large)
    turn(reactor, lambda: told[0].peer.arrived() == b"small")
    told[0].transport.unregisterProducer()
    close(peers)


@pytest.mark.parametrize("turning", [0, 1])
def test_turned_in_the_middle_of_an_event(reactor: Any, connect: Connect, turning: int) -> None:
    """Who turns the reactor to wait for an answer has sent what the answer is to, and keeps what follows."""
    told: list[Asked] = []

    def answer(asked: Asked) -> None:
        asked.transport.write(b"!")
        told.append(asked)
        if len(told) == turning + 1:
            reactor.iterate(0.0)  # in which the other one is told, if it was not before
            assert [each.peer.arrived() for each in told] == [b"!", b"!"]
            asked.transport.write(b"?")
            assert asked.peer.arrived() == b"!"

    peers = connect(2, answer)
    tell_all(reactor, peers)
    assert sorted(peer.received for peer in peers) == [b"!", b"!?"]


def test_producer_that_writes_until_it_is_told(reactor: Any, connect: Connect) -> None:
    """A producer that writes until it is told to pause is told when the system has taken all that it can."""
    told: list[Asked] = []

    def answer(asked: Asked) -> None:
        transport = asked.transport
        transport.registerProducer(Writing(lambda: told.append(asked)), True)
        while asked not in told:
            transport.write(bytes(1000))
        transport.unregisterProducer()

    peers = connect(2, answer)
    tell_all(reactor, peers)
    assert len(told) == 2


@pytest.mark.parametrize("size", [100, 3000, 10_000, 1 << 15, 1 << 16])
@pytest.mark.parametrize("count", [1, 2])
def test_producer_whose_peer_takes_all(reactor: Any, connect: Connect, count: int, size: int) -> None:
    """A producer that writes until it is told to pause is told, however much the system takes at once.

    It is asked for more in the next turn of the reactor.
    """
    written: list[int] = []

    def answer(asked: Asked) -> None:
        if asked.number:
            return
        transport = asked.transport
        transport.socket = BottomlessSocket(transport.socket)
        paused: list[bool] = []
        producer = Writing(lambda: paused.append(True))
        producer.resumeProducing = transport.unregisterProducer  # type: ignore[method-assign]
        transport.registerProducer(producer, True)
        while not paused:
            transport.write(bytes(size))
            written.append(size)
            assert len(written) < 5000, "nobody tells it to pause"

    peers = connect(count, answer)
    for peer in peers:
        peer.socket.send(b"?")
    turn(reactor, lambda: written)
    most = 1 << 17 if size < 1 << 15 else LARGE_PIECES << 18
    assert 1 << 16 < sum(written) <= most + 2 * size
    reactor.iterate(0.0)
    assert peers[0].asked.transport.producer is None
    close(peers)


def test_producer_that_writes_now_and_then(reactor: Any, connect: Connect) -> None:
    """A producer that writes a little in each turn is not told to pause, however much that comes to."""
    paused: list[bool] = []

    def answer(asked: Asked) -> None:
        asked.transport.socket = BottomlessSocket(asked.transport.socket)
        asked.transport.registerProducer(Writing(lambda: paused.append(True)), True)

    [peer] = peers = connect(1, answer)
    peer.socket.send(b"?")
    transport = peer.asked.transport
    turn(reactor, lambda: transport.producer)
    for _ in range(100):
        transport.write(bytes(10_000))
        reactor.iterate(0.0)
    assert not paused
    transport.unregisterProducer()
    close(peers)


def test_producer_of_bulk(reactor: Any, connect: Connect) -> None:
    """Whether a producer writes without an end is looked at once in many large pieces, not at each."""

    def answer(asked: Asked) -> None:
        asked.transport.socket = BottomlessSocket(asked.transport.socket)
        asked.transport.registerProducer(Writing(lambda: None), True)

    [peer] = peers = connect(1, answer)
    peer.socket.send(b"?")
    transport = peer.asked.transport
    turn(reactor, lambda: transport.producer)
    asked_for: list[bool] = []
    start_writing = transport.startWriting

    def count_and_start() -> None:
        asked_for.append(True)
        start_writing()

    transport.startWriting = count_and_start
    for _ in range(4 * LARGE_PIECES):
        transport.write(bytes(transport.bufferSize))
        reactor.iterate(0.0)
    assert 1 <= len(asked_for) <= 5
    transport.unregisterProducer()
    close(peers)


def test_producer_that_fails(reactor: Any, connect: Connect) -> None:
    """If one fails when it is told to pause, its own and what others have written is sent all the same."""

    def fail() -> None:
        raise ArithmeticError

    def answer(asked: Asked) -> None:
        transport = asked.transport
        transport.write(b"small")
        if asked.number == 0:
            transport.bufferSize = 1
            transport.socket = ShortSocket(transport.socket)
            transport.registerProducer(Writing(fail), True)

    peers = connect(3, answer)
    for peer in peers:
        peer.socket.send(b"?")
    reactor.iterate(0.0)
    assert len(flush_errors(reactor, ArithmeticError)) == 1
    for peer in peers:
        turn(reactor, lambda peer=peer: peer.arrived() == b"small")  # type: ignore[misc]
    close(peers)
