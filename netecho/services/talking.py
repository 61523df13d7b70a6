"""Standard input to the other end, what the other end sends to standard output: `client` in a pipe."""

from __future__ import annotations

import collections
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import (
    CorruptedError,
    LostError,
    NetechoError,
    NoReplyError,
    OutputError,
    RefusedError,
    RefusedMessageError,
    reason_of,
)
from netecho.measure.humanise import count
from netecho.protocols._contract import Answer, Receipt
from netecho.protocols._tls import TruncationError
from netecho.services.failures import explain_loss
from netecho.services.silence import question
from netecho.services.standardio import InputProducer, OutputConsumer

WINDOW: Final = 16
"""Datagrams under way at a time, so that no socket's buffer overflows."""
_OVERTAKEN: Final = 3
"""A datagram is taken for lost when so many later ones are answered (as TCP does, RFC 5681 section 3.2)."""


_CLOSED_EARLY: Final = "the other end closed the connection before all of standard input was sent"


class _Piped(Protocol):
    """A connection between the standard streams.

    `ended` fires when the conversation is over and standard output has all of it.
    """

    transport: Any

    def __init__(self, reactor: Any, standard_input: int, standard_output: int, block: int) -> None:
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._input = InputProducer(reactor, standard_input, self.send, block)
        self._output = OutputConsumer(reactor, standard_output)
        self._error: Exception | None = None
        self._over = False
        self.sent = 0
        self.received = 0
        """Bytes, either way."""

    def connectionMade(self) -> None:
        """Begin both ways."""
        self._output.registerProducer(self.transport, True)
        self._output.start()
        self._input.start()
        self._input.ended.addCallbacks(self._input_ended, self._input_failed)
        self._output.ended.addBoth(self._output_ended)

    def send(self, data: bytes) -> None:
        """Send a block of standard input."""
        raise NotImplementedError

    def _input_ended(self, _: object) -> None:
        raise NotImplementedError

    def _input_failed(self, failure: Failure) -> None:
        self.finish(NetechoError(f"standard input cannot be read: {reason_of(failure.value)}"))

    def finish(self, error: Exception | None = None) -> None:
        """End the conversation: nothing more is sent or taken, and what came is written out."""
        if self._over:
            return
        self._over = True
        self._error = error
        self._input.stopProducing()
        self._output.unregisterProducer()
        self._output.finish()

    def _output_ended(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            self.finish()
            error = result.value
            self._error = error if isinstance(error, BrokenPipeError) else OutputError(error)
        if self._error is None:
            self._part()
        else:
            self.transport.abortConnection()
            self.ended.errback(self._error)

    def _part(self) -> None:
        """Close in order, now that all is done."""
        self.transport.loseConnection()
        self.ended.callback(None)


@implementer(IHalfCloseableProtocol)
class StreamPipe(_Piped):
    """Pipe mode on a byte stream, as nc does it: half-close after the input's end, end when the peer does.

    `ended` fails with `LostError` if the connection broke, or was closed before the input was sent, and
    with `BrokenPipeError` if nobody reads standard output any more.
    """

    def __init__(self, reactor: Any, standard_input: int, standard_output: int, block: int) -> None:
        super().__init__(reactor, standard_input, standard_output, block)
        self._all_read = False
        self._all_sent = False
        self._peer_closed = False

    def connectionMade(self) -> None:
        """Have the transport pause standard input while the peer does not read."""
        self.transport.registerProducer(self._input, True)
        super().connectionMade()

    def send(self, data: bytes) -> None:
        """Send a block of standard input."""
        self.sent += len(data)
        self.transport.write(data)

    def _input_ended(self, _: object) -> None:
        self._all_read = True
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Write it out."""
        if not self._over:
            self.received += len(data)
            self._output.write(data)

    def readConnectionLost(self) -> None:
        """End, as the peer sends nothing more, but first send it what is left of the input."""
        self._peer_closed = True
        if self._all_sent:
            self.finish()
        elif not self._all_read:
            self.finish(LostError(_CLOSED_EARLY))

    def writeConnectionLost(self) -> None:
        """Wait for the peer to close its side too."""
        self._all_sent = True
        if self._peer_closed:
            self.finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End, with an error if something was lost by it."""
        if reason.check(ConnectionDone):
            self.finish(None if self._all_read else LostError(_CLOSED_EARLY))
        elif self._all_read and reason.check(TruncationError) and self.received == self.sent:
            # Many programs close without close_notify; an echo that is complete was not cut short.
            self.finish()
        else:
            self.finish(explain_loss(reason))


class DatagramPipe(_Piped):
    """Pipe mode on messages: each block that is read from standard input is one.

    Echoes are written as they come. A few messages are under way at a time; when nothing has come for
    `timeout` seconds, those are given up. `ended` fails with `NoReplyError` if fewer messages came than were
    sent, and fewer bytes; with `RefusedMessageError` if the other end refused one, and with `CorruptedError`
    if a receipt says that it received something else.

    Args:
        reactor: runs it.
        standard_input: the descriptor that is read.
        standard_output: the descriptor that is written.
        block: bytes in a message.
        timeout: seconds.
        of_datagrams: whether messages are datagrams, so that nobody may be there at all.
    """

    def __init__(
        self,
        reactor: Any,
        standard_input: int,
        standard_output: int,
        block: int,
        timeout: float,
        *,
        of_datagrams: bool,
    ) -> None:
        super().__init__(reactor, standard_input, standard_output, block)
        self._timeout = timeout
        self._of_datagrams = of_datagrams
        self._in_turn = False
        """Each thing that comes answers the oldest message: so it is where answers have a status."""
        self._answer: Answer | None = None
        """What the answer says that comes next."""
        self._waiting: Any = None
        self._under_way: collections.deque[bytes] = collections.deque()
        self._all_read = False
        self._messages_sent = 0
        self._largest = 0
        """Bytes in the largest of them."""
        self._messages_received = 0
        self._refused: collections.Counter[str] = collections.Counter()
        """Messages that the other end has refused, by the status of its answer."""
        self._differing = 0
        """Messages of which it received something else."""
        self._is_lost = False
        self._is_parting = False

    def send(self, data: bytes) -> None:
        """Send a block of standard input."""
        self._messages_sent += 1
        self.sent += len(data)
        self._largest = max(self._largest, len(data))
        self._under_way.append(data)
        self.transport.write(data)
        if len(self._under_way) >= WINDOW:
            self._input.pauseProducing()
        self._wait()

    def _input_ended(self, _: object) -> None:
        self._all_read = True
        self._go_on()

    def answered(self, answer: Answer) -> None:
        """Keep it for when the answer itself is there; see `AnswerListener`."""
        self._in_turn = True
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        """Write an echo out, and see which message it answers."""
        if self._over:
            return
        self._messages_received += 1
        self.received += len(data)
        self._output.write(data)
        self._answered(data)
        self._wait()
        self._go_on()

    def _answered(self, data: bytes) -> None:
        if self._in_turn:
            message = self._under_way.popleft() if self._under_way else None
            answer, self._answer = self._answer, None
            if answer is not None:
                self._judge(answer, data, message)
            return
        if data in self._under_way:
            position = self._under_way.index(data)
            del self._under_way[position]
            for _ in range(position - _OVERTAKEN + 1):
                self._under_way.popleft()
            return
        # No echo of one message, but perhaps of several: some services join what comes quickly.
        size = len(data)
        while self._under_way and size > 0:
            size -= len(self._under_way.popleft())

    def _judge(self, answer: Answer, data: bytes, message: bytes | None) -> None:
        """Count what will not do as an echo of the message, though it is written out like one."""
        if answer.refused or (answer.redirects and data != message):
            self._refused[answer.status] += 1
        elif answer.receipt is Receipt.DIFFERS:
            self._differing += 1

    def _go_on(self) -> None:
        if self._all_read and (not self._under_way or self._has_all_bytes):
            self.finish(self._verdict())
        elif len(self._under_way) < WINDOW:
            self._input.resumeProducing()

    @property
    def _has_all_bytes(self) -> bool:
        return self.received >= self.sent and not self._in_turn

    def _wait(self) -> None:
        """Begin the time anew after which what is under way is given up."""
        if self._waiting is not None and self._waiting.active():
            self._waiting.reset(self._timeout)
        else:
            self._waiting = self._reactor.callLater(self._timeout, self._give_up)

    def _give_up(self) -> None:
        self._under_way.clear()
        self._go_on()

    def _verdict(self) -> Exception | None:
        messages = count(self._messages_sent, "message")
        if self._differing:
            return CorruptedError(
                f"the other end received something else than was sent, says its receipt of {self._differing} "
                f"of {messages}"
            )
        if self._refused:
            statuses = ", ".join(self._refused)
            return RefusedMessageError(
                f"the other end refused {self._refused.total()} of {messages}: status {statuses}"
            )
        lost = self._messages_sent - self._messages_received
        if lost <= 0 or self._has_all_bytes:
            return None
        if not self._of_datagrams:
            return NoReplyError(f"no reply to {lost} of {messages}; wait longer with -w")
        datagrams = count(self._messages_sent, "datagram")
        if self._messages_received == 0:
            asked = question("a server listen", self._largest)
            return NoReplyError(f"no reply: none of {datagrams} came back; {asked}")
        return NoReplyError(f"{lost} of {datagrams} did not come back")

    def finish(self, error: Exception | None = None) -> None:
        """End the conversation, and its timer."""
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        super().finish(error)

    def _part(self) -> None:
        """Close in order, and end when that is done: the other end may have to answer a last word."""
        if self._is_lost:
            self.ended.callback(None)
        else:
            self._is_parting = True
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End: nothing more can come."""
        self._is_lost = True
        if self._is_parting:
            self.ended.callback(None)
        elif reason.check(ConnectionRefusedError):
            self.finish(RefusedError("no reply: nothing listens at the other end's port"))
        elif reason.check(ConnectionDone):
            left = count(len(self._under_way), "message")
            self.finish(
                LostError(
                    f"the other end closed the connection and left {left} without an answer"
                    if self._under_way
                    else _CLOSED_EARLY
                )
            )
        else:
            self.finish(explain_loss(reason))
