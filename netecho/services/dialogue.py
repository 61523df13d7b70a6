"""A conversation line by line: which of what comes is the echo of a line, and how long it took."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import NetechoError, RefusedError
from netecho.services.failures import explain_loss


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """Something that the other end sent."""

    data: bytes
    time_ns: int | None
    """From when it was sent until its echo; `None` if it is no echo."""


class EchoMatcher:
    """Finds the echoes of messages in what comes back.

    Args:
        stream: what comes is a stream of bytes, and not one message at a time.
        receipts: what comes is a receipt for the oldest message.
    """

    KEPT = 10_000
    """Messages whose echo is still waited for; of more, the oldest are forgotten."""

    def __init__(self, *, stream: bool, receipts: bool = False) -> None:
        self._stream = stream
        self._receipts = receipts
        self._awaited: collections.deque[tuple[bytes, int]] = collections.deque(maxlen=self.KEPT)
        self._rest = b""

    @property
    def awaited(self) -> int:
        """Messages whose echo has not come."""
        return len(self._awaited)

    def sent(self, message: bytes, now_ns: int) -> None:
        """Expect the echo of a message that leaves now."""
        self._awaited.append((message, now_ns))

    def heard(self, data: bytes, now_ns: int) -> Iterator[Heard]:
        """Take what came now, and say what it is. Part of an echo is kept until the rest comes."""
        if not self._stream:
            yield Heard(data, self._answers(data, now_ns))
            return
        self._rest += data
        while self._rest:
            message = self._awaited[0][0] if self._awaited else b""
            if message and self._rest.startswith(message):
                self._rest = self._rest[len(message) :]
                yield Heard(message, self._answers(message, now_ns))
            elif message.startswith(self._rest):
                return
            else:
                line, newline, rest = self._rest.partition(b"\n")
                self._rest = rest
                yield Heard(line + newline, self._answers(line + newline, now_ns))

    def _answers(self, data: bytes, now_ns: int) -> int | None:
        for index, (message, sent_ns) in enumerate(self._awaited):
            if message == data or self._receipts:
                del self._awaited[index]
                return now_ns - sent_ns
        return None

    def end(self) -> Iterator[Heard]:
        """Say what is left, now that nothing more will come."""
        rest, self._rest = self._rest, b""
        if rest:
            yield Heard(rest, None)


@dataclasses.dataclass(slots=True)
class Tally:
    """What was said and heard."""

    sent: int = 0
    received: int = 0
    """Echoes."""
    bytes_sent: int = 0
    bytes_received: int = 0
    least_ns: int | None = None
    most_ns: int | None = None
    total_ns: int = 0

    def count(self, heard: Heard) -> None:
        """Count what was heard."""
        if heard.time_ns is None:
            return
        self.received += 1
        self.total_ns += heard.time_ns
        self.least_ns = heard.time_ns if self.least_ns is None else min(self.least_ns, heard.time_ns)
        self.most_ns = heard.time_ns if self.most_ns is None else max(self.most_ns, heard.time_ns)


@implementer(IHalfCloseableProtocol)
class Dialogue(Protocol):
    """The connection of a conversation.

    Args:
        stream: messages are lines of a stream; else each is a datagram.
        receipts: what comes back is a receipt for each.
        on_heard: called with each thing that came.
        clock: monotonic, in nanoseconds.
    """

    transport: Any

    def __init__(
        self,
        *,
        stream: bool,
        receipts: bool = False,
        on_heard: Callable[[Heard], object],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.tally = Tally()
        self.ended: Deferred[None] = Deferred()
        """Fires when the other end or the network has ended the conversation."""
        self.error: NetechoError | None = None
        """Why it ended, if not in order."""
        self._quiet: Deferred[None] | None = None
        self._stream = stream
        self._matcher = EchoMatcher(stream=stream, receipts=receipts)
        self._on_heard = on_heard
        self._clock = clock

    @property
    def over(self) -> bool:
        """Whether the other end or the network has ended the conversation."""
        return bool(self.ended.called)

    @property
    def awaited(self) -> int:
        """Lines whose echo has not come."""
        return self._matcher.awaited

    def say(self, line: bytes) -> None:
        """Send a line: on a stream with the line feed that ends it, as a datagram without."""
        message = line + b"\n" if self._stream else line
        self.tally.sent += 1
        self.tally.bytes_sent += len(message)
        self._matcher.sent(message, self._clock())
        self.transport.write(message)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what it is."""
        now = self._clock()
        self.tally.bytes_received += len(data)
        for heard in self._matcher.heard(data, now):
            self._pass_on(heard)
        if self._quiet is not None and not self._matcher.awaited:
            quiet, self._quiet = self._quiet, None
            quiet.callback(None)

    def _pass_on(self, heard: Heard) -> None:
        self.tally.count(heard)
        self._on_heard(heard)

    def finish(self) -> Deferred[None]:
        """Say that nothing more will be sent; fires when all echoes have come, or the other end has ended."""
        quiet: Deferred[None] = Deferred()
        self._quiet = quiet
        self.transport.loseWriteConnection()
        if not self._matcher.awaited or self.ended.called:
            self._quiet = None
            quiet.callback(None)
        return quiet

    def part(self) -> Deferred[None]:
        """Close the connection, unless it is one of a stream; fires when the conversation is over.

        It may be only when the other end has answered a last word. A stream has none: `finish` has closed our
        half, and the end of the process closes the rest.
        """
        if self._stream or self.over:
            return succeed(None)
        self.transport.loseConnection()
        return self.ended

    def readConnectionLost(self) -> None:
        """The other end sends nothing more, and so the conversation is over."""
        self.transport.loseConnection()
        self._end(None)

    def writeConnectionLost(self) -> None:
        """Nothing to do: it was asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The conversation is over."""
        if reason.check(ConnectionDone):
            self._end(None)
        elif reason.check(ConnectionRefusedError):
            self._end(RefusedError("no reply: nothing listens at the other end's port"))
        else:
            self._end(explain_loss(reason))

    def _end(self, error: NetechoError | None) -> None:
        if self.ended.called:
            return
        for heard in self._matcher.end():
            self._pass_on(heard)
        if self._quiet is not None:
            quiet, self._quiet = self._quiet, None
            quiet.callback(None)
        self.error = error
        self.ended.callback(None)
