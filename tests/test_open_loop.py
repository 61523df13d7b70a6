"""`netecho bench -q`: everything leaves when it is due, or is held back and counted, whatever comes back."""

from __future__ import annotations

import collections
import json
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from netecho import protocols
from netecho.errors import NoReflectorError
from netecho.measure.pacing import Agenda, lanes_of
from netecho.plans import MILLISECOND, SECOND, Arrival, BenchPlan, Target
from netecho.protocols._contract import Route
from netecho.services import system
from netecho.services.benchmark import Benchmark
from tests.benches import SIZE, all_good, bench, checked, echo, ignore, running, serving
from tests.servers import TIMEOUT, Server, mistaken, netecho, receive_exactly


@pytest.mark.parametrize("scheme", ["tcp", "tls", "udp", "unix"])
def test_a_rate_for_a_time(scheme: str, tmp_path: Any) -> None:
    """200 a second for 2 seconds are 400, on any protocol."""
    url = f"unix:{tmp_path}/echo" if scheme == "unix" else f"{scheme}://localhost:0"
    with Server(url) as server:
        trust = ["--cacert", server.listener.ca] if server.listener.ca else []
        result = bench(server.listener.url, "-q", "200", "-z", "2s", "-c", "3", *trust)
    all_good(result, 400, connections=3)
    assert result["plan"]["model"] == "open"
    assert result["plan"]["rate_per_s"] == 200
    assert result["instrument"]["due"] == 400
    assert result["instrument"]["asked_rate_per_s"] == 200
    assert not any("closed loop" in caveat for caveat in result["caveats"])
    if sys.platform == "linux":
        assert 0 <= result["instrument"]["steal_share"] <= 1


@pytest.mark.parametrize(
    ("words", "exchanges"),
    [
        ("-q 1k -n 300", 300),
        ("-q 1k -n 300 -z 1h", 300),
        ("-q 500 -n 1M -z 500ms", 250),
        ("--rate-per-connection 100 -c 4 -z 1s", 400),
        ("--rate-per-connection 100 -c 4 -n 50", 50),
        ("--rate-per-connection 100 -c 4 -n 50 --arrival poisson", 50),
        ("-q 300 --arrival uniform -z 1s", 300),
        ("--stages 500ms:400,500ms:0", 200),
        ("-q 400 --stages 500ms:400", 200),
    ],
)
def test_schedules(words: str, exchanges: int) -> None:
    """A schedule has exactly the exchanges that its rate and its end say."""
    connections = int(words.partition("-c ")[2].split()[0]) if "-c " in words else 1
    with Server("udp://127.0.0.1:0") as server:
        all_good(bench(server.listener.url, *words.split()), exchanges, connections=connections)
        assert server.end()["bytes_received"] == SIZE * exchanges


def test_random_arrivals() -> None:
    """A Poisson process has as many arrivals as its seed gives it, again and again."""
    plan = BenchPlan(Target(), rate=500.0, duration_ns=SECOND, arrival=Arrival.POISSON, seed=5)
    expected = len(Agenda(lanes_of(plan)).due_until(SECOND))
    words = ["-q", "500", "-z", "1s", "--arrival", "poisson", "--seed", "5"]
    with Server("udp://127.0.0.1:0") as server:
        for _ in range(2):
            all_good(bench(server.listener.url, *words), expected)


@pytest.mark.parametrize("count", [40, 100])
def test_warm_up(count: int) -> None:
    """The warm-up is at the rate too, and counted apart, however many there are in it."""
    with Server("udp://127.0.0.1:0") as server:
        result = bench(server.listener.url, "-q", "200", "--warmup", "500ms", "-n", str(count))
    all_good(result, count)
    assert result["warmup"]["sent"] == result["warmup"]["completed"] == 100


def test_a_server_that_stands_still() -> None:
    """What was due while it did waited in vain for that long, and the response time has it.

    It does for a second, at the 500th of 1500 messages at 500/s over one connection, as in a pause for
    garbage collection. One exchange is in it; all others were not even sent.
    """

    def stand_still(connection: socket.socket) -> None:
        for _ in range(499):
            connection.sendall(receive_exactly(connection, SIZE))
        message = receive_exactly(connection, SIZE)
        threading.Event().wait(1)  # how long it stands still is what is tested
        connection.sendall(message)
        echo(connection)

    with serving(stand_still) as url:
        result = bench(url, "-q", "500", "-z", "3s")
    response, service = (result["latency_ns"][name] for name in ("response", "service"))
    all_good(result, 1500)
    assert response["p90"] > 400 * MILLISECOND  # of 1500, 500 waited for half a second on average
    assert response["max"] >= service["max"] > 900 * MILLISECOND
    assert service["p99"] < response["p99"] / 2
    assert result["instrument"]["held_back"] > 300
    assert result["instrument"]["longest_hold_ns"] > 900 * MILLISECOND
    assert any("service time alone hides that" in caveat for caveat in result["caveats"])


