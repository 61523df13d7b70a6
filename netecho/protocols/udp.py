"""UDP: echo as in RFC 862, on datagrams."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from array import array
from collections.abc import Callable
from functools import lru_cache
from random import random
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ConnectionRefusedError,
    InvalidAddressError,
    MessageLengthError,
)
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.python.failure import Failure

from netecho.plans import DEFAULT_PORT, ReplyMode, Target
from netecho.protocols._contract import Adapter, Exchanger, Kind, ListenSettings, OnLost, OnReply, Route
from netecho.protocols._sockets import bound_target, has_unread, is_ipv6, listen_error, set_options
from netecho.protocols._stream_server import CHARGEN_PATTERN

if TYPE_CHECKING:
    from netecho.reactor.batches import Batch

MAXIMUM_SIZE: Final = 65_507
"""Bytes of payload in the largest datagram over IPv4."""
RECEIVE_SIZE: Final = 65_536
BUFFER: Final = 4 << 20
"""Bytes of datagrams that may wait in the system; it may have a lower limit."""
TURN: Final = 256
"""Datagrams after which a server's other sockets and timers get their turn. Twisted counts bytes alone,
and a flood of datagrams with few or none would have no end."""
DRAIN_TIME: Final = 0.25
"""Seconds that a server goes on, when it ends, while datagrams come without a pause."""
LOWEST_SOURCE_PORT: Final = 1024
"""Below it live the services that answer anything (echo, chargen, daytime: CERT CA-1996-01)."""
HEAD: Final = 64
"""Bytes of a datagram by which it is told from others."""
REPEATED: Final = "repeated without end"


@lru_cache(maxsize=4096)
def _unanswerable(host: str) -> str | None:
    """Return why a source address must not be answered, or `None`."""
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_multicast:
        return "multicast source"
    if address == ipaddress.IPv4Address("255.255.255.255"):
        return "broadcast source"
    if address.is_unspecified:
        return "unspecified source"
    return None


def _unsent(failure: Exception) -> str:
    """Return why an answer did not go out."""
    return "send buffer full" if isinstance(failure, BlockingIOError) else "not sendable"


class RepetitionGuard:
    """Notices bytes that come again and again from the same port, as they do in a loop of two echoes.

    Port rules cannot stop a loop with a reflector on a high port (Loop DoS, CVE-2024-2169), but a loop
    brings the same bytes back for ever, so that dropping them once ends it. Datagrams are counted in a
    table by a keyed hash. Its counts leak, by twice what they would grow if all datagrams differed, so that
    those that do differ never reach the limit. In a loop of any number of datagrams that is below half the
    table's size they grow faster than that, and more do not fit into the buffers of two sockets. A peer
    that really sends the same bytes without end loses one in `LIMIT`.

    One datagram drawn at random from many may be counted for all of them. Then each is counted as often as
    it came, in the long run, which is what a loop has.

    Args:
        limit: how often the same may come.
        slots: counts in the table; a power of two.
    """

    LIMIT: Final = 10_000
    SLOTS: Final = 1 << 16
    SHARE: Final = 16
    """Datagrams counted for each count that leaks."""
    LEAKING: Final = 64
    """Counts that leak together."""

    def __init__(self, limit: int = LIMIT, slots: int = SLOTS) -> None:
        self._limit = limit
        self._slots = slots
        self._counts = array("I", bytes(4 * slots))
        self._leaking = 0
        self._until_leak = self.SHARE * self.LEAKING

    def repeats(self, head: bytes, port: int, weight: int = 1) -> bool:
        """Count a datagram; return whether it has now come too often.

        Args:
            head: its first `HEAD` bytes, or all if it has fewer.
            port: where it came from.
            weight: how many it stands for.
        """
        counts = self._counts
        slot = (hash(head) ^ port) & (self._slots - 1)
        count = counts[slot] + weight
        repeats = count >= self._limit
        counts[slot] = count - self._limit if repeats else count
        self._until_leak -= weight
        if self._until_leak <= 0:
            self._until_leak += self.SHARE * self.LEAKING
            self._leak()
        return repeats

    def _leak(self) -> None:
        start, stop, leak = self._leaking, self._leaking + self.LEAKING, 2 * self.SHARE
        left = [count - leak if count > leak else 0 for count in self._counts[start:stop]]
        self._counts[start:stop] = array("I", left)
        self._leaking = stop % self._slots


class ReplyDatagrams(DatagramProtocol):
    """A server's port. No reply is larger than its request, and none goes where it might be answered.

    It takes datagrams one by one, or in batches where the reactor has them; provides
    `netecho.reactor.batches.BatchProtocol`.
    """

    transport: Any
    noisy = False

    def __init__(self, reactor: Any, settings: ListenSettings) -> None:
        self._reactor = reactor
        self._left = TURN
        self._settings = settings
        self._totals = settings.totals
        self._ports = settings.udp_ports
        self._answers = settings.reply is not ReplyMode.DISCARD
        self._payload = CHARGEN_PATTERN if settings.reply is ReplyMode.CHARGEN else None
        self._guard = RepetitionGuard()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer a datagram, or drop and count it."""
        self._left -= 1
        if not self._left:
            self._end_turn()
        totals = self._totals
        totals.datagrams_received += 1
        totals.bytes_received += len(datagram)
        if (why := self._objection(addr)) is not None:
            self._drop(why, addr)
        elif self._guard.repeats(datagram[:HEAD], addr[1]):
            self._drop(REPEATED, addr)
        elif self._answers:
            self._answer(datagram if self._payload is None else self._payload[: len(datagram)], addr)

    def datagramsReceived(self, batch: Batch) -> None:
        """Answer a batch of datagrams, but for those to be dropped and counted."""
        totals, sizes = self._totals, batch.sizes
        count, size = len(batch), sum(sizes)
        totals.datagrams_received += count
        totals.bytes_received += size
        dropped: set[int] = set()
        for source, indices in batch.sources.items():
            if (why := self._objection(source)) is not None:
                self._drop(why, source, len(indices))
                dropped.update(indices)
        if (repeated := self._repeated(batch, dropped)) is not None:
            self._drop(REPEATED, batch.address(repeated))
            dropped.add(repeated)
        if not self._answers or len(dropped) == count:
            return
        for index, failure in batch.send_back(self._payload, without=dropped):
            self._drop(_unsent(failure), batch.address(index))
            dropped.add(index)
        if dropped:
            size -= sum([sizes[index] for index in dropped])
        totals.datagrams_sent += count - len(dropped)
        totals.bytes_sent += size

    def _repeated(self, batch: Batch, dropped: set[int]) -> int | None:
        """Draw one of those that are not dropped, and return its index if it has come too often."""
        count = len(batch)
        index = int(random() * (count - len(dropped)))  # noqa: S311 - no secret
        if dropped:
            if len(dropped) == count:
                return None
            index = [i for i in range(count) if i not in dropped][index]
        _, port = batch.address(index)
        return index if self._guard.repeats(batch.head(index, HEAD), port, count - len(dropped)) else None

    def _objection(self, source: tuple[str, int]) -> str | None:
        """Return why a source must not be answered, or `None`."""
        host, port = source
        if port < LOWEST_SOURCE_PORT:
            return "source port below 1024"
        if port in self._ports:
            return "source port is our own"
        return _unanswerable(host)

    def _end_turn(self) -> None:
        """Have the transport read no more in this turn of the reactor."""
        usual = self.transport.maxThroughput

        def begin_turn() -> None:
            self._left = TURN
            self.transport.maxThroughput = usual

        self.transport.maxThroughput = -1
        self._reactor.callLater(0, begin_turn)

    def _answer(self, reply: bytes, addr: tuple[str, int]) -> None:
        try:
            self.transport.write(reply, addr)
        except (OSError, MessageLengthError, InvalidAddressError) as failure:
            self._drop(_unsent(failure), addr)
        else:
            self._totals.datagrams_sent += 1
            self._totals.bytes_sent += len(reply)

    def _drop(self, why: str, source: tuple[str, int], count: int = 1) -> None:
        dropped = self._totals.dropped
        before = dropped.get(why, 0)
        dropped[why] = before + count
        if not before and self._settings.on_event is not None:
            host, port = source
            peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._settings.on_event("dropped", {"peer": peer, "reason": why})


