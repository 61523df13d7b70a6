"""`netecho serve --workers`: several processes that are one server."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from netecho.errors import NetechoError
from netecho.plans import ListenPlan, Target
from netecho.services import plan_json, worker_serve
from netecho.services.worker_serve import REPORT_INTERVAL, RESTART_LONGEST, _Post
from netecho.services.workers import LISTEN_INTERVAL, SILENT_LOOKS
from tests import reactors
from tests.children import ended, watched
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, netecho, receive_all, receive_exactly

PEERS = 40
"""So many peers, spread by a hash of their ports over two workers, all come to one once in a trillion."""


def pids(server: Server) -> dict[int, int]:
    """Return the processes of the workers, the last that has started of each number."""
    return {event["worker"]: event["pid"] for event in server.events if event["event"] == "worker_started"}


def greet(connection: socket.socket, message: bytes = b"hello") -> None:
    """Hold that what is sent comes back."""
    connection.sendall(message)
    assert receive_exactly(connection, len(message)) == message


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_connections_reach_every_worker(scheme: str) -> None:
    """The system spreads connections; to a client it is one server, with one authority for TLS."""
    with (
        contextlib.ExitStack() as stack,
        Server(f"{scheme}://127.0.0.1:0", "--workers", "2", "-v") as server,
    ):
        assert sorted(pids(server)) == [0, 1]
        for _ in range(PEERS):
            greet(stack.enter_context(server.listener.connect()))
        served = {server.wait_for("connected")["worker"] for _ in range(PEERS)}
        assert served == {0, 1}
        stack.close()
        totals = server.end()
    assert (totals["connections"], totals["open"]) == (PEERS, 0)
    assert totals["bytes_received"] == totals["bytes_sent"] == 5 * PEERS
    assert [event["event"] for event in server.events].count("listening") == 1


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_path_is_served_by_every_worker(tmp_path: pathlib.Path) -> None:
    """All workers accept from one UNIX socket, which is its owner's alone, and is gone in the end."""
    path = tmp_path / "echo"
    with Server(f"unix:{path}", "--workers", "2", "-v") as server:
        assert path.stat().st_mode & 0o777 == 0o600
        for worker, pid in pids(server).items():
            with stopped(pid), server.listener.connect() as connection:
                greet(connection)
                assert server.wait_for("connected")["worker"] == 1 - worker
        assert server.end()["connections"] == 2
    assert not path.exists()


