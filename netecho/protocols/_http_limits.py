"""What an HTTP server takes from a peer, whichever version of HTTP they speak."""

from __future__ import annotations

import re
from typing import Final

MOST_TARGET: Final = 16 << 10
"""Bytes of a request's target."""
MOST_FIELD: Final = 16 << 10
"""Bytes of one header field."""
MOST_HEAD: Final = 64 << 10
"""Bytes of a request's head."""
MOST_FIELDS: Final = 100
"""Header fields of a request."""
MOST_FRAMING: Final = 64 << 10
"""Bytes of a chunked body that are none of its content, beyond as many as `FRAMING_SHARE` allows."""
FRAMING_SHARE: Final = 16
"""For each byte of content so many may go into the framing of chunks."""
ALLOWED: Final = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH"
"""The `Allow` field of an answer of 405, which must have one (RFC 9110 section 15.5.6). The methods of WebDAV
are answered too, but hardly asked for."""
WEBSOCKET_PATH: Final = "/ws"
"""Where a connection may go on in WebSocket."""

_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)


def is_host(value: bytes) -> bool:
    """Return whether a Host field says a host and perhaps a port (RFC 9110 section 7.2), or nothing."""
    return _HOST.fullmatch(value) is not None


def too_large(most: int) -> str:
    """Return why a body is not taken where one has bytes at most (RFC 9110 section 15.5.14)."""
    return f"a body has at most {most} bytes here"


def path_of(target: bytes) -> tuple[str, str] | None:
    """Return the path and query of a request's target (RFC 9112 section 3.2); `None` if it is none.

    Whoever takes us for a proxy is answered as if it had not.
    """
    text = target.decode("latin-1")
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
