"""The server side of QUIC: many connections on one port, told apart by their IDs.

While few handshakes are under way, new peers are let in at once, and are sent up to three bytes for each of
theirs until their address is known to be theirs (RFC 9000 section 8.1). Once there are many, the first packet
of each new peer is answered by a Retry (section 8.1.2), which costs a round trip and no memory: nothing is
kept of a peer that has not proved its address.
"""

from __future__ import annotations

import collections
import os
from typing import Any, Final

from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.tls import SessionTicket
from twisted.internet.defer import Deferred, succeed

from netecho.plans import Target
from netecho.protocols._addresses import address_text
from netecho.protocols._datagram_listener import DatagramListener
from netecho.protocols._datagram_server import DatagramServer, peer_text
from netecho.protocols._handshakes import Handshakes
from netecho.protocols._impaired_datagrams import ImpairedPort
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._quic_link import Address
from netecho.protocols._quic_resets import Resets
from netecho.protocols._quic_server_link import ServerLink
from netecho.protocols._quic_wire import IDLE, Wire, configuration

TRUSTING: Final = 64
"""Handshakes under way; with as many, a new peer must first prove that its address is its own."""
MOST_HANDSHAKES: Final = 1024
"""Handshakes under way; more are not begun, nor more of one address than there is room left for."""
MOST_CONNECTIONS: Final = 4096
"""Connections, unless the user says how many there may be."""
MOST_SESSIONS: Final = 4096
"""Sessions that can be resumed: the youngest."""
CROWDED: Final = "too many QUIC handshakes"
CROWDED_BY_ONE: Final = "too many QUIC handshakes from one address"
BROKEN: Final = "no QUIC"
_ID_SIZE: Final = 8
_LONG: Final = 0x80
"""The first bit of a long header, and of no short one."""
_MARK_SIZE: Final = 8
_CLOSE_SIZE: Final = 64
"""Bytes that the frame of a refusal has at most."""


