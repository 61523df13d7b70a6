"""The client of HTTP/3, and servers in memory that say what no client expects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aioquic._buffer import Buffer
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, Setting, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted
from aioquic.quic.packet import QuicErrorCode, pull_quic_header
from aioquic.quic.stream import QuicStream
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from netecho.plans import ClientTLS, ServerTLS, Target
from netecho.protocols._contract import Answer, Route
from netecho.protocols._http3_client import HTTP3Exchanger
from netecho.protocols._quic_client import ClientLink
from netecho.services import tls
from tests.http3_peers import SERVER

TURN = 0.001
"""Seconds that what is sent takes to arrive."""
CLIENT = ("127.0.0.1", 5000)
OK = (b":status", b"200")


class Line:
    """A connection of the client's, and its server's end, played with aioquic.

    Args:
        clock: to be turned by hand.
        identity: the server's certificate.
        at_once: what it says, after its settings, as soon as it can send; `None`: it sends its settings when
            the handshake is complete for it.
    """

    def __init__(self, clock: Clock, identity: Any, *, at_once: bytes | None = None) -> None:
        self.clock = clock
        self._at_once = at_once
        self._settings = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
        self._settings.certificate, *self._settings.certificate_chain = identity.chain
        self._settings.private_key = identity.key
        self.server: Any = None
        self.http: Any = None
        self.asked: list[int] = []
        """The streams of the requests that have come."""
        self.bodies: list[bytes] = []
        """The content that has come with them, in pieces."""
        self.is_closed = False
        self._written: list[bytes] = []
        context = tls.for_client(ClientTLS(insecure=True), "localhost", datagrams=True)
        route = Route(Target("localhost", "http3", port=SERVER[1]), (SERVER[0],), tls=context)
        self.link = ClientLink(clock, route, ("h3",))
        self.link.connect(self)

    # The client's port.

    def write(self, datagram: bytes) -> None:
        """Take a datagram of the client's."""
        self._written.append(datagram)

    def stopListening(self) -> None:
        """Note that the client has closed its port."""
        self.is_closed = True

    # The server.

    def turn(self) -> None:
        """Have all that is sent arrive."""
        for _ in range(20):
            self.clock.advance(TURN)
            written, self._written = self._written, []
            now = self.clock.seconds()
            for datagram in written:
                if self.server is None:
                    header = pull_quic_header(Buffer(data=datagram), host_cid_length=8)
                    self.server = QuicConnection(
                        configuration=self._settings,
                        original_destination_connection_id=header.destination_cid,
                    )
                self.server.receive_datagram(datagram, CLIENT, now)
            if self.server is None:
                continue
            if self.http is None and self._at_once is not None and self.server.tls is not None:
                self.http = H3Connection(self.server)
                self.control(self._at_once)
            while (event := self.server.next_event()) is not None:
                if self.http is None and isinstance(event, HandshakeCompleted):
                    self.http = H3Connection(self.server)
                if self.http is not None:
                    for one in self.http.handle_event(event):
                        if isinstance(one, HeadersReceived):
                            self.asked.append(one.stream_id)
                        elif isinstance(one, DataReceived):
                            self.bodies.append(one.data)
            for datagram, _ in self.server.datagrams_to_send(now):
                self.link.received(datagram, SERVER)

    def say(self, stream: int, data: bytes, *, ends: bool = False) -> None:
        """Send bytes on a stream."""
        self.server.send_stream_data(stream, data, ends)

    def head(self, stream: int, *fields: tuple[bytes, bytes]) -> bytes:
        """Return a HEADERS frame."""
        _, data = self.http._encoder.encode(stream, list(fields))
        return encode_frame(FrameType.HEADERS, data)

    def control(self, data: bytes, *, ends: bool = False) -> None:
        """Send bytes on the control stream."""
        self.say(self.http._local_control_stream_id, data, ends=ends)

    def answer(self, stream: int, body: bytes) -> None:
        """Answer a request."""
        self.say(stream, self.head(stream, OK) + encode_frame(FrameType.DATA, body), ends=True)


class Pair:
    """A client, and each of its connections."""

    def __init__(self, *, at_once: bytes | None = None) -> None:
        self.clock = Clock()
        self._context = tls.for_server(ServerTLS(), {"localhost"})
        self._line = functools.partial(Line, self.clock, self._context.identity, at_once=at_once)
        self.heard: list[tuple[int | None, bytes, Answer | None]] = []
        self.lost: list[Any] = []
        self.lines: list[Line] = [self._line()]
        opened: list[Any] = []
        self.line.link.opened.addCallback(self._connected).addCallback(opened.append)
        self.line.turn()
        (self.client,) = opened

    def _connected(self, link: ClientLink) -> HTTP3Exchanger:
        client = HTTP3Exchanger(link, self._reply, self.lost.append, self._reopen)
        assert not self.lost  # by nobody who has it
        return client

    def _reopen(self) -> Deferred[ClientLink]:
        self.lines.append(self._line())
        return self.line.link.opened

    def __enter__(self) -> Pair:
        """Be used."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the authority; leave no timer behind."""
        self.client.close()
        self._context.close()
        assert not self.clock.getDelayedCalls()

    def _reply(
        self, sequence: int | None, payload: bytes, _: object = None, answer: Answer | None = None, /
    ) -> None:
        self.heard.append((sequence, payload, answer))

    @property
    def line(self) -> Line:
        """The youngest connection."""
        return self.lines[-1]

    def turn(self) -> None:
        """Have all that is sent on the youngest connection arrive."""
        self.line.turn()


