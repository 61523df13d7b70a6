"""A WebSocket server among peers that are wrong, slow or greedy, and at its own end."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from netecho.plans import Target
from netecho.protocols import load
from netecho.protocols._contract import Route
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._watched import Patience
from netecho.protocols._ws_connection import WebSocketFactory
from netecho.protocols._ws_messages import MOST_MESSAGE
from tests import reactors
from tests.servers import TIMEOUT, Listening, Server, receive_all, receive_exactly

MIB = 1 << 20
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MORE, COMPRESSED = 0x80, 0x40
"""Bits of the first byte: this one is not set where more is to come."""
REQUEST = (
    b"GET /any HTTP/1.1\r\nHost: a:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""That of RFC 6455 section 1.2."""
ACCEPTED = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
DEFLATE = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


def length(size: int, mask: int = 0) -> bytes:
    """Return the length of a frame as its head has it."""
    if size < 126:
        return bytes([mask | size])
    return struct.pack(">BH", mask | 126, size) if size < 1 << 16 else struct.pack(">BQ", mask | 127, size)


def frame(kind: int, payload: bytes = b"", *, last: bool = True, bits: int = 0) -> bytes:
    """Return a client's frame (RFC 6455 section 5.2), which a key of zeros masks."""
    return bytes([kind | bits | (MORE if last else 0)]) + length(len(payload), 0x80) + bytes(4) + payload


def answer(kind: int, payload: bytes = b"") -> bytes:
    """Return a server's frame."""
    return bytes([kind | MORE]) + length(len(payload)) + payload


