"""How much WebSocket servers and clients take of a peer's frames in one turn, while all others wait."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netecho.plans import ReplyMode, Target
from netecho.protocols._contract import Route
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._ws_client import WebSocketConversation
from netecho.protocols._ws_connection import WebSocketFactory
from netecho.protocols._ws_messages import BUFFER, SLICE, TURN
from tests import test_ws_client
from tests.test_ws_attacks import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONT,
    DEFLATE,
    MIB,
    PING,
    PONG,
    REQUEST,
    TEXT,
    answer,
    closing,
    deflated,
    frame,
)

PEER = IPv4Address("TCP", "192.0.2.1", 5000)
MOMENT = 0.001


class Moments(Clock):
    """A clock on which what is put off by no time is put off to the next turn, and not to this one."""

    def callLater(self, delay: float, *arguments: Any, **options: Any) -> Any:
        """Put off a call."""
        return super().callLater(max(delay, MOMENT), *arguments, **options)


class Transport(StringTransport):
    """A transport in memory whose write side can be closed."""

    write_closed = False

    def loseWriteConnection(self) -> None:
        """Note it."""
        self.write_closed = True


class Connection:
    """A server's connection in memory, that has been upgraded, and a clock to be turned by hand."""

    def __init__(self, request: bytes = REQUEST, reply: ReplyMode = ReplyMode.ECHO) -> None:
        self.clock = Moments()
        factory = WebSocketFactory(self.clock, ListenSettings(Totals(), reply=reply))
        transport: Any = Transport
        self.transport = transport(peerAddress=PEER)
        self.server: Any = factory.buildProtocol(PEER)
        self.server.makeConnection(self.transport)
        self.take(request)

    def take(self, data: bytes) -> bytes:
        """Have the server read something; return what it says at once."""
        self.server.dataReceived(data)
        return self.said()

    def said(self) -> bytes:
        """Return what the server has said since the last time."""
        said: bytes = self.transport.value()
        self.transport.clear()
        return said

    @property
    def is_read(self) -> bool:
        """Whether the server reads, and has put nothing off."""
        return bool(self.transport.producerState == "producing")

    def turns(self) -> list[bytes]:
        """Return what the server says in each turn until it reads again."""
        said = []
        while not self.is_read:
            said.append(self.turn())
        return said

    def turn(self) -> bytes:
        """Return what the server says in the next turn of the reactor."""
        self.clock.advance(MOMENT)
        return self.said()


ASKED = {
    "messages": (frame(BINARY, b"x"), answer(BINARY, b"x")),
    "empty messages": (frame(TEXT), answer(TEXT)),
    "pings": (frame(PING), answer(PONG)),
    "pongs": (frame(PONG), b""),
}


@pytest.mark.parametrize(("asked", "answered"), ASKED.values(), ids=ASKED)
def test_many_frames(asked: bytes, answered: bytes) -> None:
    """So many are taken in a turn and no more, the others in the next ones, with nothing read meanwhile."""
    connection = Connection()
    count = BUFFER // len(asked)
    first, *others = [connection.take(asked * count), *connection.turns()]
    assert first == answered * TURN
    assert len(others) == (count - 1) // TURN
    assert others[:-1] == [answered * TURN] * (len(others) - 1)
    assert others[-1] == answered * ((count - 1) % TURN + 1)


def test_frames_cut_anywhere() -> None:
    """What comes in pieces is answered in order, wherever a turn ends in it."""
    connection = Connection()
    asked = b"".join(frame(BINARY, struct.pack(">H", number) * (number % 5)) for number in range(5 * TURN))
    said = b""
    for start in range(0, len(asked), 4001):
        said += connection.take(asked[start : start + 4001])
        said += b"".join(connection.turns())
    assert said == b"".join(
        answer(BINARY, struct.pack(">H", number) * (number % 5)) for number in range(5 * TURN)
    )


def test_fragments() -> None:
    """Fragments are counted, not messages."""
    connection = Connection()
    fragments = frame(TEXT, last=False) + frame(CONT, last=False) * (3 * TURN) + frame(CONT, b"x")
    assert [connection.take(fragments), *connection.turns()] == [b"", b"", b"", answer(TEXT, b"x")]


