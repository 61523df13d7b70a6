"""What the reactor's transports are to Python: what they cost, and which of their methods are called."""

from __future__ import annotations

import contextlib
import gc
import pathlib
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from twisted.internet.protocol import ClientFactory, Factory, Protocol

from netecho.reactor import streams, unixstreams
from tests import reactors
from tests.reactors import turn

MANY = 100


class Echo(Protocol):
    """Sends back what it receives."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        """Send it."""
        self.transport.write(data)


@pytest.fixture
def reactor() -> Iterator[Any]:
    """Make a reactor of ours."""
    with reactors.fresh("fast") as made:
        yield made


class Clients:
    """Connections of a reactor to a socket that listens, TCP's or a UNIX one."""

    def __init__(self, reactor: Any, listener: socket.socket) -> None:
        self._reactor = reactor
        self._listener = listener
        self._peers = contextlib.ExitStack()
        self.protocols: list[Echo] = []

    def connect(self, count: int) -> None:
        """Begin to connect so many, together, and wait until all have echoed something."""
        expected = len(self.protocols) + count
        factory: Any = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = self._build
        for _ in range(count):
            if self._listener.family == socket.AF_UNIX:
                self._reactor.connectUNIX(self._listener.getsockname(), factory)
            else:
                self._reactor.connectTCP(*self._listener.getsockname(), factory)
        turn(self._reactor, lambda: len(self.protocols) == expected)
        peers = [self._peers.enter_context(self._listener.accept()[0]) for _ in range(count)]
        for peer in peers:
            peer.setblocking(False)
            peer.send(b"?")
        for peer in peers:
            turn(self._reactor, lambda peer=peer: has_come(peer))  # type: ignore[misc]

    def _build(self, _: object) -> Any:
        self.protocols.append(Echo())
        return self.protocols[-1]

    def close(self) -> None:
        """Close them all."""
        self._peers.close()
        turn(self._reactor, lambda: not any(one.transport.connected for one in self.protocols))


def has_come(peer: socket.socket) -> bool:
    """Return whether the echo has come."""
    with contextlib.suppress(BlockingIOError):
        return peer.recv(8) == b"?"
    return False


def has_dictionary(instance: object) -> bool:
    """Return whether an instance has a dictionary of its own, and not the array that takes less."""
    return any(type(one) is dict and "socket" in one for one in gc.get_referents(instance))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_connecting_together_takes_no_more_room(
    reactor: Any, family: socket.AddressFamily, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that connect at once are kept as cheaply as those that come one by one."""
    address: Any = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket")
    module: Any = streams if family == socket.AF_INET else unixstreams
    name = "Client" if family == socket.AF_INET else "UNIXClient"
    # A new class, since Python goes by what it has seen of others of the same.
    monkeypatch.setattr(module, name, type(name, (getattr(module, name),), {}))
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen(MANY)
        clients = Clients(reactor, listener)
        clients.connect(MANY)
        assert sum(has_dictionary(one.transport) for one in clients.protocols) <= 1
        for number in range(MANY):  # more than the array has room for
            setattr(clients.protocols[-1].transport, f"attribute_{number}", number)
        assert has_dictionary(clients.protocols[-1].transport)
        clients.close()


class Noting(streams.Server):
    """A connection that notes how often it is read."""

    reads: ClassVar[list[str]] = []

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name
        """Note it, and read."""
        self.reads.append("read")
        return super().doRead()


def test_a_replaced_method_is_called(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport of somebody's own that reads otherwise does so with this reactor too."""
    monkeypatch.setattr(Noting, "reads", [])
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    port.transport = Noting
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as peer:
        peer.setblocking(False)
        peer.send(b"?")
        turn(reactor, lambda: has_come(peer))
    turn(reactor, lambda: len(Noting.reads) == 2)
    port.stopListening()