def test_more_connections_than_descriptors(tmp_path: pathlib.Path) -> None:
    """Out of descriptors, workers close what they accept from their one socket, and serve again later."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with Server(f"unix:{tmp_path / 'echo'}", "--workers", "2", "-v", preexec_fn=limit) as server:
        with contextlib.ExitStack() as stack:
            served = refused = 0
            while served < 80 or refused < 20:  # one that has room takes some of what the other would refuse
                peer = stack.enter_context(server.listener.connect())
                answer = b""
                with contextlib.suppress(ConnectionError):
                    peer.sendall(b"?")
                    answer = peer.recv(1)
                served += answer == b"?"
                refused += answer == b""
            assert served < 128
        have_room: set[int] = set()
        while len(have_room) < 2:
            have_room.add(server.wait_for("disconnected")["worker"])
        for _ in range(4):
            with server.listener.connect() as again:
                greet(again, b"back")


def test_datagrams_reach_every_worker() -> None:
    """Datagrams are spread by flow: whichever worker is stopped, some are answered and none is lost."""
    with contextlib.ExitStack() as stack, Server("udp://127.0.0.1:0", "--workers", "2") as server:
        peers = [stack.enter_context(server.listener.connect()) for _ in range(PEERS)]
        for pid in pids(server).values():
            with stopped(pid):
                for peer in peers:
                    peer.send(b"?")
                assert select.select(peers, [], [], TIMEOUT)[0]
            for peer in peers:
                assert peer.recv(2) == b"?"
        totals = server.end()
    assert totals["datagrams_received"] == totals["datagrams_sent"] == 2 * PEERS


def test_own_ports_get_no_answer_from_any_worker() -> None:
    """Every worker knows the ports of all the listeners, and that they are its own."""
    with Server("udp://0.0.0.0:0", "udp://127.0.0.1:0", "--workers", "2", "-v") as server:
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("needs the right to forge datagrams")
        raw.close()
        source, destination = (listener.address[1] for listener in server.listeners)
        header = b"".join(value.to_bytes(2, "big") for value in (source, destination, 9, 0))
        for number in range(1, PEERS + 1):
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as forged:
                forged.bind((f"127.0.1.{number}", 0))
                forged.sendto(header + b"?", ("127.0.0.1", 0))
        dropped = [server.wait_for("dropped") for _ in range(2)]
        assert {event["worker"] for event in dropped} == {0, 1}
        assert {event["reason"] for event in dropped} == {"source port is our own"}
        totals = server.end()
    assert (totals["dropped"], totals["datagrams_sent"]) == ({"source port is our own": PEERS}, 0)


def test_a_killed_worker_is_replaced() -> None:
    """The others go on, those who connect meanwhile wait for its successor, and one line says so."""
    with (
        contextlib.ExitStack() as stack,
        Server("--port", "0", "--workers", "2", "-v") as server,
    ):
        before = {}
        for _ in range(PEERS):
            connection = stack.enter_context(server.listener.connect())
            greet(connection)
            before[server.wait_for("connected")["worker"]] = connection
        victim = pids(server)[0]
        os.kill(victim, signal.SIGKILL)
        assert receive_all_or_reset(before[0]) == b""
        greet(before[1])
        after = [stack.enter_context(server.listener.connect()) for _ in range(PEERS)]
        for connection in after:
            greet(connection)
        greet(before[1])
        server.end()
        died = [event for event in server.events if event["event"] == "worker_died"]
        assert [(one["worker"], one["pid"], one["reason"]) for one in died] == [
            (0, victim, "was killed by SIGKILL")
        ]
        assert pids(server)[0] != victim
        connected = [event for event in server.events if event["event"] == "connected"]
        assert {event["worker"] for event in connected[PEERS:]} == {0, 1}


def receive_all_or_reset(connection: socket.socket) -> bytes:
    """Return what comes until the connection is closed, in order or not."""
    try:
        return receive_all(connection)
    except ConnectionResetError:
        return b""


def test_a_killed_worker_is_reported_in_words() -> None:
    """Without --json-stream it is a line on standard error."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--workers", "2", "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        started = [process.stderr.readline().decode() for _ in range(2)]
        assert process.stdout.readline().startswith(b"listening on tcp://127.0.0.1:")
        assert all(line.startswith("worker_started worker=") for line in started)
        pid = int(started[0].rpartition("=")[2])
        os.kill(pid, signal.SIGKILL)
        line = process.stderr.readline().decode()
        number = started[0].split("=")[1].split()[0]
        assert line == (
            f"worker {number} (process {pid}) was killed by SIGKILL; another one starts in 100 ms\n"
        )
        assert process.stderr.readline().startswith(b"worker_started")
        process.terminate()
        assert process.wait(TIMEOUT) == 0


LOOKS_BY_SIGNAL = """
import signal
from twisted.internet.task import Clock, LoopingCall
from netecho.services import workers

clock = Clock()

class Looks(LoopingCall):
    clock = property(lambda self: clock, lambda self, reactor: None)

workers.LoopingCall = Looks
signal.signal(signal.SIGUSR1, lambda *_: clock.advance(workers.LISTEN_INTERVAL))
"""
"""Has the parent look at its workers when it is sent a signal, and not as time goes by."""


def test_a_worker_that_stands_still_is_replaced(tmp_path: pathlib.Path) -> None:
    """It would keep its share of those who connect waiting for ever; one that has news is left alone."""
    (tmp_path / "sitecustomize.py").write_text(LOOKS_BY_SIGNAL)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with (
        contextlib.ExitStack() as stack,
        Server("--port", "0", "--workers", "2", "-v", env=environment) as server,
    ):
        victim = pids(server)[0]
        os.kill(victim, signal.SIGSTOP)
        connections = [stack.enter_context(server.listener.connect()) for _ in range(PEERS)]
        waiting = {"{}:{}".format(*connection.getsockname()): connection for connection in connections}
        # One more than it takes: what the victim said before it stood still may be heard after the first.
        served = [waiting.pop(server.wait_for("connected")["peer"]) for _ in range(SILENT_LOOKS + 2)]
        for connection in served:
            server.process.send_signal(signal.SIGUSR1)
            connection.close()
            assert server.wait_for("disconnected")["worker"] == 1, "which has news between any two looks"
        died = [event for event in server.events if event["event"] == "worker_died"]
        [death] = died or [server.wait_for("worker_died")]
        assert death["pid"] == victim
        assert death["reason"] == "was killed by SIGKILL: it said nothing in 30 s"
        for connection in waiting.values():
            greet(connection)
    assert [event["pid"] for event in server.events if event["event"] == "worker_died"] == [victim]


