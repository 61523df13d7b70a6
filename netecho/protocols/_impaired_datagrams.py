"""Datagrams that are lost, duplicated, reordered, delayed, corrupted or truncated on purpose when sent."""

from __future__ import annotations

import dataclasses
import heapq
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from netecho.impairment import Fates, Impairment

if TYPE_CHECKING:
    from netecho.protocols._datagram_server import DatagramServer
    from netecho.protocols._listener import Totals

MOST_HELD: Final = 16 << 20
"""Bytes of datagrams that may be held, `COST` for each included; any more are dropped."""
COST: Final = 256
"""Bytes of memory that a held datagram takes beside its payload."""
PATIENCE: Final = 0.1
"""Seconds that a datagram to be reordered waits for a later one to overtake it."""
REMEMBERED: Final = 4096
"""Duplicated datagrams that are remembered, so that they are not duplicated again in a loop."""
FULL: Final = "too many held back"

Address = tuple[str, int]


@dataclasses.dataclass(order=True, slots=True)
class _Held:
    """A datagram that is held. Of two that are due at the same time, the earlier one is sent first."""

    due: float
    order: int
    number: int = dataclasses.field(compare=False)
    """Its position among the datagrams to its peer, counted since none was held for that peer."""
    datagram: bytes = dataclasses.field(compare=False)
    copies: int = dataclasses.field(compare=False)
    address: Address = dataclasses.field(compare=False)
    has_left: bool = dataclasses.field(compare=False, default=False)


@dataclasses.dataclass(slots=True)
class _Peer:
    """Whom something is held for."""

    numbered: int = 0
    highest: int = -1
    """The highest number that has left."""
    held: int = 0
    overtaken: _Held | None = None
    """What leaves behind the next one."""