def test_a_client_that_stands_still() -> None:
    """That is not put down to the server: what it held back when it went on, it was late for itself."""
    started: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def stop_the_client(connection: socket.socket) -> None:
        client = started.get()
        for _ in range(499):
            connection.sendall(receive_exactly(connection, SIZE))
        message = receive_exactly(connection, SIZE)
        client.send_signal(signal.SIGSTOP)
        threading.Event().wait(1)  # how long it stands still is what is tested
        client.send_signal(signal.SIGCONT)
        connection.sendall(message)
        echo(connection)

    with serving(stop_the_client) as url, running(url, "-q", "500", "-z", "3s", "--json", "-") as process:
        started.put(process)
        out, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0
    result = checked(json.loads(out))
    all_good(result, 1500)
    assert result["instrument"]["lateness_ns"]["p90"] > 400 * MILLISECOND
    assert not result["trustworthy"]
    assert any("the client did not keep to its schedule" in caveat for caveat in result["caveats"])


def test_held_back() -> None:
    """What waits for the only connection leaves late by no fault of ours, in order, and is counted."""
    wait = threading.Event()

    def slow_at_first(connection: socket.socket) -> None:
        message = receive_exactly(connection, SIZE)
        wait.wait(0.5)
        connection.sendall(message)
        echo(connection)

    with serving(slow_at_first) as url:
        result = bench(url, "-q", "1k", "-n", "50")
    all_good(result, 50)
    instrument, response = result["instrument"], result["latency_ns"]["response"]
    assert (instrument["due"], instrument["held_back"], instrument["unsent"]) == (50, 49, 0)
    assert instrument["lateness_ns"]["count"] == 50
    assert instrument["longest_hold_ns"] > 490 * MILLISECOND
    assert response["min"] > 450 * MILLISECOND
    assert result["latency_ns"]["service"]["min"] < response["min"]
    assert any("found no connection free" in caveat for caveat in result["caveats"])


def test_pipeline() -> None:
    """A connection carries as many as it may before anything is held back."""

    def by_ten(connection: socket.socket) -> None:
        while messages := receive_exactly(connection, 10 * SIZE):
            connection.sendall(messages)

    with serving(by_ten) as url:
        result = bench(url, "-q", "1k", "-n", "100", "--pipeline", "10")
    all_good(result, 100)


def test_never_left() -> None:
    """What waits when nothing is left to carry it is in no count of exchanges."""
    with serving(ignore) as url:
        words = ["-q", "100", "-z", "1h", "-w", "300ms", "--no-reconnect"]
        result = bench(url, *words, status=1, is_answered=False)
    counts, instrument = result["exchanges"], result["instrument"]
    assert (counts["sent"], counts["lost"], counts["errors"]) == (1, 1, {"timeout": 1})
    assert instrument["unsent"] == instrument["held_back"] == instrument["due"] - 1 > 0
    assert any("never left" in caveat for caveat in result["caveats"])
    assert not result["trustworthy"]


def test_waits_for_what_waits() -> None:
    """What is held back when the time is over still leaves."""

    def slow(connection: socket.socket) -> None:
        first = True
        while message := receive_exactly(connection, SIZE):
            threading.Event().wait(0.5 * first)
            first = False
            connection.sendall(message)

    with serving(slow) as url:
        result = bench(url, "-q", "200", "-z", "100ms")
    all_good(result, 20)
    assert result["instrument"]["held_back"] == 19
    assert result["instrument"]["took_ns"] > result["instrument"]["planned_ns"] == 100 * MILLISECOND


