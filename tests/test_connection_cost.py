"""`netecho bench --mode connect|handshake`: what is counted are connections, each opened and closed."""

from __future__ import annotations

import csv
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.benches import bench, checked, echo, running, serving
from tests.peers import need
from tests.servers import ROOT, TIMEOUT, Listening, Server, mistaken, netecho
from tests.test_bench_peers import certificate, free_port, peer  # noqa: F401 - a fixture

PIECES = ("resolve", "connect", "handshake", "handshake_resumed", "first_byte")


def pieces(result: dict[str, Any]) -> dict[str, int]:
    """Return of how many connections the result has each piece."""
    latencies = result["latency_ns"]
    return {name: latencies[name]["count"] for name in PIECES if latencies[name] is not None}


def all_opened(result: dict[str, Any], number: int, places: int = 1) -> None:
    """Hold that so many connections were opened, and nothing else happened."""
    exchanges = result["exchanges"]
    assert (exchanges["sent"], exchanges["completed"], exchanges["errors"]) == (number, number, {})
    assert result["connections"] == {
        "requested": places,
        "opened": number,
        **dict.fromkeys(["failed", "lost", "reopened", "churned"], 0),
    }
    assert result["throughput"]["bytes_sent"] == result["throughput"]["bytes_received"] == 0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve whoever does not count the server's connections."""
    with Server("tcp://localhost:0", "tls://127.0.0.1:0") as server:
        yield server


def test_connects(tmp_path: pathlib.Path) -> None:
    """The server has as many connections as the results, in a closed loop and in an open one."""
    with Server("tcp://127.0.0.1:0", f"unix:{tmp_path}/echo", "tls://127.0.0.1:0") as server:
        tcp, unix, tls = server.listeners
        loads = ((tcp, "-n 50"), (tcp, "-q 200 -z 250ms"), (unix, "-n 50"), (tls, "-n 50"))
        for listener, load in loads:
            result = bench(listener.url, "--mode", "connect", "-c", "4", *load.split())
            all_opened(result, 50, 4)
            assert pieces(result) == {"connect": 50}  # without its handshake even where TLS is spoken
            assert result["plan"]["mode"] == "connect"
            assert result["latency_ns"]["response"]["max"] >= result["latency_ns"]["connect"]["max"]
        assert server.end()["connections"] == 50 * len(loads)


def test_connections_for_messages() -> None:
    """A connection that carries messages ends as others do, and the next one is opened."""
    modes = {"http": "connect", "ws": "connect", "smtp": "connect", "http3": "handshake"}
    with Server(*(f"{scheme}://127.0.0.1:0" for scheme in modes)) as server:
        for listener in server.listeners:
            mode = modes[listener.scheme]
            trust = ["--cacert", listener.ca] if listener.ca else []
            result = bench(listener.url, "--mode", mode, "-n", "12", "-c", "2", *trust)
            all_opened(result, 12, 2)
            assert pieces(result)[mode] == 12
        assert server.end()["connections"] == 12 * len(modes)


@pytest.mark.parametrize(
    "words",
    ["socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr PIPE", "ncat -l -k 127.0.0.1 {port} -e /bin/cat"],
)
def test_connects_to_others(words: str) -> None:
    """Other servers are connected to as well."""
    port = free_port()
    with peer(words.format(port=port), f"tcp://127.0.0.1:{port}") as url:
        all_opened(bench(url, "--mode", "connect", "-n", "20", "-c", "2"), 20, 2)


def test_names_are_resolved_each_time(server: Server) -> None:
    """So much of a connection's cost is that of its name; in exchanges it is paid once."""
    url = f"tcp://localhost:{server.listener.address[1]}"
    result = bench(url, "--mode", "connect", "-n", "10")
    all_opened(result, 10)
    assert pieces(result) == {"resolve": 10, "connect": 10}
    exchanges = bench(url, "-n", "10", "-c", "2", "--workers", "2")
    assert pieces(exchanges) == {"resolve": 1, "connect": 2, "first_byte": 2}


@pytest.mark.parametrize("scheme", ["udp", "stamp"])
def test_datagrams_connect_nothing(scheme: str, tmp_path: pathlib.Path) -> None:
    """To open a port for datagrams asks nobody anything: no form of the result has a time for it."""
    saved, table = tmp_path / "result.json", tmp_path / "result.csv"
    with Server(f"{scheme}://127.0.0.1:0") as server:
        words = [server.listener.url, "-n", "10", "--quiet", "--json", str(saved), "--csv", str(table)]
        done = netecho("bench", *words)
        assert pieces(json.loads(saved.read_text())) == {}
        assert done.returncode == 0
    assert b"connect " not in done.stdout
    [row] = csv.DictReader(table.open(newline=""))
    assert {row[name] for name in row if name.startswith("latency_ns.connect.")} <= {""}