def test_server_that_speaks_at_once() -> None:
    """What a server says before the handshake is complete for it is heard as what it says later."""
    with Pair(at_once=b"") as pair:
        settings = pair.client._http.received_settings
        assert settings is not None
        assert settings[Setting.QPACK_MAX_TABLE_CAPACITY] == 4096
        pair.client.send(0, b"message")
        pair.turn()
        pair.line.answer(0, b"message")
        pair.turn()
        [(sequence, payload, _)] = pair.heard
        assert (sequence, payload) == (0, b"message")


def test_server_that_says_at_once_what_is_not_http() -> None:
    """The connection is there first, and is lost then."""
    with Pair(at_once=b"\x04\x00") as pair:
        (reason,) = pair.lost
        assert "What the other end says is not HTTP/3: SETTINGS have already" in str(reason.value)
        assert pair.line.is_closed


def no_head(line: Line) -> Iterator[bytes]:
    """End an answer that has no head."""
    yield b""


def interim_only(line: Line) -> Iterator[bytes]:
    """End an answer that has an interim head only."""
    yield line.head(0, (b":status", b"103"))


def shorter(line: Line) -> Iterator[bytes]:
    """Send less than the head says."""
    yield line.head(0, OK, (b"content-length", b"9")) + b"\x00\x01x"


def longer(line: Line) -> Iterator[bytes]:
    """Send more than the head says."""
    yield line.head(0, OK, (b"content-length", b"1")) + b"\x00\x02xy"


def upper(line: Line) -> Iterator[bytes]:
    """Write a name in upper case."""
    yield line.head(0, OK, (b"Upper", b"case"))


def again(line: Line) -> Iterator[bytes]:
    """Say once more what the settings are."""
    line.control(b"\x04\x00")
    yield from ()


def goaway_to_nowhere(line: Line) -> Iterator[bytes]:
    """Say that no more is answered, and not from which stream on."""
    line.control(encode_frame(FrameType.GOAWAY, b""))
    yield from ()


def goaway_with_more(line: Line) -> Iterator[bytes]:
    """Say that no more is answered, and something else besides."""
    line.control(encode_frame(FrameType.GOAWAY, b"\x04\x04"))
    yield from ()


def goaway_to_none(line: Line) -> Iterator[bytes]:
    """Name a stream that no client can open."""
    line.control(encode_frame(FrameType.GOAWAY, b"\x05"))
    yield from ()


def goaway_taken_back(line: Line) -> Iterator[bytes]:
    """Say that more is answered after all."""
    line.control(encode_frame(FrameType.GOAWAY, b"\x08") + encode_frame(FrameType.GOAWAY, b"\x0c"))
    yield from ()


def undecodable(line: Line) -> Iterator[bytes]:
    """Refer to a field of a table that there is none of."""
    yield b"\x01\x03\x02\x00\x80"


def stopped(line: Line) -> Iterator[bytes]:
    """Want to hear nothing of what the client's settings are."""
    line.server.stop_stream(2, 1)
    yield from ()


def reset(line: Line) -> Iterator[bytes]:
    """Take back what the settings are."""
    line.server.reset_stream(line.http._local_control_stream_id, 1)
    yield from ()


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (no_head, "an answer has no head"),
        (interim_only, "Interim response cannot end the stream"),
        (shorter, "content-length does not match data size"),
        (longer, "content-length does not match data size"),
        (upper, "Header b'Upper' contains invalid characters"),
        (again, "SETTINGS have already been received"),
        (stopped, "Stopping a critical stream is not allowed"),
        (reset, "Resetting a critical stream is not allowed"),
        (goaway_to_nowhere, "GOAWAY names no stream"),
        (goaway_with_more, "GOAWAY names more than a stream"),
        (goaway_to_none, "GOAWAY names a stream that it must not"),
        (goaway_taken_back, "GOAWAY names a stream that it must not"),
        (undecodable, "QPACK_DECOMPRESSION_FAILED"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_http(play: Callable[[Line], Iterator[bytes]], words: str) -> None:
    """It is not taken for an answer, nor for an end that the server has made, and the server hears of it."""
    with Pair() as pair:
        pair.client.send(0, b"")
        pair.turn()
        for said in play(pair.line):
            pair.line.say(0, said, ends=True)
        pair.turn()
        assert pair.heard == []
        (reason,) = pair.lost
        assert f"What the other end says is not HTTP/3: {words}" in str(reason.value)
        assert pair.line.is_closed
        assert pair.line.server._close_event.error_code >= ErrorCode.H3_NO_ERROR


def test_what_is_not_quic() -> None:
    """It is not taken for an end that the server has made."""
    with Pair() as pair:
        pair.client.send(0, b"")
        pair.turn()
        nobody = QuicStream(400, max_stream_data_remote=1)
        nobody.sender.write(b"x")
        pair.line.server._streams_queue.append(nobody)
        pair.turn()
        (reason,) = pair.lost
        assert "What the other end says is not QUIC: Wrong stream initiator" in str(reason.value)
        assert pair.line.server._close_event.error_code == QuicErrorCode.STREAM_STATE_ERROR
