"""HTTP between netecho and programs that nobody here wrote."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import http.client
import http.server
import json
import pathlib
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.benches import all_good, bench
from tests.peers import need
from tests.servers import (
    TIMEOUT,
    Listening,
    Server,
    exchange,
    mistaken,
    netecho,
    receive_all,
    receive_exactly,
)
from tests.test_bench_peers import free_port

MIB = 1 << 20
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve HTTP and HTTPS."""
    with Server("http://127.0.0.1:0", "https://127.0.0.1:0") as server:
        yield server


@pytest.fixture
def clear(server: Server) -> Listening:
    """Return the listener in clear."""
    return server.listeners[0]


@pytest.fixture
def secure(server: Server) -> Listening:
    """Return the listener with TLS."""
    return server.listeners[1]


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its good end."""
    return subprocess.run(
        [need(words[0]), *words[1:]], stdout=subprocess.PIPE, check=True, timeout=TIMEOUT, **options
    )


def curl(listening: Listening, path: str, *words: str) -> bytes:
    """Return what curl gets."""
    trust = [] if listening.ca is None else ["--cacert", listening.ca]
    return run("curl", "-sS", *trust, *words, f"{listening.url}{path}").stdout


VERSIONS = pytest.mark.parametrize(
    ("scheme", "flag", "version"),
    [
        ("http", "--http1.0", "1.0"),
        ("http", "--http1.1", "1.1"),
        ("http", "--http2", "1.1"),
        ("http", "--http2-prior-knowledge", "2"),
        ("https", "--http1.0", "1.0"),
        ("https", "--http1.1", "1.1"),
        ("https", "--http2", "2"),
    ],
)


@VERSIONS
def test_curl(server: Server, scheme: str, flag: str, version: str, tmp_path: pathlib.Path) -> None:
    """Bodies come back to curl with their type, whichever version it speaks; so does what it asked for."""
    listening = server.listeners[scheme == "https"]
    file = tmp_path / "body"
    file.write_bytes(bytes(range(256)) * 4096)
    said = curl(
        listening, "/any/path", flag, "--data-binary", f"@{file}", "-H", "Content-Type: image/png", "-i"
    )
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/%s 200" % (b"2" if version == "2" else b"1.1"))
    assert b"content-type: image/png\r\ncontent-length: 1048576" in head.lower()
    assert body == file.read_bytes()
    seen = json.loads(curl(listening, "/anything/x?a=1&a=2&b", flag, "-X", "DELETE"))
    assert seen["version"] == f"HTTP/{version}"
    assert (seen["method"], seen["path"]) == ("DELETE", "/anything/x")
    assert seen["query"] == {"a": ["1", "2"], "b": [""]}
    assert (seen["tls"] is None) == (scheme == "http")
    for path, expected in [("/status/418", "418"), ("/status/204", "204"), ("/status/99", "400")]:
        assert (
            curl(listening, path, flag, "-o", str(tmp_path / "out"), "-w", "%{http_code}")
            == expected.encode()
        )
    assert curl(listening, "/healthz", flag) == b"ok\n"
    assert len(curl(listening, "/bytes/1000001", flag)) == 1_000_001
    lines = curl(listening, "/stream/1000", flag).splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1000))
    assert curl(listening, "/sse/2", flag) == b"id: 0\ndata: 0\n\nid: 1\ndata: 1\n\n"
    head = curl(listening, "/healthz", flag, "-I").lower()
    assert b"content-length: 3\r\n" in head


def test_arguments_of_pages(clear: Listening) -> None:
    """A page does what it is asked for or says that it does not, and never something near to it."""
    with httpx.Client(base_url=clear.url, timeout=TIMEOUT) as client:
        assert len(client.get("/bytes/1.5k").content) == 1500
        for path in ("/bytes/1.5", "/bytes/2GiB", "/stream/1.5", "/stream/1k", "/sse/0.5", "/delay/61s"):
            assert client.get(path).status_code == 400, path


@VERSIONS
def test_curl_streams(server: Server, scheme: str, flag: str, version: str, tmp_path: pathlib.Path) -> None:
    """What has no known length comes back as it comes, and after 100 Continue where that is asked for."""
    if version == "1.0":
        pytest.skip("HTTP/1.0 has no such bodies")
    listening = server.listeners[scheme == "https"]
    file = tmp_path / "body"
    file.write_bytes(bytes(range(256)) * 40_960)
    words = [flag, "-T", "-", "-X", "POST", "-H", "Expect: 100-continue", "--expect100-timeout", "30"]
    trust = [] if listening.ca is None else ["--cacert", listening.ca]
    with file.open("rb") as body:
        done = run("curl", "-sSv", *trust, *words, listening.url, stdin=body, stderr=subprocess.PIPE)
    assert done.stdout == file.read_bytes()
    assert b" 100 " in done.stderr


@pytest.mark.parametrize(
    ("flag", "size"), [("--http1.1", 1 << 30), ("--http2-prior-knowledge", 1 << 26)], ids=["1.1", "2"]
)
def test_large_body_takes_no_memory(flag: str, size: int, tmp_path: pathlib.Path) -> None:
    """A body of 1 GiB passes through a server that keeps none of it."""
    file = tmp_path / "body"
    with file.open("wb") as body:
        body.truncate(size)
        body.seek(size - 5)
        body.write(b"there")
    with Server("http://127.0.0.1:0") as server:
        before = server.resident_kib()
        with subprocess.Popen(
            [need("curl"), "-sS", flag, "-T", str(file), "-H", "Expect:", server.listener.url],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            done = subprocess.run(["cmp", "-", str(file)], stdin=process.stdout, check=False, timeout=TIMEOUT)
        assert (done.returncode, process.returncode) == (0, 0)
        assert server.resident_kib(peak=True) - before < 32 << 10


def test_certificate_is_seen(tmp_path: pathlib.Path) -> None:
    """The page says what TLS has agreed on, and who the client is."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("me@example.org", common_name="me").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "me.pem"
    )
    with Server("https://127.0.0.1:0", "--client-ca", str(tmp_path / "ca.pem")) as server:
        seen = json.loads(curl(server.listener, "/", "--http2", "--cert", str(tmp_path / "me.pem")))
    assert seen["tls"]["version"] == "TLSv1.3"
    assert seen["tls"]["alpn"] == "h2"
    assert seen["tls"]["client_certificate"]["subject"].endswith("CN=me")


