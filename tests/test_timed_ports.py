"""UDP ports that know when a datagram came, how many hops it had left, and where it was sent."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import DatagramProtocol

from netecho.plans import Target
from netecho.protocols import load
from netecho.protocols._contract import Route
from netecho.protocols._timed_ports import MOST_HOPS, TimedSocket, listen_timed
from tests import reactors


class Answering(DatagramProtocol):
    """Keeps what a port says of a datagram, and sends that back."""

    transport: Any
    noisy = False

    def __init__(self) -> None:
        self.came: Deferred[tuple[int, int]] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep, and answer."""
        self.transport.write(datagram, addr)
        self.came.callback((self.transport.socket.received_ns, self.transport.socket.hops))


@pytest.mark.parametrize("kind", reactors.KINDS)
@pytest.mark.parametrize(
    ("interface", "peer"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.2"),
        ("::", "::1"),
        ("::", "127.0.0.2"),
    ],
)
def test_what_is_known(kind: str, interface: str, peer: str) -> None:
    """It is what the system says, whatever the family, and an answer leaves from where the datagram came."""

    async def scenario(reactor: Any) -> None:
        protocol = Answering()
        port = listen_timed(reactor, 0, protocol, interface, 65_536)
        family = socket.AF_INET6 if ":" in peer else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as ours:
            ours.settimeout(reactors.TIMEOUT)
            ours.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
            if family == socket.AF_INET6:
                ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 7)
                ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            else:
                ours.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
            ours.connect((peer, port.getHost().port))
            before = time.time_ns()
            ours.send(b"datagram")
            received_ns, hops = await protocol.came
            assert before <= received_ns <= time.time_ns()
            assert hops == 7
            if interface in ("0.0.0.0", "::"):
                origin = port.socket._origin
                assert origin is not None
                interface_number = origin[2][:4] if interface == "0.0.0.0" else origin[2][16:]
                assert not any(interface_number), "the answer may leave by another interface"
            datagram, ancillary, _, _ = ours.recvmsg(100, 100)
            assert datagram == b"datagram"
            assert [int.from_bytes(data, "little") for _, _, data in ancillary] == [MOST_HOPS]
        await port.stopListening()

    reactors.run(kind, scenario)


def test_time_is_when_it_came() -> None:
    """However long a datagram waits to be read, its time is that at which it came."""
    with TimedSocket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        # The kernel begins to note times a moment after it is asked to.
        for _ in range(100_000):
            ours.sendto(b"to myself", ours.getsockname())
            sent_ns = time.time_ns()
            ours.recvfrom(100)
            if ours.received_ns <= sent_ns:
                return
    pytest.fail("it is always the time at which it is read")


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system of which less is known, a datagram came when it was read, with no hop taken."""
    monkeypatch.setattr("sys.platform", "darwin")
    with TimedSocket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.sendto(b"to myself", ours.getsockname())
        before = time.time_ns()
        assert ours.recvfrom(100) == (b"to myself", ours.getsockname())
        assert before <= ours.received_ns <= time.time_ns()
        assert ours.hops == MOST_HOPS


def test_kernel_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of such a datagram the time is that at which it is read; what was said of the last is forgotten."""
    with TimedSocket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.received_ns, ours.hops = 1, 7
        ours._origin = socket.IPPROTO_IP, 8, socket.inet_aton("192.0.2.1") * 3
        monkeypatch.setattr(TimedSocket, "recvmsg", lambda *_: (b"?", [], 0, ("127.0.0.1", 1)))
        before = time.time_ns()
        assert ours.recvfrom(100) == (b"?", ("127.0.0.1", 1))
        assert before <= ours.received_ns <= time.time_ns()
        assert ours.hops == MOST_HOPS
        assert ours._origin is None


def test_datagram_for_a_group() -> None:
    """What was sent to a group, which is no address to answer from, is answered from another."""
    with (
        TimedSocket(socket.AF_INET6, socket.SOCK_DGRAM) as port,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer,
    ):
        port.bind(("::", 0))
        peer.bind(("::1", 0))
        peer.settimeout(reactors.TIMEOUT)
        peer.sendto(b"one", ("::1", port.getsockname()[1]))
        _, address = port.recvfrom(100)
        assert port._origin is not None
        # Not every system has a loopback interface on which groups can be joined.
        group = socket.inet_pton(socket.AF_INET6, "ff02::1")
        port._origin = (*port._origin[:2], group + bytes(4))
        port.sendto(b"answer", address)
        assert peer.recv(100) == b"answer"


def test_no_other_error_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else keeps an answer from being sent is told, and it is not sent from elsewhere."""

    def refuse(*_: object) -> int:
        raise BlockingIOError

    with TimedSocket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("0.0.0.0", 0))
        port.sendto(b"myself", ("127.0.0.1", port.getsockname()[1]))
        _, address = port.recvfrom(100)
        monkeypatch.setattr(TimedSocket, "sendmsg", refuse)
        with pytest.raises(BlockingIOError):
            port.sendto(b"answer", address)


def test_address_of_no_interface() -> None:
    """A port that cannot be opened says so as Twisted's do."""

    async def scenario(reactor: Any) -> None:
        with pytest.raises(CannotListenError):
            listen_timed(reactor, 0, DatagramProtocol(), "192.0.2.1", 100)

    reactors.run("fast", scenario)


@pytest.mark.parametrize("kind", reactors.KINDS)
@pytest.mark.parametrize("before", ["nothing", "an answer"])
def test_refusal(kind: str, before: str) -> None:
    """A sender is told that nothing listens, or does no longer, on whichever reactor."""

    async def scenario(reactor: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
            reserved.bind(("127.0.0.1", 0))
            target = Target("stamp", "stamp", port=reserved.getsockname()[1])
            lost: Deferred[None] = Deferred()
            route = Route(target, ("127.0.0.1",))
            exchanger = await load("stamp").connect(reactor, route, lambda *_: None, lost.errback)
            if before == "an answer":
                exchanger.send(0, b"")
                _, address = reserved.recvfrom(100)
                reserved.sendto(b"?", address)
        exchanger.send(1, b"")
        with pytest.raises(ConnectionRefusedError):
            await lost
        exchanger.close()

    reactors.run(kind, scenario)
