"""Requests on streams and their answers: what HTTP/2 and HTTP/3 have in common, whatever their frames."""

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
from netecho.protocols._http_limits import (
    DEMANDED,
    MOST_FIELD,
    MOST_FIELDS,
    MOST_TARGET,
    UNKNOWN_EXPECTATION,
    is_host,
    too_large,
)
from netecho.protocols._watched import Progress

Fields = list[tuple[bytes, bytes]]
JOINED: Final = 1024
"""Bytes below which the next piece is appended to a piece: small objects have a large overhead."""


def keep(pieces: collections.deque[bytes], data: bytes) -> None:
    """Append a piece of a body to those that wait to be sent back."""
    if pieces and len(pieces[-1]) < JOINED:
        pieces[-1] += data
    else:
        pieces.append(data)


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """How a request is answered, which its head alone determines."""

    method: bytes
    page: pages.Page | None
    """The page that is the answer; `None` if the body is echoed."""
    delay: float = 0.0
    """Seconds before the answer."""
    content_type: bytes = b""
    """The media type of the body that is echoed."""
    length: int | None = None
    """Bytes of that body; `None` if not known."""
    wants_continue: bool = False
    """The peer waits for 100 (Continue) before it sends the body (RFC 9110 section 10.1.1)."""
    is_refusal: bool = False
    """The request is refused: it is answered at once, and its body is not taken."""


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
        headers: the fields of its head, the pseudo-header fields first.
        version: of HTTP, `2` or `3`.
        reply: what is answered on paths without a page.
        see: returns what the server knows of the connection.
        ended: no body follows.
        most: bytes of the largest body that is taken; `None` for no limit.
    """
    named = dict(headers)
    method, target = named.get(b":method", b""), named.get(b":path", b"")
    expectation = named.get(b"expect")
    try:
        _check(headers, method, target, named.get(b":authority", named.get(b"host", b"")))
        if expectation is not None and expectation.lower() != b"100-continue":
            raise pages.RequestError(417, UNKNOWN_EXPECTATION)
        given = named.get(b"content-length")
        length = int(given) if given is not None and given.isdigit() else None
        if ended:
            length = 0
        if most is not None and length is not None and length > most:
            raise pages.RequestError(413, too_large(most))
        delay, page = pages.decide(pages.Request(method, target, version, tuple(headers), length), reply, see)
    except pages.RequestError as error:
        return Decision(method, pages.error(error.status, str(error)), is_refusal=True)
    content_type = named.get(b"content-type", b"application/octet-stream")
    if page is None and method == b"HEAD":  # its head is the echo's (RFC 9110 section 9.3.2)
        page = pages.Page(iter(()), content_type=content_type.decode("latin-1"), length=length)
    return Decision(
        method,
        page,
        delay,
        content_type,
        length,
        length != 0 and expectation is not None,
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
    """A request on a stream and its answer, from the first byte that comes.

    Args:
        now: the time, in seconds.
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
        """The head of the request has come, and been decided on."""
        self.ended = False
        """The request has come whole, or no more of it is taken."""
        self.goes_on = False
        """The request is refused, and its peer may still send more of it."""
        self.wants_continue = False
        self.page: pages.Page | None = None
        """The page that is the answer; `None` if the body is echoed."""
        self.head: Fields = []
        """The fields of the answer's head."""
        self.started = False
        """The answer has been begun."""
        self.is_last = False
        """The answer has no content."""
        self.content: pages.Content | None = None
        """The part of a page that is still to be made."""
        self.out: collections.deque[bytes] = collections.deque()
        """Pieces of the body that have not been sent back."""
        self.call: Any = None
        """The delayed call that ends a pause."""
        self.size = 0
        """Bytes of the body that came."""
        self.moved = 0
        """Bytes of content that was sent, and of a body that is not echoed."""

    def begin(self, decision: Decision) -> None:
        """Prepare the answer that has been decided on."""
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
        """Whether the answer can begin: a page only when the whole request has come."""
        if self.call is not None or not self.begun:
            return False
        return self.ended or (self.page is None and bool(self.out))

    def next_piece(self) -> bytes | pages.Pause | None:
        """Return the next piece of the content; `None` if there is none yet, or no more at all."""
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
        """Whether all of the answer has been taken for sending."""
        return self.ended and self.content is None and not self.out


@functools.lru_cache(256)
def _fields_of(status: int, content_type: bytes, length: int | None, now: int) -> Fields:
    """Return the fields of an answer's head; `now` is its date in seconds since 1970."""
    fields = [
        (b":status", b"%d" % status),
        (b"date", formatdate(now, usegmt=True).encode()),
        (b"content-type", content_type),
    ]
    if status in DEMANDED:
        name, value = DEMANDED[HTTPStatus(status)]
        fields.append((name.lower(), value))
    return fields if length is None else [*fields, (b"content-length", b"%d" % length)]


def head_of(decision: Decision, now: int) -> tuple[Fields, bool]:
    """Return the fields of an answer's head, and whether the answer has no content.

    The list is shared, and must not be changed.

    Args:
        decision: how the request is answered.
        now: the date, in seconds since 1970.
    """
    page = decision.page
    if page is None:
        return _fields_of(200, decision.content_type, decision.length, now), False
    fields = _fields_of(page.status, page.content_type.encode("latin-1"), page.size, now)
    if page.status in (204, 304):
        return fields[:2], True
    return fields, page.size == 0 or decision.method == b"HEAD"
