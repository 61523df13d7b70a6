"""Byte streams between processes of one machine, through a socket in the file system."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from netecho.errors import ListenError
from netecho.impairment import OF_CONNECTIONS
from netecho.plans import Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._inherited import SharedPort
from netecho.protocols._listener import ListenSettings, Opened
from netecho.protocols._plain_adapter import PlainAdapter
from netecho.protocols._sockets import listen_error
from netecho.protocols._stream_client import connect_exchanger, connect_protocol
from netecho.protocols._stream_listener import StreamListener, to_listen_with
from netecho.protocols._stream_replies import REPLIES, reply_factory
from netecho.protocols._stream_server import ReplyFactory

BACKLOG: Final = 4096
BUSY_PAUSE: Final = 0.01
"""Seconds until a server whose backlog is full is asked again."""
MODE: Final = 0o600
"""Permissions of the socket: its owner's alone, as elsewhere loopback is the default."""


class UNIX(PlainAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "unix"
    kind = Kind.STREAM
    default_port: int | None = None
    secure_scheme: str | None = None
    minimum_size = 1
    replies = frozenset(REPLIES)
    harms = OF_CONNECTIONS
    socket_kind = socket.SOCK_STREAM

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen at a path, at which there may be nothing but a socket that nobody listens on any more."""
        books = reply_factory(reactor, settings)
        factory = to_listen_with(books)
        if settings.descriptor is not None:
            return StreamListener(SharedPort(reactor, settings.descriptor, factory), books, target)
        path = _path(target)
        _remove_stale(path)
        try:
            port = reactor.listenUNIX(path, factory, BACKLOG, MODE)
        except (CannotListenError, OSError) as error:
            raise listen_error(target, error) from error
        return UNIXListener(port, books, target)

    def open(self, target: Target, count: int) -> Opened:
        """Open one socket, which all the processes share."""
        path = _path(target)
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.setblocking(False)
            listening.bind(path)
            os.chmod(path, MODE)
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            raise listen_error(target, error) from error
        return _OpenedPath(target, (listening,) * count, _identity(path))

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges."""
        return connect_exchanger(reactor, _endpoint(reactor, route), route, on_reply, on_lost, on_connected)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect any protocol."""
        return connect_protocol(reactor, _endpoint(reactor, route), route, protocol, on_connected)


@dataclasses.dataclass(frozen=True, slots=True)
class _OpenedPath(Opened):
    """A socket in the file system, which is removed from there when it is closed."""

    identity: tuple[int, int] | None

    def close(self) -> None:
        """Close it, here, and remove it, if nobody has put another in its place."""
        path = _path(self.target)
        if self.sockets[0].fileno() >= 0 and _identity(path) == self.identity:
            os.unlink(path)
        self.sockets[0].close()


class UNIXListener(StreamListener):
    """An open listener at a path."""

    def __init__(self, port: Any, factory: ReplyFactory, target: Target) -> None:
        super().__init__(port, factory, target)
        self._identity = _identity(_path(target))

    def _stop_listening(self) -> Any:
        if _identity(_path(self.target)) != self._identity:
            # Somebody has removed our socket, or put theirs in its place. Twisted would unlink whatever is
            # there, and has no public way to prevent that. It goes by this attribute, and takes a name with a
            # NUL first for one that is not in the file system.
            self._port._bindPath = b"\0"
        return super()._stop_listening()


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from any that takes its place."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _path(target: Target) -> str:
    if target.path is None:
        raise ListenError(f"{target} has no path")
    return target.path


@implementer(IStreamClientEndpoint)
class _PatientEndpoint:
    """Connects to a path, and waits while the server's backlog is full, as a blocking socket would.

    A non-blocking UNIX socket gets EAGAIN then. Twisted takes that for a connection under way, and when it
    finds that the socket has no peer, for one that failed: with a plain `ConnectError` that has no error
    number.
    """

    def __init__(self, reactor: Any, path: str, timeout: float) -> None:
        self._reactor = reactor
        self._path = path
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; how long that may take altogether is the caller's to limit."""

        async def connect() -> Any:
            _check_length(self._path)  # Twisted would wait for an answer until its time is over
            while True:
                try:
                    return await self._endpoint.connect(protocolFactory)
                except ConnectError as error:
                    if type(error) is not ConnectError or error.osError is not None:
                        raise
                await deferLater(self._reactor, BUSY_PAUSE)

        return Deferred.fromCoroutine(connect())


@functools.lru_cache(maxsize=16)  # once, and not for each connection
def _check_length(path: str) -> None:
    """Check that a socket can have a path.

    Raises:
        OSError: it is too long; there is no other way to learn how long it may be.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.connect_ex(path)  # which a server of streams does not see


def _endpoint(reactor: Any, route: Route) -> _PatientEndpoint:
    return _PatientEndpoint(reactor, _path(route.target), route.timeout)


def _remove_stale(path: str) -> None:
    """Remove a socket that a server left behind when it was killed; a live server's stays.

    Raises:
        ListenError: something else is there.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"{path} exists and is not a socket; remove it or choose another path")
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


adapter: Adapter = UNIX()
