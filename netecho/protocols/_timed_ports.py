"""UDP ports that know when each datagram came, how many hops it had left, and where it was sent.

The system says so beside the datagram, in ancillary data (socket(7), ip(7), RFC 3542). Where a system does
not, the time at which the datagram is read stands for when it came, and 255 for its hops.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override

from netecho.protocols._sockets import socket_address
from netecho.reactor.enduring import EnduringPort

MOST_HOPS: Final = 255
"""TTL or hop limit with which datagrams leave, so that what is left of it tells how many hops they took."""
_ANCILLARY_SIZE: Final = 256
_SO_TIMESTAMPNS: Final = 35
_IP_RECVTTL: Final = 12
_IP_PKTINFO: Final = 8
"""Python has no names for these of Linux's numbers."""
_TIME: Final = struct.Struct("@ll")
_NUMBER: Final = struct.Struct("@i")


class TimedSocket(socket.socket):
    """A socket for datagrams that keeps what the system says of the last one that it has received.

    If it is bound to all of a machine's addresses, it sends from the one that the last datagram was sent to.
    """

    received_ns = 0
    """When it came, in nanoseconds since 1970."""
    hops = MOST_HOPS
    """Its TTL or hop limit."""
    _origin: tuple[int, int, bytes] | None = None

    def bind(self, address: Any) -> None:
        """Bind to a numeric address, whose zone counts too, and `observe`."""
        host, port = address[:2]
        found = socket.getaddrinfo(host, port, self.family, self.type, flags=socket.AI_NUMERICHOST)
        super().bind(found[0][4])
        self.observe()

    def observe(self) -> None:
        """Have the system say all this of what comes; to be called once the socket is bound."""
        ipv6 = self.family == socket.AF_INET6
        self._ask(socket.IPPROTO_IP, socket.IP_TTL, MOST_HOPS)
        if ipv6:
            self._ask(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, MOST_HOPS)
        if sys.platform != "linux":
            return
        self._ask(socket.SOL_SOCKET, _SO_TIMESTAMPNS)
        self._ask(socket.IPPROTO_IP, _IP_RECVTTL)
        if ipv6:
            self._ask(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT)
        if self.getsockname()[0] == "::":
            self._ask(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
        elif self.getsockname()[0] == "0.0.0.0":
            self._ask(socket.IPPROTO_IP, _IP_PKTINFO)

    def _ask(self, level: int, option: int, value: int = 1) -> None:
        # IPv4's options are refused to some sockets for IPv6, and some options by some systems.
        with contextlib.suppress(OSError):
            self.setsockopt(level, option, value)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """Receive a datagram, and keep what the system says of it."""
        if sys.platform != "linux":
            datagram, address = super().recvfrom(bufsize, flags)
            self.received_ns = time.time_ns()
            return datagram, address
        datagram, ancillary, _, address = self.recvmsg(bufsize, _ANCILLARY_SIZE, flags)
        self.received_ns, self.hops, self._origin = 0, MOST_HOPS, None
        for level, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET:
                seconds, nanoseconds = _TIME.unpack(data)
                self.received_ns = seconds * 1_000_000_000 + nanoseconds
            elif (level, kind) in _HOPS:
                (self.hops,) = _NUMBER.unpack(data)
            elif (level, kind) in _ORIGINS:
                self._origin = level, kind, _ORIGINS[level, kind](data)
        if not self.received_ns:
            self.received_ns = time.time_ns()
        if len(address) == 4 and address[3]:  # Twisted keeps no more of it than host and port
            return datagram, (f"{address[0].partition('%')[0]}%{address[3]}", address[1])
        return datagram, address

    def sendto(self, datagram: bytes, address: Any) -> int:  # type: ignore[override]
        """Send a datagram, from where the last one received was sent if there is a choice."""
        if "%" in address[0]:
            address = socket_address(*address[:2])
        if self._origin is not None:
            try:
                return self.sendmsg([datagram], [self._origin], 0, address)
            except OSError as failure:
                if failure.errno != errno.EINVAL:
                    raise
            # It was sent to a group, say, which is no address to answer from.
        return super().sendto(datagram, address)


_HOPS: Final = {
    (socket.IPPROTO_IP, socket.IP_TTL),
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_HOPLIMIT", -1)),
}
_ORIGINS: Final[dict[tuple[int, int], Callable[[bytes], bytes]]] = {
    (socket.IPPROTO_IP, _IP_PKTINFO): lambda data: bytes(4) + data[4:],
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", -1)): lambda data: data[:16] + bytes(4),
}
"""From the ancillary data that say where a datagram was sent, those that have its answer leave from there:
the address, without the interface, as the answer may have to leave by another one."""


class TimedPort(EnduringPort):
    """A UDP port on such a socket."""

    socket: TimedSocket
    _preexistingSocket: Any  # noqa: N815 - Twisted's

    @override
    def createInternetSocket(self) -> TimedSocket:
        """See `twisted.internet.udp.Port.createInternetSocket`."""
        made = TimedSocket(self.addressFamily, self.socketType)
        made.setblocking(False)
        return made


def listen_timed(reactor: Any, port: int, protocol: DatagramProtocol, interface: str, size: int) -> TimedPort:
    """Open a port as `IReactorUDP.listenUDP` does."""
    listening = TimedPort(port, protocol, interface, size, reactor)
    listening.startListening()
    return listening


def adopt_timed(reactor: Any, descriptor: int, protocol: DatagramProtocol, size: int) -> TimedPort:
    """Receive on an inherited socket, which is the port's from then on, as `adopt_datagrams` does."""
    inherited = TimedSocket(fileno=descriptor)
    inherited.setblocking(False)
    inherited.observe()
    host, port = inherited.getsockname()[:2]
    listening = TimedPort(port, protocol, host, size, reactor)
    listening._preexistingSocket = inherited
    listening.startListening()
    return listening
