"""UDP ports that read in batches, and pass whole batches to protocols that take them.

To any other protocol a port delivers the datagrams of a batch one by one, and sends what it writes at once,
so that an error is met by whoever wrote, as with Twisted's own. See `netecho.reactor.batches`.
"""

from __future__ import annotations

import errno
import socket
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from twisted.internet import udp
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.python import log

from netecho.reactor.batches import Address
from netecho.reactor.destinations import AddressedMessages, note_destinations
from netecho.reactor.enduring import EnduringPort
from netecho.reactor.messages import BATCH, LARGEST, LARGEST_SUM, PEERS, Messages, available, segments

TURN: Final = 256
"""Datagrams delivered in one turn of the reactor. Twisted counts bytes alone, and a flood of datagrams with
few or none would have no end."""
LONE: Final = 15
"""Datagrams that are read one by one after one that came alone, before a batch is tried again."""
UNSEGMENTED: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""The errors of a message that the system cannot send in segments, for instance as they are too long for the
path."""

_batches = available()
_shelves: dict[tuple[type[Messages], int, int], list[Messages]] = defaultdict(list)
"""Room that no port is using now, by kind, address family and size. A port borrows it for one event, so that
a thousand ports need no more than one."""


@lru_cache(PEERS)
def _family_of(host: str) -> socket.AddressFamily | None:
    """Return the address family that Twisted takes a host for; `None` if it is not an IP address."""
    if isIPAddress(host):
        return socket.AF_INET
    return socket.AF_INET6 if isIPv6Address(host) else None


@lru_cache(PEERS)
def _with_zone(address: Address) -> Any:
    """Return a socket address whose zone counts, which Python's sockets would leave out.

    Raises:
        OSError: this machine has no such zone.
    """
    return socket.getaddrinfo(*address, socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4]


class Received:
    """Datagrams that came together; provides `netecho.reactor.batches.Batch`."""

    __slots__ = ("_count", "_messages", "_only_source", "_port", "_sources", "sizes")

    def __init__(self, port: Port, messages: Messages, count: int) -> None:
        self._port = port
        self._messages = messages
        self._count = count
        self._only_source = messages.only_source(count)
        if self._only_source is None:
            self._sources = messages.sources(count)
        self.sizes = messages.sizes(count)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[bytes, Address]]:
        for index, size in enumerate(self.sizes):
            yield self._messages.datagram(index, size), self.address(index)

    @property
    def sources(self) -> Mapping[Address, Sequence[int]]:
        """See `Batch.sources`."""
        if self._only_source is not None:
            return {self._only_source: range(self._count)}
        sources: dict[Address, list[int]] = {}
        for index, source in enumerate(self._sources):
            sources.setdefault(source, []).append(index)
        return sources

    def address(self, index: int) -> Address:
        """See `Batch.address`."""
        return self._only_source or self._sources[index]

    def head(self, index: int, size: int) -> bytes:
        """See `Batch.head`."""
        available = self.sizes[index]
        return self._messages.datagram(index, size if size < available else available)

    def send_back(
        self, payload: bytes | None = None, *, without: Collection[int] = ()
    ) -> Sequence[tuple[int, OSError]]:
        """See `Batch.send_back`."""
        messages, port, count, sizes = self._messages, self._port, self._count, self.sizes
        if payload is None:
            messages.answer(count)
        else:
            sizes = messages.answer_with(payload, sizes)
        # Segments are all sent or none. A connected socket may report an ICMP error in place of sending,
        # which would cost all of them, and not only the first.
        joint = (
            self._only_source is not None
            and sizes.count(sizes[0]) == count
            and not port._connectedAddr
            and messages.joinable(count)
        )
        failed: list[tuple[int, OSError]] = []
        start = 0
        for stop in (*sorted(without), count) if without else (count,):
            if not (joint and self._send_joined(start, stop, sizes[0])):
                self._send(start, stop, failed)
            start = stop + 1
        if failed and port._connectedAddr and any(type(why) is ConnectionRefusedError for _, why in failed):
            port.protocol.connectionRefused()
        return failed

    def _send_joined(self, start: int, stop: int, size: int) -> bool:
        """Send those from `start` to before `stop` as segments, if it can be done; return whether it was."""
        port = self._port
        count = stop - start
        if not (count > 1 and 0 < size <= port.longest_segment and count * size <= LARGEST_SUM):
            return False
        try:
            self._messages.send_segments(port.fileno(), start, stop, size)
        except OSError as failure:
            if failure.errno in UNSEGMENTED:
                port.longest_segment = size - 1
            return False
        return True

    def _send(self, start: int, stop: int, failed: list[tuple[int, OSError]]) -> None:
        """Send those from `start` to before `stop`, going on after each that fails."""
        messages, fd = self._messages, self._port.fileno()
        while start < stop:
            try:
                start += messages.send(fd, start, stop)
            except OSError as failure:
                failed.append((start, failure))
                start += 1


class Port(EnduringPort):
    """A UDP port. The reactor calls it without making a log context first."""

    longest_segment = 0
    """Bytes in the longest datagrams of which several are sent as one message; 0 if the system cannot do
    that."""
    _usual_size = 1
    """Bytes in the longest datagram of the last batch, and at least 1."""
    _lone_source: Address | None = None
    """Where the last datagram came from, if it came alone and to a connected port; then the next may too."""
    _lone = 0
    """How many more datagrams are read one by one before a batch is tried again."""
    _longest: int
    """What `maxPacketSize` is, found sooner."""

    @property
    def maxPacketSize(self) -> int:
        """Bytes of a datagram that are received; of a longer one, the beginning. A program may change it."""
        return self._longest

    @maxPacketSize.setter
    def maxPacketSize(self, size: int) -> None:
        self._longest = size
        if self.connected:
            self._choose_shelf()

    def _choose_shelf(self) -> None:
        self._shelf = _shelves[self._room, self.addressFamily, min(self._longest, LARGEST)]

    def _bindSocket(self) -> None:
        super()._bindSocket()
        takes_batches = hasattr(self.protocol, "datagramsReceived")
        self._room = AddressedMessages if takes_batches and note_destinations(self.socket) else Messages
        self._lone = 0
        self._choose_shelf()
        if segments(self.socket):
            self.longest_segment = LARGEST_SUM // 2

    def doRead(self) -> None:
        """See `IReadDescriptor.doRead`."""
        self.receive()

    def receive(self) -> None:
        """Receive what is there, within bounds, and deliver it."""
        if self._lone:
            self._read_lone()
            return
        if not _batches:
            super().doRead()
            return
        shelf = self._shelf
        try:
            messages = shelf.pop()
        except IndexError:  # no look first whether there is one: reactors in other threads take from it too
            messages = self._room(self.addressFamily, self._longest)
        try:
            if hasattr(self.protocol, "datagramsReceived"):
                self._read_batch(messages)
            else:
                self._read_each(messages)
        except OSError as failure:
            self._failed_to_receive(failure)
        finally:
            shelf.append(messages)

    def _read_batch(self, messages: Messages) -> None:
        if self.maxThroughput > 0:
            batch = Received(self, messages, messages.receive(self.fileno(), BATCH))
            try:
                self.protocol.datagramsReceived(batch)
            except BaseException:
                log.err()
            finally:
                del batch._messages  # to whoever kept it, it must not show what others send next

    def _read_lone(self) -> None:
        """Deliver one datagram: to receive a lone one by recv(2) costs less than in a batch."""
        self._lone -= 1
        try:
            datagram = self.socket.recv(self._longest)
        except OSError as failure:
            self._failed_to_receive(failure)
            return
        try:
            self.protocol.datagramReceived(datagram, self._lone_source)
        except BaseException:
            log.err()

    def _read_each(self, messages: Messages) -> None:
        """Deliver datagrams one by one.

        In one turn these are no more than Twisted would read, unless they are larger than the datagrams
        before them. Like Twisted, it does not look between two of them whether the port has been paused.
        """
        read, left, connected = 0, TURN, self._connectedAddr
        while left > 0 and read < self.maxThroughput:
            limit = min(BATCH, (self.maxThroughput - read - 1) // self._usual_size + 1)
            count = messages.receive(self.fileno(), limit)
            source = messages.only_source(count)
            sources = messages.sources(count) if source is None else [source] * count
            sizes = messages.sizes(count)
            for index, source in enumerate(sources):
                try:
                    self.protocol.datagramReceived(messages.datagram(index, sizes[index]), source)
                except BaseException:
                    log.err()
                if not self.connected:
                    return
            self._usual_size = max(1, *sizes)
            if count < limit:
                if count == 1 and not read and source == connected:  # no one else's can come
                    self._lone, self._lone_source = LONE, source
                return
            read += sum(sizes)
            left -= count

    def write(self, datagram: bytes, addr: Address | None = None) -> Any:
        """Send a datagram at once; see `IUDPTransport.write`."""
        if addr is not None and not self._connectedAddr and _family_of(addr[0]) is self.addressFamily:
            try:
                if "%" in addr[0]:
                    addr = _with_zone(addr)
                return self.socket.sendto(datagram, addr)
            except OSError:
                pass  # tried again below, by Twisted, which has exceptions of its own for some
        return super().write(datagram, addr)


class MulticastPort(Port, udp.MulticastPort):
    """A UDP port that can join groups."""