def said_in_every_version(datagram: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the version of a packet, and the connection IDs of its destination and source.

    These are what a long header has in every version (RFC 8999 section 5.1); `None` if there is none.
    """
    if not datagram or datagram[0] < _LONG:
        return None
    buffer = Buffer(data=datagram[1:])
    try:
        return (
            buffer.pull_uint32(),
            buffer.pull_bytes(buffer.pull_uint8()),
            buffer.pull_bytes(buffer.pull_uint8()),
        )
    except BufferReadError:
        return None


def refusal(header: QuicHeader, code: int) -> bytes:
    """Return a datagram that refuses a peer's first packet, for which nothing is kept.

    Args:
        header: of that packet.
        code: why, an error code of the transport (RFC 9000 section 20.1).
    """
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version or 0)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        is_client=False,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        peer_cid=header.source_cid,
        version=header.version or 0,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=_CLOSE_SIZE)
    frame.push_uint_var(code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]


class QUICPort(DatagramServer):
    """A server's port, with all its connections."""

    alpn: tuple[str, ...]
    """What it chooses from, unless the user says."""
    link: type[ServerLink]
    """What answers on its connections."""

    def __init__(self, reactor: Any, settings: ListenSettings) -> None:
        super().__init__(reactor, settings)
        self.reactor = reactor
        self.settings = settings
        # At least as long as --idle-timeout, after which the server ends a connection with a word.
        idle = max(IDLE, settings.idle_timeout or 0.0)
        self._configuration = configuration(
            settings.tls, self.alpn, settings.qlog, is_client=False, idle=idle
        )
        self._retry = QuicRetryTokenHandler()
        self._mark = os.urandom(_MARK_SIZE)
        """What our Retry tokens begin with. Any other token may be one that a former server here gave in a
        NEW_TOKEN frame, and proves no address to us (RFC 9000 section 8.1.3)."""
        self._resets: Resets | None = None
        """What answers packets of connections that are not known; `None`: nothing does."""
        self._tickets: collections.OrderedDict[bytes, SessionTicket] = collections.OrderedDict()
        self._has_refused = False
        """The event that there is no room has been reported, and there has been none since."""
        self._drained: Deferred[None] | None = None
        self._is_draining = False
        self.links: dict[bytes, ServerLink] = {}
        """Each connection, by each of its IDs."""
        self.open: set[ServerLink] = set()
        """Connections whose handshake is complete."""
        self.opening: Handshakes[ServerLink] = Handshakes(MOST_HANDSHAKES)
        """Those whose handshake is under way."""

    def startProtocol(self) -> None:
        """Know how to say that a connection is unknown, now that the address is known.

        One of several processes cannot say so: a packet from a new address may be another's.
        """
        identity = self.settings.tls.identity
        if identity is not None and self.settings.descriptor is None:
            address = address_text(self.transport.getHost())
            self._resets = Resets(identity.key, address, self.reactor.seconds)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Give a datagram to its connection, or begin one with it."""
        self._left -= 1
        if not self._left:
            self._end_turn()
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=_ID_SIZE)
        except ValueError:
            if not self._negotiate(datagram, addr[:2]):
                self.drop(BROKEN, addr[:2])
            return
        link = self.links.get(header.destination_cid)
        if link is not None:
            if addr[:2] != link.wire.get_peer_address() and (why := self.objection(addr[:2])) is not None:
                self.drop(why, addr[:2])  # nobody gets round this by beginning elsewhere and moving there
            else:
                link.received(datagram, addr[:2])
        elif header.version is None:
            self._reset(header.destination_cid, len(datagram), addr[:2])
        elif len(datagram) >= SMALLEST_MAX_DATAGRAM_SIZE:
            if self._negotiate(datagram, addr[:2]):
                return
            if (why := self.objection(addr[:2])) is not None:
                self.drop(why, addr[:2])
            elif header.packet_type is QuicPacketType.INITIAL and len(header.destination_cid) >= _ID_SIZE:
                self._begin(datagram, header, addr[:2])

    def _reset(self, connection_id: bytes, size: int, source: Address) -> None:
        """Answer a packet of a connection that is not known: a former server here may have had it."""
        if self._resets is None:
            return
        if (why := self.objection(source)) is not None:
            self.drop(why, source)
        elif (answer := self._resets.answer(connection_id, size)) is not None:
            self.send_datagram(answer, source)

    def _negotiate(self, datagram: bytes, source: Address) -> bool:
        """Answer a datagram of an unknown version with those known here; return whether it was one.

        Only a datagram that is large enough to begin a connection is answered: so no answer is larger than
        what it answers.
        """
        said = said_in_every_version(datagram) if len(datagram) >= SMALLEST_MAX_DATAGRAM_SIZE else None
        if said is None:
            return False
        version, destination, origin = said
        known = self._configuration.supported_versions
        if version in known or version == QuicProtocolVersion.NEGOTIATION:
            return False
        if (why := self.objection(source)) is not None:
            self.drop(why, source)
            return True
        answer = encode_quic_version_negotiation(
            source_cid=destination, destination_cid=origin, supported_versions=known
        )
        self.send_datagram(answer, source)
        return True

    def _begin(self, datagram: bytes, header: QuicHeader, source: Address) -> None:
        """Begin a connection, if there is room for one, and its peer has proved its address where it must."""
        if self._is_draining or self.is_full:
            self.send_datagram(refusal(header, QuicErrorCode.CONNECTION_REFUSED), source)
            if not self._is_draining:
                self.refused(source)
            return
        original, retried = header.destination_cid, None
        if header.token.startswith(self._mark):
            try:
                original = self._retry.validate_token(
                    address=source,
                    destination_cid=header.destination_cid,
                    token=header.token[_MARK_SIZE:],
                    now=self.reactor.seconds(),
                )
            except ValueError:
                self.send_datagram(refusal(header, QuicErrorCode.INVALID_TOKEN), source)
                return
            retried = header.destination_cid
            if not self.opening.has_room(source[0]):
                self.drop(CROWDED_BY_ONE if self.opening.left else CROWDED, source)
                return
        elif self.settings.retry or len(self.opening) >= TRUSTING:
            self._ask_again(header, source)
            return
        wire = Wire(
            self._configuration,
            self.settings.tls,
            None if self._resets is None else self._resets.token,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
            # A session that is resumed shows no certificate.
            session_ticket_fetcher=None if self.settings.tls.verifies else self._tickets.get,
            session_ticket_handler=None if self.settings.tls.verifies else self._keep_session,
        )
        link = self.link(self, wire, source, {header.destination_cid, wire.host_cid})
        self.opening.add(link, None if retried is None else source[0])
        for name in link.ids:
            self.links[name] = link
        link.received(datagram, source)

    def _keep_session(self, ticket: SessionTicket) -> None:
        """Keep a session, so that it can be resumed, and forget the oldest if there are too many."""
        self._tickets[ticket.ticket] = ticket
        if len(self._tickets) > MOST_SESSIONS:
            self._tickets.popitem(last=False)

    def _ask_again(self, header: QuicHeader, source: Address) -> None:
        """Answer with a Retry: the peer has to come back with its token, which only its receiver knows."""
        ours = os.urandom(_ID_SIZE)
        token = self._retry.create_token(
            address=source,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=ours,
            now=self.reactor.seconds(),
        )
        answer = encode_quic_retry(
            version=header.version or 0,
            source_cid=ours,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=self._mark + token,
        )
        self.send_datagram(answer, source)

    def send_datagram(self, datagram: bytes, address: Address) -> None:
        """Send a datagram. One that the system has no room for is lost like any other, and sent again."""
        if self.transport is not None:
            try:
                self.transport.write(datagram, address)
            except OSError:
                return

    # The books.

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be."""
        limit = self.settings.max_connections
        if limit is None:
            return len(self.open) >= MOST_CONNECTIONS
        return self.settings.totals.open >= limit

    def refused(self, source: Address) -> None:
        """Count a connection for which there is no room, and report the first until there is room again.

        To report each would let anybody fill the log: the packets may name any address.
        """
        self.settings.totals.refused += 1
        if not self._has_refused:
            self._has_refused = True
            limit = self.settings.max_connections or MOST_CONNECTIONS
            self._tell("refused", {"peer": peer_text(source), "limit": limit})

    def opened(self, link: ServerLink) -> None:
        """Count a connection whose handshake is complete, and report it."""
        self._has_refused = False
        self.opening.discard(link)
        self.open.add(link)
        self.settings.totals.connections += 1
        self.settings.totals.open += 1
        if self.settings.on_event is not None:
            local = address_text(self.transport.getHost())
            self._tell("connected", {"peer": peer_text(link.peer), "local": local})

    def closed(self, link: ServerLink, why: ConnectionTerminated) -> None:
        """Forget a connection that is over, and report it if it had been open."""
        for name in link.ids:
            self.links.pop(name, None)
        self.opening.discard(link)
        if link in self.open:
            self.open.discard(link)
            totals = self.settings.totals
            totals.open -= 1
            totals.bytes_received += link.bytes_received
            totals.bytes_sent += link.bytes_sent
            self._tell(
                "disconnected",
                {
                    "peer": peer_text(link.wire.get_peer_address() or link.peer),
                    "bytes_received": link.bytes_received,
                    "bytes_sent": link.bytes_sent,
                    "elapsed_ns": round((self.reactor.seconds() - link.begun) * 1e9),
                    "reason": why.reason_phrase or f"closed with {why.error_code:#x}",
                },
            )
        if self._drained is not None and not self.open and not self.opening:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _tell(self, event: str, particulars: dict[str, Any]) -> None:
        if self.settings.on_event is not None:
            self.settings.on_event(event, particulars)

    def drain(self) -> Deferred[None]:
        """Take no new connections, and let each finish; fires when the last has ended."""
        self._is_draining = True
        for link in [*self.opening, *self.open]:
            link.drain()
        if not self.open and not self.opening:
            return succeed(None)
        self._drained = Deferred()
        return self._drained

    def abort(self) -> None:
        """End every connection at once."""
        for link in [*self.opening, *self.open]:
            link.cut("the server ends at once")


class QUICListener(DatagramListener):
    """An open port for QUIC; provides `netecho.protocols._listener.Listener`."""

    def __init__(
        self,
        reactor: Any,
        port: Any,
        target: Target,
        books: QUICPort,
        impaired: ImpairedPort | None = None,
    ) -> None:
        super().__init__(reactor, port, target, impaired)
        self._books = books

    async def _drain(self) -> None:
        await self._read_what_waits()
        await self._books.drain()
        await self._send_what_is_held()
        await self._stop()

    def abort(self) -> None:
        """See `Listener.abort`."""
        self._books.abort()
        self._stop()  # what is held back on purpose would have the end wait for it

    def under_way(self) -> Totals:
        """See `Listener.under_way`."""
        links = self._books.open
        return Totals(
            bytes_received=sum(link.bytes_received for link in links),
            bytes_sent=sum(link.bytes_sent for link in links),
        )
