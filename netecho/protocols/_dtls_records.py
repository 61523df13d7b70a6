"""What DTLS records show from outside (RFC 6347 section 4.1): where one ends, and which begins a handshake.

OpenSSL writes into memory here, where the limits of datagrams are lost; what it wrote is a row of records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

HEADER: Final = 13
"""Bytes before a record's contents: type, version, epoch, sequence number and, in two, their length."""
_EPOCH: Final = slice(3, 5)
_IN_CLEAR: Final = b"\0\0"
"""The epoch of records before a handshake has agreed on keys."""
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RANDOM: Final = slice(HEADER + 12 + 2, HEADER + 12 + 2 + 32)
"""The random of a ClientHello, behind the header of its message and the version (section 4.3.2)."""


def is_single(datagram: bytes) -> bool:
    """Return whether a datagram is one record and nothing else."""
    size = len(datagram)
    return size >= HEADER and size == HEADER + (datagram[11] << 8 | datagram[12])


def hello_random(datagram: bytes) -> bytes | None:
    """Return by what a ClientHello that begins a handshake is told from others; `None` if it is none.

    It is the same when it is sent again, be it with the cookie that was asked for.
    """
    if len(datagram) < _RANDOM.stop or datagram[0] != _HANDSHAKE or datagram[_EPOCH] != _IN_CLEAR:
        return None
    return datagram[_RANDOM] if datagram[HEADER] == _CLIENT_HELLO else None


def datagrams(records: bytes, most: int) -> Iterator[bytes]:
    """Divide a row of records into datagrams.

    Args:
        records: as OpenSSL has written them.
        most: bytes in a datagram, unless a single record is longer.
    """
    begin = end = 0
    while len(records) - end >= HEADER:
        after = end + HEADER + (records[end + 11] << 8 | records[end + 12])
        if after - begin > most and end > begin:
            yield records[begin:end]
            begin = end
        end = after
    if begin < len(records):
        yield records[begin:]
