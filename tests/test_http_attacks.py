"""An HTTP server among peers that are slow on purpose, or busy with nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.threads import deferToThreadPool

from netecho.plans import Target
from netecho.protocols import load
from netecho.protocols._contract import Route
from netecho.protocols._http_server import HTTPFactory
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._watched import LastWords, Patience
from tests import reactors
from tests.peers import need
from tests.servers import TIMEOUT, Server, receive_exactly

MIB = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
GET = bytes([0x82, 0x86, 0x84, 0x41, 0x01, 0x61])
"""`GET http://a/` as HPACK has it (RFC 7541)."""
BYTES = GET[:1] + GET[1:2] + b"\x04\x0d/bytes/100MiB" + GET[3:]
"""The same of `/bytes/100MiB`."""
WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LAST = [
    b"GET /bytes/50000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /bytes/50000 HTTP/1.1\r\nHost: a\r\n\r\n?\r\n\r\n",
    WEBSOCKET + b"\x82\xfe\xc3\x50\0\0\0\0" + bytes(50_000) + b"\x88\x80\0\0\0\0",
]
"""Requests whose answers are the last of their connections."""
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
POST = bytes([0x83, 0x86, 0x84, 0x41, 0x01, 0x61])


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """Return a frame (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def rapid_reset(turn: int) -> bytes:
    """A request, and a reset of it (CVE-2023-44487)."""
    stream = 2 * turn + 1
    return frame(HEADERS, GET, 4, stream) + frame(RST_STREAM, struct.pack(">I", 8), 0, stream)


def continuation(turn: int) -> bytes:
    """A head without an end (CVE-2024-27316 and others)."""
    if turn == 0:
        return frame(HEADERS, GET, 0, 1)
    return frame(CONTINUATION, b"\x00\x01x\x01y", 0, 1)


def settings(turn: int) -> bytes:
    """Settings, each of which is to be acknowledged (CVE-2019-9515)."""
    return frame(SETTINGS, struct.pack(">HI", 4, 1 << 16 | turn & 0xFF))


def ping(turn: int) -> bytes:
    """A ping, which is to be answered (CVE-2019-9512)."""
    return frame(PING, struct.pack(">Q", turn))


def empty_data(turn: int) -> bytes:
    """A body of nothing (CVE-2019-9518)."""
    return (frame(HEADERS, POST, 4, 1) if turn == 0 else b"") + frame(DATA, b"", 0, 1)


def priority(turn: int) -> bytes:
    """A change of priorities that nobody has (CVE-2019-9513)."""
    return frame(PRIORITY, struct.pack(">IB", 0, turn & 0xFF), 0, 2 * (turn % 1000) + 1)


def window(turn: int) -> bytes:
    """A window that is opened byte by byte."""
    return frame(WINDOW_UPDATE, struct.pack(">I", 1))


def made_you_reset(turn: int) -> bytes:
    """A request, and what makes the server reset it (CVE-2025-8671)."""
    stream = 2 * turn + 1
    return frame(HEADERS, POST, 4, stream) + frame(WINDOW_UPDATE, struct.pack(">I", 0x7FFFFFFF), 0, stream)


def unknown(turn: int) -> bytes:
    """A frame of a kind that does not exist."""
    return frame(0xBB, b"x", 0, 0)


FLOODS = [
    rapid_reset,
    continuation,
    settings,
    ping,
    empty_data,
    priority,
    window,
    made_you_reset,
    unknown,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve for all floods."""
    with Server("http://127.0.0.1:0") as server:
        yield server


@pytest.mark.parametrize(
    ("flood", "reading"),
    [*((flood, True) for flood in FLOODS), (settings, False), (ping, False), (made_you_reset, False)],
)
def test_floods_end(server: Server, flood: Callable[[int], bytes], reading: bool) -> None:
    """A connection that is used for nothing but work is closed, and costs no memory meanwhile."""
    with server.listener.connect() as connection, server.listener.connect() as steady:
        before = server.resident_kib()
        connection.sendall(PREFACE + frame(SETTINGS))
        connection.settimeout(0 if reading else TIMEOUT)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, 1_000_000, 100):
                piece = b"".join(map(flood, range(start, start + 100)))
                while piece:
                    with contextlib.suppress(BlockingIOError):
                        piece = piece[connection.send(piece) :]
                        sent += 1
                    if reading:
                        with contextlib.suppress(BlockingIOError):
                            connection.recv(1 << 16)
                    assert sent < 100_000, "it goes on and on"
        steady.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nstill")
        assert receive_exactly(steady, 12) == b"HTTP/1.1 200"
        assert server.resident_kib() - before < 16 << 10


def test_useful_frames_are_free(server: Server) -> None:
    """A client that pings before each of many requests, and opens windows for each byte, is served."""
    with server.listener.connect() as connection:
        client = H2Connection()
        client.initiate_connection()
        answered = 0
        for number in range(500):
            stream = 2 * number + 1
            client.ping(b"12345678")
            head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
            client.send_headers(stream, head)
            client.send_data(stream, b"x" * 100, end_stream=True)
            connection.sendall(client.data_to_send())
            ended = False
            while not ended:
                for event in client.receive_data(connection.recv(1 << 16)):
                    if isinstance(event, DataReceived):
                        client.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                    ended |= isinstance(event, StreamEnded)
            answered += 1
        assert answered == 500


IMPATIENT = Patience(start=1.0, rate=1 << 20, idle=1.4, look=0.05)


class Slow:
    """An impatient server, and what talks to it, in one reactor."""

    def __init__(self, reactor: Any, patience: Patience = IMPATIENT) -> None:
        self.reactor = reactor
        self.totals = Totals()
        target = Target("http", "http")
        factory: Any = HTTPFactory(reactor, ListenSettings(self.totals), patience)
        self.port = reactor.listenTCP(0, factory, 300, target.host)
        self.address = target.host, self.port.getHost().port

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what waits beside the reactor."""
        return await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    async def exchange(self) -> None:
        """Have another client served."""
        came: Deferred[bytes] = Deferred()
        route = Route(Target("http", "http", port=self.address[1]), (self.address[0],))
        exchanger = await load("http").connect(
            self.reactor, route, lambda _, payload, *__: came.callback(payload), came.errback
        )
        exchanger.send(0, b"in time")
        assert await came == b"in time"
        exchanger.close()

    async def end(self) -> None:
        """Take no more."""
        await self.port.stopListening()


def until_closed(address: tuple[str, int], first: bytes, then: bytes, *, reads: bool = True) -> bytes:
    """Send something, and then something every 50 ms, until the server closes; return what it said."""
    with socket.create_connection(address, TIMEOUT) as connection:
        if not reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(first)
        said = b""
        connection.settimeout(0.05)
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    data = connection.recv(1 << 16 if reads else 1)
                except TimeoutError:
                    data = None
                if data == b"":
                    break
                said += data or b""
                connection.sendall(then)
        return said


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"PRI", b"", b""),
        (b"GET / HTTP/1.1\r\n", b"", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: a\r\n", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x", b"HTTP/1.1 200"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"HTTP/1.1 200"),
        (b"POST /status/200 HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n", b"x", b"HTTP/1.1 408"),
        (EXPECTING, b"", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"HTTP/1.1 200"),
        (PREFACE + frame(SETTINGS), b"", b"\0"),
        (PREFACE + frame(SETTINGS) + frame(HEADERS, POST, 4, 1), b"", b"\0"),
        (PREFACE + frame(SETTINGS) + frame(HEADERS, POST, 0, 1), b"", b"\0"),
    ],
)
def test_slow_requests_end(first: bytes, then: bytes, said: bytes) -> None:
    """However a request comes bit by bit, its time is over at some moment, and idle connections end too."""

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor)
        answer = await slow.in_thread(until_closed, slow.address, first, then)
        assert answer.startswith(said)
        assert bool(answer) == bool(said)
        await slow.exchange()
        await slow.end()

    reactors.run("fast", scenario)


