"""The client of WebSocket and servers that are wrong, hostile or of another mind."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from websockets.frames import Opcode
from websockets.utils import accept_key

from netecho.errors import ConnectError
from netecho.plans import Target
from netecho.protocols import load
from netecho.protocols._contract import Route
from netecho.protocols._ws_client import LINGER, MOST_PONGS, WebSocketExchanger
from netecho.protocols._ws_messages import MOST_MESSAGE
from tests import reactors
from tests.benches import serving
from tests.servers import TIMEOUT, netecho

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
URL = "ws://127.0.0.1:1/path"


def frame(kind: int, payload: bytes = b"", *, last: bool = True, bits: int = 0) -> bytes:
    """Return a server's frame (RFC 6455 section 5.2)."""
    size = len(payload)
    length = bytes([size]) if size < 126 else struct.pack(">BH", 126, size)
    return bytes([kind | bits | (0x80 if last else 0)]) + length + payload


def key_of(request: bytes) -> str:
    """Return what a request asks to be answered with."""
    found = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", request)
    assert found is not None
    return accept_key(found[1].decode())


def accepted(request: bytes, *fields: bytes, key: str | None = None) -> bytes:
    """Return an answer that lets a client in, with more fields."""
    said = [b"HTTP/1.1 101 Yes", b"Upgrade: websocket", b"Connection: Upgrade"]
    said.append(b"Sec-WebSocket-Accept: " + (key or key_of(request)).encode())
    return b"\r\n".join([*said, *fields, b"", b""])


