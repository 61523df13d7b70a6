"""Messages as mails (RFC 5322): a header, and the message as lines of text, or else in base64."""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import functools
import hashlib
import time
from typing import Final

from netecho.protocols._smtp_content import LINE_END, on_the_wire

_MOST_KEPT: Final = 4096
"""Octets of the largest message whose body is cached: messages repeat."""
_MOST_LINE: Final = 998


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """The body of a mail."""

    content: bytes
    """Lines, each with its CR LF."""
    fields: bytes
    """The header fields that describe it (RFC 2045)."""
    is_8bit: bool
    """Whether it needs 8BITMIME (RFC 6152)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    """A message, ready to be sent."""

    wire: bytes
    """The content as it is sent, with stuffed dots and its end."""
    size: int
    receipt: bytes
    """The size and digest that netecho's server replies with if it received the mail as it was sent."""
    is_8bit: bool


def mail_of(number: int, key: str, payload: bytes, *, takes_8bit: bool, addresses: tuple[str, str]) -> Mail:
    """Return the mail that carries a message.

    Args:
        number: the number of the message.
        key: tells apart messages of the same number on different connections.
        payload: the message.
        takes_8bit: the server offers 8BITMIME.
        addresses: the sender and recipient in the header.
    """
    body = (_kept if len(payload) <= _MOST_KEPT else body_of)(payload, takes_8bit)
    head = _head(int(time.time()), *addresses) + b"Message-ID: <%d.%s@netecho.invalid>\r\n%s\r\n" % (
        number,
        key.encode("ascii"),
        body.fields,
    )
    content = head + body.content
    digest = hashlib.sha256(content).hexdigest().encode("ascii")
    size = len(content)
    return Mail(on_the_wire(content), size, b"size=%d sha256=%s" % (size, digest), body.is_8bit)


@functools.lru_cache(maxsize=4)
def _head(second: int, sender: str, recipient: str) -> bytes:
    lines = [
        f"Date: {email.utils.formatdate(second)}",
        f"From: <{sender}>",
        f"To: <{recipient}>",
        "Subject: netecho",
        "MIME-Version: 1.0",
        "",
    ]
    return "\r\n".join(lines).encode()


def body_of(payload: bytes, takes_8bit: bool) -> Body:
    """Return a message as a body: text with its line ends turned into CR LF, all else in base64."""
    text = payload
    if b"\r" not in text:
        text = text.replace(b"\n", LINE_END)
    if text and not text.endswith(LINE_END):
        text += LINE_END
    if _is_mailable(text):
        if text.isascii():
            return Body(text, b"Content-Type: text/plain\r\n", False)
        if takes_8bit and _is_utf8(text):
            fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
            return Body(text, fields, True)
    fields = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
    return Body(base64.encodebytes(payload).replace(b"\n", LINE_END), fields, False)


_kept = functools.lru_cache(maxsize=1024)(body_of)


def _is_mailable(text: bytes) -> bool:
    lines = text.split(LINE_END)
    ends = len(lines) - 1
    return (
        text.count(b"\n") == ends
        and text.count(b"\r") == ends
        and b"\0" not in text
        and len(max(lines, key=len)) <= _MOST_LINE
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
