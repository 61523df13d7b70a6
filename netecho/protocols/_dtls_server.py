"""The server side of DTLS: many associations on one port, and none before a peer has proved its address.

A ClientHello is answered with a cookie (RFC 6347 section 4.2.1); the answer is smaller than the ClientHello,
and nothing is kept of it. A peer that brings the cookie back does receive at the address that it claims, and
only then gets an association. If the address has one already, either its peer has begun anew or somebody else
sends in its name: the new association replaces the old one when its handshake is complete, and not before
(section 4.2.8).
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    InvalidAddressError,
    MessageLengthError,
)
from twisted.internet.error import TimeoutError as ConnectingTimeoutError
from twisted.python.failure import Failure

from netecho.plans import ReplyMode, Target
from netecho.protocols._datagram_listener import DatagramListener
from netecho.protocols._datagram_server import DatagramServer, peer_text, unsent
from netecho.protocols._dtls_association import (
    LARGEST_MESSAGE,
    MINIMUM_MTU,
    Association,
    datagram_size,
    prepare,
)
from netecho.protocols._dtls_cookies import Cookies
from netecho.protocols._dtls_records import HEADER, hello_random, hello_values, is_of_handshake
from netecho.protocols._handshakes import Handshakes
from netecho.protocols._impaired_datagrams import ImpairedPort
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_replies import CHARGEN_PATTERN
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT
from netecho.protocols._tls_info import end_seen

MOST_PEERS: Final = 4096
"""Associations at a time, unless the user says otherwise. Each takes some 75 KiB, but no file descriptor, so
that no limit of the system's would bound them."""
MOST_HANDSHAKES: Final = 1024
"""Of them, those whose handshake is under way; no more are begun, nor more of one address than there is room
left for. A peer that is not let in repeats its ClientHello by itself."""
IDLE_TIMEOUT: Final = 300.0
"""Seconds after which a silent peer is forgotten, unless the user says otherwise: one that has gone without a
close_notify would stay for ever."""


class Peer:
    """One association of a server's; provides `netecho.protocols._dtls_association.Party`."""

    __slots__ = (
        "_begun",
        "_moved",
        "_server",
        "_watch",
        "address",
        "association",
        "hello",
        "largest",
        "received",
        "sent",
    )

    def __init__(self, server: DTLSServer, address: tuple[str, int], hello: bytes) -> None:
        self._server = server
        self.address = address
        self.hello = hello
        """The random of the ClientHello that it began with."""
        self.association: Any = None
        self.received = 0
        self.sent = 0
        """Bytes of payload."""
        self.largest = LARGEST_MESSAGE
        """Bytes in the largest message that it may be sent."""
        self._begun = self._moved = server.seconds()
        self._watch: Any = server.call_later(HANDSHAKE_TIMEOUT, self._time_out)

    def established(self) -> None:
        """See `Party.established`."""
        self._watch.cancel()
        self._moved = self._server.seconds()
        self._watch = self._server.call_later(self._server.idle_timeout, self._look)
        self._server.shook_hands(self)

    def message_received(self, message: bytes) -> None:
        """See `Party.message_received`."""
        self._moved = self._server.seconds()
        self._server.answer_peer(self, message)

    def ended(self, reason: Failure) -> None:
        """See `Party.ended`."""
        self._server.forget(self, reason)

    def _time_out(self) -> None:
        """Give up a handshake that is not complete in time, however far it has got."""
        self.association.abandon()
        self.ended(Failure(ConnectingTimeoutError("the handshake took too long")))

    def _look(self) -> None:
        """Forget the peer if it has been idle for too long, else look again when it could have been."""
        left = self._moved + self._server.idle_timeout - self._server.seconds()
        if left > 0:
            self._watch = self._server.call_later(left, self._look)
        else:
            self.association.close()
            self.ended(Failure(ConnectionLost("it was idle for too long")))

    def release(self) -> int:
        """Stop its timer; return how long there was an association, in nanoseconds."""
        watch, self._watch = self._watch, None  # which refers to this peer even when its time is over
        if watch.active():
            watch.cancel()
        elapsed: float = self._server.seconds() - self._begun
        return round(elapsed * 1e9)


