"""QUIC among peers that send what no client does: frames that cost them little, and a server much.

Each shakes hands as aioquic does, and then makes its packets of frames by hand.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aioquic import tls
from aioquic.buffer import encode_uint_var as number
from aioquic.h3.connection import ErrorCode
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from hypothesis import given
from hypothesis import strategies as st

from netecho.protocols import _quic_server
from netecho.protocols._quic_bounds import MOST_ACKNOWLEDGEMENTS, MOST_CRYPTO, MOST_GAPS, _Ranges
from netecho.protocols._quic_server import MOST_HANDSHAKES
from netecho.protocols._quic_wire import WINDOW, Wire
from tests.http3_peers import CLIENT, SERVER, Pair, head

MIB = 1 << 20
PING = b"\x01"


def packet(core: QuicConnection, frames: bytes, *, initial: bool = False) -> bytes:
    """Return a datagram of a client with these frames and no others."""
    epoch, kind = tls.Epoch.ONE_RTT, QuicPacketType.ONE_RTT
    if initial:
        epoch, kind = tls.Epoch.INITIAL, QuicPacketType.INITIAL
    assert core._version is not None
    builder = QuicPacketBuilder(
        host_cid=core.host_cid,
        is_client=True,
        max_datagram_size=1200,
        packet_number=core._packet_number,
        peer_cid=core._peer_cid.cid,
        version=core._version,
    )
    builder.start_packet(kind, core._cryptos[epoch])
    builder.start_frame(frames[0], capacity=len(frames)).push_bytes(frames[1:])
    [datagram], _ = builder.flush()
    core._packet_number = builder.packet_number
    return datagram


def stream(stream_id: int, offset: int, data: bytes, *, ends: bool = False) -> bytes:
    """Return a STREAM frame."""
    return bytes([0x0E | ends]) + number(stream_id) + number(offset) + number(len(data)) + data


def crypto(offset: int, data: bytes) -> bytes:
    """Return a CRYPTO frame."""
    return b"\x06" + number(offset) + number(len(data)) + data


def connection_id(sequence: int, retire_prior_to: int) -> bytes:
    """Return a NEW_CONNECTION_ID frame."""
    return b"\x18" + number(sequence) + number(retire_prior_to) + b"\x08" + os.urandom(24)


def request(pair: Pair, *fields: tuple[bytes, bytes], method: bytes = b"POST", path: bytes = b"/") -> bytes:
    """Return a HEADERS frame."""
    _, data = pair.http._encoder.encode(0, head(method, path, *fields))
    return b"\x01" + number(len(data)) + bytes(data)


class Hostile(Pair):
    """A client that can send any frames, and a book of how the server has ended its connection."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        super().__init__(on_event=lambda *event: self.events.append(event), **settings)
        [self.link] = self.port.open
        self.ended: list[ConnectionTerminated] = []
        over = self.link.over

        def note(why: ConnectionTerminated) -> None:
            self.ended.append(why)
            over(why)

        self.link.over = note  # type: ignore[method-assign]

    def give(self, frames: bytes, source: tuple[str, int] = CLIENT) -> None:
        """Have the server get a packet, at the end of whose turn it answers."""
        self.port.datagramReceived(packet(self.quic, frames), source)
        self.clock.advance(0)

    @property
    def wire(self) -> Wire:
        """The core of the server's connection."""
        return self.link.wire

    @property
    def codes(self) -> list[int]:
        """With what the server has ended the connection, if it has."""
        return [why.error_code for why in self.ended]

    def open(self, stream_id: int) -> None:
        """Have the client's own core know a stream, of which the server may say something."""
        self.quic._get_or_create_stream_for_send(stream_id)


def grown(work: Callable[[], object]) -> int:
    """Return the bytes that are in use after some work and were not before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_last_bytes_of_many_streams() -> None:
    """What is kept behind gaps counts as what has come and is not taken: a window is all there is of it."""
    with Hostile() as pair:

        def send_last_bytes() -> None:
            for stream_id in range(0, 400, 4):
                if pair.ended:
                    return
                pair.open(stream_id)
                pair.give(stream(stream_id, MIB - 1, b"x"))
                pair.turn()

        assert grown(send_last_bytes) < 3 * WINDOW
        assert pair.codes == [QuicErrorCode.FLOW_CONTROL_ERROR]


def test_every_other_byte() -> None:
    """A stream has so many gaps and no more."""
    with Hostile() as pair:
        pair.open(0)
        for offset in range(2, 4 * MOST_GAPS, 200):
            if not pair.ended:
                pair.give(b"".join(stream(0, offset + more, b"x") for more in range(0, 200, 2)))
                pair.turn()
        assert [(why.error_code, why.reason_phrase) for why in pair.ended] == [
            (QuicErrorCode.INTERNAL_ERROR, "too many gaps")
        ]


def test_gaps_that_are_filled() -> None:
    """Fewer gaps are what a burst of losses makes: all that has come is put in order."""
    with Hostile() as pair:
        body = os.urandom(1000)
        whole = request(pair, (b"content-length", b"1000")) + b"\x00" + number(1000) + body
        pair.open(0)
        for start in (1, 0):
            for first in range(start, len(whole), 200):
                last = min(first + 200, len(whole))
                frames = [
                    stream(0, at, whole[at : at + 1], ends=at == len(whole) - 1)
                    for at in range(first, last, 2)
                ]
                pair.give(b"".join(frames))
                pair.turn()
        assert pair.answers[0].body == body


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=40))
def test_ranges(added: list[tuple[int, int]]) -> None:
    """They come out as aioquic's own do."""
    ours, theirs = _Ranges(), RangeSet()
    for start, size in added:
        ours.add(start, start + size)
        theirs.add(start, start + size)
    assert list(ours) == list(theirs)


