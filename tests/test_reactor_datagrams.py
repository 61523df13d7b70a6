"""UDP ports: the same on our reactor as on Twisted's, and batches for protocols that take them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from netecho.reactor import datagrams, destinations, messages
from netecho.reactor.batches import Batch
from netecho.reactor.messages import BATCH, PEERS
from tests import reactors
from tests.reactors import flush_errors, turn

LARGEST = 65_507
IPV6_DONTFRAG: int = getattr(socket, "IPV6_DONTFRAG", 62)
Action = Callable[[Any], object]


class Recorder(DatagramProtocol):
    """Records what it is given, and then does what the test wants of it."""

    transport: Any
    noisy = False

    def __init__(self, *actions: Action) -> None:
        self.received: list[bytes] = []
        self.sources: list[Any] = []
        self.refusals = 0
        self.stopped = 0
        self._actions = list(actions)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Record a datagram."""
        self.received.append(datagram)
        self.sources.append(addr)
        self._act()

    def _act(self) -> None:
        if self._actions:
            self._actions.pop(0)(self)

    def connectionRefused(self) -> None:
        """Record it."""
        self.refusals += 1

    def stopProtocol(self) -> None:
        """Record it."""
        self.stopped += 1


class BatchRecorder(Recorder):
    """The same, of batches."""

    def __init__(self, *actions: Action) -> None:
        super().__init__(*actions)
        self.sizes: list[int] = []
        """How many came together."""
        self.batch: Any = None

    def datagramsReceived(self, batch: Batch) -> None:
        """Record a batch."""
        self.batch = batch
        self.sizes.append(len(batch))
        for datagram, source in batch:
            self.received.append(datagram)
            self.sources.append(source)
        self._act()


def nothing(recorder: object) -> None:
    """Do nothing."""


@pytest.fixture(params=reactors.KINDS)
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make each reactor in turn."""
    with reactors.fresh(request.param) as made:
        yield made


@pytest.fixture
def fast() -> Iterator[Any]:
    """Make our reactor."""
    with reactors.fresh("fast") as made:
        yield made


@pytest.fixture
def peers() -> Iterator[Callable[..., socket.socket]]:
    """Return what opens a socket connected to a port."""
    with contextlib.ExitStack() as stack:

        def connect(port: Any, host: str | None = None) -> socket.socket:
            address = port.getHost()
            host = host or address.host
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            peer = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            peer.settimeout(reactors.TIMEOUT)
            peer.connect((host, address.port))
            return peer

        yield connect


Peers = Callable[..., socket.socket]


def listen(reactor: Any, protocol: DatagramProtocol, interface: str = "127.0.0.1", size: int = 65_536) -> Any:
    """Open a port."""
    return reactor.listenUDP(0, protocol, interface, size)


def send(peer: socket.socket, payloads: list[bytes]) -> list[bytes]:
    """Send datagrams, and return them."""
    for payload in payloads:
        peer.send(payload)
    return payloads


def numbered(count: int) -> list[bytes]:
    """Return so many datagrams, of which no two are alike."""
    return [b"%03d" % number for number in range(count)]


def receive(peer: socket.socket, count: int) -> list[bytes]:
    """Return the next so many that a peer receives; no more may have come."""
    received = [peer.recv(65_536) for _ in range(count)]
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    peer.settimeout(reactors.TIMEOUT)
    return received


# Any protocol, on either reactor.


def test_datagrams_come_whole_and_in_order(reactor: Any, peers: Peers) -> None:
    """Datagrams of every size, the empty one too, come one for one, with their source."""
    port = listen(reactor, recorder := Recorder())
    peer = peers(port)
    payloads = send(peer, [b"", b"1", os.urandom(1500), b"", os.urandom(LARGEST), b"2"])
    turn(reactor, lambda: len(recorder.received) == len(payloads))
    assert recorder.received == payloads
    assert recorder.sources == [peer.getsockname()] * len(payloads)


def test_more_than_a_batch(reactor: Any, peers: Peers) -> None:
    """Several peers' datagrams come in the order in which they were sent, each with its source."""
    port = listen(reactor, recorder := Recorder(), size=100)
    several = [peers(port) for _ in range(3)]
    payloads = numbered(3 * BATCH + 1)
    for number, payload in enumerate(payloads):
        several[number % 3].send(payload)
    turn(reactor, lambda: len(recorder.received) == len(payloads))
    assert recorder.received == payloads
    names = [peer.getsockname() for peer in several]
    assert recorder.sources == [names[number % 3] for number in range(len(payloads))]


def test_long_datagrams_are_cut(reactor: Any, peers: Peers) -> None:
    """Of a datagram that is longer than the port takes, the beginning comes."""
    port = listen(reactor, recorder := Recorder(), size=10)
    send(peers(port), [b"0123456789", b"0123456789abc", b"next"])
    turn(reactor, lambda: len(recorder.received) == 3)
    assert recorder.received == [b"0123456789", b"0123456789", b"next"]


