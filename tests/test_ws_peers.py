"""WebSocket between netecho and programs that nobody here wrote."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import Server as LibraryServer
from websockets.sync.server import ServerConnection, serve

from tests.benches import all_good, bench
from tests.peers import need
from tests.servers import TIMEOUT, Listening, Server, mistaken, netecho

MIB = 1 << 20
NODE = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
"""Where Debian has its packages of Node.js, whosever that is."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve WebSocket in clear and over TLS."""
    with Server("ws://127.0.0.1:0", "wss://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["ws", "wss"])
def listening(server: Server, request: pytest.FixtureRequest) -> Listening:
    """Return each of the two listeners."""
    secure: bool = request.param == "wss"
    return server.listeners[secure]


def trusting(listening: Listening) -> ssl.SSLContext | None:
    """Return what a client needs for TLS."""
    return None if listening.ca is None else listening.context(check_hostname=False)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets_client(listening: Listening, compression: Any) -> None:
    """Messages of both kinds and all sizes come back to the `websockets` package's client as they were."""

    async def converse() -> None:
        # Not by the client with threads: it reads and writes at the same time through one `ssl` socket, which
        # is not made for that before Python 3.13, and now and then its first request is lost.
        async with (
            asyncio.timeout(TIMEOUT),
            async_connect(
                f"{listening.url}/any/path?x=y",
                ssl=trusting(listening),
                compression=compression,
                max_size=None,
                open_timeout=TIMEOUT,
            ) as client,
        ):
            for size in (0, 1, 125, 126, 65_535, 65_536, MIB):
                for message in ("\xe9" * (size // 2), os.urandom(size)):
                    await client.send(message)
                    assert await client.recv() == message
            await client.send(iter(["frag", "men", "", "ted"]))
            assert await client.recv() == "fragmented"
            for number in range(1000):
                await client.send(str(number))
            assert [await client.recv() for _ in range(1000)] == [str(number) for number in range(1000)]
            await (await client.ping(b"?"))
            assert client.response is not None
            extensions = client.response.headers.get("Sec-WebSocket-Extensions")
            assert (extensions is not None) == (compression is not None)
        assert client.close_code == 1000

    asyncio.run(converse())


def test_too_large_for_us(server: Server) -> None:
    """The largest message there may be comes back, and one byte more is refused by its code."""
    with connect(server.listener.url, max_size=None, open_timeout=TIMEOUT, compression=None) as client:
        largest = os.urandom(16 * MIB)
        client.send(largest)
        assert client.recv(TIMEOUT) == largest
        with pytest.raises(ConnectionClosedError, match="1009"):  # noqa: PT012 - it may come to know by either
            client.send(largest + b"x")
            client.recv(TIMEOUT)


def test_end_reaches_clients() -> None:
    """A client of the library learns that the server goes, and in order."""
    with Server("ws://127.0.0.1:0") as server, connect(server.listener.url) as client:
        client.send("last")
        assert client.recv(TIMEOUT) == "last"
        server.tell()
        with pytest.raises(ConnectionClosed, match="1001"):
            client.recv(TIMEOUT)
        assert server.wait_for("stopped")["cut"] == 0


def websocat(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run websocat to its good end."""
    return subprocess.run(
        [need("websocat"), *words], capture_output=True, check=True, timeout=TIMEOUT, **options
    )


def test_websocat_client(listening: Listening) -> None:
    """Lines come back to websocat, in messages of either kind, to the last, though it closes at once."""
    lines = b"".join(b"line %d\n" % number for number in range(500))
    trust = [] if listening.ca is None else ["-k"]
    for kind in ("-t", "-b"):
        assert websocat(kind, *trust, listening.url, input=lines).stdout == lines


NODE_CLIENT = """
const WebSocket = require('ws');
const socket = new WebSocket(process.argv[2], {rejectUnauthorized: false});
let step = 0;
const random = require('crypto').randomBytes(1 << 20);
socket.on('open', () => { socket.send('text \\u00e9'); socket.send(random); socket.ping('?'); });
socket.on('message', (data, isBinary) => {
  const right = isBinary ? random.equals(data) : data.toString() === 'text \\u00e9';
  if (!right || isBinary !== (step === 1)) process.exit(1);
  step += 1;
});
socket.on('pong', (data) => { if (data.toString() !== '?') process.exit(2); socket.close(4321, 'bye'); });
socket.on('close', (code, reason) => {
  console.log(step, code, reason.toString(), socket.extensions);
});
"""


def test_node_client(listening: Listening) -> None:
    """So do they to the `ws` package of Node.js, which negotiates compression."""
    said = subprocess.run(
        [need("node"), "-e", NODE_CLIENT, "script", listening.url],
        env=NODE,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    ).stdout
    assert said == "2 4321 bye permessage-deflate\n"


def echo(connection: ServerConnection) -> None:
    """Be an echo, or whatever the path says."""
    assert connection.request is not None
    match connection.request.path:
        case "/wrong":
            for message in connection:
                connection.send(message[::-1])
        case "/once":
            connection.send(connection.recv())
            connection.close(4000, "enough")
        case "/kinds":
            for message in connection:
                connection.send("text" if isinstance(message, str) else b"bytes")
        case _:
            for message in connection:
                connection.send(message)


def only_there(connection: ServerConnection, request: Any) -> Any:
    """Refuse one path."""
    return connection.respond(403, "not for you\n") if request.path == "/closed" else None


@contextlib.contextmanager
def running(server: LibraryServer) -> Iterator[str]:
    """Run a server of the library in a thread."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(TIMEOUT)


@pytest.fixture(scope="module")
def library() -> Iterator[str]:
    """Run the `websockets` package's server."""
    with running(serve(echo, "127.0.0.1", 0, process_request=only_there, max_size=None)) as url:
        yield url


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def program(ready: bytes, *words: str) -> Iterator[None]:
    """Run a server until it says that it is ready, and end it."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=NODE) as process:
        assert process.stdout is not None
        try:
            assert ready in process.stdout.readline()
            yield
        finally:
            process.kill()


NODE_SERVER = """
const {WebSocketServer} = require('ws');
const port = Number(process.argv[2]);
const server = new WebSocketServer({port, host: '127.0.0.1', perMessageDeflate: true});
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, {binary: isBinary}));
});
server.on('listening', () => console.log('ready'));
"""


@contextlib.contextmanager
def node_server() -> Iterator[str]:
    """Run an echo server of the `ws` package."""
    port = free_port()
    with program(b"ready", need("node"), "-e", NODE_SERVER, "script", str(port)):
        yield f"ws://127.0.0.1:{port}"


@contextlib.contextmanager
def websocat_server() -> Iterator[str]:
    """Run an echo server of websocat."""
    port = free_port()
    words = ["-v", "-b", "-B", "1000000", f"ws-l:127.0.0.1:{port}", "mirror:"]
    with program(b"websocat", need("websocat"), *words):
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
        yield f"ws://127.0.0.1:{port}"


@contextlib.contextmanager
def library_server() -> Iterator[str]:
    """Run an echo server of the `websockets` package."""
    with running(serve(echo, "127.0.0.1", 0)) as url:
        yield url


@pytest.mark.parametrize("peer", [library_server, node_server, websocat_server])
def test_bench_of_other_servers(peer: Callable[[], contextlib.AbstractContextManager[str]]) -> None:
    """Every echo of a server that nobody here wrote is right, small ones and large ones."""
    with peer() as url:
        all_good(bench(f"{url}/some/path", "-c", "5", "-n", "500", "--pipeline", "4"), 500, 64, 5)
        all_good(bench(url, "-c", "2", "-n", "20", "-l", "100000"), 20, 100_000, 2)


def test_pipe(library: str) -> None:
    """A pipe through another server gives back what went in, text or not."""
    for data in (b"\xc3\xa9" * 300_001, os.urandom(300_000), b"", b"x"):
        done = netecho("client", library, input=data)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == data


def test_kinds_of_messages(library: str) -> None:
    """What is typed goes out as text where it is text, and benchmarks and probes as bytes."""
    assert netecho("client", f"{library}/kinds", input="\xe9".encode()).stdout == b"text"
    assert netecho("client", f"{library}/kinds", input=b"\xff").stdout == b"bytes"
    done = netecho("client", f"{library}/kinds", "-m", "hello")
    assert done.returncode == 3, "a probe's echo is not what was sent"


def test_wrong_echoes_are_told(library: str) -> None:
    """A server that answers with something else is found out."""
    result = bench(f"{library}/wrong", "-n", "20", status=3)
    assert result["exchanges"]["corrupted"] == 20


def test_connections_are_opened_again(library: str) -> None:
    """A server that closes after each message costs what was sent next, and is connected to again."""
    result = bench(f"{library}/once", "-n", "3", "-c", "1", "--timeout", "20s", status=1)
    assert (result["exchanges"]["completed"], result["exchanges"]["lost"]) == (2, 1)
    assert result["exchanges"]["errors"] == {"lost": 1}
    assert result["connections"]["reopened"] == 1


def test_refusals_are_explained(library: str) -> None:
    """What keeps a WebSocket from being opened is said in a line."""
    done = netecho("client", f"{library}/closed", "-n", "1")
    said = "the server answered 403 Forbidden: there is no WebSocket at that path"
    assert done.returncode == 1
    assert done.stderr.decode() == f"netecho: connection to {library}/closed failed: {said}\n"
    with Server("tcp://127.0.0.1:0", "http://127.0.0.1:0") as others:
        for listener, words in zip(
            others.listeners, [b"speaks no WebSocket", b"answered 200 OK"], strict=True
        ):
            host, port = listener.address
            done = netecho("client", f"ws://{host}:{port}", "-n", "1")
            assert done.returncode == 1
            assert words in done.stderr
            assert done.stderr.count(b"\n") == 1


def test_path_of_a_listener_is_refused() -> None:
    """A listener answers at every path, and so has none; nor has it characters to send for ever."""
    for words, said in [
        (["ws://:0/path"], b"a listener answers for all"),
        (["ws://:0", "--reply", "chargen"], b"chargen"),
    ]:
        done = mistaken("serve", *words)
        assert done.returncode == 2
        assert said in done.stderr
