"""What a server does to its answers on purpose is what its peers see: nothing less, and nothing else."""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from netecho import protocols
from netecho.errors import UsageError
from netecho.impairment import Delay, Impairment
from netecho.options.impairing import check_impairment
from netecho.plans import ReplyMode, Target
from netecho.protocols._listener import Totals
from netecho.rendering.server import totals_line
from tests.benches import bench
from tests.servers import TIMEOUT, Server, exchange, mistaken, receive_all

MS = 1_000_000
ON_CONNECTIONS = ["tcp", "tls", "http", "https", "ws", "wss", "smtp", "smtps"]


def impaired(
    schemes: list[str], impairment: str, load: str, status: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run a bench against each listener of an impaired server; return their results and its totals."""
    with Server(*(f"{scheme}://127.0.0.1:0" for scheme in schemes), *impairment.split()) as server:
        results = []
        for listener in server.listeners:
            words = load.split()
            if listener.scheme == "https":
                words.append("--http2")
            if listener.ca is not None:
                words += ["--cacert", listener.ca]
            results.append(bench(listener.url, *words, status=status))
        return results, server.end()


def seen(results: list[dict[str, Any]], name: str) -> int:
    """Return how many exchanges were that, in all."""
    return sum(result["exchanges"][name] for result in results)


def test_datagrams() -> None:
    """Of all that is lost, doubled and reordered the client knows exactly, and of nothing else."""
    results, totals = impaired(
        ["udp", "stamp"],
        "--loss 5% --duplicate 5% --reorder 5% --delay 20ms~10ms:20% --seed 3",
        "-q 1000 -n 500 -c 2 -w 2s",
        0,
    )
    done = totals["impaired"]
    assert totals["datagrams_received"] == totals["datagrams_sent"] == seen(results, "sent") == 1000
    assert totals["dropped"] == {}
    for name in ("lost", "duplicated", "reordered"):
        assert seen(results, name) == done[name] > 10, name
    assert seen(results, "late") == seen(results, "corrupted") == 0
    assert done["delayed"] > 100
    assert all(result["exchanges"]["errors"].keys() == {"timeout"} for result in results)
    assert max(result["latency_ns"]["response"]["max"] for result in results) >= 25 * MS


def test_damaged_datagrams() -> None:
    """What is damaged or cut short is corrupted, each once; and lost too, if nobody can tell what it was."""
    [result], totals = impaired(["udp"], "--corrupt 10% --truncate 10%", "-q 1000 -n 500 -w 1s", 3)
    done, exchanges = totals["impaired"], result["exchanges"]
    both = done["corrupted"] + done["truncated"] - exchanges["corrupted"]
    assert 0 <= both <= min(done.values()), "some are damaged and cut short"
    assert min(done.values()) > 20
    assert 0 < exchanges["lost"] < exchanges["corrupted"]


def test_content_and_delay() -> None:
    """An answer that is damaged is a corrupted echo, in whatever form, and none comes before it is due."""
    results, totals = impaired(ON_CONNECTIONS, "--corrupt 20% --delay 20ms~10ms", "-n 60 -c 10", 3)
    count = 60 * len(ON_CONNECTIONS)
    assert totals["impaired"] == {"corrupted": seen(results, "corrupted"), "delayed": count}
    assert (seen(results, "completed"), seen(results, "lost")) == (count, 0)
    for result in results:
        assert 0 < result["exchanges"]["corrupted"] < 30
        assert result["latency_ns"]["response"]["min"] >= 10 * MS


def test_ends() -> None:
    """A connection that ends in the middle of an answer costs that one; one that ends after it, the next."""
    results, totals = impaired(["tcp", "http", "ws", "smtp"], "--truncate 3% --close-after 20", "-n 200", 1)
    done = totals["impaired"]
    assert done["truncated"] > 5
    assert done["closed"] > 5
    assert seen(results, "completed") + seen(results, "lost") == 800
    # That after which a run is over costs nothing any more.
    assert sum(done.values()) - len(results) <= seen(results, "lost") <= sum(done.values())
    for result in results:
        errors = result["exchanges"]["errors"]
        # A server of SMTP says that it ends the session.
        assert errors.keys() <= ({"closed", "status 421"} if result is results[-1] else {"closed"})
        assert sum(errors.values()) == result["exchanges"]["lost"]
        assert result["exchanges"]["corrupted"] == 0


def test_ends_in_http2() -> None:
    """One that ends after an answer says so (GOAWAY), and costs nothing: the next request is sent again."""
    [result], totals = impaired(["https"], "--truncate 3% --close-after 20", "-n 200", 1)
    assert result["transport"]["alpn"] == "h2"
    done, exchanges = totals["impaired"], result["exchanges"]
    assert done["closed"] > 3
    assert exchanges["errors"] == {"closed": exchanges["lost"]}
    assert (exchanges["completed"], exchanges["lost"]) == (200 - done["truncated"], done["truncated"])


def client_of(version: str) -> httpx.Client:
    """Return a client that speaks this version of HTTP alone, and has read no authorities for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(http1=version == "HTTP/1.1", http2=version == "HTTP/2", verify=context)


def test_the_last_answer_is_whole() -> None:
    """A connection that ends after an answer ends after all of it, also if that is made bit by bit."""
    asked = itertools.product(
        ["HTTP/1.1", "HTTP/2"],
        [("GET", b""), ("POST", b"x" * 300_000)],
        ["/bytes/1MiB", "/stream/2000", "/sse/2", "/status/204", "/"],
    )
    answers = 0
    with Server("http://127.0.0.1:0", "--close-after", "1") as server:
        for version, (method, content), path in asked:
            with client_of(version) as client:
                url = server.listener.url + path
                answer = client.request(method, url, content=content, timeout=TIMEOUT)
            assert (answer.http_version, answer.is_success) == (version, True)
            assert not content or path != "/" or answer.content == content
            answers += 1
        assert server.end()["impaired"] == {"closed": answers}


def test_requests_that_come_together() -> None:
    """Each is answered, delayed and counted by itself, and after the last answer nothing comes."""
    other = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + bytes(20000)
    with Server("http://127.0.0.1:0", "--close-after", "3", "--delay", "1ms") as server:
        for path in ("/", "/delay/10ms"):
            first = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            with server.listener.connect() as connection:
                connection.sendall(first + other * 3)
                assert receive_all(connection).count(b"HTTP/1.1 200 OK") == 3, path
        assert server.end()["impaired"] == {"closed": 2, "delayed": 6}


def test_messages_that_come_together() -> None:
    """Each is answered, delayed and counted by itself, and after the last answer only the end comes."""
    with Server("ws://127.0.0.1:0", "--close-after", "3", "--delay", "1ms") as server:
        for compression in (None, "deflate"):
            with connect(server.listener.url, compression=compression) as peer:
                with peer.protocol_mutex:
                    for _ in range(5):
                        peer.protocol.send_text(b"message")
                    peer.socket.sendall(b"".join(peer.protocol.data_to_send()))
                assert [peer.recv(TIMEOUT) for _ in range(3)] == ["message"] * 3, compression
                with pytest.raises(ConnectionClosedOK):
                    peer.recv(TIMEOUT)
        assert server.end()["impaired"] == {"closed": 2, "delayed": 6}


def test_a_long_answer_is_delayed_from_its_beginning() -> None:
    """Not its end alone."""
    with Server("http://127.0.0.1:0", "--delay", "200ms") as server:
        for version in ("HTTP/1.1", "HTTP/2"):
            with client_of(version) as client:
                begun = time.monotonic()
                with client.stream("GET", f"{server.listener.url}/bytes/1MiB", timeout=TIMEOUT) as answer:
                    assert time.monotonic() - begun >= 0.2
                    assert len(answer.read()) == 1 << 20
        assert server.end()["impaired"] == {"delayed": 2}


def test_starttls() -> None:
    """What is in TLS from the middle on is impaired as all else is."""
    with Server("smtp://127.0.0.1:0", "smtps://127.0.0.1:0", "--corrupt", "20%", "--delay", "5ms") as server:
        mails, secure = server.listeners
        assert secure.ca is not None
        result = bench(mails.url, "--starttls", "--cacert", secure.ca, "-n", "60", "-c", "4", status=3)
        assert server.end()["impaired"] == {"delayed": 60, "corrupted": result["exchanges"]["corrupted"]}


def test_a_room() -> None:
    """Of what is said in a room each copy is an answer, also to who says nothing, and fares by itself."""
    flags = ["--corrupt", "100%", "--delay", "1ms", "--close-after", "3"]
    with Server("ws://127.0.0.1:0", "--reply", "broadcast", *flags) as server:
        url = server.listener.url
        with connect(url) as speaker, connect(url, compression=None) as listener:
            for said in ("text", b"bytes", ["in ", "fragments"]):
                speaker.send(said)
                for peer in (listener, speaker):
                    heard = peer.recv(TIMEOUT)
                    assert heard != ("in fragments" if isinstance(said, list) else said)
            for peer in (listener, speaker):
                with pytest.raises(ConnectionClosedOK):
                    peer.recv(TIMEOUT)
        assert server.end()["impaired"] == {"corrupted": 6, "delayed": 6, "closed": 2}


def test_what_is_seen_is_spoilt() -> None:
    """What a server says of a WebSocket connection is an answer like any other, at a port of HTTP's too."""
    flags = ["--corrupt", "100%", "--close-after", "2"]
    with Server("http://127.0.0.1:0", "--reply", "info", *flags) as server:
        url = server.listener.url.replace("http:", "ws:") + "/ws"
        with connect(url) as peer:
            answers = set()
            for _ in range(2):
                peer.send("?")
                answers.add(peer.recv(TIMEOUT))
            with pytest.raises(ConnectionClosedOK):
                peer.recv(TIMEOUT)
        assert len(answers) == 2, "each is another than it would be, at another place"
        assert server.end()["impaired"] == {"corrupted": 2, "closed": 1}


def test_a_stream_in_order() -> None:
    """Megabytes come back through delays as they were, to the end that comes last."""
    message = bytes(range(256)) * 16_384
    with (
        Server("tcp://127.0.0.1:0", "--delay", "10ms~10ms:50%") as server,
        server.listener.connect() as connection,
    ):
        assert exchange(connection, message, half_close=True) == message


def test_a_graceful_stop() -> None:
    """What is held when a server is told to end is still delivered."""
    with Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--delay", "500ms") as server:
        stream, datagrams = (listener.connect() for listener in server.listeners)
        with stream, datagrams:
            stream.sendall(b"held")
            datagrams.send(b"held")
            server.tell()
            assert receive_all(stream) == b"held"
            assert datagrams.recv(100) == b"held"
        assert server.wait_for("stopped")["impaired"] == {"delayed": 2}


def test_an_end_that_does_not_wait() -> None:
    """What is held holds up no end beyond --drain-timeout, not even the word that there is no more."""
    hello = b"\xc0\x1a\x2a\x3a\x4a\x08abcdefgh\x08ijklmnop".ljust(1200)  # of a version that nobody knows
    flags = ["--delay", "1h", "--drain-timeout", "100ms"]
    with (
        Server("quic://127.0.0.1:0", "udp://127.0.0.1:0", *flags) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        server.listeners[1].connect() as held,
    ):
        datagrams.sendto(hello, server.listeners[0].address)
        held.send(b"held")
        server.end()


def test_totals_in_words() -> None:
    """The totals say in text what was done on purpose."""
    line = totals_line(Totals(connections=1, impaired={"delayed": 2000, "corrupted": 3}))
    assert line == "served 1 connection, 3 corrupted on purpose, 2,000 delayed on purpose, 0 B in, 0 B out"


@pytest.mark.parametrize(
    ("names", "impairment", "complaint"),
    [
        (["udp", "tcp"], Impairment(loss=0.1), "--loss is nothing that happens on tcp: it takes --delay, "),
        (["ws"], Impairment(duplicate=0.1), "--duplicate is nothing that happens on ws: it takes --delay, "),
        (["unix"], Impairment(reorder=0.1), "--reorder is nothing that happens on unix: it takes --delay, "),
        (["stamp"], Impairment(close_after=1), "--close-after is nothing that happens on stamp: it takes "),
    ],
)
def test_no_such_thing(names: list[str], impairment: Impairment, complaint: str) -> None:
    """What cannot happen to a protocol's answers is refused."""
    with pytest.raises(UsageError) as refused:
        check_impairment([protocols.load(name) for name in names], impairment, ReplyMode.ECHO)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("name", "reply", "impairment", "rest"),
    [
        *[
            (name, ReplyMode.DISCARD, impairment, "it sends no answers")
            for name in ("tcp", "udp", "unix", "ws", "stamp")
            for impairment in (Impairment(corrupt=0.1), Impairment(Delay(5 * MS)), Impairment(truncate=1))
        ],
        ("tcp", ReplyMode.DISCARD, Impairment(close_after=1), "it sends no answers"),
        ("udp", ReplyMode.DISCARD, Impairment(loss=0.1), "it sends no answers"),
        *[
            (name, reply, Impairment(corrupt=0.1), "it takes --delay, --truncate, --close-after")
            for name, reply in (
                ("smtp", ReplyMode.REJECT),
                ("smtp", ReplyMode.TEMPFAIL),
                ("smtp", ReplyMode.DISCARD),
                ("http", ReplyMode.DISCARD),
            )
        ],
    ],
)
def test_no_such_answer(name: str, reply: ReplyMode, impairment: Impairment, rest: str) -> None:
    """What cannot happen because no answer is sent, or none that has content, is refused."""
    with pytest.raises(UsageError) as refused:
        check_impairment([protocols.load(name)], impairment, reply)
    [harm] = impairment.harms
    assert str(refused.value) == f"--{harm} is nothing that happens on {name} with --reply {reply}: {rest}"


