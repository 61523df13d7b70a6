"""STAMP's two sides, without sockets beneath them: a reflector's port, and a sender's session."""

from __future__ import annotations

import dataclasses
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from netecho.errors import NoReflectorError
from netecho.measure.oneway import Reflection
from netecho.plans import ReplyMode
from netecho.protocols import _clock_error
from netecho.protocols._clock_error import UNKNOWN, ClockError, clock_error
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._stamp_packets import (
    BASE_SIZE,
    NOT_AUTHENTIC,
    TOO_SHORT,
    TWAMP_SIZE,
    ReflectorPacket,
    SenderPacket,
    extra_padding,
)
from netecho.protocols._stamp_reflector import REFLECTED, Reflector, Sessions
from netecho.protocols._stamp_sender import Session
from netecho.protocols._timestamps import ErrorEstimate, ntp_from
from netecho.protocols.stamp import adapter
from tests.test_stamp_timestamps import ptp_from

SECOND = 10**9
NOW = 1_583_020_800 * SECOND
KEY = b"between us"
PEER = ("192.0.2.1", 40_000)
OTHER = ("192.0.2.2", 40_000)
Source = tuple[str, int]


class Wire:
    """A timed port's transport, and its socket in one, that keeps what is written."""

    def __init__(self) -> None:
        self.socket = self
        self.maxThroughput = 1000
        self.received_ns, self.hops = NOW, 255
        self.written: list[tuple[bytes, Source]] = []

    def write(self, datagram: bytes, addr: Source) -> None:
        """Keep it."""
        self.written.append((datagram, addr))


class Port:
    """A reflector's port; a datagram that comes to it has been on its way for no time."""

    def __init__(
        self, *, key: bytes | None = None, stateful: bool = False, reply: ReplyMode = ReplyMode.ECHO
    ) -> None:
        self.now = NOW
        self.wire = Wire()
        self.totals = Totals()
        self.key = key
        settings = ListenSettings(self.totals, reply, key=key, stateful=stateful)
        self.protocol = Reflector(Clock(), settings, clock=lambda: self.now)
        transport: Any = self.wire
        self.protocol.transport = transport

    def take(self, datagram: bytes, source: Source = PEER) -> None:
        """Take a datagram."""
        self.wire.received_ns = self.now
        self.protocol.datagramReceived(datagram, source)

    def answers(self) -> list[ReflectorPacket]:
        """Return, and forget, the answers so far."""
        written, self.wire.written = self.wire.written, []
        return [ReflectorPacket.decode(datagram, self.key) for datagram, _ in written]


def packet(sequence: int = 0, rest: bytes = b"", key: bytes | None = None) -> bytes:
    """Return what a sender sends."""
    return SenderPacket(sequence, ntp_from(NOW - 5), ErrorEstimate(scale=3, multiplier=9), rest).encode(key)


@pytest.mark.parametrize("key", [None, KEY], ids=["unauthenticated", "authenticated"])
def test_answer(key: bytes | None) -> None:
    """An answer has a copy of what it answers, when that came and with how many hops, and when it leaves."""
    port = Port(key=key)
    port.wire.hops = 77
    test = packet(42, b"the rest", key)
    port.take(test)
    port.wire.received_ns = NOW + 1
    [(datagram, source)] = port.wire.written
    assert source == PEER
    assert len(datagram) == len(test)
    answer = ReflectorPacket.decode(datagram, key)
    assert answer == ReflectorPacket(
        sequence=42,
        timestamp=ntp_from(NOW),
        error=clock_error(),
        receive_timestamp=ntp_from(NOW),
        sender_sequence=42,
        sender_timestamp=ntp_from(NOW - 5),
        sender_error=ErrorEstimate(scale=3, multiplier=9),
        sender_ttl=77,
        rest=b"the rest",
    )
    assert (port.totals.datagrams_sent, port.totals.bytes_sent) == (1, len(test))


def test_times_of_an_answer() -> None:
    """When a packet came is what the system says, and when its answer leaves is what the clock says then."""
    port = Port()
    port.wire.received_ns, port.now = NOW - 300, NOW
    port.protocol.datagramReceived(packet(), PEER)
    [answer] = port.answers()
    assert answer.receive_timestamp == ntp_from(NOW - 300)
    assert answer.timestamp == ntp_from(NOW)


def test_stateless() -> None:
    """A stateless reflector's answer has the number of what it answers."""
    port = Port()
    for sequence in (5, 5, 2**32 - 1):
        port.take(packet(sequence))
    assert [answer.sequence for answer in port.answers()] == [5, 5, 2**32 - 1]