def closing(code: int) -> bytes:
    """Return what a Close frame says."""
    return struct.pack(">H", code)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve for all of these tests."""
    with Server("ws://127.0.0.1:0") as server:
        yield server


def opened(listening: Listening, request: bytes = REQUEST) -> socket.socket:
    """Return a connection that has been upgraded."""
    connection = listening.connect()
    connection.sendall(request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert ACCEPTED in head
    return connection


def last_code(said: bytes) -> int:
    """Return the code of the Close frame at the end of what a server said, which may give a reason."""
    start = max(said.rfind(bytes([CLOSE | MORE, size]) + b"\x03") for size in range(2, 126))
    assert start >= 0, said[-200:]
    assert start + 2 + said[start + 1] == len(said), said[start:]
    return int(struct.unpack(">H", said[start + 2 : start + 4])[0])


REFUSED = {
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": 426,
    REQUEST.replace(b"GET", b"POST"): 405,
    REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"): 505,
    REQUEST.replace(b"Version: 13", b"Version: 8"): 400,
    REQUEST.replace(b"Sec-WebSocket-Version: 13\r\n", b""): 400,
    REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="): 400,
    REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"???"): 400,
    REQUEST.replace(b"Upgrade: websocket", b"Upgrade: h2c"): 426,
    REQUEST.replace(b"Host: a:8000\r\n", b""): 400,
    REQUEST.replace(b"Host: a:8000\r\n", b"Host: a\r\nHost: a\r\n"): 400,
    REQUEST.replace(b"a:8000", b"a b"): 400,
    REQUEST[:-2] + b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n": 400,
    REQUEST[:-2] + b"Sec-WebSocket-Version: 13\r\n\r\n": 400,
    REQUEST[:-2] + b"Upgrade: websocket\r\n\r\n": 426,
    REQUEST[:-2] + b"Origin: http://a\r\nOrigin: http://b\r\n\r\n": 400,
    REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n": 400,
    REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"): 400,
    REQUEST.replace(b"\r\n", b"\n"): 400,
    REQUEST.replace(b"/any", b"/any " + b"x"): 400,
    REQUEST.replace(b"/any", b"/" + b"x" * 10_000): 414,
    REQUEST.replace(b"a:8000", b"a" * 10_000): 431,
    REQUEST[:-2] + b"X: y\r\n" * 200 + b"\r\n": 431,
    REQUEST[:-2] + (b"X: " + b"y" * 8000 + b"\r\n") * 10: 431,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
    b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n": 400,
}


@pytest.mark.parametrize("request_", REFUSED, ids=lambda request: request[:30].decode("latin-1"))
@pytest.mark.parametrize("size", [1 << 20, 1], ids=["whole", "byte by byte"])
def test_refused_requests(server: Server, request_: bytes, size: int) -> None:
    """What is no request to upgrade is answered once, in HTTP, and then the connection ends."""
    with server.listener.connect() as connection:
        if size == 1:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, min(len(request_), 20_000 if size == 1 else 1 << 20), size):
                connection.sendall(request_[start : start + size])
            if size == 1 and len(request_) > 20_000:
                connection.sendall(request_[20_000:])
        said = receive_all(connection)
    assert said.startswith(b"HTTP/1.1 %d " % REFUSED[request_])
    assert said.count(b"HTTP/1.1") == 1
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    # RFC 9110 sections 15.5.22 and 7.8
    is_told = {b"Upgrade: websocket", b"Connection: Upgrade"} <= {*head.split(b"\r\n")}
    assert is_told == (REFUSED[request_] == 426)


@pytest.mark.parametrize("version", [b"Sec-WebSocket-Version: 8\r\n", b""])
def test_another_version(server: Server, version: bytes) -> None:
    """Who speaks another version of WebSocket hears which is spoken here (RFC 6455 section 4.4)."""
    with server.listener.connect() as connection:
        connection.sendall(REQUEST.replace(b"Sec-WebSocket-Version: 13\r\n", version))
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in receive_all(connection)


CLOSED = {
    "reserved opcode": (frame(3), 1002),
    "reserved bit": (frame(TEXT, b"a", bits=0x40), 1002),
    "not masked": (answer(TEXT, b"a"), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "fragmented ping": (frame(PING, last=False), 1002),
    "continues nothing": (frame(CONT, b"a"), 1002),
    "text amid text": (frame(TEXT, b"a", last=False) + frame(TEXT, b"b"), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "code that is never sent": (frame(CLOSE, closing(1006)), 1002),
    "reason not in UTF-8": (frame(CLOSE, closing(1000) + b"\xff"), 1007),
    "text not in UTF-8": (frame(TEXT, b"\xff"), 1007),
    "text that ends amid a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "fragment not in UTF-8": (frame(TEXT, b"a", last=False) + frame(CONT, b"\xff", last=False), 1007),
    "fragments that end so": (frame(TEXT, b"\xe2", last=False) + frame(CONT, b"\x82"), 1007),
    "text not in UTF-8, and more": (frame(TEXT, b"\xff") + frame(PING) + frame(CLOSE, closing(1000)), 1007),
    "code of nothing": (frame(CLOSE, closing(0)), 1002),
    "code of nobody": (frame(CLOSE, closing(5000)), 1002),
    "frame of 2**64 - 1 bytes": (bytes([BINARY | MORE]) + b"\xff" * 9, 1009),
    "surrogates": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "frame too big": (bytes([BINARY | MORE]) + length(MOST_MESSAGE + 1, 0x80), 1009),
    "frame of 2**63 bytes": (bytes([BINARY | MORE]) + b"\xff" + b"\x7f" + b"\xff" * 7, 1009),
    "message too big": (
        frame(BINARY, bytes(MOST_MESSAGE // 2 + 1), last=False) + frame(CONT, bytes(MOST_MESSAGE // 2)),
        1009,
    ),
    "normal end": (frame(CLOSE, closing(1000)), 1000),
    "end amid a message": (frame(TEXT, b"a", last=False) + frame(CLOSE, closing(1001)), 1001),
}


@pytest.mark.parametrize(("said", "code"), CLOSED.values(), ids=CLOSED)
def test_close_codes(server: Server, said: bytes, code: int) -> None:
    """What was right is answered still; then each mistake has its code, and the connection ends."""
    with opened(server.listener) as connection:
        connection.sendall(frame(BINARY, b"before") + frame(PING, b"?") + said)
        heard = receive_all(connection)
    right = answer(BINARY, b"before") + answer(PONG, b"?")
    assert heard.startswith(right)
    assert last_code(heard) == code
    assert heard.find(bytes([CLOSE | MORE])) == len(right)


def test_any_origin(server: Server) -> None:
    """An echo has nothing that a page of another site may not see: whatever page asks is let in."""
    opened(server.listener, REQUEST[:-2] + b"Origin: https://elsewhere.example\r\n\r\n").close()


def test_request_and_messages_together(server: Server) -> None:
    """A peer that does not wait for our answer is answered all the same, and one that half-closes too."""
    with server.listener.connect() as connection:
        connection.sendall(REQUEST + frame(TEXT, b"early") + frame(BINARY, b"bird"))
        connection.shutdown(socket.SHUT_WR)
        heard = receive_all(connection)
    assert heard.endswith(b"\r\n\r\n" + answer(TEXT, b"early") + answer(BINARY, b"bird"))


def test_fragments_take_no_room(server: Server) -> None:
    """A message in very many fragments, most of them empty, costs no more than its bytes."""
    with opened(server.listener) as connection:
        before = server.resident_kib(peak=True)
        connection.sendall(frame(TEXT, b"[", last=False))
        piece = frame(CONT, last=False) * 1_999 + frame(CONT, b"x", last=False)
        for _ in range(50):
            connection.sendall(piece)
        connection.sendall(frame(CONT, b"]"))
        expected = answer(TEXT, b"[" + b"x" * 50 + b"]")
        assert receive_exactly(connection, len(expected)) == expected
        assert server.resident_kib(peak=True) - before < 8 << 10


def deflated(size: int) -> bytes:
    """Return as much as `size` bytes of nothing, compressed as in a message (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    block = bytes(MIB)
    pieces = [compressor.compress(block) for _ in range(size // MIB)]
    return b"".join(pieces) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


@pytest.mark.parametrize("fragments", [1, 50])
def test_bomb(fragments: int) -> None:
    """What would inflate to 256 MiB is not inflated, but closed with 1009."""
    bomb = deflated(256 * MIB)
    assert len(bomb) < MIB
    size = len(bomb) // fragments + 1
    with Server("ws://127.0.0.1:0") as server, opened(server.listener, DEFLATE) as connection:
        before = server.resident_kib(peak=True)
        for start in range(0, len(bomb), size):
            first = start == 0
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(
                    frame(
                        BINARY if first else CONT,
                        bomb[start : start + size],
                        last=start + size >= len(bomb),
                        bits=COMPRESSED if first else 0,
                    )
                )
        assert last_code(receive_all(connection)) == 1009
        # As much as one message may have, and again while it grows.
        assert server.resident_kib(peak=True) - before < 2.5 * MOST_MESSAGE / 1024


def test_many_bombs(server: Server) -> None:
    """Of messages that arrive together and inflate a thousandfold, few are inflated at a time."""
    bombs = frame(BINARY, deflated(MIB), bits=COMPRESSED) * 50
    assert len(bombs) < 1 << 16
    with opened(server.listener, DEFLATE) as connection:
        before = server.resident_kib(peak=True)
        for _ in range(5):
            connection.sendall(bombs + frame(PING))
            heard = b""
            while not heard.endswith(answer(PONG)):
                heard += connection.recv(1 << 16)
        assert server.resident_kib(peak=True) - before < 12 << 10


def test_slow_reader(server: Server) -> None:
    """A peer that sends without reading is held back, delays nobody, and gets all when it reads."""
    payload = os.urandom(50_000)
    with opened(server.listener) as slow, opened(server.listener) as steady:
        before = server.resident_kib(peak=True)
        slow.setblocking(False)
        sent, whole = 0, frame(BINARY, payload)
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * MIB:
                sent += slow.send(whole[sent % len(whole) :])
        assert sent < 64 * MIB, "nothing held the sender back"
        steady.sendall(frame(TEXT, b"in time"))
        assert receive_exactly(steady, 9) == answer(TEXT, b"in time")
        assert server.resident_kib(peak=True) - before < 16 << 10
        slow.settimeout(TIMEOUT)
        echo = answer(BINARY, payload)
        for _ in range(sent // len(whole)):
            assert receive_exactly(slow, len(echo)) == echo


def test_ping_flood(server: Server) -> None:
    """A peer that only pings, and does not read, is held back too."""
    with opened(server.listener) as flood, opened(server.listener) as steady:
        before = server.resident_kib(peak=True)
        flood.setblocking(False)
        sent = 0
        pings = frame(PING, bytes(125)) * 100
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * MIB:
                sent += flood.send(pings[sent % len(pings) :])
        assert sent < 64 * MIB, "nothing held the sender back"
        steady.sendall(frame(TEXT, b"in time"))
        assert receive_exactly(steady, 9) == answer(TEXT, b"in time")
        assert server.resident_kib(peak=True) - before < 16 << 10


def test_drain() -> None:
    """When it ends, the server answers what came whole, says that it goes (1001), and waits for the word."""
    with Server("ws://127.0.0.1:0") as server:
        with opened(server.listener) as one, opened(server.listener) as other:
            one.sendall(b"".join(frame(TEXT, b"%03d" % number) for number in range(500)))
            other.sendall(frame(TEXT, b"half", last=False))
            other.sendall(frame(PING))
            assert receive_exactly(other, 2) == answer(PONG)
            server.tell()
            echoes = b"".join(answer(TEXT, b"%03d" % number) for number in range(500))
            assert receive_exactly(one, len(echoes)) == echoes
            for connection in (one, other):
                assert receive_exactly(connection, 4) == answer(CLOSE, closing(1001))
                connection.sendall(frame(CLOSE, closing(1001)))
                assert connection.recv(1) == b""
        stopped = server.wait_for("stopped")
    assert stopped["cut"] == 0


def test_drain_without_an_answer() -> None:
    """A peer that does not answer our Close frame does not hold up the end."""
    with Server("ws://127.0.0.1:0") as server, opened(server.listener) as connection:
        server.tell()
        assert receive_all(connection) == answer(CLOSE, closing(1001))
        server.wait_for("stopped")


def test_idle_timeout() -> None:
    """With `--idle-timeout`, a peer that says nothing is told that it is over."""
    with (
        Server("ws://127.0.0.1:0", "--idle-timeout", "300ms") as server,
        opened(server.listener) as connection,
    ):
        assert receive_all(connection) == answer(CLOSE, closing(1001))


def test_discard() -> None:
    """With `--reply discard` messages are taken, and pings answered still."""
    with Server("ws://127.0.0.1:0", "--reply", "discard") as server, opened(server.listener) as connection:
        connection.sendall(frame(BINARY, b"lost") + frame(PING, b"?"))
        assert receive_exactly(connection, 3) == answer(PONG, b"?")


IMPATIENT = Patience(start=0.5, rate=1 << 20, idle=0.7, look=0.05)


class Slow:
    """An impatient server, and what talks to it, in one reactor."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.totals = Totals()
        target = Target("ws", "ws")
        factory: Any = WebSocketFactory(reactor, ListenSettings(self.totals), IMPATIENT)
        self.port = reactor.listenTCP(0, factory, 300, target.host)
        self.address = target.host, self.port.getHost().port

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Run what waits beside the reactor."""
        return await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    async def exchange(self) -> None:
        """Have another client served."""
        came: Deferred[bytes] = Deferred()
        route = Route(Target("ws", "ws", port=self.address[1]), (self.address[0],))
        exchanger = await load("ws").connect(
            self.reactor, route, lambda _, payload, *__: came.callback(payload), came.errback
        )
        exchanger.send(0, b"in time")
        assert await came == b"in time"
        exchanger.close()


def until_closed(address: tuple[str, int], first: bytes, then: bytes, times: int | None = None) -> bytes:
    """Send something, and then something every 50 ms, until the server closes; return what it said."""
    with socket.create_connection(address, TIMEOUT) as connection:
        connection.sendall(first)
        said = b""
        wait = select.poll()
        wait.register(connection, select.POLLIN)
        with contextlib.suppress(ConnectionError):
            while times is None or times > 0:
                if wait.poll(50):
                    data = connection.recv(1 << 16)
                    if not data:
                        break
                    said += data
                connection.sendall(then)
                times = None if times is None else times - 1
        return said


SLOW = {
    "nothing": (b"", b"", b"HTTP/1.1 408"),
    "half a request": (REQUEST[:50], b"", b"HTTP/1.1 408"),
    "a request bit by bit": (REQUEST[:-2], b"X: a\r\n", b"HTTP/1.1 408"),
    "half a frame": (REQUEST + frame(TEXT, b"abc")[:-1], b"", b"HTTP/1.1 101"),
    "half a head": (REQUEST + frame(TEXT, b"abc")[:1], b"", b"HTTP/1.1 101"),
    "a message without end": (
        REQUEST + frame(TEXT, last=False),
        frame(CONT, b"a", last=False),
        b"HTTP/1.1 101",
    ),
}


@pytest.mark.parametrize(("first", "then", "said"), SLOW.values(), ids=SLOW)
def test_slow_peers_end(first: bytes, then: bytes, said: bytes) -> None:
    """However something comes bit by bit, its time is over at some moment."""

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor)
        heard = await slow.in_thread(until_closed, slow.address, first, then)
        assert heard.startswith(said)
        if b" 101 " in heard:
            assert last_code(heard) == 1008
        await slow.exchange()
        await slow.port.stopListening()

    reactors.run("fast", scenario)


def test_who_is_quiet_may_stay() -> None:
    """Between messages a peer may take its time."""

    async def scenario(reactor: Any) -> None:
        slow = Slow(reactor)
        heard = await slow.in_thread(until_closed, slow.address, REQUEST + frame(TEXT, b"abc"), b"", 30)
        assert heard.endswith(answer(TEXT, b"abc"))
        await slow.port.stopListening()

    reactors.run("fast", scenario)
