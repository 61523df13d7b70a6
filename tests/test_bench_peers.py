"""`netecho bench` against echo servers that nobody here wrote, and against servers that fail."""

from __future__ import annotations

import collections
import contextlib
import csv
import errno
import io
import itertools
import json
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import trustme
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from netecho import protocols
from netecho.commands.bench import exit_status
from netecho.errors import ExitStatus
from netecho.plans import SECOND, BenchPlan, Target
from netecho.protocols._contract import Kind, Route
from netecho.rendering.machine import CSV_COLUMNS
from netecho.services import bench_connection, system
from netecho.services.benchmark import Benchmark
from tests.benches import SIZE, all_good, bench, checked, echo, ignore, running, serving, told
from tests.peers import need
from tests.servers import TIMEOUT, Server, netecho, receive_exactly

MIB = 1 << 20


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def reachable(url: str) -> bool:
    """Return whether somebody listens: takes a connection, or answers a datagram."""
    scheme, _, rest = url.partition(":")
    families = {"unix": socket.AF_UNIX}
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(families.get(scheme, socket.AF_INET), kind) as probe:
        probe.settimeout(1)
        try:
            probe.connect(rest if scheme == "unix" else ("127.0.0.1", int(rest.rpartition(":")[2])))
            if kind is socket.SOCK_DGRAM:
                probe.send(b"?")
                probe.recv(1)
        except (OSError, TimeoutError):
            return False
    return True


@contextlib.contextmanager
def peer(words: str, url: str) -> Iterator[str]:
    """Run an echo server until the block is left; begin when it can be reached."""
    program, *rest = words.split()
    process = subprocess.Popen(
        [need(program), *rest],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group of its own, to end the processes that it forks as well
    )
    try:
        until = time.monotonic() + TIMEOUT
        while not reachable(url):
            assert process.poll() is None, f"{words} has ended"
            assert time.monotonic() < until, f"{words} does not listen"
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a directory with a server's certificate and its authority's."""
    directory = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        directory / "server.pem"
    )
    return directory


@pytest.mark.parametrize(
    ("words", "scheme", "connections", "size"),
    [
        ("socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr PIPE", "tcp", 8, SIZE),
        ("socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr EXEC:cat", "tcp", 2, MIB),
        ("ncat -l -k 127.0.0.1 {port} -e /bin/cat", "tcp", 8, 1),
        ("socat UNIX-LISTEN:{path},fork PIPE", "unix", 8, SIZE),
        ("ncat -l -k -U {path} -e /bin/cat", "unix", 8, 9000),
        ("ncat --ssl --ssl-cert {pem} --ssl-key {pem} -l -k 127.0.0.1 {port} -e /bin/cat", "tls", 4, SIZE),
        (
            "socat OPENSSL-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,cert={pem},verify=0 PIPE",
            "tls",
            4,
            20_000,
        ),
        ("socat UDP-LISTEN:{port},bind=127.0.0.1,fork PIPE", "udp", 1, SIZE),
        ("socat -b 65507 UDP-LISTEN:{port},bind=127.0.0.1,fork PIPE", "udp", 1, 65_507),
        ("socat -T 1 UDP-RECVFROM:{port},bind=127.0.0.1,fork EXEC:cat", "udp", 1, 1),
    ],
)
def test_echo_servers(
    words: str, scheme: str, connections: int, size: int, certificate: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Every exchange is made and every byte is right, with each kind of server."""
    port = free_port(socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM)
    path = tmp_path / "echo"
    url = f"unix:{path}" if scheme == "unix" else f"{scheme}://127.0.0.1:{port}"
    command = words.format(port=port, path=path, pem=certificate / "server.pem")
    trust = ["--cacert", str(certificate / "ca.pem")] if scheme == "tls" else []
    with peer(command, url):
        result = bench(url, "-n", "40", "-c", str(connections), "--size", str(size), *trust)
    all_good(result, 40, size, connections)
    assert (result["latency_ns"]["handshake"] is not None) == (scheme == "tls")
    assert result.get("transport", {}).get("verified") == (True if scheme == "tls" else None)
    connected = result["latency_ns"]["connect"]
    assert (0 if connected is None else connected["count"]) == (0 if scheme == "udp" else connections)
    assert result["plan"]["target"] == url


