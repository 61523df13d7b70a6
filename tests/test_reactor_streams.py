"""What a stream transport does with what it is told, and when: the same on our reactor as on Twisted's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import select
import socket
import weakref
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, FileDescriptorOverrun
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.reactor.streams import ACCEPTS, BULK, BULK_AFTER
from tests import reactors
from tests.pairs import (
    HALF_TLS,
    LINKS,
    SSL_BY_REACTOR,
    TCP,
    TLS,
    UNIX,
    DescriptorRecorder,
    HalfRecorder,
    Link,
    Listening,
    Recorder,
    client_context,
    raw,
    server_context,
)
from tests.reactors import TIMEOUT, flush_errors, turn

MIB = 1 << 20
SMALL = (4096, 16384)
"""Buffers of the system so small that little fits in at once."""

any_link = pytest.mark.parametrize("link", LINKS, ids=str)
plain_link = pytest.mark.parametrize("link", [TCP, UNIX], ids=str)
half_closing_link = pytest.mark.parametrize("link", [TCP, UNIX, HALF_TLS], ids=str)


@pytest.fixture(params=reactors.STREAM_KINDS)
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make each reactor in turn."""
    with reactors.fresh(request.param) as made:
        yield made


def connected(
    reactor: Any, link: Link, client: Recorder, server: Recorder, buffers: tuple[int, int] | None = None
) -> None:
    """Connect two protocols over a new port."""
    Listening(reactor, link, buffers).connect(client, server)


def lost(reactor: Any, *protocols: Recorder) -> None:
    """Turn the reactor until all have lost their connections."""
    turn(reactor, lambda: all(protocol.lost for protocol in protocols))


@implementer(IPushProducer)
class Push:
    """A push producer that records what it is told, and then does what the test wants of it."""

    def __init__(self, **actions: Any) -> None:
        self.told: list[str] = []
        self._actions = actions

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what in self._actions:
            self._actions[what]()

    def pauseProducing(self) -> None:
        """Record it."""
        self._tell("pause")

    def resumeProducing(self) -> None:
        """Record it."""
        self._tell("resume")

    def stopProducing(self) -> None:
        """Record it."""
        self._tell("stop")


@implementer(IPullProducer)
class Pull:
    """A pull producer with so many pieces to give, which then unregisters itself."""

    def __init__(self, consumer: Any, pieces: list[bytes]) -> None:
        self._consumer = consumer
        self._pieces = pieces
        self.asked = 0
        self.stopped = 0

    def resumeProducing(self) -> None:
        """Write the next piece, or unregister."""
        self.asked += 1
        if self._pieces:
            self._consumer.write(self._pieces.pop(0))
        else:
            self._consumer.unregisterProducer()

    def stopProducing(self) -> None:
        """Record it."""
        self.stopped += 1


@any_link
@pytest.mark.parametrize("buffers", [None, SMALL], ids=["roomy", "small"])
def test_order_is_kept_through_partial_sends(
    reactor: Any, link: Link, buffers: tuple[int, int] | None
) -> None:
    """What is written arrives whole and in order, however much of it the system takes at a time."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, buffers)
    pieces = [bytes([number]) * size for number, size in enumerate([1, MIB, 3, 0, 100_000, MIB, 7])]
    for piece in pieces[:3]:
        client.transport.write(piece)
    client.transport.writeSequence(pieces[3:5])
    client.transport.writeSequence([])
    reactor.iterate(0)
    client.transport.writeSequence(pieces[5:])
    turn(reactor, lambda: len(server.received) >= sum(map(len, pieces)))
    assert server.received == b"".join(pieces)


@plain_link
def test_bytes_of_another_kind(reactor: Any, link: Link) -> None:
    """An instance of a subclass of `bytes` is written in its turn."""

    class Text(bytes):
        """Such a subclass."""

    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    client.transport.write(Text(b"one, "))
    client.transport.write(b"two, ")
    client.transport.writeSequence([Text(b"three, "), b"four"])
    turn(reactor, lambda: server.received == b"one, two, three, four")


@any_link
def test_written_after_losing_in_the_same_turn(reactor: Any, link: Link) -> None:
    """On a socket, `loseConnection` takes effect in the next turn: what is written before that still goes."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    client.transport.write(b"before")
    turn(reactor, lambda: server.received)
    client.transport.write(b", with")
    client.transport.loseConnection()
    client.transport.write(b", after")
    lost(reactor, client, server)
    expected = b"before, with" if link.is_secure else b"before, with, after"
    assert bytes(server.received) == expected
    assert client.lost is server.lost is ConnectionDone


