"""A request on a stream of its own, and its answer: what does not depend on how HTTP frames them."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any

from netecho.plans import ReplyMode
from netecho.protocols import _http_pages as pages
from netecho.protocols._http_limits import MOST_FIELD, MOST_FIELDS, MOST_TARGET, is_host
from netecho.protocols._watched import Progress

Fields = list[tuple[bytes, bytes]]


class Exchange:
    """One, of which at first nothing has come.

    Args:
        now: in seconds.
    """

    __slots__ = (
        "begun",
        "call",
        "content",
        "ended",
        "head",
        "is_last",
        "moved",
        "out",
        "page",
        "progress",
        "started",
        "wants_continue",
    )

    def __init__(self, now: float) -> None:
        self.progress = Progress(now)
        self.begun = False
        """The head of the request has come."""
        self.ended = False
        """The request is complete."""
        self.wants_continue = False
        """The peer waits to be told that it may send the body."""
        self.page: pages.Page | None = None
        """What is answered; `None`: the body."""
        self.head: Fields = []
        """Of the answer."""
        self.started = False
        """The answer has been begun."""
        self.is_last = False
        """The answer is its head alone."""
        self.content: pages.Content | None = None
        """What is still to be made of a page."""
        self.out: collections.deque[bytes] = collections.deque()
        """What has come of a body that has not been sent back."""
        self.call: Any = None
        """The end of a pause."""
        self.moved = 0
        """Bytes of the answer, and of a body that is not answered with itself."""

    def begin(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        version: str,
        reply: ReplyMode,
        see: Callable[[], dict[str, Any]],
    ) -> float:
        """Decide on the answer to a request; return after how many seconds it is to be given.

        Args:
            headers: all of its fields, the pseudo-fields first.
            version: of HTTP.
            reply: what is answered where there is no page.
            see: says what the server saw of the connection.
        """
        self.begun = True
        delay = 0.0
        method = b""
        try:
            method, delay = self._decide(headers, version, reply, see)
        except pages.RequestError as error:
            self.page = pages.error(error.status, str(error))
        page = self.page
        if page is not None:
            size = page.size
            self.head = head_of(page.status, page.content_type.encode("latin-1"), size)
            if page.status in (204, 304):
                self.head = self.head[:2]
            self.is_last = method == b"HEAD" or page.status in (204, 304)
            self.content = iter((page.content,)) if isinstance(page.content, bytes) else page.content
        return delay

    def _decide(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        version: str,
        reply: ReplyMode,
        see: Callable[[], dict[str, Any]],
    ) -> tuple[bytes, float]:
        named = dict(headers)
        method, target = named.get(b":method", b""), named.get(b":path", b"")
        if len(target) > MOST_TARGET:
            raise pages.RequestError(414, f"a target has at most {MOST_TARGET} bytes")
        fields = sum(not name.startswith(b":") for name, _ in headers)
        if fields > MOST_FIELDS or any(len(name) + len(value) > MOST_FIELD for name, value in headers):
            raise pages.RequestError(431, f"a head has {MOST_FIELDS} fields of {MOST_FIELD} bytes at most")
        if not is_host(named.get(b":authority", named.get(b"host", b""))):
            raise pages.RequestError(400, "the authority is not a host and port")
        if method == b"CONNECT":
            raise pages.RequestError(405, "this is no method of HTTP that is answered here")
        given = named.get(b"content-length")
        length = int(given) if given is not None and given.isdigit() else None
        if self.ended:
            length = 0
        self.wants_continue = length != 0 and named.get(b"expect", b"").lower() == b"100-continue"
        request = pages.Request(method, target, version, tuple(headers), length)
        delay, self.page = pages.decide(request, reply, see)
        if self.page is None and method == b"HEAD":
            self.page = pages.Page()
        if self.page is None:
            self.head = head_of(200, named.get(b"content-type", b"application/octet-stream"), length)
        return method, delay

    @property
    def may_start(self) -> bool:
        """Whether there is something of the answer to be sent: a page's whole request must have come."""
        if self.call is not None or not self.begun:
            return False
        return self.ended or (self.page is None and bool(self.out))

    def next_piece(self) -> bytes | pages.Pause | None:
        """Return what comes next of the answer's content; `None` if there is no more yet, or at all."""
        if self.out:
            return self.out.popleft()
        if self.content is not None:
            piece = next(self.content, None)
            if piece is not None:
                return piece
            self.content = None
        return None

    @property
    def is_whole(self) -> bool:
        """Whether nothing more of the answer is to come, after what is there."""
        return self.ended and self.content is None and not self.out


def head_of(status: int, content_type: bytes, length: int | None) -> Fields:
    """Return the fields that an answer begins with."""
    head = [
        (b":status", b"%d" % status),
        (b"date", formatdate(int(time.time()), usegmt=True).encode()),
        (b"content-type", content_type),
    ]
    return head if length is None else [*head, (b"content-length", b"%d" % length)]