@pytest.mark.parametrize(
    ("name", "is_secure", "reply", "harm"),
    [
        ("tcp", False, ReplyMode.CHARGEN, "corrupt"),
        ("ws", False, ReplyMode.INFO, "corrupt"),
        ("udp", True, ReplyMode.DISCARD, "loss"),
        ("quic", True, ReplyMode.DISCARD, "corrupt"),
        ("http", False, ReplyMode.DISCARD, "truncate"),
        ("http", False, ReplyMode.INFO, "corrupt"),
        ("smtp", False, ReplyMode.REJECT, "truncate"),
    ],
)
def test_such_an_answer(name: str, is_secure: bool, reply: ReplyMode, harm: str) -> None:
    """What can happen to what is sent in a reply mode is not refused."""
    adapter = protocols.for_target(Target(protocol=name, secure=is_secure))
    share: dict[str, Any] = {harm: 0.1}
    check_impairment([adapter], Impairment(**share), reply)
    assert harm in adapter.harms_in(reply)


def test_nothing_listens_in_vain() -> None:
    """It is refused in a line, before anything listens."""
    done = mistaken("serve", "udp://127.0.0.1:0", "tcp://127.0.0.1:0", "--loss", "1%")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"netecho: --loss is nothing that happens on tcp: "
        b"it takes --delay, --corrupt, --truncate, --close-after\n"
    )
    done = mistaken("serve", "tls://127.0.0.1:0", "--reply", "discard", "--corrupt", "1%")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"netecho: --corrupt is nothing that happens on tcp with --reply discard: it sends no answers\n"
    )
