"""The streams of an HTTP/2 server: what is kept of each request until it is answered."""

from __future__ import annotations

import collections
from typing import Any

from netecho.protocols import _http_pages as pages
from netecho.protocols._http_exchange import Decision
from netecho.protocols._watched import Progress


class Stream:
    """A request, and its answer.

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
        """What is still to be made."""
        self.out: collections.deque[bytes] = collections.deque()
        """What is to be sent."""
        self.owed = 0
        """Bytes of the body that its window has not been opened for again."""
        self.ended = False
        """The request is complete, or as much of it as is taken."""
        self.goes_on = False
        """It is refused, and its peer may send more of it."""
        self.started = False
        """Its answer has been begun."""
        self.call: Any = None
        """The end of a pause."""
        self.moved = 0
        self.size = 0
        """Bytes of the body."""