@half_closing_link
def test_written_after_half_closing(reactor: Any, link: Link) -> None:
    """So does `loseWriteConnection`; in later turns nothing more is written, and no one is told."""
    client, server = HalfRecorder(), HalfRecorder()
    connected(reactor, link, client, server)
    client.transport.write(b"before")
    turn(reactor, lambda: server.received)
    client.transport.loseWriteConnection()
    client.transport.write(b", after")
    turn(reactor, lambda: "read closed" in server.told and "write closed" in client.told)
    client.transport.write(b", late")
    server.transport.write(b"still heard")
    turn(reactor, lambda: client.received)
    server.transport.loseConnection()
    turn(reactor, lambda: "read closed" in client.told)
    client.transport.loseConnection()
    lost(reactor, client, server)
    assert bytes(server.received) == (b"before" if link.is_secure else b"before, after")
    assert client.received == b"still heard"
    assert client.lost is server.lost is ConnectionDone


@any_link
def test_nothing_is_written_after_an_abort(reactor: Any, link: Link) -> None:
    """Nor in the same turn, nor from what is called when the connection is lost."""
    client = Recorder({"lost": lambda client: client.transport.write(b"lost")})
    server = Recorder()
    connected(reactor, link, client, server)
    client.transport.write(b"before")
    turn(reactor, lambda: server.received)
    client.transport.abortConnection()
    client.transport.write(b"after")
    client.transport.writeSequence([b"and ", b"after"])
    lost(reactor, client, server)
    client.transport.write(b"later")
    assert server.received == b"before"
    assert client.lost is (ConnectionLost if link in (TLS, SSL_BY_REACTOR) else ConnectionAborted)
    assert client.told.count("lost") == server.told.count("lost") == 1


def test_abort_is_no_end_in_order(reactor: Any) -> None:
    """A peer in TLS of one that aborts is not told that all has come, which close_notify would say."""
    client, server = Recorder(), Recorder()
    connected(reactor, SSL_BY_REACTOR, client, server)
    server.transport.write(b"half of it")
    turn(reactor, lambda: client.received)
    connection = raw(server.transport)
    connection.socket = watched = mock.Mock(wraps=connection.socket)
    server.transport.abortConnection()
    lost(reactor, client, server)
    watched.send.assert_not_called()
    assert client.lost is server.lost is ConnectionLost


@plain_link
def test_nothing_is_written_after_an_abort_from_a_producer(reactor: Any, link: Link) -> None:
    """The same when the abort comes from a producer that is asked for more."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)

    def abort() -> None:
        reactor.callLater(0, client.transport.write, b"after")
        client.transport.abortConnection()

    producer = Push(resume=abort)
    client.transport.registerProducer(producer, True)
    client.transport.write(b"x" * 100_000)
    lost(reactor, client, server)
    assert producer.told == ["pause", "resume", "stop"]
    assert b"after" not in server.received
    assert client.lost is ConnectionAborted


@any_link
@pytest.mark.parametrize("which", [0, 1], ids=["client", "server"])
def test_written_and_closed_when_made(reactor: Any, link: Link, which: int) -> None:
    """Either end may write, and close, as soon as it is connected."""

    def greet(protocol: Recorder) -> None:
        protocol.transport.write(b"x" * MIB)
        protocol.transport.write(b"y")
        protocol.transport.loseConnection()

    ends = [Recorder(), Recorder()]
    ends[which].actions["made"] = greet
    Listening(reactor, link).begin(*ends)
    lost(reactor, *ends)
    assert ends[1 - which].received == b"x" * MIB + b"y"
    assert ends[0].lost is ends[1].lost is ConnectionDone


@any_link
def test_abort_when_made(reactor: Any, link: Link) -> None:
    """A connection may be aborted as soon as it is made; what was written before may be lost."""

    def abort(protocol: Recorder) -> None:
        protocol.transport.write(b"before")
        protocol.transport.abortConnection()
        protocol.transport.write(b"after")

    client, server = Recorder(), Recorder({"made": abort})
    Listening(reactor, link).begin(client, server)
    lost(reactor, client, server)
    assert server.lost is (ConnectionLost if link in (TLS, SSL_BY_REACTOR) else ConnectionAborted)
    assert b"before".startswith(client.received)


@any_link
@pytest.mark.parametrize(
    "wrong", ["text", bytearray(b"x"), memoryview(b"x"), None, 7], ids=lambda one: type(one).__name__
)
def test_only_bytes_are_written(reactor: Any, link: Link, wrong: Any) -> None:
    """Anything but bytes is refused, and nothing is written of a sequence that has something else in it."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    if not link.is_secure:
        with pytest.raises(TypeError):
            client.transport.write(wrong)
        with pytest.raises(TypeError):
            client.transport.writeSequence([b"half", wrong])
        client.transport.writeSequence((b"wh", b"ole"))
        turn(reactor, lambda: server.received)
        assert server.received == b"whole"
    client.transport.loseConnection()
    lost(reactor, client)
    if not link.is_secure:
        with pytest.raises(TypeError):
            client.transport.write(wrong)