def test_nothing_acknowledged() -> None:
    """A peer that acknowledges nothing of what answers its packets has no more of it remembered."""
    with Hostile() as pair:
        for count in range(4 * MOST_ACKNOWLEDGEMENTS):
            pair.give(PING if count else b"\x1a12345678")
            pair.clock.advance(0.03)
            pair._wires.sent.clear()
        space = pair.wire._spaces[tls.Epoch.ONE_RTT]
        sent = space.sent_packets.values()
        assert len(sent) < 2 * MOST_ACKNOWLEDGEMENTS + 100
        # What must arrive is still remembered.
        assert sum(one.is_ack_eliciting for one in sent) == space.ack_eliciting_in_flight > 0


@pytest.mark.parametrize("confirmed", [True, False])
def test_message_of_tls_without_end(confirmed: bool) -> None:
    """It is collected up to a size, before the handshake and after it."""
    with Hostile() as pair:
        core, link = pair.quic, pair.link
        if not confirmed:
            core = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
            core.connect(SERVER, 0.0)

        def send(frames: bytes) -> None:
            datagram = packet(core, frames + bytes(1100 - len(frames)), initial=not confirmed)
            pair.port.datagramReceived(datagram, CLIENT)

        send(crypto(0, b"\x01\xff\xff\xff"))
        if not confirmed:
            [link] = pair.port.opening
        for offset in range(4, MOST_CRYPTO - 1000, 1000):
            send(crypto(offset, bytes(1000)))
        assert not link.is_over
        send(crypto(offset + 1000, bytes(1000)))
        assert link.is_over
        assert link.wire.ended is not None
        assert link.wire.ended.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED


@pytest.mark.parametrize(
    "frames",
    [
        PING * 1000,
        b"\x00" + PING * 1000,
        (b"\x10" + number(5)) * 500,
        (b"\x11" + number(0) + number(5)) * 300,
        (b"\x14" + number(5)) * 500,
        (b"\x02" + number(0) * 4) * 200,
        b"\x1a12345678" * 100,
        b"\x1b12345678" * 100,
        (b"\x19" + number(1)) * 400,
        stream(0, 0, b"") * 250,
        (b"\x04" + number(0) * 3) * 250,
        crypto(0, b"") * 350,
        crypto(0, b"\x18") * 250,
    ],
    ids=[
        *("ping", "padding", "data", "stream", "blocked", "ack", "challenge", "response", "retire", "empty"),
        *("reset", "crypto", "repeated crypto"),
    ],
)
def test_frames_that_move_nothing(frames: bytes) -> None:
    """A packet that is full of them is paid for: whoever cannot any more is closed."""
    with Hostile() as pair:
        pair.open(0)
        for _ in range(20):
            if not pair.ended:
                pair.give(frames)
        assert pair.codes == [ErrorCode.H3_EXCESSIVE_LOAD]


def test_packets_that_move_nothing() -> None:
    """A packet with few of them is what clients send, as often as they like."""
    with Hostile() as pair:
        for _ in range(1000):
            pair.give(PING + b"\x10" + number(5))
            pair.turn()
        assert pair.end is None
        assert pair.answer(head(b"POST", b"/"), b"still here").body == b"still here"


def of_stopped_stream(pair: Hostile) -> Iterator[bytes]:
    """Wait to be told to go on, on a stream of which nothing is to be heard."""
    pair.open(0)
    yield b"\x05" + number(0) + number(1)
    yield stream(0, 0, request(pair, (b"expect", b"100-continue")))


def of_stopped_qpack(pair: Hostile) -> Iterator[bytes]:
    """Ask for something, and stop in the same packet what its answer needs."""
    pair.open(0)
    yield stream(0, 0, request(pair, method=b"GET"), ends=True) + b"\x05" + number(11) + number(1)


def of_closed_qpack(pair: Hostile) -> Iterator[bytes]:
    """End the stream on which the encoder speaks."""
    yield stream(pair.http._local_encoder_stream_id, 1, b"", ends=True)


