"""The server of its own that a bench has without a target: one that does not start, and one that dies."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

from netecho.errors import NetechoError, ServerDiedError
from netecho.plans import Target
from netecho.services import again
from netecho.services.embedded import DEATH_TIMEOUT, EmbeddedServer
from tests.benches import checked, running
from tests.servers import ROOT, TIMEOUT
from tests.test_worker_serve import Spawning


def child(pid: int) -> int:
    """Return the process that a bench has started."""
    (only,) = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(only)


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGTERM, "ended with status 0")]
)
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_death(scheme: str, number: signal.Signals, how: str) -> None:
    """It ends the run with what there is, not to be trusted: on UDP too, where losses are no failure."""
    words = ["--proto", scheme, "-z", "1h", "-w", "100ms", "--json", "-"]
    with running(*words) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        os.kill(child(process.pid), number)
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert complaints.endswith(f"netecho: the server of our own {how}\n".encode())
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert not result["trustworthy"]
    assert result["caveats"][0] == f"the server of our own {how}"
    assert result["exchanges"]["completed"] > 0


def test_death_in_a_search() -> None:
    """There are no more steps, and that in which it died is none."""
    words = ["-q", "20", "-z", "300ms", "--find-max", "p(50)<10s", "--json", "-"]
    with running(*words) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith(b"step 1"):
            pass
        os.kill(child(process.pid), signal.SIGKILL)
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert complaints.endswith(b"netecho: the server of our own was killed by SIGKILL\n")
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert result["caveats"][0] == "the server of our own was killed by SIGKILL"
    assert all(step["held"] for step in result["search"]["steps"])
    assert not result["search"]["confirmed"]


def test_told_of_its_death() -> None:
    """Once, and not when it has been told to end; who asks too late is told so."""
    calls: list[str] = []
    server = EmbeddedServer(Spawning(), Target("tcp", "tcp", host="127.0.0.1"))
    started = Deferred.fromCoroutine(server.start())
    server.outReceived(b'{"event": "listening", "url": "tcp://127.0.0.1:8000"}\n')
    assert started.called
    server.on_death(lambda: calls.append("earlier"))
    server.on_death(lambda: calls.append("died"))
    server.processEnded(Failure(ProcessTerminated(signal=signal.SIGSEGV)))
    assert calls == ["died"]
    with pytest.raises(ServerDiedError, match="the server of our own was killed by SIGSEGV"):
        server.on_death(lambda: calls.append("too late"))


@pytest.mark.parametrize("dies", [True, False])
def test_known_a_moment_later(dies: bool) -> None:
    """Whoever finds nobody at the other end asks whether it is dying, and is not kept waiting for long."""
    reactor = Spawning()
    server = EmbeddedServer(reactor, Target("tcp", "tcp", host="127.0.0.1"))
    Deferred.fromCoroutine(server.start())
    server.outReceived(b'{"event": "listening", "url": "tcp://127.0.0.1:8000"}\n')
    known: list[ServerDiedError | None] = []
    Deferred.fromCoroutine(server.dying()).addCallback(known.append)
    assert known == []
    if dies:
        server.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
        Deferred.fromCoroutine(server.dying()).addCallback(known.append)
        assert known == [server.death, server.death]
        assert server.death is not None
    else:
        reactor.advance(DEATH_TIMEOUT)
        assert known == [None]
        server.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
        assert server.death is not None


def test_refused_by_the_system(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for another process is one line, and leaves nothing behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reactor = Spawning()
    reactor.refusal = OSError(errno.EMFILE, "Too many open files")
    server = EmbeddedServer(reactor, Target("unix", "unix", path="/wherever"))
    says = "the server of our own did not start: it was refused by the system: Too many open files"
    failures: list[Failure] = []
    Deferred.fromCoroutine(server.start()).addErrback(failures.append)
    assert [str(one.value) for one in failures] == [says]
    assert failures[0].check(NetechoError)
    stopped = Deferred.fromCoroutine(server.stop())
    assert stopped.called
    assert list(tmp_path.iterdir()) == []


def test_killed_before_it_listens() -> None:
    """How a child ended that did not come so far as to complain is said in a clause."""
    server = EmbeddedServer(Spawning(), Target("tcp", "tcp", host="127.0.0.1"))
    failures: list[Failure] = []
    Deferred.fromCoroutine(server.start()).addErrback(failures.append)
    server.processEnded(Failure(ProcessTerminated(signal=signal.SIGSEGV)))
    assert [str(one.value) for one in failures] == [
        "the server of our own did not start: it was killed by SIGSEGV"
    ]
    assert server.death is None


def test_modules_of_others(tmp_path: pathlib.Path) -> None:
    """What lies in the current directory is not run, by the program or by the processes that it starts."""
    (tmp_path / "random.py").write_text("raise SystemExit(7)")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "netecho", "bench", "-n", "20", "-c", "2", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("path", "safe"), [(["", "/lib"], False), (["/lib"], True)])
def test_where_modules_are_looked_for(path: list[str], safe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child finds the netecho that started it: also one in the current directory, if it was found there."""
    monkeypatch.setattr(sys, "path", path)
    assert ("-P" in again.command("serve")) == safe
    monkeypatch.setattr(sys, "path", [os.getcwd(), "/lib"])
    assert again.command("worker") == [sys.executable, "-m", "netecho", "worker"]


def test_no_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has been removed is not looked in."""

    def removed() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", removed)
    monkeypatch.setattr(sys, "path", ["/lib"])
    assert "-P" in again.command("worker")