class DatagramListener:
    """An open port for datagrams; provides `netecho.protocols._contract.Listener`."""

    def __init__(self, reactor: Any, port: Any, target: Target) -> None:
        self._reactor = reactor
        self._port = port
        self._stopped: Deferred[None] | None = None
        self.target = target

    def _stop(self) -> Deferred[None]:
        """Close the port, once: asked again, Twisted's would never tell whoever asked first."""
        if self._stopped is None:
            self._stopped = maybeDeferred(self._port.stopListening)
        return self._stopped

    async def _drain(self) -> None:
        until = self._reactor.seconds() + DRAIN_TIME
        while self._stopped is None and has_unread(self._port.fileno()) and self._reactor.seconds() < until:
            turn: Deferred[None] = Deferred()
            self._reactor.callLater(0, turn.callback, None)
            await turn
        await self._stop()

    def drain(self) -> Deferred[None]:
        """See `Listener.drain`."""
        return Deferred.fromCoroutine(self._drain())

    def abort(self) -> None:
        """See `Listener.abort`."""
        self._stop()


def _grow_buffers(port: Any) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            port.getHandle().setsockopt(socket.SOL_SOCKET, option, BUFFER)


class DatagramExchanger(DatagramProtocol):
    """Exchanges on a socket of their own; provides `netecho.protocols._contract.Exchanger`."""

    transport: Any
    noisy = False

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        self._on_reply = on_reply
        self._on_lost: OnLost | None = on_lost

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`. A datagram that the system has no room for is lost like any other."""
        try:
            self.transport.write(payload)
        except BlockingIOError:
            pass
        except OSError:
            self._lose(Failure())

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass an echo on."""
        self._on_reply(None, datagram)

    def connectionRefused(self) -> None:
        """The other end's system says that nothing listens (ICMP port unreachable)."""
        self._lose(Failure(ConnectionRefusedError("port unreachable")))

    def stopProtocol(self) -> None:
        """The reactor has closed the socket, as epoll's does when such a message comes in idle time."""
        self.connectionRefused()

    def _lose(self, reason: Failure) -> None:
        if self._on_lost is not None:
            on_lost = self._on_lost
            self.close()
            on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        if self._on_lost is not None:
            self._on_lost = None
            self._on_reply = _ignore
            if self.transport is not None:
                self.transport.stopListening()


def _ignore(sequence: int | None, payload: bytes) -> None:
    """Take an echo that nobody waits for any more."""


class Conversation(DatagramProtocol):
    """Lets a stream's protocol talk in datagrams: each `write` is one, each `dataReceived` one that came.

    It is the transport of that protocol: as far as datagrams have such things, an `ITransport`.
    """

    transport: Any
    noisy = False
    disconnecting = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def startProtocol(self) -> None:
        """Begin the conversation."""
        _grow_buffers(self.transport)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass a datagram on."""
        self._protocol.dataReceived(datagram)

    def connectionRefused(self) -> None:
        """The other end's system says that nothing listens."""
        self._end(Failure(ConnectionRefusedError("port unreachable")))

    def stopProtocol(self) -> None:
        """The reactor has closed the socket, as epoll's does when such a message comes in idle time."""
        self.connectionRefused()

    def _end(self, reason: Failure) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            if self.transport is not None:
                self.transport.stopListening()
            self._protocol.connectionLost(reason)

    def write(self, datagram: bytes) -> None:
        """Send one datagram. One that the system has no room for is lost like any other."""
        if not self.disconnecting:
            with contextlib.suppress(BlockingIOError):
                self.transport.write(datagram)

    def loseWriteConnection(self) -> None:
        """Do nothing: datagrams have no end."""

    def loseConnection(self) -> None:
        """End the conversation."""
        self._end(Failure(ConnectionDone()))

    abortConnection = loseConnection

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Do nothing: the system never asks a sender of datagrams to wait."""

    def unregisterProducer(self) -> None:
        """Do nothing: there is none."""

    def pauseProducing(self) -> None:
        """Read no datagrams for now."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read datagrams again."""
        self.transport.resumeProducing()

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Return our address."""
        return self.transport.getHost()


class UDP:
    """See `netecho.protocols._contract.Adapter`."""

    name = "udp"
    kind = Kind.DATAGRAM
    default_port: int | None = DEFAULT_PORT
    secure_scheme: str | None = None
    minimum_size = 0
    maximum_size: int | None = MAXIMUM_SIZE

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> DatagramListener:
        """Listen on a host and port."""
        protocol = ReplyDatagrams(reactor, settings)
        try:
            port = _listen(reactor, target, protocol)
        except (CannotListenError, OSError) as error:
            raise listen_error(target, error) from error
        _grow_buffers(port)
        settings.udp_ports.add(port.getHost().port)
        return DatagramListener(reactor, port, bound_target(target, port))

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
        try:
            _open(reactor, route, exchanger)
        except Exception:
            return fail()
        if on_connected is not None:
            on_connected()
        return succeed(exchanger)

    def converse(self, reactor: Any, route: Route, protocol: Protocol) -> Deferred[Protocol]:
        """Open a socket for a conversation in datagrams."""
        conversation = Conversation(protocol)
        try:
            _open(reactor, route, conversation)
        except Exception:
            return fail()
        transport: Any = conversation
        protocol.makeConnection(transport)
        return succeed(protocol)


def _listen(reactor: Any, target: Target, protocol: DatagramProtocol) -> Any:
    if "%" not in target.host:
        return reactor.listenUDP(target.port, protocol, target.host, RECEIVE_SIZE)
    # Twisted would bind without the zone, which the system refuses for a link-local address.
    family, kind, _, _, address = socket.getaddrinfo(
        target.host, target.port, socket.AF_INET6, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    with socket.socket(family, kind) as bound:
        bound.setblocking(False)
        bound.bind(address)
        return reactor.adoptDatagramPort(bound.fileno(), family, protocol, RECEIVE_SIZE)


def _open(reactor: Any, route: Route, protocol: DatagramProtocol) -> None:
    address = route.addresses[0]
    source = route.sockets.source or ("::" if is_ipv6(address) else "0.0.0.0")
    port = reactor.listenUDP(0, protocol, source, RECEIVE_SIZE)
    set_options(port.getHandle(), route.sockets)
    _grow_buffers(port)
    port.connect(address, route.target.port)


adapter: Adapter = UDP()
