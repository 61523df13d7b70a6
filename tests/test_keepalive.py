"""A peer that vanishes without a word: the network is cut, and nobody will ever say that it ended."""

from __future__ import annotations

import errno
import os
import socket
import subprocess

import pytest

from netecho.protocols._sockets import keep_alive
from tests.clients import process
from tests.namespaces import Namespace
from tests.servers import COMMAND, TIMEOUT, Server

TIMES = {"tcp_keepalive_time": 1, "tcp_keepalive_intvl": 1, "tcp_keepalive_probes": 1, "tcp_retries2": 1}
"""The shortest that there are, in seconds, and a single probe: shorter than ours, and so they hold.

The last is for an echo whose acknowledgement, which may be delayed, is the first thing that is dropped.
"""


@pytest.mark.parametrize("words", [["tcp://127.0.0.1:0"], ["tls://127.0.0.1:0", "--workers", "2"]])
def test_vanished_peers(words: list[str]) -> None:
    """Either end of a connection that is silent learns that the other one is gone."""
    with Namespace() as namespace:
        for name, value in TIMES.items():
            namespace.set(f"ipv4/{name}", value)
        with Server(*words, "-v", prefix=namespace.prefix) as server:
            listener = server.listener
            trust = [] if listener.ca is None else ["--cacert", listener.ca]
            with process(
                [*namespace.prefix, *COMMAND, "client", listener.url, *trust],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as client:
                assert client.stdin is not None
                assert client.stdout is not None
                assert client.stderr is not None
                client.stdin.write(b"are you there?\n")
                client.stdin.flush()
                assert client.stdout.readline() == b"are you there?\n"
                namespace.drop("meta l4proto tcp")
                assert client.wait(TIMEOUT) == 1
                assert client.stderr.read() == b"netecho: the connection was lost: network timeout\n"
            reason = server.wait_for("disconnected")["reason"]
            assert reason.endswith(f" non-clean fashion: {os.strerror(errno.ETIMEDOUT)}.")


def test_times() -> None:
    """Nobody waits for hours until a peer that has vanished is missed, as by most systems' own times."""
    with socket.socket() as connection:
        keep_alive(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, probes = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert idle + probes * interval <= 120
