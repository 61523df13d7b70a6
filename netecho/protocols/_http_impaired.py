"""The server side of HTTP/1.1 and HTTP/2 with impairments: each answer is written, and counted, by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netecho.protocols._http1_answers import END
from netecho.protocols._http1_server import HTTP1Server
from netecho.protocols._http2_server import HTTP2Server
from netecho.protocols._http2_streams import Stream
from netecho.protocols._http_pages import Content, Pause

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection


class ImpairedHTTP1(HTTP1Server):
    """HTTP/1.1. The first piece of each echo is replaced by what `spoil` returns for it.

    Empty contents are put among what waits to be written. They have the side effect of counting: an answer as
    begun before its first bytes are written, and as given before its last bytes.
    """

    def __init__(self, connection: HTTPConnection, spoil: Callable[[bytes], bytes]) -> None:
        self._spoil = spoil
        super().__init__(connection)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        is_first_of_echo = not self._body_size and self._page is None
        if is_first_of_echo:
            self._out.append(self._begins())
        super().on_body(self._spoil(data) if is_first_of_echo else data)

    def _complete(self) -> None:
        mark, is_begun = self._mark, bool(self._body_size) and self._page is None
        super()._complete()
        answer = _joined(self._out[mark:])
        del self._out[mark:]
        end = [answer.pop()] if answer[-1] is END else []
        if not is_begun:
            first = next(place for place, item in enumerate(answer) if not isinstance(item, Pause))
            answer.insert(first, self._begins())
        if isinstance(answer[-1], bytes):
            answer.insert(-1, self._ends())
        else:
            whole = self._until_it_ends(answer[-1])
            if answer[-1] is self._endless:
                self._endless = whole
            answer[-1] = whole
        self._out += answer + end
        self._mark = len(self._out)

    def _begins(self) -> Content:
        self.begun += 1
        yield from ()

    def _ends(self) -> Content:
        self.given += 1
        yield from ()

    def _until_it_ends(self, content: Content) -> Content:
        """Yield a content; before its last piece, count the answer as given."""
        piece = next(content, b"")
        for following in content:
            yield piece
            piece = following
        self.given += 1
        yield piece


def _joined(items: list[Any]) -> list[Any]:
    """Return what is to be written, with adjacent bytes joined."""
    joined: list[Any] = []
    for item in items:
        if joined and isinstance(item, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


class ImpairedHTTP2(HTTP2Server):
    """HTTP/2, likewise."""

    def __init__(self, connection: HTTPConnection, spoil: Callable[[bytes], bytes]) -> None:
        self._spoil = spoil
        self.begun = 0
        super().__init__(connection)

    @property
    def given(self) -> int:
        """How many answers have been completed."""
        return self.exchanges

    def _body(self, number: int, data: bytes, size: int) -> int:
        stream = self._streams.get(number)
        is_first_of_echo = stream is not None and not stream.moved and stream.page is None
        return super()._body(number, self._spoil(data) if is_first_of_echo else data, size)

    def _start(self, number: int, stream: Stream) -> bool:
        self.begun += 1
        return super()._start(number, stream)

    def _send(self, number: int, room: int) -> int:
        sent = super()._send(number, room)
        self._flush()
        return sent