@plain_link
@pytest.mark.parametrize("buffers", [None, SMALL], ids=["roomy", "small"])
def test_pause_is_called_from_the_write(reactor: Any, link: Link, buffers: tuple[int, int] | None) -> None:
    """A write of more than a buffer pauses a push producer before it returns, whatever the system took."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, buffers)
    producer = Push()
    client.transport.registerProducer(producer, True)
    full = client.transport.bufferSize
    client.transport.write(b"x" * full)
    assert producer.told == []
    turn(reactor, lambda: len(server.received) == full)
    client.transport.write(b"x" * (full + 1))
    assert producer.told == ["pause"]
    turn(reactor, lambda: len(server.received) == 2 * full + 1)
    turn(reactor, lambda: producer.told == ["pause", "resume"])
    client.transport.loseConnection()
    lost(reactor, client)
    assert producer.told == ["pause", "resume", "stop"]


@plain_link
@pytest.mark.parametrize("buffers", [None, SMALL], ids=["roomy", "small"])
def test_producer_that_writes_when_told(reactor: Any, link: Link, buffers: tuple[int, int] | None) -> None:
    """What a producer writes while it is being paused or resumed goes after what made it so."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, buffers)

    def on_pause() -> None:
        if producer.told.count("pause") == 1:  # a write to a full buffer pauses again
            client.transport.write(b"p")

    def on_resume() -> None:
        client.transport.unregisterProducer()
        client.transport.write(b"r")

    producer = Push(pause=on_pause, resume=on_resume)
    client.transport.registerProducer(producer, True)
    client.transport.write(b"x" * 400_000)
    client.transport.write(b"y")
    turn(reactor, lambda: len(server.received) == 400_003)
    assert server.received.replace(b"x" * 400_000, b"X") == b"Xpyr"


@any_link
@pytest.mark.parametrize("buffers", [None, SMALL], ids=["roomy", "small"])
def test_pull_producer(reactor: Any, link: Link, buffers: tuple[int, int] | None) -> None:
    """A pull producer is asked again when all that it gave is sent, and so once for each piece."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, buffers)
    pieces = [b"a" * 10, b"b" * 200_000, b"c" * 70_000, b"d"]
    whole = b"".join(pieces)
    producer = Pull(client.transport, pieces)
    client.transport.registerProducer(producer, False)
    turn(reactor, lambda: len(server.received) == len(whole))
    turn(reactor, lambda: producer.asked == 5)
    client.transport.loseConnection()
    lost(reactor, client, server)
    assert server.received == whole
    assert (producer.asked, producer.stopped) == (5, 0)


@plain_link
def test_pull_producer_that_gives_nothing(reactor: Any, link: Link) -> None:
    """One that writes nothing is not asked for ever, but when something else has been written."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    producer = Pull(client.transport, [b""] * 10)
    client.transport.registerProducer(producer, False)
    asked = []
    for write in b"", b"something else, ", b"and more":
        client.transport.write(write)
        for _ in range(5):
            reactor.iterate(0)
        asked.append(producer.asked)
    # Ours asks once too often, as it cannot know whether something was written in the same turn before.
    assert asked in ([1, 2, 3], [2, 3, 4])
    assert server.received == b"something else, and more"