def test_a_corrupted_byte() -> None:
    """One changed bit in one echo is found, counted, and told by the exit status."""

    def corrupt(connection: socket.socket) -> None:
        for number in range(10):
            message = bytearray(receive_exactly(connection, SIZE))
            message[40] ^= number == 7
            connection.sendall(message)

    with serving(corrupt) as url:
        result = bench(url, "-n", "10", status=3)
    assert (result["exchanges"]["completed"], result["exchanges"]["corrupted"]) == (10, 1)
    with serving(corrupt) as url:
        result = bench(url, "-n", "10", "--verify", "none")
    all_good(result, 10)
    assert any("--verify none" in caveat for caveat in result["caveats"])


def test_more_than_was_sent() -> None:
    """Bytes that came with an echo are not taken for the echo of what was sent only then."""

    def twice(connection: socket.socket) -> None:
        for _ in range(10):
            connection.sendall(2 * receive_exactly(connection, SIZE))

    with serving(twice) as url:
        result = bench(url, "-n", "10", "--verify", "none", status=3)
    counts = result["exchanges"]
    assert counts["completed"] == 10
    assert counts["corrupted"] > 0


def close_at_the_sixth(connection: socket.socket) -> None:
    """Answer five messages and close at the sixth."""
    for _ in range(5):
        connection.sendall(receive_exactly(connection, SIZE))
    receive_exactly(connection, SIZE)


def test_closed_in_mid_run() -> None:
    """A connection that the server closes is counted with what was in flight, and opened again."""
    with serving(close_at_the_sixth) as url:
        result = bench(url, "-n", "30", status=1)
    assert result["exchanges"]["sent"] == 30
    assert result["exchanges"]["completed"] == 25
    assert result["exchanges"]["errors"] == {"closed": 5}
    assert result["connections"]["lost"] == 5
    assert result["connections"]["reopened"] == 4


def test_reset_in_mid_run() -> None:
    """A connection that is reset is counted as that, and not as lost in an unknown way."""

    def reset(connection: socket.socket) -> None:
        connection.send(connection.recv(64))
        connection.recv(64)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(reset) as url:
        result = bench(url, "-n", "4", status=1)
    assert result["exchanges"]["completed"] == 2
    assert result["exchanges"]["errors"] == {"reset": 2}


def test_closed_again_and_again() -> None:
    """A server that takes connections only to close them is asked less and less often."""
    times = []

    def close(connection: socket.socket) -> None:
        times.append(time.monotonic())
        connection.recv(1)

    with serving(close) as url:
        result = bench(url, "-z", "1s", status=1)
    assert result["exchanges"]["completed"] == 0
    assert 3 <= len(times) <= 6  # after 50, 100, 200, 400 and 800 ms


def test_no_reconnect() -> None:
    """With --no-reconnect the run ends with its last connection."""
    with serving(close_at_the_sixth) as url:
        result = bench(url, "-c", "2", "-z", "1h", "--no-reconnect", status=1)
    assert result["exchanges"]["sent"] == 12
    assert result["exchanges"]["completed"] == 10
    assert result["exchanges"]["errors"] == {"closed": 2}
    assert result["connections"]["reopened"] == 0


def test_all_lost_in_the_warm_up() -> None:
    """What is sent in a warm-up that never ends well is not passed off as what was measured."""
    with serving(close_at_the_sixth) as url:
        result = bench(url, "--warmup", "1h", "-z", "1s", "--no-reconnect", status=1)
    assert result["exchanges"]["sent"] == 0
    assert result["warmup"]["sent"] == 6
    assert result["elapsed_ns"] == 0
    assert not result["trustworthy"]