@pytest.mark.parametrize("size", [4, 20])
def test_change_of_what_is_cut(reactor: Any, peers: Peers, size: int) -> None:
    """How much of a datagram comes may be changed at any time; other ports go on as they were."""
    port = listen(reactor, recorder := Recorder(), size=10)
    other = listen(reactor, same := Recorder(), size=10)
    send(peers(port), [b"0123456789abc"])
    turn(reactor, lambda: recorder.received)
    port.maxPacketSize = size
    for each in (port, other):
        send(peers(each), [b"0123456789abc"])
    turn(reactor, lambda: len(recorder.received) == 2 and same.received)
    assert recorder.received == [b"0123456789", b"0123456789abc"[:size]]
    assert same.received == [b"0123456789"]
    assert port.maxPacketSize == size


def test_ipv6(reactor: Any, peers: Peers) -> None:
    """Over IPv6 a source is a host and a port too, and an answer finds its way to it."""
    port = listen(reactor, recorder := Recorder(), "::1")
    peer = peers(port)
    send(peer, [b"?"])
    turn(reactor, lambda: recorder.received)
    assert recorder.sources == [peer.getsockname()[:2]]
    port.write(b"!", recorder.sources[0])
    assert receive(peer, 1) == [b"!"]


def test_ipv4_on_an_ipv6_port(reactor: Any, peers: Peers) -> None:
    """A port for both versions sees an IPv4 source in its mapped form, and answers it."""
    port = listen(reactor, recorder := Recorder(), "::")
    peer = peers(port, "127.0.0.1")
    send(peer, [b"?"])
    turn(reactor, lambda: recorder.received)
    assert recorder.sources == [("::ffff:127.0.0.1", peer.getsockname()[1])]
    port.write(b"!", recorder.sources[0])
    assert receive(peer, 1) == [b"!"]


def test_exception_is_logged(reactor: Any, peers: Peers) -> None:
    """A protocol that fails over one datagram is given the next."""
    port = listen(reactor, recorder := Recorder(nothing, lambda _: 1 / 0))
    send(peers(port), numbered(4))
    turn(reactor, lambda: len(recorder.received) == 4)
    assert len(flush_errors(reactor, ZeroDivisionError)) == 1
    assert recorder.received == numbered(4)


def test_pause_and_resume(reactor: Any, peers: Peers) -> None:
    """A port that is paused in mid-batch is soon quiet, and loses nothing when it is resumed."""
    port = listen(reactor, recorder := Recorder(nothing, lambda own: own.transport.pauseProducing()))
    peer = peers(port)
    payloads = send(peer, numbered(10))
    turn(reactor, lambda: recorder.received)
    payloads += send(peer, [b"later"])
    reactor.iterate(0)
    assert b"later" not in recorder.received
    port.resumeProducing()
    turn(reactor, lambda: len(recorder.received) == len(payloads))
    assert recorder.received == payloads


def test_stop_in_a_batch(reactor: Any, peers: Peers) -> None:
    """Once a port has stopped, nothing is delivered; the one who stopped it is told when."""
    told: list[Any] = []
    port = listen(
        reactor,
        recorder := Recorder(
            nothing,
            lambda own: own.transport.stopListening().addCallback(lambda _: told.append(recorder.stopped)),
        ),
    )
    peer = peers(port)
    send(peer, numbered(3))
    turn(reactor, lambda: told)
    assert told == [1]
    received = len(recorder.received)
    with pytest.raises(ConnectionRefusedError):
        send(peer, [b"anybody?"] * 2)
    reactor.iterate(0)
    assert len(recorder.received) == received


def test_lost_in_a_batch(reactor: Any, peers: Peers) -> None:
    """A port that is closed at once delivers nothing of what came with what closed it."""
    port = listen(reactor, recorder := Recorder(nothing, lambda own: own.transport.connectionLost()))
    reactor.removeReader(port)
    send(peers(port), numbered(5))
    port.doRead()
    assert recorder.received == numbered(2)
    assert recorder.stopped == 1


def test_throughput(reactor: Any, peers: Peers) -> None:
    """A port reads no more bytes in one event than its `maxThroughput` has it, and none if that is 0."""
    port = listen(reactor, recorder := Recorder(), size=100)
    payloads = send(peers(port), [b"x" * 100] * 10)
    for throughput, received in ((0, 0), (1, 1), (100, 2), (101, 4), (199, 6), (100, 7)):
        port.maxThroughput = throughput
        port.doRead()
        assert len(recorder.received) == received
    port.maxThroughput = -1
    port.doRead()
    assert len(recorder.received) == 7
    port.maxThroughput = 10_000
    turn(reactor, lambda: len(recorder.received) == len(payloads))


