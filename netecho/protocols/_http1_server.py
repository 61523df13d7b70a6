"""The server side of HTTP/1.1 (RFC 9112): requests come in, their echoes or pages go out in the same order.

Requests are parsed by httptools, a binding of llhttp, which is the parser of Node.js. It refuses nearly all
of some 70 malformed requests; this module refuses the rest: an unknown version, a missing, repeated or
malformed Host, a malformed target, and chunks in HTTP/1.0. It is as strict as h11, in about a hundredth of
the time: for a request of 64 bytes and its answer 3.5 us, where h11 takes 280 us and twisted.web 370 us.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import httptools

from netecho.plans import ReplyMode
from netecho.protocols import _http_pages as pages
from netecho.protocols._http1_answers import CUT, END, LAST_CHUNK, HTTP1Answers, chunks_of, head
from netecho.protocols._http1_head import checked
from netecho.protocols._http_limits import (
    FRAMING_SHARE,
    MOST_FIELD,
    MOST_FIELDS,
    MOST_FRAMING,
    MOST_HEAD,
    MOST_TARGET,
    UNKNOWN_EXPECTATION,
    WEBSOCKET_PATH,
    path_of,
)
from netecho.protocols._http_pages import RequestError
from netecho.protocols._watched import Patience, Progress

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection

SLICE: Final = 8 << 10
"""Bytes that are parsed before it is checked whether the peer takes the answers to them."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REFUSED: Final = frozenset(
    b"CONNECT PRI SOURCE DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT "
    b"RECORD FLUSH".split()
)
"""Methods that get 405: those of other protocols (RTSP, ICE) that llhttp knows, and CONNECT."""

_NO_TRAILERS: Final = frozenset((b"connection", b"proxy-connection"))
"""Fields that must not be in trailers (RFC 9110 section 6.5.1), but that the parser would obey there."""