@pytest.mark.parametrize("scheme", ["tcp", "unix", "tls"])
def test_refused(scheme: str, tmp_path: pathlib.Path) -> None:
    """Where nobody listens there is one line, and no result."""
    url = f"unix:{tmp_path}/none" if scheme == "unix" else f"{scheme}://127.0.0.1:{free_port()}"
    old = tmp_path / "result.json"
    old.write_text("old")
    done = netecho("bench", url, "--json", "-", "--csv", str(old))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert url.encode() in done.stderr
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_datagrams_are_refused() -> None:
    """Where nobody listens for datagrams, a line says so beside the result."""
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    done = netecho("bench", url, "-n", "2", "-w", "100ms", "--json", "-")
    assert done.returncode == 1
    assert json.loads(done.stdout)["exchanges"]["errors"]["refused"]
    [line] = [line for line in done.stderr.decode().splitlines() if line.startswith("netecho: ")]
    assert line.startswith(f"netecho: {url} refused: nothing listens there; start one with: netecho serve")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_never_replies(scheme: str) -> None:
    """An exchange without an echo is lost by its timeout, and that is no success."""
    with serving(ignore, scheme) as url:
        result = bench(url, "-n", "4", "-c", "2", "--timeout", "200ms", status=1, is_answered=False)
    assert result["exchanges"]["sent"] == result["exchanges"]["lost"] == 4
    assert result["exchanges"]["errors"] == {"timeout": 4}
    assert not result["trustworthy"]


def test_connections_that_are_closed_again_and_again() -> None:
    """Our own pauses before a connection is opened anew do not end a run, however short its timeout is."""
    with Server("tcp://127.0.0.1:0", "--close-after", "3") as server:
        result = bench(server.listener.url, "-n", "20", "-w", "40ms", status=1)
    assert result["exchanges"]["sent"] == 20
    assert result["connections"]["reopened"] >= 4
    assert not any("ended after" in caveat for caveat in result["caveats"])


def test_server_that_goes_away() -> None:
    """A run that ends before it has sent as many exchanges as it was to says so, and is not trusted."""

    def answer_once(connection: socket.socket) -> None:
        listener.close()
        connection.sendall(receive_exactly(connection, SIZE))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: answer_once(listener.accept()[0]))
        thread.start()
        result = bench(f"tcp://127.0.0.1:{port}", "-n", "1000", "-w", "200ms", status=1)
        thread.join()
    assert result["exchanges"]["completed"] == 1
    assert any(caveat.startswith("ended after ") for caveat in result["caveats"])
    assert not result["trustworthy"]


@pytest.mark.parametrize("load", ["-q 1k -n 500", "-q 1k -z 500ms", "-c 10 -n 410"])
def test_waiting_for_what_is_lost(load: str) -> None:
    """How long the last exchanges are waited for that are lost is no part of the time that rates go by.

    However slow it all is, the run takes at least those three seconds more.
    """
    is_open = load.startswith("-q")
    answered = itertools.count()

    def answer_some(connection: socket.socket) -> None:
        message, peer = connection.recvfrom(SIZE)
        while message:
            if next(answered) < 400:
                connection.sendto(message, peer)
            message, peer = connection.recvfrom(SIZE)

    with serving(answer_some, "udp") as url:
        begun = time.monotonic_ns()
        result = bench(url, *load.split(), "-w", "3s")
        took = time.monotonic_ns() - begun
    exchanges = result["exchanges"]
    assert (exchanges["completed"], exchanges["errors"]) == (400, {"timeout": 100 if is_open else 10})
    assert result["elapsed_ns"] < took - 3_000_000_000, "which -w alone takes"
    assert result["throughput"]["exchanges_per_s"] == pytest.approx(4e11 / result["elapsed_ns"], abs=0.001)
    assert sum(one["errors"] for one in result["intervals"]) == exchanges["lost"]