@plain_link
def test_closing_waits_for_a_pull_producer(reactor: Any, link: Link) -> None:
    """A connection that is told to close does so when its pull producer has unregistered itself."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, SMALL)
    producer = Pull(client.transport, [b"x" * 100_000] * 3)
    client.transport.registerProducer(producer, False)
    client.transport.loseConnection()
    lost(reactor, client, server)
    assert server.received == b"x" * 300_000
    assert (producer.asked, producer.stopped) == (4, 0)


@any_link
@pytest.mark.parametrize("size", [0, 5, MIB])
def test_closed_from_what_is_received(reactor: Any, link: Link, size: int) -> None:
    """A connection may be closed while it receives, with or without something to be sent first."""

    def answer(server: Recorder) -> None:
        server.transport.write(b"x" * size)
        server.transport.loseConnection()

    client, server = Recorder(), Recorder({"data": answer})
    connected(reactor, link, client, server)
    client.transport.write(b"!")
    lost(reactor, client, server)
    assert client.received == b"x" * size
    assert client.lost is server.lost is ConnectionDone


@plain_link
@pytest.mark.parametrize("size", [1, 478, 479, 480, 1000, 65_536])
def test_message_is_received_in_one(reactor: Any, link: Link, size: int) -> None:
    """What has come together is received together, up to a buffer: it is an unread rest that resets."""

    def answer(server: Recorder) -> None:
        server.transport.write(b"answer")
        server.transport.loseConnection()

    client, server = Recorder(), Recorder({"data": answer})
    connected(reactor, link, client, server)
    client.transport.write(b"x" * size)
    lost(reactor, client, server)
    assert len(server.received) == size
    assert client.received == b"answer"
    assert client.lost is server.lost is ConnectionDone


@plain_link
def test_nothing_is_written_to_a_peer_that_has_closed(reactor: Any, link: Link) -> None:
    """To write nothing does nothing: a connection whose peer has closed it in order has ended in order."""
    server = HalfRecorder({"data": lambda server: server.transport.write(b"")})
    client = Recorder()
    connected(reactor, link, client, server)
    server.transport.write(b"hello")
    turn(reactor, lambda: client.received)
    client.transport.write(b"!")
    client.transport.loseConnection()
    turn(reactor, lambda: "read closed" in server.told or server.lost)
    assert server.told == ["made", "data", "read closed"]


@plain_link
def test_bulk_is_received_in_larger_pieces(link: Link) -> None:
    """Not at once, as a peer that does not read sends much too, but when more has gone than buffers hold."""
    pieces: list[int] = []

    class Measuring(Recorder):
        def dataReceived(self, data: bytes) -> None:
            pieces.append(len(data))

    with reactors.fresh("fast") as reactor:
        client, server = Recorder(), Measuring()
        connected(reactor, link, client, server)
        while sum(pieces) < BULK_AFTER * server.transport.bufferSize + 2 * BULK:
            client.transport.write(b"x" * MIB)
            turn(reactor, lambda: not client.transport.dataBuffer and not client.transport._tempDataBuffer)
    small = [size for size in pieces if size <= FileDescriptor.bufferSize]
    assert pieces[:BULK_AFTER] == small[:BULK_AFTER]
    assert FileDescriptor.bufferSize < max(pieces) <= BULK


@half_closing_link
@pytest.mark.parametrize("size", [0, 5, MIB])
def test_half_closed_from_what_is_received(reactor: Any, link: Link, size: int) -> None:
    """So may one direction of it, and the other goes on."""

    def answer(server: Recorder) -> None:
        server.transport.write(b"x" * size)
        server.transport.loseWriteConnection()

    client, server = HalfRecorder(), HalfRecorder({"data": answer})
    connected(reactor, link, client, server)
    client.transport.write(b"!")
    turn(reactor, lambda: "read closed" in client.told and "write closed" in server.told)
    server.actions.clear()
    assert client.received == b"x" * size
    client.transport.write(b"?")
    turn(reactor, lambda: server.received == b"!?")
    client.transport.loseConnection()
    turn(reactor, lambda: "read closed" in server.told)
    server.transport.loseConnection()
    lost(reactor, client, server)
    assert client.lost is server.lost is ConnectionDone


@plain_link
def test_producer_registered_while_receiving(reactor: Any, link: Link) -> None:
    """A producer registered while something is received is asked for all that it has."""
    client, server = Recorder(), Recorder()
    server.actions["data"] = lambda server: server.transport.registerProducer(
        Pull(server.transport, [b"x" * 1000] * 3), False
    )
    connected(reactor, link, client, server)
    client.transport.write(b"!")
    turn(reactor, lambda: client.received == b"x" * 3000)


@plain_link
def test_closing_goes_on_when_a_producer_goes(reactor: Any, link: Link) -> None:
    """A connection that waits to close for its pull producer closes when that goes, while receiving too."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    silent = Pull(client.transport, [b""] * 10)
    client.transport.registerProducer(silent, False)
    client.transport.loseConnection()
    for _ in range(3):
        reactor.iterate(0)
    assert client.lost is None
    client.transport.unregisterProducer()
    lost(reactor, client, server)
    assert client.lost is server.lost is ConnectionDone