def test_sigterm_drains_every_worker() -> None:
    """What was received by any of them is echoed, and then all end."""
    message = os.urandom(1 << 16)
    with contextlib.ExitStack() as stack, Server("--port", "0", "--workers", "2") as server:
        connections = [stack.enter_context(server.listener.connect()) for _ in range(PEERS)]
        for connection in connections:
            connection.sendall(message)
        with watched(pids(server).values()) as workers:
            server.tell()
            received = sum(len(receive_all(connection)) for connection in connections)
            assert ended(workers)
        totals = server.wait_for("stopped")
    assert totals["connections"] == PEERS
    assert received == totals["bytes_received"] == totals["bytes_sent"]
    assert totals["cut"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group(number: signal.Signals) -> None:
    """Ctrl-C at a terminal reaches the workers too, who leave it to their parent."""
    with Server("--port", "0", "--workers", "2", start_new_session=True) as server:
        with server.listener.connect() as connection:
            greet(connection)
            server._told = True
            os.killpg(server.process.pid, number)
            assert receive_all(connection) == b""
        assert server.wait_for("stopped")["bytes_sent"] == 5
    assert not [event for event in server.events if event["event"] == "worker_died"]


def test_workers_end_with_their_parent() -> None:
    """However it ends: killed, it can tell them nothing."""
    with Server("--port", "0", "--workers", "2") as server:
        with watched(pids(server).values()) as workers:
            server.process.kill()
            server.process.wait(TIMEOUT)
            assert ended(workers)
        server.status, server._told = -signal.SIGKILL, True


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_address_in_use(proto: str) -> None:
    """The workers share a port among themselves, and with nobody else, not even others that would."""
    with Server(f"{proto}://127.0.0.1:0", "--workers", "2") as server:
        for words in ([], ["--workers", "2"]):
            done = netecho("serve", server.listener.url, *words)
            assert done.returncode == 1
            assert b"is in use" in done.stderr
            assert done.stderr.count(b"\n") == 1


def test_connections_at_most() -> None:
    """Each worker serves its share of --max-connections, so that all together never serve more."""
    with (
        contextlib.ExitStack() as stack,
        Server("--port", "0", "--workers", "2", "--max-connections", "3", "-v") as server,
    ):
        for _ in range(PEERS):
            stack.enter_context(server.listener.connect())
        for _ in range(PEERS - 3):
            assert server.wait_for("refused")["limit"] in (1, 2)
        totals = server.end()
    assert (totals["connections"], totals["refused"]) == (3, PEERS - 3)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--workers", "0"], 2, "--workers must be at least 1"),
        (["--workers", "3", "--max-connections", "2"], 2, "as many as --workers"),
        (["--workers", "2", "--host", "192.0.2.1"], 1, "not an address of this machine"),
        (["--workers", "2", "--tls", "--cert", "/no/such/file"], 2, "/no/such/file"),
        (["--workers", "2", "unix:/no/such/folder/echo"], 1, "No such file"),
    ],
)
def test_mistakes(words: list[str], status: int, says: str) -> None:
    """They are found by the parent, before there is any worker, and are one line."""
    done = netecho("serve", *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_worker_that_does_not_start(tmp_path: pathlib.Path) -> None:
    """If not all workers come up, the server does not either, and says what the worker says."""
    done = netecho("serve", "--port", "0", "--workers", "2", environment={"PYTHONPATH": broken(tmp_path)})
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"netecho: a worker did not start: it ended with status 2: no luck today\n"


def broken(folder: pathlib.Path) -> str:
    """Return a folder in which Python finds what ends every worker as it starts."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nif sys.orig_argv[-1] == 'worker':\n    print('no luck today', file=sys.stderr)\n"
        "    sys.stderr.flush()\n    import os\n    os._exit(2)\n"
    )
    return str(folder)


@contextlib.contextmanager
def held(folder: pathlib.Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command on one processor whose workers never come up; give it and its first worker's process."""
    (folder / "sitecustomize.py").write_text(
        "import os, pathlib, signal, sys\nif sys.orig_argv[-1] == 'worker':\n"
        "    folder = pathlib.Path(__file__).parent\n    (folder / f'{os.getpid()}.pid').touch()\n"
        "    (folder / 'fifo').write_text(f'{os.getpid()}\\n')\n    signal.pause()\n"
    )
    os.mkfifo(folder / "fifo")
    with subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),
    ) as process:
        try:
            with open(folder / "fifo") as fifo:
                yield process, int(fifo.readline())
        finally:
            process.kill()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes that a process of one thread has started."""
    return [*map(int, pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]


def started(folder: pathlib.Path) -> list[int]:
    """Return the workers that `held` has held."""
    return [int(file.stem) for file in folder.glob("*.pid")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_workers_start(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    """They start one after the other on one processor, and those that have not started yet never do."""
    with (
        held(tmp_path, "serve", "--port", "0", "--workers", "3") as (process, pid),
        watched([pid]) as workers,
    ):
        assert children(process) == [pid]
        process.send_signal(number)
        out, complaints = process.communicate(timeout=TIMEOUT)
        assert ended(workers)
    assert (process.returncode, out, complaints) == (130, b"", b"netecho: interrupted\n")
    assert started(tmp_path) == [pid]


def test_worker_is_no_command_for_people() -> None:
    """Without a parent of ours there is nothing for it to do."""
    done = netecho("worker", input=b"")
    assert done.returncode == 2
    assert done.stderr == b"netecho: netecho starts its workers itself: see --workers\n"


class Spawning(Clock):
    """A clock that keeps the processes it is to start: nobody runs."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[Any] = []
        self.refusal: OSError | None = None

    def spawnProcess(self, protocol: Any, *_: Any, **__: Any) -> None:  # noqa: N802 - Twisted's
        """Give the protocol a transport without pipes, unless there is no room for processes."""
        if self.refusal is not None:
            raise self.refusal
        self.spawned.append(protocol)
        protocol.transport = Pretended()