def of_new_closed_qpack(pair: Hostile) -> Iterator[bytes]:
    """Begin one and end it at once: there is one already."""
    yield stream(14, 0, b"\x02", ends=True)


def of_no_id(pair: Hostile) -> Iterator[bytes]:
    """Retire every connection ID, with one that is in use elsewhere."""
    yield connection_id(50, 8)
    yield connection_id(51, 8)
    yield b"\x1a12345678"
    yield connection_id(51, 51)


def of_unsent(pair: Hostile) -> Iterator[bytes]:
    """Acknowledge what has never been sent."""
    yield b"\x02" + number(5000) + number(0) * 3


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (of_stopped_stream, None),
        (of_stopped_qpack, ErrorCode.H3_CLOSED_CRITICAL_STREAM),
        (of_closed_qpack, ErrorCode.H3_CLOSED_CRITICAL_STREAM),
        (of_new_closed_qpack, ErrorCode.H3_STREAM_CREATION_ERROR),
        (of_no_id, QuicErrorCode.PROTOCOL_VIOLATION),
        (of_unsent, QuicErrorCode.PROTOCOL_VIOLATION),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_out_of_place(play: Callable[[Hostile], Iterator[bytes]], code: int | None) -> None:
    """What is not to be is told by its code; nothing raises, and a stream that is not heard is no mistake."""
    with Hostile() as pair:
        for frames in play(pair):
            elsewhere = frames[:1] == b"\x1a"
            pair.give(frames, ("192.0.2.9", 7777) if elsewhere else CLIENT)
            pair.turn()
        assert pair.codes == ([] if code is None else [code])
        if code is None:
            assert pair.answer(head(b"POST", b"/"), b"still here").body == b"still here"


def test_what_aioquic_trips_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the peer its connection, and is no traceback."""
    with Hostile() as pair:

        def trip(*_: object) -> None:
            raise IndexError("pop from empty list")

        monkeypatch.setattr(pair.wire, "_payload_received", trip)
        pair.give(PING)
        assert pair.codes == [QuicErrorCode.INTERNAL_ERROR]


def test_small_pieces() -> None:
    """A body that comes in pieces of two bytes, and waits, takes about as much memory as it has bytes."""
    with Hostile() as pair:
        pair.open(0)
        begin = request(pair, path=b"/delay/60s") + b"\x00" + number(MIB)
        pair.give(stream(0, 0, begin))
        size = 20_000

        def send() -> None:
            for at in range(len(begin), len(begin) + size, 200):
                pair.give(b"".join(stream(0, at + more, b"xy") for more in range(0, 200, 2)))

        assert grown(send) < 5 * size
        assert pair.wire.withheld == size


def test_source_that_is_not_answered() -> None:
    """A connection does not move to an address at which none can begin."""
    with Hostile() as pair:
        pair.turn(1.0)
        for source in (("192.0.2.1", 7), ("224.0.0.1", 5000)):
            pair.give(PING, source)
            pair.clock.advance(1.0)
            assert source not in pair._wires.sent
        assert pair.totals.dropped == {"source port below 1024": 1, "multicast source": 1}
        pair.give(PING, ("192.0.2.1", 5001))
        pair.clock.advance(1.0)
        assert ("192.0.2.1", 5001) in pair._wires.sent


def test_id_that_is_used_at_once() -> None:
    """An ID that a peer has been told is known when its first packet comes by it."""
    with Hostile() as pair:
        link = pair.link
        issued = {one.cid for one in link.wire._host_cids if one.was_sent}
        assert issued <= set(pair.port.links)
        pair.give(b"\x19" + number(1))
        # Nothing has come since the answer left, in which there is another one.
        assert {one.cid for one in link.wire._host_cids} <= set(pair.port.links)


def test_no_idle_time() -> None:
    """A peer that says it has none (0) has no end of its connection in the next moment."""
    with Hostile(options={"idle_timeout": 0.0}) as pair:
        pair.turn()
        pair.clock.advance(5.0)
        assert pair.port.open


def test_refusals_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is no room is told once, however many come from wherever, until there was some again."""
    monkeypatch.setattr(_quic_server, "MOST_CONNECTIONS", 1)
    with Hostile() as pair:
        for count in range(MOST_HANDSHAKES):
            other = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
            if count < 3:
                other.connect(SERVER, 0.0)
                [(datagram, _), *_] = other.datagrams_to_send(0.0)
            forged = bytearray(datagram)
            forged[6:14] = os.urandom(8)
            pair.port.datagramReceived(bytes(forged), ("192.0.2.77", 2000 + count))
        assert pair.totals.refused == MOST_HANDSHAKES
        assert [name for name, _ in pair.events] == ["connected", "refused"]
        assert pair.events[1][1] == {"peer": "192.0.2.77:2000", "limit": 1}
