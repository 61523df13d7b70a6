"""HTTP/3 between processes: ngtcp2's client and server, aioquic's, and netecho's own."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import AccumulatingProtocol

from netecho.errors import ExitStatus
from netecho.plans import Target
from netecho.protocols._contract import Exchanger, Route
from netecho.protocols._message_conversation import MessageConversation
from tests import reactors
from tests.clients import certificate, client, errors, line_with, process
from tests.http3_peers import ask, head
from tests.peers import need
from tests.quic_peers import Peer
from tests.servers import TIMEOUT, Server, mistaken, netecho
from tests.test_bench_peers import free_port
from tests.test_conformance import Both

MIB = 1 << 20


def test_client_of_ngtcp2(tmp_path: pathlib.Path) -> None:
    """It is told what was seen of its request, and gets a body of 1 MiB back."""
    gtlsclient = need("gtlsclient")
    body = tmp_path / "body"
    body.write_bytes(os.urandom(MIB))
    (tmp_path / "got").mkdir()
    options = ["-q", "--exit-on-all-streams-close", "--download", str(tmp_path / "got")]
    with Server("http3://127.0.0.1:0") as server:
        port = server.listener.address[1]
        for path, words in (("anything", []), ("echo", ["-m", "POST", "-d", str(body)])):
            done = subprocess.run(
                [gtlsclient, *options, *words, "127.0.0.1", str(port), f"https://localhost:{port}/{path}"],
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        seen = json.loads((tmp_path / "got" / "anything").read_bytes())
        assert (seen["method"], seen["version"], seen["tls"]["alpn"]) == ("GET", "HTTP/3", "h3")
        assert (tmp_path / "got" / "echo").read_bytes() == body.read_bytes()
        assert server.end()["connections"] == 2


def test_server_of_ngtcp2(tmp_path: pathlib.Path) -> None:
    """It is measured and talked to: what it sends is the file that it was asked for."""
    gtlsserver = need("gtlsserver")
    both = certificate(tmp_path)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"of theirs")
    port = free_port(socket.SOCK_DGRAM)
    with process(
        [gtlsserver, "-q", "-d", str(tmp_path / "served"), "127.0.0.1", str(port), str(both), str(both)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ):
        first = Peer(("127.0.0.1", port), str(tmp_path / "ca.pem"), alpn_protocols=["h3"])
        assert first.pump(lambda: first.core._handshake_complete), "it does not start"
        first.close()
        words = [f"http3://localhost:{port}/file", "--cacert", str(tmp_path / "ca.pem"), "--method", "GET"]
        measured = netecho("bench", *words, "-c", "2", "--streams", "3", "-n", "60", "--json", "-", "--quiet")
        assert measured.returncode == 0, errors(measured)
        result = json.loads(measured.stdout)
        assert result["exchanges"]["statuses"] == {"200": 60}
        assert result["throughput"]["bytes_received"] == 60 * len(b"of theirs")
        talked = client(*words, "-v", input=b"\n")
        assert talked.returncode == 0, errors(talked)
        assert talked.stdout == b"of theirs"
        assert "ALPN h3" in errors(talked)


def test_client_of_aioquic() -> None:
    """Bodies of all sizes come back on one connection, at once."""
    with Server("http3://127.0.0.1:0") as server:
        port, ca = server.listener.address[1], server.listener.ca
        assert ca is not None
        bodies = [os.urandom(size) for size in (1, 1200, 100_000, 3_000_000, *range(1, 60))]
        requests = [(head(b"POST", b"/"), body) for body in bodies]
        answers = asyncio.run(asyncio.wait_for(ask(port, ca, requests), TIMEOUT))
        assert [answer.body for answer in answers] == bodies
        assert server.end()["bytes_sent"] == sum(map(len, bodies))


def test_server_of_aioquic(tmp_path: pathlib.Path) -> None:
    """Its server is measured, and what it refuses is told."""
    both = certificate(tmp_path)
    words = [sys.executable, "-m", "tests.http3_peers", str(both)]
    with process(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        url = f"http3://localhost:{int(line_with(child.stdout, 'listening on ([0-9]+)')[1])}"
        ca = str(tmp_path / "ca.pem")
        bench = ["--cacert", ca, "--quiet", "--json", "-", "--streams", "5", "-c", "2"]
        measured = netecho("bench", url, *bench, "-n", "200", "-l", "30k")
        assert measured.returncode == 0, errors(measured)
        result = json.loads(measured.stdout)
        assert result["exchanges"]["completed"] == 200
        assert result["transport"]["alpn"] == "h3"
        refused = netecho("bench", f"{url}/none", *bench, "-n", "20")
        assert refused.returncode == ExitStatus.FAILED
        assert json.loads(refused.stdout)["exchanges"]["statuses"] == {"404": 20}


def test_both_ends() -> None:
    """A bench has a server of its own; messages of a pipe come back, and pages are read."""
    words = ("--proto", "http3", "-c", "3", "--streams", "4", "-n", "300", "--json", "-", "--quiet")
    done = netecho("bench", *words)
    assert done.returncode == 0, errors(done)
    result = json.loads(done.stdout)
    assert result["exchanges"]["completed"] == 300
    assert result["exchanges"]["statuses"] == {"200": 300}
    with Server("http3://127.0.0.1:0", "-v") as server:
        url, ca = f"http3://localhost:{server.listener.address[1]}", str(server.listener.ca)
        message = os.urandom(3 * MIB)
        talked = client(url, "--cacert", ca, input=message)
        assert talked.returncode == 0, errors(talked)
        assert talked.stdout == message
        ended = server.wait_for("disconnected")
        assert ended["reason"] == "closed with 0x100"
        nothing = client(f"{url}/bytes/10", "--cacert", ca, "-n", "2", "--method", "HEAD")
        assert nothing.returncode == 0, errors(nothing)


def test_conversation_in_order() -> None:
    """Who talks in messages hears the answers in their order, though streams overtake each other."""
    replies: list[Callable[..., None]] = []

    class Exchanges:
        transport = None

        def send(self, sequence: int, payload: bytes) -> None:
            """Send nothing: the test answers."""

        def close(self) -> None:
            """Have nothing to close."""

    def link(_: object, __: object, on_reply: Callable[..., None], *___: object) -> Deferred[Exchanger]:
        replies.append(on_reply)
        return succeed(Exchanges())

    talker = AccumulatingProtocol()
    conversation = MessageConversation(talker)
    conversation.begin(link, None, Route(Target("a", "http3")), None)
    for word in (b"a", b"b", b"c"):
        conversation.write(word)
    [reply] = replies
    for sequence, word in ((2, b"c"), (0, b"a"), (None, b"-"), (1, b"b")):
        reply(sequence, word)
    assert talker.data == b"a-bc"


def test_answers_wait(tmp_path: pathlib.Path) -> None:
    """Whoever pauses hears nothing until it goes on, though other connections do, and then all."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, "http3", tmp_path)
        listener = await both.listen()
        paused, steady = await both.connect(), await both.connect()
        paused.transport.pauseProducing()
        for number in range(5):
            paused.send(number, os.urandom(1000 if number else 1_000_000))
        for count in range(20):
            steady.send(100 + count, b"steady")
            await both.answered(count + 1)
        assert all(payload == b"steady" for _, payload, _ in both.replies)
        paused.transport.resumeProducing()
        await both.answered(25)
        assert sum(len(payload) for _, payload, _ in both.replies) == 1_004_000 + 20 * len(b"steady")
        paused.close()
        steady.close()
        await listener.drain()

    reactors.run("fast", scenario)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("bench", "--proto", "http3", "--http2"), "--http2 is for --proto http"),
        (("bench", "--proto", "http3", "--alpn", "h2"), "--alpn h2 is for --proto http"),
        (("client", "http3://127.0.0.1:1", "--alpn", "h3,h2"), "--alpn h2 is for --proto http"),
        (("client", "https://127.0.0.1:1", "--alpn", "h3"), "--alpn h3 is for --proto http3"),
        (("serve", "https://127.0.0.1:0", "--alpn", "h3"), "--alpn h3 is for --proto http3"),
        (("bench", "--proto", "http3", "--mode", "connect"), "write --mode handshake"),
        (("serve", "--proto", "http3", "--proxy-protocol"), "which http3 does not have"),
        (("serve", "--proto", "http3", "--reply", "chargen"), "chargen"),
    ],
)
def test_usage(words: tuple[str, ...], line: str) -> None:
    """What it cannot do is refused before anything is sent."""
    done = mistaken(*words)
    assert done.returncode == ExitStatus.USAGE
    assert line in errors(done)
