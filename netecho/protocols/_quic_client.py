"""The client side of QUIC: one connection, on a socket of its own, for whoever uses its streams."""

from __future__ import annotations

import errno
from typing import Any, Final

from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.python.failure import Failure

from netecho.errors import ConnectError
from netecho.protocols._contract import Route
from netecho.protocols._datagram_client import peer_by, send
from netecho.protocols._quic_link import Link
from netecho.protocols._quic_wire import Wire, alert, configuration
from netecho.reactor.losses import lost_by

KEEP_ALIVE: Final = 20.0
"""Seconds after which an open but idle connection sends a PING, so that the other end does not give it up."""
HIGH: Final = 256 << 10
LOW: Final = 64 << 10
"""Bytes not acknowledged at which a producer is paused (`HIGH`), and resumed (`LOW`)."""


class ResetError(ConnectionLost):
    """The other end reset the stream"""  # noqa: D400, D415 - Twisted shows this as the error's message


class ClosedError(ConnectionLost):
    """The other end closed the connection"""  # noqa: D400, D415 - as above


class NotQUICError(ConnectionLost):
    """What the other end says is not QUIC"""  # noqa: D400, D415 - as above


class ClientLink(Link):
    """A client's connection, on a port of its own.

    Args:
        reactor: provides `IReactorTime`.
        route: says how it speaks TLS, and to whom.
        alpn: what it offers unless the user says something else.
    """

    def __init__(self, reactor: Any, route: Route, alpn: tuple[str, ...]) -> None:
        self.route = route
        self.port: Any = None
        settings = configuration(route.tls, alpn, route.multiplex.qlog, is_client=True)
        settings.session_ticket = route.tls.session if route.tls.resumes else None
        wire = Wire(settings, route.tls, session_ticket_handler=self._keep_session)
        super().__init__(reactor, wire, self._write)
        self.opened: Deferred[ClientLink] = Deferred(lambda _: self.abort())
        """Fires when there can be streams; fails with the reason why there are none."""
        self._user: Any = None
        self._early: list[QuicEvent] = []
        """What has come for the user before there was one: a server may speak as soon as it can send."""
        self._is_given_up = False
        self._is_shaken = False
        self._ping = 0
        self.transport = Transport(self)

    def _keep_session(self, ticket: Any) -> None:
        if self.route.tls.resumes:
            self.route.tls.session = ticket

    def connect(self, port: Any) -> None:
        """Begin the handshake, now that there is a port."""
        self.port = port
        address = self.route.addresses[0], self.route.target.port
        self.wire.connect(address, self.reactor.seconds())
        self.flush()

    def use(self, user: Any) -> None:
        """Set what is told of streams, and of the end: an object with `happened`, `flushed` and `lost`."""
        self._user = user
        self.flush_soon()

    def gather(self) -> None:
        """Tell the user what came before it was there: not at once, as that may bring the end."""
        user = self._user
        if self._early and user is not None:
            early, self._early = self._early, []
            self.wire.withheld = 0
            for event in early:
                user.happened(event)

    def _write(self, datagram: bytes, _: object) -> None:
        try:
            send(self.port, datagram)
        except BlockingIOError:
            pass  # it is lost like any other, and sent again
        except OSError:
            # Later it is too: as with TCP, a network that is away for a moment ends no connection.
            if not self._is_shaken:
                self.lose(Failure())

    def received(self, datagram: bytes, _: object) -> None:
        """Take a datagram: all come from the one peer that the port is connected to."""
        super().received(datagram, (self.route.addresses[0], self.route.target.port))
        # If the server has asked for a certificate, it says only after the handshake whether it accepts it.
        heard = self._is_shaken and (self.wire.is_confirmed or not self.wire.is_asked)
        if heard and not self.is_over and not self.opened.called:
            self.opened.callback(self)

    def happened(self, event: QuicEvent) -> None:
        """Pass it on."""
        if isinstance(event, HandshakeCompleted):
            self._is_shaken = True
            self.deadline = self.reactor.seconds() + KEEP_ALIVE
            self.flush()  # before anything else: this completes the handshake for the other end
        elif self._user is not None and not self._early:
            self._user.happened(event)
        elif isinstance(event, StreamDataReceived | StreamReset | StopSendingReceived):
            self._early.append(event)
            self.wire.withheld += len(getattr(event, "data", b""))

    def flushed(self) -> None:
        """Pass it on."""
        if self._user is not None:
            self._user.flushed()

    def overdue(self) -> None:
        """See `KEEP_ALIVE`."""
        self.deadline = self.reactor.seconds() + KEEP_ALIVE
        self._ping += 1
        self.wire.send_ping(self._ping)
        self.flush_soon()

    def over(self, why: ConnectionTerminated) -> None:
        """Close the port, and tell whoever waits for something."""
        self._close_port()
        self._tell(lambda: self._reason(why))

    def lose(self, reason: Failure) -> None:
        """End, as the system says that there is nobody at the other end."""
        if not self.is_over:
            self.is_over = True
            self.stop_timers()
            self._close_port()
            self._tell(lambda: reason)

    def _tell(self, reason: Any) -> None:
        user, self._user = self._user, None
        if self._is_given_up:
            return
        if not self.opened.called:
            self.opened.errback(reason())
        elif user is not None:
            user.lost(reason())

    def _close_port(self) -> None:
        if self.port is not None:
            self.port.stopListening()

    def _reason(self, why: ConnectionTerminated) -> Failure:
        """Return the end of a connection as a protocol's `connectionLost` is told of it."""
        if self.wire.refusal is not None:
            return Failure(self.wire.refusal)
        if (said := alert(why.error_code)) is not None and why.frame_type is not None:
            return Failure(said)
        if self.wire.is_reset:
            return lost_by(OSError(errno.ECONNRESET, "the other end does not know it any more"))
        words = why.reason_phrase.rstrip(".")
        if words == "Idle timeout":
            return lost_by(OSError(errno.ETIMEDOUT, "the other end has fallen silent"))
        if not self.opened.called:
            if why.error_code == QuicErrorCode.CONNECTION_REFUSED:
                words = words or "it takes no connections now"
            words = f"connection to {self.route.target} failed: {words or hex(why.error_code)}"
            return Failure(ConnectError(words))
        if (why.error_code, why.frame_type is None) in (self.farewell, Link.farewell):
            return Failure(ConnectionDone())
        if self.ended_first:
            return Failure(NotQUICError(f"{NotQUICError.__doc__}: {words or hex(why.error_code)}"))
        return Failure(ClosedError(f"{ClosedError.__doc__}: {words or hex(why.error_code)}"))

    def abort(self) -> None:
        """End the connection at once; neither `opened` nor the user is told of it."""
        self._is_given_up = True
        self.part()


