"""QUIC between netecho's own ends: whom each trusts, where a peer goes, what is written down, and the end."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest
import trustme
from aioquic.quic.events import ConnectionTerminated

from netecho.errors import ExitStatus
from netecho.protocols._quic_qlog import MOST_HELD, UNPROVED, Log, Trace
from netecho.protocols._quic_server import TRUSTING
from tests.clients import client, errors
from tests.quic_peers import Peer
from tests.servers import ROOT, Server, netecho
from tests.test_quic_attacks import initials

MIB = 1 << 20
IMPORTS = """
import sys
from netecho import program, protocols
assert program.run(["--help"]) == program.run(["serve", "--help"]) == 0
protocols.load("tcp"), protocols.load("http"), protocols.names(), protocols.schemes()
assert "aioquic" not in sys.modules
protocols.load("quic")
assert "aioquic" in sys.modules
"""


def test_imported_when_it_is_used() -> None:
    """Nobody else pays for it."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def probe(server: Server, *words: str, ca: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Have a client probe a server once."""
    authority = ["--cacert", str(server.listener.ca)] if ca and server.listener.ca else []
    port = server.listener.address[1]
    return client("-n", "1", "-v", f"quic://localhost:{port}", *authority, *words)


def test_whom_a_client_trusts() -> None:
    """A certificate that does not verify, and a protocol that is not spoken, are told in a line."""
    with Server("quic://127.0.0.1:0") as server:
        good = probe(server)
        assert good.returncode == 0, errors(good)
        assert "certificate verified" in errors(good)
        for words, why in (
            ((), "signed by an authority unknown here"),
            (("--sni", "example.org"), "not for example.org"),
            (("--alpn", "h3"), "speaks none of the protocols offered to it; --alpn NAMES offers others"),
        ):
            bad = probe(server, *words, ca=bool(words))
            assert bad.returncode == ExitStatus.FAILED
            [line] = errors(bad).splitlines()
            assert why in line
        insecure = probe(server, "-k", ca=False)
        assert insecure.returncode == 0
        assert "NOT VERIFIED: the certificate is signed by an authority unknown here" in errors(insecure)


def test_nobody_there() -> None:
    """It is told at once that nothing listens, and how to have it."""
    with Server("quic://127.0.0.1:0") as server:
        port = server.listener.address[1]
    gone = client("-n", "1", f"quic://localhost:{port}")
    assert gone.returncode == ExitStatus.FAILED
    [line] = errors(gone).splitlines()
    assert line.endswith(f"netecho serve --proto quic --port {port}")


def test_client_certificates(tmp_path: pathlib.Path) -> None:
    """A server that asks for one has no connection without one that verifies, and says what it lacks."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, issuer in (("ours", authority), ("theirs", other)):
        issued = issuer.issue_cert("someone")
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    with Server("quic://127.0.0.1:0", "--client-ca", str(tmp_path / "ca.pem")) as server:
        good = probe(server, "--cert", str(tmp_path / "ours"))
        assert good.returncode == 0, errors(good)
        for words, why in (
            ((), "wants a client certificate; give one with --cert"),
            (("--cert", str(tmp_path / "theirs")), "does not accept our certificate"),
        ):
            bad = probe(server, *words)
            assert bad.returncode == ExitStatus.FAILED
            assert why in errors(bad)
        assert server.end()["connections"] == 1


def test_peer_that_moves() -> None:
    """A connection goes on from another address, which is found by the connection's ID."""
    with Server("quic://127.0.0.1:0") as server:
        peer, other = (Peer(server.listener.address, server.listener.ca) for _ in range(2))
        for number in range(3):
            assert other.exchange(b"%d" % number) == b"%d" % number
            message = os.urandom(100_000)
            assert peer.exchange(message) == message
            peer.rebind()
        peer.close()
        other.close()
        assert server.end()["connections"] == 2


def test_end_of_the_server() -> None:
    """Told to end, it sends what it owes, and says that there is no error."""
    with Server("quic://127.0.0.1:0") as server:
        peer = Peer(server.listener.address, server.listener.ca)
        assert peer.exchange(b"first") == b"first"
        peer.core.send_stream_data(4, bytes(300_000))
        assert peer.pump(lambda: 4 in peer.echoes)
        server.tell(signal.SIGTERM)
        assert peer.pump(lambda: peer.happened(ConnectionTerminated))
        assert (peer.end.error_code, peer.end.reason_phrase) == (0, "the server ends")
        assert peer.end.frame_type == 0  # it is the transport that says so
        peer.socket.close()
        stopped = server.wait_for("stopped")
        assert stopped["bytes_sent"] == len(b"first") + len(peer.echoes[4])
        assert stopped["cut"] == 0


def test_pipe() -> None:
    """What a client is given goes out on one stream and comes back from it, byte for byte, to its end."""
    with Server("quic://127.0.0.1:0") as server:
        message = os.urandom(6 * MIB)
        done = client(server.listener.url, "--cacert", str(server.listener.ca), input=message)
        assert done.returncode == 0, errors(done)
        assert done.stdout == message
        assert server.end()["bytes_received"] == len(message)


def records(path: pathlib.Path) -> list[Any]:
    """Return the JSON texts of a sequence (RFC 7464)."""
    first, *texts = path.read_bytes().split(b"\x1e")
    assert first == b""
    return [json.loads(text) for text in texts]