def test_where_http3_is(tmp_path: pathlib.Path) -> None:
    """One server has both at a port, and every answer in TLS says so: curl notes it, and there is HTTP/3."""
    port = free_port(socket.SOCK_STREAM)
    urls = [f"https://127.0.0.1:{port}", f"http3://127.0.0.1:{port}", "http://127.0.0.1:0"]
    noted = tmp_path / "alt-svc"
    with Server(*urls, "--alt-svc", str(port)) as server:
        secure, _, clear = server.listeners
        for flag in ("--http1.1", "--http2"):
            for words in (["-d", "body"], ["-X", "GET"], ["-I"]):
                said = curl(secure, "/", flag, "-i", "--alt-svc", str(noted), *words).lower()
                assert b'\r\nalt-svc: h3=":%d"; ma=3600\r\n' % port in said
        assert f" h3 127.0.0.1 {port} " in noted.read_text()
        for flag in ("--http1.1", "--http2-prior-knowledge"):
            assert b"alt-svc" not in curl(clear, "/", flag, "-i").lower()
        command = ["gtlsclient", "-q", "--exit-on-all-streams-close", f"--download={tmp_path}"]
        run(*command, "127.0.0.1", str(port), f"https://localhost:{port}/healthz", stderr=subprocess.PIPE)
        assert (tmp_path / "healthz").read_bytes() == b"ok\n"


