"""`netecho bench` as a child process, what its results must be, and servers that do as a test has it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from netecho.measure.histogram import Histogram
from tests import schemas
from tests.servers import COMMAND, ROOT, TIMEOUT, netecho

SIZE = 64
"""Bytes in a message when no flag says otherwise."""


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result, once it has been found to be of the documented form and to add up."""
    schemas.RESULT.validate(result)
    for counts in (result["exchanges"], result["warmup"] or {}):
        known = [counts.get(name, 0) for name in ("completed", "lost", "in_flight")]
        assert min(known) >= 0
        assert counts.get("sent", 0) == sum(known)
    response = result["latency_ns"]["response"] or {"count": 0}
    assert response["count"] == result["exchanges"]["completed"]
    if result["command"] == "bench":
        assert sum(interval["completed"] for interval in result["intervals"]) == response["count"]
        segments = [Histogram.decode(one["response"]) for one in result["segments"]]
        assert Histogram.sum(segments).count == response["count"]
    _check_datagrams(result)
    assert result["throughput"]["bytes_sent"] == result["plan"]["size"] * result["exchanges"]["sent"]
    if result["plan"]["model"] == "open" and result["command"] == "bench":
        sent, instrument = result["exchanges"]["sent"], result["instrument"]
        assert instrument["due"] == sent + instrument["unsent"]
        assert (instrument["lateness_ns"] or {"count": 0})["count"] == instrument["due"]
        assert (result["latency_ns"]["service"] or {"count": 0})["count"] == response["count"]
    return result


def _check_datagrams(result: dict[str, Any]) -> None:
    """Hold that what is said of datagrams adds up."""
    exchanges, flows = result["exchanges"], result["flows"]
    for name in ("sent", "completed", "lost", "late", "in_flight", "duplicated", "reordered", "corrupted"):
        assert not flows or result["partial"] or sum(flow[name] for flow in flows) == exchanges[name]
    if "lost_unknown" in exchanges:
        for one in (exchanges, *flows):
            ways = [one[f"lost_{way}"] or 0 for way in ("out", "back", "unknown")]
            assert sum(ways) == one["lost"] - one["late"]


def told(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what events tell of the intervals that were measured, as a result has it."""
    of_events = ("event", "phase", "connections_open")
    return [
        {key: value for key, value in event.items() if key not in of_events}
        for event in events
        if event.get("phase") in ("measuring", "finishing")
    ]


def bench(
    *words: str,
    status: int = 0,
    is_answered: bool = True,
    prefix: Sequence[str] = (),
    root: pathlib.Path = ROOT,
) -> dict[str, Any]:
    """Run a bench to its end, by another command if there is a prefix; return its result.

    If it is not answered at all, one line asks why; else nothing is said.
    """
    done = netecho("bench", *words, "--quiet", "--json", "-", prefix=prefix, root=root)
    assert done.returncode == status, done.stdout.decode()
    says = b"" if is_answered else b"netecho: no reply from [^\n]+\n"
    assert re.fullmatch(says, done.stderr), done.stderr.decode()
    return checked(json.loads(done.stdout))


def all_good(result: dict[str, Any], exchanges: int, size: int = SIZE, connections: int = 1) -> None:
    """Hold that every exchange asked for was made, and nothing else."""
    assert result["exchanges"] == {
        "sent": exchanges,
        "completed": exchanges,
        **dict.fromkeys(["lost", "late", "in_flight", "duplicated", "reordered", "corrupted"], 0),
        "errors": {},
    }
    assert result["connections"] == {
        "requested": connections,
        "opened": connections,
        **dict.fromkeys(["failed", "lost", "reopened", "churned"], 0),
    }
    throughput = result["throughput"]
    assert throughput["bytes_sent"] == throughput["bytes_received"] == exchanges * size
    assert not result["interrupted"]


Talk = Callable[[socket.socket], object]


@contextlib.contextmanager
def serving(talk: Talk, scheme: str = "tcp") -> Iterator[str]:
    """Run `talk` with each connection in turn, or with the one socket for datagrams, in a thread."""
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        threads = []

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                talk(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=one, args=(listener.accept()[0],)))
                    threads[-1].start()

        if kind is socket.SOCK_STREAM:
            listener.listen(100)
        threads.append(
            threading.Thread(
                target=one if scheme == "udp" else accept, args=(listener,) if scheme == "udp" else ()
            )
        )
        threads[0].start()
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that waits on it
            for thread in threads:
                thread.join(TIMEOUT)


def echo(connection: socket.socket) -> None:
    """Send everything back."""
    while data := connection.recv(65_536):
        connection.sendall(data)


def ignore(connection: socket.socket) -> None:
    """Take everything and answer nothing."""
    while connection.recv(65_536):
        pass


@contextlib.contextmanager
def running(*words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a bench beside the block."""
    process = subprocess.Popen(
        [*COMMAND, "bench", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
