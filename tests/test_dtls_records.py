"""What DTLS records show from outside, and the cookies that are asked for."""

from __future__ import annotations

import pytest

from netecho.protocols._dtls_cookies import LIFETIME, SIZE, Cookies
from netecho.protocols._dtls_records import HEADER, datagrams, hello_random, is_single

HERE = ("192.0.2.1", 5000)


def record(size: int, kind: int = 23, epoch: int = 1) -> bytes:
    """Return a record with so many bytes in it."""
    return bytes([kind, 254, 253, 0, epoch, *bytes(6), *size.to_bytes(2, "big")]) + bytes(size)


def hello(random: bytes, *, kind: int = 22, epoch: int = 0, message: int = 1) -> bytes:
    """Return what begins as a ClientHello does."""
    contents = bytes([message, *bytes(11), 254, 253]) + random + bytes(8)
    return record(len(contents), kind, epoch)[:HEADER] + contents


@pytest.mark.parametrize(
    ("datagram", "single"),
    [
        (b"", False),
        (record(0), True),
        (record(300), True),
        (record(300) + b"x", False),
        (record(300)[:-1], False),
        (record(5) + record(5), False),
    ],
)
def test_single(datagram: bytes, single: bool) -> None:
    """A datagram is one record if that ends where the datagram does."""
    assert is_single(datagram) is single


@pytest.mark.parametrize(
    ("sizes", "most", "pieces"),
    [
        ([], 100, []),
        ([10], 100, [[10]]),
        ([10], 5, [[10]]),
        ([30, 30, 30], 100, [[30, 30], [30]]),
        ([30, 30, 30], 86, [[30, 30], [30]]),
        ([30, 30, 30], 85, [[30], [30], [30]]),
        ([300, 30, 30], 100, [[300], [30, 30]]),
    ],
)
def test_datagrams(sizes: list[int], most: int, pieces: list[list[int]]) -> None:
    """Records are put together as long as they fit, and none is cut."""
    row = b"".join(record(size) for size in sizes)
    assert list(datagrams(row, most)) == [b"".join(record(size) for size in one) for one in pieces]


def test_what_is_no_record_stays_whole() -> None:
    """Bytes that end in the middle of a record are not lost."""
    row = record(3) + record(50)[:20]
    assert b"".join(datagrams(row, 10)) == row


def test_hello_random() -> None:
    """A ClientHello in clear is told from others by its random, and from all else."""
    random = bytes(range(32))
    assert hello_random(hello(random)) == random
    assert hello_random(hello(random)[: HEADER + 12 + 2 + 31]) is None
    assert hello_random(hello(random, kind=23)) is None
    assert hello_random(hello(random, epoch=1)) is None
    assert hello_random(hello(random, message=3)) is None


def test_cookies() -> None:
    """A cookie is good for its address, until it is too old, and for no other and nobody else's server."""
    now = 1000.5 * LIFETIME
    cookies = Cookies(lambda: now)
    cookie = cookies.make(HERE)
    assert len(cookie) == SIZE
    assert cookies.check(HERE, cookie)
    assert not cookies.check((HERE[0], 5001), cookie)
    assert not cookies.check(("192.0.2.2", 5000), cookie)
    assert not cookies.check(HERE, cookie[:-1])
    assert not cookies.check(HERE, b"")
    assert not Cookies(lambda: now).check(HERE, cookie)
    now += LIFETIME
    assert cookies.check(HERE, cookie)
    assert cookies.make(HERE) != cookie
    now += LIFETIME
    assert not cookies.check(HERE, cookie)
