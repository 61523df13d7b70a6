"""HTTP (RFC 9110): the body of a request comes back as the body of its answer.

The server echoes so for any method on any path, except for paths that have pages: see `_http_pages`. Why
HTTP/1.1 is parsed by httptools is said in `_http1_server`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.impairment import Harm
from netecho.plans import ReplyMode
from netecho.protocols._contract import Adapter, Kind, OnLost, OnReply, Route
from netecho.protocols._http1_client import HTTP1Exchanger
from netecho.protocols._http2_client import HTTP2Exchanger
from netecho.protocols._http_server import HTTPFactory
from netecho.protocols._listener import ListenSettings
from netecho.protocols._message_conversation import MessageConversation
from netecho.protocols._sockets import tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._tcp_adapter import TCPAdapter


class HTTP(TCPAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "http"
    kind = Kind.MESSAGE
    secure_scheme: str | None = "https"
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD, ReplyMode.INFO})
    has_requests = True
    bounds_messages = True
    has_resources = True
    alpn: tuple[str, ...] = ("h2", "http/1.1", "http/1.0")
    multiplexes = True

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return all, except corruption if no bodies are sent back."""
        return self.harms - {Harm.CORRUPT} if reply is ReplyMode.DISCARD else self.harms

    def factory(self, reactor: Any, settings: ListenSettings) -> HTTPFactory:
        """See `TCPAdapter.factory`."""
        return HTTPFactory(reactor, settings)

    def exchanger(self, reactor: Any, route: Route, on_reply: OnReply, on_lost: OnLost) -> Protocol:
        """See `TCPAdapter.exchanger`; the version is chosen before it connects."""
        endpoint = tcp_endpoint(reactor, route)

        def reopen(exchanger: Protocol) -> Deferred[Any]:
            return connect_protocol(reactor, endpoint, route, exchanger)

        if route.request.http2:
            return HTTP2Exchanger(reactor, route, on_reply, on_lost, reopen)
        return HTTP1Exchanger(route, on_reply, on_lost, reopen)

    def conversation(self, protocol: Protocol) -> MessageConversation:
        """Return a transport on which each message is a request."""
        return MessageConversation(protocol, "HTTP ")


adapter: Adapter = HTTP()
