"""What DTLS records show without their keys (RFC 6347 section 4.1): where one ends, which begins a handshake.

OpenSSL writes into memory here, where the limits between datagrams are lost: what it wrote is a row of
records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

HEADER: Final = 13
"""Bytes before a record's contents: type, version, epoch, sequence number and, in the last two, the
length."""
_EPOCH: Final = slice(3, 5)
_IN_CLEAR: Final = b"\0\0"
"""The epoch of records before a handshake has agreed on keys."""
_CHANGE_CIPHER_SPEC: Final = 20
_HANDSHAKE: Final = 22
_OF_HANDSHAKES: Final = frozenset([_CHANGE_CIPHER_SPEC, _HANDSHAKE])
_CLIENT_HELLO: Final = 1
_BODY: Final = HEADER + 12
"""Where a ClientHello's body begins, with the version, behind its message's header (section 4.3.2)."""
_RANDOM: Final = slice(_BODY + 2, _BODY + 2 + 32)


def is_single(datagram: bytes) -> bool:
    """Return whether a datagram is one record and nothing else."""
    size = len(datagram)
    return size >= HEADER and size == HEADER + (datagram[11] << 8 | datagram[12])


def is_of_handshake(datagram: bytes) -> bool:
    """Return whether a datagram begins with what a handshake is made of, or with an alert about one."""
    return bool(datagram) and (datagram[0] in _OF_HANDSHAKES or datagram[_EPOCH] == _IN_CLEAR)


def hello_random(datagram: bytes) -> bytes | None:
    """Return the random of a ClientHello that begins a handshake; `None` if the datagram is none.

    It tells one handshake from another: a ClientHello that is repeated has the same, with a cookie or
    without.
    """
    if len(datagram) < _RANDOM.stop or datagram[0] != _HANDSHAKE or datagram[_EPOCH] != _IN_CLEAR:
        return None
    return datagram[_RANDOM] if datagram[HEADER] == _CLIENT_HELLO else None


def hello_values(datagram: bytes) -> bytes:
    """Return the values that must be the same in a ClientHello that brings a cookie (section 4.2.1), joined.

    These are version, random, session_id, cipher_suites and compression_methods, as far as its first record
    has them.
    """
    hello = datagram[_BODY : HEADER + int.from_bytes(datagram[11:HEADER])]
    cookie = _after(hello, 2 + 32, 1)
    suites = _after(hello, cookie, 1)
    return hello[:cookie] + hello[suites : _after(hello, _after(hello, suites, 2), 1)]


def _after(hello: bytes, start: int, size: int) -> int:
    """Return where the vector ends that begins at `start` with its length in `size` bytes."""
    return start + size + int.from_bytes(hello[start : start + size])


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
