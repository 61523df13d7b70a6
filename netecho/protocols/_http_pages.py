"""The pages of an HTTP server: answers that are not echoes, found by their paths.

A page is determined by the request, whichever version of HTTP carries it, and what it can cost the server is
bounded.
"""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols._http_limits import path_of

MOST_BYTES: Final = 1 << 30
"""The most bytes that `/bytes` sends."""
MOST_LINES: Final = 1_000_000
"""The most lines that `/stream` sends."""
MOST_EVENTS: Final = 3600
"""The most events, one a second, that `/sse` sends."""
MOST_DELAY: Final = 60.0
"""The longest delay of `/delay`, in seconds."""
BLOCK: Final = 1 << 16
"""Bytes in a piece of content."""
TEXT: Final = "text/plain; charset=utf-8"
_PATTERN: Final = bytes(range(256)) * (BLOCK // 256)
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_QUANTITY: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([A-Za-z]*)", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """A pause between pieces of content, in which nothing is sent."""

    seconds: float


Content = Iterator[bytes | Pause]
"""Content that is made piece by piece, as the peer takes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """An answer that is not an echo."""

    content: bytes | Content = b""
    status: int = 200
    content_type: str = TEXT
    length: int | None = None
    """Bytes of a content that is made piece by piece; `None` if not known."""
    is_endless: bool = False
    """A server that is told to end cuts it short."""

    @property
    def size(self) -> int | None:
        """Bytes of content; `None` if not known."""
        return len(self.content) if isinstance(self.content, bytes) else self.length


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The head of a request, as a page sees it."""

    method: bytes
    target: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    length: int | None
    """Bytes of its body; `None` if not known."""

    def seen(self, path: str, query: str) -> dict[str, Any]:
        """Return what the request says, ready for JSON."""
        return {
            "method": self.method.decode("latin-1"),
            "target": self.target.decode("latin-1"),
            "path": path,
            "query": urllib.parse.parse_qs(query, keep_blank_values=True, errors="replace"),
            "version": f"HTTP/{self.version}",
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.fields],
        }


class RequestError(Exception):
    """A request is answered with an error of this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decide(
    request: Request, reply: ReplyMode, see: Callable[[], dict[str, Any]]
) -> tuple[float, Page | None]:
    """Return the seconds to wait before a request is answered, and the page; `None` for an echo.

    Args:
        request: its head.
        reply: what is answered on paths without a page.
        see: returns what the server knows of the connection.

    Raises:
        RequestError: the target is malformed, or what it asks of a page is, and a body follows, which there
            is no use in sending.
    """
    found = path_of(request.target)
    if found is None:
        raise RequestError(400, "the target is none")
    path, query = found

    def all_seen() -> dict[str, Any]:
        return {**request.seen(path, query), **see()}

    try:
        delay = delay_of(path)
        page = page_of(path, all_seen)
    except ValueError as wrong:
        if request.length != 0:
            raise RequestError(400, str(wrong)) from None
        return 0.0, error(400, str(wrong))
    is_question = request.length == 0 and request.method in (b"GET", b"HEAD")
    if page is None and (is_question or reply is ReplyMode.INFO):
        page = seen(all_seen())
    if page is None and reply is ReplyMode.DISCARD:
        page = Page()
    return delay or 0.0, page


def delay_of(path: str) -> float | None:
    """Return the seconds of `/delay/DURATION`, which is otherwise answered as `/` is; `None` for other paths.

    Raises:
        ValueError: the duration is malformed or too long.
    """
    match path.split("/"):
        case ["", "delay", text]:
            return _quantity(text, _UNITS, MOST_DELAY, "a delay: write /delay/100ms, of 60s at most")
    return None


def page_of(path: str, see: Callable[[], dict[str, Any]]) -> Page | None:
    """Return the page of a path; `None` if the path has none.

    Args:
        path: without its query.
        see: returns what the server knows of the request and its connection.

    Raises:
        ValueError: the path has a page, but its argument is malformed or out of range.
    """
    match path.split("/"):
        case ["", "healthz"]:
            return Page(b"ok\n")
        case ["", "anything", *_]:
            return seen(see())
        case ["", "status", text]:
            return Page(status=_status(text))
        case ["", "bytes", text]:
            size = _count(text, _SIZES, MOST_BYTES, f"a size of 0 to {MOST_BYTES}")
            return Page(_bytes(size), content_type="application/octet-stream", length=size)
        case ["", "stream", text]:
            count = _count(text, {"": 1}, MOST_LINES, f"a count of 0 to {MOST_LINES}")
            return Page(_lines(count, see()), content_type="application/json")
        case ["", "sse", *rest] if len(rest) < 2:
            count = _count("".join(rest) or str(MOST_EVENTS), {"": 1}, MOST_EVENTS, "a count of events")
            return Page(_events(count), content_type="text/event-stream", is_endless=True)
    return None


def seen(what: dict[str, Any]) -> Page:
    """Return a page of JSON."""
    return Page(json.dumps(what, indent=2).encode() + b"\n", content_type="application/json")


def error(status: int, text: str) -> Page:
    """Return a page that says what is wrong with a request."""
    return Page(f"{text}\n".encode("utf-8", "replace"), status)


def _quantity(text: str, units: dict[str, float] | dict[str, int], most: float, wanted: str) -> float:
    found = _QUANTITY.fullmatch(text)
    unit = None if found is None else units.get(found[2].lower())
    if found is None or unit is None or (value := float(found[1]) * unit) > most:
        raise ValueError(f"{text[:40]!r} is not {wanted}")
    return value


def _count(text: str, units: dict[str, int], most: int, wanted: str) -> int:
    value = _quantity(text, units, most, wanted)
    if value % 1:
        raise ValueError(f"{text[:40]!r} is not {wanted}")
    return int(value)


def _status(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) == 3 and 200 <= int(text) <= 599):
        raise ValueError(f"{text[:40]!r} is not a status of 200 to 599")
    return int(text)


def _bytes(size: int) -> Content:
    for _ in range(size // BLOCK):
        yield _PATTERN
    if size % BLOCK:
        yield _PATTERN[: size % BLOCK]


def _lines(count: int, what: dict[str, Any]) -> Content:
    block = b""
    for number in range(count):
        block += json.dumps({"number": number, **what}).encode() + b"\n"
        if len(block) >= BLOCK // 4 or number + 1 == count:
            yield block
            block = b""


def _events(count: int) -> Content:
    for number in range(count):
        if number:
            yield Pause(1.0)
        yield f"id: {number}\ndata: {number}\n\n".encode()
