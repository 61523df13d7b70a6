"""PROXY headers: what is one, what it says, and what a client says in its own."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from netecho.plans import ProxyPlan
from netecho.protocols._proxy_header import (
    SHOWN_BYTES,
    SHOWN_TLVS,
    V1_MOST,
    HeaderReader,
    ProxyHeader,
    ProxyHeaderError,
    crc32c,
    header_for,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 4711, 443)
SIX = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002") + FOUR[8:]


def second(command: int, family: int, body: bytes = b"") -> bytes:
    """Return a header of version 2."""
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    """Return a TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def read(data: bytes) -> tuple[ProxyHeader, bytes] | None:
    """Read a header that comes whole."""
    return HeaderReader().feed(data)


def told(data: bytes) -> dict[str, Any]:
    """Return what a header says, which must be all that there is."""
    found = read(data)
    assert found is not None
    assert found[1] == b""
    return found[0].to_json()


def said(
    version: int, family: str, source: str | None, destination: str | None, **more: Any
) -> dict[str, Any]:
    """Return what is to be told of a header."""
    usual = {"version": version, "command": "PROXY", "family": family, "source": source, "tlvs": {}}
    return {**usual, "destination": destination, **more}


GOOD = [
    (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        said(1, "TCP4", "192.0.2.1:4711", "198.51.100.2:443"),
    ),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 65535\r\n", said(1, "TCP4", "0.0.0.0:0", "0.0.0.0:65535")),
    (b"PROXY TCP6 2001:DB8:0:0::1 ::1 1 2\r\n", said(1, "TCP6", "[2001:db8::1]:1", "[::1]:2")),
    (b"PROXY TCP6 ::ffff:7f00:1 ::1 1 2\r\n", said(1, "TCP6", "[::ffff:127.0.0.1]:1", "[::1]:2")),
    (b"PROXY UNKNOWN\r\n", said(1, "UNKNOWN", None, None)),
    (b"PROXY UNKNOWN ffff::1 whatever \xff\r\n", said(1, "UNKNOWN", None, None)),
    (second(0x21, 0x11, FOUR), said(2, "TCP4", "192.0.2.1:4711", "198.51.100.2:443")),
    (second(0x21, 0x12, FOUR), said(2, "UDP4", "192.0.2.1:4711", "198.51.100.2:443")),
    (second(0x21, 0x21, SIX), said(2, "TCP6", "[2001:db8::1]:4711", "[2001:db8::2]:443")),
    (second(0x21, 0x31, struct.pack("108s108s", b"/a", b"/b")), said(2, "UNIX", "/a", "/b")),
    (second(0x21, 0x00), said(2, "UNKNOWN", None, None)),
    (second(0x21, 0x00, b"anything"), said(2, "UNKNOWN", None, None)),
    (second(0x20, 0x00), said(2, "UNKNOWN", None, None, command="LOCAL")),
    (second(0x20, 0x11, FOUR), said(2, "UNKNOWN", None, None, command="LOCAL")),
    (second(0x21, 0x11, FOUR + tlv(4, bytes(65_520))), said(2, "TCP4", "192.0.2.1:4711", "198.51.100.2:443")),
]


@pytest.mark.parametrize(("data", "expected"), GOOD, ids=lambda value: ascii(value)[:50])
def test_good(data: bytes, expected: dict[str, Any]) -> None:
    """A header is read, of either version, of any length that it can have."""
    assert told(data) == expected


@pytest.mark.parametrize("data", [data for data, _ in GOOD[:-1]], ids=lambda value: ascii(value)[:50])
def test_pieces(data: bytes) -> None:
    """It may come in any pieces, and with what follows it; no more is taken than it has."""
    whole = read(data)
    assert whole is not None
    reader = HeaderReader()
    for number in range(len(data) - 1):
        assert reader.feed(data[number : number + 1]) is None
    assert reader.feed(data[-1:] + b"PROXY \r\n") == (whole[0], b"PROXY \r\n")