def test_refused(reactor: Any) -> None:
    """A connected port is told that nobody listens, by what it writes, and can go on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    port = listen(reactor, recorder := Recorder())
    port.connect(*address)
    port.write(b"anybody?")
    port.write(b"no?")
    assert recorder.refusals == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(reactors.TIMEOUT)
        opened.bind(address)
        port.write(b"here")
        data, source = opened.recvfrom(100)
        assert data == b"here"
        opened.sendto(b"I am", source)
        turn(reactor, lambda: recorder.received)
    assert recorder.received == [b"I am"]


@pytest.mark.parametrize("kind", [Recorder, BatchRecorder])
def test_refused_with_datagrams_waiting(reactor: Any, kind: type[Recorder]) -> None:
    """A connected port is told that its peer has gone, and gets what that had sent before."""
    port = listen(reactor, recorder := kind())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port.connect(*peer.getsockname())
        peer.sendto(b"bye", ("127.0.0.1", port.getHost().port))
    port.write(b"wait!")
    turn(reactor, lambda: recorder.received)
    assert recorder.received == [b"bye"]
    assert (recorder.refusals, recorder.stopped) == (1, 0)


@pytest.mark.parametrize(
    ("datagram", "address", "error"),
    [
        (bytes(LARGEST + 1), ("127.0.0.1", 9), MessageLengthError),
        (b"", ("localhost", 9), InvalidAddressError),
        (b"", ("::1", 9), InvalidAddressError),
        (b"", ("", 9), InvalidAddressError),
        (b"", ("127.0.0.1", 65_536), OverflowError),
        (b"", ("127.0.0.1", "9"), TypeError),
        (b"", ("255.255.255.255", 9), PermissionError),
        ("text", ("127.0.0.1", 9), TypeError),
        (b"", None, AssertionError),
    ],
)
def test_mistakes_are_met_by_who_makes_them(
    reactor: Any, datagram: Any, address: Any, error: type[Exception]
) -> None:
    """What cannot be written is an exception of `write`, in the words of Twisted."""
    port = listen(reactor, Recorder())
    with pytest.raises(error):
        port.write(datagram, address)


def test_broadcast_name(reactor: Any) -> None:
    """`<broadcast>` is an address, if broadcasting is allowed."""
    port = listen(reactor, Recorder())
    with pytest.raises(PermissionError):
        port.write(b"?", ("<broadcast>", port.getHost().port))


def test_multicast_port(reactor: Any, peers: Peers) -> None:
    """A port that can join groups reads and answers as any other."""
    recorder = Recorder(lambda own: own.transport.write(b"!", own.sources[0]))
    port = reactor.listenMulticast(0, recorder, "127.0.0.1", 100, listenMultiple=True)
    port.setTTL(2)
    assert port.getTTL() == 2
    peer = peers(port)
    send(peer, [b"?"])
    turn(reactor, lambda: recorder.received)
    assert receive(peer, 1) == [b"!"]


# What ours does better.


def test_no_room_for_what_goes_to_a_zone(fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is not that of an address without its zone, which the system does not take."""
    port = listen(fast, Recorder(), "::1")

    def sendto(_: bytes, address: Any) -> int:
        number = errno.EAGAIN if address[3:] == (1,) else errno.EINVAL
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(port, "socket", mock.Mock(wraps=port.socket, sendto=sendto))
    with pytest.raises(BlockingIOError):
        port.write(b"there", ("fe80::1%1", 9))


