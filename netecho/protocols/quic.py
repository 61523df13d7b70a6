"""QUIC (RFC 9000): an exchange is a stream of its own, whose bytes come back on it, and then its end.

That is what protocols over QUIC do with it: a request is a stream, and those that are under way do not wait
for each other, so that what `bench` measures with `--streams` is what they would have. A conversation is one
stream, as on TCP. The core is aioquic's, without its asyncio; see `_quic_wire`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol

from netecho.impairment import OF_DATAGRAMS
from netecho.plans import DEFAULT_PORT, DEFAULT_SIZE, ReplyMode, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, ListenSettings, OnLost, OnReply, Route
from netecho.protocols._datagram_client import connect_port
from netecho.protocols._datagram_server import listen_datagrams, open_port
from netecho.protocols._inherited import Opened, open_sockets
from netecho.protocols._quic_client import ClientLink, ClientPort, StreamConversation, StreamsExchanger
from netecho.protocols._quic_server import ALPN, QUICListener, QUICPort
from netecho.protocols._sockets import bound_target


class QUIC:
    """See `netecho.protocols._contract.Adapter`."""

    name = "quic"
    kind = Kind.STREAM
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = "quic"
    minimum_size = 0
    maximum_size: int | None = None
    default_size = DEFAULT_SIZE
    framed = True
    numbered = True
    reflects = False
    has_requests = False
    begins_with_request = False
    has_envelopes = False
    bounds_messages = False
    takes_proxy = False
    secured = None
    has_resources = False
    alpn: tuple[str, ...] = ALPN
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD})
    harms = OF_DATAGRAMS
    has_receipts = False
    is_text = False
    upgrades = False
    multiplexes = True
    has_qlog = True

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return 0: only payloads are counted, whose frames are the connection's own."""
        return 0

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> QUICListener:
        """Listen on a host and port."""
        books = QUICPort(reactor, settings)
        port, impaired = open_port(reactor, listen_datagrams, target, books, settings)
        return QUICListener(reactor, port, bound_target(target, port), books, impaired)

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes: what comes from one address comes to one of them."""
        return open_sockets(target, socket.SOCK_DGRAM, None, count)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges."""
        return _connect(reactor, route).addCallback(lambda link: StreamsExchanger(link, on_reply, on_lost))

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

        return _connect(reactor, route).addCallback(connected)


async def _open(reactor: Any, route: Route) -> ClientLink:
    """Open a connection to the first of the target's addresses at which somebody listens."""
    *others, last = route.addresses
    for address in others:
        with contextlib.suppress(ConnectionRefusedError):
            return await _open_at(reactor, dataclasses.replace(route, addresses=(address,)))
    return await _open_at(reactor, dataclasses.replace(route, addresses=(last,)))


def _open_at(reactor: Any, route: Route) -> Deferred[ClientLink]:
    link = ClientLink(reactor, route)
    link.connect(connect_port(reactor.listenUDP, route, ClientPort(link)))
    return link.opened


def _connect(reactor: Any, route: Route) -> Deferred[Any]:
    """Open a connection on a socket of its own; fires with it when the handshake is complete."""
    return Deferred.fromCoroutine(_open(reactor, route)).addTimeout(route.timeout, reactor)


adapter: Adapter = QUIC()
