"""Messages on a path that takes none as large as the links at its ends do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.benches import bench
from tests.namespaces import Namespace, Path
from tests.servers import Server, netecho

SIZE = "1400"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Path, Server]]:
    """Serve datagrams beyond a router that says of the larger ones that they do not fit (RFC 1191)."""
    with (
        Path(mtu=1300) as path,
        Server(
            *(f"{scheme}://{path.HOST}:0" for scheme in ("udp", "dtls", "stamp")), prefix=path.server.prefix
        ) as server,
    ):
        yield path, server


@pytest.fixture
def way(served: tuple[Path, Server]) -> tuple[list[str], list[str]]:
    """Return what to put before a client's command, whose system knows nothing of the path, and the URLs."""
    path, server = served
    path.client.ip("route", "flush", "cache")
    return path.client.prefix, [listener.url for listener in server.listeners]


@pytest.mark.parametrize("number", [0, 1, 2], ids=["udp", "dtls", "stamp"])
def test_probes(way: tuple[list[str], list[str]], number: int) -> None:
    """A router's word costs the probe that it is of, and the system divides those that follow."""
    prefix, urls = way
    words = ["-n", "3", "-i", "20ms", "-w", "300ms", "-l", SIZE, *(["-k"] if number == 1 else [])]
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


@pytest.fixture(scope="module")
def hole() -> Iterator[tuple[Namespace, Server]]:
    """Serve behind what drops larger packets, and says nothing of it."""
    with (
        Namespace() as namespace,
        Server("udp://127.0.0.1:0", "dtls://127.0.0.1:0", "tcp://127.0.0.1:0", prefix=namespace.prefix) as up,
    ):
        namespace.drop("meta length > 1300")
        yield namespace, up


ASKS = "does an echo server listen there, and does the path take 1,400 bytes at once? (-l 64 sends less, "


@pytest.mark.parametrize("command", ["client", "bench"])
@pytest.mark.parametrize("number", [0, 1, 2], ids=["udp", "dtls", "tcp"])
def test_black_hole(hole: tuple[Namespace, Server], command: str, number: int) -> None:
    """Where nothing comes back of what is large, one line asks of the size too."""
    namespace, server = hole
    url = server.listeners[number].url
    words = [command, url, "-n", "1", "-w", "100ms", "-l", SIZE, "--quiet", *(["-k"] if number == 1 else [])]
    done = netecho(*words, prefix=namespace.prefix)
    assert done.returncode == 1
    what = "1 exchange came to nothing (timeout); " if command == "bench" else ""
    assert done.stderr.decode() == f"netecho: no reply from {url}: {what}{ASKS}-w waits longer)\n"


def test_black_hole_of_a_pipe(hole: tuple[Namespace, Server]) -> None:
    """It asks so of what a pipe has sent, too."""
    namespace, server = hole
    words = ["client", server.listeners[0].url, "-w", "100ms", "-l", SIZE]
    done = netecho(*words, input=bytes(2800), prefix=namespace.prefix)
    assert done.returncode == 1
    asks = ASKS.replace("an echo server listen there", "a server listen").replace("less, ", "less)")
    assert done.stderr.decode() == f"netecho: no reply: none of 2 datagrams came back; {asks}\n"
