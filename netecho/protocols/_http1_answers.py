"""The answers of an HTTP/1.1 connection, in order: those that are written at once, and those that wait.

The answers to requests that were read together are written together.
"""

from __future__ import annotations

import collections
import email.utils
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from netecho.protocols import _http_pages as pages
from netecho.protocols._http_limits import DEMANDED

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection

TURN: Final = 1 << 18
"""Bytes of pages that are made in one turn of the reactor, so that other connections need not wait long."""
MOST_AHEAD: Final = 64 << 10
"""Bytes that may come after a request which is not answered yet; from then on nothing more is read."""
END: Final = object()
CUT: Final = object()
"""What ends a connection, in the queue: `END` after all before it has been sent, `CUT` at once."""
LAST_CHUNK: Final = b"0\r\n\r\n"


class HTTP1Answers:
    """The answers of one connection. A subclass parses the requests.

    Args:
        connection: writes the bytes that it is given.
    """

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._out: list[Any] = []
        """The answers to the bytes that are being parsed: bytes, pauses and contents."""
        self._mark = 0
        """The index in `_out` at which the answer to the current request begins."""
        self._started = False
        """A part of the answer to the current request has been sent."""
        self._queue: collections.deque[Any] = collections.deque()
        """What waits, for the end of a pause or for the peer to take what was sent before."""
        self._rest = b""
        """Bytes that have come and are parsed only when the peer has taken the answers before."""
        self._call: Any = None
        """The delayed call that ends a pause."""
        self._over = False
        """No more requests are taken."""
        self._endless: Any = None
        """A content that is cut short when the server is told to end: see `Page.is_endless`."""
        self.moved = 0
        """Bytes of bodies that came, and of answers that were written."""
        self.begun = self.given = 0
        """Answers that have been begun, and completed; counted only where answers are impaired one by one."""

    def _parse(self, data: bytes) -> None:
        """Parse requests in what has come."""
        raise NotImplementedError

    @property
    def holds(self) -> bool:
        """Whether some of what has come is still to be answered."""
        return bool(self._queue or self._rest)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read. While there is room, reading shows if the peer goes."""
        return len(self._rest) >= MOST_AHEAD

    def proceed(self) -> None:
        """Write what waits, as far as the peer takes it, and then parse what came after it."""
        connection, queue = self._connection, self._queue
        room = TURN
        while queue and self._call is None and not connection.is_paused:
            if room <= 0:
                self._wait(0.0)
                return
            item = queue[0]
            if isinstance(item, bytes):
                queue.popleft()
            elif isinstance(item, pages.Pause):
                queue.popleft()
                self._wait(item.seconds)
                return
            elif item is END or item is CUT:
                queue.clear()
                self._end(item)
                return
            else:
                item = self._next(item)
                if not isinstance(item, bytes):
                    continue
            room -= len(item)
            self._write(item)
        if self._rest and not queue and not connection.is_paused:
            rest, self._rest = self._rest, b""
            self._parse(rest)

    def _next(self, content: Any) -> bytes | None:
        """Return the next piece of a content; `None` if it has ended, or pauses."""
        is_cut_short = self._connection.draining and content is self._endless
        piece = None if is_cut_short else next(content, None)
        if piece is None:
            self._queue.popleft()
        elif isinstance(piece, pages.Pause):
            self._wait(piece.seconds)
        else:
            return bytes(piece)
        return None

    def close(self) -> None:
        """Forget everything: the connection has ended."""
        self._over = True
        self._queue.clear()
        self._rest = b""
        self._cancel()
        del self._connection  # and so itself, without the garbage collector

    def part(self) -> bool:
        """Write nothing: HTTP/1.1 has no farewell beyond the last answer."""
        return False

    def drain(self) -> None:
        """End a pause in an endless content, so that the server need not wait for it."""
        if self._call is not None and self._queue and self._queue[0] is self._endless:
            self._cancel()
            self._connection.proceed()

    def _wait(self, seconds: float) -> None:
        self._call = self._connection.callLater(seconds, self._resume)

    def _resume(self) -> None:
        self._call = None
        self._connection.proceed()

    def _cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _end(self, how: object) -> None:
        self._over = True
        self._rest = b""
        self._cancel()
        if how is CUT:
            self._connection.cut()
        else:
            self._connection.finish()

    def _flush(self) -> None:
        """Write the answers in `_out`, as far as they need not wait; queue the rest."""
        out = self._out
        self._started = len(out) > self._mark
        self._mark = 0
        if all(type(item) is bytes for item in out):
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if self._queue:
                self._queue.append(data)
            else:
                self._write(data)
            return
        self._queue.extend(out)
        out.clear()
        self.proceed()

    def _write(self, data: bytes) -> None:
        self.moved += len(data)
        self._connection.write(data)


@functools.lru_cache(maxsize=256)
def head(
    status: int,
    content_type: bytes,
    length: int | None,
    keep: bool,
    chunks: bool,
    second: int,
    alternative: bytes = b"",
) -> bytes:
    """Return the head of an answer.

    Args:
        status: its code; negative for an answer that has no content by its status (204, 304).
        content_type: the media type of its content.
        length: bytes of its content; `None` if that is not known.
        keep: the connection persists after the answer.
        chunks: the peer speaks HTTP/1.1, and so takes chunks.
        second: the date, in seconds since 1970.
        alternative: the value of an Alt-Svc field (RFC 7838); empty for none.
    """
    has_none, status = status < 0, abs(status)
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [b"HTTP/1.1 %d %s" % (status, reason.encode())]
    lines.append(b"Date: " + email.utils.formatdate(second, usegmt=True).encode())
    if not has_none:
        lines.append(b"Content-Type: " + content_type)
        if length is not None:
            lines.append(b"Content-Length: %d" % length)
        elif chunks:
            lines.append(b"Transfer-Encoding: chunked")
    if status in DEMANDED:
        lines.append(b"%s: %s" % DEMANDED[HTTPStatus(status)])
    if alternative:
        lines.append(b"Alt-Svc: " + alternative)
    options = [b"close"] if not keep else [] if chunks else [b"keep-alive"]
    if status == HTTPStatus.UPGRADE_REQUIRED:  # RFC 9110 sections 15.5.22 and 7.8
        lines.append(b"Upgrade: websocket")
        options.append(b"Upgrade")
    if options:
        lines.append(b"Connection: " + b", ".join(options))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunks_of(content: pages.Content) -> pages.Content:
    """Yield a content as chunks (RFC 9112 section 7.1), without the last chunk, which is empty."""
    for piece in content:
        yield piece if isinstance(piece, pages.Pause) else b"%x\r\n%s\r\n" % (len(piece), piece)