class Pretended:
    """A process that is not there."""

    def __init__(self) -> None:
        self.pid = 1
        self.pipes: dict[int, Any] = {}
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's
        """Keep what it was sent."""
        self.signals.append(name)


def post_with(clock: Spawning, told: list[dict[str, Any]]) -> _Post:
    """Return a place whose first worker serves."""
    post = _Post(clock, 0, {}, [], lambda _, particulars: told.append(particulars), lambda *_: None)
    post.fill()
    clock.spawned[-1].outReceived(b'{"serving": true}\n')
    return post


def die(clock: Spawning) -> None:
    """Have the worker that was started last end."""
    clock.spawned[-1].processEnded(Failure(error.ProcessTerminated(1)))


def test_back_off() -> None:
    """Each worker that dies soon is replaced after twice the pause, one that lasted after the shortest."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post_with(clock, told)
    for _ in range(8):
        die(clock)
        clock.advance(told[-1]["restart_ns"] / 1e9)
        clock.spawned[-1].outReceived(b'{"serving": true}\n')
    pauses = [one["restart_ns"] / 1e9 for one in told if "restart_ns" in one]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    clock.advance(RESTART_LONGEST + 1)
    die(clock)
    assert told[-1]["restart_ns"] == 100_000_000


def test_gives_up() -> None:
    """When none comes up any more, even after the longest pause, that is the end."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post = post_with(clock, told)
    failures: list[Failure] = []
    post.failed.addErrback(failures.append)
    die(clock)
    attempts = 0
    while not failures:
        assert attempts < 20
        attempts += 1
        clock.advance(told[-1]["restart_ns"] / 1e9)
        die(clock)
    assert told[-1]["restart_ns"] == RESTART_LONGEST * 1e9
    assert failures[0].check(NetechoError)
    assert "does not start again" in failures[0].getErrorMessage()
    assert post.left.called


def test_silence() -> None:
    """Whoever has said nothing at so many looks in a row is killed, and replaced like any that dies."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post_with(clock, told)
    first = clock.spawned[-1]
    for _ in range(2):
        clock.pump([LISTEN_INTERVAL] * SILENT_LOOKS)
        first.outReceived(b'{"totals": {}}\n')
    clock.advance(100 * LISTEN_INTERVAL)  # a machine that stood still finds out about nobody
    clock.pump([LISTEN_INTERVAL] * (SILENT_LOOKS - 1))
    assert first.transport.signals == []
    clock.advance(LISTEN_INTERVAL)
    assert first.transport.signals == ["KILL"]
    first.processEnded(Failure(error.ProcessTerminated(signal=signal.SIGKILL)))
    assert told[-1]["reason"] == "was killed by SIGKILL: it said nothing in 30 s"
    clock.advance(told[-1]["restart_ns"] / 1e9)
    assert len(clock.spawned) == 2
    assert first.transport.signals == ["KILL"]


class Hearing:
    """A parent that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.gone: Deferred[None] = Deferred()

    def tell(self, message: dict[str, Any]) -> None:
        """Keep a message."""
        self.told.append(message)