def test_stateful() -> None:
    """A stateful one counts its answers for each peer, from 0."""
    port = Port(stateful=True)
    for sequence, source in [(7, PEER), (9, PEER), (0, OTHER), (12, PEER), (1, OTHER)]:
        port.take(packet(sequence), source)
    answers = port.answers()
    assert [answer.sequence for answer in answers] == [0, 1, 0, 2, 1]
    assert [answer.sender_sequence for answer in answers] == [7, 9, 0, 12, 1]


def test_sessions_are_bounded() -> None:
    """Of more peers than are remembered, those are forgotten that were answered longest ago."""
    sessions = Sessions(most=3)
    ports = [sessions.next_number(("192.0.2.1", port), NOW) for port in (1, 2, 3, 1, 4, 1, 2, 3)]
    assert len(sessions) == 3
    assert ports == [0, 0, 0, 1, 0, 2, 0, 0]


def test_silent_sessions_begin_anew() -> None:
    """After a long silence a peer is in another session: its port may be another program's by now."""
    sessions = Sessions(idle_ns=SECOND)
    assert [sessions.next_number(PEER, NOW + at) for at in (0, SECOND, 2 * SECOND, 3 * SECOND + 1)] == [
        0,
        1,
        2,
        0,
    ]


def test_session_numbers_have_32_bits() -> None:
    """They wrap round."""
    sessions = Sessions()
    sessions._peers[PEER] = 2**32 - 1, NOW
    assert [sessions.next_number(PEER, NOW) for _ in range(2)] == [2**32 - 1, 0]


@pytest.mark.parametrize("size", range(TWAMP_SIZE, BASE_SIZE))
def test_twamp_light(size: int) -> None:
    """TWAMP Light's shorter packets get an answer of their size, which has all of its fields."""
    port = Port()
    port.take(packet(3)[:14] + b"\x5a" * (size - 14))
    [(datagram, _)] = port.wire.written
    assert len(datagram) == size
    answer = ReflectorPacket.decode(datagram)
    assert (answer.sender_sequence, answer.sender_ttl) == (3, 255)


@pytest.mark.parametrize(
    ("datagram", "key", "reason"),
    [
        (b"", None, TOO_SHORT),
        (packet()[: TWAMP_SIZE - 1], None, TOO_SHORT),
        (packet(), KEY, TOO_SHORT),
        (packet(key=b"another"), KEY, NOT_AUTHENTIC),
        (packet(rest=bytes(68)), KEY, NOT_AUTHENTIC),
    ],
    ids=["empty", "short", "unauthenticated", "another key", "unauthenticated, as long"],
)
def test_no_answer(datagram: bytes, key: bytes | None, reason: str) -> None:
    """What is no test packet, with the key if there is one, gets no answer and is counted."""
    port = Port(key=key)
    port.take(datagram)
    assert port.wire.written == []
    assert port.totals.dropped == {reason: 1}


def test_sources_without_an_answer() -> None:
    """A reflector answers no source that no server of datagrams answers."""
    port = Port()
    port.take(packet(), ("192.0.2.1", 862))
    port.take(packet(), ("224.0.0.1", 40_000))
    assert port.totals.dropped == {"source port below 1024": 1, "multicast source": 1}


def test_discard() -> None:
    """A server that discards takes packets, and answers none."""
    port = Port(reply=ReplyMode.DISCARD)
    port.take(packet())
    assert port.wire.written == []
    assert (port.totals.datagrams_received, port.totals.dropped) == (1, {})


@given(st.binary(max_size=200), st.sampled_from([None, KEY]), st.booleans())
def test_no_answer_is_larger(datagram: bytes, key: bytes | None, stateful: bool) -> None:
    """Whatever comes, an answer is as large, or there is none and it is counted."""
    port = Port(key=key, stateful=stateful)
    port.take(datagram)
    sizes = [len(answer) for answer, _ in port.wire.written]
    assert sizes == [len(datagram)] * (1 - sum(port.totals.dropped.values()))


@pytest.mark.parametrize("key", [None, KEY], ids=["unauthenticated", "authenticated"])
def test_two_reflectors_do_not_loop(key: bytes | None) -> None:
    """A packet forged to come from one reflector to another is answered, and that answer is not."""
    one, other = Port(key=key), Port(key=key)
    one.take(packet(key=key), OTHER)
    [(answer, _)] = one.wire.written
    other.now += 50
    other.take(answer, PEER)
    # The first packet said when it was sent, which may be any time; so the other may answer too.
    for datagram, _ in other.wire.written:
        one.take(datagram, OTHER)
    assert one.totals.datagrams_sent == 1
    assert one.totals.dropped.get(REFLECTED, 0) + other.totals.dropped.get(REFLECTED, 0) == 1


