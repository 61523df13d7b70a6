"""What can be said of messages that travel in WebSocket and in mails: by whom, for whom, and how large."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_with_library

from netecho import program, protocols
from netecho.errors import UsageError
from netecho.options import resolve_mail, resolve_request
from netecho.plans import MailPlan, RequestPlan
from tests.benches import bench, serving
from tests.servers import TIMEOUT, Server, netecho
from tests.test_ws_peers import running


@contextlib.contextmanager
def library(asked: list[Any]) -> Iterator[str]:
    """Run an echo server of the `websockets` package that keeps what it was asked with."""

    def echo(connection: ServerConnection) -> None:
        asked.append((connection.request, connection.subprotocol))
        for message in connection:
            connection.send(message)

    with running(serve_with_library(echo, "127.0.0.1", 0, subprotocols=["superchat"])) as url:  # type: ignore[list-item]
        yield url


def test_fields_of_a_websocket() -> None:
    """What --header says is in the request for each WebSocket, and a subprotocol is agreed on."""
    asked: list[Any] = []
    words = ("--header", "X-Token: secret", "--header", "Sec-WebSocket-Protocol: chat, superchat")
    with library(asked) as url:
        result = bench(url, *words, "-n", "20", "-c", "2")
        assert netecho("client", url, *words, input=b"hello").stdout == b"hello"
    assert [request.headers["X-Token"] for request, _ in asked] == ["secret"] * 3
    offers = [request.headers.get_all("Sec-WebSocket-Protocol") for request, _ in asked]
    assert offers == [["chat, superchat"]] * 3
    assert [subprotocol for _, subprotocol in asked] == ["superchat"] * 3
    assert result["plan"]["request"] == {
        "method": "GET",
        "headers": ["X-Token", "Sec-WebSocket-Protocol"],
        "http2": False,
    }


@pytest.mark.parametrize("words", ["http", "http --http2", "http3 -k", "ws"])
def test_fields_beyond_ascii(words: str) -> None:
    """What is typed beyond ASCII goes out in UTF-8, whichever protocol carries it."""
    scheme, *flags = words.split()
    with Server(f"{scheme}://127.0.0.1:0", "--reply", "info") as server:
        done = netecho(
            "client", server.listener.url, "--header", "X-Name: \xe9\u20ac", *flags, input=b"hello"
        )
    assert done.returncode == 0, done.stderr
    fields = {name.lower(): value for name, value in json.loads(done.stdout)["headers"]}
    assert fields["x-name"].encode("latin-1").decode() == "\xe9\u20ac"


@pytest.mark.parametrize("words", ["http", "http --http2", "http3 -k", "ws"])
def test_host(words: str) -> None:
    """A virtual host is asked for by name, wherever it listens."""
    scheme, *flags = words.split()
    with Server(f"{scheme}://127.0.0.1:0", "--reply", "info") as server:
        asking = ["client", server.listener.url, "--header", "host: virtual.example:81", *flags]
        done = netecho(*asking, input=b"hello")
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)["headers"]
    hosts = [value for name, value in fields if name.lower() in ("host", ":authority")]
    assert hosts == ["virtual.example:81"]


def test_limits() -> None:
    """A server takes messages up to the size that it was told, on its own port, at a path and as mails."""
    with Server(
        "ws://127.0.0.1:0", "http://127.0.0.1:0", "smtp://127.0.0.1:0", "--max-message", "1000"
    ) as server:
        ws, http, smtp = server.listeners
        for url in (ws.url, f"ws{http.url.removeprefix('http')}/ws"):
            with (  # noqa: PT012 - it may come to know by either
                connect(url, open_timeout=TIMEOUT, compression=None) as client,
                pytest.raises(ConnectionClosedError, match="1009"),
            ):
                client.send(bytes(1000))
                assert client.recv(TIMEOUT) == bytes(1000)
                client.send(bytes(1001))
                client.recv(TIMEOUT)
        with smtplib.SMTP(*smtp.address, timeout=TIMEOUT) as mails:
            mails.ehlo()
            assert mails.esmtp_features["size"] == "1000"
            assert mails.docmd("MAIL FROM:<a@b> SIZE=1001")[0] == 552
            assert mails.sendmail("a@b", ["c@d"], b"x" * 900) == {}


def test_first_subprotocol() -> None:
    """Who asks for one of several subprotocols gets the first, as browsers need it."""
    with Server("ws://127.0.0.1:0") as server:
        wanted: Any = ["mqtt", "amqp"]
        with connect(server.listener.url, subprotocols=wanted, open_timeout=TIMEOUT) as client:
            assert client.subprotocol == "mqtt"


def test_envelopes() -> None:
    """Mails are from whom, for whom and by whom it was said, on the envelope and in the header."""
    lines: list[bytes] = []

    def sink(connection: socket.socket) -> None:
        with connection.makefile("rb") as said:
            connection.sendall(b"220 here\r\n")
            in_content = False
            for line in said:
                lines.append(line.rstrip())
                in_content = (in_content and line != b".\r\n") or line == b"DATA\r\n"
                if not in_content or line == b"DATA\r\n":
                    connection.sendall(b"354 go on\r\n" if in_content else b"250 ok\r\n")

    words = ("--from", "a@example.org", "--to", "b@example.org", "--ehlo", "c.example.org")
    with serving(sink) as url:
        result = bench(f"smtp{url.removeprefix('tcp')}", *words, "-n", "1")
    assert lines[:4] == [
        b"EHLO c.example.org",
        b"MAIL FROM:<a@example.org>",
        b"RCPT TO:<b@example.org>",
        b"DATA",
    ]
    assert {b"From: <a@example.org>", b"To: <b@example.org>"} < set(lines)
    told = {"sender": "a@example.org", "recipient": "b@example.org", "ehlo": "c.example.org"}
    assert result["plan"]["mail"] == told


def test_of_no_use() -> None:
    """What has no mails and no requests takes no flags for them, and an empty path is written <>."""
    tcp, ws, smtp = (protocols.load(name) for name in ("tcp", "ws", "smtp"))
    with pytest.raises(UsageError, match=r"--method is for requests: add --proto http or http3$"):
        resolve_request(tcp, "PUT", (), None, False)
    for adapter, flags in ((tcp, ("a@b", None, None)), (ws, (None, None, "a"))):
        with pytest.raises(UsageError, match="is for mails: add --proto smtp"):
            resolve_mail(adapter, *flags)
    assert resolve_mail(tcp, None, None, None) is None
    assert resolve_mail(smtp, None, None, None) == MailPlan()
    assert resolve_mail(smtp, "<>", "a@b", None) == MailPlan("", "a@b")
    for method, body in (("", None), (None, "")):
        with pytest.raises(UsageError, match="is for requests: add"):
            resolve_request(tcp, method, (), body, False)
    with pytest.raises(UsageError, match=r"--header is for requests: add --proto http, http3 or ws$"):
        resolve_request(smtp, None, ("A: b",), None, False)
    with pytest.raises(UsageError, match="--method is for requests"):
        resolve_request(ws, "PUT", (), None, False)
    assert resolve_request(ws, None, (), None, False) is None
    assert resolve_request(ws, None, ("A: b",), None, False) == RequestPlan("GET", ("A: b",), upgrades=True)
    done = netecho("serve", "tcp://127.0.0.1:0", "--max-message", "5")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.endswith(b": add --proto http, http3, smtp or ws\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("client http://h --body x -l 3", "--body and -l/--size exclude each other: a body has its own size"),
        ("client udp://h -l 0", "-l/--size: messages of 0 bytes carry nothing of standard input"),
        ("client dtls://h --mtu 400 -l 1k", "a message of 1000 bytes does not fit into --mtu 400"),
        ("bench http://h --mode connect --method PUT", "--method is of no use with --mode connect"),
        ("bench http://h --mode connect --header a:b", "--header is of no use with --mode connect"),
        ("bench http://h --mode connect --body x", "--body is of no use with --mode connect"),
        ("bench http://h --mode connect --http2", "--http2 is of no use with --mode connect"),
        ("bench wss://h --mode handshake --header a:b", "--header is of no use with --mode handshake"),
        ("bench tcp://h --timer simple", "--timer is how the exchanges of a rate are waited for: add -q"),
        ("bench smtp://h --mode connect --from <>", "--from is of no use with --mode connect"),
        ("bench smtp://h --mode connect --to a@b", "--to is of no use with --mode connect"),
        ("bench smtp://h --mode connect --ehlo a", "--ehlo is of no use with --mode connect"),
        ("bench smtp://h --mode connect --starttls -k", "--starttls is of no use with --mode connect"),
    ],
)
def test_not_ignored(
    line: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag about messages that would change nothing is refused before anything is sent."""
    monkeypatch.setattr("netecho.services.running.install", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")
    assert program.run(line.split()) == 2
    assert capsys.readouterr().err.startswith(f"netecho: {says}")
