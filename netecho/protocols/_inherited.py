"""Listening sockets that one process opens and several serve: each of its children is given one.

The parent keeps them open, so that what peers send to a child that has died waits for its successor, and
nobody else can take the address meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.plans import Target
from netecho.protocols._listener import Opened
from netecho.protocols._sockets import is_ipv6, listen_error

SPREADS: Final = sys.platform == "linux"
"""Whether SO_REUSEPORT spreads peers over several sockets. Elsewhere the socket that was bound last gets them
all, so that processes share a single one."""
PAUSE: Final = 0.1
"""Seconds until accepting is tried again after it failed, for instance for lack of a file descriptor."""


def open_sockets(target: Target, kind: socket.SocketKind, backlog: int | None, count: int) -> Opened:
    """Open `count` sockets on one address and port, over which the system spreads peers.

    Args:
        target: an address, not a name.
        kind: of stream or datagrams.
        backlog: connections that may wait to be accepted; `None` where there are none.
        count: how many processes are to listen.

    Raises:
        ListenError: the system does not allow it.
    """
    sockets: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(
            target.host,
            target.port,
            socket.AF_INET6 if is_ipv6(target.host) else socket.AF_INET,
            kind,
            flags=socket.AI_NUMERICHOST,
        )[0]
        for _ in range(count if SPREADS else 1):
            one = socket.socket(family, kind)
            sockets.append(one)
            one.setblocking(False)
            if backlog is not None and os.name == "posix":
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(sockets) > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            if len(sockets) == 1:
                # Bound without the option, it has the address for itself or fails. Given it now, it lets
                # the others in: no other user's, and none that was there before.
                if count > 1 and SPREADS:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                address = one.getsockname()
                target = dataclasses.replace(target, port=one.getsockname()[1])
        if backlog is not None:
            for one in sockets:
                one.listen(backlog)
    except OSError as error:
        for one in sockets:
            one.close()
        raise listen_error(target, error) from error
    return Opened(target, tuple(sockets) if len(sockets) == count else tuple(sockets * count))


def family_of(descriptor: int) -> socket.AddressFamily:
    """Return the address family of a socket that was inherited."""
    with socket.socket(fileno=os.dup(descriptor)) as inherited:
        return socket.AddressFamily(inherited.family)


def adopt_stream(reactor: Any, descriptor: int, factory: Factory) -> Any:
    """Listen for connections on an inherited socket, which is the port's from then on."""
    port = reactor.adoptStreamPort(descriptor, family_of(descriptor), factory)
    os.close(descriptor)  # Twisted has made a copy
    return port


def adopt_datagrams(reactor: Any, descriptor: int, protocol: Any, size: int) -> Any:
    """Receive datagrams of up to `size` bytes on an inherited socket, which is the port's from then on."""
    port = reactor.adoptDatagramPort(descriptor, family_of(descriptor), protocol, size)
    os.close(descriptor)
    return port


@implementer(IReadDescriptor)
class SharedPort:
    """Accepts connections from an inherited UNIX socket; as much of an `IListeningPort` as is used.

    Twisted's own, when it adopts such a socket, opens it to every user and cuts its backlog to 50.
    """

    def __init__(self, reactor: Any, descriptor: int, factory: Factory) -> None:
        self._reactor = reactor
        self._factory = factory
        self._socket = socket.socket(fileno=descriptor)
        factory.doStart()
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's
        """Return what Twisted's log calls it."""
        return type(self).__name__

    def doRead(self) -> None:  # noqa: N802 - Twisted's
        """Accept one connection, so that other processes get theirs."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process has accepted it, or the peer has gone
        except OSError:
            self._reactor.removeReader(self)
            self._reactor.callLater(PAUSE, self._read_on)
            return
        with connection, contextlib.suppress(OSError):  # there may be no descriptor for Twisted's copy
            connection.setblocking(False)
            self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)

    def _read_on(self) -> None:
        if self.fileno() >= 0:
            self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """Accept no more."""
        if self.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    def connectionLost(self, reason: Failure) -> None:
        """Close: the reactor has found an error, or ends."""
        self.stopListening()