def test_refused_while_idle(fast: Any) -> None:
    """A connected port that is waiting when the ICMP message comes is told, and stays open."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    port = listen(fast, recorder := Recorder())
    port.connect(*address)
    port.write(b"anybody?")
    turn(fast, lambda: recorder.refusals)
    assert (recorder.refusals, recorder.stopped) == (1, 0)
    port.write(b"nobody?")
    turn(fast, lambda: recorder.refusals == 2)


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1"])
def test_one_at_a_time(reactor: Any, interface: str) -> None:
    """A connected port gets what comes alone and what comes together, each with its source, as any other."""
    port = listen(reactor, recorder := Recorder(*[nothing] * 3, lambda _: 1 / 0), interface)
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((interface, 0))
        port.connect(*peer.getsockname()[:2])
        payloads = numbered(40)
        sent = 0
        for count in (1, 1, 0, 1, 1, 1, 8, 1, 20, 1, 1, 1, 3):
            for payload in payloads[sent : sent + count]:
                peer.sendto(payload, (interface, port.getHost().port))
            sent += count
            turn(reactor, lambda: len(recorder.received) == sent)  # noqa: B023 - it is called at once
            port.doRead()  # for nothing
        assert recorder.received == payloads[:sent]
        assert set(recorder.sources) == {peer.getsockname()[:2]}
    assert len(flush_errors(reactor, ZeroDivisionError)) == 1
    port.write(b"anybody?")
    port.write(b"no?")
    assert recorder.refusals == 1
    port.write(b"anybody?")
    port.doRead()
    assert recorder.refusals == 2


@pytest.mark.parametrize("when", ["told", "before"])
def test_connected_by_what_another_says(reactor: Any, peers: Peers, when: str) -> None:
    """Who connects to another than the last one that it heard from hears that other by its own address."""
    recorder = Recorder()
    port = listen(reactor, recorder)
    first, second = peers(port), peers(port)

    def meet(recorder: Recorder) -> None:
        recorder.transport.connect(*second.getsockname())

    if when == "told":
        recorder._actions[:] = [meet]
        first.send(b"meet the other")
    else:  # what the first one has sent is there still
        first.send(b"I was here")
        meet(recorder)
    turn(reactor, lambda: recorder.received)
    for count in (2, 3):
        second.send(b"hello")
        turn(reactor, lambda: len(recorder.received) == count)  # noqa: B023 - it is called at once
    assert recorder.sources == [first.getsockname(), second.getsockname(), second.getsockname()]


def test_refusal_met_by_a_write(fast: Any) -> None:
    """A port whose own write meets the refusal that it is about to be told of stays open."""
    port = listen(fast, recorder := Recorder())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port.connect(*closed.getsockname())
    port.write(b"anybody?")
    [(fd, event)] = fast._poller.poll(reactors.TIMEOUT)
    port.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # as a write does
    fast._doReadOrWrite(port, fd, event)
    assert (recorder.refusals, recorder.stopped, port.connected) == (0, 0, 1)


@pytest.mark.parametrize("lone", [0, 1])
@pytest.mark.parametrize(
    ("number", "outlives"), [(errno.EMSGSIZE, True), (errno.EAGAIN, True), (errno.EHOSTUNREACH, False)]
)
def test_error_met_by_reading(
    fast: Any, monkeypatch: pytest.MonkeyPatch, lone: int, number: int, outlives: bool
) -> None:
    """What a router says of a datagram that is too large for the path ends no port; what is worse may."""
    port = listen(fast, recorder := Recorder())
    port._lone = lone
    fail = mock.Mock(side_effect=OSError(number, os.strerror(number)))
    monkeypatch.setattr(messages.Messages, "receive", fail)
    monkeypatch.setattr(port, "socket", mock.Mock(wraps=port.socket, recv=fail))
    with contextlib.nullcontext() if outlives else pytest.raises(OSError, match=os.strerror(number)):
        port.doRead()
    assert fail.call_count == 1
    assert (recorder.received, recorder.refusals) == ([], 0)


def test_refusal_that_fails(fast: Any) -> None:
    """A protocol that fails over a refusal has that logged, and its port stays open too."""
    port = listen(fast, recorder := Recorder())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port.connect(*closed.getsockname())
    recorder.connectionRefused = lambda: 1 / 0  # type: ignore[assignment,method-assign]
    port.write(b"anybody?")
    turn(fast, lambda: fast.logged)
    assert len(flush_errors(fast, ZeroDivisionError)) == 1
    assert recorder.stopped == 0


def test_flood_of_empty_datagrams_ends(fast: Any, peers: Peers) -> None:
    """Datagrams without a byte count too: one event delivers so many, and the next the rest."""
    port = listen(fast, recorder := Recorder())
    port.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    peer = peers(port)
    send(peer, [b""] * (datagrams.TURN + 40))
    port.doRead()
    assert len(recorder.received) == datagrams.TURN
    turn(fast, lambda: len(recorder.received) == datagrams.TURN + 40)


# Batches.


def test_batch(fast: Any, peers: Peers) -> None:
    """What came together comes together, so many at most, oldest first."""
    port = listen(fast, recorder := BatchRecorder())
    peer = peers(port)
    payloads = send(peer, numbered(BATCH + 10))
    turn(fast, lambda: len(recorder.received) == len(payloads))
    assert recorder.sizes == [BATCH, 10]
    assert recorder.received == payloads
    assert recorder.sources == [peer.getsockname()] * len(payloads)


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1", "", "::"])
def test_what_a_batch_says(fast: Any, peers: Peers, interface: str) -> None:
    """A batch knows its sizes, its sources and how each begins, without being taken apart."""
    host = "::1" if ":" in interface else "127.0.0.1"
    said: list[Any] = []

    def look(recorder: BatchRecorder) -> None:
        batch = recorder.batch
        said.append(
            (
                list(batch.sizes),
                {source: list(indices) for source, indices in batch.sources.items()},
                [batch.address(index) for index in range(len(batch))],
                [batch.head(index, 2) for index in range(len(batch))],
            )
        )

    port = listen(fast, BatchRecorder(look, look, look), interface)
    one, other = peers(port, host), peers(port, host)
    names = [peer.getsockname()[:2] for peer in (one, other)]
    for peer, payload in ((one, b"first"), (other, b""), (one, b"3"), (other, b"last")):
        peer.send(payload)
    turn(fast, lambda: said)
    assert said == [
        ([5, 0, 1, 4], {names[0]: [0, 2], names[1]: [1, 3]}, [*names, *names], [b"fi", b"", b"3", b"la"])
    ]
    send(other, [b"alone", b"now"])
    turn(fast, lambda: len(said) == 2)
    assert said[1] == ([5, 3], {names[1]: [0, 1]}, [names[1]] * 2, [b"al", b"no"])
    send(other, [b"with"])
    send(one, [b"another"])
    turn(fast, lambda: len(said) == 3)
    assert said[2] == ([4, 7], {names[1]: [0], names[0]: [1]}, names[::-1], [b"wi", b"an"])


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1", "", "::"])
@pytest.mark.parametrize(
    "payloads",
    [
        [b"one"],
        [b""],
        [b"", b""],
        [b"one", b"two", b"six"],
        [b"one", b"", b"three"],
        [bytes([number]) * 1000 for number in range(BATCH)],
        [bytes([number]) * 1400 for number in range(BATCH)],
        [os.urandom(LARGEST), os.urandom(LARGEST)],
        [os.urandom(30_000)] * 2,
    ],
    ids=lambda payloads: f"{len(payloads)} of {len(payloads[-1])}",
)
def test_sent_back(fast: Any, peers: Peers, interface: str, payloads: list[bytes]) -> None:
    """A batch that is sent back arrives as it was: each datagram one, none joined, cut or changed."""
    failed: list[Any] = []
    protocol = BatchRecorder(*[lambda own: failed.extend(own.batch.send_back())] * len(payloads))
    port = listen(fast, protocol, interface)
    longest = port.longest_segment
    peer = peers(port, "::1" if ":" in interface else "127.0.0.1")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    send(peer, payloads)
    turn(fast, lambda: len(protocol.received) == len(payloads))
    assert receive(peer, len(payloads)) == payloads
    assert failed == []
    assert port.longest_segment == longest, "segments were tried that could not go"


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1", "", "::"])
def test_sent_back_as_one(fast: Any, peers: Peers, interface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams of one size to one address go in one call, where the system can do that."""
    monkeypatch.setattr(messages, "_sendmmsg", messages._missing)
    port = listen(fast, BatchRecorder(lambda own: own.batch.send_back()), interface)
    if not port.longest_segment:
        pytest.skip("a system without segments")
    peer = peers(port, "::1" if ":" in interface else "127.0.0.1")
    payloads = send(peer, [b"aaa", b"bbb", b"ccc"])
    fast.iterate(0)
    assert receive(peer, 3) == payloads


