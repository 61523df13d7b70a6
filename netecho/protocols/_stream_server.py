"""A server's connections on a byte stream, whatever they answer: how they end, and how they are counted."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.protocols._addresses import address_text
from netecho.protocols._listener import ListenSettings
from netecho.protocols._proxy_header import ProxyHeader
from netecho.protocols._sockets import has_unread, unread, unsent
from netecho.protocols._tls_info import end_seen

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a peer may take for its TLS handshake."""
LINGER: Final = 1.0
"""Seconds that a peer has to close its side, after our half is closed and it has got everything."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class ReplyProtocol(Protocol, TimeoutMixin):
    """A connection to a server, whatever it answers.

    A connection ends in one of three ways. The peer half-closes: what it is owed goes out, then our
    half is closed. The server drains: what was received is answered, then our half is closed and the
    peer has a moment to close its own. The peer makes no progress for too long: it is cut.
    """

    factory: ReplyFactory
    transport: Any
    proxied: ProxyHeader | None = None
    """The PROXY header that the connection began with, on a listener that demands one."""
    sent = 0
    spoil: Callable[[bytes], bytes] | None = None
    """What is done to the content of each answer that `messages` counts; each is written by itself then.
    `None`: nothing, and they may go out together."""
    _shaking_hands = True
    _lost = False
    _cut = False
    _due = 0
    _unsent = 0
    _begun = 0.0
    flushed = False

    def __init__(self) -> None:
        # Only what is looked at for every message. The rest has its default in the class, which takes no
        # memory.
        self.received = 0
        self.draining = False
        self.finished = False

    @property
    def messages(self) -> int | None:
        """How many messages have been answered; `None`: it knows none, and what is written at once is one."""
        return None

    @property
    def begun(self) -> int:
        """How many answers have been begun, where `messages` counts them."""
        return self.messages or 0

    @property
    def peer(self) -> Any:
        """The client's address, as Twisted has it; behind a proxy, the one that the proxy names."""
        said = None if self.proxied is None else self.proxied.source
        return self.transport.getPeer() if said is None else said

    @property
    def local(self) -> Any:
        """The address that the client has connected to, as of `peer`."""
        said = None if self.proxied is None else self.proxied.destination
        return self.transport.getHost() if said is None else said

    def connectionMade(self) -> None:
        """Have the factory count the connection, and begin to answer."""
        self._begun = self.factory.reactor.seconds()
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.factory.opened(self)
        if self.factory.settings.tls is None:
            self.handshakeCompleted()
        else:
            self.setTimeout(HANDSHAKE_TIMEOUT)

    def handshakeCompleted(self) -> None:
        """Begin the idle timeout, now that the peer is served."""
        self._shaking_hands = False
        self.setTimeout(self.factory.settings.idle_timeout)
        if self.draining:  # what came together with the end of the handshake is answered
            self._finish_soon()

    def callLater(self, period: float, function: Callable[[], object]) -> Any:
        """Use the factory's clock for `TimeoutMixin`."""
        return self.factory.reactor.callLater(period, function)

    def timeoutConnection(self) -> None:
        """End a connection that made no progress: in order at first, by force if that does not help."""
        before, self._unsent = self._unsent, unsent(self.transport.fileno())
        if self._shaking_hands:
            self.cut()
        elif before != self._unsent:
            # The peer reads, if too slowly for us to be asked for more; and to close a connection on
            # which something still arrives would throw away what it has not read yet.
            self.setTimeout(self.timeOut)
        elif self.flushed:
            self.transport.loseConnection()
        elif self.finished:
            self.cut()
        else:
            self.setTimeout(LINGER)
            self.finish()

    def finish(self) -> None:
        """End in order. What still comes in is not answered."""
        self.close_half()

    def close_half(self) -> None:
        """Close our half once all that was written is out."""
        if not self.finished:
            self.finished = True
            self.stop_answering()
            # Though nothing more is answered, the rest must be read, so that the peer's end is seen.
            self.transport.resumeProducing()
            self.transport.loseWriteConnection()

    def cut(self) -> None:
        """End the connection at once; it counts as cut unless the peer has all that it was owed."""
        if not self._cut:
            self._cut = True
            delivered = self.flushed and not unsent(self.transport.fileno())
            self.factory.settings.totals.cut += bool(self.sent) and not delivered
            self.transport.abortConnection()

    def stop_answering(self) -> None:
        """Write no more."""

    def readConnectionLost(self) -> None:
        """The peer has closed its half: send what it is owed, then close."""
        self.finished = True
        self.stop_answering()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half is closed and all is out: the peer gets a moment to close its own."""
        self.flushed = True
        self.setTimeout(LINGER)

    def drain(self) -> None:
        """Answer what has been received up to now, then finish.

        That is what the system has received too, and no more: a peer that sends without a pause gets
        its end in order like any other.
        """
        self.draining = True
        self._due = self.received + unread(self.transport.fileno())
        if self._shaking_hands:  # it has sent nothing that could be answered, and may never
            self.setTimeout(LINGER)
        else:
            self._finish_if_answered()

    def is_answered(self) -> bool:
        """Return whether all that was received before the drain has been answered."""
        return self.received >= self._due or not has_unread(self.transport.fileno())

    def _finish_if_answered(self) -> None:
        if not self._lost and not self.finished and self.is_answered():
            self.finish()

    def _finish_soon(self) -> None:
        # In the reactor's next turn: by then all that was read together has been answered.
        self.factory.reactor.callLater(0, self._finish_if_answered)

    def progressed(self) -> None:
        """Note that a byte came in or went out."""
        if self.finished:
            return  # a peer cannot hold up the end by sending more
        self.resetTimeout()
        if self.draining:
            self._finish_soon()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Have the factory forget the connection."""
        self._lost = True
        self.setTimeout(None)
        elapsed = self.factory.reactor.seconds() - self._begun
        self.factory.closed(self, reason, round(elapsed * 1e9))


