"""HTTP/3 as a client speaks it: each message in a request on a stream of its own."""

from __future__ import annotations

import collections
from typing import Any

from aioquic.h3.connection import ErrorCode
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset
from twisted.python.failure import Failure

from netecho.protocols._contract import Answer, OnLost, OnReply
from netecho.protocols._http1_client import ANSWERS, MOST_ANSWER, NotHTTPError
from netecho.protocols._http3_wire import FAREWELL, HTTP3Wire
from netecho.protocols._quic_client import ClientLink


class _Exchange:
    __slots__ = ("answer", "most", "pieces", "sequence")

    def __init__(self, sequence: int, size: int) -> None:
        self.sequence = sequence
        self.answer: Answer | None = None
        self.pieces: list[bytes] = []
        self.most = MOST_ANSWER + size
        """Bytes that may still come."""


class HTTP3Exchanger:
    """Exchanges on streams; provides `netecho.protocols._contract.Exchanger`.

    Args:
        link: the connection.
        on_reply: called with each answer.
        on_lost: called when the connection is lost.
    """

    def __init__(self, link: ClientLink, on_reply: OnReply, on_lost: OnLost) -> None:
        self._link = link
        self._on_reply: OnReply = on_reply
        self._on_lost = on_lost
        self._most = link.route.multiplex.streams
        self._exchanges: dict[int, _Exchange] = {}
        """Those under way, by their streams."""
        self._queue: collections.deque[tuple[int, bytes]] = collections.deque()
        """Messages for which there is no stream yet."""
        self.transport = link.transport
        self._http = HTTP3Wire(link.wire)
        request, target = link.route.request, link.route.target
        host = f"[{target.host}]" if ":" in target.host else target.host
        fields = [field.split(":", 1) for field in request.headers]
        pairs = [
            (":method", request.method),
            (":scheme", "https"),
            (":authority", f"{host}:{target.port}"),
            (":path", target.resource or "/"),
            *((name.lower(), value.strip()) for name, value in fields),
        ]
        self._head = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in pairs]
        self._has_type = any(name == b"content-type" for name, _ in self._head)
        self._has_content = request.has_content
        link.farewell = FAREWELL
        link.use(self)
        link.flush_soon()

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        if self._most is not None and len(self._exchanges) >= self._most:
            self._queue.append((sequence, payload))
            return
        head = self._head
        if payload or self._has_content:
            head = [*head, (b"content-length", b"%d" % len(payload))]
            if not self._has_type:
                head.append((b"content-type", b"application/octet-stream"))
        stream = self._link.wire.get_next_available_stream_id()
        self._exchanges[stream] = _Exchange(sequence, len(payload))
        self._http.send_headers(stream, head, not payload)
        if payload:
            self._http.send_data(stream, payload, True)
        self._link.flush_soon()

    def happened(self, event: QuicEvent) -> None:
        """Take answers, or some of one."""
        if isinstance(event, StreamDataReceived):
            if event.stream_id in self._exchanges:
                self.transport.protocol.dataReceived(event.data)
            for one in self._http.handle_event(event):
                self._take(one)
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._http.handle_event(event)
            exchange = self._exchanges.get(event.stream_id)
            if exchange is not None and isinstance(event, StreamReset):
                exchange.answer = Answer(f"reset {_name(event.error_code)}", True)
                self._complete(event.stream_id, exchange)

    def _take(self, event: Any) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        if isinstance(event, HeadersReceived):
            status = next((value for name, value in event.headers if name == b":status"), b"")
            if status.isdigit():  # and no trailer
                exchange.answer = ANSWERS.get(int(status))
        elif isinstance(event, DataReceived):
            exchange.pieces.append(event.data)
            exchange.most -= len(event.data)
            if exchange.most < 0:
                self._fail(f"an answer has more than {MOST_ANSWER} bytes")
                return
        if event.stream_ended:
            self._complete(event.stream_id, exchange)

    def _complete(self, stream: int, exchange: _Exchange) -> None:
        del self._exchanges[stream]
        if self._queue:
            self.send(*self._queue.popleft())
        self._on_reply(exchange.sequence, b"".join(exchange.pieces), None, exchange.answer)

    def flushed(self) -> None:
        """Have whoever sends wait while the other end does not read."""
        self._link.wire.withheld = self._http.unfinished
        self.transport.regulate(self._link.wire.backlog)

    def _fail(self, words: str) -> None:
        self.lost(Failure(NotHTTPError(words)))
        self._link.abort()

    def lost(self, reason: Failure) -> None:
        """Say so, unless we did it."""
        on_lost, self._on_lost = self._on_lost, _ignore
        self._on_reply = _ignore
        on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = self._on_reply = _ignore
        self._link.abort()


def _name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return hex(code)


def _ignore(*_: object) -> None:
    """Take what nobody waits for any more."""