@pytest.mark.parametrize("interface", ["127.0.0.1", ""])
def test_each_is_sent_back_to_its_own_source(fast: Any, peers: Peers, interface: str) -> None:
    """Of a batch from several peers each gets its own, but for what is left out."""
    without = {0, 4, 5, 11}
    port = listen(
        fast,
        protocol := BatchRecorder(lambda own: own.batch.send_back(without=without)),
        interface,
    )
    several = [peers(port, "127.0.0.1") for _ in range(3)]
    payloads = numbered(12)
    for number, payload in enumerate(payloads):
        several[number % 3].send(payload)
    turn(fast, lambda: protocol.received)
    for first, peer in enumerate(several):
        expected = [payloads[number] for number in range(first, 12, 3) if number not in without]
        assert receive(peer, len(expected)) == expected


@pytest.mark.parametrize("without", [set(), {0}, {3}, {1, 2}, {0, 1, 2, 3}])
def test_parts_of_one_peers_batch(fast: Any, peers: Peers, without: set[int]) -> None:
    """What is left out of a batch leaves the rest whole and in order."""
    port = listen(
        fast,
        protocol := BatchRecorder(lambda own: own.batch.send_back(without=without)),
    )
    peer = peers(port)
    payloads = send(peer, [b"aaa", b"bbb", b"ccc", b"ddd"])
    turn(fast, lambda: protocol.received)
    expected = [payload for number, payload in enumerate(payloads) if number not in without]
    assert receive(peer, len(expected)) == expected