def test_numbers_that_are_too_small() -> None:
    """Echoes that come when more have been sent than a byte tells apart make a result not trustworthy."""
    sent, behind = 700, 300

    def answer_late(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        late: collections.deque[tuple[bytes, Any]] = collections.deque()
        for number in range(1, sent + 1):
            late.append(connection.recvfrom(SIZE))
            while late and (len(late) >= behind or number == sent):
                connection.sendto(*late.popleft())

    words = ["-n", str(sent), "--pipeline", str(behind), "-w", "1h", "--size", "1", "--json-stream"]
    with serving(answer_late, "udp") as url, running(url, *words) as process:
        assert process.stdout is not None
        completed = 0
        while completed < sent - 256:  # of the others each was taken for the one that was sent 256 later
            completed += json.loads(process.stdout.readline())["completed"]
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout
        assert process.wait(TIMEOUT) == 130
    result = checked(json.loads(last)["result"])
    assert any("tell 256 exchanges apart" in caveat for caveat in result["caveats"])
    assert not result["trustworthy"]


def test_client_that_stands_still() -> None:
    """Echoes that have come while the client was kept from reading them are no losses of the server's."""
    pause = threading.Event()
    words = ["-c", "200", "-z", "1h", "-w", "1s", "--json-stream"]
    with Server("tcp://127.0.0.1:0") as server, running(server.listener.url, *words) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        pause.wait(1.4)  # longer than an exchange may take
        process.send_signal(signal.SIGCONT)
        for line in itertools.islice(process.stdout, 20):  # one a second
            response = json.loads(line)["response"]
            if response is not None and response["max"] > 1_300_000_000:
                break  # what has come meanwhile was read
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout
        assert process.wait(TIMEOUT) == 130
    result = checked(json.loads(last)["result"])
    assert result["exchanges"]["errors"] == {}
    assert result["latency_ns"]["response"]["max"] > 1_300_000_000


def test_stalls_in_mid_run() -> None:
    """What never comes back ends after its timeout, which is no part of the time that rates go by."""
    reactor: Any = MemoryReactorClock()
    transport: Any = StringTransport()
    plan = BenchPlan(Target(), duration_ns=3 * SECOND // 10, timeout_ns=2 * SECOND)
    route = Route(plan.target, ("127.0.0.1",))
    benchmark = Benchmark(
        reactor, plan, protocols.load("tcp"), route, 1, clock=lambda: round(reactor.seconds() * SECOND)
    )
    run = Deferred.fromCoroutine(benchmark.run())
    transport.protocol = protocol = reactor.tcpClients[0][2].buildProtocol(IPv4Address("TCP", "::1", 8000))
    protocol.makeConnection(transport)
    for _ in range(5):
        sent = transport.value()
        transport.clear()
        reactor.advance(0.01)
        protocol.dataReceived(sent)
    reactor.pump([0.01] * 199)
    assert not run.called
    reactor.pump([0.01] * 50)
    assert run.called
    summary = benchmark.summary("2026-03-01T12:00:00Z", system.describe(reactor))
    assert exit_status(summary, Kind.STREAM) is ExitStatus.FAILED
    result = checked(summary.to_json())
    assert result["exchanges"]["completed"] == 5
    assert result["exchanges"]["errors"] == {"timeout": 1}
    assert 300_000_000 <= result["elapsed_ns"] < 2_000_000_000


def test_defect_in_opening_again() -> None:
    """A defect that shows only when a lost connection is opened again ends the run as any other does."""
    reactor: Any = MemoryReactorClock()
    plan = BenchPlan(Target(), duration_ns=SECOND)
    benchmark = Benchmark(reactor, plan, protocols.load("tcp"), Route(plan.target, ("127.0.0.1",)), 1)
    run = Deferred.fromCoroutine(benchmark.run())
    failures: list[Failure] = []
    run.addErrback(failures.append)

    def connect(transport: Any) -> Any:
        factory = reactor.tcpClients.pop()[2]
        transport.protocol = protocol = factory.buildProtocol(IPv4Address("TCP", "::1", 8000))
        protocol.makeConnection(transport)
        return transport.protocol  # without the endpoint's wrapper by now

    connect(StringTransport()).connectionLost(Failure(ConnectionDone()))
    reactor.pump([0.1] * 5)
    with mock.patch.object(bench_connection, "tell_first_byte", side_effect=ZeroDivisionError):
        connect(StringTransport())
    reactor.pump([0.0] * 3)
    [failure] = failures
    assert failure.check(ZeroDivisionError)


def test_interrupted_among_failures() -> None:
    """Who asks for far more connections than there are files for can end that, before all have failed."""
    reactor: Any = MemoryReactorClock()

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    reactor.connectTCP = refuse
    plan = BenchPlan(Target(), connections=1000)
    route = Route(plan.target, ("127.0.0.1",))
    benchmark = Benchmark(reactor, plan, protocols.load("tcp"), route, 1)
    run = Deferred.fromCoroutine(benchmark.run())
    assert 0 < benchmark.roster.failed < 1000
    benchmark.interrupt()
    reactor.pump([0.0] * 10)
    assert run.called
    summary = benchmark.summary("2026-03-01T12:00:00Z", system.describe(reactor))
    assert summary.interrupted
    assert summary.errors == {"no free file": benchmark.roster.failed}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals) -> None:
    """Ctrl-C in mid-run ends it at once, with the results so far."""
    with serving(echo) as url, running(url, "-c", "2", "--json", "-", "-z", "1h") as process:
        assert process.stderr is not None
        assert b"/s" in process.stderr.readline()
        process.send_signal(number)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert result["exchanges"]["completed"] > 0
    assert result["exchanges"]["errors"] == {}
    assert 0.5e9 < result["elapsed_ns"] < 30e9


def test_interrupted_in_the_warm_up() -> None:
    """There is nothing measured yet: the warm-up stays apart."""
    with serving(echo) as url, running(url, "--warmup", "1h", "--json", "-") as process:
        assert process.stderr is not None
        assert b"warm-up" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["warmup"]["completed"] > 0
    assert result["exchanges"]["sent"] == 0
    assert result["elapsed_ns"] == 0


def test_connections_of_the_warm_up() -> None:
    """What becomes of them stays apart too: that they are lost, opened again, and closed at their age."""
    numbers, fourth = itertools.count(1), threading.Event()

    def talk(connection: socket.socket) -> None:
        number = next(numbers)
        if number == 4:
            fourth.set()
        (close_at_the_sixth if number == 1 else echo)(connection)

    words = ["--warmup", "1h", "--connections-lifetime", "100ms", "--json", "-"]
    with serving(talk) as url, running(url, *words) as process:
        assert fourth.wait(TIMEOUT)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["warmup"]["lost"] == 1
    assert result["connections"] == {
        "requested": 1,
        "opened": 1,
        **dict.fromkeys(["failed", "lost", "reopened", "churned"], 0),
    }


def test_interrupted_while_connecting() -> None:
    """Ctrl-C before all connections are open: none of those that were not opened has failed."""
    words = ["-c", "1000", "--connect-rate", "1", "--json", "-"]
    with serving(echo) as url, running(url, *words) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["connections"]["opened"] in (1, 2)
    assert result["connections"]["failed"] == 0
    assert result["exchanges"]["errors"] == {}


def test_interrupted_at_a_terminal() -> None:
    """There Ctrl-C reaches the server of our own as well, which leaves the end of the run to the bench."""
    with running("--json", "-", "-z", "1h") as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        (child,) = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGINT)
        assert process.stderr.readline()  # for another second all goes on
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["exchanges"]["errors"] == {}
    assert result["connections"]["lost"] == 0


