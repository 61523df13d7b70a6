"""HTTP/2 as a client speaks it: each message in a request on a stream of its own."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable
from typing import Any, Final

from h2 import events
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netecho.protocols._backoff import Backoff
from netecho.protocols._contract import Answer, OnLost, OnReply, Route
from netecho.protocols._credit import PER_EXCHANGE, PER_FRAME, Credit
from netecho.protocols._http1_client import ANSWERS, MOST_ANSWER, NotHTTPError
from netecho.protocols._http2_wire import HTTP2Wire
from netecho.protocols._pausable import PausableProtocol

WINDOW: Final = 1 << 24
"""Bytes of the flow-control windows: of each stream, and of the connection beyond its first 64 KiB."""

FRAME_HEAD: Final = 9
"""Bytes of a frame's head (RFC 9113 section 4.1)."""
SETTINGS: Final = 4
"""The type, in the fourth byte, of the first frame that a server sends (RFC 9113 section 3.4)."""


SHORT: Final = 20
"""Bytes from which on a cookie is too long to be guessed."""

_SECRET: Final = (b"authorization", b"proxy-authorization")


class _Exchange:
    __slots__ = ("answer", "owed", "payload", "pieces", "sent", "sequence", "size")

    def __init__(self, sequence: int, payload: bytes) -> None:
        self.sequence = sequence
        self.payload = payload
        self.sent = 0
        """Bytes of the payload that have been sent."""
        self.answer: Answer | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.owed = 0
        """Bytes received on its stream for which no WINDOW_UPDATE has been sent."""


