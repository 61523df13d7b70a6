"""A mail's content on the wire, between DATA and the line with a dot alone (RFC 5321 section 4.1.1.4)."""

from __future__ import annotations

import hashlib
from typing import Final

LINE_END: Final = b"\r\n"
END: Final = b"\r\n.\r\n"
MOST_LINE: Final = 1000
"""Octets of a line, with its end and without a dot put before it (RFC 5321 section 4.5.3.1.6)."""
MOST_EXCESS: Final = 1 << 20
"""Octets beyond what a mail may have that are thrown away while its end is waited for."""


class ContentError(Exception):
    """What comes is no content of a mail, and where it ends cannot be trusted."""


class Content:
    """Takes a mail as it comes, and keeps of it its size and its SHA-256 alone.

    The only end is a line with a dot alone, and the only end of a line CR LF: a CR or LF by itself, which
    other servers may take for more than that, is none of a mail's (CVE-2023-51764 and its like).

    Args:
        most: octets that a mail may have. Of a larger one the rest is thrown away.
    """

    __slots__ = ("_digest", "_most", "_tail", "has_long_line", "is_too_large", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._digest = hashlib.sha256()
        self._tail = b""
        """The beginning of a line whose end has not come."""
        self.size = 0
        """Octets so far, without the dots that were put before others, and without the end."""
        self.has_long_line = False
        self.is_too_large = False

    @property
    def sha256(self) -> str:
        """The digest of what has come, in hexadecimal."""
        return self._digest.hexdigest()

    def take(self, data: bytes) -> bytes | None:
        """Take what has come next; return what comes after the end, or `None` if that has not come.

        Raises:
            ContentError: a CR or LF stands alone, or there is no end to it.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if data.startswith(b".\r\n"):
            return data[3:]
        end = data.find(END)
        if end >= 0:
            self._keep(data[: end + 2])
            return data[end + 5 :]
        cut = data.rfind(LINE_END) + 2
        if cut > 1:
            self._keep(data[:cut])
            data = data[cut:]
        if data:
            self._wait(data)
        return None

    def _wait(self, tail: bytes) -> None:
        if b"\n" in tail or b"\r" in tail[:-1]:
            raise ContentError("a line ends in CR LF: neither may come alone")
        if len(tail) > MOST_LINE:
            self.has_long_line = True
            self._count(len(tail) - 2)
            tail = b"x\r" if tail.endswith(b"\r") else b"x"  # a line's beginning, whatever it was
        self._tail = tail

    def _keep(self, lines: bytes) -> None:
        """Take whole lines."""
        count = lines.count(LINE_END)
        if lines.count(b"\n") != count or lines.count(b"\r") != count:
            raise ContentError("a line ends in CR LF: neither may come alone")
        if lines.startswith(b"."):
            lines = lines[1:]
        if b"\r\n." in lines:
            lines = lines.replace(b"\r\n.", LINE_END)
        if len(lines) > MOST_LINE and not self.has_long_line:
            self.has_long_line = len(max(lines.split(LINE_END), key=len)) > MOST_LINE - 2
        self._count(len(lines))
        if not self.is_too_large:
            self._digest.update(lines)

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > self._most:
            self.is_too_large = True
            if self.size > self._most + MOST_EXCESS:
                raise ContentError("the mail has no end")


def on_the_wire(content: bytes) -> bytes:
    """Return a content as it is sent, its end included. Its lines end in CR LF, the last one too."""
    if content.startswith(b"."):
        content = b"." + content
    if b"\r\n." in content:
        content = content.replace(b"\r\n.", b"\r\n..")
    return content + b".\r\n"