def test_a_connection_that_is_lost() -> None:
    """What is due while it is opened again is held back; nothing is lost but what was on its way."""

    def close_at_the_sixth(connection: socket.socket) -> None:
        for _ in range(5):
            connection.sendall(receive_exactly(connection, SIZE))
        receive_exactly(connection, SIZE)

    with serving(close_at_the_sixth) as url:
        result = bench(url, "-q", "500", "-n", "30", status=1)
    assert (result["exchanges"]["sent"], result["exchanges"]["completed"]) == (30, 25)
    assert result["exchanges"]["errors"] == {"closed": 5}
    assert result["connections"]["reopened"] == 4
    assert result["instrument"]["held_back"] > 0
    assert result["instrument"]["unsent"] == 0


def test_datagrams_wait_for_nothing() -> None:
    """With no echo at all every one leaves, and is lost by its timeout."""
    with serving(ignore, "udp") as url:
        result = bench(url, "-q", "1k", "-n", "200", "-w", "300ms", status=1, is_answered=False)
    assert result["exchanges"]["sent"] == result["exchanges"]["lost"] == 200
    assert result["instrument"]["held_back"] == 0


def test_max_in_flight() -> None:
    """Beyond it datagrams are held back, until others have come or been given up."""
    with serving(ignore, "udp") as url:
        words = ["-q", "1k", "-n", "30", "-w", "500ms", "--max-in-flight", "10"]
        result = bench(url, *words, status=1, is_answered=False)
    assert result["exchanges"]["sent"] == result["exchanges"]["lost"] == 30
    assert result["instrument"]["held_back"] == 20


HELD_BACK = b"--max-in-flight is for datagrams at a rate: add -q/--rate, on --proto stamp or udp\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("udp://127.0.0.1:1", "--max-in-flight", "10"), HELD_BACK),
        (("tcp://127.0.0.1:1", "-q", "5", "--max-in-flight", "10"), HELD_BACK),
        (
            ("udp://127.0.0.1:1", "-q", "5", "--pipeline", "2"),
            b"--pipeline is of no use with datagrams at a rate",
        ),
        (("tcp://127.0.0.1:1", "-q", "5", "--seed", "7"), b"--seed draws random arrivals: add --arrival"),
    ],
)
def test_no_effect(words: tuple[str, ...], says: bytes) -> None:
    """What would have no effect is refused."""
    refused = mistaken("bench", *words)
    assert refused.returncode == 2
    assert says in refused.stderr


def test_equal_shares() -> None:
    """Sockets for datagrams take turns, whenever their echoes come."""
    counted: collections.Counter[tuple[str, int]] = collections.Counter()

    def count(port: socket.socket) -> None:
        while (received := port.recvfrom(SIZE))[0]:
            message, peer = received
            counted[peer] += 1
            port.sendto(message, peer)

    with serving(count, "udp") as url:
        all_good(bench(url, "-q", "300", "-n", "90", "-c", "3"), 90, connections=3)
    assert sorted(counted.values()) == [30, 30, 30]


def test_interrupted() -> None:
    """Ctrl-C ends it at once, and what was due by then adds up."""
    with serving(echo) as url, running(url, "-q", "200", "-z", "1h", "--json", "-") as process:
        assert process.stderr is not None
        assert b"/s" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert result["instrument"]["planned_ns"] <= result["elapsed_ns"]
    assert result["exchanges"]["completed"] > 100


@pytest.mark.parametrize("interrupts", [True, False])
def test_more_than_can_be_sent(interrupts: bool) -> None:
    """What is left of a rate that nobody keeps up with is taken little by little, and can be interrupted."""
    reactor: Any = MemoryReactorClock()
    transport: Any = StringTransport()
    plan = BenchPlan(Target(), rate=10_000.0, duration_ns=SECOND, timeout_ns=2 * SECOND)
    route = Route(plan.target, ("127.0.0.1",))
    benchmark = Benchmark(
        reactor, plan, protocols.load("tcp"), route, 1, clock=lambda: round(reactor.seconds() * SECOND)
    )
    run = Deferred.fromCoroutine(benchmark.run())
    transport.protocol = protocol = reactor.tcpClients[0][2].buildProtocol(IPv4Address("TCP", "::1", 8000))
    protocol.makeConnection(transport)
    if interrupts:
        reactor.callLater(1.0, benchmark.interrupt)
    reactor.pump([1.0, *[0.1] * 80])  # the client stood still for all of its schedule
    assert run.called
    result = benchmark.summary("2026-03-01T12:00:00Z", system.describe(reactor)).to_json()
    due = result["instrument"]["due"]
    assert 0 < due < 1000 if interrupts else due == 10_000
    assert result["interrupted"] is interrupts
    assert result["exchanges"]["sent"] == 1