@pytest.mark.parametrize("key", [None, KEY], ids=["unauthenticated", "authenticated"])
@pytest.mark.parametrize("wrong", [-(10**6) * SECOND, 0, 10**6 * SECOND], ids=["behind", "right", "ahead"])
def test_reflector_of_another_make(key: bytes | None, wrong: int) -> None:
    """One that answers everything, with whatever clock, answers ours with our own time in it."""
    port = Port(key=key)
    careless = Port(key=key)
    careless.now += wrong
    port.take(SenderPacket(0, 0, UNKNOWN).encode(key), OTHER)
    [(answer, _)] = port.wire.written
    careless.protocol._sent_lately = lambda timestamp, now_ns: False  # type: ignore[method-assign]
    careless.take(answer, PEER)
    [(back, _)] = careless.wire.written
    port.now += 59 * SECOND
    port.take(back, OTHER)
    assert port.totals.dropped == {REFLECTED: 1}


def test_old_answers_are_test_packets() -> None:
    """What has a time in it that is long past is some padding, such as TWAMP has."""
    port = Port()
    port.take(bytes(28) + ntp_from(NOW - 60 * SECOND).to_bytes(8, "big") + bytes(8))
    port.take(b"\xff" * 44)
    assert port.totals.datagrams_sent == 2


def test_zeros_are_no_time() -> None:
    """Nor on the day in 2036 on which NTP's seconds begin anew, and zeros are a time."""
    port = Port()
    port.now = 2_085_978_496 * SECOND
    port.take(packet())
    assert port.totals.datagrams_sent == 1


def test_constant_answers_are_ended() -> None:
    """A peer that says the same for ever is dropped in the end, as by any server of datagrams."""
    port = Port()
    for _ in range(port.protocol._guard.LIMIT):
        port.protocol._left = 2
        port.take(b"x" * 100)
    assert port.totals.dropped == {"repeated without end": 1}


def answer_to(datagram: bytes, key: bytes | None = None, **changes: Any) -> bytes:
    """Return a reflector's answer to a test packet, but for what a test wants otherwise."""
    test = SenderPacket.decode(datagram, key)
    answer = ReflectorPacket(
        sequence=test.sequence,
        timestamp=ntp_from(NOW + 130),
        error=ErrorEstimate(synchronised=True, scale=8, multiplier=128),
        receive_timestamp=ntp_from(NOW + 100),
        sender_sequence=test.sequence,
        sender_timestamp=test.timestamp,
        sender_error=test.error,
        sender_ttl=250,
        rest=test.rest,
    )
    return dataclasses.replace(answer, **changes).encode(key)


@pytest.mark.parametrize("key", [None, KEY], ids=["unauthenticated", "authenticated"])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_overhead(size: int, key: bytes | None) -> None:
    """What a packet has beside its payload is known before there is one."""
    packet = Session(key).packet(0, bytes(size))
    assert len(packet) == size + adapter.overhead(size, authenticated=key is not None)
    assert len(answer_to(packet, key)) == len(packet)


