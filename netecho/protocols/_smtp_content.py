"""A mail's content on the wire, between DATA and the line with a dot alone (RFC 5321 section 4.1.1.4)."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Final

LINE_END: Final = b"\r\n"
END: Final = b"\r\n.\r\n"
MOST_LINE: Final = 1000
"""Octets of a line, with its CR LF and without a stuffed dot (RFC 5321 section 4.5.3.1.6)."""
MOST_EXCESS: Final = 1 << 20
"""Octets by which a mail may exceed its limit before its end is no longer waited for."""


class ContentError(Exception):
    """The content of a mail is malformed, so that its end cannot be trusted."""

    code: ClassVar[bytes] = b"554 5.6.0"
    """The code of the reply that says so, and its enhanced status code (RFC 3463)."""


class TooLargeError(ContentError):
    """A mail is so much too large that its end is no longer waited for."""

    code = b"552 5.3.4"


class Content:
    """Takes a mail as it comes, and keeps only its size and its SHA-256.

    A mail ends only with a line of a single dot, and a line only with CR LF. A CR or LF that stands alone is
    refused, since other servers may take it for the end of a line (SMTP smuggling, CVE-2023-51764).

    Args:
        most: octets of the largest mail. The rest of a larger one is thrown away.
    """

    __slots__ = ("_digest", "_most", "_tail", "has_long_line", "is_too_large", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._digest = hashlib.sha256()
        self._tail = b""
        """An incomplete line."""
        self.size = 0
        """Octets so far, without stuffed dots and without the line that ends the mail."""
        self.has_long_line = False
        self.is_too_large = False

    @property
    def sha256(self) -> str:
        """The SHA-256 of what has come, in hexadecimal."""
        return self._digest.hexdigest()

    def take(self, data: bytes) -> bytes | None:
        """Take the next bytes; return those after the mail's end, or `None` if the end has not come.

        Raises:
            ContentError: a CR or LF stands alone, or the mail far exceeds its limit.
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
            tail = b"x\r" if tail.endswith(b"\r") else b"x"  # stands for the beginning of the line
        self._tail = tail

    def _keep(self, lines: bytes) -> None:
        """Take complete lines."""
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
                raise TooLargeError(f"a mail has at most {self._most} octets")


def on_the_wire(content: bytes) -> bytes:
    """Return a content with stuffed dots and its end (RFC 5321 section 4.5.2); its lines end in CR LF."""
    if content.startswith(b"."):
        content = b"." + content
    if b"\r\n." in content:
        content = content.replace(b"\r\n.", b"\r\n..")
    return content + b".\r\n"
