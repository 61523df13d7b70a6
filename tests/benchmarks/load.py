"""A load that costs little: messages on sockets, each sent when the echo before it has come.

Nothing but the system's calls and the comparison of every byte, so that the server is busy before the
load is. What the server spends is read from its processor clock, which the load's own speed does not
distort.
"""

from __future__ import annotations

import dataclasses
import itertools
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

SECOND: Final = 1_000_000_000
PATIENCE: Final = 10.0
"""Seconds without an echo after which a stream is taken to be broken."""
LOST_AFTER: Final = 0.1
"""Seconds without an echo after which all datagrams in flight are taken to be lost."""
DIFFERENT: Final = 1 << 14
"""Messages until the first comes again, so that no echo is taken for another."""
_WAIT: Final = (BlockingIOError, ssl.SSLWantReadError)

Clock = Callable[[], int]
"""Nanoseconds of processor time, of the server that is under the load."""


class BrokenEchoError(Exception):
    """What came back is not what was sent, or nothing came back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One server under one load, once."""

    exchanges: int
    """Messages that came back."""
    elapsed_ns: int
    cpu_ns: int
    """Processor time of the server meanwhile."""
    lost: int = 0
    """Datagrams that did not come back."""

    @property
    def rate(self) -> float:
        """Exchanges in a second."""
        return self.exchanges * SECOND / self.elapsed_ns

    @property
    def cost_ns(self) -> float:
        """Processor time of the server for an exchange."""
        return self.cpu_ns / self.exchanges

    @property
    def busy(self) -> float:
        """The part of the time in which the server was busy, 1 for all of it."""
        return self.cpu_ns / self.elapsed_ns


class Load(Protocol):
    """What can be put on a server, again and again."""

    def run(self, seconds: float, clock: Clock) -> Sample:
        """Keep the server busy for so long.

        Raises:
            BrokenEchoError: it did not echo.
        """

    def close(self) -> None:
        """Close the sockets."""


def messages(size: int) -> Iterator[bytes]:
    """Return messages of `size` bytes, at least 8, without end."""
    return itertools.cycle([f"{number:08x}".encode() + bytes(size - 8) for number in range(DIFFERENT)])


class StreamLoad:
    """One message in flight on each of some connections.

    Args:
        connections: connected, and through TLS if the server speaks it.
        size: bytes in a message.
    """

    def __init__(self, connections: Sequence[socket.socket], size: int) -> None:
        self._connections = {connection.fileno(): connection for connection in connections}
        self._size = size
        self._messages = messages(size)
        self._poller = select.epoll()
        for connection in connections:
            connection.setblocking(False)
            self._poller.register(connection, select.EPOLLIN)

    def run(self, seconds: float, clock: Clock) -> Sample:
        """See `Load.run`."""
        size, next_message, poll = self._size, self._messages.__next__, self._poller.poll
        calls = {fd: (one.recv, one.send) for fd, one in self._connections.items()}
        most = len(calls)
        expected: dict[int, bytes] = {}
        cpu, begun = clock(), time.monotonic_ns()
        ends = begun + int(seconds * SECOND)
        for fd, (_, send) in calls.items():
            expected[fd] = message = next_message()
            send(message)
        done = 0
        while not done or time.monotonic_ns() < ends:
            events = poll(PATIENCE, most)
            if not events:
                raise BrokenEchoError(f"no echo came in {PATIENCE:g} s")
            for fd, _ in events:
                receive, send = calls[fd]
                try:
                    data = receive(size)
                except _WAIT:
                    continue
                if data != expected[fd]:
                    self._complete(fd, data, expected[fd])
                done += 1
                expected[fd] = message = next_message()
                send(message)
        sample = Sample(done, time.monotonic_ns() - begun, clock() - cpu)
        for fd, message in expected.items():
            self._complete(fd, b"", message)
        return sample

    def _complete(self, fd: int, data: bytes, message: bytes) -> None:
        """Receive what is missing of an echo, and compare it."""
        connection = self._connections[fd]
        connection.settimeout(PATIENCE)
        try:
            while len(data) < len(message) and (more := connection.recv(len(message) - len(data))):
                data += more
        except OSError as error:
            raise BrokenEchoError(f"an echo did not come: {error}") from error
        if data != message:
            raise BrokenEchoError(f"{data!r} came back for {message!r}")
        connection.setblocking(False)

    def close(self) -> None:
        """See `Load.close`."""
        self._poller.close()
        for connection in self._connections.values():
            connection.close()


class DatagramLoad:
    """A number of datagrams in flight on one socket.

    One that is lost is not replaced before all are.

    Args:
        connection: connected to the server.
        size: bytes in a datagram.
        window: datagrams in flight.
    """

    def __init__(self, connection: socket.socket, size: int, window: int) -> None:
        self._connection = connection
        self._most = size + 1
        self._window = window
        self._messages = messages(size)
        self._in_flight: set[bytes] = set()
        """What has not come back; of earlier runs too, as a datagram may be late."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        connection.setblocking(False)
        self._poller = select.poll()
        self._poller.register(connection, select.POLLIN)

    def run(self, seconds: float, clock: Clock) -> Sample:
        """See `Load.run`."""
        before = len(self._in_flight)
        cpu, begun = clock(), time.monotonic_ns()
        ends = begun + int(seconds * SECOND)
        self._fill()
        done = 0
        while not done or time.monotonic_ns() < ends:
            if not self._echo_comes() and not self._refill():
                raise BrokenEchoError(f"no echo came in {PATIENCE:g} s")
            done += self._exchange()
        elapsed, cpu = time.monotonic_ns() - begun, clock() - cpu
        while len(self._in_flight) > before and self._echo_comes():
            self._exchange(replace=False)
        return Sample(done, elapsed, cpu, lost=max(0, len(self._in_flight) - before))

    def _echo_comes(self) -> bool:
        return bool(self._poller.poll(LOST_AFTER * 1000))

    def _fill(self) -> None:
        for message in itertools.islice(self._messages, self._window):
            self._in_flight.add(message)
            self._connection.send(message)

    def _refill(self) -> bool:
        """Send as many again, until one comes back; return whether one does."""
        for _ in range(int(PATIENCE / LOST_AFTER)):
            self._fill()
            if self._echo_comes():
                return True
        return False

    def _exchange(self, *, replace: bool = True) -> int:
        """Receive what there is, at most all that is in flight, and send as much; return how many came."""
        receive, send, next_message = self._connection.recv, self._connection.send, self._messages.__next__
        most, in_flight = self._most, self._in_flight
        came, sent = in_flight.remove, in_flight.add
        done = 0
        try:
            while done < self._window:
                came(receive(most))
                done += 1
                if replace:
                    message = next_message()
                    sent(message)
                    send(message)
        except BlockingIOError:
            pass
        except KeyError as unknown:
            raise BrokenEchoError(f"{unknown.args[0]!r} came back, which is not in flight") from None
        return done

    def close(self) -> None:
        """See `Load.close`."""
        self._connection.close()
