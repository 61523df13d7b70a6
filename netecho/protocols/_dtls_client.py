"""The client side of DTLS: a conversation in messages, and exchanges through one.

Nothing tells a client that its server has lost their association, as one does that is killed and started
again: it drops what it has no keys for. So an association that has fallen silent is doubted, and a new
handshake begun beside it, on a port of its own: then it makes no difference what the path, or the server,
remembers of the old port. The old association stays in use until the new handshake is complete (as RFC 6347
section 4.2.8 has servers do it). If a message comes in it meanwhile, there was but a gap in the path, and the
new handshake is given up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from netecho.protocols._attempts import connect_to_any
from netecho.protocols._backoff import Backoff
from netecho.protocols._contract import Exchanger, OnLost, OnReply, Route
from netecho.protocols._datagram_client import ConnectedPort, MessageTransport, connect_port, peer_by, send
from netecho.protocols._dtls_association import MINIMUM_MTU, Association, datagram_size
from netecho.protocols._sockets import is_ipv6, listen_udp

UNANSWERED: Final = 3
"""Messages with no answer to any of them, at least, before an association is doubted: datagrams are lost."""
PATIENCE: Final = 1.0
"""Seconds of silence before it is doubted, or the route's timeout if that is longer: as long as a flight of a
handshake is waited for (RFC 6347 section 4.2.4.1)."""
_LOOKS: Final = 4
_MOST_LOOKS: Final = 8 * _LOOKS
"""How often it is looked for silence in that time, and in the longest."""


class AssociationPort(ConnectedPort):
    """A client's association and its port; provides `netecho.protocols._dtls_association.Party`.

    Args:
        clock: runs the timers of the handshake.
        route: says how it speaks TLS, and to whom.
        on_message: called with each message, when the handshake is complete.
        on_lost: called with the reason when the association ends after that, otherwise than by `close`.
    """

    transport: Any

    def __init__(
        self, clock: Any, route: Route, on_message: Callable[[bytes], object], on_lost: OnLost
    ) -> None:
        mtu = route.sockets.mtu
        self._limited = mtu is not None
        self._largest: int | None = None
        self._on_message = on_message
        self._on_lost = on_lost
        self._is_over = False
        connection: SSL.Connection = route.tls.clientConnectionForTLS(self)
        connection.set_connect_state()
        size = datagram_size(MINIMUM_MTU if mtu is None else mtu, is_ipv6=is_ipv6(route.addresses[0]))
        self._association = Association(clock, connection, size, self._transmit, self)
        self.completed: Deferred[AssociationPort] = Deferred(lambda _: self.close())
        """Fires with this when the handshake is complete."""

    @property
    def connection(self) -> SSL.Connection:
        """OpenSSL's side."""
        return self._association.connection

    def shake_hands(self) -> Deferred[AssociationPort]:
        """Begin the handshake, now that there is a port; fires when it is complete."""
        self._association.shake_hands()
        return self.completed

    def established(self) -> None:
        """See `Party.established`."""
        if self._limited:
            self._largest = self.connection.get_cleartext_mtu()
        self.completed.callback(self)

    def message_received(self, message: bytes) -> None:
        """See `Party.message_received`."""
        self._on_message(message)

    def ended(self, reason: Failure) -> None:
        """See `Party.ended`."""
        self._end(reason)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Give a datagram to the association, which decrypts it."""
        self._association.received(datagram)

    def _transmit(self, datagram: bytes) -> bool:
        if self.transport is None:
            return False  # the reactor has closed the socket, and will tell us
        try:
            send(self.transport, datagram)
        except BlockingIOError:
            return False  # it is lost like any other
        except OSError:
            if not self._association.is_established:
                self._end(Failure())
            return False  # a network that is away for a moment ends no association
        return True

    def write(self, message: bytes) -> bool:
        """Send a message, if it fits into a packet of --mtu, and a record; return whether it was sent."""
        return (self._largest is None or len(message) <= self._largest) and self._association.write(message)

    def close(self) -> None:
        """End the association, with a close_notify if the handshake is complete, and close the port."""
        if not self._is_over:
            self._is_over = True
            self._association.close()
            if self.transport is not None:
                self.transport.stopListening()

    def _end(self, reason: Failure) -> None:
        if self._is_over:
            return
        begun = self._association.is_established
        self.close()
        if begun:
            self._on_lost(reason)
        else:
            self.completed.errback(reason)


class SecureConversation(MessageTransport):
    """A conversation in DTLS, each message a datagram.

    It is the transport of its protocol, which is connected when the handshake is complete. If the association
    falls silent, another one takes its place where `Route.on_reopened` allows it.
    """

    def __init__(self, clock: Any, route: Route, protocol: Protocol) -> None:
        super().__init__(protocol)
        self._clock = clock
        self._route = route
        self._open = self._new_port()
        self._successor: AssociationPort | None = None
        """The one whose handshake has been begun as the other is silent."""
        self._backoff = Backoff()
        self._patience = max(PATIENCE, route.timeout)
        self._watch: Any = None
        """The timer of the next look for silence, or of the next attempt to end it."""
        self._unanswered = 0
        """Messages sent since one came."""
        self._silent_looks = 0
        self._most_silent = _LOOKS
        """After how many silent looks the association is doubted: twice as many after each one that brought
        nothing, as there are servers that answer nothing."""
        self._is_paused = False

    def _new_port(self) -> AssociationPort:
        return AssociationPort(self._clock, self._route, self._received, self._end)

    def _connect(self, port: AssociationPort) -> Any:
        return connect_port(functools.partial(listen_udp, self._clock), self._route, port)

    def connect(self) -> None:
        """Open a port.

        Raises:
            CannotListenError: there is none to send from.
            OSError: the system does not allow it.
        """
        self.transport = self._connect(self._open)

    def shake_hands(self) -> Deferred[Any]:
        """Begin the handshake, now that there is a port; fires with the protocol when that is connected."""
        return self._open.shake_hands().addCallback(lambda _: self.begin())

    def _received(self, message: bytes) -> None:
        self._unanswered = self._silent_looks = 0
        self._most_silent = _LOOKS
        self._backoff.reset()
        if self._successor is not None:
            self._give_up_successor()
        self._protocol.dataReceived(message)

    def write(self, datagram: bytes) -> None:
        """Send a message. One that does not fit into a packet of --mtu, or a record, is lost."""
        if self._open.write(datagram):
            self._unanswered += 1
            if self._watch is None and self._successor is None:
                self._look_later()

    # What falls silent.

    def _look_later(self) -> None:
        if self._route.on_reopened is not None and not self.disconnecting:
            self._watch = self._clock.callLater(self._patience / _LOOKS, self._look)

    def _look(self) -> None:
        """See whether the association has been silent for long enough to be doubted."""
        self._watch = None
        if self._is_paused or not self._unanswered:
            self._silent_looks = 0
            return  # the next message has it looked for again
        self._silent_looks += 1
        if self._silent_looks > self._most_silent and self._unanswered >= UNANSWERED:
            self._begin_anew()
        else:
            self._look_later()

    def _begin_anew(self) -> None:
        """Begin another association beside the one that is silent."""
        self._watch = None
        successor = self._new_port()
        try:
            self._connect(successor)
        except (CannotListenError, OSError):
            self._begin_anew_later()
            return
        self._successor = successor
        completed = successor.shake_hands().addTimeout(self._route.timeout, self._clock)
        completed.addCallbacks(self._succeeded, self._failed)

    def _begin_anew_later(self) -> None:
        self._watch = self._clock.callLater(self._backoff.pause(), self._look)

    def _succeeded(self, successor: AssociationPort) -> None:
        """Have the new association in the place of the old one."""
        former, self._open = self._open, successor
        self._successor = None
        self.transport = successor.transport
        if self._is_paused:
            self.transport.pauseProducing()
        former.close()
        self._unanswered = self._silent_looks = 0
        self._most_silent = min(2 * self._most_silent, _MOST_LOOKS)
        if self._route.on_reopened is not None:
            self._route.on_reopened()

    def _failed(self, reason: Failure) -> None:
        """Try again, unless the other end has said that there is no use in it."""
        if self._successor is None:
            return  # it is we who gave it up
        self._successor = None
        if reason.check(TimeoutError, ConnectionRefusedError, OSError):
            self._begin_anew_later()
        else:
            self._end(reason)

    def _give_up_successor(self) -> None:
        successor, self._successor = self._successor, None
        if successor is not None:
            successor.completed.cancel()
        self._look_later()

    # The end, and pauses.

    def _end(self, reason: Failure) -> None:
        if self.disconnecting:
            return
        self.disconnecting = True
        if self._watch is not None:
            self._watch.cancel()
        self._give_up_successor()
        self._open.close()
        self._protocol.connectionLost(reason)

    def pauseProducing(self) -> None:
        """Read no datagrams for now."""
        self._is_paused = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Read datagrams again."""
        self._is_paused = False
        super().resumeProducing()

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return peer_by(self._route)

    def getHandle(self) -> SSL.Connection:  # noqa: N802 - Twisted's
        """Return OpenSSL's side, for showing what was negotiated."""
        return self._open.connection


