"""The client side of byte streams, on any transport: exchanges, and connecting, with TLS or without."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.protocols._contract import Exchanger, OnLost, OnReply, Route
from netecho.protocols._send_proxy import SendProxyFactory
from netecho.protocols._tls import HalfCloseableTLSFactory


class StreamExchanger(Protocol):
    """Exchanges on a byte stream; provides `netecho.protocols._contract.Exchanger`.

    An echo is known by its length alone: it has as many bytes as its message, and echoes come in the order of
    the messages.
    """

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        # Two attributes that Twisted sets later, made here: see `netecho.reactor.streams.BeingMade`.
        self.transport: Any = None
        self.connected = 0
        self._on_reply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._sequence = -1
        """The exchange whose echo is the next to come."""
        self._whole = 0
        """The size of its echo, if no other message was sent since and nothing of the echo has come; else
        0."""
        self._missing = 0
        """The bytes that its echo still lacks; 0 if no echo is awaited."""
        self._behind: collections.deque[tuple[int, int]] = collections.deque()
        """The sequence number and size of the exchanges whose echoes come after it."""
        self._pieces: list[bytes] = []

    def connectionMade(self) -> None:
        """Let small messages leave at once."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        if self._missing:
            self._whole = 0
            self._behind.append((sequence, len(payload)))
        else:
            self._sequence = sequence
            self._whole = self._missing = len(payload)
        self.transport.write(payload)

    def dataReceived(self, data: bytes) -> None:
        """Divide what comes into echoes as long as the messages were."""
        size = len(data)
        if size == self._whole:
            self._whole = self._missing = 0
            on_reply = self._on_reply
            on_reply(self._sequence, data)
        elif size == self._missing and not self._pieces:
            sequence = self._sequence
            self._sequence, self._missing = self._behind.popleft() if self._behind else (-1, 0)
            self._on_reply(sequence, data)
        elif not self._missing:
            self._on_reply(None, data)
        elif size < self._missing:
            self._whole = 0
            self._pieces.append(data)
            self._missing -= size
        else:
            self._cut(data)

    def _cut(self, data: bytes) -> None:
        self._whole = start = 0
        # A message that is sent while these echoes are passed on cannot have its own echo among them.
        awaited = len(self._behind) + 1
        while awaited and len(data) - start >= self._missing:
            end = start + self._missing
            self._pieces.append(data[start:end])
            payload = b"".join(self._pieces)
            self._pieces.clear()
            start = end
            awaited -= 1
            sequence = self._sequence
            self._sequence, self._missing = self._behind.popleft() if self._behind else (-1, 0)
            self._on_reply(sequence, payload)
        if start < len(data):
            if awaited:
                self._pieces.append(data[start:])
                self._missing -= len(data) - start
            else:
                self._on_reply(None, data[start:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report it, unless `close` did it."""
        if self._on_lost is not None:
            on_lost, self._on_lost = self._on_lost, None
            on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = None
        self._on_reply = _ignore
        if self._missing:
            self.transport.abortConnection()
        else:  # nothing is under way, and a server has no cause to log a reset
            self.transport.loseConnection()


def _ignore(*_: object) -> None:
    """Take an echo that nobody waits for any more."""


class _ConnectedFactory(Factory):
    """Gives the connection a protocol that exists already, and tells when."""

    noisy = False

    def __init__(self, built: Protocol, on_connected: Callable[[], object] | None) -> None:
        self._built = built
        self._on_connected = on_connected

    def buildProtocol(self, addr: Any) -> Any:
        if self._on_connected is not None:
            self._on_connected()
        return self._built


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Stands in for a client's protocol until the TLS handshake is complete, so that it begins only then."""

    transport: Any

    def __init__(self, successor: Protocol, on_established: Callable[[], object] | None) -> None:
        self._successor = successor
        self._on_established = on_established
        self.completed: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def handshakeCompleted(self) -> None:
        if self._on_established is not None:
            self._on_established()
        self.transport.wrappedProtocol = self._successor
        self._successor.makeConnection(self.transport)
        self.completed.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.completed.called:  # else it was given up, and this is what came of it
            self.completed.errback(reason)


def _shorten(protocol: Any) -> None:
    """Have a transport call its protocol directly: the endpoint's wrapper does nothing but pass on."""
    if hasattr(protocol.transport, "protocol"):
        protocol.transport.protocol = protocol


def connect_protocol(
    reactor: Any,
    endpoint: Any,
    route: Route,
    protocol: Protocol,
    on_connected: Callable[[], object] | None = None,
) -> Deferred[Any]:
    """Connect `protocol` over an endpoint, with TLS if the route has it; fires with it once it can talk.

    A PROXY header goes before all that. The route's timeout covers the connection and the handshake.
    `on_connected` is called when each of these two is there.
    """

    async def connect_by(factory: Any) -> None:
        if route.proxy is None:
            _shorten(await endpoint.connect(factory))
        else:
            sender = await endpoint.connect(SendProxyFactory(route.proxy, factory))
            _shorten(sender.successor)

    async def connect() -> Protocol:
        if route.tls is None:
            await connect_by(_ConnectedFactory(protocol, on_connected))
        else:
            handshake = _Handshake(protocol, on_connected)
            factory: Any = _ConnectedFactory(handshake, on_connected)
            await connect_by(HalfCloseableTLSFactory(route.tls, True, factory, reactor))
            await handshake.completed
        return protocol

    return Deferred.fromCoroutine(connect()).addTimeout(route.timeout, reactor, _time_out)


def _time_out(outcome: Any, timeout: float) -> Any:
    """Have what was given up fail as a timeout: endpoints have a word of their own for being cancelled."""
    if isinstance(outcome, Failure):
        raise TimeoutError(f"not connected in {timeout} s")
    return outcome


def connect_exchanger(
    reactor: Any,
    endpoint: Any,
    route: Route,
    on_reply: OnReply,
    on_lost: OnLost,
    on_connected: Callable[[], object] | None,
) -> Deferred[Exchanger]:
    """Connect a `StreamExchanger`; see `Adapter.connect`."""
    return connect_protocol(reactor, endpoint, route, StreamExchanger(on_reply, on_lost), on_connected)
