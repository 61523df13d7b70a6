"""The answers of an HTTP/1.1 connection, in order: what is said at once, and what has to wait.

What is written of the bytes that have come together goes out together.
"""

from __future__ import annotations

import collections
import email.utils
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from netecho.protocols import _http_pages as pages
from netecho.protocols._http_limits import ALLOWED

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection

TURN: Final = 1 << 18
"""Bytes that are made in one turn of the reactor, so that none is kept waiting."""
MOST_AHEAD: Final = 64 << 10
"""Bytes from which on nothing more is read of what comes behind a request that is not answered yet."""
END: Final = object()
CUT: Final = object()
"""Ends of a connection: when all before has been sent, or at once."""
LAST_CHUNK: Final = b"0\r\n\r\n"


class HTTP1Answers:
    """One connection's. What asks for them is a class above it.

    Args:
        connection: writes what it is given.
    """

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._out: list[Any] = []
        """What the bytes being parsed make us say: bytes, pauses and contents."""
        self._mark = 0
        """Where in it the answer to what is being parsed begins."""
        self._started = False
        """Some of that answer has been sent."""
        self._queue: collections.deque[Any] = collections.deque()
        """What has to wait, for a pause or for the peer."""
        self._rest = b""
        """What has come and is not parsed yet, as the peer has not taken what it asked for before."""
        self._call: Any = None
        """The end of a pause."""
        self._over = False
        """Nothing more is taken."""
        self._endless: Any = None
        """A content that nobody waits for the last of."""
        self.moved = 0
        """Bytes of content, in and out."""
        self.begun = self.given = 0
        """Answers of which some, or all, has been written; they are counted where each fares by itself."""

    def _parse(self, data: bytes) -> None:
        """Take what has come."""
        raise NotImplementedError

    @property
    def holds(self) -> bool:
        """Whether something that has come is still to be answered."""
        return bool(self._queue or self._rest)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now. While some may be, it is seen if the peer goes."""
        return len(self._rest) >= MOST_AHEAD

    def proceed(self) -> None:
        """Send what waits, as the peer takes it, and go on with what came after it."""
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
        """Return the next piece of a content, or note that there is none, or none yet."""
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

    def part(self) -> bool:
        """Say nothing: the last answer was the last word."""
        return False

    def drain(self) -> None:
        """Come to an end, rather than wait for what is not owed."""
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
        """Send what has been said, up to what has to wait."""
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
        status: its code; below 0 it is that of an answer that has no content, as its status says.
        content_type: what it carries.
        length: bytes of its content; `None` if that is not known.
        keep: the connection is for more requests.
        chunks: the peer knows HTTP/1.1.
        second: when, in seconds since 1970.
        alternative: where else the same is to be had (RFC 7838).
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
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(b"Allow: " + ALLOWED)
    if alternative:
        lines.append(b"Alt-Svc: " + alternative)
    if not keep:
        lines.append(b"Connection: close")
    elif not chunks:
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunks_of(content: pages.Content) -> pages.Content:
    """Yield a content as chunks (RFC 9112 section 7.1), without the last."""
    for piece in content:
        yield piece if isinstance(piece, pages.Pause) else b"%x\r\n%s\r\n" % (len(piece), piece)
