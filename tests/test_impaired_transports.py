"""Between a transport and an impaired server's protocol: in memory, by a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netecho.impairment import Delay, Impairment
from netecho.plans import ReplyMode
from netecho.protocols import _impaired_datagrams, _impaired_stream
from netecho.protocols._impaired_datagrams import COST, FULL, PATIENCE, ImpairedPort
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._stream_listener import to_listen_with
from netecho.protocols._stream_replies import CHARGEN_PATTERN, reply_factory
from netecho.protocols.udp import ReplyDatagrams

MS = 1_000_000
ONE, OTHER = ("192.0.2.1", 5000), ("192.0.2.2", 5000)


class Wire(StringTransport):
    """A stream's transport in memory that keeps the order of what it is asked."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.done.append(data)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's
        """Do nothing."""

    def fileno(self) -> int:
        """Return that there is none."""
        return -1

    def loseConnection(self) -> None:
        """Keep it."""
        self.done.append("close")

    def loseWriteConnection(self) -> None:
        """Keep it."""
        self.done.append("half-close")

    def abortConnection(self) -> None:
        """Keep it."""
        self.done.append("abort")


class Stream:
    """One connection of an impaired server."""

    def __init__(self, impairment: Impairment, reply: ReplyMode = ReplyMode.ECHO) -> None:
        self.clock = Clock()
        self.totals = Totals()
        settings = ListenSettings(self.totals, reply, impairment=impairment)
        self.books = reply_factory(self.clock, settings)
        self.connection = to_listen_with(self.books).buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
        self.wire = Wire()
        self.connection.makeConnection(self.wire)

    def receive(self, *pieces: bytes) -> None:
        """Have these come, each by itself."""
        for piece in pieces:
            self.connection.dataReceived(piece)


def test_order_is_kept() -> None:
    """Whatever delay each has, nothing overtakes anything, and nobody waits for less than is due."""
    stream = Stream(Impairment(Delay(100 * MS, 100 * MS, 0.5)))
    sent = [b"%d" % number for number in range(200)]
    for piece in sent:
        stream.receive(piece)
        stream.clock.advance(0.01)
    assert 0 < len(stream.wire.done) < 200
    stream.clock.pump([0.01] * 20)
    assert stream.wire.done == sent
    assert 60 < stream.totals.impaired["delayed"] < 140


def test_a_delay_is_one() -> None:
    """An answer leaves when its delay is over, and not before."""
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"1")
    stream.clock.advance(0.0999)
    assert stream.wire.done == []
    stream.receive(b"2")
    stream.clock.advance(0.0001)
    assert stream.wire.done == [b"1"]
    stream.clock.advance(0.0999)
    assert stream.wire.done == [b"1", b"2"]


def test_the_end_comes_last() -> None:
    """A peer that half-closes gets what is held before it gets the end."""
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"1")
    stream.connection.readConnectionLost()
    assert stream.wire.done == []
    stream.clock.advance(0.1)
    assert stream.wire.done == [b"1", "close"]


def test_a_drain_waits() -> None:
    """What is held when a server ends still leaves."""
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"1")
    stream.books.drain()
    assert stream.wire.done == []
    stream.clock.advance(0.1)
    assert stream.wire.done == [b"1", "half-close"]


def test_an_abort_does_not() -> None:
    """A connection that is cut is cut at once, and what was held is forgotten."""
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"1")
    [connection] = stream.books.connections
    connection.cut()
    stream.connection.connectionLost(Failure(ConnectionDone()))
    stream.clock.advance(1)
    assert stream.wire.done == ["abort"]
    assert not stream.clock.getDelayedCalls()


