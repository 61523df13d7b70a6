"""The client as a ping: against a clock turned by hand, and against servers that nobody here wrote."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho.errors import ExitStatus
from netecho.measure.counts import Outcome
from netecho.measure.progress import ProbeReply
from netecho.measure.summary import Summary
from netecho.plans import MILLISECOND, SECOND, ProbePlan, Target
from netecho.protocols._contract import Kind, Route
from netecho.services.probing import ProbeRun
from tests import schemas
from tests.clients import DATAGRAMS, certificate, client, errors, ncat, process, socat
from tests.servers import COMMAND, TIMEOUT, Server


class FakeAdapter:
    """An adapter, and the one connection that it makes; what is sent is kept until the test answers."""

    def __init__(self, kind: Kind) -> None:
        self.name, self.kind, self.numbered = "fake", kind, kind is not Kind.DATAGRAM
        self.reflects = self.is_text = False
        self.transport = self
        self.sent: list[tuple[int, bytes]] = []
        self.closed = False
        self.producer: Any = None

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Add nothing."""
        return 0

    def connect(self, reactor: Any, route: Route, on_reply: Any, on_lost: Any, on_connected: Any) -> Any:
        """Connect at once."""
        self.reply, self.lose = on_reply, on_lost
        on_connected()
        return succeed(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Keep whom a full buffer would pause."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Nobody is paused any more."""
        self.producer = None

    def send(self, sequence: int, payload: bytes) -> None:
        """Keep what is sent."""
        self.sent.append((sequence, payload))

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Probing:
    """A run under a clock that the test turns."""

    def __init__(self, kind: Kind = Kind.STREAM, **plan: Any) -> None:
        self.clock = Clock()
        self.adapter = FakeAdapter(kind)
        self.replies: list[ProbeReply] = []
        target = Target()
        adapter: Any = self.adapter
        self.run = ProbeRun(
            self.clock,
            ProbePlan(target, **plan),
            adapter,
            Route(target),
            self.replies.append,
            clock=lambda: round(self.clock.seconds() * SECOND),
            key=1,
        )
        self.summary: Summary | None = None
        connected = Deferred.fromCoroutine(self.run.connect())
        assert connected.called
        Deferred.fromCoroutine(self.run.run()).addCallback(self._ended)

    def _ended(self, summary: Summary) -> None:
        self.summary = summary

    def answer(self, index: int) -> None:
        """Echo a probe that was sent."""
        sequence, payload = self.adapter.sent[index]
        self.adapter.reply(None if self.adapter.kind is Kind.DATAGRAM else sequence, payload)

    @property
    def outcomes(self) -> list[tuple[int | None, Outcome | None]]:
        """What has been found out, in order."""
        return [(reply.sequence, reply.outcome) for reply in self.replies]


def test_paced_without_drift() -> None:
    """Probes leave at multiples of the interval, replies or not, and late turns do not add up."""
    probing = Probing(count=4, interval_ns=100 * MILLISECOND)
    assert len(probing.adapter.sent) == 1
    for elapsed, sent in [(0.09, 1), (0.02, 2), (0.08, 2), (0.01, 3), (0.5, 4)]:
        probing.clock.advance(elapsed)
        assert len(probing.adapter.sent) == sent
    for index in range(4):
        probing.answer(index)
    summary = probing.summary
    assert summary is not None
    assert probing.adapter.closed
    assert summary.counts.completed == 4
    # Each counts from when it was due: 0, 100, 200 and 300 ms; all came at 700 ms.
    assert [reply.time_ns for reply in probing.replies] == [
        time * MILLISECOND for time in (700, 600, 500, 400)
    ]
    assert summary.lateness is not None
    assert summary.lateness["max"] == 400 * MILLISECOND
    assert probing.run.exit_status is ExitStatus.GOOD


def test_what_is_lost_is_waited_for_in_no_rate() -> None:
    """The time that a result is of ends with the load, and not when the last lost probe is given up."""
    probing = Probing(Kind.DATAGRAM, count=3, interval_ns=100 * MILLISECOND, timeout_ns=5 * SECOND, size=64)
    probing.answer(0)
    probing.clock.advance(0.1)
    probing.answer(1)
    probing.clock.advance(0.1)
    probing.clock.advance(5)
    summary = probing.summary
    assert summary is not None
    assert (summary.counts.completed, summary.counts.lost) == (2, 1)
    assert summary.elapsed_ns == 200 * MILLISECOND
    assert summary.exchanges_per_s == 10


def test_without_a_reply_the_time_is_all_that_was_waited() -> None:
    """Nothing came back, so that all of it was waiting."""
    probing = Probing(Kind.DATAGRAM, count=1, timeout_ns=5 * SECOND, size=64)
    probing.clock.advance(5)
    assert probing.summary is not None
    assert probing.summary.elapsed_ns == 5 * SECOND


def test_duration_ends_it() -> None:
    """Nothing is sent at the end of the duration or after it, and the last reply ends the run."""
    probing = Probing(duration_ns=SECOND, interval_ns=400 * MILLISECOND)
    for elapsed in (0.4, 0.4, 0.4):
        probing.clock.advance(elapsed)
    assert len(probing.adapter.sent) == 3
    for index in range(3):
        assert probing.summary is None
        probing.answer(index)
    assert probing.summary is not None


def test_every_datagram_is_accounted_for() -> None:
    """Lost, late, doubled, overtaken, damaged: each probe has one end, and each reply one name."""
    probing = Probing(Kind.DATAGRAM, count=4, interval_ns=10 * MILLISECOND, timeout_ns=100 * MILLISECOND)
    for _ in range(3):
        probing.clock.advance(0.01)
    probing.answer(1)
    probing.answer(1)
    probing.answer(0)
    _, payload = probing.adapter.sent[2]
    probing.adapter.reply(None, payload[:-1] + b"?")
    probing.adapter.reply(None, b"something else altogether")
    probing.clock.advance(0.099)
    assert probing.summary is None
    probing.clock.advance(0.1)
    assert probing.outcomes == [
        (1, Outcome.COMPLETED),
        (1, Outcome.DUPLICATED),
        (0, Outcome.COMPLETED),
        (2, Outcome.CORRUPTED),
        (None, Outcome.STRAY),
        (3, None),
    ]
    assert probing.summary is not None
    counts = probing.summary.counts
    assert (counts.sent, counts.completed, counts.lost, counts.in_flight) == (4, 3, 1, 0)
    assert (counts.duplicated, counts.reordered, counts.corrupted) == (1, 1, 2)
    assert probing.run.exit_status is ExitStatus.CORRUPTED


def test_late_reply() -> None:
    """A reply after its timeout is late, and its probe stays lost."""
    probing = Probing(count=2, interval_ns=SECOND, timeout_ns=SECOND // 2)
    probing.clock.advance(0.6)
    probing.answer(0)
    probing.clock.advance(0.4)
    probing.answer(1)
    assert probing.outcomes == [(0, None), (0, Outcome.LATE), (1, Outcome.COMPLETED)]
    assert probing.summary is not None
    assert (probing.summary.counts.lost, probing.summary.counts.late) == (1, 1)


def test_who_reads_slowly() -> None:
    """A peer that takes something in time is sent the next; one that goes on taking nothing ends the run."""
    probing = Probing(count=4, interval_ns=1900 * MILLISECOND, timeout_ns=SECOND)
    for _ in range(2):
        probing.run.pauseProducing()
        probing.clock.advance(1)  # what is in flight is lost
        probing.clock.advance(0.9)
        assert probing.summary is None
        probing.run.resumeProducing()
        probing.clock.advance(0)
    assert len(probing.adapter.sent) == 3
    probing.run.pauseProducing()
    probing.clock.advance(1)
    assert probing.summary is None
    probing.clock.advance(1)
    assert probing.summary is not None
    assert "takes no more" in str(probing.run.failure)
    assert probing.outcomes == [(0, None), (1, None), (2, None)]


def test_no_reply() -> None:
    """Nothing comes: the run ends with the last timeout, and fails with the reason."""
    probing = Probing(count=2, interval_ns=SECOND, timeout_ns=SECOND)
    probing.clock.advance(1)
    assert len(probing.adapter.sent) == 2
    probing.clock.advance(1)
    assert probing.summary is not None
    assert probing.run.exit_status is ExitStatus.FAILED
    assert "no reply" in str(probing.run.failure)


def test_connection_lost() -> None:
    """A connection that is lost ends the run with what there is; what was in flight is lost by kind."""
    probing = Probing(interval_ns=SECOND, timeout_ns=10 * SECOND)
    probing.answer(0)
    probing.clock.advance(1)
    probing.adapter.lose(Failure(ConnectionDone()))
    assert probing.summary is not None
    assert probing.summary.errors == {"closed": 1}
    assert probing.summary.connections.lost == 1
    assert probing.run.exit_status is ExitStatus.FAILED
    assert probing.replies[-1].reason == "closed"
    assert str(probing.run.failure).endswith(" closed the connection after 2 probes")
    assert not probing.clock.getDelayedCalls()


def test_full_buffer_holds_probes() -> None:
    """What a peer does not take is not sent; it leaves later, and its lateness is part of its time."""
    probing = Probing(count=3, interval_ns=SECOND, timeout_ns=10 * SECOND)
    probing.adapter.producer.pauseProducing()
    probing.clock.advance(5)
    assert len(probing.adapter.sent) == 1
    probing.adapter.producer.resumeProducing()
    probing.clock.advance(0)
    assert len(probing.adapter.sent) == 3
    for index in range(3):
        probing.answer(index)
    assert [reply.time_ns for reply in probing.replies] == [5 * SECOND, 4 * SECOND, 3 * SECOND]


def test_connection_that_another_replaces() -> None:
    """Whatever has been held back goes on with the new one, which is asked in its turn when to pause."""
    probing = Probing(count=4, interval_ns=SECOND, timeout_ns=10 * SECOND)
    adapter = probing.adapter
    adapter.producer.pauseProducing()
    probing.clock.advance(1)
    adapter.producer.stopProducing()
    successor: Any = FakeAdapter(Kind.STREAM)
    adapter.transport = successor
    probing.clock.advance(0)
    assert len(adapter.sent) == 2
    successor.producer.pauseProducing()
    probing.clock.advance(1)
    assert len(adapter.sent) == 2
    for index in range(2):  # what was answered early is not taken for ever
        probing.answer(index)
    probing.clock.advance(0)
    assert len(adapter.sent) == 3


def test_connection_that_another_replaces_and_that_has_gone_too() -> None:
    """A server that closes after each answer does so before the next probe: that has one timer, as ever."""

    class Gone(FakeAdapter):
        """A connection that has ended, which wants nobody to produce for it."""

        def registerProducer(self, producer: Any, streaming: bool) -> None:
            producer.stopProducing()

    probing = Probing(interval_ns=SECOND)
    for number in range(1, 4):
        probing.adapter.transport = Gone(Kind.STREAM)
        probing.clock.advance(1)
        probing.answer(number)
        waiting = [call for call in probing.clock.getDelayedCalls() if call.func == probing.run._send_due]
        assert len(waiting) == 1


@pytest.mark.parametrize(
    ("scheme", "flags"), [("http", []), ("http", ["--http2"]), ("https", []), ("https", ["--http2"])]
)
def test_server_that_closes_after_each_answer(scheme: str, flags: list[str]) -> None:
    """The next probe goes over a new connection."""
    with Server(f"{scheme}://127.0.0.1:0", "--close-after", "1") as server:
        listener = server.listener
        trust = [] if listener.ca is None else ["--cacert", listener.ca]
        result = client("-n", "2", "-i", "1s", listener.url, *flags, *trust)
        assert (result.returncode, result.stderr) == (0, b"")
        assert b"2 sent, 2 received" in result.stdout
        assert server.end()["connections"] == 2


def test_interrupted() -> None:
    """An interrupt ends the run at once; what is in flight stays so, and the result says it."""
    probing = Probing(interval_ns=SECOND)
    probing.answer(0)
    probing.clock.advance(1)
    probing.run.interrupt()
    assert probing.summary is not None
    assert probing.summary.interrupted
    assert probing.summary.counts.in_flight == 1
    assert probing.run.exit_status is ExitStatus.INTERRUPTED


@pytest.mark.parametrize("scheme", ["tcp", "unix", "udp", "tls"])
def test_against_socat(scheme: str, tmp_path: Path) -> None:
    """Ten probes to an echo of socat's all come back, and the saved result is valid."""
    target = f"{scheme}://localhost"
    listener = {
        "tcp": "TCP-LISTEN:0,fork,bind=127.0.0.1",
        "unix": f"UNIX-LISTEN:{tmp_path}/echo,fork",
        "udp": "UDP-LISTEN:0,bind=127.0.0.1",
        "tls": f"OPENSSL-LISTEN:0,fork,bind=127.0.0.1,verify=0,cert={certificate(tmp_path)}",
    }[scheme]
    with socat(listener, DATAGRAMS if scheme == "udp" else "PIPE") as port:
        target = f"unix:{tmp_path}/echo" if scheme == "unix" else f"{target}:{port}"
        flags = ["--json", f"{tmp_path}/result.json", *([] if scheme == "unix" else ["-4"])]
        flags += ["--cacert", f"{tmp_path}/ca.pem"] if scheme == "tls" else []
        result = client(target, "-n", "10", "-i", "20ms", *flags)
    assert errors(result) == ""
    assert result.returncode == 0
    lines = result.stdout.decode().splitlines()
    assert [line.split(" time=")[0].split()[-1] for line in lines[:10]] == [f"seq={n}" for n in range(10)]
    assert any("10 sent, 10 received, 0% loss" in line for line in lines)
    saved = json.loads((tmp_path / "result.json").read_text())
    schemas.RESULT.validate(saved)
    assert saved["exchanges"]["completed"] == 10
    assert saved["plan"]["interval_ns"] == 20 * MILLISECOND
    assert (saved["latency_ns"]["handshake"] is not None) == (scheme == "tls")


def test_verbose_tls() -> None:
    """-v says what TLS agreed upon and whom it is with; ncat's self-made certificate needs -k."""
    with ncat("--ssl") as port:
        refused = client(f"tls://127.0.0.1:{port}", "-n", "1")
        result = client(f"tls://127.0.0.1:{port}", "-n", "1", "-k", "-v")
    assert refused.returncode == 1
    assert errors(refused).count("\n") == 1
    assert "-k" in errors(refused)
    said = errors(result)
    assert result.returncode == 0
    for part in ("connected to 127.0.0.1:", "TLSv1.3, TLS_", "no ALPN", "NOT VERIFIED", "SHA-256 "):
        assert part in said
    assert re.search(r"^connected in \d.*, TLS handshake in \d", said, re.MULTILINE)


def test_who_reads_no_more() -> None:
    """Probes that it does not take cannot be sent, and are not waited for without an end."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        result = client(url, "-n", "3", "-i", "1ms", "-l", "16MiB", "-w", "300ms")
    assert result.returncode == ExitStatus.FAILED
    assert f"netecho: {url} takes no more of what is sent; -w waits longer" in errors(result)


@pytest.mark.parametrize("scheme", ["tls", "https"])
def test_takes_leave_in_tls(scheme: str) -> None:
    """When the probes are over the connection is closed in order: a server has nothing to complain of."""
    with Server(f"{scheme}://127.0.0.1:0", "-v") as server:
        listener = server.listener
        result = client(listener.url, "-n", "1", "--cacert", str(listener.ca))
        ended = server.wait_for("disconnected")
    assert result.returncode == 0, errors(result)
    assert "cleanly" in ended["reason"]


def test_pieces_of_a_connection() -> None:
    """What it took to be connected, the name included, is in the result and in -v, talking or probing."""
    with socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port:
        probed = client(f"tcp://localhost:{port}", "-n", "1", "-v", "--json", "-")
        talked = client(f"tcp://localhost:{port}", "-v")
    latencies = json.loads(probed.stdout)["latency_ns"]
    assert latencies["resolve"]["count"] == latencies["connect"]["count"] == 1
    assert latencies["handshake"] is None
    for said in (errors(probed), errors(talked)):
        assert re.search(r"^name resolved in \d.*, connected in \d.* .?s$", said, re.MULTILINE), said


def test_message() -> None:
    """A message alone is sent once, and is what comes back."""
    with socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port:
        result = client("127.0.0.1", str(port), "-m", "hello")
    assert result.returncode == 0
    assert result.stdout.startswith(b"5 bytes from 127.0.0.1:")


@pytest.mark.parametrize("words", [["-n", "3"], []])
def test_interrupt_while_connecting(words: list[str], tmp_path: Path) -> None:
    """Ctrl-C in a handshake that nobody answers is no failure of it; probes save a result, of none."""
    saving = ["--json", f"{tmp_path}/result.json"] if words else []
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        process(
            [*COMMAND, "client", f"tls://127.0.0.1:{silent.getsockname()[1]}", "-k", *words, *saving],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        silent.settimeout(TIMEOUT)
        with silent.accept()[0] as connection:
            assert connection.recv(1)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 130
    if not words:
        assert (out, err) == (b"", b"netecho: interrupted\n")
        return
    assert err == b""
    assert b"0 sent, 0 received" in out
    saved = json.loads((tmp_path / "result.json").read_text())
    schemas.RESULT.validate(saved)
    assert saved["interrupted"] is True
    assert (saved["connections"]["requested"], saved["connections"]["opened"]) == (1, 0)


def test_interrupt_saves_what_there_is(tmp_path: Path) -> None:
    """Ctrl-C prints the summary, saves the result so far, and ends with exit status 130."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process(
            [*COMMAND, "client", "127.0.0.1", str(port), "-i", "10ms", "--json", f"{tmp_path}/result.json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"64 bytes from")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, err) == (130, b"")
    assert b"echo statistics" in out
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["interrupted"] is True
    assert saved["exchanges"]["completed"] >= 1


def test_server_that_changes_bytes() -> None:
    """A server that answers something else is found out: exit status 3."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                connection.sendall(data[:-1] + bytes([data[-1] ^ 1]))

    serving = threading.Thread(target=serve)
    serving.start()
    result = client("127.0.0.1", str(listener.getsockname()[1]), "-n", "2", "-i", "1ms")
    serving.join(TIMEOUT)
    listener.close()
    assert result.returncode == 3
    assert b"corrupted" in result.stdout


def test_closed_stdout() -> None:
    """When nobody reads the lines any more, probing ends without a word."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process(
            [*COMMAND, "client", "127.0.0.1", str(port), "-i", "1ms"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        child.stdout = None
        _, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, err) == (1, b"")


@pytest.mark.parametrize("form", [(), ("--json-stream",)])
def test_what_cannot_be_saved_is_shown(form: tuple[str, ...]) -> None:
    """A full disk under `--json` takes the file and not the result."""
    with Server("tcp://127.0.0.1:0") as server:
        result = client("-n", "2", "-i", "1ms", *form, "--json", "/dev/full", server.listener.url)
    assert result.stderr == b"netecho: --json '/dev/full' cannot be written: no space left on device\n"
    assert result.returncode == ExitStatus.FAILED
    assert (b'{"event": "result"' if form else b"2 sent, 2 received") in result.stdout


@pytest.mark.parametrize("scheme", ["tcp", "udp", "stamp"])
@pytest.mark.parametrize("form", [(), ("--json-stream",)])
def test_full_disk(scheme: str, form: tuple[str, ...]) -> None:
    """Standard output that cannot be written is one line, and no loss of the connection."""
    with Server(f"{scheme}://127.0.0.1:0") as server, open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*COMMAND, "client", "-n", "2", "-i", "10ms", *form, server.listener.url],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    assert result.stderr == b"netecho: standard output cannot be written: no space left on device\n"
    assert result.returncode == ExitStatus.FAILED


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["127.0.0.1", "1"], 1, "refused: nothing listens there; start one with: netecho serve --port 1"),
        (["udp://127.0.0.1:1"], 1, "refused"),
        (["name.invalid"], 1, "name.invalid has no address"),
        (["a..b"], 2, "'a..b' is not a host name"),
        (["-6", "127.0.0.1"], 2, "127.0.0.1 is an IPv4 address, and -6 asks for another"),
        (["unix:/nonexistent/echo"], 1, "there is no socket; start one with: netecho serve"),
        (["udp://127.0.0.1", "-l", "65508"], 2, "at most 65,507 bytes, not 65,508"),
        (["-l", "10GiB", "127.0.0.1"], 2, "at most 134,217,728 bytes, not 10,737,418,240"),
        (["-i", "0"], 2, "for a load, use netecho bench"),
        (["--json", "/nonexistent/result"], 2, "cannot be written"),
        (["--source", "192.0.2.1", "127.0.0.1"], 1, "--source"),
        (["--source", "192.0.2.1", "--ttl", "9", "127.0.0.1"], 1, "cannot send from the --source address"),
        (["--cacert", "/nonexistent", "tls://127.0.0.1"], 2, "/nonexistent"),
    ],
)
def test_mistakes(arguments: list[str], status: int, words: str) -> None:
    """Each mistake is one line that says what failed, and the right exit status."""
    result = client(*arguments, "-n", "1")
    said = errors(result)
    assert result.returncode == status
    assert words in said
    assert said.count("\n") == 1
    assert said.startswith("netecho: ")
