"""SMTP (RFC 5321): each message is a mail, and its echo a receipt, for a mail does not come back.

The server is a sink: it takes mails and keeps none. The reply to each has its size and SHA-256 as received,
which the client compares with what it sent; of other servers, whose replies tell neither, the reply is all
there is. What the wire is made of, and why by us: see `_smtp_session`.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol

from netecho.plans import DEFAULT_PORT, DEFAULT_SIZE, ReplyMode, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, ListenSettings, OnLost, OnReply, Route
from netecho.protocols._http_conversation import HTTPConversation
from netecho.protocols._inherited import Opened, adopt_stream, open_sockets
from netecho.protocols._smtp_client import SMTPExchanger
from netecho.protocols._smtp_server import smtp_factory
from netecho.protocols._sockets import bound_target, listen_error, tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._stream_server import StreamListener
from netecho.protocols.tcp import BACKLOG


class SMTP:
    """See `netecho.protocols._contract.Adapter`."""

    name = "smtp"
    kind = Kind.MESSAGE
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = "smtps"
    minimum_size = 0
    maximum_size: int | None = None
    default_size = DEFAULT_SIZE
    framed = True
    numbered = True
    reflects = False
    has_requests = False
    has_resources = False
    alpn: tuple[str, ...] = ()
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD, ReplyMode.REJECT, ReplyMode.TEMPFAIL})
    has_receipts = True
    is_text = True
    upgrades = True

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return nothing: only payloads are counted, whose headers and commands are the connection's own."""
        return 0

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> StreamListener:
        """Listen on a host and port."""
        books, factory = smtp_factory(reactor, target, settings)
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
        """Connect for exchanges: until the server has said what it offers, in TLS if asked."""
        exchanger = SMTPExchanger(reactor, route, on_reply, on_lost)
        first = dataclasses.replace(route, tls=None) if route.starttls else route

        async def connect() -> Exchanger:
            await connect_protocol(reactor, tcp_endpoint(reactor, route), first, exchanger, on_connected)
            return await exchanger.ready

        return Deferred.fromCoroutine(connect()).addTimeout(route.timeout, reactor)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation, each message of which is a mail, and each answer the reply to one."""
        return HTTPConversation(protocol).begin(self.connect, reactor, route, on_connected)


adapter: Adapter = SMTP()