def test_a_slow_request_whose_echo_waits_now_and_then() -> None:
    """Nor does a request get more time by what is sent back of it meanwhile, and taken or not."""
    reactor: Any = Clock()
    transport = StringTransportWithDisconnection()
    connection: Any = HTTPFactory(reactor, ListenSettings(Totals()), IMPATIENT).buildProtocol(None)
    transport.protocol = connection
    connection.makeConnection(transport)
    connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    looks = 0
    while transport.connected and not transport.disconnecting:
        connection.dataReceived(b"1\r\nx\r\n")
        looks += 1
        connection.wire.look(looks * IMPATIENT.look, looks % 2, IMPATIENT)
        assert looks < 100, "it goes on for ever"
    assert looks * IMPATIENT.look >= IMPATIENT.start


@pytest.mark.parametrize(
    "first",
    [
        b"GET /bytes/100MiB HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000,
        PREFACE + frame(SETTINGS) + frame(HEADERS, BYTES, 5, 1) + frame(WINDOW_UPDATE, b"\x7f\0\0\0"),
    ],
    ids=["large answer", "many answers", "HTTP/2"],
)
def test_slow_readers_end(first: bytes) -> None:
    """Who does not take an answer is not waited for."""

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor)
        await slow.in_thread(_never_reads, slow.address, first)
        await slow.exchange()
        assert slow.totals.open <= 1
        await slow.end()

    reactors.run("fast", scenario)


