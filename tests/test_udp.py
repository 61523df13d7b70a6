"""A server's port for datagrams, without a socket beneath it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.task import Clock

from netecho.plans import ReplyMode, Target
from netecho.protocols._datagram_listener import DatagramListener
from netecho.protocols._datagram_server import HEAD, TURN, RepetitionGuard
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols.udp import ReplyDatagrams

Source = tuple[str, int]
PEER = ("192.0.2.1", 5000)
SOURCES: list[tuple[Source, str | None]] = [
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
]
"""Where datagrams may seem to come from, and why they get no answer."""


class Wire:
    """A datagram transport that keeps what is written, or refuses it: all, or what is in a table."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.maxThroughput = 1000
        self.refusal = refusal
        self.refused: dict[bytes, OSError] = {}
        self.written: list[tuple[bytes, Any]] = []

    def write(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        if self.refusal is not None:
            raise self.refusal
        if datagram in self.refused:
            raise self.refused[datagram]
        self.written.append((datagram, addr))


class Together:
    """Datagrams that came together, as a reactor would pass them on; answers go to a wire."""

    def __init__(self, wire: Wire, received: list[tuple[bytes, Source]]) -> None:
        self._wire = wire
        self._received = received
        self.sizes = [len(datagram) for datagram, _ in received]
        self.sources: dict[Source, list[int]] = {}
        for index, (_, source) in enumerate(received):
            self.sources.setdefault(source, []).append(index)

    def __len__(self) -> int:
        return len(self._received)

    def __iter__(self) -> Iterator[tuple[bytes, Source]]:
        return iter(self._received)

    def address(self, index: int) -> Source:
        """Return the source of one."""
        return self._received[index][1]

    def head(self, index: int, size: int) -> bytes:
        """Return the beginning of one."""
        return self._received[index][0][:size]

    def send_back(
        self, payload: bytes | None = None, *, without: Collection[int] = ()
    ) -> list[tuple[int, OSError]]:
        """Write the answers."""
        failed = []
        for index, (datagram, source) in enumerate(self._received):
            if index not in without:
                try:
                    self._wire.write(datagram if payload is None else payload[: len(datagram)], source)
                except OSError as failure:
                    failed.append((index, failure))
        return failed


def port(
    clock: Clock, wire: Wire, reply: ReplyMode = ReplyMode.ECHO, events: list[Any] | None = None
) -> tuple[ReplyDatagrams, Totals]:
    """Return a port on that transport, and its server's totals."""
    totals = Totals()

    def on_event(*event: object) -> None:
        if events is not None:
            events.append(event)

    protocol = ReplyDatagrams(clock, ListenSettings(totals, reply, on_event=on_event, udp_ports={8000}))
    protocol.transport = wire
    return protocol, totals


@pytest.mark.parametrize(("source", "reason"), SOURCES)
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
    repeated = [guard.repeats(b"again", 5000) for _ in range(2 * guard.LIMIT + 100)]
    assert repeated.count(True) == 2
    assert not any(repeated[: guard.LIMIT - 1])
    assert not any(guard.repeats(number.to_bytes(4, "big"), 5000) for number in range(50_000))


def test_repetition_is_noticed_in_batches() -> None:
    """One counted for the whole of its batch is dropped as seldom as if all were counted."""
    protocol, totals = port(Clock(), wire := Wire())
    batches = 2 * RepetitionGuard.LIMIT // 50 + 2
    for _ in range(batches):
        protocol.datagramsReceived(Together(wire, [(b"again", PEER)] * 50))
    assert totals.dropped == {"repeated without end": 2}
    assert totals.datagrams_sent == len(wire.written) == 50 * batches - 2


def test_repetition_is_noticed_at_the_same_rate() -> None:
    """What a batch counts beyond the limit counts towards the next."""
    guard = RepetitionGuard(limit=100)
    assert 638 <= sum(guard.repeats(b"again", 5000, 64) for _ in range(1000)) <= 640


def test_differing_datagrams_are_never_dropped() -> None:
    """However many come, as long as they differ, none is taken for another, in batches or alone."""
    guard = RepetitionGuard(limit=3000, slots=1 << 8)
    numbers = itertools.count()
    for weight in (1, 64, 7):
        for _ in range(400_000 // weight):
            assert not guard.repeats(next(numbers).to_bytes(8, "big"), 5000, weight)


@pytest.mark.parametrize("number", [1, 2, 64, 100])
@pytest.mark.parametrize("batch", [1, 50])
def test_every_loop_ends(number: int, batch: int) -> None:
    """Datagrams that always come back are dropped in the end, however many they are and come at once."""
    protocol, totals = port(Clock(), wire := Wire())
    protocol._guard = RepetitionGuard(limit=300, slots=1 << 9)
    looping = [(b"%d" % index, PEER) for index in range(number)]
    turns = 0
    while looping:
        turns += 1
        assert turns < 2000 * number, "still going round"
        if batch == 1:
            protocol._left = TURN
            protocol.datagramReceived(*looping[0])
        else:
            protocol.datagramsReceived(Together(wire, looping[:batch]))
        looping = looping[batch:] + wire.written
        wire.written = []
    assert totals.dropped == {"repeated without end": number}


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=3) | st.sampled_from([b"full", b"denied", b"x" * (HEAD + 1)]),
            st.sampled_from([source for source, _ in SOURCES]),
        ),
        min_size=1,
        max_size=64,
    ),
    st.sampled_from(ReplyMode),
    st.integers(1, 20),
)
def test_batches_are_answered_as_one_by_one(
    received: list[tuple[bytes, Source]], reply: ReplyMode, size: int
) -> None:
    """Which datagrams are answered, with what, and what is counted and told, is the same in batches."""
    outcomes = []
    for together in (False, True):
        wire, events = Wire(), list[Any]()
        wire.refused = {b"full": BlockingIOError(), b"denied": PermissionError()}
        protocol, totals = port(Clock(), wire, reply, events)
        if together:
            for start in range(0, len(received), size):
                protocol.datagramsReceived(Together(wire, received[start : start + size]))
        else:
            for datagram, source in received:
                protocol.datagramReceived(datagram, source)
        outcomes.append((wire.written, totals, sorted(events, key=repr)))
    assert outcomes[0] == outcomes[1]


def test_repeated_is_dropped_among_those_that_may_be_answered() -> None:
    """What is not answered anyway is not counted as repeated, nor is it drawn to be dropped for it."""
    protocol, totals = port(Clock(), wire := Wire())
    protocol._guard = RepetitionGuard(limit=10)
    for _ in range(10):
        protocol.datagramsReceived(Together(wire, [(b"?", ("192.0.2.1", 7)), (b"?", PEER)]))
    assert totals.dropped == {"source port below 1024": 10, "repeated without end": 1}
    assert wire.written == [(b"?", PEER)] * 9


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
