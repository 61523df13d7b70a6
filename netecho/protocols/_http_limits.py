"""What an HTTP server takes from a peer, and for how long, whichever version of HTTP they speak."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

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

_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long peers may take, in seconds."""

    start: float = 10.0
    """For the head of a request, however its bytes come; for a body, and to take an answer, so long and
    more as it moves:"""
    rate: float = 1024.0
    """For so many bytes of a body or an answer they get a second more."""
    idle: float = 12.0
    """Until the next request. Who reads an answer slowly that its system has taken whole looks idle too."""
    look: float = 1.0
    """Between looks at what they do."""


class Progress:
    """What one connection is at, as often as somebody looks.

    Every exchange has its own time, which starts with it and grows with what is moved in it: bytes that come
    one by one do not buy more of it.
    """

    __slots__ = ("_moved", "_since", "_stage")

    def __init__(self, now: float) -> None:
        self._stage: Any = None
        self._since = now
        self._moved = 0

    def is_overdue(self, now: float, stage: Any, moved: int, patience: Patience, *, idle: bool) -> bool:
        """Return whether a peer has taken too long.

        Args:
            now: in seconds.
            stage: what it is at; while that is the same, its time runs.
            moved: bytes of bodies and answers, so far.
            patience: what it may take.
            idle: nothing is under way.
        """
        if stage != self._stage:
            self._stage, self._since, self._moved = stage, now, moved
        allowed = patience.idle if idle else patience.start + (moved - self._moved) / patience.rate
        return now - self._since >= allowed


def is_host(value: bytes) -> bool:
    """Return whether a Host field says a host and perhaps a port (RFC 9110 section 7.2), or nothing."""
    return _HOST.fullmatch(value) is not None


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
