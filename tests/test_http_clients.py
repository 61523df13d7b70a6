"""The clients of HTTP among servers that close, or that say what is no answer."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netecho.plans import MultiplexPlan, RequestPlan, Target
from netecho.protocols import load
from netecho.protocols._contract import Answer, Route
from netecho.protocols._http1_client import ANSWERS, HTTP1Exchanger
from netecho.protocols._http_server import HTTPFactory
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._watched import Patience
from tests import reactors
from tests.benches import serving
from tests.test_http2_client import Wire

KEEP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Heard = tuple[int | None, bytes, str | None]


class Client:
    """An exchanger, and what it tells."""

    def __init__(self, reactor: Any, port: int, request: RequestPlan, streams: int | None = None) -> None:
        self.reactor = reactor
        self.route = Route(
            Target("http", "http", port=port),
            ("127.0.0.1",),
            request=request,
            multiplex=MultiplexPlan(streams),
        )
        self.heard: list[Heard] = []
        self.lost: Deferred[str] = Deferred()
        self._waiting: tuple[int, Deferred[None]] | None = None

    async def connect(self) -> Any:
        """Connect."""
        return await load("http").connect(self.reactor, self.route, self._reply, self._lost)

    def _lost(self, reason: Failure) -> None:
        self.lost.callback(str(reason.value))

    def _reply(
        self, sequence: int | None, payload: bytes, _: object = None, answer: Answer | None = None, /
    ) -> None:
        self.heard.append((sequence, payload, None if answer is None else answer.status))
        if self._waiting is not None and len(self.heard) >= self._waiting[0]:
            (_count, waiting), self._waiting = self._waiting, None
            waiting.callback(None)

    async def answered(self, count: int) -> None:
        """Wait until it has heard so much."""
        if len(self.heard) < count:
            self._waiting = count, Deferred()
            await self._waiting[1]


@contextlib.contextmanager
def saying(*answers: bytes, close: bool = False) -> Iterator[int]:
    """Serve each of a connection's requests the next of some answers, in pieces; yield the port."""

    def talk(connection: socket.socket) -> None:
        for answer in answers:
            if not connection.recv(1 << 16):
                return
            connection.sendall(answer)
        if close:
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    with serving(talk, "http") as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("answers", "heard"),
    [
        ([KEEP, KEEP, KEEP], [(0, b"ok", "200"), (1, b"ok", "200"), (2, b"ok", "200")]),
        ([KEEP, KEEP[:-2] + b"no", KEEP], [(0, b"ok", "200"), (1, b"no", "200"), (2, b"ok", "200")]),
        ([KEEP, KEEP.replace(b"200", b"503")], [(0, b"ok", "200"), (1, b"ok", "503")]),
        ([KEEP, KEEP.replace(b"200", b"999")], [(0, b"ok", "200"), (1, b"ok", "999")]),
        ([KEEP, KEEP.replace(b"200", b"099")], [(0, b"ok", "200"), (1, b"ok", "099")]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + KEEP, KEEP], [(0, b"ok", "200"), (1, b"ok", "200")]),
        ([b"HTTP/1.1 204 No\r\n\r\n", KEEP], [(0, b"", "204"), (1, b"ok", "200")]),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", KEEP],
            [(0, b"ok", "200"), (1, b"ok", "200")],
        ),
        ([KEEP + KEEP], [(0, b"ok", "200"), (None, b"ok", "200")]),
    ],
)
def test_answers(answers: list[bytes], heard: list[Heard]) -> None:
    """However an answer says where it ends, it is heard whole, once, with what it says of itself."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan())
        exchanger = await client.connect()
        for number in range(len(answers)):
            exchanger.send(number, b"ok")
            await client.answered(number + 1)
        await client.answered(len(heard))
        exchanger.close()
        assert client.heard == heard

    with saying(*answers) as port:
        reactors.run("fast", scenario)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 %d Ok\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 %d Ok\r\nContent-Length: 10\r\n\r\n", True),
        (b"HTTP/1.1 %d Ok\r\n\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 %d Ok\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.0 %d Ok\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 %d Ok\r\nConnection: upgrade, close\r\n\r\n", False),
        (b"HTTP/1.0 %d Ok\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_answers_to_head(head: bytes, kept: bool) -> None:
    """Whether the connection is for more requests it says itself, not the body that its head speaks of."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan("HEAD"))
        exchanger = await client.connect()
        for number in range(2):
            exchanger.send(number, b"")
            await client.answered(number + 1)
        exchanger.close()
        assert client.heard == [(0, b"", "201"), (1, b"", "202" if kept else "201")]

    with saying(head % 201, head % 202) as port:
        reactors.run("fast", scenario)