class Client:
    """An exchanger whose other end is a test."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.heard: list[tuple[int | None, bytes]] = []
        self.lost: list[Failure] = []
        self.refused: list[Failure] = []
        self.exchanger = WebSocketExchanger(
            self.clock,
            Target("ws", "ws", port=1, resource="/path"),
            lambda sequence, payload, *_: self.heard.append((sequence, payload)),
            self.lost.append,
        )
        self.exchanger.opened.addErrback(self.refused.append)
        self.transport = StringTransport()
        exchanger: Any = self.exchanger
        exchanger.makeConnection(self.transport)
        self.request = self.transport.value()
        self.transport.clear()

    def opened(self) -> Client:
        """Let it in."""
        self.say(accepted(self.request))
        return self

    def say(self, data: bytes, size: int = 1 << 30) -> None:
        """Have it take so many bytes at a time, as far as it takes any."""
        for start in range(0, len(data), size):
            if self.transport.disconnecting or self.transport.disconnected:
                break
            self.exchanger.dataReceived(data[start : start + size])

    def said(self) -> list[tuple[Opcode, bytes]]:
        """Return the frames that it has written, each of which is masked."""
        data, frames = self.transport.value(), []
        while data:
            assert data[1] & 0x80
            size = data[1] & 0x7F
            assert size < 126
            key, content = data[2:6], data[6 : 6 + size]
            unmasked = bytes(one ^ other for one, other in zip(content, itertools.cycle(key), strict=False))
            frames.append((Opcode(data[0] & 15), unmasked))
            data = data[6 + size :]
        return frames


ENDLESS = b"HTTP/1.1 %s\r\nContent-Length: 1000000000\r\n%s\r\n<html>"
REFUSALS: dict[str, tuple[bytes, str]] = {
    "moved": (
        ENDLESS % (b"301 Moved Permanently", b"Location: wss://b/c\r\n"),
        "the server answered 301 Moved Permanently: what was asked for is at wss://b/c",
    ),
    "not modified": (
        ENDLESS % (b"304 Not Modified", b""),
        "the server answered 304 Not Modified: there is no WebSocket at that path",
    ),
    "who asks": (
        ENDLESS % (b"401 Unauthorized", b"WWW-Authenticate: Basic\r\n"),
        "401 Unauthorized: it asks who we are, which --header 'Authorization: ...' can tell",
    ),
    "forbidden": (
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        "the server answered 403 Forbidden: there is no WebSocket at that path",
    ),
    "not found, without end": (
        b"HTTP/1.1 404 Not Found\r\n\r\n" + b"x" * 100_000,
        "the server answered 404 Not Found: there is no WebSocket at that path",
    ),
    "upgrade required": (
        ENDLESS % (b"426 ", b"Sec-WebSocket-Version: 99\r\n"),
        "the server answered 426: there is no WebSocket at that path",
    ),
    "unavailable": (
        b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n",
        "the server answered 503 Service Unavailable",
    ),
    "a proxy's": (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "the server answered 502 Bad Gateway"),
    "early hints, then no": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n",
        "the server answered 500 Oh",
    ),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "speaks no WebSocket: invalid HTTP status line"),
    "a request": (b"GET / HTTP/1.1\r\n", "speaks no WebSocket: unsupported protocol"),
    "no end of a line": (b"HTTP/1.1 101 " + b"x" * 100_000, "speaks no WebSocket: read"),
    "no end of lines": (
        b"HTTP/1.1 101 Yes\r\n" + b"X: y\r\n" * 10_000,
        "speaks no WebSocket: expected no more",
    ),
    "too much": (b"HTTP/1.1 101 Yes\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 10, "answer has no end"),
    "too much before": (b"HTTP/1.1 100 Soon\r\n\r\n" * 10_000, "answer has no end"),
}


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
@pytest.mark.parametrize(("answer", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(answer: bytes, words: str, size: int) -> None:
    """Whatever a server says in place of what lets a client in is told in a line at once, with its status."""
    client = Client()
    client.say(answer, size)
    [failure] = client.refused
    assert failure.check(ConnectError)
    assert str(failure.value).startswith(f"connection to {URL} failed: ")
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)
    assert client.transport.disconnected
    client.exchanger.connectionLost()
    assert not client.lost


DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
WRONG_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "another key": ({"key": accept_key("AAAAAAAAAAAAAAAAAAAAAA==")}, "Sec-WebSocket-Accept"),
    "two keys": ({"fields": [b"Sec-WebSocket-Accept: x"]}, "multiple values"),
    "two upgrades": ({"fields": [b"Upgrade: h2c"]}, "Upgrade"),
    "an extension": ({"fields": [DEFLATE]}, "extensions"),
    "a window of 7 bits": ({"fields": [DEFLATE + b"; server_max_window_bits=7"]}, "extensions"),
    "a window of 16 bits": ({"fields": [DEFLATE + b"; client_max_window_bits=16"]}, "extensions"),
    "a window of no bits": ({"fields": [DEFLATE + b"; server_max_window_bits"]}, "extensions"),
    "no extension at all": ({"fields": [b"Sec-WebSocket-Extensions: ;;"]}, "extensions"),
    "no key": ({"without": b"Sec-WebSocket-Accept"}, "missing Sec-WebSocket-Accept"),
    "no upgrade": ({"without": b"Upgrade"}, "missing Upgrade"),
    "no upgrade of the connection": ({"without": b"Connection"}, "missing Connection"),
    "a subprotocol": ({"fields": [b"Sec-WebSocket-Protocol: chat"]}, "subprotocols"),
    "a field in two lines": ({"fields": [b"X: a", b" b"]}, "header"),
}


@pytest.mark.parametrize(("options", "words"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_wrong_answers(options: dict[str, Any], words: str) -> None:
    """What was not asked for, or not answered so, lets nobody in."""
    client = Client()
    answer = accepted(client.request, *options.get("fields", ()), key=options.get("key"))
    if "without" in options:
        answer = re.sub(rb"\n%s:.*" % options["without"], b"", answer)
    client.say(answer)
    [failure] = client.refused
    assert "speaks no WebSocket" in str(failure.value)
    assert words in str(failure.value)
    assert client.transport.disconnected


def test_answer_in_pieces() -> None:
    """An answer may come bit by bit, after interim ones, and with messages right behind it."""
    client = Client()
    client.exchanger.opened.addCallback(lambda exchanger: exchanger.send(7, b"x"))
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    client.say(interim + accepted(client.request) + frame(BINARY, b"x") + frame(TEXT, b"y"), 1)
    assert client.heard == [(7, b"x"), (None, b"y")]
    client = Client()
    client.say(interim + accepted(client.request) + frame(BINARY, b"x"))
    assert client.heard == [(None, b"x")]


def test_no_answer() -> None:
    """A server that ends in place of an answer, or in the middle of it, is told of."""
    for said in (b"", b"HTTP/1.1 503 Serv"):
        client = Client()
        client.say(said)
        client.exchanger.connectionLost()
        [failure] = client.refused
        assert "closed the connection in place of an answer" in str(failure.value)


HUGE = bytes([BINARY | 0x80, 127]) + struct.pack(">Q", 1 << 63)
MISTAKES = {
    "masked": (bytes([BINARY | 0x80, 0x81]) + b"\0\0\0\0x", 1002),
    "reserved bit": (frame(BINARY, b"x", bits=0x20), 1002),
    "compressed without a word": (frame(BINARY, b"x", bits=0x40), 1002),
    "reserved opcode": (frame(3), 1002),
    "reserved opcode of control": (frame(11), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "fragmented ping": (frame(PING, last=False), 1002),
    "continues nothing": (frame(CONT, b"x"), 1002),
    "text amid bytes": (frame(BINARY, b"x", last=False) + frame(TEXT, b"y"), 1002),
    "bytes not in UTF-8 amid text": (frame(TEXT, b"x", last=False) + frame(TEXT, b"\xff"), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "code of nothing": (frame(CLOSE, struct.pack(">H", 0)), 1002),
    "code that is never sent": (frame(CLOSE, struct.pack(">H", 1005)), 1002),
    "code of a loss": (frame(CLOSE, struct.pack(">H", 1006)), 1002),
    "code below all": (frame(CLOSE, struct.pack(">H", 999)), 1002),
    "code of nobody": (frame(CLOSE, struct.pack(">H", 5000)), 1002),
    "reason not in UTF-8": (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    "text not in UTF-8": (frame(TEXT, b"\xff"), 1007),
    "text not in UTF-8, then more": (frame(TEXT, b"\xff") + frame(PING, b"late") + frame(CLOSE), 1007),
    "text that ends amid a character": (frame(TEXT, b"\xe2", last=False) + frame(CONT, b"\x82"), 1007),
    "text that goes on wrongly": (
        frame(TEXT, b"\xe2", last=False) + frame(PONG) + frame(CONT, b"x", last=False),
        1007,
    ),
    "2**63 bytes": (HUGE, 1009),
    "too big": (bytes([BINARY | 0x80, 127]) + struct.pack(">Q", MOST_MESSAGE + 1), 1009),
}


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize(("mistake", "code"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(mistake: bytes, code: int, size: int) -> None:
    """A mistake has its code, nothing after it is believed, and whoever waits learns of it."""
    client = Client().opened()
    client.exchanger.send(0, b"x")
    client.say(frame(BINARY, b"x"))
    client.transport.clear()
    client.say(mistake + frame(BINARY, b"after"), size)
    assert client.heard == [(0, b"x")]
    [(kind, content)] = client.said()
    assert (kind, struct.unpack(">H", content[:2])[0]) == (CLOSE, code)
    assert client.transport.disconnecting
    client.exchanger.connectionLost()
    [failure] = client.lost
    assert "is not WebSocket" in failure.getErrorMessage()
    assert ("its text is not in UTF-8" in failure.getErrorMessage()) == (code == 1007)


def test_close_amid_a_message() -> None:
    """A Close frame between fragments is an end as any other, and answered."""
    client = Client().opened()
    client.say(frame(TEXT, b"\xe2", last=False) + frame(CLOSE, struct.pack(">H", 1001) + b"bye"))
    assert client.said() == [(CLOSE, struct.pack(">H", 1001) + b"bye")]
    client.exchanger.connectionLost()
    assert not client.heard
    assert len(client.lost) == 1


def test_close_that_is_not_answered() -> None:
    """A server that does not answer our Close frame, but talks on, has a second."""
    client = Client().opened()
    parted = client.exchanger.close()
    assert parted is not None
    assert client.said() == [(CLOSE, struct.pack(">H", 1000))]
    client.clock.advance(LINGER / 2)
    client.say(frame(BINARY, b"still here") + frame(PING))
    assert not client.transport.disconnected
    client.clock.advance(LINGER / 2)
    assert client.transport.disconnected
    assert not parted.called
    client.exchanger.connectionLost()
    assert parted.called
    assert not client.heard
    assert not client.lost


def test_close_waits_for_the_server() -> None:
    """After Close frames both ways it is the server that closes TCP (RFC 6455 section 7.1.1)."""
    client = Client().opened()
    parted = client.exchanger.close()
    assert parted is not None
    client.say(frame(CLOSE, struct.pack(">H", 1000)))
    assert not client.transport.disconnecting
    assert not parted.called
    client.exchanger.connectionLost()
    assert parted.called
    assert not client.clock.getDelayedCalls()
    assert not client.lost


@pytest.mark.parametrize("code", [1000, 1011])
def test_close_without_an_end_of_tcp(code: int) -> None:
    """Messages are known to be lost once a Close frame has come, whether or not TCP is closed then."""
    client = Client().opened()
    client.exchanger.send(0, b"x")
    client.say(frame(CLOSE, struct.pack(">H", code)))
    [failure] = client.lost
    assert (failure.check(ConnectionDone) is not None) == (code == 1000)
    client.clock.advance(LINGER)
    assert client.transport.disconnected
    client.exchanger.connectionLost()
    assert client.lost == [failure]


def test_fragments_and_pings() -> None:
    """Characters may lie across fragments, and control frames between them, however it all is cut."""
    text = "\xe9\u20ac\U0001f600".encode()
    said = frame(TEXT, last=False)
    for number in range(len(text)):
        said += frame(PING, text[number : number + 1]) + frame(CONT, text[number : number + 1], last=False)
    said += (
        frame(PONG, b"of nothing") + frame(CONT) + frame(BINARY, text[:1], last=False) + frame(CONT, b"\xff")
    )
    for size in (1, 2, 3, 1 << 30):
        client = Client().opened()
        client.say(said, size)
        assert [payload for _, payload in client.heard] == [text, text[:1] + b"\xff"]
        assert client.said() == [(PONG, text[number : number + 1]) for number in range(len(text))]


def flood(listener: socket.socket, pings: int) -> None:
    """Serve one client: let it in, ping it without an end, and read nothing until it has taken all that."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(TIMEOUT)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(1 << 12)
        connection.sendall(accepted(request))
        for _ in range(pings // 1000):
            connection.sendall(frame(PING, bytes(125)) * 1000)
        connection.sendall(frame(PING, b"last") + frame(BINARY, b"taken"))
        heard, size = b"", 0
        while size != len(b"last"):  # of its answer
            data = connection.recv(1 << 16)
            assert data
            heard += data
            start = 0  # of a frame: two bytes, four of its mask, and what it carries
            while len(heard) >= start + 2 and len(heard) >= start + 6 + (heard[start + 1] & 0x7F):
                size = heard[start + 1] & 0x7F
                start += 6 + size
            heard = heard[start:]
            connection.sendall(frame(PONG))  # whereupon it looks again
        connection.sendall(frame(BINARY, b"answered"))
        connection.recv(1)


def test_ping_flood() -> None:
    """Who pings for ever and does not read costs us nothing, and has the last of its pings answered."""
    written = 0

    async def scenario(reactor: Any) -> None:
        heard: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=flood, args=(listener, 200_000))
            thread.start()
            target = Target("ws", "ws", port=listener.getsockname()[1])
            ended: Deferred[None] = Deferred()

            def replied(_: Any, payload: bytes, *__: Any) -> None:
                heard.append(payload)
                if payload == b"answered":
                    ended.callback(None)

            route = Route(target, (target.host,), timeout=TIMEOUT)
            exchanger: Any = await load("ws").connect(reactor, route, replied, ended.errback)
            write = exchanger.transport.write

            def count(data: bytes) -> None:
                nonlocal written
                written += len(data)
                write(data)

            exchanger.transport.write = count
            await ended
            exchanger.close()
            thread.join(TIMEOUT)
        assert heard == [b"taken", b"answered"]

    reactors.run("fast", scenario)
    assert MOST_PONGS < written < 8 << 20