class DTLSExchanger(Protocol):
    """Exchanges in a conversation; provides `netecho.protocols._contract.Exchanger`."""

    transport: Any

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        self._on_reply: OnReply | None = on_reply
        self._on_lost: OnLost | None = on_lost

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        self.transport.write(payload)

    def dataReceived(self, data: bytes) -> None:
        """Pass an echo on."""
        if self._on_reply is not None:
            self._on_reply(None, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report it, unless `close` did it."""
        if self._on_lost is not None:
            on_lost = self._on_lost
            self._on_reply = self._on_lost = None
            on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_reply = self._on_lost = None
        self.transport.loseConnection()


def converse_securely(reactor: Any, route: Route, protocol: Protocol) -> Deferred[Any]:
    """Connect a protocol over DTLS; see `Adapter.converse`. It is the handshake that connects."""

    def connect(one: Route) -> Deferred[Any]:
        conversation = SecureConversation(reactor, one, protocol)
        conversation.connect()
        return conversation.shake_hands()

    return connect_to_any(reactor, route, connect)


def connect_securely(reactor: Any, route: Route, on_reply: OnReply, on_lost: OnLost) -> Deferred[Exchanger]:
    """Connect exchanges over DTLS; see `Adapter.connect`."""
    return converse_securely(reactor, route, DTLSExchanger(on_reply, on_lost))
