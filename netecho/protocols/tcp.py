"""TCP, and TLS over it: echo as in RFC 862, on a byte stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.protocols._contract import Adapter, Kind, OnLost, OnReply, Route
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_client import StreamExchanger
from netecho.protocols._stream_replies import REPLIES, reply_factory
from netecho.protocols._stream_server import ReplyFactory
from netecho.protocols._tcp_adapter import TCPAdapter


class TCP(TCPAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "tcp"
    kind = Kind.STREAM
    secure_scheme: str | None = "tls"
    minimum_size = 1
    replies = frozenset(REPLIES)

    def factory(self, reactor: Any, settings: ListenSettings) -> ReplyFactory:
        """See `TCPAdapter.factory`."""
        return reply_factory(reactor, settings)

    def exchanger(self, reactor: Any, route: Route, on_reply: OnReply, on_lost: OnLost) -> StreamExchanger:
        """See `TCPAdapter.exchanger`."""
        return StreamExchanger(on_reply, on_lost)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect any protocol: nothing is said but what it says."""
        return self.visit(reactor, route, protocol, on_connected)


adapter: Adapter = TCP()