def test_unwritable_file(tmp_path: pathlib.Path) -> None:
    """That a result cannot be saved is found out before anything is sent."""
    connected = threading.Event()
    for flag, path in (("--json", tmp_path), ("--csv", tmp_path / "missing" / "result")):
        with serving(lambda _: connected.set()) as url:
            done = netecho("bench", url, flag, str(path))
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.count(b"\n") == 1
        assert str(path).encode() in done.stderr
    assert not connected.is_set()
    assert list(tmp_path.iterdir()) == []


def test_saved_files(tmp_path: pathlib.Path) -> None:
    """With files for both forms, text goes to standard output and old files are replaced."""
    as_json, as_csv = tmp_path / "result.json", tmp_path / "result.csv"
    as_json.write_text("old")
    with serving(echo) as url:
        done = netecho("bench", url, "-n", "10", "--quiet", "--json", str(as_json), "--csv", str(as_csv))
    assert (done.returncode, done.stderr) == (0, b"")
    assert url.encode() in done.stdout
    result = checked(json.loads(as_json.read_text()))
    all_good(result, 10)
    (row,) = csv.DictReader(io.StringIO(as_csv.read_text()))
    assert tuple(row) == CSV_COLUMNS
    assert row["exchanges.completed"] == "10"
    assert row["plan.target"] == url
    assert int(row["latency_ns.response.p99.9"]) == result["latency_ns"]["response"]["p99.9"]
    assert sorted(tmp_path.iterdir()) == sorted([as_json, as_csv])