@half_closing_link
def test_closed_when_read_closes(reactor: Any, link: Link) -> None:
    """What is written when the peer has closed its half reaches it, and so does the end."""

    def answer(server: Recorder) -> None:
        server.transport.write(b"x" * MIB)
        server.transport.loseConnection()

    client, server = HalfRecorder(), HalfRecorder({"read closed": answer})
    connected(reactor, link, client, server, SMALL)
    client.transport.loseWriteConnection()
    turn(reactor, lambda: "read closed" in client.told)
    assert client.received == b"x" * MIB
    client.transport.loseConnection()
    lost(reactor, client, server)
    assert client.lost is server.lost is ConnectionDone


@plain_link
def test_writes_to_a_peer_that_has_reset(reactor: Any, link: Link) -> None:
    """Whatever is written then raises nothing, and the connection is lost once, in a later turn."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    client.transport.pauseProducing()
    server.transport.abortConnection()
    turn(reactor, lambda: server.lost)
    for _ in range(3):
        client.transport.write(b"x" * 10)
        client.transport.write(b"")
        client.transport.writeSequence([b"y", b"z"])
    assert client.told == ["made"], "nobody is in the middle of something when the end comes"
    client.transport.resumeProducing()
    lost(reactor, client)
    assert client.lost is ConnectionLost or link is UNIX, "a UNIX socket has no reset"
    assert client.told == ["made", "lost"]


def is_reset(reason: Any) -> None:
    """Hold that a connection was lost by a reset, and that its reason says so."""
    assert reason.type is ConnectionLost
    assert reason.value.__cause__.errno == errno.ECONNRESET
    assert str(reason.value).endswith(f": {os.strerror(errno.ECONNRESET)}.")


@pytest.mark.parametrize("kind", ["fast", "crowded"])
@pytest.mark.parametrize("link", [TCP, HALF_TLS], ids=str)
@pytest.mark.parametrize("writes", [False, True])
def test_why_the_system_ended_a_connection(kind: str, link: Link, writes: bool) -> None:
    """The reason has the system's error, whether reading or writing was told of it."""
    with reactors.fresh(kind) as reactor:
        client, server = Recorder(), Recorder()
        connected(reactor, link, client, server)
        client.transport.pauseProducing()
        raw(server.transport).abortConnection()
        turn(reactor, lambda: server.lost)
        if writes:
            client.transport.write(b"who is there?")
        client.transport.resumeProducing()
        lost(reactor, client)
    is_reset(client.reason)


@pytest.mark.parametrize("kind", ["fast", "crowded"])
def test_why_the_system_ended_a_connection_that_is_not_read(kind: str) -> None:
    """The reason has the system's error, although nothing was told of it but the wait for room to write."""
    with reactors.fresh(kind) as reactor:
        client, server = Recorder(), Recorder()
        connected(reactor, TCP, client, server)
        client.transport.pauseProducing()
        server.transport.pauseProducing()
        client.transport.write(bytes(64 << 20))  # more than the systems' buffers hold
        reactor.iterate(0)
        server.transport.abortConnection()
        lost(reactor, client)
    is_reset(client.reason)


@plain_link
def test_writes_to_a_peer_that_has_closed(reactor: Any, link: Link) -> None:
    """To write to a peer that is gone, and has said so in order, is an end without order."""
    client, server = HalfRecorder(), Recorder()
    connected(reactor, link, client, server)
    server.transport.loseConnection()
    turn(reactor, lambda: "read closed" in client.told or client.lost)
    client.transport.write(b"who is there?")
    turn(reactor, lambda: client.lost or client.transport.write(b"anybody?"))
    assert client.lost is ConnectionLost
    assert client.told == ["made", "read closed", "lost"]


@plain_link
def test_what_is_written_behind_the_end_of_a_peer(reactor: Any, link: Link) -> None:
    """That it has closed in order is read first: so it is told, though the system takes nothing more."""

    def answer(client: Recorder) -> None:
        connection = raw(client.transport).socket
        with contextlib.suppress(BrokenPipeError):  # of a UNIX socket; on TCP it is told by a reset
            connection.send(b"who is there?")
        end = select.poll()
        end.register(connection, 0)  # which is to wait for POLLHUP alone
        assert end.poll(TIMEOUT * 1000)
        client.transport.write(b"anybody?")

    client, server = Recorder({"data": answer}), Recorder()
    connected(reactor, link, client, server)
    client.transport.write(b"hello")
    turn(reactor, lambda: server.received == b"hello")
    client.transport.pauseProducing()
    server.transport.write(b"last words")
    server.transport.loseConnection()
    turn(reactor, lambda: server.lost)
    client.transport.resumeProducing()
    lost(reactor, client)
    assert client.lost is ConnectionDone
    assert client.told == ["made", "data", "lost"]


