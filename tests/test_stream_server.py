"""How a server's connection comes to its end: a socket whose other end the test holds, and a clock."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netecho.plans import ReplyMode
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._sockets import unread, unsent
from netecho.protocols._stream_replies import reply_factory
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT, LINGER


class Wire(StringTransport):
    """A transport in memory with a real socket's descriptor, so that the system can be asked about it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.socket, self.peer = socket.socketpair()
        self.half_closed = False
        self.aborts = 0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.socket.fileno()

    def loseWriteConnection(self) -> None:
        """Note it."""
        self.half_closed = True

    def abortConnection(self) -> None:
        """Count it."""
        self.aborts += 1


class Bench:
    """One connection of a server."""

    def __init__(
        self, reply: ReplyMode = ReplyMode.ECHO, tls: object = None, idle: float | None = None
    ) -> None:
        self.clock = Clock()
        self.totals = Totals()
        self.events: list[str] = []
        settings = ListenSettings(
            self.totals, reply, tls=tls, idle_timeout=idle, on_event=lambda name, _: self.events.append(name)
        )
        self.factory = reply_factory(self.clock, settings)
        self.connection = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
        self.wire = Wire()
        self.connection.makeConnection(self.wire)

    def lose(self) -> None:
        """End the connection."""
        self.connection.connectionLost(Failure(ConnectionDone()))

    def receive(self, data: bytes) -> None:
        """Read what the peer has sent."""
        self.wire.socket.recv(len(data))
        self.connection.dataReceived(data)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Make a connection, of the kind that a test asks for."""
    made = Bench(**getattr(request, "param", {}))
    yield made
    made.wire.socket.close()
    made.wire.peer.close()


def of(**kind: Any) -> pytest.MarkDecorator:
    """Run a test on a connection of that kind."""
    return pytest.mark.parametrize("bench", [kind], indirect=True)


def test_drain_of_a_quiet_connection(bench: Bench) -> None:
    """Nothing is owed: our half is closed at once."""
    bench.connection.drain()
    assert bench.wire.half_closed


def test_drain_answers_what_the_system_has(bench: Bench) -> None:
    """What came before the drain and was not read yet is answered before the end, and no more is."""
    bench.wire.peer.send(b"before")
    bench.connection.drain()
    assert not bench.wire.half_closed
    bench.wire.peer.send(b"after")  # there is always something unread from now on
    bench.receive(b"before")
    bench.clock.advance(0)
    assert bench.wire.half_closed
    bench.receive(b"after")
    assert bench.wire.io.getvalue() == b"before"
    assert (bench.connection.received, bench.connection.sent) == (6, 6)


@of(reply=ReplyMode.DISCARD)
def test_a_flood_does_not_hold_up_the_end(bench: Bench) -> None:
    """A peer that goes on sending to a server that has finished has its moment, and no longer."""
    bench.connection.drain()
    bench.connection.writeConnectionLost()
    for _ in range(9):
        bench.clock.advance(LINGER / 8)
        bench.connection.dataReceived(b"more")
    assert bench.wire.disconnecting


@of(tls=object())
def test_drain_in_the_handshake(bench: Bench) -> None:
    """A peer that has not finished its handshake is owed nothing: it is given a moment, and not counted."""
    bench.connection.drain()
    assert not bench.wire.half_closed
    bench.clock.advance(LINGER)
    assert bench.wire.aborts == 1
    assert bench.totals.cut == 0


@of(tls=object())
def test_handshake_that_ends_in_a_drain(bench: Bench) -> None:
    """What comes together with the end of the handshake is answered, before our half is closed."""
    bench.connection.drain()
    bench.connection.handshakeCompleted()
    bench.connection.dataReceived(b"at last")
    bench.clock.advance(0)
    assert bench.wire.io.getvalue() == b"at last"
    assert bench.wire.half_closed


@of(tls=object())
def test_handshake_timeout(bench: Bench) -> None:
    """A handshake that takes too long is cut, without a close in order that the peer would not answer."""
    bench.clock.advance(HANDSHAKE_TIMEOUT)
    assert bench.wire.aborts == 1


@of(idle=5.0)
def test_slow_reader_is_not_idle(bench: Bench) -> None:
    """While the peer's system acknowledges something, something moves; when nothing does, it is cut."""
    bench.wire.socket.setblocking(False)
    for _ in range(30):
        bench.wire.socket.send(b"x" * 1000)
    for _ in range(3):
        bench.wire.peer.recv(10_000)
        assert not bench.wire.half_closed
        bench.clock.advance(5.0)
    bench.clock.advance(5.0)
    assert bench.wire.half_closed


def test_linger_waits_for_a_slow_reader(bench: Bench) -> None:
    """After our end is out, a peer that still takes what it is owed is not closed upon."""
    bench.connection.dataReceived(b"x" * 4000)
    bench.wire.socket.send(b"x" * 4000)
    bench.connection.drain()
    bench.connection.writeConnectionLost()
    bench.clock.advance(LINGER)
    bench.wire.peer.recv(2000)
    bench.wire.peer.recv(2000)
    bench.clock.advance(LINGER)
    assert not bench.wire.disconnecting
    bench.clock.advance(LINGER)
    assert bench.wire.disconnecting


@pytest.mark.parametrize("taken", [True, False])
def test_cut_counts_once(bench: Bench, taken: bool) -> None:
    """A connection is cut once, and counts if its peer was owed something that it had not taken."""
    bench.connection.dataReceived(b"x" * 100)
    bench.wire.socket.send(b"x" * 100)
    bench.connection.drain()
    bench.connection.writeConnectionLost()
    if taken:
        bench.wire.peer.recv(100)
    bench.connection.cut()
    bench.connection.cut()
    assert bench.wire.aborts == 1
    assert bench.totals.cut == (0 if taken else 1)


@pytest.mark.parametrize("when", ["drain", "timeout"])
@of(idle=5.0)
def test_nothing_is_done_to_a_lost_connection(bench: Bench, when: str) -> None:
    """What was due when the connection was lost is not done to it any more."""
    if when == "drain":
        bench.wire.peer.send(b"x")
        bench.connection.drain()
        bench.receive(b"x")
    bench.lose()
    bench.clock.advance(60)
    assert not bench.wire.half_closed
    assert not bench.wire.aborts
    assert bench.totals.open == 0
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize("reply", [ReplyMode.ECHO, ReplyMode.DISCARD])
def test_peer_that_does_not_read_is_not_read_from(reply: ReplyMode) -> None:
    """That holds where nothing is answered too, as TLS beneath has answers of its own."""
    bench = Bench(reply)
    assert bench.wire.producer is bench.connection
    assert bench.wire.streaming
    bench.wire.socket.close()
    bench.wire.peer.close()


def test_drain_fires_with_the_last(bench: Bench) -> None:
    """A drain is over when the last connection has left the books."""
    drained = bench.factory.drain()
    assert not drained.called
    bench.lose()
    assert drained.called
    assert bench.events == ["connected", "disconnected"]


def test_peer_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that was reset before it was looked at has no address on macOS; it is served as any other."""

    def no_address(_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Wire, "getHost", no_address)
    bench = Bench()
    assert bench.totals.open == 1
    assert bench.wire.producer is bench.connection
    bench.wire.socket.close()
    bench.wire.peer.close()


def test_what_the_system_holds() -> None:
    """The system says how much waits to be read, and how much the peer has not acknowledged."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.send(b"12345")
        assert other.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL) == b"12345"
        assert unread(other.fileno()) == 5
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                one.send(b"x" * 65_536)
        assert unsent(one.fileno()) > 0
    assert unread(-1) == unsent(-1) == 0
