"""Connections whose answers are delayed, corrupted or truncated on purpose, or that end early."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from netecho.impairment import Fates, Impairment

if TYPE_CHECKING:
    from netecho.protocols._stream_server import ReplyFactory, ReplyProtocol

MOST_HELD: Final = 256 << 10
"""Bytes held for a connection, `COST` for each write included, above which the protocol is told to pause."""
COST: Final = 128
"""Bytes of memory that a held write takes beside its data."""


@implementer(IPushProducer)
class _Valve:
    """The producer that is registered with the transport beneath, and told when its buffer is full.

    It is an object of its own, because `pauseProducing` of `ImpairedTransport` itself is about reading, as of
    any transport.
    """

    def __init__(self, connection: ImpairedTransport) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:
        """Hold everything, also what is due."""
        self._connection.beneath_is_full(True)

    def resumeProducing(self) -> None:
        """Send what is due."""
        self._connection.beneath_is_full(False)

    def stopProducing(self) -> None:
        """Nothing to do: the connection is gone."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class ImpairedTransport(Protocol):
    """Stands between a transport and a server's protocol, as the transport of that protocol.

    An answer is what `ReplyProtocol.messages` counts, or each write if that counts nothing. Whether it is
    delayed is decided when it begins, and whether it is truncated, or the last one, when it ends. All else
    that is written (a greeting, a handshake) stays in order with the answers, and is not impaired. Where
    messages are counted, only the protocol knows which bytes are content: it has `spoil` corrupt them.

    Args:
        reactor: its clock.
        protocol: the server's protocol, whose answers are impaired.
        impairment: which impairments there are.
        fates: draws what happens to each answer.
    """

    transport: Any

    def __init__(self, reactor: Any, protocol: ReplyProtocol, impairment: Impairment, fates: Fates) -> None:
        self._reactor = reactor
        self._answering = protocol
        self._close_after = impairment.close_after
        self._totals = protocol.factory.settings.totals
        self._fates = fates
        self.protocol: Any = protocol
        """The protocol that gets what comes: the same, or after STARTTLS the TLS protocol above it."""
        self._queue: collections.deque[tuple[float, bytes, str]] = collections.deque()
        """When each write is due, its data, and the name of the method to close by, if that is what it is."""
        self._held = 0
        self._call: Any = None
        self._valve = _Valve(self)
        self._producer: Any = None
        self._is_pulled = False
        self._pull_call: Any = None
        self._is_full = False
        """The transport beneath has told us to pause."""
        self._is_paused = False
        self._begun = self._given = 0
        self._is_ending = False
        """The last answer has been written: no more are sent."""
        self._is_amid = False
        """An answer after the last one is being written, and dropped."""
        self._is_cut = False
        """An answer was truncated: nothing more is sent at all."""
        self._is_lost = False

    @property
    def wrappedProtocol(self) -> Any:
        """The protocol above, under the name that Twisted's wrappers use."""
        return self.protocol

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the transport beneath."""
        return getattr(self.transport, name)

    # To the transport it is a protocol.

    def makeConnection(self, transport: Any) -> None:
        """Provide the interfaces of the transport beneath, and connect the protocol."""
        directlyProvides(self, providedBy(transport))
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        """Connect the protocol above."""
        self.protocol.makeConnection(self)

    def handshakeCompleted(self) -> None:
        """Pass it on."""
        self.protocol.handshakeCompleted()

    def dataReceived(self, data: bytes) -> None:
        """Pass on what has come."""
        self.protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """Pass it on."""
        self.protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Pass it on."""
        self.protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drop what is held, and pass it on."""
        self._forget()
        self.protocol.connectionLost(reason)

    def _forget(self) -> None:
        self._is_lost = True
        self._queue.clear()
        self._held = 0
        self._producer = None
        for call in (self._call, self._pull_call):
            if call is not None:
                call.cancel()
        self._call = self._pull_call = None

    # To the protocol it is a transport.

    def write(self, data: bytes) -> None:
        """Send something when it is due, impaired as the fates have it."""
        begins, ends = self._count_answers()
        if self._is_lost or self._is_cut or (self._is_ending and self._is_surplus(begins, ends)):
            return
        delay_ns = 0
        is_over = False
        if self._answering.messages is None:
            data = self.spoil(data)
        if begins:
            delay_ns = self._fates.delay_ns()
            if delay_ns:
                self._totals.impair("delayed")
        if ends:
            if (short := self._fates.truncated(data)) is not None:
                data = short
                self._is_cut = is_over = True
                self._totals.impair("truncated")
            elif self._close_after is not None and self._given >= self._close_after:
                is_over = True
                self._totals.impair("closed")
        self._send(data, delay_ns)
        if is_over:
            self._is_ending = True
            # Not now: the protocol may be in the middle of writing an answer.
            self._reactor.callLater(0, self._finish)

    def writeSequence(self, pieces: Any) -> None:
        """Send all of them."""
        self.write(b"".join(pieces))

    def spoil(self, content: bytes) -> bytes:
        """Return the content of an answer, corrupted if the fates have it so."""
        spoilt = None if self._is_ending else self._fates.corrupted(content)
        if spoilt is None:
            return content
        self._totals.impair("corrupted")
        return spoilt

    def _count_answers(self) -> tuple[bool, bool]:
        """Return whether an answer begins, and whether one ends, with the current write."""
        given = self._answering.messages
        if given is None:
            self._given += 1
            return True, True
        begun = self._answering.begun
        begins, ends = begun > self._begun, given > self._given
        self._begun, self._given = begun, given
        return begins, ends

    def _is_surplus(self, begins: bool, ends: bool) -> bool:
        """Return whether the current write belongs to an answer after the last one."""
        is_surplus = self._is_amid or begins or ends
        self._is_amid = is_surplus and not ends
        return is_surplus

    def _finish(self) -> None:
        self._is_amid = False
        if self._is_cut and not self._is_lost:
            self._answering.close_half()
        elif not self._is_lost:
            self._answering.finish()

    def loseConnection(self) -> None:
        """Close when all that was written has been sent."""
        self._end("loseConnection")

    def loseWriteConnection(self) -> None:
        """Close our half when all that was written has been sent."""
        self._end("loseWriteConnection")

    def abortConnection(self) -> None:
        """Close at once."""
        self._forget()
        self.transport.abortConnection()

    # What is held.

    def _send(self, data: bytes, delay_ns: int) -> None:
        if delay_ns or self._queue or self._is_full:
            self._held += len(data) + COST
            self._queue.append((self._reactor.seconds() + delay_ns / 1e9, data, ""))
            self._wait()
            self._look()
        else:
            self.transport.write(data)

    def _end(self, how: str) -> None:
        if self._queue:
            self._queue.append((0.0, b"", how))
        elif not self._is_lost:
            getattr(self.transport, how)()

    def _wait(self) -> None:
        if self._call is None and self._queue and not self._is_full:
            pause = max(0.0, self._queue[0][0] - self._reactor.seconds())
            self._call = self._reactor.callLater(pause, self._release)

    def _release(self) -> None:
        """Send what is due."""
        self._call = None
        queue = self._queue
        now = self._reactor.seconds()
        while queue and not self._is_full and queue[0][0] <= now:
            _, data, how = queue.popleft()
            if how:
                getattr(self.transport, how)()
            else:
                self._held -= len(data) + COST
                self.transport.write(data)
        self._wait()
        self._look()

    def beneath_is_full(self, is_full: bool) -> None:
        """Note whether the buffer of the transport beneath is full; while it is, hold everything."""
        self._is_full = is_full
        self._wait()
        self._look()

    # To the producer above.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Register a producer, which is told to pause when too much is held; see `IConsumer`."""
        self._producer = producer
        self._is_pulled = not streaming
        self._is_paused = False
        self.transport.registerProducer(self._valve, True)
        self._look()
        self._pull_soon()

    def unregisterProducer(self) -> None:
        """Forget the producer; see `IConsumer`."""
        if self._producer is not None:
            self._producer = None
            self.transport.unregisterProducer()
            self.beneath_is_full(False)

    def _look(self) -> None:
        """Tell the producer to pause or to go on, by how much is held."""
        is_paused = self._is_full or self._held > MOST_HELD
        if self._producer is None or is_paused == self._is_paused:
            return
        self._is_paused = is_paused
        if self._is_pulled:
            self._pull_soon()
        elif is_paused:
            self._producer.pauseProducing()
        else:
            self._producer.resumeProducing()

    def _pull_soon(self) -> None:
        if self._is_pulled and not self._is_paused and self._pull_call is None and not self._is_lost:
            self._pull_call = self._reactor.callLater(0, self._pull)

    def _pull(self) -> None:
        self._pull_call = None
        if self._producer is not None and not self._is_paused:
            self._producer.resumeProducing()
            self._pull_soon()


class ImpairedFactory(Factory):
    """Puts an `ImpairedTransport` between the transport and each protocol of another factory.

    Args:
        books: the other factory.
        impairment: what is done to the answers of its protocols.
    """

    noisy = False

    def __init__(self, books: ReplyFactory, impairment: Impairment) -> None:
        self._books = books
        self._impairment = impairment
        self._built = 0

    def buildProtocol(self, addr: Any) -> Any:
        """Build a connection, unless the other factory refuses it."""
        protocol = self._books.buildProtocol(addr)
        if protocol is None:
            return None
        fates = Fates(self._impairment, self._built)
        self._built += 1
        impaired = ImpairedTransport(self._books.reactor, protocol, self._impairment, fates)
        protocol.spoil = impaired.spoil
        return impaired