@plain_link
def test_what_arrived_before_a_reset_is_delivered(reactor: Any, link: Link) -> None:
    """A reset takes nothing away that was there before it."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    client.transport.pauseProducing()
    server.transport.write(b"last words")
    for _ in range(3):
        reactor.iterate(0)
    server.transport.abortConnection()
    turn(reactor, lambda: server.lost)
    client.transport.resumeProducing()
    lost(reactor, client)
    assert client.received == b"last words"
    assert client.lost is (ConnectionDone if link is UNIX else ConnectionLost), "a UNIX socket has no reset"


def test_system_without_buffers_is_asked_again(reactor: Any) -> None:
    """That the system has no buffers at the moment (ENOBUFS) is no end: what was not sent is sent later."""

    class Poor:
        """A socket that has no buffers at first."""

        def __init__(self, real: socket.socket) -> None:
            self._real = real
            self._refusals = 2

        def send(self, data: bytes) -> int:
            self._refusals -= 1
            if self._refusals >= 0:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            return self._real.send(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    client, server = Recorder(), Recorder()
    connected(reactor, TCP, client, server)
    client.transport.socket = Poor(client.transport.socket)
    client.transport.write(b"sent in the end")
    turn(reactor, lambda: server.received == b"sent in the end")
    server.transport.loseConnection()
    lost(reactor, client, server)
    assert client.lost is ConnectionDone


@any_link
def test_error_of_a_protocol(reactor: Any, link: Link) -> None:
    """An exception that a protocol raises is logged, and is the reason for which it is disconnected."""

    def fail(server: Recorder) -> None:
        server.transport.write(b"may or may not arrive")
        raise ZeroDivisionError

    client, server = Recorder(), Recorder({"data": fail})
    connected(reactor, link, client, server)
    client.transport.write(b"!")
    lost(reactor, client, server)
    assert server.lost is (ConnectionLost if link in (TLS, SSL_BY_REACTOR) else ZeroDivisionError)
    assert [type(error) for error in flush_errors(reactor, ZeroDivisionError)] == [ZeroDivisionError]


@any_link
def test_nothing_is_delivered_while_paused(reactor: Any, link: Link) -> None:
    """A transport that is paused from what it delivers delivers no more until it is resumed."""
    client = Recorder()
    server = Recorder({"data": lambda server: raw(server.transport).pauseProducing()})
    connected(reactor, link, client, server)
    client.transport.write(b"one")
    turn(reactor, lambda: server.received)
    client.transport.write(b"two")
    for _ in range(5):
        reactor.iterate(0)
    assert server.received == b"one"
    raw(server.transport).resumeProducing()
    turn(reactor, lambda: server.received == b"onetwo")


@plain_link
def test_connection_closed_by_another_in_the_same_turn(reactor: Any, link: Link) -> None:
    """An event for a connection that has gone since, in the same turn, goes to nobody: not to its heir."""
    listening = Listening(reactor, link)
    clients, servers = [HalfRecorder(), HalfRecorder()], [HalfRecorder(), HalfRecorder()]
    heirs: list[int] = []

    def kill_the_other(server: HalfRecorder) -> None:
        other = servers[1 - servers.index(server)]
        descriptor = other.transport.fileno()
        other.transport.connectionLost(Failure(ConnectionAborted()))
        heirs.append(fcntl.fcntl(0, fcntl.F_DUPFD, descriptor))
        assert heirs == [descriptor], "its number is not free"

    for client, server in zip(clients, servers, strict=True):
        server.actions["data"] = kill_the_other
        listening.connect(client, server)
    for client in clients:
        client.transport.write(b"!")
    turn(reactor, lambda: any(server.lost for server in servers))
    for _ in range(3):
        reactor.iterate(0)
    os.close(heirs[0])
    assert sorted(bytes(server.received) for server in servers) == [b"", b"!"]


@pytest.mark.parametrize("size", [10, MIB])
def test_tls_started_after_a_write(reactor: Any, size: int) -> None:
    """What was written before TLS is started goes out as it is, and in order; what follows, encrypted."""
    client, server = Recorder(), Recorder()
    plain: list[bytes] = []

    def secure(server: Recorder) -> None:
        if len(server.received) == size and not plain:
            plain.append(bytes(server.received))
            server.received.clear()
            server.transport.startTLS(server_context())
            server.transport.write(b"hello, ")

    server.actions["data"] = secure
    connected(reactor, TCP, client, server, SMALL)
    client.transport.write(b"p" * size)

    # The server must not take the handshake for text: the client waits until all that is text has gone.
    turn(reactor, lambda: plain)
    client.transport.startTLS(client_context())
    client.transport.write(b"to the ")
    client.transport.writeSequence([b"ser", b"ver"])
    server.transport.writeSequence([b"cli", b"ent"])
    turn(reactor, lambda: len(server.received) == 13 and len(client.received) == 13)
    assert plain == [b"p" * size]
    assert server.received == b"to the server"
    assert client.received == b"hello, client"
    client.transport.loseConnection()
    lost(reactor, client, server)
    assert client.lost is server.lost is ConnectionDone


@plain_link
def test_tls_started_in_answer_to_a_message(reactor: Any, link: Link) -> None:
    """What is written after TLS is started is encrypted, also by who answers a message (STARTTLS)."""

    def answer(server: Recorder) -> None:
        if server.received == b"hello":
            server.transport.write(b"hello")
        elif server.received == b"hello, secure":
            server.transport.write(b", go on")
            server.transport.startTLS(server_context())
            server.transport.write(b"secret")

    client, server = Recorder(), Recorder({"data": answer})
    connected(reactor, link, client, server)
    client.transport.write(b"hello")
    turn(reactor, lambda: client.received == b"hello")
    client.transport.write(b", secure")
    turn(reactor, lambda: len(client.received) >= len(b"hello, go on"))
    for _ in range(3):
        reactor.iterate(0)
    assert client.received == b"hello, go on", "before the handshake there is nothing more to send"
    client.received.clear()
    server.actions.clear()
    client.transport.startTLS(client_context())
    turn(reactor, lambda: client.received)
    assert client.received == b"secret"


@plain_link
def test_tls_started_while_a_write_is_queued(reactor: Any, link: Link) -> None:
    """The handshake queues behind what the system has not taken yet."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server, SMALL)
    client.transport.write(b"p" * MIB)
    client.transport.startTLS(client_context())
    client.transport.write(b"secret")
    turn(reactor, lambda: len(server.received) > MIB)
    assert server.received[:MIB] == b"p" * MIB
    assert server.received[MIB : MIB + 2] == b"\x16\x03", "a TLS handshake record"
    assert b"secret" not in server.received


