"""HTTP of a server that spoils the content of its answers on purpose: some echoes are not what was sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netecho.protocols._http1_server import HTTP1Server
from netecho.protocols._http2_server import HTTP2Server

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection


class SpoiltHTTP1(HTTP1Server):
    """In HTTP/1.1. What stands for the first piece of each echo `spoil` returns."""

    def __init__(self, connection: HTTPConnection, spoil: Callable[[bytes], bytes]) -> None:
        self._spoil = spoil
        super().__init__(connection)

    def on_body(self, data: bytes) -> None:
        """Take some of the body."""
        is_first_of_echo = not self._body_size and self._page is None
        super().on_body(self._spoil(data) if is_first_of_echo else data)


class SpoiltHTTP2(HTTP2Server):
    """In HTTP/2, likewise."""

    def __init__(self, connection: HTTPConnection, spoil: Callable[[bytes], bytes]) -> None:
        self._spoil = spoil
        super().__init__(connection)

    def _body(self, number: int, data: bytes, size: int) -> int:
        stream = self._streams.get(number)
        is_first_of_echo = stream is not None and not stream.moved and stream.page is None
        return super()._body(number, self._spoil(data) if is_first_of_echo else data, size)
