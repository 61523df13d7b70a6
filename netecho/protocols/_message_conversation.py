"""A conversation in messages: what a Twisted protocol writes is one, and it is given the answer.

Answers are given in the order of the messages, in whichever they come: on streams of their own a small one
overtakes a large one.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netecho.protocols._contract import Answer, Exchanger, Route


@typing.runtime_checkable
class AnswerListener(typing.Protocol):
    """A Twisted protocol of a conversation in messages that is told what each answer says of its message."""

    def answered(self, answer: Answer) -> None:
        """Take what the answer says that comes next."""


class MessageConversation:
    """The transport of a protocol each of whose writes is a message.

    It is given the answers in the order of its messages, though some overtake others on streams of their own.

    Args:
        protocol: who talks.
        statuses: what stands before the status of an answer that has nothing else to show.
    """

    def __init__(self, protocol: Protocol, statuses: str = "") -> None:
        self._protocol = protocol
        self._listener = protocol if isinstance(protocol, AnswerListener) else None
        self._statuses = statuses
        self._exchanger: Any = None
        self._reactor: Any = None
        self._transport: Any = None
        self._sequence = 0
        self._next = 0
        """The message whose answer is the next to be given."""
        self._early: dict[int, tuple[bytes, Answer | None]] = {}
        """Answers that have come before their turn."""

    def begin(
        self,
        connect: Callable[..., Deferred[Exchanger]],
        reactor: Any,
        route: Route,
        on_connected: Callable[[], object] | None,
    ) -> Deferred[Protocol]:
        """Connect, and let the protocol talk; fires with it once it can."""
        self._reactor = reactor

        def connected(exchanger: Exchanger) -> Protocol:
            self._exchanger = exchanger
            self._transport = exchanger.transport
            self._protocol.makeConnection(self)
            return self._protocol

        return connect(reactor, route, self._replied, self._lost, on_connected).addCallback(connected)

    def __getattr__(self, name: str) -> Any:
        """Be like the transport beneath in all that is not about messages."""
        return getattr(self._transport, name)

    def pauseProducing(self) -> None:
        """Pass on no answers for now, whichever connection they come on."""
        if self._exchanger is not None:
            self._exchanger.pauseProducing()

    def resumeProducing(self) -> None:
        """Pass on answers again."""
        if self._exchanger is not None:
            self._exchanger.resumeProducing()

    def write(self, data: bytes) -> None:
        """Send a message."""
        if self._exchanger is not None:
            sequence, self._sequence = self._sequence, self._sequence + 1
            self.send(sequence, data)

    def send(self, sequence: int, data: bytes) -> None:
        """Have a message sent."""
        self._exchanger.send(sequence, data)

    def loseWriteConnection(self) -> None:
        """Send nothing more: no peer needs to hear of that."""

    def loseConnection(self) -> None:
        """End the conversation; the protocol is told, as by any transport, when that is done."""
        exchanger, self._exchanger = self._exchanger, None
        if exchanger is None:
            return

        def ended(_: object = None) -> None:
            self._protocol.connectionLost(Failure(ConnectionDone()))

        if (parted := exchanger.close()) is None:  # it tells nobody
            self._reactor.callLater(0, ended)
        else:
            parted.addCallback(ended)

    abortConnection = loseConnection

    def _replied(
        self, sequence: int | None, payload: bytes, _: object = None, answer: Answer | None = None
    ) -> None:
        if sequence is None or sequence < self._next:
            self._give(payload, answer)
            return
        self._early[sequence] = payload, answer
        while self._next in self._early:
            self._next += 1
            self._give(*self._early.pop(self._next - 1))

    def _give(self, payload: bytes, answer: Answer | None) -> None:
        if answer is not None:
            if self._listener is not None:
                self._listener.answered(answer)
            if not payload and (answer.refused or answer.redirects):
                payload = f"{self._statuses}{answer.status}".encode()
        self._protocol.dataReceived(payload)

    def _lost(self, reason: Failure) -> None:
        self._exchanger = None
        self._protocol.connectionLost(reason)
