"""WebSocket (RFC 6455): each message comes back as one, text as text and bytes as bytes.

Frames are made and read by the sans-I/O layer of the `websockets` package: it is maintained, conforms as
Autobahn's cases have it, and bounds what it takes, inflated or not. wsproto, the other one, has no bounds and
takes five times as long for an echo of 64 bytes (40 us, not 8), thirteen times for one of 64 KiB.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol

from netecho.plans import DEFAULT_PORT, DEFAULT_SIZE, ReplyMode, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, ListenSettings, OnLost, OnReply, Route
from netecho.protocols._inherited import Opened, adopt_stream, open_sockets
from netecho.protocols._sockets import bound_target, listen_error, tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._stream_server import StreamListener
from netecho.protocols._ws_client import WebSocketConversation, WebSocketExchanger
from netecho.protocols._ws_messages import MOST_MESSAGE
from netecho.protocols._ws_server import ws_factory
from netecho.protocols.tcp import BACKLOG


class WebSocket:
    """See `netecho.protocols._contract.Adapter`."""

    name = "ws"
    kind = Kind.MESSAGE
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = "wss"
    minimum_size = 0
    maximum_size: int | None = MOST_MESSAGE
    default_size = DEFAULT_SIZE
    framed = True
    numbered = True
    reflects = False
    has_requests = False
    has_resources = True
    alpn: tuple[str, ...] = ("http/1.1",)
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD})
    has_receipts = False
    is_text = False
    upgrades = False

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return nothing: only payloads are counted, whose frames are the connection's own."""
        return 0

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen on a host and port."""
        books, factory = ws_factory(reactor, settings)
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
        exchanger = WebSocketExchanger(reactor, route.target, on_reply, on_lost)
        connected: Deferred[Any] = connect_protocol(
            reactor, tcp_endpoint(reactor, route), route, exchanger, on_connected
        )
        return connected.addCallback(lambda _: exchanger.opened).addTimeout(route.timeout, reactor)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation in messages."""
        return WebSocketConversation(protocol).begin(self.connect, reactor, route, on_connected)


adapter: Adapter = WebSocket()
