"""The server side of HTTP/3 (RFC 9114): requests come in on streams, echoes or pages go out on the same.

A body is sent back as it comes. QUIC's flow control bounds how much of it may come: `_quic_wire` opens the
window of a connection as the peer acknowledges what it has been sent.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from aioquic.h3.connection import ErrorCode, stream_is_request_response
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import (
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from netecho.protocols import _http_pages as pages
from netecho.protocols._addresses import address_text
from netecho.protocols._credit import PER_EXCHANGE, PER_FRAME
from netecho.protocols._datagram_server import peer_text
from netecho.protocols._http3_wire import ALPN, FAREWELL, HTTP3Wire, MalformedReceived
from netecho.protocols._http_exchange import Exchange, decide, keep
from netecho.protocols._quic_link import Address
from netecho.protocols._quic_server import QUICPort
from netecho.protocols._quic_server_link import ServerLink
from netecho.protocols._quic_wire import WINDOW, Wire
from netecho.protocols._tls_info import agreement_seen
from netecho.protocols._watched import Patience, Progress

PER_RESET: Final = 4
"""The cost of a request that its peer cancels, in frames: see `Credit`."""
MADE: Final = WINDOW // 2
"""Bytes that wait for acknowledgement, from which on no more of a page is made."""


class HTTP3Link(ServerLink):
    """A connection of the server."""

    port: HTTP3Port
    farewell = FAREWELL
    excess = (int(ErrorCode.H3_EXCESSIVE_LOAD), True)

    def __init__(self, port: QUICPort, wire: Wire, peer: Address, ids: set[bytes]) -> None:
        super().__init__(port, wire, peer, ids)
        self._http = HTTP3Wire(wire)
        self._exchanges: dict[int, Exchange] = {}
        """The exchanges under way, by their streams."""
        self._next = 0
        """The lowest request stream on which nothing has come, nor on any above it."""
        self._last: int | None = None
        """The stream from which on no request is answered, once GOAWAY has been sent."""
        self._moved_at = self.begun
        self._progress = Progress(self.begun)
        self._answered = 0
        self._held = 0
        """Bytes of bodies that have not been sent back yet."""
        self._room = 0
        """Bytes of pages that may still be made in this turn."""
        self._seen: dict[str, Any] | None = None

    # In.

    def heard(self, event: QuicEvent) -> None:
        """Take an event of a stream."""
        match event:
            case StreamDataReceived():
                stream = event.stream_id
                if stream_is_request_response(stream) and not self._http.knows(stream):
                    self._expect(stream)
                before = self._http.frames
                came = self._http.handle_event(event)
                for one in came:
                    self._take(one)
                self.progressed()
                self.pay(self._http.frames - before - len(came))
                if event.end_stream and stream_is_unidirectional(stream):
                    self.pay(1)
            case StreamReset():
                stream = event.stream_id
                is_over = self._http.knows(stream) and stream not in self._exchanges
                self._http.handle_event(event)
                if stream_is_request_response(stream) and not is_over:
                    self._cancel(stream, ErrorCode.H3_REQUEST_CANCELLED)
                self.pay(PER_RESET)
            case StopSendingReceived():
                self._http.handle_event(event)
                if event.stream_id in self._exchanges:
                    self._cancel(event.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
                    self.pay(PER_RESET)

    def _expect(self, stream: int) -> None:
        """Begin an exchange when the first bytes come on a stream; reject it after GOAWAY."""
        self._next = max(self._next, stream + 4)
        if self._last is None or stream < self._last:
            self._exchanges[stream] = Exchange(self.reactor.seconds())
        else:
            self._http.cancel(stream, ErrorCode.H3_REQUEST_REJECTED)

    def _take(self, event: Any) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if isinstance(event, MalformedReceived):
            if exchange is not None:
                self._refuse(event.stream_id)
            return
        if exchange is not None and exchange.goes_on:
            exchange.goes_on = not event.stream_ended
            return
        match event:
            case HeadersReceived() if exchange is not None:
                exchange.ended = event.stream_ended
                if not exchange.begun:
                    self._begin(event.stream_id, exchange, event.headers)
            case DataReceived() if exchange is not None:
                exchange.ended = event.stream_ended
                self.credit.earn(len(event.data) / PER_FRAME)
                self.bytes_received += len(event.data)
                exchange.size += len(event.data)
                most = self.port.settings.max_message
                if most is not None and exchange.size > most:
                    self._cancel(event.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
                    return
                if event.data and exchange.page is None:
                    keep(exchange.out, event.data)
                    self._held += len(event.data)
                else:
                    exchange.moved += len(event.data)

    def _begin(self, stream: int, exchange: Exchange, headers: Any) -> None:
        if len({value for name, value in headers if name in (b":authority", b"host")}) > 1:
            self._refuse(stream)  # they must be equal (RFC 9114 section 4.3.1)
            return
        settings = self.port.settings
        decision = decide(
            headers, "3", settings.reply, self._see, ended=exchange.ended, most=settings.max_message
        )
        exchange.begin(decision)
        if decision.wants_continue:
            with contextlib.suppress(RuntimeError):  # the peer has stopped the stream
                self._http.send_headers(stream, [(b":status", b"100")])
        if decision.delay:
            self._pause(stream, exchange, decision.delay)

    def _refuse(self, stream: int) -> None:
        """Reset the stream of a malformed request (RFC 9114 section 4.1.2)."""
        self._cancel(stream, ErrorCode.H3_MESSAGE_ERROR)
        self.pay(PER_RESET)

    def _see(self) -> dict[str, Any]:
        """Return what the server knows of the connection, ready for JSON."""
        if self._seen is None:
            self._seen = {
                "peer": peer_text(self.peer),
                "local": address_text(self.port.transport.getHost()),
                "tls": agreement_seen(self.wire.agreement()),
                "proxy": None,
            }
        return self._seen

    # Out.

    def gather(self) -> None:
        """Send what is ready of each answer."""
        self._room = MADE - self.wire.backlog
        for stream, exchange in list(self._exchanges.items()):
            if exchange.may_start or exchange.started:
                try:
                    self._answer(stream, exchange)
                except (RuntimeError, ValueError):
                    self._cancel(stream, ErrorCode.H3_REQUEST_CANCELLED)  # the peer has stopped the stream
        self.wire.withheld = self._held + self._http.unfinished

    def _answer(self, stream: int, exchange: Exchange) -> None:
        if exchange.call is not None:
            return
        if not exchange.started:
            exchange.started = True
            self._http.send_headers(stream, exchange.head, exchange.is_last)
            if exchange.is_last:
                self._complete(stream)
                return
        pieces: list[bytes] = []
        size = 0
        while exchange.page is None or size < self._room:
            piece = exchange.next_piece()
            if piece is None:
                break
            if isinstance(piece, pages.Pause):
                self._pause(stream, exchange, piece.seconds)
                break
            pieces.append(piece)
            size += len(piece)
        else:  # the other streams go first next time
            self._exchanges[stream] = self._exchanges.pop(stream)
        self._room -= size
        exchange.moved += size
        self.credit.earn(size / PER_FRAME)
        self.bytes_sent += size
        if exchange.page is None:
            self._held -= size
        if size or exchange.is_whole:
            self._http.send_data(stream, b"".join(pieces), exchange.is_whole)
        if exchange.is_whole:
            self._complete(stream)

    def _pause(self, stream: int, exchange: Exchange, seconds: float) -> None:
        exchange.call = self.reactor.callLater(seconds, self._wake, stream, exchange)

    def _wake(self, stream: int, exchange: Exchange) -> None:
        exchange.call = None
        self.flush_soon()

    # The end of an exchange.

    def _complete(self, stream: int) -> None:
        if self._exchanges[stream].goes_on:
            self._http.stop(stream, ErrorCode.H3_NO_ERROR)
        self._answered += 1
        self.credit.earn(PER_EXCHANGE)
        self._forget(stream)

    def _cancel(self, stream: int, code: int) -> None:
        self._http.cancel(stream, code)
        self._forget(stream)

    def _forget(self, stream: int) -> None:
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None:
            self._held -= sum(map(len, exchange.out))
            if exchange.call is not None:
                exchange.call.cancel()

    # The end of the connection.

    def progressed(self) -> None:
        """Restart the peer's idle time."""
        self._moved_at = self.reactor.seconds()
        if self.deadline is None:
            self.deadline = self._moved_at + self.port.patience.look

    def overdue(self) -> None:
        """Check whether the peer makes progress; called when `deadline` is reached."""
        now = self.reactor.seconds()
        idle = self.port.settings.idle_timeout
        if not self.is_open or (idle is not None and now - self._moved_at >= idle):
            super().overdue()
            return
        self._judge(now, self.port.patience)
        look = self.port.patience.look
        self.deadline = now + (look if idle is None else min(look, idle))

    def _judge(self, now: float, patience: Patience) -> None:
        for stream, exchange in list(self._exchanges.items()):
            taken = exchange.moved - self.wire.owed(stream)
            overdue = exchange.progress.is_overdue(now, exchange.call, taken, patience, idle=False)
            if overdue and exchange.call is None:
                self._cancel(stream, ErrorCode.H3_REQUEST_CANCELLED)
                self.flush_soon()
        backlog = self.wire.backlog
        stage = self._answered, bool(self._exchanges), bool(backlog)
        if backlog and not self._exchanges:  # each exchange has its own time
            if self._progress.is_overdue(now, stage, self.bytes_sent - backlog, patience, idle=False):
                self.cut("the answers are not taken")
        else:
            self._progress = Progress(now)

    @property
    def is_answered(self) -> bool:
        """Whether all requests are answered, and the peer has acknowledged the answers."""
        return not self._exchanges and super().is_answered

    def drain(self) -> None:
        """Send GOAWAY, answer the requests that came before, then finish."""
        if self.is_open and self._last is None:
            self._last = self._next
            self._http.go_away(self._last)
            for exchange in self._exchanges.values():
                if exchange.page is not None and exchange.page.is_endless:
                    exchange.content = None
                    if exchange.call is not None:
                        exchange.call.cancel()
                        exchange.call = None
            self.flush_soon()
        super().drain()

    def over(self, why: Any) -> None:
        """Forget all exchanges and their timers, and count the connection as closed."""
        for stream in list(self._exchanges):
            self._forget(stream)
        super().over(why)


class HTTP3Port(QUICPort):
    """The UDP port of an HTTP/3 listener."""

    alpn = ALPN
    link = HTTP3Link
    patience = Patience()
