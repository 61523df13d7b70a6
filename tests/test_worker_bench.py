"""`netecho bench --workers`: several processes whose results are one, exactly."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

from netecho.measure.histogram import Histogram
from netecho.measure.parts import Part
from netecho.plans import BenchPlan, Target
from netecho.rendering.server import died_line
from netecho.services.worker_bench import _Member
from netecho.services.worker_progress import Board
from netecho.services.workers import LISTEN_INTERVAL, SILENT_LOOKS
from tests.benches import SIZE, all_good, bench, checked, running, told
from tests.children import ended, watched
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, netecho
from tests.test_bench_peers import free_port
from tests.test_worker_serve import Spawning, children, held, started


class Bench:
    """A bench in a child process, followed by its events; killed on leaving the block."""

    def __init__(self, *words: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "bench", "--workers", "2", "--json-stream", "--quiet", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            **options,
        )
        self.pids: dict[int, int] = {}
        self.died: list[dict[str, Any]] = []

    def __enter__(self) -> Bench:
        """Wait until all workers are there."""
        while len(self.pids) < 2:
            self.wait_for("worker_started")
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()

    def wait_for(self, name: str, phase: str | None = None) -> dict[str, Any]:
        """Return the next event of that name, and of that phase if one is given."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "worker_started":
                self.pids[event["worker"]] = event["pid"]
            if event["event"] == "worker_died":
                self.died.append(event)
            if event["event"] == name and (phase is None or event["phase"] == phase):
                return event
        assert self.process.stderr is not None
        raise AssertionError(f"no {name} event: {self.process.stderr.read().decode()}")

    def result(self, status: int, says: bytes = b"") -> dict[str, Any]:
        """Return the result, when it has ended with that status and said that."""
        result = checked(self.wait_for("result")["result"])
        _, complaints = self.process.communicate(timeout=TIMEOUT)
        assert (self.process.returncode, complaints) == (status, says)
        return result


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Serve without haste, so that loads which are not about speed leave the processor to others."""
    with Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--delay", "10ms~5ms") as server:
        yield {listener.scheme: listener.url for listener in server.listeners}


def substituting(**contents: pathlib.Path) -> list[str]:
    """Return the beginning of a command that has flags with files in process substitutions at its end."""
    flags = " ".join(f"--{flag.replace('_', '-')} <(cat {path})" for flag, path in contents.items())
    return ["bash", "-c", f'exec "$@" {flags}', "bash"]


@pytest.mark.parametrize("scheme", ["tls", "stamp"])
def test_process_substitution(scheme: str, tmp_path: pathlib.Path) -> None:
    """Certificates and keys may come out of pipes, which workers do not have."""
    key = tmp_path / "key"
    key.write_bytes(b"secret")
    authority = trustme.CA()
    pem = tmp_path / "pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    ours, theirs = {"hmac_key": key}, {"hmac_key": key}
    if scheme == "tls":
        ours, theirs = {"cacert": tmp_path / "ca", "cert": pem}, {"cert": pem, "client_ca": tmp_path / "ca"}
    with Server(f"{scheme}://127.0.0.1:0", "--workers", "2", prefix=substituting(**theirs)) as server:
        words = ["bench", server.listener.url, "-n", "10", "-c", "2", "--workers", "2", "--json", "-"]
        done = netecho(*words, prefix=substituting(**ours))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exchanges"]["completed"] == 10


def test_process_substitution_and_a_server_of_our_own(tmp_path: pathlib.Path) -> None:
    """That server has the key too, which has come out of the pipe by then."""
    key = tmp_path / "key"
    key.write_bytes(b"secret")
    words = ["bench", "--proto", "stamp", "-n", "10", "--json", "-"]
    done = netecho(*words, prefix=substituting(hmac_key=key))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exchanges"]["completed"] == 10


def test_a_key_log_that_is_a_pipe() -> None:
    """Every worker writes to it, though a shell gives such a pipe to the first process alone."""
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        words = ["--tls", "-n", "2", "-c", "2", "--workers", "2", "--keylog", f"/dev/fd/{write}"]
        with running(*words, pass_fds=[write]) as process:
            os.close(write)
            _, complaints = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, complaints
        secrets = [line.split()[1] for line in pipe if line.startswith(b"CLIENT_TRAFFIC_SECRET_0 ")]
    assert len(set(secrets)) == 2


def test_a_worker_that_is_refused() -> None:
    """A line says so, and of no process; the others do their share."""
    told: list[tuple[str, dict[str, Any]]] = []
    plan = BenchPlan(Target(port=1))
    reactor = Spawning()
    reactor.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    member = _Member(reactor, 1, plan, Board(plan, 2, lambda _: None), lambda *event: told.append(event))
    member.start({})
    assert member.ended.called
    [(name, particulars)] = told
    assert name == "worker_died"
    says = "worker 1 was refused by the system: Resource temporarily unavailable"
    assert died_line(particulars) == says


def test_interrupted_before_it_is_up() -> None:
    """It is ended at once, as it has done nothing yet, and nothing that it says meanwhile counts."""
    told: list[tuple[str, dict[str, Any]]] = []
    plan = BenchPlan(Target(port=1))
    reactor = Spawning()
    member = _Member(reactor, 0, plan, Board(plan, 1, lambda _: None), lambda *event: told.append(event))
    up = member.start({})
    member.interrupt()
    [worker] = reactor.spawned
    assert worker.transport.signals == ["KILL"]
    worker.outReceived(b'{"hello": true}\n')
    assert not up.called
    worker.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
    assert up.called
    assert member.connected.called
    assert member.ended.called
    assert told == []
    assert member.account.part.whole
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_workers_start(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    """They start one after the other on one processor, and those that have not started yet never do."""
    words = ["--workers", "3", "-c", "3", "--json-stream", "--quiet", "tcp://127.0.0.1:1"]
    with held(tmp_path, "bench", *words) as (process, pid), watched([pid]) as workers:
        assert children(process) == [pid]
        process.send_signal(number)
        out, complaints = process.communicate(timeout=TIMEOUT)
        assert ended(workers)
    assert (process.returncode, complaints) == (130, b"")
    [event] = map(json.loads, out.splitlines())
    result = checked(event["result"])
    assert result["interrupted"]
    assert not result["partial"]
    assert result["exchanges"]["sent"] == 0
    assert started(tmp_path) == [pid]


def test_a_descriptor_above_the_limit() -> None:
    """What was open before the limit on descriptors was lowered keeps nobody from starting children."""
    lower = (
        "import os, resource, sys; os.dup2(0, 100); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); os.execv(sys.argv[1], sys.argv[1:])"
    )
    result = bench("-n", "10", "--workers", "2", "-c", "2", prefix=[sys.executable, "-c", lower])
    all_good(result, 10, connections=2)


def test_exact_split(tmp_path: pathlib.Path) -> None:
    """As many exchanges and connections as were asked for, over all workers, of both ends."""
    urls = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tls://127.0.0.1:0", f"unix:{tmp_path / 'echo'}"]
    with Server(*urls, "--workers", "2") as server:
        for listener in server.listeners:
            trust = [] if listener.ca is None else ["--cacert", listener.ca]
            words = ["--workers", "2", "-n", "1001", "-c", "7", "--pipeline", "3", *trust]
            result = bench(listener.url, *words)
            all_good(result, 1001, connections=7)
            assert result["plan"]["workers"] == 2
            assert result["instrument"]["workers"] == 2
            shares = result["instrument"]["cpu_share_per_worker"]
            assert len(shares) == 2
            assert result["instrument"]["cpu_share"] == max(shares)
            assert not result["partial"]
            connected = result["latency_ns"]["connect"]
            assert connected is None if listener.url.startswith("udp") else connected["count"] == 7
        assert server.end()["bytes_received"] == SIZE * 1001 * len(urls)


SPY = """
import json, sys
from netecho import program
from netecho.services import worker_bench