class HTTP1Server(HTTP1Answers):
    """The requests of one connection, which passes on the bytes that come and writes the answers."""

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__(connection)
        self._parser = httptools.HttpRequestParser(self)
        self._asked: Any = None
        """Method, target, version and fields of the last request that was answered by a fixed page."""
        self._told: pages.Page | None = None
        self._same_again: bytes | None = None
        """The head of a request that another parser is to take, as this one stops at a request to upgrade."""
        self._is_upgraded = False
        """The connection goes on in WebSocket, with that head."""
        self._is_known = False
        """The head that is being parsed is that one, which has been dealt with."""
        self._progress = Progress(connection.now())
        self.exchanges = 0
        self._begin()

    def _begin(self) -> None:
        """Wait for the next request."""
        self._mark = len(self._out)
        self._started = False
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._in_body = False
        self._body_size = self._framing = self._behind = self._trailers = 0
        self._remaining: int | None = 0
        """Bytes of the body that have not come yet; `None` if it is chunked."""
        self._echo_head: bytes | None = None
        self._chunked = False
        self._page: pages.Page | None = None
        self._version = "1.1"
        self._keep = True

    # What the connection asks for.

    def close(self) -> None:
        """Forget everything: the connection has ended."""
        super().close()
        del self._parser

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way: not even its first byte has come."""
        return not (self._in_body or self._head_size or self._url or self._queue or self._rest)

    def received(self, data: bytes) -> None:
        """Parse what has come, or keep it until the answers before it have been taken."""
        if self._queue or self._rest:
            self._rest += data
        else:
            self._parse(data)

    def look(self, now: float, waiting: int, patience: Patience) -> None:
        """End the connection if the peer takes too long for what it is at; see `HTTPConnection.look`."""
        # Bytes that the peer has not taken wait in the system's buffer: while there are any, it is not idle.
        is_resting = bool(self.exchanges) and self.is_idle and not waiting
        # Amid a request they make no new step: they come and go with each piece that is sent back.
        stage = (self.exchanges, self.is_idle, self.is_idle and bool(waiting), self._call)
        moved = self.moved - waiting
        if not self._progress.is_overdue(now, stage, moved, patience, idle=is_resting) or self._call:
            return
        if is_resting:
            self._end(END)
        elif self.is_idle or self._queue or self._started:
            self._end(CUT if waiting or not self.is_idle else END)
        else:
            self._refuse(408, "the request took too long")
            self._flush()

    # From bytes to requests.

    def _parse(self, data: bytes) -> None:
        parser, connection = self._parser, self._connection
        start, size = 0, len(data)
        while start < size and not self._over:
            room = max(SLICE, self._remaining or 0)
            piece = data if start == 0 and size <= room else data[start : start + room]
            start += len(piece)
            before = self._body_size
            try:
                parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                start += upgrade.args[0] - len(piece)
                if self._is_upgraded:
                    connection.upgrade((self._same_again or b"") + data[start:])
                    return
                parser = self._stay()
            except RequestError as error:
                self._refuse(error.status, str(error))
            except httptools.HttpParserCallbackError as error:
                self._refuse_for(error)
            except httptools.HttpParserError as error:
                self._refuse(400, str(error))
            else:
                if self._in_body:
                    self._count_framing(len(piece), self._body_size - before)
                elif self._url or self._head_size:
                    self._count_head(len(piece))
            if self._out:
                self._flush()
            if self._queue or connection.is_paused:
                self._rest = data[start:] + self._rest
                return

    def _count_head(self, size: int) -> None:
        """Bound an incomplete head, which takes memory before the parser tells of any of its fields."""
        self._head_size += size
        if len(self._url) > MOST_TARGET:
            self._refuse(414, f"a target has at most {MOST_TARGET} bytes")
        elif self._head_size > MOST_HEAD:
            self._refuse(431, f"a head has at most {MOST_HEAD} bytes")

    def _count_framing(self, size: int, content: int) -> None:
        """Bound what a chunked body has beside its content: framing costs time, and trailers cost memory."""
        if self._remaining is None:
            self._framing += size - content
            # Trailers come after all content, and the parser tells of each only when it is complete.
            self._behind = 0 if content else self._behind + size
            if self._behind > MOST_HEAD:
                self._refuse(431, f"between and behind chunks there are at most {MOST_HEAD} bytes")
            elif self._framing > MOST_HEAD + MOST_FRAMING + FRAMING_SHARE * self._body_size:
                self._refuse(400, "a body has more framing than content")

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        if self._is_known:
            return
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head; check a trailer after a chunked body, and drop it.

        Raises:
            RequestError: there are too many trailers, or one is too large or not allowed there.
        """
        if not self._in_body:
            self._fields.append((name, value))
            return
        self._trailers += 1
        if self._trailers > MOST_FIELDS:
            raise RequestError(431, f"there are at most {MOST_FIELDS} trailers")
        if len(name) + len(value) > MOST_FIELD:
            raise RequestError(431, f"a trailer has at most {MOST_FIELD} bytes")
        if name.lower() in _NO_TRAILERS:
            raise RequestError(400, "a trailer says nothing of its connection")

    def on_headers_complete(self) -> None:
        """Check the head, and decide what to answer.

        Raises:
            RequestError: the request is refused.
        """
        if self._is_known:
            self._is_known = False
            return
        parser, fields = self._parser, self._fields
        self._in_body = True
        if len(self._url) > MOST_TARGET:
            raise RequestError(414, f"a target has at most {MOST_TARGET} bytes")
        version = self._version = parser.get_http_version()
        length, content_type, expects = checked(fields, version)
        self._keep = parser.should_keep_alive()
        self._remaining = length
        if parser.should_upgrade():
            if self._is_for_websocket(length):
                self._upgraded()
                return
            self._not_upgraded(length)
        if expects is not None and expects.lower() != b"100-continue":
            raise RequestError(417, UNKNOWN_EXPECTATION)
        self._decide(length, content_type)
        if expects is not None and length != 0 and version == "1.1":
            # It precedes the answer and is no part of it: a bad body may still be answered with an error.
            self._out.insert(self._mark, _CONTINUE)
            self._mark += 1

    def _is_for_websocket(self, length: int | None) -> bool:
        """Return whether a request asks for WebSocket, at its path, and all before it has been answered."""
        if self._parser.get_method() != b"GET" or length != 0 or self._queue or self._out:
            return False
        if self._version == "1.0":  # in which Upgrade must be ignored (RFC 9110 section 7.8)
            return False
        target = path_of(self._url)
        words = [value.strip().lower() for name, value in self._fields if name.lower() == b"upgrade"]
        return target is not None and target[0] == WEBSOCKET_PATH and words == [b"websocket"]

    def _upgraded(self) -> None:
        """Keep the head of the request for `WebSocketServer`, which parses it again."""
        self._is_upgraded = True
        fields = b"".join(b"%s: %s\r\n" % field for field in self._fields)
        self._same_again = b"GET %s HTTP/1.1\r\n%s\r\n" % (self._url, fields)

    def _not_upgraded(self, length: int | None) -> None:
        """Keep a head with the framing of the request for a new parser: this one stops at an upgrade."""
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._same_again = b"%s / HTTP/1.1\r\n%s\r\n\r\n" % (self._parser.get_method(), framing)

    def _stay(self) -> Any:
        """Ignore the upgrade that was asked for (RFC 9110 section 7.8); return a new parser for HTTP/1.1."""
        head, self._same_again = self._same_again or b"", None
        self._is_known = True
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(head)
        return self._parser

    # From requests to answers.

    def _decide(self, length: int | None, content_type: bytes) -> None:
        method = self._parser.get_method()
        if method in _REFUSED:
            raise RequestError(405, "this is no method of HTTP that is answered here")
        connection = self._connection
        if not length and (method, self._url, self._version, self._fields) == self._asked:
            self._page = self._told
        elif self._url != b"/" or not length or connection.reply is not ReplyMode.ECHO:
            request = pages.Request(method, self._url, self._version, tuple(self._fields), length)
            delay, self._page = pages.decide(request, connection.reply, connection.seen)
            if delay:
                self._out.append(pages.Pause(delay))
            elif self._page is not None and isinstance(self._page.content, bytes):
                self._asked = method, self._url, self._version, self._fields
                self._told = self._page
        if self._page is None:
            if method == b"HEAD":
                self._page = pages.Page(iter(()), content_type=content_type.decode("latin-1"), length=length)
            else:
                self._chunked = length is None
                self._echo_head = self._head(200, content_type, length)

    def _head(self, status: int, content_type: bytes, length: int | None) -> bytes:
        """Return the head of an answer.

        Content of unknown length comes in chunks, or in HTTP/1.0 until the connection ends.
        """
        chunks, alternative = self._version == "1.1", self._connection.alternative
        return head(status, content_type, length, self._keep, chunks, int(time.time()), alternative)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, and send it back unless the answer is a page."""
        size = len(data)
        self._body_size += size
        self.moved += size
        if self._remaining:
            self._remaining -= size
        if self._page is not None:
            return
        out = self._out
        if self._echo_head is not None:
            out.append(self._echo_head)
            self._echo_head = None
        if self._chunked:
            out.append(b"%x\r\n" % size)
            out.append(data)
            out.append(b"\r\n")
        else:
            out.append(data)

    def on_message_complete(self) -> None:
        """Complete the answer, unless the body is left to another parser."""
        if self._same_again is None:
            self._complete()

    def _complete(self) -> None:
        out = self._out
        if self._page is not None:
            self._answer(self._page)
        else:
            if self._echo_head is not None:
                out.append(self._echo_head)
            if self._chunked:
                out.append(LAST_CHUNK)
        keep = self._keep
        if not keep:
            out.append(END)
            self._over = True
        self.exchanges += 1
        self._begin()

    def _answer(self, page: pages.Page) -> None:
        """Write a page as the answer."""
        out, method, status = self._out, self._parser.get_method(), page.status
        has_none = status in (204, 304)
        content, size = page.content, page.size
        chunked = size is None and self._version == "1.1"
        if size is None and not chunked:
            self._keep = False
        out.append(self._head(-status if has_none else status, page.content_type.encode("latin-1"), size))
        if method == b"HEAD" or has_none or content == b"":
            return
        if chunked and not isinstance(content, bytes):
            content = chunks_of(content)
        if page.is_endless:
            self._endless = content
        out.append(content)
        if chunked:
            out.append(LAST_CHUNK)

    def _refuse_for(self, error: httptools.HttpParserCallbackError) -> None:
        """Refuse a request for what was raised amid it: not in `_parse`, to which its traceback refers."""
        cause = error.__context__
        if not isinstance(cause, RequestError):
            raise error
        self._refuse(cause.status, str(cause))

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with an error, and take nothing more; if an answer has begun, cut the connection."""
        if self._over:
            return
        self._over = True
        if self._started:
            self._out.append(CUT)
            return
        del self._out[self._mark :]
        self._keep = False
        page = pages.error(status, reason)
        self._out += [self._head(status, page.content_type.encode(), page.size), page.content, END]
