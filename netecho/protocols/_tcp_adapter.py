"""What protocols over TCP have in common: how they listen and connect."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol

from netecho.impairment import OF_CONNECTIONS
from netecho.plans import Target
from netecho.protocols._contract import Exchanger, OnLost, OnReply, Route
from netecho.protocols._inherited import adopt_stream, open_sockets
from netecho.protocols._listener import ListenSettings, Opened
from netecho.protocols._message_conversation import MessageConversation
from netecho.protocols._plain_adapter import PlainAdapter
from netecho.protocols._sockets import bound_target, keep_alive, listen_error, tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._stream_listener import StreamListener, to_listen_with
from netecho.protocols._stream_server import ReplyFactory

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the system may have a lower limit."""


class TCPAdapter(PlainAdapter):
    """The part of a `netecho.protocols._contract.Adapter` that protocols over TCP share.

    A subclass adds its name, what it carries, and its two ends, `factory` and `exchanger`; and overrides what
    differs.
    """

    harms = OF_CONNECTIONS
    socket_kind = socket.SOCK_STREAM

    def factory(self, reactor: Any, settings: ListenSettings) -> ReplyFactory:
        """Return what builds a listener's connections, and counts them."""
        raise NotImplementedError

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen on a host and port."""
        books = self.factory(reactor, settings)
        factory = to_listen_with(books)
        if settings.descriptor is not None:
            port = adopt_stream(reactor, settings.descriptor, factory)
        else:
            try:
                port = reactor.listenTCP(target.port, factory, BACKLOG, target.host)
            except (CannotListenError, OSError) as error:
                raise listen_error(target, error) from error
        keep_alive(port.socket)
        return StreamListener(port, books, bound_target(target, port))

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes."""
        return open_sockets(target, socket.SOCK_STREAM, BACKLOG, count)

    def exchanger(self, reactor: Any, route: Route, on_reply: OnReply, on_lost: OnLost) -> Any:
        """Return the Twisted protocol of a client's connection, which is an `Exchanger` once that is made."""
        raise NotImplementedError

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges, the first of which need not wait for anything to be said before."""
        exchanger = self.exchanger(reactor, route, on_reply, on_lost)
        return connect_protocol(reactor, tcp_endpoint(reactor, route), route, exchanger, on_connected)

    def conversation(self, protocol: Protocol) -> MessageConversation:
        """Return the transport of a protocol that talks in messages."""
        return MessageConversation(protocol)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation in messages."""
        return self.conversation(protocol).begin(self.connect, reactor, route, on_connected)

    def visit(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect by TCP, and TLS if the route has it."""
        return connect_protocol(reactor, tcp_endpoint(reactor, route), route, protocol, on_connected)
