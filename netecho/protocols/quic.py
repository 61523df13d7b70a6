"""QUIC (RFC 9000): an exchange is a stream of its own, whose bytes come back on it, and then its end.

That is what protocols over QUIC do with it: a request is a stream, and those that are under way do not wait
for each other, so that what `bench` measures with `--streams` is what they would have. A conversation is one
stream, as on TCP. The core is aioquic's, without its asyncio; see `_quic_wire`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._quic_adapter import QUICAdapter
from netecho.protocols._quic_client import ClientLink
from netecho.protocols._quic_conversation import StreamConversation
from netecho.protocols._quic_echo import ALPN, EchoPort
from netecho.protocols._quic_exchanges import StreamsExchanger


class QUIC(QUICAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "quic"
    kind = Kind.STREAM
    secure_scheme: str | None = "quic"
    alpn: tuple[str, ...] = ALPN
    port = EchoPort

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges."""
        opened = self.open_link(reactor, route)
        return opened.addCallback(lambda link: StreamsExchanger(link, on_reply, on_lost))

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect a protocol, whose stream it is."""

        def connected(link: ClientLink) -> Protocol:
            transport: Any = StreamConversation(link, protocol)
            protocol.makeConnection(transport)
            return protocol

        return self.open_link(reactor, route).addCallback(connected)


adapter: Adapter = QUIC()
