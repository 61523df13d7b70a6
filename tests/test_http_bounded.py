"""Bodies of requests to a server that has been told how large they may be, in each version of HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest
from aioquic.h3.connection import ErrorCode
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.http3_peers import Pair, head
from tests.servers import TIMEOUT, Server, receive_all, receive_exactly

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def declared(size: int, *more: bytes) -> bytes:
    """Return the head of a request whose body has so many bytes."""
    return b"\r\n".join([POST + b"Content-Length: %d" % size, *more, b"", b""])


def chunk(size: int) -> bytes:
    """Return a chunk of a body."""
    return b"%x\r\n%s\r\n" % (size, b"x" * size)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve HTTP, in clear and over TLS, with bodies of 1,000 bytes at most."""
    with Server("http://127.0.0.1:0", "https://127.0.0.1:0", "--max-message", "1000") as server:
        yield server
        assert server.end()["cut"] == 1


@pytest.mark.parametrize(
    ("request_", "status", "rest"),
    [
        (declared(1000) + b"x" * 1000, 200, b"x" * 1000),
        (declared(1001), 413, b"a body has at most 1000 bytes here\n"),
        (declared(1001, b"Expect: 100-continue"), 413, b"a body has at most 1000 bytes here\n"),
        (declared(10**15), 413, b"a body has at most 1000 bytes here\n"),
        (CHUNKED + chunk(400) + chunk(600) + b"0\r\n\r\n", 200, chunk(400) + chunk(600) + b"0\r\n\r\n"),
        (CHUNKED + chunk(400) + chunk(601), 413, b"a body has at most 1000 bytes here\n"),
        (POST.replace(b"/", b"/status/503", 1) + b"Content-Length: 1001\r\n\r\n", 413, None),
    ],
    ids=["fits", "declared", "expected", "huge", "chunked fits", "chunked", "page"],
)
def test_http1(server: Server, request_: bytes, status: int, rest: bytes | None) -> None:
    """What is too large gets one answer that says so; what is not gets its echo, however often."""
    with server.listener.connect() as client:
        for _ in range(3 if status == 200 else 1):
            client.sendall(request_)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += receive_exactly(client, 1)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            if status == 200 and rest is not None:
                assert receive_exactly(client, len(rest)) == rest
        if status != 200:
            assert b"Connection: close" in answer
            content = receive_all(client)
            assert rest is None or content == rest


def test_http1_that_was_told_to_go_on(server: Server) -> None:
    """A body that was asked for and turns out to be too large is answered so."""
    with server.listener.connect() as client:
        client.sendall(CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert receive_exactly(client, len(interim)) == interim
        client.sendall(chunk(1001))
        assert receive_all(client).startswith(b"HTTP/1.1 413 ")


def test_http1_that_goes_on(server: Server) -> None:
    """A body whose echo is on its way when it is found to be too large has no end, nor has the echo."""
    with server.listener.connect() as client:
        client.sendall(CHUNKED + chunk(1000))
        answer = b""
        while not answer.endswith(chunk(1000)):
            answer += receive_exactly(client, 1)
        client.sendall(chunk(1))
        with contextlib.suppress(ConnectionResetError):  # it is cut off
            assert receive_all(client) == b""


def test_http2(server: Server) -> None:
    """A body that says that it is too large is answered so, one that does not is reset alone."""
    one = server.listeners[1]
    with httpx.Client(http2=True, verify=one.context(), timeout=TIMEOUT) as client:
        url = one.url.replace("127.0.0.1", "localhost")
        for _ in range(3):
            assert client.post(url, content=b"x" * 1000).content == b"x" * 1000
        refused = client.post(url, content=b"x" * 1001)
        assert (refused.http_version, refused.status_code) == ("HTTP/2", 413)
        with pytest.raises(httpx.RemoteProtocolError, match="StreamReset"):
            client.post(url, content=iter([b"x" * 1000, b"x"]))
        with pytest.raises(httpx.RemoteProtocolError, match="StreamReset"):
            client.post(f"{url}/anything", content=iter([b"x" * 1000, b"x"]))
        assert client.post(url, content=iter([b"x" * 500, b"y" * 500])).content == b"x" * 500 + b"y" * 500


def test_http3() -> None:
    """The same on QUIC's streams, on a connection that goes on."""
    with Pair(max_message=1000) as pair:
        assert pair.answer(head(b"POST", b"/"), bytes(1000)).body == bytes(1000)
        refused = pair.answer(head(b"POST", b"/", (b"content-length", b"1001")), bytes(1001))
        assert (refused.status, refused.body) == (413, b"a body has at most 1000 bytes here\n")
        stream = pair.ask(head(b"POST", b"/"), bytes(1000), ended=False)
        pair.turn()
        assert stream not in pair.resets
        pair.http.send_data(stream, b"x", True)
        pair.turn()
        assert pair.resets == {stream: ErrorCode.H3_REQUEST_CANCELLED}
        page = pair.ask(head(b"POST", b"/anything"), bytes(1001), ended=False)
        pair.turn()
        assert pair.resets[page] == ErrorCode.H3_REQUEST_CANCELLED
        assert pair.answer(head(b"POST", b"/"), b"still here").body == b"still here"


def test_websocket(server: Server) -> None:
    """Where HTTP is asked for a WebSocket it takes no larger messages either."""
    with connect(f"ws{server.listener.url.removeprefix('http')}/ws", compression=None) as client:
        client.send(bytes(1000))
        assert client.recv(TIMEOUT) == bytes(1000)
        client.send(bytes(1001))
        with pytest.raises(ConnectionClosedError, match="1009"):
            client.recv(TIMEOUT)


def test_spoilt_on_purpose() -> None:
    """A server that does harm on purpose has the limit too."""
    with Server("http://127.0.0.1:0", "--max-message", "1000", "--corrupt", "100%") as server:
        spoilt = httpx.post(server.listener.url, content=bytes(1000), timeout=TIMEOUT)
        assert len(spoilt.content) == 1000
        assert spoilt.content != bytes(1000)
        assert httpx.post(server.listener.url, content=bytes(1001), timeout=TIMEOUT).status_code == 413
