"""Datagrams on a path that takes none as large as the links at its ends do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.benches import bench
from tests.namespaces import Path
from tests.servers import Server, netecho

SIZE = "1400"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Path, Server]]:
    """Serve datagrams beyond a router that says of the larger ones that they do not fit (RFC 1191)."""
    with (
        Path(mtu=1300) as path,
        Server(f"udp://{path.HOST}:0", f"dtls://{path.HOST}:0", prefix=path.server.prefix) as server,
    ):
        yield path, server


@pytest.fixture
def way(served: tuple[Path, Server]) -> tuple[list[str], list[str]]:
    """Return what to put before a client's command, whose system knows nothing of the path, and the URLs."""
    path, server = served
    path.client.ip("route", "flush", "cache")
    return path.client.prefix, [listener.url for listener in server.listeners]


@pytest.mark.parametrize("number", [0, 1], ids=["udp", "dtls"])
def test_probes(way: tuple[list[str], list[str]], number: int) -> None:
    """A router's word costs the probe that it is of, and the system divides those that follow."""
    prefix, urls = way
    words = ["-n", "3", "-i", "20ms", "-w", "300ms", "-l", SIZE, *(["-k"] if number else [])]
    done = netecho("client", *words, urls[number], prefix=prefix)
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.findall(rb"seq=([0-9]+) lost", done.stdout) == [b"0"]
    assert b"3 sent, 2 received, 33.3% loss" in done.stdout


@pytest.mark.parametrize("reactor", ["fast", "epoll"])
def test_rate(way: tuple[list[str], list[str]], reactor: str) -> None:
    """Messages that a router's word meets as they leave go out all the same."""
    prefix, urls = way
    words = [urls[0], "-q", "10k", "-n", "500", "-l", SIZE, "-w", "500ms", "--reactor", reactor]
    result = bench(*words, prefix=prefix)
    assert result["exchanges"]["sent"] == 500
    assert result["exchanges"]["completed"] > 0