BAD = {
    b"GET / HTTP/1.1\r\n": "does not begin with",
    b"\x16\x03\x01\x02\x00": "does not begin with",
    b"PROXZ": "does not begin with",
    b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n": "does not begin with",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n": "malformed",
    b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n": "port that is none",
    b"PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n": "Octet 256",
    b"PROXY TCP4 ::1 ::2 1 2\r\n": "Expected 4 octets",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n": "At least 3 parts",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n": "malformed",
    b"PROXY \r\n": "malformed",
    b"PROXY UNKNOWN" + b"x" * 92 + b"\r\n": "malformed",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n": "at most 107 bytes",
    b"PROXY " + b"x" * 101: "at most 107 bytes",
    b"\r\n\r\n\0\r\nQUIT\r": "does not begin with",
    second(0x11, 0x11, FOUR): "malformed",
    second(0x22, 0x11, FOUR): "malformed",
    second(0x21, 0x41, FOUR): "unknown address family",
    second(0x21, 0x13, FOUR): "unknown address family",
    second(0x21, 0x11, FOUR[:11]): "middle of its addresses",
    second(0x21, 0x21, FOUR): "middle of its addresses",
    second(0x21, 0x31, FOUR): "middle of its addresses",
    second(0x21, 0x11, FOUR + b"\x01\x00"): "middle of a TLV",
    second(0x21, 0x11, FOUR + b"\x01\x00\x05abcd"): "middle of a TLV",
    second(0x21, 0x11, FOUR + tlv(0x20, b"\x01")): "middle of a TLV",
    second(0x21, 0x11, FOUR + tlv(0x20, b"\x01\0\0\0\0\x21\0")): "middle of a TLV",
    second(0x21, 0x11, FOUR + tlv(0x03, bytes(4))): "damaged",
    second(0x21, 0x11, FOUR + tlv(0x03, b"")): "damaged",
}


def feed_slowly(data: bytes) -> None:
    """Read what is no header, byte by byte."""
    reader = HeaderReader()
    for number in range(len(data)):
        assert reader.feed(data[number : number + 1]) is None


@pytest.mark.parametrize(("data", "reason"), BAD.items(), ids=lambda value: ascii(value)[:60])
def test_bad(data: bytes, reason: str) -> None:
    """What is none is refused with the reason, whether it comes whole or byte by byte."""
    with pytest.raises(ProxyHeaderError, match=reason):
        read(data)
    with pytest.raises(ProxyHeaderError, match=reason):
        feed_slowly(data)


def test_longest_first_version() -> None:
    """Of version 1 the longest is one of 107 bytes."""
    address = "ffff:" * 7 + "ffff"
    line = f"PROXY UNKNOWN {address} {address} 65535 65535\r\n".encode()
    assert len(line) == V1_MOST
    assert told(line) == said(1, "UNKNOWN", None, None)


def test_tlvs() -> None:
    """What else a proxy says is told by its name, if it has one here; the checksum is that of all."""
    ssl = (
        tlv(0x21, b"TLSv1.3")
        + tlv(0x22, "Zoë".encode())
        + tlv(0x23, b"TLS_AES_128_GCM_SHA256")
        + tlv(0x7F, b"")
    )
    body = FOUR + tlv(0x01, b"h2") + tlv(0x02, b"example.org") + tlv(0x05, b"\xff\0") + tlv(0x30, b"blue")
    body += tlv(0x20, struct.pack("!BI", 0x03, 0) + ssl) + tlv(0x04, bytes(9)) + tlv(0xEA, b"\x01vpce")
    blank = second(0x21, 0x11, body + tlv(0x03, bytes(4)))
    checksum = crc32c(blank).to_bytes(4, "big")
    tlvs = told(blank[:-4] + checksum)["tlvs"]
    assert tlvs == {
        "alpn": "h2",
        "authority": "example.org",
        "unique_id": "ff00",
        "netns": "blue",
        "ssl": {
            "tls": True,
            "client_certificate": True,
            "verified": True,
            "version": "TLSv1.3",
            "cn": "Zoë",
            "cipher": "TLS_AES_128_GCM_SHA256",
        },
        "crc32c": checksum.hex(),
        "others": [{"type": "0xea", "value": b"\x01vpce".hex()}],
    }