class ImpairedPort(DatagramProtocol):
    """Stands between a port and its protocol, and is the transport of that: what that sends fares badly.

    To the protocol every datagram looks sent; `Totals.impaired` counts what happened to them. `reordered` is
    counted as a receiver would (RFC 4737: datagrams that arrive after a later one), whether by `--reorder` or
    by a longer delay.

    Args:
        reactor: its clock.
        protocol: the server's protocol, whose datagrams are impaired.
        impairment: which impairments there are.
        totals: counts what was done.
    """

    transport: Any
    noisy = False

    def __init__(
        self, reactor: Any, protocol: DatagramServer, impairment: Impairment, totals: Totals
    ) -> None:
        self._reactor = reactor
        self._protocol: Any = protocol
        self._totals = totals
        self._fates = Fates(impairment)
        self._held: list[_Held] = []
        self._held_size = 0
        self._order = 0
        self._doubled: dict[int, None] = {}
        self._is_ending = False
        self._peers: dict[Address, _Peer] = {}
        self._call: Any = None
        self._emptied: Deferred[None] | None = None

    # To the port it is a protocol.

    def startProtocol(self) -> None:
        """Begin."""
        transport: Any = self
        self._protocol.makeConnection(transport)

    def stopProtocol(self) -> None:
        """End: what is held is dropped."""
        self.forget()
        self._protocol.doStop()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass on a datagram. They come one by one, as answers to a batch would not pass through `write`."""
        if not self._is_ending:
            self._protocol.datagramReceived(datagram, addr)

    # To the protocol it is a port.

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the port."""
        return getattr(self.transport, name)

    @property
    def maxThroughput(self) -> int:  # noqa: N802 - Twisted's
        """How much is read in one turn of the reactor: see `twisted.internet.udp.Port`."""
        return int(self.transport.maxThroughput)

    @maxThroughput.setter
    def maxThroughput(self, value: int) -> None:  # noqa: N802 - Twisted's
        self.transport.maxThroughput = value

    def write(self, datagram: bytes, addr: Address) -> None:
        """Send a datagram, impaired as the fates have it."""
        fates = self._fates
        if fates.is_lost():
            self._totals.impair("lost")
            return
        copies = 1
        if fates.is_doubled() and self._may_be_doubled(datagram, addr):
            copies = 2
            self._totals.impair("duplicated")
        if (damaged := fates.corrupted(datagram)) is not None:
            datagram = damaged
            self._totals.impair("corrupted")
        if (short := fates.truncated(datagram)) is not None:
            datagram = short
            self._totals.impair("truncated")
        delay_ns = fates.delay_ns()
        is_overtaken = fates.is_overtaken()
        peer = self._peers.get(addr)
        if peer is None:
            if not (delay_ns or is_overtaken):
                self._send(datagram, copies, addr)
                return
            peer = _Peer()
        one = _Held(self._reactor.seconds(), self._order, peer.numbered, datagram, copies, addr)
        self._order += 1
        if is_overtaken and peer.overtaken is None:
            one.due += PATIENCE
            if self._hold(one, peer):
                peer.overtaken = one
        elif delay_ns:
            one.due += delay_ns / 1e9
            if self._hold(one, peer):
                self._totals.impair("delayed")
        else:
            peer.numbered += 1
            self._leave(one, peer)

    def _may_be_doubled(self, datagram: bytes, addr: Address) -> bool:
        """Return whether these bytes to this peer were not duplicated lately, and remember them.

        Otherwise, in a loop with another echo service, their number would double in each round.
        """
        name = hash((datagram, addr))
        if name in self._doubled:
            return False
        self._doubled[name] = None
        if len(self._doubled) > REMEMBERED:
            del self._doubled[next(iter(self._doubled))]
        return True

    # What is held.

    def _hold(self, one: _Held, peer: _Peer) -> bool:
        """Hold a datagram until it is due; return whether there was room for it."""
        size = len(one.datagram) + COST
        if self._held_size + size > MOST_HELD:
            self._protocol.drop(FULL, one.address)
            return False
        self._peers[one.address] = peer
        peer.numbered += 1
        peer.held += 1
        self._held_size += size
        heapq.heappush(self._held, one)
        if self._held[0] is one:
            self._wait()
        return True

    def _wait(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._held:
            pause = max(0.0, self._held[0].due - self._reactor.seconds())
            self._call = self._reactor.callLater(pause, self._release)

    def _release(self) -> None:
        """Send what is due."""
        self._call = None
        now = self._reactor.seconds()
        held = self._held
        while held and (held[0].has_left or held[0].due <= now):
            one = heapq.heappop(held)
            if not one.has_left:
                self._leave_late(one)
        self._wait()
        if not held and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _leave_late(self, one: _Held) -> None:
        peer = self._peers[one.address]
        one.has_left = True
        self._held_size -= len(one.datagram) + COST
        peer.held -= 1
        if peer.overtaken is one:
            peer.overtaken = None
        try:
            self._leave(one, peer)
        except (OSError, MessageLengthError, InvalidAddressError) as failure:
            self._protocol.not_sent(failure, one.address)
        if not peer.held:
            self._peers.pop(one.address, None)

    def _leave(self, one: _Held, peer: _Peer) -> None:
        """Send a datagram, and after it the one that it was to overtake."""
        self._send(one.datagram, one.copies, one.address)
        if one.number < peer.highest:
            self._totals.impair("reordered")
        else:
            peer.highest = one.number
        if peer.overtaken is not None and peer.overtaken.number < one.number:
            self._leave_late(peer.overtaken)

    def _send(self, datagram: bytes, copies: int, address: Address) -> None:
        for _ in range(copies):
            self.transport.write(datagram, address)

    # The end.

    def emptied(self) -> Deferred[None]:
        """Take no more datagrams; the result fires when none is held any more."""
        self._is_ending = True
        if all(one.has_left for one in self._held):
            return succeed(None)
        self._emptied = Deferred()
        return self._emptied

    def forget(self) -> None:
        """Drop what is held."""
        self._held.clear()
        self._peers.clear()
        self._held_size = 0
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
