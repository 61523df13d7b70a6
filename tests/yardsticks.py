"""Programs that measure the same as netecho, and that nobody here wrote: the median round trip by each.

What each measures through is a path on this machine of a length that we choose; behind that is the server of
its own that each of them needs.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

from tests.clients import line_with, process
from tests.delayed import Delayed
from tests.peers import need
from tests.servers import TIMEOUT, Server

SIZE: Final = 64
_HOST: Final = "127.0.0.1"


def netecho(tcp: bool, delay: float, seconds: float) -> float:
    """Return netecho's median, in seconds, from one connection in a closed loop."""
    with Server(f"{'tcp' if tcp else 'udp'}://{_HOST}:0") as server:
        _, port = server.listener.address
        with _path(port, delay, tcp=tcp) as at:
            return netecho_to(at, seconds, tcp=tcp)


def netecho_to(port: int, seconds: float, *, tcp: bool) -> float:
    """Return netecho's median, in seconds, to whatever echoes at a port."""
    url = f"{'tcp' if tcp else 'udp'}://{_HOST}:{port}"
    words = [url, "-z", f"{seconds}s", "-l", str(SIZE), "--quiet", "--json", "-"]
    result = json.loads(_output(sys.executable, "-m", "netecho", "bench", *words))
    median: int = result["latency_ns"]["response"]["p50"]
    return median / 1e9


def sockperf(tcp: bool, delay: float, seconds: float) -> float:
    """Return the median of sockperf's ping-pong, in seconds. It is its habit to show half of that."""
    program = need("sockperf")
    form = ["--tcp"] if tcp else []
    port = _free_port(tcp)
    words = ["stdbuf", "-oL", program, "server", "-i", _HOST, "-p", str(port), *form]
    with _serving(words, r"using recvfrom"), _path(port, delay, tcp=tcp) as at:
        asked = ["-i", _HOST, "-p", str(at), "-m", str(SIZE), "-t", str(round(seconds)), "--full-rtt", *form]
        said = _output(program, "ping-pong", *asked)
    match = re.search(r"percentile 50\.000 = +([0-9.]+)", said)
    assert match is not None, said
    return float(match[1]) / 1e6


def irtt(tcp: bool, delay: float, seconds: float) -> float:
    """Return irtt's median, in seconds, of one datagram each 10 ms."""
    assert not tcp, "irtt has datagrams only"
    program = need("irtt")
    port = _free_port(tcp)
    with (
        _serving([program, "server", "-b", f"{_HOST}:{port}"], r"starting IPv4 listener"),
        _path(port, delay, tcp=False) as at,
    ):
        asked = ["-i", "10ms", "-d", f"{seconds}s", "-l", str(SIZE), "-Q", "-o", "-", f"{_HOST}:{at}"]
        result = json.loads(_output(program, "client", *asked))
    median: int = result["stats"]["rtt"]["median"]
    return median / 1e9


Yardstick = Callable[[bool, float, float], float]
"""Measures by TCP or UDP, on a path with a delay each way, for a time, both in seconds."""

YARDSTICKS: Final[tuple[tuple[str, bool, Yardstick], ...]] = (
    ("irtt", False, irtt),
    ("sockperf", False, sockperf),
    ("sockperf", True, sockperf),
)
"""Each with its name, and whether it is by TCP."""


@contextlib.contextmanager
def _path(port: int, delay: float, *, tcp: bool) -> Iterator[int]:
    """Lay a path to a port and give its own; without any delay it is the port itself."""
    if not delay:
        yield port
        return
    with Delayed(port, delay, tcp=tcp) as path:
        yield path.port


@contextlib.contextmanager
def _serving(words: list[str], listens: str) -> Iterator[None]:
    """Run a server until the block is left; begin when it has said that it listens."""
    with process(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        line_with(child.stdout, listens)
        yield


def _free_port(tcp: bool) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as taken:
        taken.bind((_HOST, 0))
        port: int = taken.getsockname()[1]
        return port


def _output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
