"""What Twisted's transports have no word for: socket options before connecting, unread and unsent bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import ipaddress
import os
import select
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from netecho.errors import ListenError
from netecho.plans import SocketOptions, Target
from netecho.protocols._contract import Route

try:
    import fcntl
    import termios
except ImportError:  # Windows has neither
    fcntl = termios = None  # type: ignore[assignment]

RECEIVE_SIZE: Final = 65_536
"""Bytes of room to receive a datagram in: more than any datagram has."""
BUFFER: Final = 4 << 20
"""Bytes of datagrams that may wait in the system, either way, unless it has a lower limit."""
_KEEPALIVE: Final = (
    (getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), 60),  # the latter on macOS
    (getattr(socket, "TCP_KEEPINTVL", None), 15),
    (getattr(socket, "TCP_KEEPCNT", None), 4),
)
"""At most: seconds of silence until a connection is probed, seconds between probes, and probes without an
answer until it is lost. A minute is what curl waits, and less than it takes a NAT to forget a connection."""
_SO_NWRITE: Final = 0x1024
"""macOS's socket option for what TIOCOUTQ tells on Linux; Python has no name for it."""


def has_unread(descriptor: int) -> bool:
    """Return whether a socket has input, or its end, that nobody has read yet."""
    if descriptor < 0:
        return False
    if hasattr(select, "poll"):  # not on Windows, where select takes any descriptor
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


def unread(descriptor: int) -> int:
    """Return how many bytes of a stream the system has received that nobody has read; 0 if unknown."""
    return 0 if fcntl is None else _ask(descriptor, termios.FIONREAD)


def unsent(descriptor: int) -> int:
    """Return how many bytes written to a stream its peer's system has not acknowledged; 0 if unknown.

    Between processes of one machine it is what the peer has not read.
    """
    if fcntl is None:
        return 0
    if sys.platform == "darwin":
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            return connection.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        return 0
    return _ask(descriptor, termios.TIOCOUTQ)


def _ask(descriptor: int, question: int) -> int:
    if descriptor < 0:
        return 0
    try:
        answer = fcntl.ioctl(descriptor, question, bytes(struct.calcsize("i")))
    except OSError:
        return 0
    number: int = struct.unpack("i", answer)[0]
    return number


def set_options(connection: socket.socket, options: SocketOptions) -> None:
    """Ask a socket for the DSCP (RFC 2474: the upper six bits) and TTL or hop limit of the options."""
    ipv6 = connection.family == socket.AF_INET6
    if options.dscp is not None:
        if ipv6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.dscp << 2)
        else:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.dscp << 2)
    if options.ttl is not None:
        if ipv6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, options.ttl)
        else:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl)


def keep_alive(connection: socket.socket) -> None:
    """Have the system probe a connection that is silent, and end it if its peer has vanished.

    These are the keep-alives of RFC 9293, section 3.8.4; the system's own times hold where they are shorter.
    What a port accepts has what the port was given. There is no TCP_USER_TIMEOUT: it would also end
    connections whose peers are there, and do not read.
    """
    with contextlib.suppress(OSError):  # it is done without, where the system does not let us
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, most in _KEEPALIVE:
            if option is not None and connection.getsockopt(socket.IPPROTO_TCP, option) > most:
                connection.setsockopt(socket.IPPROTO_TCP, option, most)


def grow_buffers(port: socket.socket) -> None:
    """Ask the system to let more datagrams wait, either way."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            port.setsockopt(socket.SOL_SOCKET, option, BUFFER)


def is_ipv6(address: str) -> bool:
    """Return whether an IP address, with or without a zone, is of version 6."""
    return ipaddress.ip_address(address.partition("%")[0]).version == 6


def socket_address(address: str, port: int) -> Any:
    """Return the socket address of an IPv6 address with a zone, which Python's sockets would leave out."""
    kind, numeric = socket.SOCK_DGRAM, socket.AI_NUMERICHOST
    return socket.getaddrinfo(address, port, socket.AF_INET6, kind, flags=numeric)[0][4]


def listen_udp(reactor: Any, port: int, protocol: DatagramProtocol, interface: str, size: int) -> Any:
    """Open a port as `IReactorUDP.listenUDP` does, at an address whose zone counts too.

    Raises:
        CannotListenError: the address cannot be bound to.
    """
    if "%" not in interface:
        return reactor.listenUDP(port, protocol, interface, size)
    # Twisted would bind without the zone, which the system refuses for a link-local address.
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        bound.setblocking(False)
        try:
            bound.bind(socket_address(interface, port))
        except OSError as error:
            raise CannotListenError(interface, port, error) from error
        return reactor.adoptDatagramPort(bound.fileno(), socket.AF_INET6, protocol, size)


def tcp_endpoint(reactor: Any, route: Route) -> HostnameEndpoint | TCP4ClientEndpoint | TCP6ClientEndpoint:
    """Return an endpoint that connects over TCP to whichever of a route's addresses answers (RFC 8305)."""
    target = route.target
    timeout = max(1, round(route.timeout))
    bind = None if route.sockets.source is None else (route.sockets.source, 0)
    connecting = _ConnectingReactor(reactor, route)
    if len(route.addresses) == 1:
        address = route.addresses[0]
        endpoint = TCP6ClientEndpoint if is_ipv6(address) else TCP4ClientEndpoint
        return endpoint(connecting, address, target.port, timeout, bind)
    return HostnameEndpoint(connecting, target.host, target.port, timeout, bind)


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver, IHostnameResolver)
class _ConnectingReactor:
    """As much of a reactor as client endpoints use, for one route.

    Its resolver answers with the route's addresses, so that what was resolved once is not resolved for
    each connection, and it sets the route's socket options before a socket connects, so that the very
    first segment carries them.
    """

    def __init__(self, reactor: Any, route: Route) -> None:
        self._reactor = reactor
        self._route = route
        self.nameResolver = self
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        connector = self._reactor.connectTCP(host, port, factory, timeout, bindAddress)
        route, options = self._route, self._route.sockets
        if route.keep_alive or options.dscp is not None or options.ttl is not None:
            # There is a socket, unless the attempt is to fail: Twisted connects it in the next turn.
            connection = getattr(connector.transport, "socket", None)
            if connection is not None:
                set_options(connection, options)
                if route.keep_alive:
                    keep_alive(connection)
        return connector

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolutionReceiver.resolutionBegan(self)
        for address in self._route.addresses:
            kind = IPv6Address if is_ipv6(address) else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver


def bound_target(target: Target, port: Any) -> Target:
    """Return the target that a port really listens on: its number may have been the system's choice."""
    return dataclasses.replace(target, port=port.getHost().port)


def listen_error(target: Target, error: Exception) -> ListenError:
    """Return an error that says why nothing can listen on a target, and what to do."""
    cause = getattr(error, "socketError", error)
    code = getattr(cause, "errno", None)
    if code == errno.EADDRINUSE:
        other = "port (--port 0 takes a free one)" if target.path is None else "path"
        return ListenError(f"{target} is in use by another program; choose another {other}")
    if code == errno.EACCES:
        hint = "ports below 1024 need privileges" if target.path is None and target.port < 1024 else ""
        return ListenError(f"not permitted to listen on {target}{hint and f': {hint}'}")
    if code == errno.EADDRNOTAVAIL:
        return ListenError(f"{target.host} is not an address of this machine")
    if code == errno.EAFNOSUPPORT:
        return ListenError(f"cannot listen on {target}: this machine has no IPv6; try --host 0.0.0.0")
    reason = getattr(cause, "strerror", None) or str(cause)
    return ListenError(f"cannot listen on {target}: {reason}")