def test_tls_started_with_a_producer(reactor: Any) -> None:
    """A producer that was registered before TLS is started goes on through it."""
    client, server = Recorder(), Recorder()
    server.actions["data"] = lambda server: (
        server.received == b"go" and server.transport.startTLS(server_context())
    )
    connected(reactor, TCP, client, server, SMALL)
    client.transport.write(b"go")
    turn(reactor, lambda: server.received == b"go")
    producer = Push()
    client.transport.registerProducer(producer, True)
    client.transport.startTLS(client_context())
    client.transport.write(b"x" * MIB)
    turn(reactor, lambda: len(server.received) == MIB + 2)
    turn(reactor, lambda: producer.told[-1:] == ["resume"])
    client.transport.loseConnection()
    client.transport.unregisterProducer()
    lost(reactor, client, server)
    assert server.received == b"go" + b"x" * MIB
    assert client.lost is server.lost is ConnectionDone


@plain_link
def test_small_buffer(reactor: Any, link: Link) -> None:
    """A program that makes its buffer small receives no more than that at once."""
    client, server = Recorder(), Recorder()
    sizes: list[int] = []
    server.actions["made"] = lambda server: setattr(server.transport, "bufferSize", 100)
    server.actions["data"] = lambda server: sizes.append(len(server.received))
    connected(reactor, link, client, server)
    client.transport.write(bytes(350))
    turn(reactor, lambda: len(server.received) == 350)
    assert sizes == [100, 200, 300, 350]
    client.transport.loseConnection()
    lost(reactor, client, server)