def told(answer: Callable[[bytes], bytes], *words: str, says: bytes = b"") -> tuple[int, str]:
    """Return the status of a command, and what it says, with its target as URL.

    Args:
        answer: returns what the server answers to the request.
        words: of the command.
        says: the server's frames, when it has had a message.
    """

    def talk(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(1 << 12)
        connection.sendall(answer(request))
        if says and connection.recv(1 << 12):
            connection.sendall(says)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1 << 12):
                pass

    with serving(talk) as plain:
        url = plain.replace("tcp", "ws")
        command, *rest = words
        done = netecho(command, url, *rest, input=b"hello")
    return done.returncode, done.stderr.decode().replace(url, "URL")


@pytest.mark.parametrize("words", ["client -n 1", "client", "bench -n 1 --quiet"])
def test_refusal_of_a_command(words: str) -> None:
    """A refusal is a line and a status for whoever typed the command, though its page is never sent whole."""
    status, said = told(lambda _: ENDLESS % (b"503 Service Unavailable", b""), *words.split())
    assert said == "netecho: connection to URL failed: the server answered 503 Service Unavailable\n"
    assert status == 1


def test_end_in_order_told_by_a_command() -> None:
    """A server that closes in order, but in place of an answer, is told of as having done so."""
    status, said = told(accepted, "client", says=frame(CLOSE, struct.pack(">H", 1000)))
    assert said == "netecho: the other end closed the connection and left 1 message without an answer\n"
    assert status == 1


@pytest.mark.parametrize("words", ["client -n 1", "client"])
@pytest.mark.parametrize(
    ("says", "why"),
    [
        (
            frame(CLOSE, struct.pack(">H", 1011) + b"oh\n\x1b[31mno"),
            r"the other end closed the WebSocket: 1011 (internal error) oh\n\x1b[31mno",
        ),
        (frame(BINARY, b"x", bits=0x40), "what the other end says is not WebSocket: reserved bits must be 0"),
        (frame(CONT, b"x"), "what the other end says is not WebSocket: unexpected continuation frame"),
    ],
    ids=["a reason with an escape sequence", "compressed without a word", "continues nothing"],
)
def test_mistake_told_by_a_command(words: str, says: bytes, why: str) -> None:
    """A mistake of the server's is a line, of printable characters, and a status."""
    status, said = told(accepted, *words.split(), says=says)
    assert said.count("\n") == 1
    assert said.endswith(f" was lost: {why}\n")
    assert status == 1
