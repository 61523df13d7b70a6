"""A stream of an HTTP/2 server: what is kept of a request until it has been answered."""

from __future__ import annotations

import collections
from typing import Any

from netecho.protocols import _http_pages as pages
from netecho.protocols._http_exchange import Decision
from netecho.protocols._watched import Progress


class Stream:
    """A request and its answer.

    Args:
        now: in seconds.
    """

    __slots__ = (
        "call",
        "content",
        "decision",
        "ended",
        "goes_on",
        "moved",
        "out",
        "owed",
        "page",
        "progress",
        "size",
        "started",
    )

    def __init__(self, now: float) -> None:
        self.progress = Progress(now)
        self.decision = Decision(b"", None)
        self.page: pages.Page | None = None
        self.content: Any = None
        """The part of a page that is still to be made."""
        self.out: collections.deque[bytes] = collections.deque()
        """Pieces that are still to be sent."""
        self.owed = 0
        """Bytes received on the stream for which no WINDOW_UPDATE has been sent."""
        self.ended = False
        """The request has come whole, or no more of it is taken."""
        self.goes_on = False
        """The request is refused, and its peer may still send more of it."""
        self.started = False
        """The answer has been begun."""
        self.call: Any = None
        """The delayed call that ends a pause."""
        self.moved = 0
        """Bytes of the body that came, and of content that was sent."""
        self.size = 0
        """Bytes of the body that came."""
