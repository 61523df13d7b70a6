"""Cookies, by which a DTLS client shows that it receives at its address (RFC 6347 section 4.2.1)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

LIFETIME: Final = 60.0
"""Seconds for which the same cookie is given out. It is accepted for as long again."""
SIZE: Final = 16
"""Bytes in a cookie: so few that the server's request is never larger than the ClientHello that it
answers."""


class Cookies:
    """Makes cookies from addresses and ClientHellos, and keeps none of them.

    A cookie is an HMAC, under a secret of this object's own, of an address, of the values of a ClientHello
    that are the same in the one that brings the cookie, and of a stretch of time. So a cookie that was
    received at an address that its holder no longer has, or that somebody else has seen, serves for no other
    handshake, and for the same one not for long.

    Args:
        seconds: tells the time, in seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._secret = secrets.token_bytes(32)

    def make(self, address: tuple[str, int], hello: bytes) -> bytes:
        """Return the cookie for an address and what `hello_values` says of a ClientHello from there."""
        return self._make(address, hello, self._stretch())

    def check(self, address: tuple[str, int], hello: bytes, cookie: bytes) -> bool:
        """Return whether a cookie has been made for an address and a ClientHello, and not too long ago."""
        now = self._stretch()
        return any(hmac.compare_digest(cookie, self._make(address, hello, when)) for when in (now, now - 1))

    def _stretch(self) -> int:
        return int(self._seconds() // LIFETIME)

    def _make(self, address: tuple[str, int], hello: bytes, stretch: int) -> bytes:
        host, port = address
        return hmac.digest(self._secret, f"{stretch} {port} {host} ".encode() + hello, "sha256")[:SIZE]
