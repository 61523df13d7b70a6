"""HTTP/3 (RFC 9114): HTTP over QUIC, where each exchange is a request on a stream of its own.

It is a protocol of its own here, not a flag of `http`: its listener is a UDP socket, and behaves as that of
`quic` (peers may change their address, there is no PROXY header, datagrams are impaired). Its answers are
those of `http`: see `_http_pages`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.plans import ReplyMode
from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._http3_client import HTTP3Exchanger
from netecho.protocols._http3_server import HTTP3Port
from netecho.protocols._http3_wire import ALPN
from netecho.protocols._message_conversation import MessageConversation
from netecho.protocols._quic_adapter import QUICAdapter


class HTTP3(QUICAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "http3"
    kind = Kind.MESSAGE
    secure_scheme: str | None = "http3"
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD, ReplyMode.INFO})
    has_requests = True
    bounds_messages = True
    has_resources = True
    alpn: tuple[str, ...] = ALPN
    port = HTTP3Port

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges."""
        open_link = functools.partial(self.open_link, reactor, route)
        return open_link().addCallback(lambda link: HTTP3Exchanger(link, on_reply, on_lost, open_link))

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation, each message of which is a request."""
        return MessageConversation(protocol, "HTTP ").begin(self.connect, reactor, route, on_connected)


adapter: Adapter = HTTP3()
