"""The server side of HTTP/1.1 with a limit on the size of request bodies (`--max-message`).

It is a class of its own so that a server without a limit need not check each piece of a body.
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
    """Refuses bodies that are too large with 413, or by the connection's end if the answer has begun."""

    def __init__(self, connection: HTTPConnection, most: int, *more: Any) -> None:
        self._most = most
        super().__init__(connection, *more)

    def _decide(self, length: int | None, content_type: bytes) -> None:
        self._check(length or 0)
        super()._decide(length, content_type)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body.

        Raises:
            RequestError: the body is too large (RFC 9110 section 15.5.14).
        """
        self._check(self._body_size + len(data))
        super().on_body(data)

    def _check(self, size: int) -> None:
        if size > self._most:
            raise RequestError(413, too_large(self._most))


class BoundedImpairedHTTP1(BoundedHTTP1, ImpairedHTTP1):
    """The same for a server that impairs its answers on purpose."""