def test_a_worker_with_nothing_to_do_says_so(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would mean that it stands still."""
    parent, reactor = Hearing(), MemoryReactorClock()
    path = str(tmp_path / "echo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.setblocking(False)
        monkeypatch.setattr(worker_serve, "FIRST_DESCRIPTOR", os.dup(listening.fileno()))
        plan = ListenPlan((Target("unix", "unix", path=path),))
        order = {"plan": plan_json.to_json(plan), "files": {}, "credentials": None, "events": False}
        serving = Deferred.fromCoroutine(worker_serve.serve_share(reactor, parent, order))  # type: ignore[arg-type]
        assert parent.told == [{"serving": True}]
        reactor.pump([REPORT_INTERVAL] * 3)
        assert ["totals" in message for message in parent.told[1:]] == [True] * 3
        parent.gone.callback(None)
        assert serving.called


def test_a_worker_tells_of_open_connections(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through connections that never end is in its totals, too, when it is killed."""
    path = str(tmp_path / "echo")

    class Informed(Hearing):
        """Knows when it has been told of five bytes."""

        def __init__(self) -> None:
            super().__init__()
            self.knows: Deferred[dict[str, Any]] = Deferred()

        def tell(self, message: dict[str, Any]) -> None:
            """Look for them."""
            super().tell(message)
            if message.get("totals", {}).get("bytes_received") == 5 and not self.knows.called:
                self.knows.callback(message["totals"])

    async def scenario(reactor: Any) -> None:
        parent: Any = Informed()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            listening.setblocking(False)
            monkeypatch.setattr(worker_serve, "FIRST_DESCRIPTOR", os.dup(listening.fileno()))
        monkeypatch.setattr(worker_serve, "REPORT_INTERVAL", 0.01)
        plan = ListenPlan((Target("unix", "unix", path=path),))
        order = {"plan": plan_json.to_json(plan), "files": {}, "credentials": None, "events": False}
        serving = Deferred.fromCoroutine(worker_serve.serve_share(reactor, parent, order))
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.sendall(b"hello")
            totals = await parent.knows.addTimeout(TIMEOUT, reactor)
            assert (totals["open"], totals["bytes_sent"]) == (1, 5)
        parent.gone.callback(None)
        await serving
        assert (parent.told[-1]["totals"]["open"], parent.told[-1]["totals"]["bytes_received"]) == (0, 5)

    reactors.run("fast", scenario)


def test_no_room_for_workers() -> None:
    """What the system says is said, in a line that reads well."""
    clock = Spawning()
    clock.refusal = OSError(errno.EMFILE, "Too many open files")
    post = _Post(clock, 0, {}, [], lambda *_: None, lambda *_: None)
    failures: list[Failure] = []
    post.filled.addErrback(failures.append)
    post.fill()
    [failure] = failures
    says = "a worker did not start: it was refused by the system: Too many open files"
    assert failure.getErrorMessage() == says


@pytest.mark.parametrize("aborted", [False, True])
def test_a_worker_that_does_not_end(aborted: bool) -> None:
    """That it was killed, with whatever it had not echoed yet, is said unless somebody asked for it."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post = post_with(clock, told)
    post.leave(15)
    if aborted:
        post.leave(0)
    clock.advance(15)
    assert clock.spawned[-1].transport.signals[0] == "KILL"
    clock.spawned[-1].processEnded(Failure(error.ProcessTerminated(signal=signal.SIGKILL)))
    reasons = [one["reason"] for one in told if "reason" in one]
    assert reasons == ([] if aborted else ["was killed by SIGKILL: it did not end in 15 s"])
    assert post.left.called


def test_a_worker_that_ends_as_it_should() -> None:
    """There is nothing to say of it."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post = post_with(clock, told)
    post.leave(15)
    clock.spawned[-1].processEnded(Failure(error.ProcessDone(0)))
    assert [one for one in told if "reason" in one] == []
    assert post.left.called
    assert not clock.getDelayedCalls()


def test_totals_of_the_dead_count() -> None:
    """What a worker had told when it died is in the totals, but for connections that are no more."""
    clock = Spawning()
    told: list[dict[str, Any]] = []
    post = post_with(clock, told)
    clock.spawned[-1].outReceived(
        b'{"totals": {"connections": 3, "open": 2, "bytes_sent": 7, "dropped": {"x": 1}}}\n'
    )
    die(clock)
    clock.advance(0.1)
    clock.spawned[-1].outReceived(b'{"totals": {"connections": 1, "open": 1, "dropped": {"x": 2, "y": 1}}}\n')
    totals = post.totals
    assert (totals.connections, totals.open, totals.bytes_sent) == (4, 1, 7)
    assert totals.dropped == {"x": 3, "y": 1}
