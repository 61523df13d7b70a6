"""UDP, and DTLS over it: echo as in RFC 862, on datagrams."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.impairment import OF_DATAGRAMS, Harm
from netecho.plans import ReplyMode, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._datagram_client import (
    Conversation,
    DatagramExchanger,
    begin_conversation,
    connect_exchanger,
)
from netecho.protocols._datagram_listener import DatagramListener, listen_datagrams, open_listener, open_port
from netecho.protocols._datagram_server import HEAD, REPEATED, DatagramServer, unsent
from netecho.protocols._dtls_association import LARGEST_MESSAGE
from netecho.protocols._dtls_client import connect_securely, converse_securely
from netecho.protocols._dtls_server import DTLSListener, DTLSServer
from netecho.protocols._inherited import open_sockets
from netecho.protocols._listener import ListenSettings, Opened
from netecho.protocols._plain_adapter import PlainAdapter
from netecho.protocols._sockets import bound_target, listen_udp
from netecho.protocols._stream_replies import CHARGEN_PATTERN

if TYPE_CHECKING:
    from netecho.reactor.batches import Batch

MAXIMUM_SIZE: Final = 65_507
"""Bytes of payload in the largest datagram over IPv4."""


class ReplyDatagrams(DatagramServer):
    """A server's port. No reply is larger than its request.

    It takes datagrams one by one, or in batches where the reactor has them; provides
    `netecho.reactor.batches.BatchProtocol`.
    """

    def __init__(self, reactor: Any, settings: ListenSettings) -> None:
        super().__init__(reactor, settings)
        self._answers = settings.reply is not ReplyMode.DISCARD
        self._payload = CHARGEN_PATTERN if settings.reply is ReplyMode.CHARGEN else None

    def answer(self, datagram: bytes, source: tuple[str, int]) -> None:
        """See `DatagramServer.answer`."""
        if self._answers:
            self.send(datagram if self._payload is None else self._payload[: len(datagram)], source)

    def datagramsReceived(self, batch: Batch) -> None:
        """Answer a batch of datagrams, but for those to be dropped and counted."""
        totals, sizes = self._totals, batch.sizes
        count, size = len(batch), sum(sizes)
        totals.datagrams_received += count
        totals.bytes_received += size
        dropped: set[int] = set()
        for source, indices in batch.sources.items():
            if (why := self.objection(source)) is not None:
                self.drop(why, source, len(indices))
                dropped.update(indices)
        if (repeated := self._repeated(batch, dropped)) is not None:
            self.drop(REPEATED, batch.address(repeated))
            dropped.add(repeated)
        if not self._answers or len(dropped) == count:
            return
        for index, failure in batch.send_back(self._payload, without=dropped):
            self.drop(unsent(failure), batch.address(index))
            dropped.add(index)
        if dropped:
            size -= sum([sizes[index] for index in dropped])
        totals.datagrams_sent += count - len(dropped)
        totals.bytes_sent += size

    def _repeated(self, batch: Batch, dropped: set[int]) -> int | None:
        """Count a batch for repetitions, by one datagram drawn at random from those that are not dropped.

        Returns:
            Its index if it has come too often, else `None`; see `RepetitionGuard`.
        """
        count = len(batch)
        index = int(random() * (count - len(dropped)))  # noqa: S311 - no secret
        if dropped:
            if len(dropped) == count:
                return None
            index = [i for i in range(count) if i not in dropped][index]
        _, port = batch.address(index)
        return index if self._guard.repeats(batch.head(index, HEAD), port, count - len(dropped)) else None


class UDP(PlainAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "udp"
    kind = Kind.DATAGRAM
    secure_scheme: str | None = "dtls"
    maximum_size: int | None = MAXIMUM_SIZE
    numbered = False
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD, ReplyMode.CHARGEN})
    harms = OF_DATAGRAMS
    socket_kind = socket.SOCK_DGRAM

    @property
    def secured(self) -> Adapter | None:
        """DTLS, which carries less."""
        return _dtls

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> DatagramListener:
        """Listen on a host and port."""
        return open_listener(reactor, listen_datagrams, target, ReplyDatagrams(reactor, settings), settings)

    def open(self, target: Target, count: int) -> Opened:
        """Open sockets for several processes."""
        return open_sockets(target, socket.SOCK_DGRAM, None, count)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Open a socket of its own for exchanges."""
        exchanger = DatagramExchanger(on_reply, on_lost)
        return connect_exchanger(functools.partial(listen_udp, reactor), route, exchanger)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Open a socket for a conversation in datagrams."""
        listen = functools.partial(listen_udp, reactor)
        return begin_conversation(listen, route, Conversation(protocol))


class DTLS(UDP):
    """UDP in its secure form, DTLS 1.2 (RFC 6347): each message is a record in a datagram of its own."""

    minimum_size = 1
    maximum_size: int | None = LARGEST_MESSAGE
    keeps_peers = True

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return all that there are: they happen to the packets of the handshake, too."""
        return self.harms

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> DatagramListener:
        """Listen on a host and port."""
        server = DTLSServer(reactor, settings)
        port, impaired = open_port(reactor, listen_datagrams, target, server, settings)
        return DTLSListener(reactor, port, bound_target(target, port), server, impaired)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Shake hands on a socket of its own for exchanges."""
        return connect_securely(reactor, route, on_reply, on_lost)

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Shake hands on a socket for a conversation in messages."""
        return converse_securely(reactor, route, protocol)


_dtls: Adapter = DTLS()
adapter: Adapter = UDP()
