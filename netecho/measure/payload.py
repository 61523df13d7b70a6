"""What is sent in an exchange: bytes that say which exchange they belong to and that nothing changed.

A payload begins with its sequence number, as much of it as fits in 32 bits and the payload's size, and
from `HEADER.size` bytes on with a check of that number, keyed by the run: an echo that comes out of
order is recognised, and one whose number was damaged is not mistaken for another. The rest is the same
for the whole run and looks random, so that it does not compress.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import Final

PERIOD: Final = 256
"""Payloads after which they may repeat, where order alone says which exchange an echo belongs to."""
_PERIOD_SIZE: Final = 4096
"""Bytes of the largest payloads that do repeat: making larger ones costs little beside sending them."""
HEADER: Final = struct.Struct("<II")
"""Sequence number, and CRC-32 of it under the run's key; little-endian, so that short payloads differ."""
NUMBER_SIZE: Final = 4
"""Bytes of that number, where there is room for all of it."""
_LINE: Final = 78
"""Bytes in a line of text, with its end."""
_END: Final = b"\r\n"


class Payload:
    """Makes and recognises the payloads of one run.

    Args:
        size: bytes in each.
        key: distinguishes this run's payloads from any other's, 32 bits.
        message: when given, every payload is this, and none can be told from another.
        repeating: whether those of up to 4 KiB may be the same again after `PERIOD` others, and are
            made once. `sequence_of` is for those that do not.
        text: whether they are lines of letters and digits, each with CR LF at its end, as far as the size
            allows. `sequence_of` is not for these either.
    """

    __slots__ = ("_key", "_number_size", "_tail", "_text", "made", "message", "size")

    def __init__(
        self,
        size: int,
        key: int,
        message: bytes | None = None,
        *,
        repeating: bool = False,
        text: bool = False,
    ) -> None:
        self.size = size if message is None else len(message)
        self._key = key
        self.message = message
        self._text = text
        self._number_size = 0 if message is not None or text else min(self.size, NUMBER_SIZE)
        # A plain generator suffices: the bytes are to be told apart, not to be unguessable.
        chosen = random.Random(key)  # noqa: S311
        self._tail = _lines(chosen, size) if text else chosen.randbytes(max(0, size - HEADER.size))
        self.made: tuple[bytes, ...] = ()
        """The payloads that repeat, one for each number modulo `PERIOD`; empty if they do not."""
        if repeating and message is None and self.size <= _PERIOD_SIZE:
            self.made = tuple(self._make(number) for number in range(PERIOD))

    @property
    def numbered(self) -> bool:
        """Whether a payload says, as far as its size allows, which exchange it belongs to."""
        return self._number_size > 0

    def make(self, sequence: int) -> bytes:
        """Return what exchange `sequence` sends."""
        made = self.made
        return made[sequence % PERIOD] if made else self._make(sequence)

    def _make(self, sequence: int) -> bytes:
        if self.message is not None:
            return self.message
        number = sequence & 0xFFFFFFFF
        header = HEADER.pack(number, zlib.crc32(number.to_bytes(NUMBER_SIZE, "little"), self._key))
        if self._text:
            head = header.hex().encode("ascii")[: self.size - 2 if self.size > 1 else self.size]
            return head + self._tail[len(head) :]
        return header + self._tail if self.size >= HEADER.size else header[: self.size]

    def sequence_of(self, payload: bytes, newest: int) -> int | None:
        """Return the number of the exchange that `payload` says it belongs to.

        Of the numbers that agree with it in the bits it carries, that is the one nearest below
        `newest`, the last one sent. `None`: it carries no number, or not one of this run.
        """
        size = self._number_size
        if size == 0 or len(payload) < size:
            return None
        if self.size >= HEADER.size:
            if len(payload) < HEADER.size:
                return None
            number, check = HEADER.unpack_from(payload)
            if check != zlib.crc32(payload[:NUMBER_SIZE], self._key):
                return None
        else:
            number = int.from_bytes(payload[:size], "little")
        sequence = newest - (newest - number) % (1 << 8 * size)
        return sequence if sequence >= 0 else None

    def intact(self, sequence: int, payload: bytes) -> bool:
        """Return whether `payload` is what exchange `sequence` sent, every byte of it."""
        return payload == self.make(sequence)


def _lines(chosen: random.Random, size: int) -> bytes:
    """Return `size` bytes of text: lines of up to 76 letters and digits, each with CR LF at its end.

    A single byte has no room for that.
    """
    letters = chosen.randbytes(size).hex().encode("ascii")
    if size < len(_END):
        return letters[:size]
    pieces: list[bytes] = []
    left = size
    while left:
        length = min(left, _LINE)
        if 0 < left - length <= len(_END):  # which would leave no room for another line with anything in it
            length -= len(_END)
        pieces += letters[left : left + length - len(_END)], _END
        left -= length
    return b"".join(pieces)