def test_a_run_that_fails_is_over() -> None:
    """Nothing becomes due any more for a run that has failed: another may follow it, as in --find-max."""
    reactor: Any = MemoryReactorClock()
    plan = BenchPlan(Target(), rate=1000.0, duration_ns=SECOND)
    route = Route(plan.target, ("127.0.0.1",))
    benchmark = Benchmark(
        reactor, plan, protocols.load("tcp"), route, 1, clock=lambda: round(reactor.seconds() * SECOND)
    )
    run = Deferred.fromCoroutine(benchmark.run())
    transport: Any = StringTransport()
    transport.protocol = protocol = reactor.tcpClients[0][2].buildProtocol(IPv4Address("TCP", "::1", 8000))
    protocol.makeConnection(transport)
    reactor.advance(0.01)
    benchmark.fail(Failure(NoReflectorError("it only echoes")))
    reactor.pump([0.0] * 3)
    failure: list[Any] = []
    run.addErrback(failure.append)
    assert failure[0].check(NoReflectorError)
    kept = benchmark.part().sending
    reactor.pump([0.01] * 10)
    assert benchmark.part().sending == kept


def test_shown() -> None:
    """A person reads both times, what was due and held back, and how late the client was."""
    with serving(echo) as url:
        text = netecho("bench", url, "-q", "200", "-n", "100").stdout.decode()
    assert f"{url}\nopen loop at 200/s, 1 connection" in text
    assert re.search(r"schedule +100 due at 200.0/s, left at ", text)
    assert re.search(r"lateness +p50 [^,]+, p99 [^,]+, max ", text)
    assert re.search(r"latency +response +service +connect", text)


def corrupt(connection: socket.socket) -> None:
    """Change a bit in every echo."""
    while message := receive_exactly(connection, SIZE):
        connection.sendall(bytes([message[0] ^ 1]) + message[1:])


def close_after_five(connection: socket.socket) -> None:
    """Answer five messages and close."""
    for _ in range(5):
        connection.sendall(receive_exactly(connection, SIZE))


@pytest.mark.parametrize(
    ("talk", "objectives", "passed", "status"),
    [
        (echo, ["p(99)<1h", "errors==0", "rate>1"], [True, True, True], 0),
        (echo, ["p(99)<1h", "p(50)<1ns"], [True, False], 99),
        (echo, ["handshake.max<1h"], [False], 99),
        (corrupt, ["corrupted==0"], [False], 3),
        (close_after_five, ["errors==0"], [False], 99),
        (close_after_five, ["errors<100"], [True], 1),
    ],
)
def test_objectives(talk: Any, objectives: list[str], passed: list[bool], status: int) -> None:
    """Each is judged and shown; one that is missed has its own exit status, unless worse has happened."""
    words = [word for objective in objectives for word in ("--slo", objective)]
    with serving(talk) as url:
        result = bench(url, "-n", "10", *words, status=status)
        shown = netecho("bench", url, "-n", "10", *words)
    assert [one["expression"] for one in result["slo"]] == objectives
    assert [one["passed"] for one in result["slo"]] == passed
    assert shown.returncode == status
    text = " ".join(shown.stdout.decode().split())
    for objective, met in zip(objectives, passed, strict=True):
        assert re.search(
            rf"{'✔' if met else '✘'} {re.escape(objective)}: .*, {'met' if met else 'missed'}", text
        )


def test_a_bad_objective() -> None:
    """It is found before anything is sent."""
    connected = threading.Event()
    with serving(lambda _: connected.set()) as url:
        done = netecho("bench", url, "--slo", "p(99)<fast")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"p(99)<fast" in done.stderr
    assert not connected.is_set()


@pytest.mark.parametrize("words", [["-z", "1h"], ["-z", "1h", "-q", "100"]])
def test_abort_on_fail(words: list[str]) -> None:
    """A run that cannot meet an objective any more ends, however long it was to be."""
    begun = time.monotonic()
    with serving(close_after_five) as url:
        result = bench(url, *words, "--slo", "errors==0", "--abort-on-fail", status=99)
    assert time.monotonic() - begun < TIMEOUT
    assert not result["interrupted"]
    assert result["slo"][0]["passed"] is False
    assert any("--abort-on-fail" in caveat and "errors==0" in caveat for caveat in result["caveats"])