def test_back_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends more than may be held is not read from until some of that has left."""
    monkeypatch.setattr(_impaired_stream, "MOST_HELD", 1000)
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"x" * (1000 - _impaired_stream.COST))
    assert stream.wire.producerState == "producing"
    stream.receive(b"x")
    assert stream.wire.producerState == "paused"
    stream.clock.advance(0.1)
    assert stream.wire.producerState == "producing"


def test_back_pressure_of_tiny_messages() -> None:
    """Bytes that come one by one take more memory than their own, which counts too."""
    stream = Stream(Impairment(Delay(100 * MS)))
    most = _impaired_stream.MOST_HELD // _impaired_stream.COST
    for _ in range(most):
        stream.receive(b"x")
    assert stream.wire.producerState == "paused"
    stream.clock.advance(0.1)
    assert stream.wire.producerState == "producing"
    assert stream.wire.done == [b"x"] * most


def test_back_pressure_from_beneath() -> None:
    """While the transport takes no more, what is due is held, and the peer not read from."""
    stream = Stream(Impairment(Delay(100 * MS)))
    stream.receive(b"1")
    valve: Any = stream.wire.producer
    valve.pauseProducing()
    assert stream.wire.producerState == "paused"
    stream.clock.advance(0.2)
    assert stream.wire.done == []
    valve.resumeProducing()
    stream.clock.advance(0)
    assert stream.wire.done == [b"1"]
    assert stream.wire.producerState == "producing"


def test_chargen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked for more is asked as long as there is room, and no longer."""
    monkeypatch.setattr(_impaired_stream, "MOST_HELD", 3 * (len(CHARGEN_PATTERN) + _impaired_stream.COST))
    stream = Stream(Impairment(Delay(100 * MS)), ReplyMode.CHARGEN)
    stream.clock.pump([0.0] * 20)
    [connection] = stream.books.connections
    assert connection.sent == 4 * len(CHARGEN_PATTERN)
    stream.clock.pump([0.1] + [0.0] * 20)
    assert stream.wire.done == [CHARGEN_PATTERN] * 4
    assert connection.sent == 8 * len(CHARGEN_PATTERN)


def test_truncation() -> None:
    """An answer is cut short, nothing comes after it, and the connection ends in order."""
    stream = Stream(Impairment(truncate=1.0))
    stream.receive(b"x" * 1000, b"y")
    stream.clock.advance(0)
    [part, end] = stream.wire.done
    assert (b"x" * 1000).startswith(part)
    assert len(part) < 1000
    assert end == "half-close"
    assert stream.totals.impaired == {"truncated": 1}


def test_close_after() -> None:
    """So many answers are given, then the connection ends in order."""
    stream = Stream(Impairment(Delay(100 * MS), close_after=2))
    stream.receive(b"1", b"2", b"3")
    stream.clock.advance(0.1)
    assert stream.wire.done == [b"1", b"2", "half-close"]
    assert stream.totals.impaired == {"delayed": 2, "closed": 1}


class Port:
    """A datagram transport that keeps what is written, and when."""

    maxThroughput = 1000  # noqa: N815 - Twisted's
    refusal: OSError | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.written: list[tuple[bytes, Any]] = []
        self.times: list[float] = []

    def write(self, datagram: bytes, address: Any) -> None:
        """Keep it."""
        if self.refusal is not None:
            raise self.refusal
        self.written.append((datagram, address))
        self.times.append(self._clock.seconds())


class Datagrams:
    """An impaired server's port."""

    def __init__(self, impairment: Impairment) -> None:
        self.clock = Clock()
        self.totals = Totals()
        settings = ListenSettings(self.totals, impairment=impairment)
        self.impaired = ImpairedPort(
            self.clock, ReplyDatagrams(self.clock, settings), impairment, self.totals
        )
        self.port = Port(self.clock)
        transport: Any = self.port
        self.impaired.makeConnection(transport)

    def receive(self, *datagrams: bytes, source: tuple[str, int] = ONE) -> None:
        """Have these come."""
        for datagram in datagrams:
            self.impaired.datagramReceived(datagram, source)

    @property
    def left(self) -> list[bytes]:
        """What has left, in order."""
        return [datagram for datagram, _ in self.port.written]


def test_datagrams_come_one_by_one() -> None:
    """No reactor gives an impaired port batches of datagrams, whose answers would go past it."""
    assert not hasattr(Datagrams(Impairment(loss=1.0)).impaired, "datagramsReceived")


def test_loss() -> None:
    """What is lost does not leave, and is counted."""
    datagrams = Datagrams(Impairment(loss=1.0))
    datagrams.receive(b"1", b"2")
    assert datagrams.left == []
    assert (datagrams.totals.datagrams_sent, datagrams.totals.impaired) == (2, {"lost": 2})


def test_duplicates() -> None:
    """What is doubled leaves twice."""
    datagrams = Datagrams(Impairment(duplicate=1.0))
    datagrams.receive(b"1", b"2")
    assert datagrams.left == [b"1", b"1", b"2", b"2"]
    assert datagrams.totals.impaired == {"duplicated": 2}