class ClientPort(DatagramProtocol):
    """The socket of one connection."""

    noisy = False

    def __init__(self, link: ClientLink) -> None:
        self._link = link

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass it on."""
        self._link.received(datagram, addr)

    def connectionRefused(self) -> None:
        """The other end's system says that nothing listens (ICMP port unreachable)."""
        self._link.lose(Failure(ConnectionRefusedError("port unreachable")))

    def stopProtocol(self) -> None:
        """The reactor has closed the socket, as epoll's does when such a message comes in idle time."""
        self.connectionRefused()


class Unheard(Protocol):
    """Takes what comes on a connection's streams, and does nothing with it."""


class Transport:
    """A connection as a transport: as much of `ITransport` as makes sense without a stream."""

    disconnecting = False

    def __init__(self, link: ClientLink) -> None:
        self.link = link
        self.protocol: Protocol = Unheard()
        """Told of what comes; see `netecho.protocols._first_byte`."""
        self._producer: Any = None
        self._paused = False

    @property
    def agreement(self) -> Any:
        """What has been agreed upon."""
        return self.link.wire.agreement()

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return peer_by(self.link.route)

    def getHost(self) -> Any:
        """Return our address."""
        return self.link.port.getHost()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer wait while the other end does not read."""
        self._producer = producer
        self.regulate(self.link.wire.backlog)

    def unregisterProducer(self) -> None:
        """Have nobody wait."""
        self._producer = None
        self._paused = False

    def regulate(self, backlog: int) -> None:
        """Pause or resume the producer; `backlog` is the bytes that wait to be sent or acknowledged."""
        if self._producer is None:
            return
        if not self._paused and backlog >= HIGH:
            self._paused = True
            self._producer.pauseProducing()
        elif self._paused and backlog <= LOW:
            self._paused = False
            self._producer.resumeProducing()

    def loseConnection(self) -> None:
        """End the connection."""
        self.link.abort()

    abortConnection = loseConnection