def test_handshakes() -> None:
    """The first in each place is in full, and those after it as they were asked for."""
    loads = [
        ("-n 40 -c 4", 4, 0),
        ("-q 400 -z 100ms -c 1 --resume", 1, 39),
        ("-n 40 -c 4 --resume --workers 2", 4, 36),
    ]
    with Server("tls://127.0.0.1:0") as server:
        assert server.listener.ca is not None
        trust = ["--cacert", server.listener.ca]
        for words, places, resumed in loads:
            result = bench(server.listener.url, "--mode", "handshake", *words.split(), *trust)
            all_opened(result, 40, places)
            counted = {"connect": 40, "handshake": 40 - resumed, "handshake_resumed": resumed}
            assert pieces(result) == {name: count for name, count in counted.items() if count}
            assert result["plan"]["resume"] is ("--resume" in words.split())
        assert server.end()["connections"] == 40 * len(loads)


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        (["-tls1_2"], True),
        (["-tls1_2", "-no_ticket"], True),
        (["-tls1_3"], True),
        (["-tls1_3", "-no_ticket"], True),
        (["-tls1_3"], False),
    ],
)
def test_openssl_counts_the_same(
    words: list[str],
    resume: bool,
    certificate: pathlib.Path,  # noqa: F811
) -> None:
    """What we call resumed, OpenSSL's own server calls so too: by tickets, and by what it remembers."""
    port, pem = free_port(), str(certificate / "server.pem")
    with subprocess.Popen(
        [need("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pem, "-naccept", "6", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as server:
        try:
            assert server.stdout is not None
            said = b""
            while not said.endswith(b"ACCEPT\n"):
                said += server.stdout.readline()
                assert said.endswith(b"\n"), said
            asked = ["-n", "6", "--cacert", str(certificate / "ca.pem"), *(["--resume"] if resume else [])]
            result = bench(f"tls://127.0.0.1:{port}", "--mode", "handshake", *asked)
            said, _ = server.communicate(timeout=TIMEOUT)
        finally:
            server.kill()
    all_opened(result, 6)
    counted = pieces(result)
    assert b"   6 server accepts that finished\n" in said
    assert counted.get("handshake_resumed", 0) == said.count(b"Reused session-id\n")
    assert f"{counted.get('handshake_resumed', 0):4} session cache hits\n".encode() in said
    assert counted["handshake"] == (1 if resume else 6)


def test_certificates_are_verified(server: Server) -> None:
    """A handshake that fails is counted by why it did; if all do, that is all there is to say."""
    url = server.listeners[1].url
    done = netecho("bench", url, "--mode", "handshake", "-n", "3", "-c", "2", "--quiet")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"--cacert FILE trusts" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.fixture(scope="module")
def reluctant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listening]]:
    """Serve those only who have a certificate, in every protocol with handshakes."""
    clients = tmp_path_factory.mktemp("authority") / "clients.pem"
    trustme.CA().cert_pem.write_to_path(str(clients))
    schemes = ["tls", "https", "wss", "smtps", "quic", "http3"]
    with Server(*(f"{scheme}://127.0.0.1:0" for scheme in schemes), "--client-ca", str(clients)) as server:
        yield {listener.scheme: listener for listener in server.listeners}


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("tls", []),
        ("https", []),
        ("https", ["--http2"]),
        ("wss", []),
        ("smtps", []),
        ("quic", []),
        ("http3", []),
    ],
)
def test_refused_after_our_end_of_a_handshake(
    scheme: str, words: list[str], reluctant: dict[str, Listening]
) -> None:
    """In TLS 1.3 a server says that it wants a certificate when our end of the handshake is over."""
    listener = reluctant[scheme]
    asked = ["-n", "3", "--cacert", str(listener.ca), *words]
    done = netecho("bench", listener.url, "--mode", "handshake", *asked, "--quiet")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"wants a client certificate; give one with --cert" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("scheme", ["tls", "https", "wss", "smtps"])
def test_nothing_but_a_handshake(scheme: str, certificate: pathlib.Path) -> None:  # noqa: F811
    """A server that says nothing has its handshakes measured, whatever its protocol, and hears nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heard.append(secure.recv(100))

    with serving(listen) as url:
        words = ["--mode", "handshake", "-n", "2", "--cacert", str(certificate / "ca.pem")]
        result = bench(url.replace("tcp", scheme), *words)
    all_opened(result, 2)
    assert heard == [b"", b""]


@pytest.mark.parametrize("words", ["-c 3 -q 50 -z 1h", "-c 4 --workers 2"])
def test_nobody_is_there(words: str) -> None:
    """A run in which the first connections all fail ends at once, with the reason in one line."""
    url = f"tcp://127.0.0.1:{free_port()}"
    done = netecho("bench", url, "--mode", "connect", *words.split(), "--quiet")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"netecho: connection to {url} refused: nothing listens there".encode())
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("load", [["-n", "12"], ["-q", "20", "-n", "12"]])
def test_a_server_that_goes(load: list[str], certificate: pathlib.Path) -> None:  # noqa: F811
    """Connections that fail in mid-run are counted by how, and everything still adds up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take_four() -> None:
            # Handshakes, as the system itself takes any number of connections while there is a listener.
            for _ in range(4):
                context.wrap_socket(listener.accept()[0], server_side=True).close()
            listener.close()

        taking = threading.Thread(target=take_four)
        taking.start()
        url = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        words = ["--mode", "handshake", "-c", "2", "--cacert", str(certificate / "ca.pem")]
        result = bench(url, *words, *load, status=1)
        taking.join(TIMEOUT)
    exchanges = result["exchanges"]
    assert (exchanges["sent"], exchanges["completed"], exchanges["lost"]) == (12, 4, 8)
    assert exchanges["errors"]["refused"] >= 6  # two at most were waiting when it went
    assert sum(exchanges["errors"].values()) == result["connections"]["failed"] == 8
    assert result["latency_ns"]["handshake"]["count"] == 4


