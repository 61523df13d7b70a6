"""WebSocket at a path of the HTTP server: the same echo, limits, totals and end as on a port of its own."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect

from netecho.protocols._ws_messages import MOST_MESSAGE
from tests.benches import all_good, bench
from tests.peers import need
from tests.servers import TIMEOUT, Listening, Server, netecho, receive_all, receive_exactly

ASKED = (
    b"Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve HTTP in clear and over TLS."""
    with Server("http://127.0.0.1:0", "https://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["ws", "wss"])
def listening(server: Server, request: pytest.FixtureRequest) -> Listening:
    """Return each of the two listeners, as WebSocket's."""
    one = server.listeners[request.param == "wss"]
    return Listening(f"{request.param}{one.url.removeprefix(one.scheme)}/ws", one.ca)


def trusting(listening: Listening) -> ssl.SSLContext | None:
    """Return what a client needs for TLS."""
    return None if listening.ca is None else listening.context(check_hostname=False)


def test_websockets_client(listening: Listening) -> None:
    """The `websockets` package's client gets its messages back, in frames or fragments, deflated too."""

    async def converse() -> None:
        url, context = f"{listening.url}?x=y", trusting(listening)
        # Not by the client with threads: see `test_ws_peers.test_websockets_client`.
        async with (
            asyncio.timeout(TIMEOUT),
            async_connect(url, ssl=context, max_size=None, open_timeout=TIMEOUT) as client,
        ):
            for message in ("", "\xe9" * 1000, b"", os.urandom(70_000)):
                await client.send(message)
                assert await client.recv() == message
            await client.send(iter(["frag", "mented"]))
            assert await client.recv() == "fragmented"
            await (await client.ping(b"?"))
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        assert client.close_code == 1000

    asyncio.run(converse())


def test_websocat(listening: Listening) -> None:
    """So does websocat."""
    lines = b"".join(b"line %d\n" % number for number in range(200))
    trust = [] if listening.ca is None else ["-k"]
    done = subprocess.run(
        [need("websocat"), "-t", *trust, listening.url],
        input=lines,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
    )
    assert done.stdout == lines


def test_our_clients(listening: Listening) -> None:
    """So do client and bench."""
    trust = [] if listening.ca is None else ["--cacert", listening.ca]
    done = netecho("client", listening.url, *trust, "-n", "2", "-i", "1ms", "-l", "1MiB")
    assert (done.returncode, done.stderr) == (0, b"")
    all_good(bench(listening.url, *trust, "-n", "200", "-c", "2"), 200, connections=2)


def test_limit(server: Server) -> None:
    """A message may have as many bytes as on a port of its own."""
    url = f"ws{server.listener.url.removeprefix('http')}/ws"
    with (  # noqa: PT012 - it may come to know by either
        connect(url, max_size=None, open_timeout=TIMEOUT, compression=None) as client,
        pytest.raises(ConnectionClosedError, match="1009"),
    ):
        client.send(bytes(MOST_MESSAGE + 1))
        client.recv(TIMEOUT)


def ask_then_upgrade(connection: socket.socket, frames: bytes) -> bytes:
    """Have a request answered, then go on in WebSocket, with these frames; return the head of the answer."""
    spoken = http.client.HTTPConnection("a")
    spoken.sock = connection
    spoken.request("POST", "/", b"before")
    assert spoken.getresponse().read() == b"before"
    connection.sendall(b"GET /ws HTTP/1.1\r\n" + ASKED + b"\r\n" + frames)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(connection, 1)
    return head


def test_after_requests(server: Server) -> None:
    """A connection that has carried requests may go on in WebSocket, whose frames may come at once."""
    with socket.create_connection(server.listener.address, TIMEOUT) as connection:
        head = ask_then_upgrade(connection, b"\x82\x81\0\0\0\0x\x88\x80\0\0\0\0")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # as RFC 6455 section 1.3 has it
        assert receive_all(connection) == b"\x82\x01x\x88\x00"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n" + ASKED, 200),
        (b"POST /ws HTTP/1.1\r\n" + ASKED + b"Content-Length: 0\r\n", 200),
        (b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", 200),
        (b"GET /ws HTTP/1.1\r\nHost: a\r\n", 200),
        (b"GET /ws HTTP/1.0\r\n" + ASKED, 200),
        (b"GET /ws HTTP/1.1\r\n" + ASKED.replace(b": 13", b": 12"), 400),
        (b"GET /ws HTTP/1.1\r\n" + ASKED.replace(b"dGhl", b""), 400),
        (b"GET /ws HTTP/1.1\r\n" + ASKED + b"Host: b\r\n", 400),
    ],
)
def test_not_upgraded(server: Server, request_: bytes, status: int) -> None:
    """What does not ask for it, or elsewhere, is answered as by HTTP; what asks for it wrongly is refused."""
    with socket.create_connection(server.listener.address, TIMEOUT) as connection:
        connection.sendall(request_ + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_end() -> None:
    """Told to end, the server says so in WebSocket, and its totals have all of it."""
    with Server("http://127.0.0.1:0") as server:
        with connect(f"ws{server.listener.url.removeprefix('http')}/ws", open_timeout=TIMEOUT) as client:
            client.send("last")
            assert client.recv(TIMEOUT) == "last"
            server.tell()
            with pytest.raises(ConnectionClosed, match="1001"):
                client.recv(TIMEOUT)
        totals = server.wait_for("stopped")
    assert (totals["connections"], totals["cut"]) == (1, 0)
    assert totals["bytes_sent"] > 0


def test_impaired() -> None:
    """What is done to answers on purpose is done to messages."""
    with Server("http://127.0.0.1:0", "--corrupt", "20%", "--close-after", "30") as server:
        url = f"ws{server.listener.url.removeprefix('http')}/ws"
        exchanges = bench(url, "-n", "100", status=3)["exchanges"]
        done = server.end()["impaired"]
    assert exchanges["corrupted"] == done["corrupted"] > 5
    assert exchanges["lost"] == done["closed"] == 3


def test_requests_and_messages_count_alike() -> None:
    """Of the answers after which a connection is to end, some may have been those to requests."""
    with Server("http://127.0.0.1:0", "--close-after", "3") as server:
        with socket.create_connection(server.listener.address, TIMEOUT) as connection:
            ask_then_upgrade(connection, b"\x82\x81\0\0\0\0x")
            assert receive_exactly(connection, 3) == b"\x82\x01x"
            connection.sendall(b"\x82\x81\0\0\0\0y")
            assert receive_exactly(connection, 7) == b"\x82\x01y\x88\x02\x03\xe9"
        assert server.end()["impaired"] == {"closed": 1}
