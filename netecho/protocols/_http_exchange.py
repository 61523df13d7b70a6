"""A request on a stream of its own, and its answer: what does not depend on how HTTP frames them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols import _http_pages as pages
from netecho.protocols._http_limits import ALLOWED, MOST_FIELD, MOST_FIELDS, MOST_TARGET, is_host, too_large
from netecho.protocols._watched import Progress

Fields = list[tuple[bytes, bytes]]
JOINED: Final = 1024
"""Bytes of a piece up to which the next one is joined to it: small ones take many times their size."""


def keep(pieces: collections.deque[bytes], data: bytes) -> None:
    """Append what has come of a body to what waits to be sent back."""
    if pieces and len(pieces[-1]) < JOINED:
        pieces[-1] += data
    else:
        pieces.append(data)


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """How a request is answered: its head alone says it."""

    method: bytes
    page: pages.Page | None
    """What is answered; `None`: the body."""
    delay: float = 0.0
    """Seconds after which it is."""
    content_type: bytes = b""
    """Of the body that is sent back, and:"""
    length: int | None = None
    """Bytes of it, if it is known."""
    wants_continue: bool = False
    """The peer waits to be told that it may send the body."""
    is_refusal: bool = False
    """It is answered at once, and nothing of its body is taken."""


def decide(
    headers: Sequence[tuple[bytes, bytes]],
    version: str,
    reply: ReplyMode,
    see: Callable[[], dict[str, Any]],
    *,
    ended: bool,
    most: int | None = None,
) -> Decision:
    """Return how a request is answered.

    Args:
        headers: all of its fields, the pseudo-fields first.
        version: of HTTP.
        reply: what is answered where there is no page.
        see: says what the server saw of the connection.
        ended: no body follows.
        most: bytes of a body that are taken; `None`: any number.
    """
    named = dict(headers)
    method, target = named.get(b":method", b""), named.get(b":path", b"")
    try:
        _check(headers, method, target, named.get(b":authority", named.get(b"host", b"")))
        given = named.get(b"content-length")
        length = int(given) if given is not None and given.isdigit() else None
        if ended:
            length = 0
        if most is not None and length is not None and length > most:
            raise pages.RequestError(413, too_large(most))
        delay, page = pages.decide(pages.Request(method, target, version, tuple(headers), length), reply, see)
    except pages.RequestError as error:
        return Decision(method, pages.error(error.status, str(error)), is_refusal=True)
    if page is not None and page.is_error:
        return Decision(method, page, is_refusal=True)
    if page is None and method == b"HEAD":
        page = pages.Page()
    return Decision(
        method,
        page,
        delay,
        named.get(b"content-type", b"application/octet-stream"),
        length,
        length != 0 and named.get(b"expect", b"").lower() == b"100-continue",
    )


def _check(headers: Sequence[tuple[bytes, bytes]], method: bytes, target: bytes, authority: bytes) -> None:
    if len(target) > MOST_TARGET:
        raise pages.RequestError(414, f"a target has at most {MOST_TARGET} bytes")
    fields = sum(not name.startswith(b":") for name, _ in headers)
    if fields > MOST_FIELDS or any(len(name) + len(value) > MOST_FIELD for name, value in headers):
        raise pages.RequestError(431, f"a head has {MOST_FIELDS} fields of {MOST_FIELD} bytes at most")
    lengths = {value for name, value in headers if name == b"content-length"}
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        raise pages.RequestError(400, "the length of the content is not one number")
    if not is_host(authority):
        raise pages.RequestError(400, "the authority is not a host and port")
    if method == b"CONNECT":
        raise pages.RequestError(405, "this is no method of HTTP that is answered here")


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
        "goes_on",
        "head",
        "is_last",
        "moved",
        "out",
        "page",
        "progress",
        "size",
        "started",
        "wants_continue",
    )

    def __init__(self, now: float) -> None:
        self.progress = Progress(now)
        self.begun = False
        """The head of the request has come."""
        self.ended = False
        """The request is complete, or as much of it as is taken."""
        self.goes_on = False
        """It is refused, and its peer may send more of it."""
        self.wants_continue = False
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
        self.size = 0
        """Bytes of the body."""
        self.moved = 0
        """Bytes of the answer, and of a body that is not answered with itself."""

    def begin(self, decision: Decision) -> None:
        """Make ready to answer as has been decided."""
        self.begun = True
        self.wants_continue = decision.wants_continue
        if decision.is_refusal:
            self.ended, self.goes_on = True, not self.ended
        self.page = page = decision.page
        self.head, self.is_last = head_of(decision, int(time.time()))
        if page is not None:
            self.content = iter((page.content,)) if isinstance(page.content, bytes) else page.content

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


@functools.lru_cache(256)
def _fields_of(status: int, content_type: bytes, length: int | None, now: int) -> Fields:
    """Return the fields that an answer begins with in the second `now`."""
    fields = [
        (b":status", b"%d" % status),
        (b"date", formatdate(now, usegmt=True).encode()),
        (b"content-type", content_type),
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append((b"allow", ALLOWED))
    return fields if length is None else [*fields, (b"content-length", b"%d" % length)]


def head_of(decision: Decision, now: int) -> tuple[Fields, bool]:
    """Return the head of an answer in the second `now`, and whether that is all of it.

    The list is not to be changed.
    """
    page = decision.page
    if page is None:
        return _fields_of(200, decision.content_type, decision.length, now), False
    fields = _fields_of(page.status, page.content_type.encode("latin-1"), page.size, now)
    if page.status in (204, 304):
        return fields[:2], True
    return fields, page.size == 0 or decision.method == b"HEAD"