@any_link
def test_end_leaves_no_garbage(reactor: Any, link: Link) -> None:
    """A connection that has ended is gone when nobody refers to it, whatever its protocol does then."""
    client, server = Recorder(), Recorder()
    connected(reactor, link, client, server)
    client.transport.write(b"x")
    turn(reactor, lambda: server.received)
    ended, write = weakref.ref(server.transport), server.transport.write
    client.transport.loseConnection()
    server.transport.loseConnection()
    lost(reactor, client, server)
    for _ in range(100):
        write(bytes(1000))
    server.transport.writeSequence([b"too", b"late"])
    reactor.iterate(0)
    del write
    gc.disable()
    try:
        server.transport = None
        reactor.iterate(0)
        assert ended() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_reactor_turned_in_the_middle_of_an_event(link: Link) -> None:
    """A protocol that turns the reactor until it has the answer to what it wrote gets that answer."""

    def ask(server: Recorder) -> None:
        if server.received == b"go":
            server.transport.write(b"question")
            turn(server.transport.reactor, lambda: server.received == b"goanswer")
            server.transport.write(b", thanks")

    def answer(client: Recorder) -> None:
        if client.received == b"question":
            client.transport.write(b"answer")

    client, server = Recorder({"data": answer}), Recorder({"data": ask})
    with reactors.fresh("fast") as reactor:
        connected(reactor, link, client, server)
        client.transport.write(b"go")
        turn(reactor, lambda: client.received == b"question, thanks")


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Open a descriptor to pass on."""
    number = os.open(os.devnull, os.O_RDONLY)
    yield number
    os.close(number)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["fd", b"abc"], [0]),
        ([b"abc", "fd"], [0]),
        ([b"abc", "fd", "fd", b"d"], [0, 1]),
        (["turn", b"abc", "turn", "fd", b"d"], [3]),
        (["fd", b"abc", "turn", "fd", b"d"], [0, 3]),
        ([b"a", b"b", "fd", b"c"], [0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("receiving", [False, True], ids=["outside", "while receiving"])
def test_descriptors_go_with_what_is_written(
    reactor: Any, descriptor: int, steps: list[Any], expected: list[int], receiving: bool
) -> None:
    """A descriptor goes with the first bytes written in its turn, before it or after."""
    client, server = DescriptorRecorder(), DescriptorRecorder()
    connected(reactor, UNIX, client, server)
    pending = list(steps)

    def act(client: Recorder) -> None:
        while pending and (step := pending.pop(0)) != "turn":
            if step == "fd":
                client.transport.sendFileDescriptor(descriptor)
            else:
                client.transport.write(step)

    while pending:
        if receiving:
            client.actions["data"] = act
            client.received.clear()
            server.transport.write(b"!")
            turn(reactor, lambda: client.received)
        else:
            act(client)
        for _ in range(3):
            reactor.iterate(0)
    written = b"".join(step for step in steps if isinstance(step, bytes))
    turn(reactor, lambda: server.received == written and len(server.descriptors) == len(expected))
    # Each is received in one call with the bytes that follow it, and so told of before them.
    assert server.descriptors == expected


@pytest.mark.parametrize("receiving", [False, True], ids=["outside", "while receiving"])
def test_descriptor_without_bytes(reactor: Any, descriptor: int, receiving: bool) -> None:
    """More descriptors than bytes are a mistake that ends the connection."""
    client, server = DescriptorRecorder(), DescriptorRecorder()
    server.actions["read closed"] = lambda server: server.transport.loseConnection()
    connected(reactor, UNIX, client, server)

    def act(client: Recorder) -> None:
        client.transport.write(b"x")
        client.transport.sendFileDescriptor(descriptor)
        client.transport.sendFileDescriptor(descriptor)

    if receiving:
        client.actions["data"] = act
        server.transport.write(b"!")
    else:
        act(client)
    lost(reactor, client, server)
    assert client.lost is FileDescriptorOverrun
    assert server.descriptors == []


def test_many_descriptors_pause_a_producer(reactor: Any, descriptor: int) -> None:
    """A producer of descriptors is paused like one of bytes."""
    client, server = DescriptorRecorder(), DescriptorRecorder()
    connected(reactor, UNIX, client, server)
    producer = Push()
    client.transport.registerProducer(producer, True)
    for _ in range(65):
        client.transport.sendFileDescriptor(descriptor)
        client.transport.write(b"x")
    assert producer.told[:1] == ["pause"]
    turn(reactor, lambda: len(server.descriptors) == 65 and producer.told[-1] == "resume")


def test_accepts_in_bursts() -> None:
    """However many connect, a port accepts a bounded number of them in one turn."""
    with reactors.fresh("fast") as reactor, contextlib.ExitStack() as clients:
        built: list[Protocol] = []

        class Counting(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                built.append(Protocol())
                return built[-1]

        port = reactor.listenTCP(0, Counting(), 3 * ACCEPTS, "127.0.0.1")
        address = ("127.0.0.1", port.getHost().port)
        for _ in range(2 * ACCEPTS + 50):
            clients.enter_context(socket.create_connection(address))
        counts = []
        for _ in range(4):
            port.doRead()
            counts.append(len(built))
        assert counts == [ACCEPTS, 2 * ACCEPTS, 2 * ACCEPTS + 50, 2 * ACCEPTS + 50]
