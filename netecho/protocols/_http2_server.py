"""The server side of HTTP/2 (RFC 9113): requests come in on streams, echoes or pages go out on the same.

Frames are parsed and made by `h2`, which conforms to the RFC and is well maintained; an exchange takes it
about 0.1 ms. The window for a body is opened again only as the peer takes the echo, so that no more of the
body is kept than the window allows.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError

from netecho.protocols import _http_pages as pages
from netecho.protocols._credit import PER_EXCHANGE, PER_FRAME, Credit
from netecho.protocols._http2_streams import Stream
from netecho.protocols._http2_wire import ServerWire
from netecho.protocols._http_exchange import Decision, decide, head_of, keep
from netecho.protocols._sockets import has_unread
from netecho.protocols._watched import Patience, Progress

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection

TABLE: Final = 4096
"""Bytes of the largest dynamic table that we keep to encode fields for a peer, however large it allows."""
TURN: Final = 1 << 18
"""Bytes that are sent in one turn of the reactor."""


class HTTP2Server:
    """The streams of one connection, which passes on the bytes that come and writes the frames."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._most = connection.most
        now = connection.now()
        self._progress = Progress(now)
        self._credit = Credit(now)
        self._streams: dict[int, Stream] = {}
        self._unfinished = False
        """The last bytes that came did not end a frame."""
        self._over = False
        self._last: int | None = None
        """The last stream that is answered, once GOAWAY has been sent."""
        self._call: Any = None
        self._asked: Any = None
        """The head of the last request whose answer depends on the head alone, and needs no pause."""
        self._told = Decision(b"", None)
        self.exchanges = 0
        self._h2 = ServerWire()
        self._flush()

    # What the connection asks for.

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._streams

    @property
    def holds(self) -> bool:
        """Whether a peer that sends nothing more is still to be answered.

        It is if its request is whole, and the answer can go on: it opens no window any more, either.
        """
        return any(self._goes_on_alone(number, stream) for number, stream in self._streams.items())

    def _goes_on_alone(self, number: int, stream: Stream) -> bool:
        if not stream.ended:
            return False
        waits = stream.call is not None or not stream.started
        return waits or self._h2.local_flow_control_window(number) > 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read: never, as flow control bounds what comes."""
        return False

    def received(self, data: bytes) -> None:
        """Parse what has come, and answer it."""
        if self._over:
            return
        try:
            came = self._h2.receive_data(data)
        except H2Error:
            self._flush()
            self._end(hard=True)
            return
        self._unfinished = not came
        answers = self._h2.data_to_send()
        if answers:
            self._connection.write(answers)
        costs = len(answers) // 9  # a frame has at least 9 bytes
        for event in came:
            costs += self._take(event)
            if self._over:
                return
        if costs and not self._credit.spend(costs, self._connection.now()):
            self._refuse_all()
            return
        self.proceed()

    def proceed(self) -> None:
        """Send as much of each answer as the peer takes."""
        if self._over or self._call is not None:
            return
        left = TURN
        try:
            for number in list(self._streams):
                if self._connection.is_paused or left <= 0:
                    break
                left -= self._send(number, left)
                if left <= 0 and number in self._streams:  # the other streams go first next time
                    self._streams[number] = self._streams.pop(number)
        except ProtocolError:
            self._flush()
            self._end()
            return
        self._flush()
        if left <= 0 and not self._connection.is_paused:
            self._call = self._connection.callLater(0, self._resume)
        if self._connection.draining:
            self._go_away()
            if not self._streams:
                self._connection.progressed()

    def _resume(self) -> None:
        self._call = None
        self._connection.proceed()

    def look(self, now: float, waiting: int, patience: Patience) -> None:
        """Reset streams, and end the connection, if the peer takes too long; see `HTTPConnection.look`."""
        for number, stream in list(self._streams.items()):
            overdue = stream.progress.is_overdue(now, stream.call, stream.moved, patience, idle=False)
            if overdue and stream.call is None:
                self._reset(number, ErrorCodes.CANCEL)
        self._flush()
        is_resting = bool(self.exchanges) and not (self._streams or waiting or self._unfinished)
        stage = (self.exchanges, is_resting, self._unfinished, bool(self._streams), bool(waiting))
        if self._streams and not waiting and not self._unfinished:
            return  # each stream has its own time
        taken = self._connection.sent - waiting
        if self._progress.is_overdue(now, stage, taken, patience, idle=is_resting):
            self._goodbye(ErrorCodes.NO_ERROR)
            self._end(hard=bool(waiting))

    def part(self) -> bool:
        """Send GOAWAY; return `False`, as there is nothing to wait for then."""
        self._go_away()
        return False

    def drain(self) -> None:
        """Finish the answers under way, and cut endless ones short: nobody waits for the rest of those."""
        connection = self._connection
        if not (connection.finished or has_unread(connection.transport.fileno())):
            self._go_away()  # else later, when what has come has been read
        for number, stream in list(self._streams.items()):
            if stream.page is not None and stream.page.is_endless:
                stream.content = None
                self._wake(number)

    def close(self) -> None:
        """Forget everything: the connection has ended."""
        self._over = True
        for number in list(self._streams):
            self._forget(number)
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._h2.forget()
        del self._connection  # and so itself, without the garbage collector

    # From events to requests.

    def _take(self, event: Any) -> int:
        """Take an event of `h2`; return what it costs the peer, in the unit of `Credit`."""
        match event:
            case events.RequestReceived():
                ended = event.stream_ended is not None
                return self._request(event.stream_id, event.headers or [], ended=ended)
            case events.DataReceived():
                return self._body(event.stream_id, event.data or b"", event.flow_controlled_length or 0)
            case events.StreamEnded():
                stream = self._streams.get(event.stream_id)
                if stream is not None:
                    stream.ended = True
                    stream.goes_on = False
                return 0
            case events.StreamReset():
                self._forget(event.stream_id)
                return 4
            case events.RemoteSettingsChanged():
                # How much we remember to encode fields for a peer is our choice (RFC 7541 section 4.2).
                encoder = self._h2.encoder
                if encoder.header_table_size > TABLE:
                    encoder.header_table_size = TABLE
                return 1
            case events.ConnectionTerminated():
                if event.error_code or not self._streams:  # else the answers under way are still wanted
                    self._end()
                return 0
        return 1

    def _request(self, number: int, headers: Any, *, ended: bool) -> int:
        """Take the head of a request, and decide what to answer; return the cost."""
        if self._last is not None and number > self._last:
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            return 1
        stream = self._streams[number] = Stream(self._connection.now())
        if (headers, ended) == self._asked:
            decision = self._told
        else:
            connection = self._connection
            decision = decide(headers, "2", connection.reply, connection.seen, ended=ended, most=self._most)
            content = b"" if decision.page is None else decision.page.content
            if isinstance(content, bytes) and not (decision.delay or decision.wants_continue):
                self._asked, self._told = (headers, ended), decision
        stream.decision = decision
        if decision.is_refusal:
            stream.ended, stream.goes_on = True, not ended
        if decision.wants_continue:
            with contextlib.suppress(ProtocolError):  # the peer may have reset it in the same segment
                self._h2.send_headers(number, [(b":status", b"100")])
        if decision.delay:
            stream.call = self._connection.callLater(decision.delay, lambda: self._wake(number))
        stream.page = page = decision.page
        if page is None:
            return 0
        if not isinstance(page.content, bytes):
            stream.content = page.content
        elif page.content:
            stream.out.append(page.content)
        return 0

    def _body(self, number: int, data: bytes, size: int) -> int:
        """Take a piece of a body, which took `size` bytes of its window; return the cost."""
        stream = self._streams.get(number)
        if stream is not None and stream.goes_on:
            stream.owed += size  # its window stays closed: the peer sends no more than that
            return 0 if data else 1
        if stream is None or stream.page is not None:
            if size:
                self._h2.acknowledge_received_data(size, number)
        else:
            stream.owed += size - len(data)
            if data:
                keep(stream.out, data)
        if stream is not None:
            stream.moved += len(data)
            stream.size += len(data)
            if self._most is not None and stream.size > self._most:
                self._reset(number, ErrorCodes.CANCEL)
        self._credit.earn(len(data) / PER_FRAME)
        return 0 if data else 1

    # From requests to answers.

    def _send(self, number: int, room: int) -> int:
        """Send more of an answer, about `room` bytes at most; return how many were sent."""
        stream = self._streams[number]
        if stream.call is not None or (stream.page is not None and not stream.ended):
            return 0
        if not stream.started:
            if stream.page is None and not (stream.out or stream.ended):
                return 0
            if self._start(number, stream):
                return 0
        sent = 0
        while sent < room:
            if not stream.out and not self._make(number, stream):
                break
            size = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if size <= 0:
                return sent
            piece = stream.out.popleft()
            if len(piece) > size:
                stream.out.appendleft(piece[size:])
                piece = piece[:size]
            ends = not stream.out and self._is_whole(stream)
            self._h2.send_data(number, piece, end_stream=ends)
            sent += len(piece)
            self._credit.earn(len(piece) / PER_FRAME)
            stream.moved += len(piece)
            if stream.page is None:
                self._h2.acknowledge_received_data(len(piece) + stream.owed, number)
                stream.owed = 0
            if ends:
                self._complete(number)
                return sent
        if not stream.out and stream.call is None and self._is_whole(stream):
            self._h2.end_stream(number)
            self._complete(number)
        return sent

    def _is_whole(self, stream: Stream) -> bool:
        return stream.content is None and stream.ended

    def _start(self, number: int, stream: Stream) -> bool:
        """Send the head of an answer; return whether that is the whole answer."""
        stream.started = True
        head, is_all = head_of(stream.decision, int(time.time()))
        if alternative := self._connection.alternative:
            head = [*head, (b"alt-svc", alternative)]
        is_all = is_all or (stream.page is None and stream.ended and not stream.out)
        self._h2.send_headers(number, head, end_stream=is_all)
        if is_all:
            self._complete(number)
        return is_all

    def _make(self, number: int, stream: Stream) -> bool:
        """Make the next piece of a content; return whether there is one now."""
        if stream.content is None:
            return False
        piece = next(stream.content, None)
        if piece is None:
            stream.content = None
            return False
        if isinstance(piece, pages.Pause):
            stream.call = self._connection.callLater(piece.seconds, lambda: self._wake(number))
            return False
        if piece:
            stream.out.append(piece)
        return bool(piece) or self._make(number, stream)

    def _wake(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            call, stream.call = stream.call, None
            if call is not None and call.active():
                call.cancel()
            self._connection.proceed()

    def _complete(self, number: int) -> None:
        if self._streams[number].goes_on:
            self._h2.reset_stream(number)  # with NO_ERROR (RFC 9113 section 8.1)
        self.exchanges += 1
        self._credit.earn(PER_EXCHANGE)
        self._forget(number)

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if stream.call is not None and stream.call.active():
            stream.call.cancel()
        # Bytes that are dropped must not use up the window of the connection, which other streams need.
        owed = stream.owed + (sum(map(len, stream.out)) if stream.page is None else 0)
        if owed and not self._over:
            self._h2.acknowledge_received_data(owed, number)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):  # the peer may have done so in the same segment
            self._h2.reset_stream(number, code)
        self._forget(number)

    def _refuse_all(self) -> None:
        """Close a connection whose peer only makes work (RFC 9113 section 10.5)."""
        self._goodbye(ErrorCodes.ENHANCE_YOUR_CALM)
        self._end(hard=True)

    def _go_away(self) -> None:
        """Send GOAWAY once: streams that have come are answered, and no later ones."""
        if self._last is None and not self._over:
            self._flush()
            self._last, words = self._h2.farewell()
            self._connection.write(words)

    def _goodbye(self, code: ErrorCodes) -> None:
        self._h2.close_connection(code, last_stream_id=self._last)
        self._flush()

    def _end(self, *, hard: bool = False) -> None:
        self._over = True
        connection = self._connection
        connection.finish()
        if hard:
            connection.cut_soon()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._connection.write(data)
