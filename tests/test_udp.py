"""A server's port for datagrams, without a socket beneath it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.task import Clock

from netecho.plans import ReplyMode, Target
from netecho.protocols._contract import ListenSettings, Totals
from netecho.protocols.udp import TURN, DatagramListener, RepetitionGuard, ReplyDatagrams

PEER = ("192.0.2.1", 5000)


class Wire:
    """A datagram transport that keeps what is written, or refuses it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.maxThroughput = 1000
        self.refusal = refusal
        self.written: list[tuple[bytes, Any]] = []

    def write(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        if self.refusal is not None:
            raise self.refusal
        self.written.append((datagram, addr))


def port(clock: Clock, wire: Wire, reply: ReplyMode = ReplyMode.ECHO) -> tuple[ReplyDatagrams, Totals]:
    """Return a port on that transport, and its server's totals."""
    totals = Totals()
    protocol = ReplyDatagrams(clock, ListenSettings(totals, reply, udp_ports={8000}))
    protocol.transport = wire
    return protocol, totals


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (("192.0.2.1", 7), "source port below 1024"),
        (("192.0.2.1", 1023), "source port below 1024"),
        (("192.0.2.1", 8000), "source port is our own"),
        (("224.0.0.1", 5000), "multicast source"),
        (("ff02::1%eth0", 5000), "multicast source"),
        (("::ffff:224.0.0.1", 5000), "multicast source"),
        (("255.255.255.255", 5000), "broadcast source"),
        (("::ffff:255.255.255.255", 5000), "broadcast source"),
        (("0.0.0.0", 5000), "unspecified source"),
        (("::", 5000), "unspecified source"),
        (("192.0.2.1", 1024), None),
        (("fe80::1%eth0", 5000), None),
        (("::ffff:192.0.2.1", 5000), None),
    ],
)
def test_sources(source: tuple[str, int], reason: str | None) -> None:
    """Only a source that cannot be a service or many hosts gets an answer; the rest are counted."""
    wire = Wire()
    protocol, totals = port(Clock(), wire)
    protocol.datagramReceived(b"?", source)
    assert totals.dropped == ({} if reason is None else {reason: 1})
    assert wire.written == ([(b"?", source)] if reason is None else [])


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (BlockingIOError(), "send buffer full"),
        (PermissionError(), "not sendable"),
        (MessageLengthError("message too long"), "not sendable"),
        (InvalidAddressError("fe80::1", "?"), "not sendable"),
    ],
)
def test_answer_that_cannot_be_sent(refusal: Exception, reason: str) -> None:
    """Whatever keeps an answer from going out, its datagram is counted: nothing disappears."""
    protocol, totals = port(Clock(), Wire(refusal))
    protocol.datagramReceived(b"?", PEER)
    assert totals.dropped == {reason: 1}
    assert (totals.datagrams_received, totals.datagrams_sent, totals.bytes_sent) == (1, 0, 0)


def test_turn_ends() -> None:
    """After so many datagrams, however empty, the transport is made to stop reading until the next turn."""
    clock, wire = Clock(), Wire()
    protocol, _ = port(clock, wire)
    for _ in range(3):
        for number in range(TURN):
            assert wire.maxThroughput == 1000
            protocol.datagramReceived(b"", (PEER[0], 2000 + number))
        assert wire.maxThroughput < 0
        clock.advance(0)
    assert wire.maxThroughput == 1000
    assert len(wire.written) == 3 * TURN


def test_repetition_is_noticed() -> None:
    """The same bytes from the same port without end are dropped once in so many, other ones never."""
    guard = RepetitionGuard()
    repeated = [guard.repeats(b"again", 5000) for _ in range(2 * guard.LIMIT)]
    assert repeated.count(True) == 2
    assert repeated[guard.LIMIT - 1]
    assert not any(guard.repeats(number.to_bytes(4, "big"), 5000) for number in range(50_000))


class StoppingOnce:
    """A port whose `stopListening`, called again, forgets whom it was to tell, as Twisted's does."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def fileno(self) -> int:
        """Return no descriptor."""
        return -1

    def stopListening(self) -> Deferred[None]:
        """Promise to tell."""
        self.stopped = Deferred()
        return self.stopped


@pytest.mark.parametrize("order", ["drain first", "abort first"])
def test_drain_and_abort_together(order: str) -> None:
    """A drain ends when the port is closed, even though an abort has closed it too."""
    opened = StoppingOnce()
    listener = DatagramListener(Clock(), opened, Target())
    if order == "abort first":
        listener.abort()
    draining = listener.drain()
    listener.abort()
    assert not draining.called
    opened.stopped.callback(None)
    assert draining.called