class HTTP2Exchanger(PausableProtocol):
    """Exchanges on streams; provides `netecho.protocols._contract.Exchanger`.

    Args:
        clock: provides `IReactorTime`.
        route: says what the requests are.
        on_reply: called with each answer.
        on_lost: called when the connection is lost.
        reopen: connects this protocol again, for the next message after the server closed what was idle.
    """

    transport: Any

    def __init__(
        self,
        clock: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        reopen: Callable[[HTTP2Exchanger], Deferred[Any]],
    ) -> None:
        self._clock = clock
        self._reopen = reopen
        self._reopening: Deferred[Any] | None = None
        self._backoff = Backoff()
        """The pauses before connections are opened again of which none has answered anything."""
        self._is_closed = False
        """The server has closed the connection in order, or will: the next message needs a new one."""
        self._route = route
        self._on_reply: OnReply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._exchanges: dict[int, _Exchange] = {}
        self._sending: dict[int, _Exchange] = {}
        """The exchanges whose message did not fit into the flow-control window as a whole."""
        self._queue: collections.deque[tuple[int, bytes]] = collections.deque()
        """Messages for which there is no stream yet."""
        self._is_receiving = False
        self._first: bytes | None = b""
        """What has come of the first frame's head; `None` once it has been checked."""
        self._head: list[HeaderTuple] = []
        self._whole_head: list[HeaderTuple] = []
        """The head of a request that carries `_head_for` bytes."""
        self._head_for = -1
        self._owed = 0
        """Bytes received on the connection for which no WINDOW_UPDATE has been sent."""
        self._room = 0
        """Streams that may be open at once."""

    def connectionMade(self) -> None:
        """Send the connection preface, and turn Nagle's algorithm off: messages may be small."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        request, target = self._route.request, self._route.target
        fields = request.fields
        self._head = [
            _field(":method", request.method),
            _field(":scheme", "https" if target.secure else "http"),
            _field(":authority", request.host or target.authority),
            _field(":path", target.resource or "/"),
            *(_field(name, value) for name, value in fields),
        ]
        self._has_type = any(name.lower() == "content-type" for name, _ in fields)
        self._head_for = -1
        self._owed = 0
        self._h2 = HTTP2Wire(
            H2Configuration(client_side=True, header_encoding=None, normalize_outbound_headers=False)
        )
        wanted = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        self._h2.local_settings = Settings(client=True, initial_values=wanted)
        self._credit = Credit(self._clock.seconds())
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW)
        self._is_closed = False
        self._first = b""
        self._settle()
        self._send_queued()
        self._flush()

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        if self._is_closed:
            self._queue.append((sequence, payload))
            if len(self._queue) == 1 and not self.connected:
                self._open_again()
            return
        if self._queue or not self._has_room():
            self._queue.append((sequence, payload))
            return
        size = len(payload)
        is_known = size == self._head_for
        self._h2.config.validate_outbound_headers = not is_known
        if not is_known:
            self._head_for, self._whole_head = -1, self._head_of(size)
        number = self._h2.get_next_available_stream_id()
        exchange = self._exchanges[number] = _Exchange(sequence, payload)
        self._h2.send_headers(number, self._whole_head, end_stream=not payload)
        self._head_for = size
        if payload:
            self._send_more(number, exchange)
        if not self._is_receiving:
            self._flush()

    def _head_of(self, size: int) -> list[HeaderTuple]:
        """Return the head of a request that carries a message of `size` bytes."""
        if not (size or self._route.request.has_content):
            return self._head
        head = [*self._head, _field("content-length", str(size))]
        return head if self._has_type else [*head, _field("content-type", "application/octet-stream")]

    def _send_more(self, number: int, exchange: _Exchange) -> None:
        payload = exchange.payload
        while exchange.sent < len(payload):
            size = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if size <= 0:
                self._sending[number] = exchange
                return
            piece = payload[exchange.sent : exchange.sent + size]
            exchange.sent += len(piece)
            self._h2.send_data(number, piece, end_stream=exchange.sent == len(payload))
            self._credit.earn(len(piece) / PER_FRAME)
        self._sending.pop(number, None)

    def dataReceived(self, data: bytes) -> None:
        """Take answers, or parts of some."""
        if self._first is not None:
            data = self._first + data
            self._first = data if len(data) < FRAME_HEAD else None
            if self._first is not None:
                return
            if data[3] != SETTINGS:  # h2 would wait for the end of what looks like a frame of megabytes
                self._fail(f"{NotHTTPError.__doc__}/2")
                return
        try:
            came = self._h2.receive_data(data)
        except H2Error as error:
            self._fail(f"{NotHTTPError.__doc__} (--http2): {error}")
            return
        if not self._acknowledge():
            return
        self._is_receiving = True
        try:
            for event in came:
                self._take(event)
                if self._on_lost is None:
                    return
            self._send_queued()
        finally:
            self._is_receiving = False
        self._flush()

    def _acknowledge(self) -> bool:
        """Write what PING, SETTINGS and the like are answered by; return whether there was credit for it.

        To a server that reads nothing such answers would pile up here.
        """
        answers = self._h2.data_to_send()
        if not answers:
            return True
        if not self._credit.spend(len(answers) // FRAME_HEAD, self._clock.seconds()):
            self._fail("the other end sends a flood of frames that serve nothing, such as PING or SETTINGS")
            return False
        self.transport.write(answers)
        return True

    def _has_room(self) -> bool:
        """Return whether there may be another stream."""
        return len(self._exchanges) < self._room

    def _settle(self) -> None:
        """Update how many streams may be open: the least of what the server and the user allow."""
        most = self._h2.remote_settings.max_concurrent_streams
        ours = self._route.multiplex.streams
        self._room = most if ours is None else min(most, ours)

    def _send_queued(self) -> None:
        while self._queue and self._has_room() and not self._is_closed:
            queue, self._queue = self._queue, collections.deque()
            self.send(*queue.popleft())
            self._queue = queue

    def _open_again(self) -> None:
        self._reopening = deferLater(self._clock, self._backoff.pause(), self._reopen, self)
        self._reopening.addErrback(self._lost)

    def _lost(self, reason: Failure) -> None:
        if self._on_lost is not None:
            on_lost, self._on_lost = self._on_lost, None
            on_lost(reason)

    def _take(self, event: Any) -> None:
        number = getattr(event, "stream_id", 0)
        exchange = self._exchanges.get(number)
        match event:
            case events.ResponseReceived():
                status = next((value for name, value in event.headers or () if name == b":status"), b"0")
                if len(status) != 3 or not status.isdigit():
                    self._fail(f"{NotHTTPError.__doc__}/2: there is no status {status[:10]!r}")
                elif exchange is not None:
                    exchange.answer = ANSWERS[int(status)]
            case events.DataReceived():
                self._received(number, exchange, event)
            case events.StreamEnded():
                if number in self._sending:  # nobody waits for the rest of the request
                    with contextlib.suppress(ProtocolError):  # a reset may have followed the answer
                        self._h2.reset_stream(number, ErrorCodes.CANCEL)
                self._backoff.waive()
                self._complete(number, exchange)
            case events.StreamReset():
                if exchange is not None:
                    code = event.error_code
                    exchange.answer = Answer(f"reset {getattr(code, 'name', code)}", True)
                self._complete(number, exchange)
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                self._settle()
                for one, waiting in list(self._sending.items()):
                    self._send_more(one, waiting)
            case events.ConnectionTerminated():
                last = event.last_stream_id or 0
                if event.error_code:
                    self._fail(f"the other end ends the connection: {event.error_code!r}")
                else:  # it still answers the others
                    self._is_closed = True
                    self._take_back([number for number in self._exchanges if number > last])
                    self._part()

    def _received(self, number: int, exchange: _Exchange | None, event: events.DataReceived) -> None:
        """Take a part of an answer; open a window again only when half of it has been used."""
        size = event.flow_controlled_length or 0
        self._credit.earn(size / PER_FRAME)
        self._owed += size
        if self._owed >= WINDOW // 2:
            self._h2.increment_flow_control_window(self._owed)
            self._owed = 0
        if exchange is None:
            return
        exchange.owed += size
        if exchange.owed >= WINDOW // 2 and event.stream_ended is None:
            with contextlib.suppress(ProtocolError):  # a reset may have followed it
                self._h2.increment_flow_control_window(exchange.owed, number)
            exchange.owed = 0
        if event.data:
            exchange.pieces.append(event.data)
            exchange.size += len(event.data)
            if exchange.size > MOST_ANSWER + len(exchange.payload):
                self._fail(f"an answer has more than {MOST_ANSWER} bytes")

    def _complete(self, number: int, exchange: _Exchange | None) -> None:
        if exchange is not None:
            del self._exchanges[number]
            self._credit.earn(PER_EXCHANGE)
            self._sending.pop(number, None)
            self._on_reply(exchange.sequence, b"".join(exchange.pieces), None, exchange.answer)
            if self._is_closed:
                self._part()

    def _take_back(self, numbers: list[int]) -> None:
        """Have messages sent again, before all that wait: the server has done nothing with these."""
        for number in reversed(numbers):
            self._sending.pop(number, None)
            exchange = self._exchanges.pop(number)
            self._queue.appendleft((exchange.sequence, exchange.payload))

    def _part(self) -> None:
        """Close the connection, which takes no new requests, unless some are under way."""
        if not self._exchanges:
            self.transport.unregisterProducer()  # whom TLS would wait for
            self.transport.loseConnection()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self.transport.write(data)

    def _fail(self, words: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        self._on_reply = _ignore
        self.transport.abortConnection()
        if on_lost is not None:
            on_lost(Failure(NotHTTPError(words)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell `on_lost`, unless we closed the connection, or the server did while it was idle."""
        self.connected = 0
        if self._exchanges or not self._is_closed:
            self._lost(reason)
        elif self._queue:
            self._open_again()

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = None
        self._on_reply = _ignore
        is_amid = bool(self._exchanges or self._queue)
        self._queue.clear()
        if self._reopening is not None:
            self._reopening.cancel()
        if is_amid or self._is_closed:
            self.transport.abortConnection()
        else:  # nothing is under way, and a server has no cause to log a reset
            self.transport.loseConnection()


def _field(name: str, value: str) -> HeaderTuple:
    """Return a field for `h2`, marked never to be indexed if its value is secret (RFC 7541 section 7.1)."""
    word, content = name.lower().encode(), value.encode()
    secret = word in _SECRET or (word == b"cookie" and len(content) < SHORT)
    return (NeverIndexedHeaderTuple if secret else HeaderTuple)(word, content)


def _ignore(*_: object) -> None:
    """Drop an answer: nobody waits for it any more."""
