"""HTTP (RFC 9110): what is sent in the body of a request comes back in that of its answer.

The server answers any method on any path so, and has pages for some: see `_http_pages`. HTTP/1.1 is parsed
by httptools: `_http1_server` says why.
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
from netecho.protocols._http1_client import HTTP1Exchanger
from netecho.protocols._http2_client import HTTP2Exchanger
from netecho.protocols._http_conversation import HTTPConversation
from netecho.protocols._http_server import http_factory
from netecho.protocols._inherited import Opened, adopt_stream, open_sockets
from netecho.protocols._sockets import bound_target, listen_error, tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._stream_server import StreamListener
from netecho.protocols.tcp import BACKLOG


class HTTP:
    """See `netecho.protocols._contract.Adapter`."""

    name = "http"
    kind = Kind.MESSAGE
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = "https"
    minimum_size = 0
    maximum_size: int | None = None
    default_size = DEFAULT_SIZE
    framed = True
    numbered = True
    reflects = False
    has_requests = True
    has_resources = True
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD})
    has_receipts = False
    is_text = False
    upgrades = False

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return nothing: only payloads are counted, whose frames and fields are the connection's own."""
        return 0

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen on a host and port."""
        books, factory = http_factory(reactor, target, settings)
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
        endpoint = tcp_endpoint(reactor, route)

        def reopen(exchanger: Protocol) -> Deferred[Any]:
            return connect_protocol(reactor, endpoint, route, exchanger)

        exchanger = (
            HTTP2Exchanger(route, on_reply, on_lost, reopen)
            if route.request.http2
            else HTTP1Exchanger(route, on_reply, on_lost, reopen)
        )
        return connect_protocol(reactor, endpoint, route, exchanger, on_connected)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation, each message of which is a request."""
        return HTTPConversation(protocol).begin(self.connect, reactor, route, on_connected)


adapter: Adapter = HTTP()