@pytest.mark.parametrize(
    ("first", "buffer", "half_close"),
    [
        *((last, buffer, False) for last in LAST for buffer in (None, 4096)),
        (LAST[0].replace(b"close", b"keep-alive"), 4096, True),
    ],
)
def test_last_answers_end(first: bytes, buffer: int | None, half_close: bool) -> None:
    """Nor is one who does not take the last, whether all of it is with the system or some waits."""

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor)
        if buffer is not None:
            slow.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        await slow.in_thread(_never_reads, slow.address, first, half_close)
        await slow.exchange()
        assert slow.totals.open <= 1
        await slow.end()

    reactors.run("fast", scenario)


def test_last_answer_that_is_taken_slowly() -> None:
    """Who takes some of it has more time, and nobody is waited for while there is nothing to take."""
    patience = Patience(start=10.0, rate=1000.0)
    last = LastWords(0.0)
    assert not last.is_overdue(1.0, 50_000, patience)
    assert not last.is_overdue(10.0, 45_000, patience)
    assert not last.is_overdue(15.0, 60_000, patience)
    assert last.is_overdue(16.0, 60_000, patience)
    assert not last.is_overdue(17.0, 0, patience)
    assert not last.is_overdue(40.0, 0, patience)
    assert not last.is_overdue(41.0, 100, patience)
    assert last.is_overdue(51.0, 100, patience)


def _never_reads(address: tuple[str, int], first: bytes, half_close: bool = False) -> None:
    """Send something, read nothing, and wait for the connection's end."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT)
        connection.connect(address)
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(first)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        wait = select.poll()
        wait.register(connection, select.POLLRDHUP)
        assert wait.poll(TIMEOUT * 1000), "it is still open"


@pytest.mark.parametrize("mode", ["-H", "-B", "-X"])
def test_slowhttptest(mode: str) -> None:
    """Three hundred slow connections are all closed by the server, and another client is served meanwhile.

    With -X the program reads so slowly that it does not learn of that for minutes. On a loaded machine,
    to fill 300 sockets' buffers takes longer than the second that an impatient server would give the other
    client.
    """
    program = need("slowhttptest")

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor, dataclasses.replace(IMPATIENT, start=5.0) if mode == "-X" else IMPATIENT)
        path = "bytes/10MiB" if mode == "-X" else ""
        url = f"http://{slow.address[0]}:{slow.address[1]}/{path}"
        words = [program, mode, "-c", "300", "-r", "300", "-i", "1", "-l", "30", "-p", "5", "-u", url]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            try:
                # All have come, and gone but for the last of `exchange`, perhaps.
                served = 0
                while slow.totals.connections < 300 + served or slow.totals.open > 1:
                    await slow.exchange()
                    served += 1
                if mode != "-X":
                    said, _ = await slow.in_thread(process.communicate)
                    assert b"No open connections left" in said
            finally:
                process.kill()
        await slow.end()

    reactors.run("fast", scenario)