@pytest.mark.parametrize(
    ("client", "verify", "certificate", "verified"),
    [(0x01, 0, False, False), (0x03, 1, True, False), (0x03, 0, True, True)],
)
def test_client_certificates(client: int, verify: int, certificate: bool, verified: bool) -> None:
    """A client without a certificate has none that was verified."""
    ssl = told(second(0x21, 0x11, FOUR + tlv(0x20, struct.pack("!BI", client, verify))))["tlvs"]["ssl"]
    assert ssl == {"tls": True, "client_certificate": certificate, "verified": verified}


def test_few_tlvs_are_shown() -> None:
    """What is shown of a header is bounded, whatever there is in it: an answer may repeat it often."""
    unknown = b"".join(tlv(0xE0, bytes(1000)) for _ in range(40))
    tlvs = told(second(0x21, 0x11, FOUR + unknown + tlv(0x02, b"x" * 20_000)))["tlvs"]
    assert [len(one["value"]) for one in tlvs["others"]] == [2 * SHOWN_BYTES] * SHOWN_TLVS
    assert tlvs["authority"] == "x" * SHOWN_BYTES


def test_one_checksum() -> None:
    """A header has one checksum: to look at each of many takes as long as the header is, every time."""
    blank = second(0x21, 0x11, FOUR + tlv(0x03, bytes(4)) + tlv(0x03, bytes(4)))
    right = crc32c(blank).to_bytes(4, "big")
    with pytest.raises(ProxyHeaderError, match="two checksums"):
        read(blank[:-11] + right + blank[-7:])


def test_crc32c() -> None:
    """The checksum is that of the examples in RFC 3720 appendix B.4, read as a number."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=300), st.sampled_from([b"", SIGNATURE, b"PROXY TCP4 ", second(0x21, 0x11, FOUR)]))
def test_anything(data: bytes, begin: bytes) -> None:
    """Whatever comes is a header, the beginning of one, or none; nothing else happens."""
    try:
        found = read(begin + data)
    except ProxyHeaderError:
        return
    assert found is None or (begin + data).endswith(found[1])


LOCAL, PEER = IPv4Address("TCP", "127.0.0.1", 5000), IPv4Address("TCP", "127.0.0.2", 80)
LOCAL6, PEER6 = IPv6Address("TCP", "fe80::1%eth0", 5000), IPv6Address("TCP", "fe80::2%eth0", 80)
PATHS = UNIXAddress(None), UNIXAddress(b"/run/echo")


@pytest.mark.parametrize(
    ("host", "port", "ends", "family", "source", "destination"),
    [
        (None, None, (LOCAL, PEER), "TCP4", "127.0.0.1:5000", "127.0.0.2:80"),
        ("192.0.2.1", None, (LOCAL, PEER), "TCP4", "192.0.2.1:5000", "127.0.0.2:80"),
        ("192.0.2.1", 7, (LOCAL, PEER), "TCP4", "192.0.2.1:7", "127.0.0.2:80"),
        ("2001:db8::1", 7, (LOCAL, PEER), "TCP6", "[2001:db8::1]:7", "[::ffff:127.0.0.2]:80"),
        (None, None, (LOCAL6, PEER6), "TCP6", "[fe80::1]:5000", "[fe80::2]:80"),
        ("192.0.2.1", None, (LOCAL6, PEER6), "TCP6", "[::ffff:192.0.2.1]:5000", "[fe80::2]:80"),
        ("192.0.2.1", None, PATHS, "TCP4", "192.0.2.1:0", "0.0.0.0:0"),
        ("2001:db8::1", 9, PATHS, "TCP6", "[2001:db8::1]:9", "[::]:0"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_sent(
    version: int, host: str | None, port: int | None, ends: Any, family: str, source: str, destination: str
) -> None:
    """What a client says is read as what it was told to say; the rest is its own connection's."""
    data = header_for(ProxyPlan(version, host, port), *ends)
    assert told(data) == said(version, family, source, destination)


def test_sent_through_the_file_system() -> None:
    """A path has a form in version 2 alone."""
    assert told(header_for(ProxyPlan(2), *PATHS)) == said(2, "UNIX", "unix", "/run/echo")
    assert header_for(ProxyPlan(1), *PATHS) == b"PROXY UNKNOWN\r\n"