@pytest.mark.parametrize("payloads", [[b"one", b"", b"seventeen"], [b"abc", b"def", b"ghi"]])
@pytest.mark.parametrize("answer", [b"0123456789", b"01", b""])
def test_another_payload(fast: Any, peers: Peers, payloads: list[bytes], answer: bytes) -> None:
    """Another payload goes out in place of each, never longer than it; the next batch goes back as it is."""
    port = listen(
        fast,
        protocol := BatchRecorder(
            lambda own: own.batch.send_back(answer, without={0}),
            lambda own: own.batch.send_back(),
        ),
    )
    peer = peers(port)
    send(peer, payloads)
    turn(fast, lambda: protocol.received)
    assert receive(peer, 2) == [answer[: len(payload)] for payload in payloads[1:]]
    send(peer, payloads)
    turn(fast, lambda: len(protocol.sizes) == 2)
    assert receive(peer, 3) == payloads


def test_each_ones_fate_is_known(fast: Any, peers: Peers) -> None:
    """When some of a batch cannot be sent, the rest is, and those that were not are named."""
    failed: list[Any] = []
    port = listen(fast, protocol := BatchRecorder(lambda own: failed.extend(own.batch.send_back())), "::1")
    # Longer than what loopback carries in one packet, and not to be taken apart.
    port.getHandle().setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
    peer = peers(port)
    send(peer, [b"one", bytes(LARGEST), b"two", b"three", bytes(LARGEST), bytes(LARGEST)])
    turn(fast, lambda: protocol.received)
    assert receive(peer, 3) == [b"one", b"two", b"three"]
    assert [(index, error.errno) for index, error in failed] == [(n, errno.EMSGSIZE) for n in (1, 4, 5)]


@pytest.mark.parametrize(
    ("refusal", "longest"),
    [(errno.EINVAL, 4), (errno.EIO, 4), (errno.EMSGSIZE, 4), (errno.EAGAIN, None), (errno.ENOBUFS, None)],
)
def test_segments_that_the_system_does_not_send(
    fast: Any, peers: Peers, monkeypatch: pytest.MonkeyPatch, refusal: int, longest: int | None
) -> None:
    """A batch that cannot go as segments goes as datagrams; segments of a size that never can are left."""
    calls: list[int] = []

    def refuse(*arguments: object) -> int:
        calls.append(1)
        ctypes.set_errno(refusal)
        return -1

    monkeypatch.setattr(messages, "_sendmsg", refuse)
    port = listen(fast, protocol := BatchRecorder(*[lambda own: own.batch.send_back()] * 2))
    before = port.longest_segment
    peer = peers(port)
    for turns in (1, 2):
        payloads = send(peer, [b"first", b"other"])
        turn(fast, lambda turns=turns: len(protocol.sizes) == turns)  # type: ignore[misc]
        assert receive(peer, 2) == payloads
    assert port.longest_segment == (before if longest is None else longest)
    assert len(calls) == (2 if longest is None else 1)


