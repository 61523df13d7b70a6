"""STAMP (RFC 8762): a reflector that says when a packet came and when its answer left, and its sender."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol, Protocol

from netecho.impairment import OF_DATAGRAMS
from netecho.plans import Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._datagram_client import begin_conversation, connect_exchanger
from netecho.protocols._datagram_listener import DatagramListener, open_listener
from netecho.protocols._inherited import open_sockets
from netecho.protocols._listener import ListenSettings, Opened
from netecho.protocols._plain_adapter import PlainAdapter
from netecho.protocols._sockets import RECEIVE_SIZE
from netecho.protocols._stamp_packets import AUTHENTICATED_SIZE, BASE_SIZE, TLV_SIZE
from netecho.protocols._stamp_reflector import Reflector
from netecho.protocols._stamp_sender import SenderConversation, SenderExchanger, Session
from netecho.protocols._timed_ports import TimedPort, adopt_timed, listen_timed
from netecho.protocols.udp import MAXIMUM_SIZE

PORT: Final = 862
"""IANA's for STAMP and TWAMP's test packets."""


class STAMP(PlainAdapter):
    """See `netecho.protocols._contract.Adapter`.

    An exchange is a packet of 44 octets, or 112 with a key. A payload is padding behind it.
    """

    name = "stamp"
    kind = Kind.DATAGRAM
    default_port: int | None = PORT
    secure_scheme: str | None = None
    maximum_size: int | None = MAXIMUM_SIZE - AUTHENTICATED_SIZE - TLV_SIZE
    default_size = 0
    reflects = True
    harms = OF_DATAGRAMS
    socket_kind = socket.SOCK_DGRAM

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return the size of a packet, less its payload's."""
        return (AUTHENTICATED_SIZE if authenticated else BASE_SIZE) + (TLV_SIZE if size else 0)

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> DatagramListener:
        """Reflect on a host and port."""
        return open_listener(reactor, _listen, target, Reflector(reactor, settings), settings)

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes: what comes from one peer comes to one of them."""
        return open_sockets(target, socket.SOCK_DGRAM, None, count)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Open a socket of its own for a session."""
        exchanger = SenderExchanger(Session(route.key), on_reply, on_lost)
        return connect_exchanger(functools.partial(listen_timed, reactor), route, exchanger)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Open a socket for a conversation in payloads."""
        conversation = SenderConversation(Session(route.key), protocol)
        return begin_conversation(functools.partial(listen_timed, reactor), route, conversation)


def _listen(reactor: Any, target: Target, protocol: DatagramProtocol, descriptor: int | None) -> TimedPort:
    if descriptor is not None:
        return adopt_timed(reactor, descriptor, protocol, RECEIVE_SIZE)
    return listen_timed(reactor, target.port, protocol, target.host, RECEIVE_SIZE)


adapter: Adapter = STAMP()
