"""`--busy-poll`: how long a server or a bench looks for events before it sleeps."""

from __future__ import annotations

import os
import pathlib

import pytest

from netecho import program
from netecho.errors import ExitStatus, UsageError
from netecho.plans import ReactorName
from netecho.services import running
from tests.benches import bench
from tests.servers import Server, exchange, mistaken, netecho

AWAKE = 0.3
"""Seconds of processor time that a server with nothing to do uses only if it waits awake."""


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def used(pid: int) -> float:
    """Return the processor time of a process, in seconds; see proc(5)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_waits_awake(workers: int) -> None:
    """It does for as long as it is told to, in every process that serves; it serves and ends as ever."""
    with Server("--busy-poll", "1h", "--workers", str(workers), "tcp://127.0.0.1:0") as server:
        serving = family(server.process.pid)[-workers:]
        assert len(serving) == workers
        before = [used(pid) for pid in serving]
        while any(used(pid) < start + AWAKE for pid, start in zip(serving, before, strict=True)):
            os.sched_yield()
        with server.listener.connect() as connection:
            assert exchange(connection, b"hello") == b"hello"
        assert server.end()["connections"] == 1


@pytest.mark.parametrize("busy_poll", ["0", "50us"])
def test_it_sleeps(busy_poll: str) -> None:
    """With nothing to do it sleeps, unless it was told to wait awake: it uses no processor time."""
    with Server("--busy-poll", busy_poll, "tcp://127.0.0.1:0") as server:
        with server.listener.connect() as connection:
            assert exchange(connection, b"hello") == b"hello"
        state = ""
        while state != "S":  # or it has not come so far
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            state = status.partition("State:")[2].split()[0]
        assert server.end()["connections"] == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_waited_awake_is_no_work(workers: str) -> None:
    """A bench that waits awake nearly all of its time has used no processor for what it measures."""
    with Server("tcp://127.0.0.1:0") as server:
        words = ["--busy-poll", "1h", "-c", workers, "--workers", workers]
        result = bench(server.listener.url, "-q", "5", "-z", "1s", "--timer", "simple", *words)
    assert result["plan"]["busy_poll_ns"] == 3_600_000_000_000
    assert result["instrument"]["cpu_share"] < 0.5


@pytest.mark.parametrize(
    ("words", "moment_ns"),
    [
        ("serve", 50_000),
        ("serve --busy-poll 1ms", 1_000_000),
        ("serve --busy-poll 0", 0),
        ("serve --reactor epoll", 0),
        ("serve --reactor epoll --busy-poll 0", 0),
        ("serve --busy-poll 1ms --workers 2", 0),
        ("bench", 50_000),
        ("bench --busy-poll 1ms", 1_000_000),
        ("bench --busy-poll 1ms --workers 2", 0),
        ("bench --busy-poll 1ms --loaded-latency", 0),
    ],
)
def test_only_who_works_waits_awake(words: str, moment_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent of several workers serves nobody, and would keep them from a processor."""
    asked: list[int] = []

    def install(_: object, busy_poll_ns: int) -> None:
        asked.append(busy_poll_ns)
        raise UsageError("that is all")

    monkeypatch.setattr("netecho.services.running.install", install)
    assert program.run(words.split()) == ExitStatus.USAGE
    assert asked == [moment_ns]


@pytest.mark.parametrize("command", ["serve", "bench"])
@pytest.mark.parametrize("name", ["epoll", "poll", "select", "asyncio"])
def test_other_reactors_have_none(command: str, name: str) -> None:
    """It is of the fast reactor."""
    done = mistaken(command, "--reactor", name, "--busy-poll", "50us")
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr.decode() == f"netecho: --busy-poll is of the fast reactor: the {name} one has none\n"


def test_without_epoll_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it is told so; else the default reactor of such a system has no need to be."""
    monkeypatch.setattr(running, "available", lambda: (ReactorName.POLL, ReactorName.SELECT))
    assert running.busy_poll_of(None, None) == 0
    assert running.busy_poll_of(None, 0) == 0
    for name in (None, ReactorName.FAST):
        with pytest.raises(UsageError, match="this system has no epoll"):
            running.busy_poll_of(name, 1)


def test_what_is_no_duration_is_refused() -> None:
    """In one line."""
    done = netecho("serve", "--busy-poll", "soon")
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr.startswith(b"netecho serve: --busy-poll: 'soon' is not a duration")
