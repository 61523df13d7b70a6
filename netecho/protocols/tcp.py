"""TCP, and TLS over it: echo as in RFC 862, on a byte stream."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol

from netecho.plans import DEFAULT_PORT, DEFAULT_SIZE, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, ListenSettings, OnLost, OnReply, Route
from netecho.protocols._inherited import Opened, adopt_stream, open_sockets
from netecho.protocols._sockets import bound_target, listen_error, tcp_endpoint
from netecho.protocols._stream_client import connect_exchanger, connect_protocol
from netecho.protocols._stream_server import REPLIES, StreamListener, server_factory

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the system may have a lower limit."""


class TCP:
    """See `netecho.protocols._contract.Adapter`."""

    name = "tcp"
    kind = Kind.STREAM
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = "tls"
    minimum_size = 1
    maximum_size: int | None = None
    default_size = DEFAULT_SIZE
    framed = False
    numbered = True
    reflects = False
    has_requests = False
    has_resources = False
    alpn: tuple[str, ...] = ()
    replies = frozenset(REPLIES)
    has_receipts = False
    is_text = False
    upgrades = False

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return 0: payloads are all there is."""
        return 0

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen on a host and port."""
        books, factory = server_factory(reactor, settings)
        if settings.descriptor is not None:
            return StreamListener(adopt_stream(reactor, settings.descriptor, factory), books, target)
        try:
            port = reactor.listenTCP(target.port, factory, BACKLOG, target.host)
        except (CannotListenError, OSError) as error:
            raise listen_error(target, error) from error
        return StreamListener(port, books, bound_target(target, port))

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes."""
        return open_sockets(target, socket.SOCK_STREAM, BACKLOG, count)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges."""
        return connect_exchanger(
            reactor, tcp_endpoint(reactor, route), route, on_reply, on_lost, on_connected
        )

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect any protocol."""
        return connect_protocol(reactor, tcp_endpoint(reactor, route), route, protocol, on_connected)


adapter: Adapter = TCP()