def test_loops_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is doubled and comes back is not doubled again, while it is among the last that were."""
    monkeypatch.setattr(_impaired_datagrams, "REMEMBERED", 2)
    datagrams = Datagrams(Impairment(duplicate=1.0))
    datagrams.receive(b"1", b"1")
    datagrams.receive(b"1", source=OTHER)
    datagrams.receive(b"2", b"1")
    assert [datagrams.left.count(b"1"), datagrams.left.count(b"2")] == [2 + 1 + 2 + 2, 2]


def test_overtaking() -> None:
    """Each second one is overtaken by the one after it, to the same peer, if all are to be."""
    datagrams = Datagrams(Impairment(reorder=1.0))
    datagrams.receive(b"1")
    datagrams.receive(b"other", source=OTHER)
    assert datagrams.left == []
    datagrams.receive(b"2", b"3", b"4", b"5")
    assert datagrams.left == [b"2", b"1", b"4", b"3"]
    assert datagrams.totals.impaired == {"reordered": 2}
    datagrams.clock.advance(PATIENCE)
    assert sorted(datagrams.left[4:]) == [b"5", b"other"], "nobody came to overtake them"
    assert datagrams.totals.impaired == {"reordered": 2}
    assert not datagrams.clock.getDelayedCalls()


def test_delays_reorder() -> None:
    """What has the longer delay is overtaken, and counted as whoever receives it counts."""
    datagrams = Datagrams(Impairment(Delay(50 * MS, 50 * MS)))
    datagrams.receive(*(b"%d" % number for number in range(100)))
    assert datagrams.left == []
    datagrams.clock.pump([0.0001] * 1000)
    order = [int(number) for number in datagrams.left]
    assert sorted(order) == list(range(100))
    reordered = sum(number < max(order[: index + 1]) for index, number in enumerate(order))
    assert datagrams.totals.impaired == {"delayed": 100, "reordered": reordered}
    assert reordered > 50


def test_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room to hold is dropped and counted; what leaves makes room."""
    monkeypatch.setattr(_impaired_datagrams, "MOST_HELD", 2 * (COST + 10))
    datagrams = Datagrams(Impairment(Delay(100 * MS)))
    for _ in range(2):
        datagrams.receive(b"x" * 10, b"x" * 10, b"y")
        datagrams.clock.advance(0.1)
    assert datagrams.left == [b"x" * 10] * 4
    assert datagrams.totals.dropped == {FULL: 2}
    assert datagrams.totals.impaired == {"delayed": 4}


def test_what_cannot_be_sent() -> None:
    """That the system takes no datagram is counted, whether it leaves at once or later."""
    for impairment, wait in ((Impairment(duplicate=1.0), 0.0), (Impairment(Delay(100 * MS)), 0.1)):
        datagrams = Datagrams(impairment)
        datagrams.port.refusal = BlockingIOError()
        datagrams.receive(b"1")
        datagrams.clock.advance(wait)
        assert datagrams.totals.dropped == {"send buffer full": 1}


def test_the_end_of_a_port() -> None:
    """Who waits until nothing is held is told when that is so, or when nothing more leaves."""

    def released(datagrams: Datagrams) -> None:
        datagrams.clock.advance(0.1)

    def stopped(datagrams: Datagrams) -> None:
        datagrams.impaired.doStop()  # type: ignore[no-untyped-call]

    ways: list[tuple[Callable[[Datagrams], object], list[bytes]]] = [(released, [b"1"]), (stopped, [])]
    for end, left in ways:
        datagrams = Datagrams(Impairment(Delay(100 * MS)))
        datagrams.receive(b"1")
        told: list[object] = []
        datagrams.impaired.emptied().addCallback(told.append)
        assert told == []
        datagrams.receive(b"too late")
        end(datagrams)
        assert told == [None]
        assert datagrams.left == left
        assert not datagrams.clock.getDelayedCalls()
    idle = Datagrams(Impairment(Delay(100 * MS)))
    assert idle.impaired.emptied().called


def test_turns_are_the_ports() -> None:
    """What a protocol says of how much is read at once is said to the port itself."""
    datagrams = Datagrams(Impairment(loss=1.0))
    datagrams.impaired.maxThroughput = -1
    assert (datagrams.port.maxThroughput, datagrams.impaired.maxThroughput) == (-1, -1)