@pytest.mark.parametrize("key", [None, KEY], ids=["unauthenticated", "authenticated"])
def test_session(key: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test packet has our time, and its answer makes a reflection of it."""
    ours = ErrorEstimate(synchronised=True, scale=8, multiplier=64)
    monkeypatch.setattr(_clock_error, "clock_error", lambda: ours)
    session = Session(key, clock=lambda: NOW)
    sent = session.packet(0, b"payload")
    assert SenderPacket.decode(sent, key) == SenderPacket(0, ntp_from(NOW), ours, extra_padding(b"payload"))
    sequence, payload, reflection = session.read(answer_to(sent, key, sequence=9), NOW + 260)
    assert (sequence, payload) == (0, b"payload")
    assert reflection == Reflection(
        sent_ns=NOW,
        received_ns=NOW + 100,
        answered_ns=NOW + 130,
        returned_ns=NOW + 260,
        number=9,
        ttl=250,
        synchronised=True,
        error_ns=7630 + 3815,
    )


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False)])
def test_clocks_that_are_not_synchronised(ours: bool, theirs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clocks have to be."""
    monkeypatch.setattr(_clock_error, "clock_error", lambda: ErrorEstimate(synchronised=ours))
    session = Session(None, clock=lambda: NOW)
    answer = answer_to(session.packet(0, b""), error=ErrorEstimate(synchronised=theirs))
    _, _, reflection = session.read(answer, NOW + 260)
    assert reflection is not None
    assert not reflection.synchronised


@pytest.mark.parametrize("missing", ["timestamp", "receive_timestamp"])
def test_a_reflector_that_has_no_time(missing: str) -> None:
    """A timestamp of 0 is no time: the exchange counts, and its delays each way are not known."""
    session = Session(None, clock=lambda: NOW)
    answer = answer_to(session.packet(0, b"payload"), None, **{missing: 0})
    assert session.read(answer, NOW + 260) == (0, b"payload", None)


def test_numbers_beyond_32_bits() -> None:
    """An exchange's number is known in full, of those sent the last one that has these 32 bits."""
    session = Session(None)
    early = session.packet(2**32 - 2, b"")
    late = session.packet(2**32 + 5, b"")
    assert SenderPacket.decode(late).sequence == 5
    assert session.read(answer_to(late), NOW)[0] == 2**32 + 5
    assert session.read(answer_to(early), NOW)[0] == 2**32 - 2


@pytest.mark.parametrize("number", [1, 2**32 - 1])
def test_answer_to_nothing(number: int) -> None:
    """What answers no exchange of the session has no number."""
    session = Session(None)
    sent = session.packet(0, b"")
    assert session.read(answer_to(sent, sender_sequence=number), NOW) == (None, b"", None)


def test_no_answers() -> None:
    """What is no answer, or not authentic, has no number either, and is itself what came."""
    session = Session(KEY)
    forged = answer_to(session.packet(0, b""), KEY)[:-1] + b"?"
    for datagram in (b"", b"x" * 200, forged):
        assert session.read(datagram, NOW) == (None, datagram, None)


@pytest.mark.parametrize("payload", [b"", b"hello"])
@pytest.mark.parametrize("key", [None, KEY])
def test_own_packets(key: bytes | None, payload: bytes) -> None:
    """A packet of ours that comes back as it left, even long after, shows that there is no reflector."""
    session = Session(key, clock=lambda: NOW)
    sent = [session.packet(number, payload) for number in range(3)]
    for packet in sent:
        with pytest.raises(NoReflectorError):
            session.read(packet, NOW + SECOND)
    other = Session(key, clock=lambda: NOW)
    assert other.read(sent[0], NOW + SECOND)[0] is None
    for packet in sent:
        # A reflector has said when it came, if nothing else.
        place = 32 if key else 16
        answer = bytearray(packet)
        answer[place : place + 8] = bytes(range(1, 9))
        if key:
            answer[96:112] = hmac.digest(key, answer[:96], "sha256")[:16]
        session.read(bytes(answer), NOW + SECOND)
    session.read(bytes(len(sent[0])), NOW + SECOND)


@pytest.mark.parametrize("stateful", [False, True])
def test_answer_without_delay(stateful: bool) -> None:
    """An answer is none of our packets, though all clocks and numbers in it be those of our packet."""
    port = Port(stateful=stateful)
    session = Session(None, clock=lambda: NOW)
    for number in range(3):
        port.take(session.packet(number, b"hello"))
        [(answer, _)] = port.wire.written
        port.wire.written.clear()
        sequence, payload, reflection = session.read(answer, NOW)
        assert (sequence, payload) == (number, b"hello")
        assert reflection is not None


def test_ptp_reflector() -> None:
    """A reflector's times may be PTP's, whatever ours are."""
    session = Session(None, clock=lambda: NOW)
    theirs: dict[str, Any] = {
        "timestamp": ptp_from(NOW + 130),
        "receive_timestamp": ptp_from(NOW + 100),
        "error": ErrorEstimate(ptp=True, multiplier=1),
    }
    _, _, reflection = session.read(answer_to(session.packet(0, b""), **theirs), NOW + 260)
    assert reflection is not None
    assert (reflection.sent_ns, reflection.received_ns, reflection.answered_ns) == (NOW, NOW + 100, NOW + 130)
    assert not reflection.synchronised


def test_times_that_mean_nothing() -> None:
    """An answer with no possible time in it is still an answer, and one that tells no error says so."""
    session = Session(None, clock=lambda: NOW)
    sent = session.packet(0, b"x")
    wrong = answer_to(sent, error=ErrorEstimate(ptp=True), timestamp=2**64 - 1)
    assert session.read(wrong, NOW) == (0, b"x", None)
    _, _, reflection = session.read(answer_to(sent, error=ErrorEstimate(multiplier=0)), NOW + 260)
    assert reflection is not None
    assert reflection.error_ns is None


def test_clock_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked how far the clock may be off; where it cannot be, nothing is claimed."""
    assert clock_error().error_ns is not None
    monkeypatch.setattr("sys.platform", "darwin")
    assert clock_error() == UNKNOWN
    assert not UNKNOWN.synchronised


def test_clock_error_is_asked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says is kept for a while."""
    now = 0.0
    said = [ErrorEstimate(multiplier=number) for number in (1, 2)]
    monkeypatch.setattr(_clock_error, "clock_error", lambda: said.pop(0))
    error = ClockError(clock=lambda: now)
    assert [error().multiplier for _ in range(3)] == [1, 1, 1]
    now += 10
    assert error().multiplier == 2
