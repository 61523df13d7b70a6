"""The replies of an SMTP server, as a client takes them (RFC 5321 section 4.2)."""

from __future__ import annotations

from typing import Final

MOST_LINE: Final = 4096
"""Octets of one line. RFC 5321 section 4.5.3.1.5 has 512, which servers overstep."""
MOST_LINES: Final = 256
"""The most lines of one reply."""


class ReplyError(Exception):
    """What came is not a reply of SMTP."""


class Replies:
    """Parses replies from bytes as they come."""

    __slots__ = ("_lines", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    @property
    def has_rest(self) -> bool:
        """Whether an incomplete reply has come."""
        return bool(self._rest or self._lines)

    def received(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the complete replies: the code of each, and its lines without the code.

        Raises:
            ReplyError: what came is not a reply, or is too long.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE:
            raise ReplyError("a line of a reply has no end")
        replies = []
        for line in lines:
            line = line.removesuffix(b"\r")
            code, mark, text = line[:3], line[3:4], line[4:]
            if not code.isdigit() or mark not in (b" ", b"-", b"") or not 200 <= int(code) <= 599:
                raise ReplyError(f"{line[:40].decode('ascii', 'backslashreplace')!r} is no reply of SMTP")
            self._lines.append(text)
            if mark == b"-":
                if len(self._lines) > MOST_LINES:
                    raise ReplyError("a reply has no end")
                continue
            replies.append((int(code), b"\n".join(self._lines)))
            self._lines.clear()
        return replies