@pytest.mark.parametrize("mode", ["connect", "handshake"])
def test_a_server_that_does_not_close(mode: str, certificate: pathlib.Path) -> None:  # noqa: F811
    """Both ends close a connection: who does not is waited for as long as for anything, and counted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    over = threading.Event()

    def hold(connection: socket.socket) -> None:
        if mode == "handshake":
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            over.wait(TIMEOUT)

    with serving(hold) as url:
        words = ["--mode", mode, "-n", "2", "-c", "2", "-w", "1s", "--cacert", str(certificate / "ca.pem")]
        result = bench(url.replace("tcp", "tls"), *words, status=1)
        over.set()
    assert result["exchanges"]["completed"] == 2
    assert result["exchanges"]["errors"] == {"close timeout": 2}


def test_warm_up_is_apart() -> None:
    """Connections of the warm-up are in neither the counts nor the times."""
    with Server("tcp://127.0.0.1:0") as server:
        result = bench(server.listener.url, "--mode", "connect", "--warmup", "200ms", "-n", "20")
        opened = server.end()["connections"]
    all_opened(result, 20)
    assert pieces(result) == {"connect": 20}
    assert opened == 20 + result["warmup"]["completed"] > 20


def test_interrupted(server: Server) -> None:
    """Ctrl-C leaves what has been measured, and what was under way in flight."""
    words = [server.listener.url, "--mode", "connect", "-c", "5", "-z", "1h", "--json", "-"]
    with running(*words) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (130, b"")
    result = checked(json.loads(out))
    assert result["exchanges"]["completed"] > 0
    assert result["exchanges"]["errors"] == {}


NAMESPACE = """
ip link set lo up
echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range
echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse
exec "$0" -c "$1" "$0"
"""
LISTENING = """
import socket, subprocess, sys, threading
listener = socket.create_server(("127.0.0.1", 8000), backlog=100)

def close_when_they_do():
    while True:
        with listener.accept()[0] as connection:
            connection.recv(1)

threading.Thread(target=close_when_they_do, daemon=True).start()
done = subprocess.run(
    [sys.argv[1], "-m", "netecho", "bench", "tcp://127.0.0.1:8000", "--quiet", "--json", "-",
     "--mode", "connect", "-n", "13"]
)
sys.exit(done.returncode)
"""


def test_no_port_is_left() -> None:
    """Who has opened and closed as many connections as there are ports is told so, and what to do."""
    done = subprocess.run(
        [need("unshare"), "--map-root-user", "--net", "/bin/sh", "-ec", NAMESPACE, sys.executable, LISTENING],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    result = checked(json.loads(done.stdout))
    failed = result["exchanges"]["errors"]["no local port"]
    assert result["exchanges"]["errors"] == {"no local port": failed}
    assert (result["exchanges"]["completed"], failed) == (10, 3)
    assert not result["trustworthy"]
    # On a busy machine it may not be the only one.
    assert any(caveat.startswith("3 connections found no local port free") for caveat in result["caveats"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("tcp://{at} --mode handshake", "--mode handshake is for TLS"),
        ("udp://{at} --mode connect", "--mode connect is for protocols that connect, which udp does not"),
        ("tcp://{at} --mode connect -l 5", "--mode connect, which sends no messages"),
    ],
)
def test_what_makes_no_sense(words: str, reason: str) -> None:
    """It is a usage error, found before anybody is connected to."""
    connected = threading.Event()
    with serving(lambda _: connected.set()) as url:
        done = mistaken("bench", *words.format(at=url.rpartition("/")[2]).split())
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert reason.encode() in done.stderr
    assert not connected.is_set()


def test_objectives() -> None:
    """The pieces of a connection can be objectives; of what was not measured none is met."""
    words = ["--mode", "connect", "-n", "20", "--slo", "connect.p(99)<1h", "--slo", "handshake.p(99)<1h"]
    with serving(echo) as url:
        result = bench(url, *words, status=99)
    assert [one["passed"] for one in result["slo"]] == [True, False]


def test_shown() -> None:
    """A person reads of connections, and not of messages and echoes."""
    with serving(echo) as url:
        done = netecho("bench", url, "--mode", "connect", "-n", "30", "-c", "2", "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode()
    assert "closed loop, 2 connections at a time, opened and closed in order, 30 exchanges" in said
    assert " connections/s\n" in said
    assert "30 opened" in said
    assert "echoes" not in said
    assert "messages" not in said