@pytest.mark.parametrize("http2", [False, True], ids=["1.1", "2"])
@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: " + b"a" * 1_000_000,
        b"\0\0\4\3\0\0\0\0\0" + b"\0\0\0\0",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nok",
    ],
    ids=["SMTP", "two lengths", "no end", "no end of trailers", "a reset of nothing", "another protocol"],
)
def test_no_answer(answer: bytes, http2: bool) -> None:
    """What is no answer ends the connection, and says why."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan(http2=http2))
        exchanger = await client.connect()
        exchanger.send(0, b"ok")
        reason = await client.lost
        assert "HTTP" in reason or "no end" in reason
        assert client.heard == []

    with saying(answer) as port:
        reactors.run("fast", scenario)


def test_statuses() -> None:
    """Which are errors: those of HTTP from 400 on, and all that are not HTTP's (RFC 9110 section 15)."""
    refused = [status for status, answer in ANSWERS.items() if answer.refused]
    assert refused == [*range(100), *range(400, 1000)]
    assert (ANSWERS[7].status, ANSWERS[999].status) == ("007", "999")


@pytest.mark.parametrize(("method", "content"), [("GET", b"ok"), ("HEAD", b"")])
def test_answer_without_an_end_that_nobody_waits_for(method: str, content: bytes) -> None:
    """What comes unasked has no more room than what was asked for."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan(method=method))
        exchanger = await client.connect()
        exchanger.send(0, b"")
        assert "no end" in await client.lost
        assert client.heard == [(0, content, "200")]

    with saying(KEEP.removesuffix(b"ok") + content + b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000) as port:
        reactors.run("fast", scenario)


def test_answer_that_is_cut_short() -> None:
    """An answer that ends before its length is none."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan())
        (await client.connect()).send(0, b"ok")
        await client.lost
        assert client.heard == []

    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", close=True) as port:
        reactors.run("fast", scenario)


def test_answer_without_a_length() -> None:
    """An answer that has no length ends with its connection, and the next message has another."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan())
        exchanger = await client.connect()
        for number in range(3):
            exchanger.send(number, b"ok")
            await client.answered(number + 1)
        assert client.heard == [(number, b"ok", "200") for number in range(3)]
        exchanger.close()

    with saying(b"HTTP/1.0 200 OK\r\n\r\nok", close=True) as port:
        reactors.run("fast", scenario)


LAST = KEEP.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
EARLY = b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("POST", LAST),
        ("POST", LAST + KEEP),
        ("POST", b"HTTP/1.0 200 OK\r\n\r\nok"),
        ("POST", EARLY + KEEP),
        ("POST", EARLY * 2 + KEEP + KEEP.replace(b"200", b"202")),
        ("HEAD", LAST[:-2]),
        ("HEAD", LAST[:-2] * 2),
        ("HEAD", EARLY + KEEP[:-2]),
    ],
    ids=[
        "said",
        "and goes on",
        "without a length",
        "said early",
        "said early and goes on",
        "HEAD",
        "HEAD and goes on",
        "HEAD and early",
    ],
)
def test_answer_that_ends_its_connection(method: str, answer: bytes) -> None:
    """What was asked after it, the server has not dealt with: it is asked again (RFC 9112 section 9.6)."""

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, port, RequestPlan(method))
        exchanger = await client.connect()
        content = b"ok" if method == "POST" else b""
        for number in range(3):
            exchanger.send(number, content)
        await client.answered(3)
        exchanger.send(3, content)
        await client.answered(4)
        assert client.heard == [(number, content, "200") for number in range(4)]
        assert not client.lost.called
        exchanger.close()

    with saying(answer, close=True) as port:
        reactors.run("fast", scenario)


def test_answer_that_ends_a_connection_that_takes_no_more() -> None:
    """What was asked after it waits for no server to read it: it goes out on the next connection."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(LAST)
        ended = select.poll()
        ended.register(connection, 0)
        ended.poll()

    async def scenario(reactor: Any) -> None:
        client = Client(reactor, int(url.rpartition(":")[2]), RequestPlan())
        exchanger = await client.connect()
        for number in range(3):
            exchanger.send(number, bytes(8 << 20))
        await client.answered(2)
        exchanger.close()

    with serving(talk, "http") as url:
        reactors.run("fast", scenario)


