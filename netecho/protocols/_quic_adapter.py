"""What every adapter over QUIC does alike: it listens on a port for datagrams, and is always secure."""

from __future__ import annotations

import functools
import socket
from typing import Any

from twisted.internet.defer import Deferred

from netecho.impairment import OF_DATAGRAMS, Harm
from netecho.plans import ReplyMode, Target
from netecho.protocols._attempts import connect_to_any
from netecho.protocols._contract import Route
from netecho.protocols._datagram_client import connect_port
from netecho.protocols._datagram_listener import listen_datagrams, open_port
from netecho.protocols._inherited import open_sockets
from netecho.protocols._listener import ListenSettings, Opened
from netecho.protocols._plain_adapter import PlainAdapter
from netecho.protocols._quic_client import ClientLink, ClientPort
from netecho.protocols._quic_server import QUICListener, QUICPort
from netecho.protocols._sockets import bound_target, listen_udp


class QUICAdapter(PlainAdapter):
    """The part of a `netecho.protocols._contract.Adapter` that all protocols over QUIC share.

    A subclass adds its name, what it carries, its `port` and its client, and overrides what differs.
    """

    port: type[QUICPort]
    harms = OF_DATAGRAMS
    socket_kind = socket.SOCK_DGRAM
    multiplexes = True
    has_qlog = True
    retries = True
    keeps_peers = True

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return all that there are: they happen to packets, of which there are some in every mode."""
        return self.harms

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> QUICListener:
        """Listen on a host and port."""
        books = self.port(reactor, settings)
        port, impaired = open_port(reactor, listen_datagrams, target, books, settings)
        return QUICListener(reactor, port, bound_target(target, port), books, impaired)

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes: all that comes from one address goes to the same one."""
        return open_sockets(target, socket.SOCK_DGRAM, None, count)

    def open_link(self, reactor: Any, route: Route) -> Deferred[Any]:
        """Open a connection to whichever of the target's addresses answers; fires once it is there."""
        return connect_to_any(reactor, route, functools.partial(self._open_at, reactor))

    def _open_at(self, reactor: Any, route: Route) -> Deferred[ClientLink]:
        link = ClientLink(reactor, route, self.alpn)
        link.connect(connect_port(functools.partial(listen_udp, reactor), route, ClientPort(link)))
        return link.opened
