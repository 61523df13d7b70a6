"""What the system drops on the way, by its own counter, is what is lost: no more, and no less."""

from __future__ import annotations

import pytest

from tests.benches import bench
from tests.namespaces import Namespace
from tests.servers import Server, netecho

DROPPED = "numgen random mod 10 == 0"
PROHIBITED = "reject with icmpx type admin-prohibited"


@pytest.mark.parametrize("way", ["dport", "sport"])
def test_kernel_drops(way: str) -> None:
    """One in ten of what comes to a server, or of what it answers, at random: the difference is 0."""
    with Namespace() as namespace, Server("udp://127.0.0.1:0", prefix=namespace.prefix) as server:
        _, port = server.listener.address
        namespace.drop(f"udp {way} {port} {DROPPED}")
        words = [server.listener.url, "-q", "2k", "-n", "2000", "-c", "3", "-w", "500ms"]
        result = bench(*words, prefix=namespace.prefix)
        dropped = namespace.dropped()
    assert 100 < dropped < 300
    exchanges = result["exchanges"]
    assert exchanges["lost"] - dropped == 0
    assert exchanges["sent"] == 2000 == exchanges["completed"] + exchanges["lost"]
    assert exchanges["errors"] == {"timeout": dropped}


@pytest.mark.parametrize(
    ("host", "verdict", "reactor", "says"),
    [
        ("127.0.0.1", "reject", "fast", "refused: nothing listens there"),
        ("127.0.0.1", PROHIBITED, "fast", "failed: there is no route to it, or a firewall says so"),
        ("[::1]", PROHIBITED, "fast", "failed: a firewall refuses it"),
        ("127.0.0.1", "reject", "epoll", "failed: it was turned away, by a firewall perhaps"),
    ],
)
def test_firewall_that_answers(host: str, verdict: str, reactor: str, says: str) -> None:
    """A connection that a firewall turns away fails at once, and for the reason that it gives."""
    url = f"tcp://{host}:8000"
    with Namespace() as namespace:
        namespace.drop("tcp dport 8000", verdict)
        done = netecho("client", url, "-n", "1", "-w", "30s", "--reactor", reactor, prefix=namespace.prefix)
    assert done.returncode == 1
    assert f"netecho: connection to {url} {says}" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