@pytest.mark.parametrize("size", [1, len(EARLY), len(EARLY + KEEP)])
def test_answer_that_is_known_to_be_the_last(size: int) -> None:
    """An interim answer says it of the one that follows, though that is the same as others before."""
    heard: list[Any] = []
    client: Any = HTTP1Exchanger(
        Route(Target("http", "http")),
        lambda *words: heard.append(words[1]),
        heard.append,
        lambda _: Deferred(),
    )
    transport: Any = Wire()  # type: ignore[no-untyped-call]
    client.makeConnection(transport)
    for said in (KEEP, KEEP, EARLY + KEEP):
        assert not transport.disconnecting
        client.send(0, b"ok")
        for start in range(0, len(said), size):
            client.dataReceived(said[start : start + size])
    assert heard == [b"ok"] * 3
    assert transport.disconnecting


@pytest.mark.parametrize("http2", [False, True], ids=["1.1", "2"])
def test_idle_connection_is_opened_again(http2: bool) -> None:
    """What a server has closed as nothing was under way is opened again for the next message."""

    async def scenario(reactor: Any) -> None:
        totals = Totals()
        patience = Patience(idle=0.1, look=0.02)
        books = factory = HTTPFactory(reactor, ListenSettings(totals), patience)
        gone: list[Deferred[None]] = []
        closed = books.closed

        def note(*arguments: Any) -> None:
            closed(*arguments)
            gone.pop().callback(None)

        books.closed = note  # type: ignore[assignment, method-assign]
        port = reactor.listenTCP(0, factory, 50, "127.0.0.1")
        client = Client(reactor, port.getHost().port, RequestPlan(http2=http2))
        exchanger = await client.connect()
        for number in range(3):
            left: Deferred[None] = Deferred()
            gone.append(left)
            exchanger.send(number, b"%d" % number)
            exchanger.send(number + 10, b"again")
            await left
        assert sorted(client.heard, key=str) == sorted(
            [(number, b"%d" % number, "200") for number in range(3)]
            + [(number + 10, b"again", "200") for number in range(3)],
            key=str,
        )
        assert totals.connections == 3
        assert not client.lost.called
        exchanger.close()
        await port.stopListening()

    reactors.run("fast", scenario)


def test_streams_at_once() -> None:
    """Of more messages than there may be streams the rest wait, and all are answered."""

    async def scenario(reactor: Any) -> None:
        port = reactor.listenTCP(0, HTTPFactory(reactor, ListenSettings(Totals())), 50, "127.0.0.1")
        client = Client(reactor, port.getHost().port, RequestPlan(http2=True), streams=3)
        exchanger = await client.connect()
        most = 0
        for number in range(10):
            exchanger.send(number, b"%d" % number)
            most = max(most, exchanger._h2.open_outbound_streams)
        assert most == 3
        await client.answered(10)
        assert sorted(client.heard) == [(number, b"%d" % number, "200") for number in range(10)]
        exchanger.close()
        await port.stopListening()

    reactors.run("fast", scenario)