class DTLSServer(DatagramServer):
    """A server's port. It counts messages, not the datagrams of handshakes."""

    def __init__(self, reactor: Any, settings: ListenSettings) -> None:
        super().__init__(reactor, settings)
        self.seconds = reactor.seconds
        self.call_later = reactor.callLater
        self.idle_timeout = IDLE_TIMEOUT if settings.idle_timeout is None else settings.idle_timeout
        self._peers: dict[tuple[str, int], Peer] = {}
        self._successors: dict[tuple[str, int], Peer] = {}
        """Those whose handshake is under way at an address that still has another association."""
        self._handshakes: Handshakes[Peer] = Handshakes(MOST_HANDSHAKES)
        self._ending = False
        self._cookies = Cookies(reactor.seconds)
        self._asking = ("", 0), b""
        """Of the ClientHello that `_listening` looks at: where it came from, and its `hello_values`."""
        self._answers = settings.reply is not ReplyMode.DISCARD
        self._payload = CHARGEN_PATTERN if settings.reply is ReplyMode.CHARGEN else None
        self._datagram_size = 0
        self._listening: Any = None
        """The `SSL.Connection` that looks at ClientHellos, until one brings a cookie; see
        `DTLSv1_listen(3)`."""

    def startProtocol(self) -> None:
        """Make what looks at ClientHellos, now that the address family is known."""
        mtu = self._settings.mtu
        is_ipv6 = ":" in self.transport.getHost().host
        self._datagram_size = datagram_size(MINIMUM_MTU if mtu is None else mtu, is_ipv6=is_ipv6)
        self._listening = self._make_listening()

    def _make_listening(self) -> SSL.Connection:
        """Return an OpenSSL side without a peer; it becomes that of the first peer to bring a cookie."""
        connection: SSL.Connection = self._settings.tls.serverConnectionForTLS(self)
        connection.set_accept_state()
        connection.set_app_data(self)
        prepare(connection, self._datagram_size)
        return connection

    def make_cookie(self) -> bytes:
        """Return the cookie for the ClientHello that is looked at; OpenSSL asks for it."""
        return self._cookies.make(*self._asking)

    def check_cookie(self, cookie: bytes) -> bool:
        """Return whether a cookie is for the ClientHello that is looked at."""
        return self._cookies.check(*self._asking, cookie)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass a datagram to its peer, or see whether it makes one."""
        self._left -= 1
        if not self._left:
            self._end_turn()
        hello = hello_random(datagram)
        peer = self._peers.get(addr) if not self._successors else self._addressee(datagram, addr, hello)
        if peer is not None and (hello is None or hello == peer.hello):
            peer.association.received(datagram)
        elif hello is None or len(datagram) > HEADER + LARGEST_MESSAGE:
            self.drop("no association", addr)
        elif self._ending:
            self.drop("server ending", addr)
        elif (why := self.objection(addr)) is not None:
            self.drop(why, addr)
        else:
            self._listen(datagram, addr, hello)

    def _addressee(self, datagram: bytes, addr: tuple[str, int], hello: bytes | None) -> Peer | None:
        """Return whose a datagram is, of the peer at its address and the one that may take its place."""
        peer, successor = self._peers.get(addr), self._successors.get(addr)
        if successor is None or peer is None or hello == peer.hello:
            return peer
        return successor if is_of_handshake(datagram) else peer

    def _listen(self, datagram: bytes, addr: tuple[str, int], hello: bytes) -> None:
        """Ask for a cookie, or begin an association with whoever has brought it."""
        listening = self._listening
        self._asking = addr, hello_values(datagram)
        listening.bio_write(datagram)
        try:
            listening.DTLSv1_listen()
        except SSL.WantReadError:
            self._ask(listening, len(datagram), addr)
        except SSL.Error:
            self._listening = self._make_listening()
            self.drop("malformed ClientHello", addr)
        else:
            self._listening = self._make_listening()
            self._admit(listening, addr, hello)

    def _ask(self, listening: SSL.Connection, size: int, addr: tuple[str, int]) -> None:
        try:
            request = listening.bio_read(size + 1)
        except SSL.WantReadError:
            self.drop("malformed ClientHello", addr)
            return
        if len(request) > size:  # an answer larger than the request would serve to flood its alleged sender
            self._listening = self._make_listening()
            self.drop("malformed ClientHello", addr)
        else:
            self.transmit(request, addr)

    def _admit(self, connection: SSL.Connection, addr: tuple[str, int], hello: bytes) -> None:
        """Begin an association with a peer that has proved its address, if there is room."""
        former = self._successors.get(addr) or self._peers.get(addr)
        if former is not None and not former.association.is_established:
            self._give_up(former)
        succeeds = addr in self._peers
        if not succeeds and not self._has_room(addr):
            return
        if not self._handshakes.has_room(addr[0]):
            crowd = " from one address" if self._handshakes.left else ""
            self.drop(f"too many handshakes{crowd}", addr)
            return
        peer = Peer(self, addr, hello)
        self._handshakes.add(peer, addr[0])
        if succeeds:
            self._successors[addr] = peer
        else:
            self._enter(peer)

        def send(datagram: bytes) -> bool:
            return self.transmit(datagram, addr)

        peer.association = association = Association(
            self._reactor, connection, self._datagram_size, send, peer
        )
        association.shake_hands()

    def _give_up(self, former: Peer) -> None:
        """Give up an association, as another one replaces it."""
        former.association.abandon()
        self.forget(former, Failure(ConnectionAborted("its peer has begun anew")))

    def _has_room(self, addr: tuple[str, int]) -> bool:
        """Return whether there may be one more peer; count and report it if not."""
        limit, taken = self._settings.max_connections, self._totals.open
        if limit is None:
            limit, taken = MOST_PEERS, len(self._peers)
        if taken < limit:
            return True
        self._totals.refused += 1
        self._tell("refused", {"peer": peer_text(addr), "limit": limit})
        return False

    def _enter(self, peer: Peer) -> None:
        """Count a new peer, and report it."""
        self._peers[peer.address] = peer
        self._totals.connections += 1
        self._totals.open += 1
        host = self.transport.getHost()
        self._tell("connected", {"peer": peer_text(peer.address), "local": peer_text((host.host, host.port))})

    def shook_hands(self, peer: Peer) -> None:
        """Take note that a handshake is complete, which ends the former association of that address."""
        self._handshakes.discard(peer)
        if self._successors.get(peer.address) is peer:
            self._give_up(self._peers[peer.address])
        if self._settings.mtu is not None:
            peer.largest = min(LARGEST_MESSAGE, peer.association.connection.get_cleartext_mtu())

    def answer_peer(self, peer: Peer, message: bytes) -> None:
        """Answer a message, or count that it cannot be answered."""
        totals, size = self._totals, len(message)
        totals.datagrams_received += 1
        totals.bytes_received += size
        peer.received += size
        if not self._answers:
            return
        if size > peer.largest:
            self.drop("larger than --mtu", peer.address)
        elif peer.association.write(message if self._payload is None else self._payload[:size]):
            totals.datagrams_sent += 1
            totals.bytes_sent += size
            peer.sent += size

    def transmit(self, datagram: bytes, addr: tuple[str, int]) -> bool:
        """Send a datagram that OpenSSL has made.

        Returns:
            Whether the system took it; if not, it is counted as dropped.
        """
        try:
            self.transport.write(datagram, addr)
        except (OSError, MessageLengthError, InvalidAddressError) as failure:
            self.drop(unsent(failure), addr)
            return False
        return True

    def forget(self, peer: Peer, reason: Failure) -> None:
        """Forget a peer whose association is over, and report it. A successor takes its place."""
        self._handshakes.discard(peer)
        if self._successors.get(peer.address) is peer:
            del self._successors[peer.address]
            peer.release()
        if self._peers.get(peer.address) is not peer:
            return
        del self._peers[peer.address]
        self._totals.open -= 1
        self._tell(
            "disconnected",
            {
                "peer": peer_text(peer.address),
                "bytes_received": peer.received,
                "bytes_sent": peer.sent,
                "elapsed_ns": peer.release(),
                "reason": end_seen(reason),
            },
        )
        successor = self._successors.pop(peer.address, None)
        if successor is not None:
            self._enter(successor)

    def _tell(self, event: str, particulars: dict[str, Any]) -> None:
        if self._settings.on_event is not None:
            self._settings.on_event(event, particulars)

    def drain(self) -> None:
        """Begin no more associations."""
        self._ending = True

    def end(self, reason: Failure) -> None:
        """End every association, with a close_notify to its peer."""
        self._ending = True
        for peer in [*self._successors.values(), *self._peers.values()]:
            peer.association.close()
            self.forget(peer, reason)


class DTLSListener(DatagramListener):
    """An open port for DTLS; provides `netecho.protocols._listener.Listener`."""

    def __init__(
        self,
        reactor: Any,
        port: Any,
        target: Target,
        server: DTLSServer,
        impaired: ImpairedPort | None = None,
    ) -> None:
        super().__init__(reactor, port, target, impaired)
        self._server = server

    def drain(self) -> Deferred[None]:
        """See `Listener.drain`."""
        self._server.drain()
        return super().drain()

    async def _send_what_is_held(self) -> None:
        # Before what is held has left: the close_notify to each peer may be delayed on purpose too.
        self._server.end(Failure(ConnectionDone("the server ends")))
        await super()._send_what_is_held()

    def _stop(self) -> Deferred[None]:
        if self._stopped is None:
            self._server.end(Failure(ConnectionDone("the server ends")))
        return super()._stop()