def test_system_without_segments(fast: Any, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows nothing of segments, none are tried."""
    monkeypatch.setattr(messages, "_UDP_SEGMENT", 0x7FFF)
    port = listen(fast, protocol := BatchRecorder(lambda own: own.batch.send_back()))
    assert port.longest_segment == 0
    peer = peers(port)
    payloads = send(peer, [b"first", b"other"])
    turn(fast, lambda: protocol.received)
    assert receive(peer, 2) == payloads


def test_long_datagrams_of_a_batch_are_cut(fast: Any, peers: Peers) -> None:
    """A batch says of a datagram that was cut what is left of it, and sends no more back."""
    port = listen(fast, protocol := BatchRecorder(lambda own: own.batch.send_back()), size=10)
    peer = peers(port)
    send(peer, [b"0123456789abc", b"next"])
    turn(fast, lambda: protocol.received)
    assert protocol.received == receive(peer, 2) == [b"0123456789", b"next"]


def test_batch_is_not_to_be_kept(fast: Any, peers: Peers) -> None:
    """Who looks into a batch after its time finds nothing, and above all not what others sent since."""
    port = listen(fast, protocol := BatchRecorder())
    peer = peers(port)
    send(peer, [b"mine"])
    turn(fast, lambda: protocol.received)
    batch = protocol.batch
    with pytest.raises(AttributeError):
        list(batch)
    with pytest.raises(AttributeError):
        batch.send_back()
    with pytest.raises(AttributeError):
        batch.head(0, 1)


def test_batch_within_a_batch(fast: Any, peers: Peers) -> None:
    """A protocol may turn the reactor in mid-batch: what other ports receive then disturbs nothing."""
    inner = listen(fast, within := BatchRecorder(lambda own: own.batch.send_back()))
    inner_peer = peers(inner)

    def iterate(recorder: BatchRecorder) -> None:
        send(inner_peer, [b"xxx"] * 3)
        turn(fast, lambda: within.received)
        recorder.batch.send_back()

    outer = listen(fast, BatchRecorder(iterate))
    peer = peers(outer)
    payloads = send(peer, numbered(5))
    turn(fast, lambda: within.received)
    assert receive(peer, 5) == payloads
    assert receive(inner_peer, 3) == [b"xxx"] * 3


def test_exception_in_a_batch_is_logged(fast: Any, peers: Peers) -> None:
    """A protocol that fails over one batch is given the next."""
    port = listen(fast, protocol := BatchRecorder(lambda _: 1 / 0))
    peer = peers(port)
    send(peer, [b"first"])
    turn(fast, lambda: protocol.received)
    assert len(flush_errors(fast, ZeroDivisionError)) == 1
    send(peer, [b"next"])
    turn(fast, lambda: len(protocol.received) == 2)


def test_pause_of_batches(fast: Any, peers: Peers) -> None:
    """A port that was paused, or is not to read, passes no batch on until it is resumed, and then all."""
    port = listen(fast, protocol := BatchRecorder(lambda own: own.transport.pauseProducing()))
    peer = peers(port)
    payloads = send(peer, numbered(2 * BATCH))
    turn(fast, lambda: protocol.received)
    fast.iterate(0)
    assert protocol.sizes == [BATCH]
    port.resumeProducing()
    usual, port.maxThroughput = port.maxThroughput, -1
    fast.iterate(0)
    assert protocol.sizes == [BATCH]
    port.maxThroughput = usual
    turn(fast, lambda: protocol.received == payloads)


def test_closed_in_a_batch(fast: Any, peers: Peers) -> None:
    """A batch whose port has been closed meanwhile cannot be sent back; each of it is named."""
    failed: list[Any] = []

    def close(recorder: BatchRecorder) -> None:
        fast.removeReader(port)
        port.connectionLost()
        failed.extend(recorder.batch.send_back())

    port = listen(fast, protocol := BatchRecorder(close))
    send(peers(port), [b"a", b"b"])
    turn(fast, lambda: protocol.received)
    assert [(index, error.errno) for index, error in failed] == [(0, errno.EBADF), (1, errno.EBADF)]


@pytest.mark.parametrize("count", [1, 2])
def test_refused_answer(fast: Any, count: int) -> None:
    """A connected port that sends a batch back to one that has gone is told, and the batch names one."""
    failed: list[Any] = []

    def answer_twice(recorder: BatchRecorder) -> None:
        for _ in range(2):
            failed.extend(recorder.batch.send_back())

    port = listen(fast, protocol := BatchRecorder(answer_twice))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port.connect(*peer.getsockname())
        for _ in range(count):
            peer.sendto(b"bye", ("127.0.0.1", port.getHost().port))
    turn(fast, lambda: protocol.received)
    assert [(index, type(error)) for index, error in failed] == [(0, ConnectionRefusedError)]
    assert (protocol.refusals, protocol.stopped) == (1, 0)


@pytest.mark.parametrize(
    ("interface", "host"),
    [("", "127.0.0.1"), ("", "127.0.0.2"), ("::", "::1"), ("::", "127.0.0.1"), ("::", "127.0.0.2")],
)
@pytest.mark.parametrize("count", [1, 3])
def test_answer_comes_from_where_was_asked(
    fast: Any, peers: Peers, interface: str, host: str, count: int
) -> None:
    """A port on all addresses answers from the one that was asked: a connected peer takes no other answer."""
    port = listen(fast, protocol := BatchRecorder(lambda own: own.batch.send_back()), interface)
    peer = peers(port, host)
    send(peer, [b"?"] * count)
    turn(fast, lambda: protocol.received)
    assert receive(peer, count) == [b"?"] * count


def test_answers_from_two_addresses(fast: Any) -> None:
    """One peer that asks two addresses in one batch is answered from both, whichever was asked before."""
    protocol = BatchRecorder(*[lambda own: own.batch.send_back()] * 2)
    number = listen(fast, protocol, "").getHost().port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(reactors.TIMEOUT)
        peer.bind(("127.0.0.1", 0))
        for hosts in (("127.0.0.3", "127.0.0.3"), ("127.0.0.1", "127.0.0.2", "127.0.0.1")):
            for host in hosts:
                peer.sendto(host.encode(), (host, number))
            turn(fast, lambda hosts=hosts: protocol.sizes[-1:] == [len(hosts)])  # type: ignore[misc]
            for host in hosts:
                assert peer.recvfrom(100) == (host.encode(), (host, number))


def test_destination_unknown(fast: Any, peers: Peers) -> None:
    """What does not say where it was sent is not answered from where the last was sent."""
    port = listen(fast, protocol := BatchRecorder(*[lambda own: own.batch.send_back()] * 5), "")
    for turns, (asked, said) in enumerate(
        [("127.0.0.2", 1), ("127.0.0.1", 0), ("127.0.0.2", 1), ("127.0.0.1", 0)], start=1
    ):
        port.getHandle().setsockopt(socket.IPPROTO_IP, destinations._IP_PKTINFO, said)
        peer = peers(port, asked)
        send(peer, [b"?"] * turns)
        turn(fast, lambda turns=turns: len(protocol.sizes) == turns)  # type: ignore[misc]
        assert receive(peer, turns) == [b"?"] * turns


@pytest.mark.parametrize("payloads", [[b"one", b"and", b"other"], [b"one"] * 3], ids=["sizes", "one size"])
def test_answer_from_no_address_of_ours(fast: Any, peers: Peers, payloads: list[bytes]) -> None:
    """What was sent to an IPv6 group, which is no address to answer from, is answered from one of ours.

    It says nothing of whether others can be answered in segments.
    """
    ours, group = (socket.inet_pton(socket.AF_INET6, host) for host in ("::1", "ff02::1"))
    replaced: list[int] = []

    def answer(recorder: BatchRecorder) -> None:
        controls = recorder.batch._messages._controls
        replaced.append(controls.count(ours))
        controls[:] = controls.replace(ours, group)
        assert recorder.batch.send_back() == []

    port = listen(fast, protocol := BatchRecorder(answer), "::")
    longest = port.longest_segment
    peer = peers(port, "::1")
    send(peer, payloads)
    turn(fast, lambda: protocol.received)
    assert replaced[0] >= 3
    assert receive(peer, 3) == payloads
    assert port.longest_segment == longest > 0


def test_adopted_port(fast: Any, peers: Peers) -> None:
    """A socket that somebody else opened is read in batches too."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as given:
        given.setblocking(False)
        given.bind(("::1", 0))
        protocol = BatchRecorder(lambda own: own.batch.send_back())
        port = fast.adoptDatagramPort(given.fileno(), socket.AF_INET6, protocol, 65_536)
    peer = peers(port)
    payloads = send(peer, numbered(5))
    turn(fast, lambda: protocol.received)
    assert protocol.sizes == [5]
    assert receive(peer, 5) == payloads


# Without batches, and what they cost.


def test_system_without_batches(fast: Any, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no batches, or does not let us have them, a protocol gets datagrams alone."""
    for name in ("_recvmmsg", "_sendmmsg"):
        assert messages.available()
        with monkeypatch.context() as without:
            without.setattr(messages, name, messages._missing)
            assert not messages.available()
    monkeypatch.setattr(datagrams, "_batches", False)
    port = listen(fast, protocol := BatchRecorder())
    peer = peers(port)
    payloads = send(peer, numbered(5))
    turn(fast, lambda: protocol.received == payloads)
    assert protocol.sizes == []
    assert protocol.sources == [peer.getsockname()] * 5


def test_room_is_shared(fast: Any, peers: Peers) -> None:
    """Any number of ports read into the same buffers, one after the other."""
    size = 12_345
    recorders = [Recorder() for _ in range(20)]
    for recorder in recorders:
        send(peers(listen(fast, recorder, size=size)), [b"?"])
    turn(fast, lambda: all(recorder.received for recorder in recorders))
    shelves = {key: shelf for key, shelf in datagrams._shelves.items() if key[2] == size}
    assert [len(shelf) for shelf in shelves.values()] == [1]


def test_addresses_forgotten() -> None:
    """Only so many addresses are remembered, however many peers there have been."""
    room = messages.Messages(socket.AF_INET, 1)
    for number in range(PEERS + 100):
        room._names[4:8] = number.to_bytes(4, "big")
        room.sources(1)
    assert messages._address_of.cache_info().currsize == PEERS


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_untouched_room_is_no_memory(family: int) -> None:
    """Room for the largest datagrams is memory only as far as datagrams have come to fill it."""

    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    rooms = [destinations.AddressedMessages(family, 65_536) for _ in range(10)]
    assert len(rooms) == 10
    assert resident() - before < 10 * BATCH * 65_536 / 4


def test_reactors_in_threads_share_room(fast: Any, peers: Peers) -> None:
    """A port goes without the room that another thread's takes just when it would have."""

    class Contended(list[Any]):
        def __bool__(self) -> bool:
            return True

    recorder = Recorder()
    port = listen(fast, recorder)
    port._shelf = Contended()
    peers(port).send(b"x")
    turn(fast, lambda: recorder.received)
    assert recorder.received == [b"x"]


def test_processes_do_not_share_room() -> None:
    """What a process receives after a fork, its parent does not see."""
    with contextlib.ExitStack() as stack:
        ours, theirs, sender = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        )
        room = messages.Messages(socket.AF_INET, 100)
        for receiver in ours, theirs:
            receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"parent", ours.getsockname())
        room.receive(ours.fileno(), 1)
        sender.sendto(b"child's", theirs.getsockname())
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os._exit(room.receive(theirs.fileno(), 1))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert room.datagram(0, 6) == b"parent"
