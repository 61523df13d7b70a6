"""The client side of HTTP/3 (RFC 9114): each message is in a request on a stream of its own."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from aioquic.h3.connection import ErrorCode
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import QuicEvent, StreamDataReceived, StreamReset
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netecho.protocols._backoff import Backoff
from netecho.protocols._contract import Answer, OnLost, OnReply
from netecho.protocols._http1_client import ANSWERS, MOST_ANSWER, NotHTTPError
from netecho.protocols._http3_wire import FAREWELL, HTTP3Wire
from netecho.protocols._pausable import Pausable
from netecho.protocols._quic_client import ClientLink, Transport
from netecho.protocols._quic_exchanges import Exchanges


class _Exchange:
    __slots__ = ("answer", "most", "payload", "pieces", "sequence")

    def __init__(self, sequence: int, payload: bytes) -> None:
        self.sequence = sequence
        self.payload = payload
        self.answer: Answer | None = None
        self.pieces: list[bytes] = []
        self.most = MOST_ANSWER + len(payload)
        """Bytes of the answer that are still allowed to come."""


class _AnswersTransport(Transport):
    """The connection as a transport for whoever takes the answers, which it can pause.

    Args:
        link: the connection.
        exchanger: holds the answers back while they are paused.
    """

    def __init__(self, link: ClientLink, exchanger: HTTP3Exchanger) -> None:
        super().__init__(link)
        self._exchanger = exchanger
        self.is_reading = True

    def pauseProducing(self) -> None:
        """Pass on no answers: the other end can send no more than its window then."""
        self.is_reading = False

    def resumeProducing(self) -> None:
        """Pass on answers again, those first that have come meanwhile."""
        self.is_reading = True
        self._exchanger.resume()

    def stopProducing(self) -> None:
        """End the connection: no answers are wanted any more."""
        self.loseConnection()


class HTTP3Exchanger(Pausable, Exchanges[_Exchange]):
    """Exchanges in requests; provides `netecho.protocols._contract.Exchanger`.

    Args:
        link: the connection.
        on_reply: called with each answer.
        on_lost: called when the connection is lost.
        reopen: opens another one, for the next message after the server has said that it takes no more.
    """

    transport: _AnswersTransport

    def __init__(
        self,
        link: ClientLink,
        on_reply: OnReply,
        on_lost: OnLost,
        reopen: Callable[[], Deferred[ClientLink]],
    ) -> None:
        super().__init__(link, on_reply, on_lost)
        self._reopen = reopen
        self._is_parting = False
        """The server takes no more messages on this connection: the next one needs another."""
        self._reopening: Deferred[Any] | None = None
        self._backoff = Backoff()
        """The pauses before connections are opened again of which none has answered anything."""
        self._held: collections.deque[QuicEvent] = collections.deque()
        """Events that are held back while answers are paused."""
        self._held_size = 0
        self._is_resuming = False
        self.transport = _AnswersTransport(link, self)
        request, target = link.route.request, link.route.target
        pairs = [
            (":method", request.method),
            (":scheme", "https"),
            (":authority", request.host or target.authority),
            (":path", target.resource or "/"),
            *((name.lower(), value) for name, value in request.fields),
        ]
        self._head = [(name.encode(), value.encode()) for name, value in pairs]
        self._has_type = any(name == b"content-type" for name, _ in self._head)
        self._has_content = request.has_content
        self._use(link)

    def _use(self, link: ClientLink) -> None:
        """Have the exchanges on a connection."""
        self._link = self.transport.link = link
        link.transport = self.transport
        link.farewell = FAREWELL
        self._is_parting = False
        self._held.clear()
        self._held_size = 0
        self._http = HTTP3Wire(link.wire)
        link.use(self)
        link.flush_soon()

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        if self._is_parting:
            self._queue.append((sequence, payload))
            self._part()
        else:
            super().send(sequence, payload)

    def _part(self) -> None:
        """End the connection, which takes no more, once nothing is under way; open another if need be."""
        if self._exchanges:
            return
        self._link.abort()
        if self._queue and self._reopening is None:
            self._reopening = deferLater(self._link.reactor, self._backoff.pause(), self._reopen)
            self._reopening.addCallbacks(self._reopened, self.lost)

    def _reopened(self, link: ClientLink) -> None:
        self._reopening = None
        self._use(link)
        queue, self._queue = self._queue, collections.deque()
        for sequence, payload in queue:
            self.send(sequence, payload)

    def _end(self, stream: int) -> None:
        if self._is_parting:
            del self._exchanges[stream]
            self._part()
        else:
            super()._end(stream)

    def close(self) -> None:
        """See `Exchanger.close`."""
        super().close()
        if self._reopening is not None:
            self._reopening.cancel()

    def _begin(self, stream: int, sequence: int, payload: bytes) -> _Exchange:
        head = self._head
        if payload or self._has_content:
            head = [*head, (b"content-length", b"%d" % len(payload))]
            if not self._has_type:
                head.append((b"content-type", b"application/octet-stream"))
        self._http.send_headers(stream, head, not payload)
        if payload:
            self._http.send_data(stream, payload, True)
        return _Exchange(sequence, payload)

    def happened(self, event: QuicEvent) -> None:
        """Take an event: now, or when answers are no longer paused."""
        if self.transport.is_reading and not self._held:
            self._hear(event)
        else:
            self._held.append(event)
            self._held_size += _size(event)
        self._withhold()

    def resume(self) -> None:
        """Take the events that were held back."""
        if self._is_resuming:  # called from within: an answer led to a pause that ended at once
            return
        self._is_resuming = True
        while self._held and self.transport.is_reading:
            event = self._held.popleft()
            self._held_size -= _size(event)
            self._hear(event)
        self._is_resuming = False
        self._withhold()
        self._link.flush_soon()

    def _withhold(self) -> None:
        """Count what is held back against the window of the connection."""
        self._link.wire.withheld = self._http.unfinished + self._held_size

    def _hear(self, event: QuicEvent) -> None:
        exchange = self._exchanges.get(getattr(event, "stream_id", -1))
        if isinstance(event, StreamDataReceived) and exchange is not None:
            self.transport.protocol.dataReceived(event.data)
        came = self._http.handle_event(event)
        if (problem := self._http.problem) is not None:
            self._fail(f"{NotHTTPError.__doc__}/3: {problem}")
            return
        for one in came:
            self._take(one)
        if isinstance(event, StreamReset) and exchange is not None:
            exchange.answer = Answer(f"reset {_name(event.error_code)}", True)
            self._complete(event.stream_id, exchange)
        last = self._http.unanswered_from
        if last is not None:
            unanswered = [stream for stream in self._exchanges if stream >= last]
            for stream in reversed(unanswered):  # the server has done nothing with these: send them again
                taken_back = self._exchanges.pop(stream)
                self._queue.appendleft((taken_back.sequence, taken_back.payload))
            if unanswered or not self._is_parting:
                self._is_parting = True
                self._part()

    def _take(self, event: Any) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        if isinstance(event, HeadersReceived):
            status = next((value for name, value in event.headers if name == b":status"), b"")
            if status.isdigit():  # else these are trailers
                exchange.answer = ANSWERS.get(int(status))
        elif isinstance(event, DataReceived):
            exchange.pieces.append(event.data)
            exchange.most -= len(event.data)
            if exchange.most < 0:
                self._fail(f"an answer has more than {MOST_ANSWER} bytes")
                return
        if event.stream_ended:
            self._backoff.waive()
            self._complete(event.stream_id, exchange)

    def _complete(self, stream: int, exchange: _Exchange) -> None:
        self._end(stream)
        self._on_reply(exchange.sequence, b"".join(exchange.pieces), None, exchange.answer)

    def _fail(self, words: str) -> None:
        self.lost(Failure(NotHTTPError(words)))
        self._link.abort()


def _size(event: QuicEvent) -> int:
    return len(event.data) if isinstance(event, StreamDataReceived) else 0


def _name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return hex(code)
