"""What DTLS records show from outside, and the cookies that are asked for."""

from __future__ import annotations

import pytest

from netecho.protocols._dtls_cookies import LIFETIME, SIZE, Cookies
from netecho.protocols._dtls_records import (
    HEADER,
    datagrams,
    hello_random,
    hello_values,
    is_of_handshake,
    is_single,
)

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


def test_what_is_of_a_handshake() -> None:
    """Messages of handshakes are, and alerts in clear; data is not, nor an alert of who has shaken hands."""
    assert is_of_handshake(record(8, 22, 0))
    assert is_of_handshake(record(8, 22, 1))
    assert is_of_handshake(record(1, 20, 0))
    assert is_of_handshake(record(2, 21, 0))
    assert not is_of_handshake(record(2, 21, 1))
    assert not is_of_handshake(record(8, 23, 1))
    assert not is_of_handshake(b"")


VALUES = [b"\xfe\xfd" + bytes(range(32)), b"\2id", b"\0\4\xc0\x2b\xc0\x2f", b"\1\0"]


def greeting(values: list[bytes], cookie: bytes, most: int = 1000) -> bytes:
    """Return a ClientHello with such values, or so much of it that a record has at most so many bytes."""
    version, session, suites, compression = values
    body = version + session + bytes([len(cookie)]) + cookie + suites + compression + b"\0\0"
    size = len(body).to_bytes(3, "big")
    contents = (b"\1" + size + bytes([0, len(cookie) > 0, 0, 0, 0]) + size + body)[:most]
    return record(len(contents), 22, 0)[:HEADER] + contents


def test_hello_values() -> None:
    """What a ClientHello says is the same with a cookie as without, but not if any other of it is changed."""
    same = hello_values(greeting(VALUES, b""))
    assert hello_values(greeting(VALUES, b"cookie")) == same == b"".join(VALUES)
    assert hello_values(greeting(VALUES, b"cookie") + b"another record") == same
    for place, value in enumerate(VALUES):
        changed = [*VALUES]
        changed[place] = value[:-1] + bytes([value[-1] ^ 1])
        assert hello_values(greeting(changed, b"cookie")) != same


@pytest.mark.parametrize("most", range(12, 70))
def test_hello_values_in_part(most: int) -> None:
    """Of a ClientHello that is longer than its record, whatever is behind that, they are what is in it."""
    told = hello_values(greeting(VALUES, b"cookie", most) + b"another record")
    assert b"".join(VALUES).startswith(told)


def test_cookies() -> None:
    """A cookie is good for its address and ClientHello, until it is too old, and for nobody else's server."""
    now = 1000.5 * LIFETIME
    cookies = Cookies(lambda: now)
    cookie = cookies.make(HERE, b"hello")
    assert len(cookie) == SIZE
    assert cookies.check(HERE, b"hello", cookie)
    assert not cookies.check((HERE[0], 5001), b"hello", cookie)
    assert not cookies.check(("192.0.2.2", 5000), b"hello", cookie)
    assert not cookies.check(HERE, b"hullo", cookie)
    assert not cookies.check(HERE, b"hello", cookie[:-1])
    assert not cookies.check(HERE, b"hello", b"")
    assert not Cookies(lambda: now).check(HERE, b"hello", cookie)
    now += LIFETIME
    assert cookies.check(HERE, b"hello", cookie)
    assert cookies.make(HERE, b"hello") != cookie
    now += LIFETIME
    assert not cookies.check(HERE, b"hello", cookie)