def test_a_full_disk_loses_no_result(tmp_path: pathlib.Path) -> None:
    """What cannot be saved after all is shown, and saved where it can be."""
    table = tmp_path / "result.csv"
    with serving(echo) as url:
        done = netecho("bench", url, "-n", "10", "--quiet", "--json", "/dev/full", "--csv", str(table))
        told = netecho("bench", url, "-n", "10", "--quiet", "--json", "/dev/full", "--json-stream")
    for one in (done, told):
        assert one.stderr == b"netecho: --json '/dev/full' cannot be written: no space left on device\n"
        assert one.returncode == 1
    assert b"10 sent, 10 completed" in done.stdout
    (row,) = csv.DictReader(io.StringIO(table.read_text()))
    assert row["exchanges.completed"] == "10"
    all_good(checked(json.loads(told.stdout.splitlines()[-1])["result"]), 10)


@pytest.mark.parametrize("words", [["--json", "-"], ["--csv", "-"], ["--json-stream"], []])
def test_closed_stdout(words: list[str]) -> None:
    """Who reads ten bytes and goes is no reason for a complaint."""
    with serving(echo) as url, running(url, "-n", "10", "--quiet", *words) as process:
        assert process.stdout is not None
        head = subprocess.Popen(["head", "-c", "10"], stdin=process.stdout, stdout=subprocess.PIPE)
        process.stdout.close()
        out, _ = head.communicate(timeout=TIMEOUT)
        assert len(out) == 10
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT) == 0


def test_nobody_reads() -> None:
    """A standard output that is closed from the start, or at once, is no reason for one either."""
    with serving(echo) as url, running(url, "-n", "10", "--quiet", "--json", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT) == 0


def test_json_stream() -> None:
    """Each line is an object: what happens as it happens, and the result at last."""
    with serving(echo) as url:
        done = netecho("bench", url, "-z", "1500ms", "--warmup", "1500ms", "--quiet", "--json-stream")
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"interval"}
    assert {event["phase"] for event in events[:-1]} >= {"warm-up", "measuring"}
    assert events[-1]["event"] == "result"
    result = checked(events[-1]["result"])
    assert told(events) == result["intervals"]


