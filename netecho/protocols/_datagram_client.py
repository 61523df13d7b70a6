"""The client side of datagrams: exchanges, and conversations for Twisted protocols that expect a stream."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.python.failure import Failure

from netecho.protocols._contract import Exchanger, OnLost, OnReply, Route
from netecho.protocols._sockets import RECEIVE_SIZE, grow_buffers, is_ipv6, set_options, socket_address


class DatagramExchanger(DatagramProtocol):
    """Exchanges on a socket of their own; provides `netecho.protocols._contract.Exchanger`."""

    transport: Any
    noisy = False

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        self._on_reply = on_reply
        self._on_lost: OnLost | None = on_lost

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`. A datagram that the system has no room for is lost like any other."""
        self.write(payload)

    def write(self, datagram: bytes) -> None:
        """Send a datagram, in whatever form the protocol has it."""
        try:
            send(self.transport, datagram)
        except BlockingIOError:
            pass
        except OSError:
            self._lose(Failure())

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass an echo on."""
        self._on_reply(None, datagram)

    def connectionRefused(self) -> None:
        """The other end's system says that nothing listens (ICMP port unreachable)."""
        self._lose(Failure(ConnectionRefusedError("port unreachable")))

    def stopProtocol(self) -> None:
        """The reactor has closed the socket: Twisted's epoll reactor does so at an ICMP error while idle."""
        self.connectionRefused()

    def _lose(self, reason: Failure) -> None:
        if self._on_lost is not None:
            on_lost = self._on_lost
            self.close()
            on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        if self._on_lost is not None:
            self._on_lost = None
            self._on_reply = _ignore
            if self.transport is not None:
                self.transport.stopListening()


def send(port: Any, datagram: bytes) -> None:
    """Send a datagram from a port that is connected to its only peer.

    Where the system says that it is too large, that may be of an earlier one, for which a router has just
    sent word (RFC 1191: fragmentation needed). It knows the path better then, and divides the next.

    Raises:
        OSError: the system does not send it.
    """
    try:
        port.write(datagram)
    except MessageLengthError:
        try:
            port.write(datagram)
        except MessageLengthError as error:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE)) from error


def _ignore(*_: object) -> None:
    """Take an echo that nobody waits for any more."""


class MessageTransport:
    """The transport of a protocol for streams that talks in messages: an `ITransport`, as far as it can be.

    Each `write` sends one message, each `dataReceived` is one.
    """

    transport: Any
    """The port."""
    disconnecting = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def begin(self) -> Protocol:
        """Connect the protocol, now that there is a port, and return it."""
        transport: Any = self
        self._protocol.makeConnection(transport)
        return self._protocol

    def _end(self, reason: Failure) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            if self.transport is not None:
                self.transport.stopListening()
            self._protocol.connectionLost(reason)

    def write(self, datagram: bytes) -> None:
        """Send one datagram. One that the system does not send is lost like any other."""
        if not self.disconnecting:
            with contextlib.suppress(OSError):
                send(self.transport, datagram)

    def loseWriteConnection(self) -> None:
        """Do nothing: datagrams have no end."""

    def loseConnection(self) -> None:
        """End the conversation."""
        self._end(Failure(ConnectionDone()))

    abortConnection = loseConnection

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Do nothing: the system never asks a sender of datagrams to wait."""

    def unregisterProducer(self) -> None:
        """Do nothing: there is none."""

    def pauseProducing(self) -> None:
        """Read no datagrams for now."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read datagrams again."""
        self.transport.resumeProducing()

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Return our address."""
        return self.transport.getHost()


class ConnectedPort(DatagramProtocol):
    """Has a port to one other end, and ends when that end's system says that nothing listens."""

    noisy = False

    def connectionRefused(self) -> None:
        """The other end's system says that nothing listens."""
        self._end(Failure(ConnectionRefusedError("port unreachable")))

    def stopProtocol(self) -> None:
        """The reactor has closed the socket: Twisted's epoll reactor does so at an ICMP error while idle."""
        self.connectionRefused()

    def _end(self, reason: Failure) -> None:
        """End for this reason, unless it has."""
        raise NotImplementedError


class Conversation(MessageTransport, ConnectedPort):
    """Lets a protocol for streams talk in datagrams."""

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass a datagram on, unless the conversation has ended by one that came together with it."""
        if not self.disconnecting:
            self._protocol.dataReceived(datagram)


ListenUDP = Callable[[int, DatagramProtocol, str, int], Any]
"""`IReactorUDP.listenUDP`, or what opens a port as that does."""


def connect_exchanger(
    listen: ListenUDP,
    route: Route,
    exchanger: DatagramExchanger,
) -> Deferred[Exchanger]:
    """Open a port for exchanges; see `Adapter.connect`."""
    return _connected(listen, route, exchanger).addCallback(lambda _: exchanger)


def begin_conversation(
    listen: ListenUDP,
    route: Route,
    conversation: Conversation,
) -> Deferred[Protocol]:
    """Open a port for a conversation; see `Adapter.converse`."""
    return _connected(listen, route, conversation).addCallback(lambda _: conversation.begin())


def _connected(listen: ListenUDP, route: Route, protocol: DatagramProtocol) -> Deferred[Any]:
    """Open a port by `connect_port`; fires at once, or fails with the reason."""
    try:
        return succeed(connect_port(listen, route, protocol))
    except Exception:
        return fail()


def connect_port(listen: ListenUDP, route: Route, protocol: DatagramProtocol) -> Any:
    """Open a port whose only peer is a route's target, at the first of its addresses; return it.

    Raises:
        CannotListenError: there is no port to send from.
        OSError: the system does not allow it.
    """
    address = route.addresses[0]
    source = route.sockets.source or ("::" if is_ipv6(address) else "0.0.0.0")
    port = listen(0, protocol, source, RECEIVE_SIZE)
    try:
        set_options(port.getHandle(), route.sockets)
        grow_buffers(port.getHandle())
        _connect(port, address, route.target.port)
    except OSError:
        _close_unheard(port)
        raise
    return port


def peer_by(route: Route) -> IPv4Address | IPv6Address:
    """Return the address that `connect_port` connects a port to: Twisted's ports do not know it."""
    address = route.addresses[0]
    kind = IPv6Address if is_ipv6(address) else IPv4Address
    return kind("UDP", address, route.target.port)


def _connect(port: Any, address: str, number: int) -> None:
    """Connect a port; the zone of a link-local address counts, without which the system would refuse it."""
    if "%" not in address:
        port.connect(address, number)
        return
    port.getHandle().connect(socket_address(address, number))
    port._connectedAddr = address, number  # as Twisted's `connect` does, which would leave the zone out


def _close_unheard(port: Any) -> None:
    """Close a port whose protocol has never been connected, and is not told of the end."""
    port.protocol = DatagramProtocol()
    port.protocol.noisy = False
    port.protocol.makeConnection(port)
    port.stopListening()