def test_wrk_h2load_and_ab(clear: Listening, secure: Listening, tmp_path: pathlib.Path) -> None:
    """Tools that load servers find no fault."""
    body = tmp_path / "body"
    body.write_bytes(b"x" * 1000)
    script = tmp_path / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 1000)\n')
    said = run("wrk", "-c", "20", "-t", "1", "-d", "1", "-s", str(script), clear.url).stdout
    assert b"requests in" in said
    assert b"Non-2xx" not in said
    assert b"Socket errors" not in said
    for url in (clear.url, secure.url):
        said = run("h2load", "-n", "500", "-c", "5", "-m", "10", "-d", str(body), f"{url}/").stdout
        assert b"500 succeeded, 0 failed, 0 errored, 0 timeout" in said
        assert b"500 2xx" in said
    said = run("h2load", "--h1", "-n", "500", "-c", "5", "-d", str(body), f"{clear.url}/").stdout
    assert b"500 2xx" in said
    words = ["-n", "500", "-c", "20", "-k", "-p", str(body), "-T", "text/plain"]
    said = run("ab", *words, f"{clear.url}/", stderr=subprocess.PIPE).stdout
    assert b"Complete requests:      500\nFailed requests:        0\n" in said
    assert b"Keep-Alive requests:    500" in said
    said = run("ab", *words[:-5], f"{clear.url}/healthz", stderr=subprocess.PIPE).stdout
    assert b"Failed requests:        0\n" in said


def test_httpx_shares_a_connection(secure: Listening) -> None:
    """Requests that are under way at once on one connection get each its own answer."""
    context = ssl.create_default_context(cafile=secure.ca)
    messages = [b"%d" % number * 20_000 for number in range(20)]

    async def talk() -> list[httpx.Response]:
        # Not in threads: what they have in common, h2's state of the connection, is not made for that.
        async with httpx.AsyncClient(http1=False, http2=True, verify=context, timeout=TIMEOUT) as client:
            return await asyncio.gather(*(client.post(secure.url, content=message) for message in messages))

    assert [answer.content for answer in asyncio.run(talk())] == messages


