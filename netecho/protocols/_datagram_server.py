"""The server side of datagrams: protocols say what they answer, and this says what is never answered."""

from __future__ import annotations

import ipaddress
from array import array
from functools import lru_cache
from typing import Any, Final

from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from netecho.protocols._addresses import host_port
from netecho.protocols._listener import ListenSettings

TURN: Final = 256
"""Datagrams after which a server's other sockets and timers get their turn. Twisted counts bytes alone,
and a flood of datagrams with few or none would have no end."""
LOWEST_SOURCE_PORT: Final = 1024
"""Below it live the services that answer anything (echo, chargen, daytime: CERT CA-1996-01)."""
HEAD: Final = 64
"""Bytes at the beginning of a datagram that are compared to tell whether it came before."""
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


def unsent(failure: Exception) -> str:
    """Return why an answer did not go out."""
    return "send buffer full" if isinstance(failure, BlockingIOError) else "not sendable"


def peer_text(source: tuple[str, int]) -> str:
    """Return where a datagram came from as people write it."""
    return host_port(*source)


class RepetitionGuard:
    """Notices bytes that come again and again from the same port, as they do in a loop of two echoes.

    Port rules cannot stop a loop with a reflector on a high port (Loop DoS, CVE-2024-2169), but a loop
    brings the same bytes back for ever, so that dropping them once ends it. Datagrams are counted in a
    table by a keyed hash. The counts leak twice as fast as they would grow if all datagrams differed, so that
    datagrams that do differ never reach the limit. Those of a loop do: its counts grow faster than they leak,
    unless more datagrams are in it than half the table's size, and so many do not fit into the buffers of two
    sockets. A peer that really sends the same bytes without end loses one in `LIMIT`.

    One datagram drawn at random from a batch may be counted for all of them: in the long run each is then
    counted as often as it came, and a loop is a long run.

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


class DatagramServer(DatagramProtocol):
    """A server's port. No reply goes where it might itself be answered; what is dropped is counted."""

    transport: Any
    noisy = False

    def __init__(self, reactor: Any, settings: ListenSettings) -> None:
        self._reactor = reactor
        self._left = TURN
        self._settings = settings
        self._totals = settings.totals
        self._ports = settings.udp_ports
        self._guard = RepetitionGuard()

    def answer(self, datagram: bytes, source: tuple[str, int]) -> None:
        """Answer a datagram with `send`, or `drop` it. Its source is one that may be answered."""
        raise NotImplementedError

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer a datagram, or drop and count it."""
        self._left -= 1
        if not self._left:
            self._end_turn()
        totals = self._totals
        totals.datagrams_received += 1
        totals.bytes_received += len(datagram)
        if (why := self.objection(addr)) is not None:
            self.drop(why, addr)
        elif self._guard.repeats(datagram[:HEAD], addr[1]):
            self.drop(REPEATED, addr)
        else:
            self.answer(datagram, addr)

    def objection(self, source: tuple[str, int]) -> str | None:
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

    def send(self, reply: bytes, addr: tuple[str, int]) -> None:
        """Send a reply, or count that it cannot be sent."""
        try:
            self.transport.write(reply, addr)
        except (OSError, MessageLengthError, InvalidAddressError) as failure:
            self.not_sent(failure, addr)
        else:
            self._totals.datagrams_sent += 1
            self._totals.bytes_sent += len(reply)

    def not_sent(self, failure: Exception, addr: tuple[str, int]) -> None:
        """Count a reply that cannot be sent."""
        self.drop(unsent(failure), addr)

    def drop(self, why: str, source: tuple[str, int], count: int = 1) -> None:
        """Count datagrams that get no answer, and report the first for each reason."""
        dropped = self._totals.dropped
        before = dropped.get(why, 0)
        dropped[why] = before + count
        if not before and self._settings.on_event is not None:
            self._settings.on_event("dropped", {"peer": peer_text(source), "reason": why})