def test_written_down(tmp_path: pathlib.Path) -> None:
    """Both ends write a qlog of each connection, and the client the secrets to read a capture with."""
    ours, theirs, keys = tmp_path / "ours", tmp_path / "theirs", tmp_path / "keys"
    ours.mkdir()
    theirs.mkdir()
    with Server("quic://127.0.0.1:0", "--qlog", str(theirs)) as server:
        assert probe(server, "--qlog", str(ours), "--keylog", str(keys)).returncode == 0
    for directory, side in ((ours, "client"), (theirs, "server")):
        [path] = directory.glob("*.sqlog")
        head, *events = records(path)
        assert head["qlog_format"] == "JSON-SEQ"
        assert head["trace"]["vantage_point"]["type"] == side
        assert {"transport:packet_sent", "transport:packet_received"} <= {one["name"] for one in events}
    lines = keys.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {
        f"{who}_{what}"
        for who in ("CLIENT", "SERVER")
        for what in ("HANDSHAKE_TRAFFIC_SECRET", "TRAFFIC_SECRET_0")
    }
    nowhere = client("-n", "1", "--qlog", str(tmp_path / "none"), "quic://localhost")
    assert nowhere.returncode == ExitStatus.USAGE


def test_written_down_of_nobody(tmp_path: pathlib.Path) -> None:
    """Of peers that begin and never show that their address is theirs, only a few connections have files."""
    with Server("quic://127.0.0.1:0", "--qlog", str(tmp_path), "--idle-timeout", "60s") as server:
        flood = Peer(server.listener.address, None)
        for datagram in initials(flood, 2 * TRUSTING):
            flood.socket.sendto(datagram, flood.address)
        flood.socket.close()
        assert probe(server).returncode == 0  # in a room that is full, so that it had to come back
        assert len(list(tmp_path.iterdir())) == 1
        server.end()
    files = list(tmp_path.iterdir())
    assert len(files) <= 1 + UNPROVED
    assert all(records(path)[0]["qlog_format"] == "JSON-SEQ" for path in files)


def test_log_of_another(tmp_path: pathlib.Path) -> None:
    """Peers choose what their connections are called, and so the names of files; none is written over."""
    log = Log(str(tmp_path))
    log.unproved = 1
    first, second, third = (log.start_trace(False, odcid) for odcid in (b"a", b"a", b"b"))
    for trace in (first, second):
        assert isinstance(trace, Trace)
        trace.begin()
    log.end_trace(first)
    written = (tmp_path / "61_server.sqlog").read_bytes()
    second.log_event(category="transport", event="packet_sent", data={})
    for _ in range(2 * MOST_HELD):
        third.log_event(category="transport", event="packet_sent", data={})
    log.end_trace(second)
    log.end_trace(third)
    log.end_trace(log.start_trace(False, b"c"))
    assert (tmp_path / "61_server.sqlog").read_bytes() == written
    assert len(records(tmp_path / "62_server.sqlog")) == MOST_HELD
    assert len(list(tmp_path.iterdir())) == 2


def test_handshakes() -> None:
    """Handshakes alone are measured, and those that resume a session apart from the others."""
    words = ("--proto", "quic", "--mode", "handshake", "-n", "12", "-c", "2", "--json", "-", "--quiet")
    for more, first in (((), 12), (("--resume",), 2)):
        done = netecho("bench", *words, *more)
        assert done.returncode == 0, errors(done)
        latencies = json.loads(done.stdout)["latency_ns"]
        assert latencies["handshake"]["count"] == first
        assert (latencies.get("handshake_resumed") or {"count": 0})["count"] == 12 - first
    refused = netecho("bench", "--proto", "quic", "--mode", "connect", "-n", "1")
    assert refused.returncode == ExitStatus.USAGE
    assert b"write --mode handshake" in refused.stderr


@pytest.mark.parametrize("words", [("-q", "2k", "-z", "1s"), ("--workers", "2", "-n", "400")])
def test_load(words: tuple[str, ...]) -> None:
    """By a schedule, and by several processes, every exchange comes back."""
    done = netecho("bench", "--proto", "quic", "-c", "4", "--streams", "3", *words, "--json", "-", "--quiet")
    assert done.returncode == 0, errors(done)
    exchanges = json.loads(done.stdout)["exchanges"]
    assert exchanges["completed"] == exchanges["sent"] >= 400


def test_messages_larger_than_windows() -> None:
    """A message does not hold up its own echo, though neither end takes as much at once."""
    words = ("--proto", "quic", "-n", "2", "-l", "5MiB", "-w", "60s", "--json", "-", "--quiet")
    done = netecho("bench", *words)
    assert done.returncode == 0, errors(done)
    assert json.loads(done.stdout)["throughput"]["bytes_received"] == 10 * MIB


def test_reply() -> None:
    """What is to be discarded is, and what a stream cannot have is refused before anything listens."""
    with Server("quic://127.0.0.1:0", "--reply", "discard") as server:
        peer = Peer(server.listener.address, server.listener.ca)
        assert peer.exchange(b"into the void") == b""
        peer.close()
    refused = netecho("serve", "--proto", "quic", "--reply", "chargen")
    assert refused.returncode == ExitStatus.USAGE
