"""What an HTTP server answers where it does not echo: pages that say or do something, by their paths.

A page is worked out from its path alone, whichever version of HTTP carries it, and what it may ask of the
server is bounded.
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
"""Bytes that `/bytes` may ask for."""
MOST_LINES: Final = 1_000_000
"""Lines that `/stream` may ask for."""
MOST_EVENTS: Final = 3600
"""Events, one a second, that `/sse` sends at most."""
MOST_DELAY: Final = 60.0
"""Seconds that `/delay` may ask for."""
BLOCK: Final = 1 << 16
"""Bytes of content that are made at a time."""
TEXT: Final = "text/plain; charset=utf-8"
_PATTERN: Final = bytes(range(256)) * (BLOCK // 256)
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_QUANTITY: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([A-Za-z]*)", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """A time in which nothing is sent."""

    seconds: float


Content = Iterator[bytes | Pause]
"""What is sent bit by bit, as the peer takes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """An answer that is no echo."""

    content: bytes | Content = b""
    status: int = 200
    content_type: str = TEXT
    length: int | None = None
    """Bytes of content that comes bit by bit; `None` if that is not known."""
    is_endless: bool = False
    """Nobody waits for the last of it: a server that is to end cuts it short."""
    is_error: bool = False
    """It says what is wrong with a request, whatever the body of that is."""

    @property
    def size(self) -> int | None:
        """Bytes of content, if it is known."""
        return len(self.content) if isinstance(self.content, bytes) else self.length


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The head of a request."""

    method: bytes
    target: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    length: int | None
    """Bytes of its body; `None` if that is not known."""

    def seen(self, path: str, query: str) -> dict[str, Any]:
        """Return what is to be seen of it, ready for JSON."""
        return {
            "method": self.method.decode("latin-1"),
            "target": self.target.decode("latin-1"),
            "path": path,
            "query": urllib.parse.parse_qs(query, keep_blank_values=True, errors="replace"),
            "version": f"HTTP/{self.version}",
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.fields],
        }


class RequestError(Exception):
    """A request that gets an error for an answer, with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decide(
    request: Request, reply: ReplyMode, see: Callable[[], dict[str, Any]]
) -> tuple[float, Page | None]:
    """Return after how many seconds to answer a request, and with which page; `None`: with its body.

    Args:
        request: its head.
        reply: what is answered where there is no page.
        see: says what the server saw of the connection.

    Raises:
        RequestError: it asks for what nobody gets.
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
        return 0.0, error(400, str(wrong))
    is_question = request.length == 0 and request.method in (b"GET", b"HEAD")
    if page is None and (is_question or reply is ReplyMode.INFO):
        page = seen(all_seen())
    if page is None and reply is ReplyMode.DISCARD:
        page = Page()
    return delay or 0.0, page


def delay_of(path: str) -> float | None:
    """Return the seconds after which `/delay/DURATION` is answered, as if nothing had been asked.

    `None`: the path asks for no delay.

    Raises:
        ValueError: it asks for one that nobody gets.
    """
    match path.split("/"):
        case ["", "delay", text]:
            return _quantity(text, _UNITS, MOST_DELAY, "a delay: write /delay/100ms, of 60s at most")
    return None


def page_of(path: str, see: Callable[[], dict[str, Any]]) -> Page | None:
    """Return the page of a path; `None` where what comes is echoed.

    Args:
        path: without its query.
        see: says what the server saw of the request.

    Raises:
        ValueError: there is such a page, but it does not do that.
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
    """Return a page that says what the server saw of a request."""
    return Page(json.dumps(what, indent=2).encode() + b"\n", content_type="application/json")


def error(status: int, text: str) -> Page:
    """Return a page that says what is wrong with a request."""
    return Page(f"{text}\n".encode("utf-8", "replace"), status, is_error=True)


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
