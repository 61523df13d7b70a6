"""HTTP/1.1 of a server that has been told how large a body may be.

It is a class of its own so that the others, which send any body back as it comes and keep nothing of it, do
not ask for each piece whether there is a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netecho.protocols._http1_server import HTTP1Server
from netecho.protocols._http_impaired import ImpairedHTTP1
from netecho.protocols._http_limits import too_large
from netecho.protocols._http_pages import RequestError

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection


class BoundedHTTP1(HTTP1Server):
    """Refuses a body that says it is too large, or turns out to be: if its answer has begun, by an end."""

    def __init__(self, connection: HTTPConnection, most: int, *more: Any) -> None:
        self._most = most
        super().__init__(connection, *more)

    def _decide(self, length: int | None, content_type: bytes) -> None:
        self._check(length or 0)
        super()._decide(length, content_type)

    def on_body(self, data: bytes) -> None:
        """Take some of the body."""
        self._check(self._body_size + len(data))
        super().on_body(data)

    def _check(self, size: int) -> None:
        if size > self._most:
            raise RequestError(413, too_large(self._most))


class BoundedImpairedHTTP1(BoundedHTTP1, ImpairedHTTP1):
    """The same, where answers are impaired on purpose."""
