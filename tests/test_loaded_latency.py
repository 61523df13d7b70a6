"""`bench --loaded-latency`: probes that are made, counted and added up, alone and beside a load."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho.measure.responsiveness import Probed
from netecho.plans import SECOND, Target
from netecho.protocols._contract import Kind, Route
from netecho.services.foreign_probes import LARGEST, ForeignProbes
from netecho.services.loaded_latency import IDLE_NS, idle_ns
from tests.benches import bench, checked, echo, running, serving
from tests.servers import mistaken, netecho


def test_alone_and_beside_a_load() -> None:
    """Every probe has an echo, and all that the result says comes of those."""
    with serving(echo) as url:
        result = bench(url, "-c", "2", "-q", "200", "-z", "1500ms", "--loaded-latency")
        latency = result["loaded_latency"]
        for side in ("idle", "loaded"):
            assert latency[side]["completed"] > 0
            assert latency[side]["lost"] == 0
            assert set(latency[side]["latency_ns"]) == {"connect", "echo"}
            counts = {one["count"] for one in latency[side]["latency_ns"].values()}
            assert counts == {latency[side]["completed"]}
        assert latency["ratio"] > 0
        both = latency["foreign_rpm"] + latency["loaded_rpm"]
        assert latency["responsiveness_rpm"] == pytest.approx(both / 2, abs=0.002)  # each is rounded
        assert set(latency["trimmed_mean_ns"]) == {"connect", "echo", "load"}
        assert result["plan"]["workers"] == 1


def test_load_that_is_too_short() -> None:
    """Where no probe came to stand beside it there is no ratio, and the result says why."""
    with serving(echo) as url:
        result = bench(url, "-c", "2", "-q", "200", "-z", "500ms", "--loaded-latency")
    assert result["loaded_latency"]["ratio"] is None
    [caveat] = [one for one in result["caveats"] if "under load is not known" in one]
    assert caveat.endswith("measure for longer (-z)")
    assert result["trustworthy"] or len(result["caveats"]) > 1  # it is nothing to be distrusted for


def test_it_is_shown() -> None:
    """First that it is idle; in the end what came of it."""
    done = netecho("bench", "--tls", "-c", "2", "-z", "1200ms", "--loaded-latency")
    assert done.returncode == 0
    assert done.stderr.startswith(b"idle\n")
    text = done.stdout.decode()
    for words in ("handshake p50", "echo p90", "times as long at p50", "round trips a minute"):
        assert words in text


def test_interrupted_before_the_load() -> None:
    """The probes so far are in the result, which has nothing else."""
    with serving(echo) as url, running(url, "-z", "1h", "--loaded-latency", "--json", "-") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"idle\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
        assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert result["exchanges"]["sent"] == 0
    assert result["loaded_latency"]["responsiveness_rpm"] is None


def test_nobody_listens() -> None:
    """It is an error, as ever."""
    done = netecho("bench", "127.0.0.1", "1", "-z", "100ms", "--loaded-latency", "--quiet")
    assert done.returncode == 1
    assert b"refused" in done.stderr


def test_connections_alone() -> None:
    """Where nothing is exchanged there is no latency to look at."""
    done = mistaken("bench", "127.0.0.1", "1", "--loaded-latency", "--mode", "connect")
    assert done.returncode == 2
    assert done.stderr == b"netecho: --loaded-latency is of exchanges: it does not go with --mode\n"


def test_how_long_it_is_idle() -> None:
    """Half of the load's time, but not for ever."""
    assert idle_ns(None) == IDLE_NS
    assert idle_ns(3 * SECOND) == 3 * SECOND // 2
    assert idle_ns(3600 * SECOND) == IDLE_NS


class Path:
    """An adapter whose connections do as a test has it, on a clock turned by hand."""

    kind = Kind.STREAM
    is_text = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.answer: bytes | None = None
        """What comes back in place of what was sent."""
        self.delay = 0.25
        self.connects = True
        self.refuses = False
        self.open = 0
        self.sizes: set[int] = set()
        """Of what was sent."""
        self.on_lost: Any = None

    def connect(
        self, _: Any, __: Route, on_reply: Any, on_lost: Any, on_connected: Any = None
    ) -> Deferred[Any]:
        """Connect at once, or not at all."""
        if self.refuses:
            return fail(ConnectionRefusedError())
        if self.connects:
            on_connected()
        self.open += 1
        self._on_reply, self.on_lost = on_reply, on_lost
        return succeed(self)

    def send(self, sequence: int, payload: bytes) -> None:
        """Answer after the delay."""
        self.sizes.add(len(payload))
        self._clock.callLater(self.delay, self._on_reply, sequence, self.answer or payload)

    def close(self) -> None:
        """Count the connections that are closed."""
        self.open -= 1


def probe(path: Path, clock: Clock, seconds: list[float], scheme: str = "tcp", size: int = 64) -> Probed:
    """Probe once a second, for as long as these steps take."""
    route: Any = Route(Target(scheme, secure=scheme == "tls"), (), timeout=2.0)
    adapter: Any = path
    probes = ForeignProbes(clock, adapter, route, size, lambda: round(clock.seconds() * SECOND))
    probes.start(SECOND)
    clock.pump(seconds)
    return probes.stop()


def test_each_has_a_connection_of_its_own() -> None:
    """Which is closed when the echo has come; the one that is under way at the end is left out."""
    clock = Clock()
    path = Path(clock)
    probed = probe(path, clock, [0.25, 0.75, 0.25, 0.75])
    assert (probed.sent, probed.completed, path.open) == (2, 2, 0)
    assert probed.times["echo"].maximum == SECOND // 4
    assert probed.times["connect"].maximum == 0
    assert "handshake" not in probed.times


def test_probes_are_no_load_themselves() -> None:
    """However large the messages of the load are, theirs are small: else no path would be idle with them."""
    clock = Clock()
    path = Path(clock)
    assert probe(path, clock, [0.25], size=1 << 20).completed == 1
    assert path.sizes == {LARGEST}
    assert probe(path, clock, [0.25], size=7).completed == 1
    assert path.sizes == {LARGEST, 7}


def test_a_handshake_is_timed_if_there_is_one() -> None:
    """And where nothing is connected, as for datagrams, that is not."""
    clock = Clock()
    path = Path(clock)
    assert set(probe(path, clock, [0.25], "tls").times) == {"connect", "handshake", "echo"}
    path.connects = False
    assert set(probe(path, clock, [0.25], "udp").times) == {"echo"}


def test_what_fails_is_lost() -> None:
    """Refused, lost, late or changed: none of them is an echo, and none is left open."""
    clock = Clock()
    path = Path(clock)
    path.refuses = True
    assert probe(path, clock, [0.5]).lost == 1
    path.refuses, path.delay = False, 9.0
    assert probe(path, clock, [1.0, 1.0]).lost == 1  # of three, two are under way
    path.delay, path.answer = 0.25, b"another"
    assert probe(path, clock, [0.25, 0.25]).lost == 1
    path.delay = 9.0
    route: Any = Route(Target(), (), timeout=2.0)
    adapter: Any = path
    probes = ForeignProbes(clock, adapter, route, 64)
    probes.start(SECOND)
    path.on_lost(Failure(ConnectionLost()))
    path.on_lost(Failure(ConnectionLost()))
    assert probes.stop() == Probed(1, 0, {})
    assert path.open == 0
