"""Stateless resets (RFC 9000 section 10.3): how a server says of a connection that it knows nothing of it.

A server that was killed and started again drops what comes for the connections that it had. Its peers would
wait until they time out, if there were not the tokens that it has given them, one for each connection ID:
whoever sends one must have been that server. So it must come to the same tokens, though it remembers nothing.

They are derived from the private key of its certificate, the one secret that outlives it if it is kept in a
file, and from where the server is: no two servers may have the same tokens, or else one could be made to end
another's connections (RFC 9000 section 21.11).
"""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

TOKEN_SIZE: Final = 16
MOST: Final = 400
"""Resets that may be sent at once."""
RATE: Final = 40.0
"""How many more for each second that passes."""
SMALLEST: Final = 21
"""Bytes in the smallest reset: fewer have no short header."""
_LARGEST: Final = 42
"""Bytes in the largest: as many as the smallest packet that shows nobody else that it is a reset."""
_SHORT: Final = 0x40
_CHOSEN: Final = 0x3F
"""The first two bits of a short header, and those that may be any."""
_LABEL: Final = b"netecho QUIC stateless reset"


class Resets:
    """The tokens of a server's connection IDs, and the resets that carry them.

    Args:
        private_key: of the server's certificate, as `cryptography` has it.
        address: where the server listens.
        seconds: tells the time, in seconds.
    """

    def __init__(self, private_key: Any, address: str, seconds: Callable[[], float]) -> None:
        secret = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        place = f"{socket.gethostname()} {address}".encode()
        self._key = HKDF(SHA256(), 32, None, b" ".join((_LABEL, place))).derive(secret)
        self._seconds = seconds
        self._seen = seconds()
        self._left = float(MOST)

    def token(self, connection_id: bytes) -> bytes:
        """Return the token that belongs to a connection ID."""
        return hmac.digest(self._key, connection_id, "sha256")[:TOKEN_SIZE]

    def answer(self, connection_id: bytes, size: int) -> bytes | None:
        """Return the answer to a packet of an unknown connection, which is smaller than the packet.

        So no two ends that answer each other go on for ever.

        Args:
            connection_id: whom the packet is for.
            size: its bytes.

        Returns:
            `None`: the packet is too small to be answered, or there have been too many of late.
        """
        size = min(size - 1, _LARGEST)
        if size < SMALLEST or not self._may_answer():
            return None
        first, *rest = os.urandom(size - TOKEN_SIZE)
        return bytes([_SHORT | first & _CHOSEN, *rest]) + self.token(connection_id)

    def _may_answer(self) -> bool:
        now = self._seconds()
        self._left = min(MOST, self._left + (now - self._seen) * RATE)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
