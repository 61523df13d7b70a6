"""The limits of what an HTTP server takes from a peer, the same in all versions of HTTP."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

MOST_TARGET: Final = 16 << 10
"""Bytes of the longest request target."""
MOST_FIELD: Final = 16 << 10
"""Bytes of the largest header field."""
MOST_HEAD: Final = 64 << 10
"""Bytes of the largest head of a request."""
MOST_FIELDS: Final = 100
"""The most header fields of a request."""
MOST_FRAMING: Final = 64 << 10
"""Bytes of framing that a chunked body may have, beyond what `FRAMING_SHARE` allows."""
FRAMING_SHARE: Final = 16
"""Bytes of framing that a chunked body may have for each byte of its content."""
DEMANDED: Final = {
    HTTPStatus.UNAUTHORIZED: (b"WWW-Authenticate", b'Basic realm="netecho"'),
    HTTPStatus.METHOD_NOT_ALLOWED: (b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH"),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (b"Proxy-Authenticate", b'Basic realm="netecho"'),
}
"""The field that an answer of such a status must have (RFC 9110 sections 15.5.2, 15.5.6 and 15.5.8). The
methods of WebDAV are answered too, but hardly asked for."""
UNKNOWN_EXPECTATION: Final = "the only expectation known here is 100-continue"
"""Why a request with another one gets 417 (RFC 9110 section 10.1.1)."""
WEBSOCKET_PATH: Final = "/ws"
"""The path at which a connection can be upgraded to WebSocket."""

_TARGET: Final = re.compile(rb"[!-~]+")
"""The characters of a URI are a part of these (RFC 3986 section 2)."""
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)


def is_host(value: bytes) -> bool:
    """Return whether a Host field is a host with or without a port (RFC 9110 section 7.2), or empty."""
    return _HOST.fullmatch(value) is not None


def too_large(most: int) -> str:
    """Return why a body of more than `most` bytes is refused (RFC 9110 section 15.5.14)."""
    return f"a body has at most {most} bytes here"


def path_of(target: bytes) -> tuple[str, str] | None:
    """Return the path and query of a request target (RFC 9112 section 3.2); `None` if it is malformed.

    Of a target in absolute form, as a proxy is sent, only the path and query count.
    """
    if _TARGET.fullmatch(target) is None:
        return None
    text = target.decode("ascii")
    if not text.startswith("/"):
        if text == "*":
            return "*", ""
        scheme, separator, rest = text.partition("://")
        authority = re.split(r"[/?]", rest, maxsplit=1)[0]
        if not separator or scheme.lower() not in ("http", "https") or not authority:
            return None
        if not is_host(authority.encode("latin-1")):
            return None
        text = rest[len(authority) :]
        text = text if text.startswith("/") else f"/{text}"
    if "#" in text:
        return None
    path, _, query = text.partition("?")
    return path, query
