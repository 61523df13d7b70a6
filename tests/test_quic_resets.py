"""Stateless resets: what a server answers that remembers less than its peers, and what they make of it."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from netecho.protocols._quic_resets import MOST, RATE, SMALLEST, TOKEN_SIZE, Resets
from netecho.protocols._quic_wire import Wire
from tests.benches import bench
from tests.clients import certificate, process
from tests.lossy import LossyPath
from tests.peers import need
from tests.quic_peers import Peer
from tests.servers import TIMEOUT, Server
from tests.test_quic_attacks import Port

ID = b"abcdefgh"
SOURCE = ("192.0.2.1", 5000)


def packet(size: int) -> bytes:
    """Return what looks like a packet of a connection, of so many bytes."""
    return (b"\x40" + ID + os.urandom(size))[:size]


def answers(server: Port, datagram: bytes, source: tuple[str, int] = SOURCE) -> list[bytes]:
    """Return what a server sends back for a datagram."""
    server.port.datagramReceived(datagram, source)
    server.turn()
    return server.wires.sent.pop(source, [])


def test_size() -> None:
    """Each is smaller than what it answers, large enough to be one, and as short headers begin."""
    with Port() as server:
        for size in (*range(9, 60), 1200, 1500):
            sent = answers(server, packet(size))
            assert len(sent) == (size > SMALLEST)
            for one in sent:
                assert SMALLEST <= len(one) < size
                assert one[0] & 0xC0 == 0x40
                assert one[-TOKEN_SIZE:] == server.port._resets.token(ID)  # type: ignore[union-attr]


def test_rate() -> None:
    """Whatever comes, there are not more than so many."""
    with Port() as server:
        assert sum(len(answers(server, packet(100))) for _ in range(MOST + 100)) == MOST
        server.turn(1.0)
        assert sum(len(answers(server, packet(100))) for _ in range(MOST)) == round(RATE)


@pytest.mark.parametrize("source", [("192.0.2.1", 53), ("192.0.2.1", 8443), ("224.0.0.1", 5000)])
def test_sources_that_get_none(source: tuple[str, int]) -> None:
    """Nobody is made to reset a service, us, or many at once."""
    with Port(udp_ports={8443}) as server:
        assert answers(server, packet(100), source) == []
        assert sum(server.totals.dropped.values()) == 1


def test_one_of_several_processes() -> None:
    """It answers nothing: the connection may be another's."""
    with Port(descriptor=7) as server:
        assert answers(server, packet(100)) == []


def test_tokens() -> None:
    """They are the same for the same key at the same place, and for nothing else."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def token(key: Any, address: str, connection_id: bytes) -> bytes:
        return Resets(key, address, time.monotonic).token(connection_id)

    first = token(key, "127.0.0.1:8443", ID)
    assert len(first) == TOKEN_SIZE
    assert token(key, "127.0.0.1:8443", ID) == first
    others = [
        token(other, "127.0.0.1:8443", ID),
        token(key, "127.0.0.1:8444", ID),
        token(key, "127.0.0.1:8443", bytes(8)),
    ]
    assert len({first, *others}) == 4


def test_every_connection_id_has_its_token() -> None:
    """A peer is told those of the connection ID that it begins with, and of those that come after."""
    with Server("quic://127.0.0.1:0") as server:
        peer = Peer(server.listener.address, server.listener.ca)
        assert peer.exchange(b"here") == b"here"
        core = peer.core
        assert len({one.stateless_reset_token for one in (core._peer_cid, *core._peer_cid_available)}) == 8
        peer.close()


@pytest.mark.parametrize("datagram", [b"", b"\x40", bytes(TOKEN_SIZE), bytes(100)])
def test_what_is_none(datagram: bytes) -> None:
    """A peer that has given no token cannot be taken at its word, whatever comes."""
    with Port() as server:
        peer = Peer(("127.0.0.1", 8443), None)
        [(hello, _), *_] = peer.core.datagrams_to_send(time.monotonic())
        peer.socket.close()
        server.port.datagramReceived(hello, SOURCE)
        server.turn()
        [link] = server.port.opening
        link.received(datagram, SOURCE)
        wire: Wire = link.wire
        assert not wire.is_reset
        assert not link.is_over


class Restarting:
    """A server that can be killed and started again at the same place, and a path there that outlives it."""

    def __init__(self, path: pathlib.Path, *words: str, after: int) -> None:
        self._words = ("--cert", str(certificate(path)), *words)
        self._after = after
        self.ca = str(path / "ca.pem")
        self.under_way = threading.Event()
        """When so many datagrams have come from one client."""

    def loses(self, place: int) -> bool:
        """Lose nothing, but see what comes."""
        if place == self._after:
            self.under_way.set()
        return False

    def serve(self, port: int = 0) -> Server:
        """Return a server."""
        return Server(f"quic://127.0.0.1:{port}", *self._words)


def kill(server: Server) -> None:
    """End a server so that it can tell nobody."""
    server.status = -signal.SIGKILL
    server.tell(signal.SIGKILL)
    server.process.wait()


def test_bench(tmp_path: pathlib.Path) -> None:
    """A restart costs what was in flight, and not a timeout."""
    restarting = Restarting(tmp_path, after=50)
    results: list[dict[str, Any]] = []
    with restarting.serve() as server, LossyPath(server.listener.address, out=restarting.loses) as path:
        words = [f"quic://localhost:{path.address[1]}", "--cacert", restarting.ca, "-4"]
        words += ["-c", "2", "-q", "200", "-n", "800", "-w", "30s"]
        client = threading.Thread(target=lambda: results.append(bench(*words, status=1)))
        client.start()
        assert restarting.under_way.wait(TIMEOUT)
        kill(server)
        with restarting.serve(server.listener.address[1]):
            client.join()
    [result] = results
    assert result["connections"]["lost"] == result["connections"]["reopened"] == 2
    assert set(result["exchanges"]["errors"]) == {"reset"}


def test_client_of_ngtcp2(tmp_path: pathlib.Path) -> None:
    """It understands what it is told."""
    gtlsclient = need("gtlsclient")
    restarting = Restarting(tmp_path, "--alpn", "h3", after=10_000)
    with restarting.serve() as server, LossyPath(server.listener.address) as path:
        port = path.address[1]
        words = ["--timeout=30s", "--delay-stream=4s", "127.0.0.1", str(port), f"https://localhost:{port}/"]
        with process([gtlsclient, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            assert child.stderr is not None
            for line in child.stderr:
                if b"QUIC handshake has been confirmed" in line:
                    break
            kill(server)
            with restarting.serve(server.listener.address[1]):
                rest = child.stderr.read()
    assert re.search(rb"pkt rx 0 SR token=", rest), rest[-3000:]