def test_pipelined_requests_in_order(clear: Listening) -> None:
    """Answers come in the order of their requests, even if the first takes its time; a half-close ends it."""
    with clear.connect() as connection:
        requests = b"".join(
            b"POST /delay/100ms HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % number
            if number % 3 == 0
            else b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%d\r\n0\r\n\r\n"
            % number
            for number in range(10)
        )
        connection.sendall(requests)
        connection.shutdown(socket.SHUT_WR)
        answers = receive_all(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
        assert bodies == [
            b"%d" % number if number % 3 == 0 else b"1\r\n%d\r\n0\r\n\r\n" % number for number in range(10)
        ]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_goes_is_not_waited_for(scheme: str) -> None:
    """A peer that resets its connection while its answer is delayed is gone at once, not when that is due."""
    with Server(f"{scheme}://127.0.0.1:0", "-v") as server:
        with server.listener.connect() as connection:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /delay/60s HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert server.wait_for("disconnected")["elapsed_ns"] < 30 * 10**9


def test_what_comes_during_a_delay(clear: Listening) -> None:
    """Of more than is read ahead all is answered."""
    first = b"GET /delay/100ms HTTP/1.1\r\nHost: a\r\n\r\n"
    others = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n" + bytes(200)
    with clear.connect() as connection:
        answers = exchange(connection, first + others * 2000, half_close=True)
        assert answers.count(b"HTTP/1.1 200 OK") == 2001


def test_drain_answers_what_was_asked() -> None:
    """Told to end, a server answers what is under way, cuts events short, and closes what is idle."""
    with Server("http://127.0.0.1:0") as server:
        listener = server.listener
        with listener.connect() as idle, listener.connect() as slow, listener.connect() as events:
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(1000).endswith(b"ok\n")
            slow.sendall(b"POST /delay/500ms HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\necho")
            events.sendall(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n")
            while b"data: 0" not in events.recv(1000):
                pass
            server.tell()
            assert receive_all(idle) == b""
            assert receive_all(slow).endswith(b"\r\n\r\necho")
            assert receive_all(events).endswith(b"0\r\n\r\n")


class Echo(http.server.BaseHTTPRequestHandler):
    """An echo of the standard library."""

    def do_POST(self) -> None:
        """Send the body back, or what the path says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path:
            case "/busy":
                self.send_error(503)
                return
            case "/wrong":
                body = body[::-1]
            case "/moved":
                body = b"Moved"
        self.send_response(302 if self.path in ("/moved", "/moved-echo") else 200)
        if self.protocol_version == "HTTP/1.1":
            self.send_header("Content-Length", str(len(body)))
        if self.path == "/close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Say something."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_HEAD(self) -> None:
        """Say how much there would be."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 50


@contextlib.contextmanager
def library_server(version: str) -> Iterator[str]:
    """Run the standard library's server, which keeps connections only in HTTP/1.1."""
    kind = type("Echo", (Echo,), {"protocol_version": version})
    with _Threads(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("path", ["", "/close"])
def test_bench_of_another_server(version: str, path: str) -> None:
    """Every echo of a server that nobody here wrote is right, whether it keeps connections or not."""
    with library_server(version) as url:
        result = bench(f"{url}{path}", "-c", "5", "-n", "200")
    all_good(
        {**result, "exchanges": {k: v for k, v in result["exchanges"].items() if k != "statuses"}}, 200, 64, 5
    )
    assert result["exchanges"]["statuses"] == {"200": 200}
    assert result["plan"]["request"] == {"method": "POST", "headers": [], "http2": False}


def test_bench_tells_statuses() -> None:
    """An error for an answer is a failure of that kind, and never taken for an echo that is wrong."""
    with library_server("HTTP/1.1") as url:
        busy = bench(f"{url}/busy", "-n", "20", "--header", "X-Secret: yes", status=1)
        wrong = bench(f"{url}/wrong", "-n", "20", status=3)
    assert busy["exchanges"]["statuses"] == {"503": 20}
    assert busy["exchanges"]["errors"] == {"status 503": 20}
    assert (busy["exchanges"]["lost"], busy["exchanges"]["corrupted"]) == (20, 0)
    assert busy["plan"]["request"]["headers"] == ["X-Secret"]
    assert wrong["exchanges"]["corrupted"] == 20


def test_a_redirect_is_no_echo() -> None:
    """What it carries in place of an echo is not taken for a wrong one; where none is expected it is good."""
    with library_server("HTTP/1.1") as url:
        measured = bench(f"{url}/moved", "-n", "20", status=1)
        asked = bench(f"{url}/moved", "-n", "20", "--verify", "none")
        probed = netecho("client", f"{url}/moved", "-n", "1", "--json", "-")
        piped = netecho("client", f"{url}/moved", "-l", "1", input=b"ab")
        echoed = netecho("client", f"{url}/moved-echo", "-l", "1", input=b"ab")
    assert measured["exchanges"]["errors"] == {"status 302": 20}
    assert (asked["exchanges"]["completed"], asked["exchanges"]["statuses"]) == (20, {"302": 20})
    assert probed.returncode == 1
    assert json.loads(probed.stdout)["exchanges"]["errors"] == {"status 302": 1}
    assert (piped.returncode, piped.stdout) == (1, b"MovedMoved")
    assert b"netecho: the other end refused 2 of 2 messages: status 302" in piped.stderr
    assert (echoed.returncode, echoed.stdout, echoed.stderr) == (0, b"ab", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("words", [(), ("--pipeline", "4")], ids=["one by one", "pipelined"])
def test_bench_without_an_echo(method: str, words: tuple[str, ...]) -> None:
    """What has no body has no echo, and is not compared; what comes is counted."""
    with library_server("HTTP/1.1") as url:
        result = bench(url, "--method", method, "-n", "50", *words)
    assert result["exchanges"]["statuses"] == {"200": 50}
    assert result["plan"]["verify"] == "none"
    assert result["throughput"]["bytes_received"] == (250 if method == "GET" else 0)


@pytest.mark.parametrize("words", [("--http2",), ("--tls", "--http2"), ("--tls",), ("--workers", "2")])
def test_bench_of_its_own_server(words: tuple[str, ...]) -> None:
    """Every version, with TLS and without, measures a server of its own."""
    result = bench("--proto", "http", *words, "-c", "4", "--pipeline", "5", "-n", "400")
    assert result["exchanges"]["completed"] == 400
    assert result["exchanges"]["statuses"] == {"200": 400}
    assert result["plan"]["request"]["http2"] == ("--http2" in words)


@pytest.mark.parametrize("words", [(), ("--http2",)])
def test_client(clear: Listening, words: tuple[str, ...]) -> None:
    """The client pings, and pipes what it is given through requests, whose answers it has in their order."""
    done = netecho("client", clear.url, "-n", "2", "-i", "10ms", "--body", "hello", "--json", "-", *words)
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert result["exchanges"]["statuses"] == {"200": 2}
    assert result["plan"]["size"] == 5
    everything = b"".join(b"%07d\n" % number for number in range(64_000))
    done = netecho("client", clear.url, *words, input=everything)
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", len(everything))
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(everything).digest()
    done = netecho("client", f"{clear.url}/status/503", "-n", "1", *words)
    assert done.returncode == 1
    assert b"no echo from" in done.stderr
    assert b"503" in done.stderr


def test_a_server_that_speaks_no_http2() -> None:
    """That a server speaks another version is said in a line."""
    with library_server("HTTP/1.1") as url:
        done = netecho("bench", url, "--http2", "-n", "1", "--quiet", "--json", "-", "--no-reconnect")
    assert done.returncode == 1


def test_connection_that_waited_too_long(clear: Listening) -> None:
    """A connection stays open between requests, for the time that it says nothing about."""
    with clear.connect() as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"Connection: keep-alive" in connection.recv(1000)
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert receive_all(connection).endswith(b"ok\n")


def test_asked_by_a_proxy(clear: Listening) -> None:
    """A target with a scheme and a host is one, and so is that of OPTIONS for the whole server."""
    with clear.connect() as connection:
        connection.sendall(b"GET http://b/x?y HTTP/1.1\r\nHost: b\r\n\r\n")
        assert b'"path": "/x"' in receive_exactly(connection, 300)
    with clear.connect() as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        assert receive_all(connection).startswith(b"HTTP/1.1 200 OK")


def test_not_upgraded(clear: Listening) -> None:
    """Who asks for another protocol stays with this one, and its body is a body."""
    with clear.connect() as connection:
        fields = b"Host: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
        request = b"POST / HTTP/1.1\r\n" + fields + b"Content-Length: 38\r\n\r\n"
        connection.sendall(request + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n---")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = receive_all(connection).split(b"HTTP/1.1 200 OK")
        assert len(answers) == 3
        assert answers[1].endswith(b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n---")
        assert answers[2].endswith(b"ok\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("bench", "--method", "GET"), "--method is for requests: add --proto http or http3"),
        (("bench", "tcp://h:1/x"), "tcp://h:1/x has a path, which tcp does not take: write tcp://HOST:PORT"),
        (
            ("bench", "--proto", "http", "--method", "G T"),
            "--method 'G T' is not a method to send messages with",
        ),
        (("bench", "--proto", "http", "--header", "x"), "--header 'x' is not a field: write 'Name: value'"),
        (
            ("bench", "--proto", "http", "--header", "Connection: close"),
            "--header Connection is for netecho itself to say: leave it out",
        ),
        (
            ("bench", "--proto", "http", "--header", "Host: a/b"),
            "--header Host: 'a/b' is not a host, or a host and port",
        ),
        (
            ("bench", "--proto", "http", "--header", "Host: a", "--header", "host:b"),
            "--header Host: a request is for one host",
        ),
        (
            ("bench", "--proto", "http", "--body", "x", "-l", "1"),
            "--body and -l/--size exclude each other: a body has its own size",
        ),
        (("bench", "--proto", "http", "--body", "@/none"), "--body @/none: No such file or directory"),
        (
            ("serve", "http://127.0.0.1:0/x"),
            "http://127.0.0.1:0/x has a path, and a listener answers for all: write http://HOST:PORT",
        ),
        (
            ("serve", "http://127.0.0.1:0", "--reply", "chargen"),
            "http cannot answer with --reply chargen: it takes echo, discard, info",
        ),
    ],
)
def test_usage(words: tuple[str, ...], line: str) -> None:
    """What makes no sense is said before anything is sent."""
    done = mistaken(*words)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"netecho: {line}\n")
