"""QUIC among programs that nobody here wrote: aioquic's own client and server, and ngtcp2's."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted

from tests.clients import certificate, client, errors, line_with, process
from tests.peers import need
from tests.quic_peers import Peer
from tests.servers import TIMEOUT, Server, netecho
from tests.test_bench_peers import free_port
from tests.test_quic_attacks import initials

AIOQUIC = [sys.executable, "-m", "tests.quic_peers"]


def test_client_of_aioquic() -> None:
    """Its asyncio client gets the bytes of each of many streams back on it, whatever their sizes."""
    with Server("quic://127.0.0.1:0") as server:
        host, port = server.listener.address
        messages = [os.urandom(size) for size in (0, 1, 1200, 100_000, 1_000_000, *range(50))]

        async def exchange(quic: Any, message: bytes) -> bytes:
            reader, writer = await quic.create_stream()
            writer.write(message)
            writer.write_eof()
            echo: bytes = await reader.read()
            return echo

        async def main() -> list[bytes]:
            configuration = QuicConfiguration(
                is_client=True, alpn_protocols=["other", "echo"], server_name="localhost"
            )
            configuration.load_verify_locations(server.listener.ca)
            async with connect(host, port, configuration=configuration) as quic:
                return await asyncio.gather(*(exchange(quic, message) for message in messages))

        assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == messages
        stopped = server.end()
        assert stopped["bytes_received"] == stopped["bytes_sent"] == sum(map(len, messages))


@pytest.mark.parametrize("retry", [False, True])
def test_server_of_aioquic(retry: bool, tmp_path: pathlib.Path) -> None:
    """Its asyncio server is measured and talked to, with Retry or without."""
    both = certificate(tmp_path)
    words = [*AIOQUIC, str(both), *(["retry"] if retry else [])]
    with process(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        url = f"quic://localhost:{int(line_with(child.stdout, 'listening on ([0-9]+)')[1])}"
        ca = str(tmp_path / "ca.pem")
        bench = ["bench", url, "--cacert", ca, "--quiet", "--json", "-", "--streams", "5"]
        measured = netecho(*bench, "-c", "2", "-n", "300", "-l", "3k")
        assert measured.returncode == 0, errors(measured)
        result = json.loads(measured.stdout)
        assert result["exchanges"]["completed"] == 300
        assert result["plan"]["streams"] == result["plan"]["pipeline"] == 5
        assert result["latency_ns"]["handshake"]["count"] == 2
        assert result["latency_ns"]["connect"] is None
        assert result["transport"]["alpn"] == "echo"
        sent = os.urandom(2_000_000)
        talked = client("-v", url, "--cacert", ca, input=sent)
        assert talked.returncode == 0, errors(talked)
        assert talked.stdout == sent
        agreed = "QUICv1 with TLSv1.3, TLS_AES_256_GCM_SHA384 (256 bits), server name localhost, ALPN echo"
        assert agreed in errors(talked)


def iter_until(stream: IO[bytes], last: bytes) -> Iterator[bytes]:
    """Yield lines until one has something in it; there must be one."""
    for line in stream:
        yield line
        if last in line:
            return
    raise AssertionError(f"nothing said {last!r}")


def test_client_of_ngtcp2(tmp_path: pathlib.Path) -> None:
    """Its handshake is completed; with a Retry before, when many others are under way."""
    gtlsclient = need("gtlsclient")
    both = certificate(tmp_path)
    with Server("quic://127.0.0.1:0", "-v", "--cert", str(both), "--alpn", "h3") as server:
        host, port = server.listener.address
        for crowded in (False, True):
            flood = None
            if crowded:
                flood = Peer((host, port), None, alpn_protocols=["h3"])
                for datagram in initials(flood, 70):
                    flood.socket.sendto(datagram, (host, port))
            command = [gtlsclient, "--timeout=20s", host, str(port), f"https://localhost:{port}/"]
            with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
                assert child.stderr is not None
                seen = b"".join(iter_until(child.stderr, b"QUIC handshake has completed"))
                server.wait_for("connected")
            assert (b"type=Retry" in seen) == crowded
            if flood is not None:
                flood.socket.close()


@pytest.mark.parametrize("proto", ["quic", "http3"])
def test_retry_on_demand(proto: str, tmp_path: pathlib.Path) -> None:
    """Where it is wanted every client retries, ngtcp2's and ours: none is let in without."""
    gtlsclient = need("gtlsclient")
    both = certificate(tmp_path)
    words = [f"{proto}://127.0.0.1:0", "-v", "--cert", str(both), "--alpn", "h3", "--quic-retry"]
    words += ["--drain-timeout", "300ms"]  # its client is not there any more
    with Server(*words) as server:
        host, port = server.listener.address
        command = [gtlsclient, "--timeout=20s", host, str(port), f"https://localhost:{port}/"]
        with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            assert child.stderr is not None
            seen = b"".join(iter_until(child.stderr, b"QUIC handshake has completed"))
            server.wait_for("connected")
        assert b"type=Retry" in seen
        trust = ["--cacert", str(tmp_path / "ca.pem"), "--alpn", "h3"]
        ours = client("-n", "1", f"{proto}://localhost:{port}", *trust, "--qlog", str(tmp_path))
        assert ours.returncode == 0, errors(ours)
        [log] = tmp_path.glob("*.sqlog")
        assert '"packet_type": "retry"' in log.read_text()
        assert server.end()["connections"] == 2


def test_server_of_ngtcp2(tmp_path: pathlib.Path) -> None:
    """It shakes hands with us, once it has seen by a Retry that we are where we say."""
    gtlsserver = need("gtlsserver")
    both = certificate(tmp_path)
    port = free_port(socket.SOCK_DGRAM)
    with process(
        [gtlsserver, "-V", "-q", "127.0.0.1", str(port), str(both), str(both)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ):
        first = Peer(("127.0.0.1", port), str(tmp_path / "ca.pem"), alpn_protocols=["h3"])
        assert first.pump(lambda: first.happened(HandshakeCompleted)), "it does not start"
        first.close()
        measured = netecho(
            *("bench", f"quic://localhost:{port}", "--cacert", str(tmp_path / "ca.pem"), "--alpn", "h3"),
            *("--mode", "handshake", "-n", "3", "--json", "-", "--quiet"),
        )
        assert measured.returncode == 0, errors(measured)
        assert json.loads(measured.stdout)["latency_ns"]["handshake"]["count"] == 3