@implementer(IPushProducer)
class Receiver(ReplyProtocol):
    """A connection that sends only in answer to what it receives.

    A peer that does not read is not read from. That is so even where nothing is answered, as TLS has
    answers of its own (to a request to update keys, for one), which would pile up.
    """

    def connectionMade(self) -> None:
        """Let the transport say when the peer reads too slowly."""
        super().connectionMade()
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Stop reading: the peer has not taken its answer yet."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on: the peer has taken its answer."""
        self.transport.resumeProducing()
        self.progressed()

    def stopProducing(self) -> None:
        """Nothing to do: the connection is gone."""

    def stop_answering(self) -> None:
        """Leave what is written to the transport alone."""
        self.transport.unregisterProducer()


class Unadmitted(typing.Protocol):
    """A connection that is open, and not served before its PROXY header has come."""

    transport: Any

    def drain(self, seconds: float) -> None:
        """Wait no longer than so many seconds, as the server ends."""

    def cut(self) -> None:
        """End the connection at once."""


class ReplyFactory(Factory):
    """Builds the connections of one listener, and counts them in the totals that its settings share."""

    noisy = False

    def __init__(self, reactor: Any, settings: ListenSettings, protocol: Any) -> None:
        self.reactor = reactor
        self.settings = settings
        self.protocol = protocol
        self.connections: set[ReplyProtocol] = set()
        self._waiting: set[Unadmitted] = set()
        self._drained: Deferred[None] | None = None

    def has_room(self, peer: Any) -> bool:
        """Return whether another connection may be served; if not, count and report a refusal."""
        totals, limit = self.settings.totals, self.settings.max_connections
        if limit is None or totals.open < limit:
            return True
        totals.refused += 1
        self.tell("refused", lambda: {"peer": address_text(peer), "limit": limit})
        return False

    def buildProtocol(self, addr: Any) -> Any:
        """Build a connection, or refuse it if there are too many."""
        if not self.has_room(addr):
            return None
        connection: Any = super().buildProtocol(addr)
        if isinstance(addr, ProxyHeader):
            connection.proxied = addr
        return connection

    # Connections whose PROXY header has not come yet.

    def waits(self, connection: Unadmitted) -> None:
        """Count a connection as open before it is served."""
        self.settings.totals.open += 1
        self._waiting.add(connection)

    def admitted(self, connection: Unadmitted) -> None:
        """Have it wait no more: it is served now, and `opened` counts it."""
        self.settings.totals.open -= 1
        self._waiting.discard(connection)

    def rejected(self, connection: Unadmitted, reason: str) -> None:
        """Count and report a connection that is not served, for a reason."""
        self.admitted(connection)
        self.settings.totals.rejected += 1
        self.tell(
            "rejected", lambda: {"peer": address_text(connection.transport.getPeer()), "reason": reason}
        )
        self._end_if_drained()

    def opened(self, connection: ReplyProtocol) -> None:
        """Count and report a connection that is served from now on."""
        totals = self.settings.totals
        totals.connections += 1
        totals.open += 1
        self.connections.add(connection)
        self.tell("connected", lambda: _introduction(connection))
        if self._drained is not None:
            connection.drain()

    def closed(self, connection: ReplyProtocol, reason: Failure, elapsed_ns: int) -> None:
        """Count and report the end of a connection."""
        totals = self.settings.totals
        totals.open -= 1
        totals.bytes_received += connection.received
        totals.bytes_sent += connection.sent
        self.connections.discard(connection)
        self.tell(
            "disconnected",
            lambda: {
                "peer": address_text(connection.peer),
                "bytes_received": connection.received,
                "bytes_sent": connection.sent,
                "elapsed_ns": elapsed_ns,
                "reason": end_seen(reason),
            },
        )
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self._drained is not None and not (self.connections or self._waiting):
            drained, self._drained = self._drained, None
            drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Let every connection finish; fires when the last has ended."""
        for connection in list(self.connections):
            connection.drain()
        for waiting in list(self._waiting):
            waiting.drain(LINGER)
        if not (self.connections or self._waiting):
            return succeed(None)
        self._drained = Deferred()
        return self._drained

    def abort(self) -> None:
        """End every connection at once."""
        for connection in list(self.connections):
            connection.cut()
        for waiting in list(self._waiting):
            waiting.cut()

    def tell(self, event: str, particulars: Callable[[], dict[str, Any]]) -> None:
        """Report an event; its particulars are made only if anybody listens."""
        if self.settings.on_event is not None:
            # macOS has no address for a socket that its peer has already reset.
            with contextlib.suppress(OSError):
                self.settings.on_event(event, particulars())


def _introduction(connection: ReplyProtocol) -> dict[str, Any]:
    """Return the particulars of a `connected` event: peer, local address, and proxy if there is one."""
    who = {"peer": address_text(connection.peer), "local": address_text(connection.local)}
    if connection.proxied is not None:
        who["proxy"] = address_text(connection.transport.getPeer())
    return who