def merge(parts):
    parts = list(parts)
    with open(sys.argv[1], "w") as file:
        json.dump([part.to_json() for part in parts], file)
    return merge_as_it_is(parts)

merge_as_it_is, worker_bench.merge = worker_bench.merge, merge
sys.exit(program.run(sys.argv[2:]))
"""
"""Runs netecho, and keeps what each worker has told."""


def test_the_whole_is_the_sum_of_its_parts(urls: dict[str, str], tmp_path: pathlib.Path) -> None:
    """Every count and every bucket of every histogram is what the workers' add up to."""
    kept, saved = tmp_path / "parts.json", tmp_path / "result.json"
    words = ["bench", urls["tcp"], "--workers", "2", "-c", "5", "-z", "1500ms", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", SPY, str(kept), *words, "--warmup", "200ms", "--json", str(saved)],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    parts = [Part.from_json(part) for part in json.loads(kept.read_text())]
    result = checked(json.loads(saved.read_text()))
    assert len(parts) == 2
    assert all(part.whole and part.counts.completed for part in parts)
    for name in ("sent", "completed", "lost"):
        assert result["exchanges"][name] == sum(getattr(part.counts, name) for part in parts)
    assert [part.connections.opened for part in parts] == [3, 2]
    assert result["warmup"]["sent"] == sum(part.warmup.sent for part in parts if part.warmup)
    for name in ("response", "connect"):
        statistics = result["latency_ns"][name]
        merged = Histogram.decode(result["histograms"][name], statistics)
        assert merged == Histogram.sum(part.distributions[name] for part in parts)
        assert merged.to_json() == statistics
    for place, interval in enumerate(result["intervals"]):
        told = [part.intervals[place] for part in parts if place < len(part.intervals)]
        assert interval["completed"] == sum(one.completed for one in told)


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_killed_worker(urls: dict[str, str], scheme: str) -> None:
    """The result is written, without what the dead had not told, and says so; everything still adds up."""
    with Bench(urls[scheme], "-c", "4", "-z", "3s") as run:
        interval = run.wait_for("interval", "measuring")
        os.kill(run.pids[1], signal.SIGKILL)
        says = f"worker 1 (process {run.pids[1]}) was killed by SIGKILL\n"
        result = run.result(1, says.encode())
    assert [one["worker"] for one in run.died] == [1]
    assert result["partial"]
    assert (result["instrument"]["workers"], result["instrument"]["workers_died"]) == (2, 1)
    assert result["exchanges"]["completed"] >= interval["completed"] > 0
    assert result["exchanges"]["lost"] == result["exchanges"]["errors"]["worker died"] > 0
    assert result["exchanges"]["in_flight"] == 0
    assert result["elapsed_ns"] > 2_900_000_000, "the other goes on to the end"
    assert result["connections"]["opened"] == 4
    assert not result["trustworthy"]
    assert any("1 of 2 workers died" in caveat for caveat in result["caveats"])


def test_killed_while_connecting(urls: dict[str, str]) -> None:
    """A worker that dies before all begin does not keep the other from it."""
    with Bench(urls["tcp"], "-c", "6", "--connect-rate", "4", "-n", "60") as run:
        os.kill(run.pids[0], signal.SIGKILL)
        says = f"worker 0 (process {run.pids[0]}) was killed by SIGKILL\n"
        result = run.result(1, says.encode())
    assert result["partial"]
    assert result["exchanges"]["completed"] == result["exchanges"]["sent"] == 30
    assert result["connections"]["requested"] == 6
    assert result["connections"]["opened"] == 3


@pytest.mark.parametrize("group", [False, True])
def test_interrupted(urls: dict[str, str], group: bool) -> None:
    """Ctrl-C, whether the workers get it too or not, ends all with the results so far."""
    with Bench(urls["tcp"], "-c", "4", "-z", "1h", start_new_session=True) as run:
        run.wait_for("interval", "measuring")
        if group:
            os.killpg(run.process.pid, signal.SIGINT)
        else:
            run.process.send_signal(signal.SIGINT)
        result = run.result(130)
    assert result["interrupted"]
    assert not result["partial"]
    assert result["exchanges"]["completed"] > 0
    assert result["exchanges"]["errors"] == {}


def test_interrupted_while_connecting(urls: dict[str, str]) -> None:
    """Nothing was sent yet, and the result says so."""
    with Bench(urls["tcp"], "-c", "1000", "--connect-rate", "1", "-n", "2000") as run:
        run.process.send_signal(signal.SIGINT)
        result = run.result(130)
    assert result["interrupted"]
    assert result["exchanges"]["sent"] == 0
    assert result["connections"]["opened"] < 1000


@pytest.fixture
def full_server() -> Iterator[str]:
    """Where something listens and accepts nobody, so that connections stay half open."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def test_interrupted_with_half_open_connections(full_server: str) -> None:
    """What we give up ourselves is no failure, and no worker waits for a beginning that does not come."""
    with Bench(full_server, "-c", "4", "-w", "1h", "-n", "100") as run:
        run.wait_for("interval", "connecting")
        run.process.send_signal(signal.SIGINT)
        result = run.result(130)
    assert result["interrupted"]
    assert not result["partial"]
    assert result["exchanges"]["errors"] == {}
    assert result["connections"]["failed"] == 0


def test_all_killed(full_server: str) -> None:
    """When nobody came so far as to connect, there is no result, and a line says why."""
    with Bench(full_server, "-c", "4", "-w", "1h") as run:
        for pid in run.pids.values():
            os.kill(pid, signal.SIGKILL)
        _, complaints = run.process.communicate(timeout=TIMEOUT)
    assert run.process.returncode == 1
    assert complaints.count(b"was killed by SIGKILL") == 3
    assert b"netecho: no worker came so far as to connect" in complaints


def test_workers_with_half_open_connections_end_with_their_parent(full_server: str) -> None:
    """They have nobody to begin for."""
    with (
        Bench(full_server, "-c", "4", "-w", "1h", "-n", "100") as run,
        watched(run.pids.values()) as workers,
    ):
        run.wait_for("interval", "connecting")
        run.process.kill()
        assert ended(workers)


def test_workers_end_with_their_parent(urls: dict[str, str]) -> None:
    """However it ends: killed, it can tell them nothing."""
    with (
        Bench(urls["tcp"], "-c", "2", "-z", "1h") as run,
        watched(run.pids.values()) as workers,
    ):
        run.wait_for("interval", "measuring")
        run.process.kill()
        assert ended(workers)


def test_intervals_as_they_happen(urls: dict[str, str]) -> None:
    """Each interval is told once, for all workers together, and is the one in the result."""
    words = ["-c", "2", "-z", "2500ms", "--warmup", "1500ms", "--workers", "2", "--quiet"]
    done = netecho("bench", urls["tcp"], *words, "--json-stream")
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    result = checked(events[-1]["result"])
    phases = [event["phase"] for event in events if event["event"] == "interval"]
    assert set(phases) >= {"warm-up", "measuring"}
    assert told(events) == result["intervals"]
    measured = [event for event in events if event.get("phase") in ("measuring", "finishing")]
    assert len(measured) >= 3
    assert {event["connections_open"] for event in measured} == {2}


def test_nobody_listens() -> None:
    """As without workers, that is one line and no result."""
    done = netecho("bench", f"tcp://127.0.0.1:{free_port()}", "--workers", "2", "-c", "2", "--quiet")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"refused" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workers", "0"], "--workers must be at least 1"),
        (["--workers", "2"], "needs as many connections (-c)"),
        (["--workers", "3", "-c", "5", "-n", "2"], "and exchanges (-n)"),
    ],
)
def test_mistakes(words: list[str], says: str) -> None:
    """They are found before anything is sent."""
    done = netecho("bench", "tcp://127.0.0.1:1", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_open_loop(urls: dict[str, str]) -> None:
    """One schedule is shared out: as much is due, and leaves, as without workers."""
    words = ["--workers", "2", "-c", "4", "-q", "500", "-n", "301", "--arrival", "poisson"]
    result = bench(urls["tcp"], *words)
    all_good(result, 301, connections=4)
    assert result["plan"]["rate_per_s"] == 500
    assert result["instrument"]["due"] == 301
    assert result["latency_ns"]["service"]["count"] == 301


def test_objectives(urls: dict[str, str]) -> None:
    """They are judged by what all workers recorded together."""
    words = ["--workers", "2", "-c", "4", "-n", "301", "--slo", "lost==0", "--slo", "max<1ns"]
    result = bench(urls["tcp"], *words, status=99)
    assert [one["passed"] for one in result["slo"]] == [True, False]


def test_objective_that_no_worker_meets_alone(urls: dict[str, str]) -> None:
    """Nobody gives up what all together reach."""
    words = ["--workers", "2", "-c", "2", "-z", "2500ms", "-q", "200"]
    result = bench(urls["tcp"], *words, "--slo", "rate>=150", "--abort-on-fail")
    assert result["exchanges"]["sent"] == result["instrument"]["due"] == 500


def test_objective_out_of_reach(urls: dict[str, str]) -> None:
    """All workers end when an objective is lost for all together."""
    words = ["--workers", "2", "-c", "2", "-z", "1h", "--slo", "max<1ns", "--abort-on-fail"]
    result = bench(urls["tcp"], *words, status=99)
    assert result["exchanges"]["completed"] > 0
    assert any("ended early" in caveat for caveat in result["caveats"])


def test_a_worker_that_stands_still() -> None:
    """Once it has been silent for too long, nobody waits for it any more; one that speaks goes on."""
    clock = Spawning()
    told: list[tuple[str, dict[str, Any]]] = []
    plan = BenchPlan(Target(), connections=2, workers=2)
    board = Board(plan, 1, lambda progress: None)
    member = _Member(clock, 0, plan, board, lambda *event: told.append(event))
    member.start({})
    [process] = clock.spawned
    for _ in range(3):
        process.outReceived(b'{"hello": true}\n')
        clock.pump([LISTEN_INTERVAL] * SILENT_LOOKS)
    assert process.transport.signals == []
    clock.advance(LISTEN_INTERVAL)
    assert process.transport.signals == ["KILL"]
    process.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
    assert told[-1][0] == "worker_died"
    assert told[-1][1]["reason"] == "was killed by SIGKILL: it said nothing in 30 s"
    assert member.ended.called