@pytest.mark.parametrize("size", [1, 64, 1000, 65_536])
def test_as_much_as_usual(size: int) -> None:
    """What a client has under way is answered in one turn, and reading goes on."""
    connection = Connection()
    count = min(TURN, BUFFER // size)
    assert connection.take(frame(BINARY, bytes(size)) * count) == answer(BINARY, bytes(size)) * count
    assert connection.is_read


@pytest.mark.parametrize("count", [1, 100, TURN // 2, TURN - 1, TURN])
def test_records(count: int) -> None:
    """What a turn brings in several pieces, as TLS does with its records, is counted together."""
    connection = Connection()
    records = [connection.take(frame(PING) * count) for _ in range(4 * TURN // count)]
    assert b"".join(records) == answer(PONG) * TURN
    assert connection.turn() == answer(PONG) * TURN
    connection.turns()
    assert connection.turn() == b""
    assert connection.take(frame(PING) * TURN) == answer(PONG) * TURN


def test_compressed_records() -> None:
    """Content that is made of what comes in several pieces is counted together, too."""
    connection = Connection(DEFLATE)
    bomb = frame(BINARY, deflated(MIB), bits=COMPRESSED)
    said = [connection.take(bomb) for _ in range(20)]
    assert 0 < sum(map(bool, said)) <= 2
    assert all(0 < len(one) < 6 * SLICE for one in connection.turns())
    assert connection.take(bomb) == b""
    assert connection.turn()


def test_compressed() -> None:
    """Where frames inflate to much, a turn is over after few."""
    connection = Connection(DEFLATE)
    whole = deflated(MIB)
    assert len(whole) < 2 * SLICE
    bombs = frame(BINARY, whole, bits=COMPRESSED) * 20
    said = [connection.take(bombs), *connection.turns()]
    assert len(said) > 9
    assert all(len(one) < 6 * SLICE for one in said)
    small = frame(BINARY, deflated(0), bits=COMPRESSED)
    assert connection.turn() == b""
    said = [connection.take(small * (3 * TURN)), *connection.turns()]
    assert len({len(one) for one in said}) == 1
    assert len(said) == 3


def test_info() -> None:
    """Answers by what is seen of a connection are told so many in a turn, too."""
    connection = Connection(reply=ReplyMode.INFO)
    [once] = {connection.take(frame(TEXT, b"?"))}
    said = [connection.take(frame(TEXT, b"?") * (2 * TURN)), *connection.turns()]
    assert said == [once * (TURN - 1), once * TURN, once]


def test_what_comes_while_it_waits() -> None:
    """What the transport had read already waits behind what came before."""
    connection = Connection()
    said = connection.take(frame(PING, b"1") * (2 * TURN)) + connection.take(frame(PING, b"2"))
    assert said == answer(PONG, b"1") * TURN
    assert connection.turns() == [answer(PONG, b"1") * TURN, answer(PONG, b"2")]


def test_peer_that_does_not_read() -> None:
    """While the peer does not take what it is sent, no turn takes more of its frames."""
    connection = Connection()
    connection.take(frame(PING) * (3 * TURN))
    connection.server.pauseProducing()
    assert connection.turn() == b""
    assert connection.turn() == b""
    connection.server.resumeProducing()
    assert connection.said() == answer(PONG) * TURN
    assert connection.turns() == [answer(PONG) * TURN]


def test_end_of_what_comes() -> None:
    """A peer that has said all it has to say gets every answer, and then the end."""
    connection = Connection()
    connection.take(frame(PING) * (3 * TURN))
    connection.server.readConnectionLost()
    assert not connection.server.is_answered()
    assert connection.turn() == answer(PONG) * TURN
    assert not connection.transport.disconnecting
    assert connection.turn() == answer(PONG) * TURN
    assert connection.transport.disconnecting


def test_close_frame() -> None:
    """A Close frame is answered in its turn; what is behind it is nobody's."""
    connection = Connection()
    said = connection.take(frame(PING) * TURN + frame(CLOSE, closing(1000)) + frame(PING) * (2 * TURN))
    assert said == answer(PONG) * TURN
    assert connection.turn() == answer(CLOSE, closing(1000))
    assert connection.transport.write_closed
    assert not connection.server.wire.holds


def test_lost_connection() -> None:
    """Of a connection that is gone nothing waits for a turn."""
    connection = Connection()
    connection.take(frame(PING) * (3 * TURN))
    connection.server.connectionLost(Failure(ConnectionDone()))
    connection.said()
    assert connection.turn() == b""


SAID = {
    "messages": (answer(BINARY, b"x") * 3 * TURN, [TURN, 2 * TURN, 3 * TURN]),
    "fragments": (
        bytes([TEXT, 0]) + bytes([CONT, 0]) * (3 * TURN - 2) + answer(CONT, b"x"),
        [0, 0, 1],
    ),
}


@pytest.mark.parametrize(("said", "heard"), SAID.values(), ids=SAID)
def test_a_client(said: bytes, heard: list[int]) -> None:
    """It takes so many frames in a turn and no more, and reads nothing until it has taken the others."""
    client = test_ws_client.Client(Moments()).opened()
    client.say(said[:-1])
    client.say(said[-1:])
    counts = [len(client.heard)]
    while client.transport.producerState == "paused":
        client.clock.advance(MOMENT)
        counts.append(len(client.heard))
    assert counts == heard
    assert client.heard[-1] == (None, b"x")
    assert not client.clock.getDelayedCalls()


def test_a_client_that_wants_nothing_for_now() -> None:
    """What waits for the next turn then waits for whoever takes the messages."""
    client = test_ws_client.Client(Moments()).opened()
    conversation = WebSocketConversation(Protocol())
    conversation.begin(lambda *_: succeed(client.exchanger), client.clock, Route(Target("ws", "ws")), None)
    client.say(answer(BINARY, b"x") * 2 * TURN)
    conversation.pauseProducing()
    client.clock.advance(MOMENT)
    assert not client.clock.getDelayedCalls()
    assert (len(client.heard), client.transport.producerState) == (TURN, "paused")
    conversation.resumeProducing()
    client.clock.advance(MOMENT)
    assert (len(client.heard), client.transport.producerState) == (2 * TURN, "producing")
    conversation.pauseProducing()
    conversation.loseConnection()
    assert client.transport.producerState == "producing"


def test_a_client_that_is_left() -> None:
    """All is taken that came before the end."""
    client = test_ws_client.Client(Moments()).opened()
    client.say(answer(BINARY, b"x") * 3 * TURN)
    client.exchanger.connectionLost(Failure(ConnectionDone()))
    assert len(client.heard) == 3 * TURN
    assert len(client.lost) == 1
    assert not client.clock.getDelayedCalls()