def test_json_stream_of_a_run_that_is_interrupted() -> None:
    """What happened in its last moments is told too; the lines for people are of whole seconds only."""
    after_a_second, heard = threading.Event(), threading.Event()

    def talk(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            connection.sendall(data)
            if after_a_second.is_set():
                heard.set()

    with serving(talk) as url, running(url, "-q", "500", "-z", "1h", "--json-stream") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        after_a_second.set()
        assert heard.wait(TIMEOUT)
        process.send_signal(signal.SIGINT)
        rest, lines = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130
    events = [json.loads(line) for line in (first, *rest.splitlines())]
    result = checked(events.pop()["result"])
    assert told(events) == result["intervals"]
    assert events[-1]["connections_open"] == 1
    assert lines.count(b"errors") == len(events) - 1


def test_csv_on_stdout() -> None:
    """A line of names and a line of values."""
    with serving(echo) as url:
        done = netecho("bench", url, "-n", "10", "--quiet", "--csv", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    header, row = csv.reader(io.StringIO(done.stdout.decode()))
    assert tuple(header) == CSV_COLUMNS
    assert row[header.index("exchanges.sent")] == "10"


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_warm_up(scheme: str) -> None:
    """What is sent in the warm-up reaches the server, and is not in the result but beside it."""
    with Server(f"{scheme}://127.0.0.1:0") as server:
        result = bench(server.listener.url, "--warmup", "300ms", "-n", "500", "-c", "2", "--pipeline", "4")
        received = server.end()["bytes_received"]
    all_good(result, 500, connections=2)
    warmup = result["warmup"]
    assert warmup["completed"] == warmup["sent"] > 0
    assert received == SIZE * (500 + warmup["sent"])


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_exact_count(scheme: str) -> None:
    """So many exchanges as were asked for are sent, by however many connections."""
    with Server(f"{scheme}://127.0.0.1:0") as server:
        url = server.listener.url
        all_good(bench(url, "-n", "1001", "-c", "7", "--pipeline", "3"), 1001, connections=7)
        all_good(bench(url, "-n", "2", "-c", "5"), 2, connections=5)
        assert server.end()["bytes_received"] == SIZE * 1003


def test_connect_rate() -> None:
    """Connections are opened one after another, no faster than asked for."""
    times = []

    def note(connection: socket.socket) -> None:
        times.append(time.monotonic())
        echo(connection)

    with serving(note) as url:
        all_good(bench(url, "-c", "6", "--connect-rate", "20", "-n", "6"), 6, connections=6)
    assert max(times) - min(times) > 0.2  # five pauses of 50 ms, for less than all of which we may be late


def test_pipeline() -> None:
    """Each connection has that many messages in flight: a server that waits for four gets them."""

    def by_four(connection: socket.socket) -> None:
        while messages := receive_exactly(connection, 4 * SIZE):
            connection.sendall(messages)

    with serving(by_four) as url:
        all_good(bench(url, "-n", "40", "-c", "2", "--pipeline", "4"), 40, connections=2)


@pytest.mark.parametrize("pipeline", [1, 4])
def test_empty_datagrams(pipeline: int) -> None:
    """Datagrams with nothing in them, not even a number, are each counted once."""
    with Server("udp://127.0.0.1:0") as server:
        result = bench(server.listener.url, "-n", "40", "--size", "0", "--pipeline", str(pipeline))
    all_good(result, 40, 0)
    assert any("no number" in caveat for caveat in result["caveats"])


def test_datagrams_doubled_and_overtaken() -> None:
    """Duplicates and reordering are counted, and cost nothing."""

    def disorder(listener: socket.socket) -> None:
        while True:
            first, address = listener.recvfrom(65_536)
            second, _ = listener.recvfrom(65_536)
            if address is None:  # shut down
                return
            for message in (second, first, first):
                listener.sendto(message, address)

    with serving(disorder, "udp") as url:
        result = bench(url, "-n", "40", "--pipeline", "2")
    counts = result["exchanges"]
    assert (counts["completed"], counts["lost"], counts["corrupted"]) == (40, 0, 0)
    assert counts["reordered"] == 20
    assert 19 <= counts["duplicated"] <= 20  # the last may come when all is over


@pytest.mark.parametrize("words", ["-n 2000", "--mode connect -n 400"])
def test_more_connections_than_descriptors(words: str, tmp_path: pathlib.Path) -> None:
    """What there is no descriptor for is told so, as the client's doing; and the result can be saved."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    saved = tmp_path / "result.json"
    flags = [*words.split(), "-c", "200", "--quiet", "--json", str(saved)]
    with (
        Server("tcp://127.0.0.1:0") as server,
        running(server.listener.url, *flags, preexec_fn=limit) as process,
    ):
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (1, b"")
    result = checked(json.loads(saved.read_text()))
    failed = result["exchanges"]["errors"]["no free file"]
    assert result["exchanges"]["errors"] == {"no free file": failed}
    assert not result["trustworthy"]
    says = f"{failed} connections could not be opened as this client has too many open files"
    assert any(caveat.startswith(says) for caveat in result["caveats"])
    assert says.encode() in b" ".join(out.split())


def test_more_connections_than_select_can_watch() -> None:
    """A reactor that waits with `select` has no more descriptors than that knows of, whatever the limit."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 1100:
        pytest.skip("no more open files are allowed than select knows of")
    words = ("--reactor", "select", "-c", "1100", "-n", "1100", "--quiet", "--json", "-")
    with Server("tcp://127.0.0.1:0") as server, running(server.listener.url, *words) as process:
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (1, b"")
    result = checked(json.loads(out))
    failed = result["connections"]["failed"]
    assert 1100 - 1024 < failed < 200
    assert result["exchanges"]["errors"] == {"no free file": failed}
    assert result["connections"]["lost"] == 0


def test_few_descriptors() -> None:
    """A low soft limit of open files is raised, here and in the server of our own."""

    def limit() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    with running("-c", "200", "-n", "2000", "--quiet", "--json", "-", preexec_fn=limit) as process:
        out, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (0, b"")
    all_good(checked(json.loads(out)), 2000, connections=200)
