"""How what comes on a byte stream is cut into echoes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from netecho.plans import ClientTLS, Target
from netecho.protocols._contract import Route
from netecho.protocols._stream_client import StreamExchanger, connect_protocol
from netecho.services.tls import for_client
from tests import reactors

SIZES = st.integers(1, 5)


def echoes_of(sizes: Sequence[int], received: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the echoes of messages of these sizes in what has come, and what is left of it."""
    found = []
    for sequence, size in enumerate(sizes):
        if len(received) < size:
            break
        found.append((sequence, received[:size]))
        received = received[size:]
    return found, received


class Talk:
    """An exchanger, and what it has been told and has told."""

    def __init__(self, following: Sequence[int] = ()) -> None:
        self.sizes: list[int] = []
        self.replies: list[tuple[int | None, bytes]] = []
        self._following = list(following)
        self.exchanger = StreamExchanger(self._replied, lambda _: None)
        self.transport = StringTransportWithDisconnection()
        protocol: Any = self.exchanger
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, size: int) -> None:
        """Send a message of so many bytes."""
        sequence = len(self.sizes)
        self.sizes.append(size)
        self.exchanger.send(sequence, bytes([sequence % 256]) * size)

    def _replied(self, sequence: int | None, payload: bytes, *_: object) -> None:
        self.replies.append((sequence, payload))
        if sequence is not None and self._following:
            self.send(self._following.pop(0))


@given(st.lists(SIZES, min_size=1, max_size=6), st.lists(SIZES, max_size=6), st.lists(SIZES, max_size=30))
@example([3], [], [3])
@example([3], [3, 3], [1, 2, 3, 2, 1])
@example([2, 3], [3], [5, 3])
@example([2, 3], [4], [2, 3, 4])
@example([3], [2], [4, 1])
def test_echoes(sizes: list[int], following: list[int], pieces: list[int]) -> None:
    """Whatever pieces they come in, and whether others are sent when they have or before, each is told."""
    talk = Talk(following)
    for size in sizes:
        talk.send(size)
    content = iter(range(256))
    received = b""
    for piece in pieces:
        # No more than has been sent, since that answers nothing.
        data = bytes(next(content) for _ in range(min(piece, sum(talk.sizes) - len(received))))
        if data:
            received += data
            talk.exchanger.dataReceived(data)
        found, _ = echoes_of(talk.sizes, received)
        assert talk.replies == found
    assert talk.transport.value() == b"".join(bytes([n % 256]) * size for n, size in enumerate(talk.sizes))


@given(st.lists(SIZES, max_size=4), st.integers(0, 20), st.integers(1, 9), SIZES)
@example([3], 1, 1, 2)
@example([3], 0, 3, 2)
def test_too_much(sizes: list[int], first: int, more: int, size: int) -> None:
    """What comes beyond what was sent is told too, as answering nothing; the next echo is not cut wrong."""
    talk = Talk()
    for one in sizes:
        talk.send(one)
    data = bytes(sum(sizes) + more)
    first = min(first, sum(sizes))
    for piece in (data[:first], data[first:], bytes(more)):
        if piece:
            talk.exchanger.dataReceived(piece)
    assert talk.replies == [*enumerate(map(bytes, sizes)), (None, bytes(more)), (None, bytes(more))]
    talk.send(size)
    talk.exchanger.dataReceived(b"x" * size)
    assert talk.replies[-1] == (len(sizes), b"x" * size)


def test_no_more_is_told_when_closed() -> None:
    """What comes in the meantime is not told."""
    talk = Talk()
    talk.send(3)
    talk.exchanger.close()
    assert talk.transport.disconnected
    talk.exchanger.dataReceived(bytes(3))
    assert talk.replies == []


def test_not_connected_in_time() -> None:
    """An attempt that the route's timeout ends has timed out, whatever the endpoint calls it."""
    reactor: Any = MemoryReactorClock()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 1, timeout=30)
    connected = connect_protocol(reactor, endpoint, Route(Target(), timeout=0.5), Protocol())
    failures: list[Failure] = []
    connected.addErrback(failures.append)
    reactor.advance(0.49)
    assert not failures
    reactor.advance(0.01)
    assert failures[0].check(TimeoutError) is TimeoutError


def test_given_up_amid_the_handshake() -> None:
    """Who gives up an attempt that waits for TLS has its end, and the other end the connection's."""

    def read_to_the_end(peer: socket.socket) -> None:
        with peer, contextlib.suppress(ConnectionResetError):
            while peer.recv(1024):
                pass

    async def scenario(reactor: Any) -> None:
        connected: Deferred[None] = Deferred()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = TCP4ClientEndpoint(reactor, *listener.getsockname())
            security = for_client(ClientTLS(), "127.0.0.1", {})
            route = Route(Target(), tls=security)
            attempt = connect_protocol(
                reactor, endpoint, route, Protocol(), lambda: reactor.callLater(0, connected.callback, None)
            )
            failures: list[Failure] = []
            attempt.addErrback(failures.append)
            await connected
            peer, _ = listener.accept()
            attempt.cancel()
            await deferToThread(read_to_the_end, peer)
            assert [failure.type for failure in failures] == [CancelledError]

    reactors.run("fast", scenario)


def test_connected_as_time_was_over() -> None:
    """What connects although it is given up is connected."""
    reactor: Any = MemoryReactorClock()

    class Steadfast:
        """An endpoint that is connected when it is told to give up."""

        def connect(self, factory: Any) -> Any:
            """See `IStreamClientEndpoint.connect`."""
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(StringTransportWithDisconnection())
            return Deferred(lambda attempt: attempt.callback(protocol))

    protocol = Protocol()
    connected = connect_protocol(reactor, Steadfast(), Route(Target(), timeout=0.5), protocol)
    found: list[Any] = []
    connected.addCallback(found.append)
    reactor.advance(0.5)
    assert found == [protocol]
