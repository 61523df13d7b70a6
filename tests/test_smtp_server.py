"""How an SMTP server's connections come to their ends: slow peers, idle peers, peers that read nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._smtp_server import PATIENCE, SMTPFactory
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT, LINGER
from tests.pairs import server_context
from tests.test_stream_server import Wire

ENVELOPE = b"EHLO x\r\n", b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n", b"DATA\r\n"


class Peer:
    """A server's connection, with the peer's end in the test's hands."""

    def __init__(self, **settings: object) -> None:
        self.clock = Clock()
        self.totals = Totals()
        listening = ListenSettings(self.totals, **settings)  # type: ignore[arg-type]
        self.factory: Any = SMTPFactory(self.clock, listening)
        self.connection: Any = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
        self.wire: Any = Wire()
        self.connection.makeConnection(self.wire)

    def say(self, *parts: bytes) -> bytes:
        """Say these, and return what comes back."""
        self.wire.clear()
        for part in parts:
            self.connection.dataReceived(part)
        said: bytes = self.wire.value()
        return said

    def wait(self, seconds: float) -> bytes:
        """Do nothing for so long, and return what comes."""
        self.wire.clear()
        for _ in range(int(seconds)):
            self.clock.advance(1)
        said: bytes = self.wire.value()
        return said

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed its half, or all."""
        return self.wire.half_closed or bool(self.wire.aborts)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Connect a peer; nothing may be left of it."""
    with connected() as peer:
        yield peer


@contextlib.contextmanager
def connected(**settings: object) -> Iterator[Peer]:
    """Connect a peer to a server of these settings; nothing may be left of it."""
    made = Peer(**settings)
    yield made
    made.connection.connectionLost(Failure(ConnectionDone()))
    made.wire.socket.close()
    made.wire.peer.close()
    assert made.totals.open == 0
    assert not made.clock.getDelayedCalls()


def test_greeting(peer: Peer) -> None:
    """A peer is greeted by the address that it has come to."""
    assert peer.wire.value() == b"220 [10.0.0.1] ESMTP netecho\r\n"


def test_idle(peer: Peer) -> None:
    """A peer may be idle for the five minutes of RFC 5321, and then it is said goodbye to."""
    for _ in range(3):
        assert peer.wait(PATIENCE.idle - 5) == b""
        assert peer.say(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
    assert peer.wait(PATIENCE.idle + 2).startswith(b"421 ")
    assert peer.has_ended


def test_a_slow_command(peer: Peer) -> None:
    """A command that comes byte by byte has its time as a whole."""
    for _ in range(int(PATIENCE.start) - 2):
        assert peer.say(b"x") == b""
        assert peer.wait(1) == b""
    assert not peer.has_ended
    peer.say(b"x")
    assert peer.wait(5).startswith(b"421 ")
    assert peer.has_ended


@pytest.mark.parametrize(("rate", "lasts"), [(100, False), (5000, True)])
def test_a_slow_mail(peer: Peer, rate: int, lasts: bool) -> None:
    """A mail may take its time as long as it moves, and not as long as it seems to."""
    assert peer.say(*ENVELOPE).endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
    said = b""
    for _ in range(200):
        said += peer.say(*[b"x" * 98 + b"\r\n"] * (rate // 100)) + peer.wait(1)
        if peer.has_ended:
            break
    assert peer.has_ended != lasts
    assert said.startswith(b"421 ") != lasts
    if lasts:
        assert peer.say(b".\r\n").startswith(b"250 ")


def test_a_peer_that_reads_nothing(peer: Peer) -> None:
    """A peer that does not take what it is told is cut off, and not told any more."""
    peer.say(b"NOOP\r\n")
    peer.wire.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):  # as the transport would have written it
        while True:
            peer.wire.socket.send(b"250 2.0.0 Ok\r\n" * 1000)
    assert peer.wait(PATIENCE.start + 2) == b""
    assert peer.wire.aborts == 1
    assert peer.totals.cut == 1


def test_pause(peer: Peer) -> None:
    """A peer that takes nothing is not read from until it does."""
    assert peer.wire.producer is peer.connection
    peer.connection.pauseProducing()
    assert peer.wire.producerState == "paused"
    peer.connection.resumeProducing()
    assert peer.wire.producerState == "producing"


def test_nothing_after_the_end(peer: Peer) -> None:
    """What comes after QUIT, or after a bare LF in a mail, is neither taken nor answered."""
    assert peer.say(b"QUIT\r\n").startswith(b"221 ")
    assert peer.wire.half_closed
    assert peer.say(*ENVELOPE, b"x\r\n.\r\n") == b""


def test_smuggling(peer: Peer) -> None:
    """A mail with a bare LF around its end gets one reply and a close; what it hid is no command."""
    assert peer.say(*ENVELOPE) != b""
    said = peer.say(
        b"x\n.\r\nMAIL FROM:<smuggled@example.org>\r\n", b"RCPT TO:<b@c>\r\nDATA\r\n", b"\r\n.\r\n"
    )
    assert said == b"554 5.6.0 a line ends in CR LF: neither may come alone\r\n"
    assert peer.wire.half_closed


def test_no_handshake() -> None:
    """A peer that turns to TLS and says nothing in it is cut when a handshake has had its time."""
    with connected(upgrade=server_context()) as peer:
        assert peer.say(b"EHLO x\r\n", b"STARTTLS\r\n").endswith(b"220 2.0.0 begin TLS\r\n")
        peer.wait(HANDSHAKE_TIMEOUT)
        assert peer.wire.aborts == 1
    with connected(tls=server_context()) as secure:
        assert secure.wire.value() == b""  # nothing is said in clear
        secure.wait(HANDSHAKE_TIMEOUT + 1)
        assert secure.wire.aborts == 1


def test_idle_timeout() -> None:
    """A listener's own --idle-timeout is said goodbye by too."""
    with connected(idle_timeout=5.0) as peer:
        assert peer.wait(6).startswith(b"421 ")
        assert peer.wire.half_closed


def test_drain(peer: Peer) -> None:
    """A server that ends takes the mail that is on its way, and then says goodbye."""
    peer.say(*ENVELOPE)
    peer.wire.clear()
    peer.connection.drain()
    assert not peer.wire.half_closed
    assert peer.say(b"x\r\n.\r\n").startswith(b"250 ")
    peer.wire.clear()
    peer.clock.advance(0)
    assert peer.wire.value().startswith(b"421 ")
    assert peer.wire.half_closed


def test_drain_amid_a_mail(peer: Peer) -> None:
    """A mail whose rest does not come in time is not taken, and its sender is told, with a moment to go."""
    peer.say(*ENVELOPE, b"half of it\r\n")
    peer.wire.clear()
    peer.connection.drain()
    peer.factory.abort()
    assert peer.wire.value() == b"421 4.3.2 [10.0.0.1] is closing the connection\r\n"
    assert (peer.wire.half_closed, peer.wire.aborts) == (True, 0)
    assert peer.wait(2 * LINGER + 1) == b""
    assert peer.wire.aborts == 1


def test_drain_of_a_peer_that_reads_nothing(peer: Peer) -> None:
    """Whoever has not taken what it was told already is not told more."""
    peer.say(*ENVELOPE)
    peer.wire.socket.sendall(b"waits to be read")
    peer.wire.clear()
    peer.connection.drain()
    peer.factory.abort()
    assert (peer.wire.value(), peer.wire.aborts) == (b"", 1)
