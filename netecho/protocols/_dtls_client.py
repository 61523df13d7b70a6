"""The client side of DTLS: a conversation in messages on a socket of its own, and exchanges through one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from netecho.protocols._contract import Exchanger, OnLost, OnReply, Route
from netecho.protocols._datagram_client import Conversation, connect_port
from netecho.protocols._dtls_association import MINIMUM_MTU, Association, datagram_size
from netecho.protocols._sockets import is_ipv6, listen_udp


class SecureConversation(Conversation):
    """A conversation in DTLS, each message a datagram.

    It is the transport of its protocol, which is connected when the handshake is complete. Provides
    `netecho.protocols._dtls_association.Party`.
    """

    def __init__(self, clock: Any, route: Route, protocol: Protocol) -> None:
        super().__init__(protocol)
        mtu = route.sockets.mtu
        self._limited = mtu is not None
        self._largest: int | None = None
        self._begun = False
        connection: SSL.Connection = route.tls.clientConnectionForTLS(self)
        connection.set_connect_state()
        size = datagram_size(MINIMUM_MTU if mtu is None else mtu, is_ipv6=is_ipv6(route.addresses[0]))
        self._association = Association(clock, connection, size, self._transmit, self)
        self.completed: Deferred[Protocol] = Deferred(lambda _: self._give_up())
        """Fires with the protocol when that is connected."""

    def shake_hands(self) -> Deferred[Protocol]:
        """Begin the handshake, now that there is a port; fires when it is complete."""
        self._association.shake_hands()
        return self.completed

    def established(self) -> None:
        """See `Party.established`."""
        if self._limited:
            self._largest = self.getHandle().get_cleartext_mtu()
        self._begun = True  # first, as the protocol may end the conversation as soon as it is connected
        self.completed.callback(self.begin())

    def message_received(self, message: bytes) -> None:
        """See `Party.message_received`."""
        self._protocol.dataReceived(message)

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
            self.transport.write(datagram)
        except BlockingIOError:
            return False  # it is lost like any other
        except OSError:
            if not self._begun:
                self._end(Failure())
            return False  # a network that is away for a moment ends no association
        return True

    def write(self, datagram: bytes) -> None:
        """Send a message. One that does not fit into a packet of --mtu, or a record, is lost."""
        if self._largest is None or len(datagram) <= self._largest:
            self._association.write(datagram)

    def _end(self, reason: Failure) -> None:
        if self.disconnecting:
            return
        if self._begun:
            self._association.close()
            super()._end(reason)
            return
        self._give_up()
        self.completed.errback(reason)

    def _give_up(self) -> None:
        """End without a close_notify: no handshake is complete."""
        self.disconnecting = True
        self._association.abandon()
        if self.transport is not None:
            self.transport.stopListening()

    def getHandle(self) -> SSL.Connection:  # noqa: N802 - Twisted's
        """Return OpenSSL's side, for showing what was negotiated."""
        return self._association.connection


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


def converse_securely(
    reactor: Any, route: Route, protocol: Protocol, on_connected: Callable[[], object] | None
) -> Deferred[Any]:
    """Connect a protocol over DTLS; see `Adapter.converse`."""
    try:
        conversation = SecureConversation(reactor, route, protocol)
        connect_port(functools.partial(listen_udp, reactor), route, conversation)
    except Exception:
        return fail()
    if on_connected is not None:
        on_connected()
    return conversation.shake_hands().addTimeout(route.timeout, reactor)


def connect_securely(
    reactor: Any,
    route: Route,
    on_reply: OnReply,
    on_lost: OnLost,
    on_connected: Callable[[], object] | None,
) -> Deferred[Exchanger]:
    """Connect exchanges over DTLS; see `Adapter.connect`."""
    return converse_securely(reactor, route, DTLSExchanger(on_reply, on_lost), on_connected)
