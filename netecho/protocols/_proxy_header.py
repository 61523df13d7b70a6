"""The header of HAProxy's PROXY protocol, which says where a connection comes from; pure, like its source.

The specification is `doc/proxy-protocol.txt` of HAProxy. What the fields mean is for Twisted's parsers to
say (`twisted.protocols.haproxy`). Where a header ends is said here: theirs refuse one that comes in pieces,
take a first version of any length and whatever stands for its addresses, and know no TLVs.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import struct
from typing import Any, Final

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from zope.interface import implementer

from netecho.plans import ProxyPlan
from netecho.protocols._addresses import address_text

V1_MOST: Final = 107
"""Bytes of a header of version 1, with its line's end."""
V2_HEAD: Final = 16
"""Bytes of one of version 2 that say how many follow: 65,535 at most."""
SHOWN_TLVS: Final = 16
SHOWN_BYTES: Final = 256
"""How many TLVs that have no name here are shown, and how much of the value of any."""

_PORT: Final = rb"(?:0|[1-9][0-9]{0,4})"
_V1: Final = re.compile(
    rb"PROXY (?:(UNKNOWN)(?: [^\r\n]*)?|(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (%b) (%b))"
    % (_PORT, _PORT)
)
_FAMILIES: Final = {0: ("UNKNOWN", 0), 1: ("%s4", 12), 2: ("%s6", 36), 3: ("UNIX", 216)}
"""What an address family is called, and the bytes of its addresses."""
_TLV: Final = struct.Struct("!BH")
_ALPN, _AUTHORITY, _CRC32C, _NOOP, _UNIQUE_ID, _SSL, _NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
_TEXTS: Final = {_ALPN: "alpn", _AUTHORITY: "authority", _UNIQUE_ID: "unique_id", _NETNS: "netns"}
_SSL_HEAD: Final = struct.Struct("!BI")
_SSL_TEXTS: Final = {0x21: "version", 0x22: "cn", 0x23: "cipher", 0x24: "sig_alg", 0x25: "key_alg"}
_BY_TLS, _CERTIFICATE = 0x01, 0x02


class ProxyHeaderError(Exception):
    """What a connection begins with is no PROXY header; says why."""


@implementer(IAddress)
@dataclasses.dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy says of a connection. As an `IAddress`, it is what a factory builds a protocol for."""

    version: int
    command: str
    """`PROXY`, or `LOCAL`: the connection is the proxy's own, to look whether we are there."""
    family: str = "UNKNOWN"
    """`TCP4`, `TCP6`, `UDP4`, `UDP6`, `UNIX`; of `UNKNOWN` there are no addresses."""
    source: Any = None
    """The client's address, of Twisted's; `None`: it is the proxy's, if anybody's."""
    destination: Any = None
    """The address that the client has connected to."""
    tlvs: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What else is said, by its name, ready for JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return all that it says."""
        return {
            "version": self.version,
            "command": self.command,
            "family": self.family,
            "source": None if self.source is None else address_text(self.source),
            "destination": None if self.destination is None else address_text(self.destination),
            "tlvs": self.tlvs,
        }


class HeaderReader:
    """Takes what a connection begins with, in whatever pieces it comes, until its header is whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> tuple[ProxyHeader, bytes] | None:
        """Take some; return the header and what came after it, once there is one.

        Raises:
            ProxyHeaderError: there is none.
        """
        self._data += data
        begun = bytes(self._data[:V2_HEAD])
        try:
            if V2Parser.PREFIX.startswith(begun[:12]):
                return self._second(begun)
            if b"PROXY ".startswith(begun[:6]):
                return self._first()
        except InvalidProxyHeader as error:
            raise ProxyHeaderError(_words(error)) from error
        raise ProxyHeaderError("it does not begin with a PROXY header")

    def _first(self) -> tuple[ProxyHeader, bytes] | None:
        end = self._data.find(b"\r\n", 0, V1_MOST)
        if end < 0:
            if len(self._data) >= V1_MOST:
                raise ProxyHeaderError(f"a PROXY header of version 1 has at most {V1_MOST} bytes")
            return None
        return first_version(bytes(self._data[:end])), bytes(self._data[end + 2 :])

    def _second(self, begun: bytes) -> tuple[ProxyHeader, bytes] | None:
        if len(begun) < V2_HEAD:
            return None
        size = V2_HEAD + int.from_bytes(begun[14:], "big")
        if len(self._data) < size:
            return None
        return second_version(bytes(self._data[:size])), bytes(self._data[size:])


def first_version(line: bytes) -> ProxyHeader:
    """Return what a header of version 1 says, without its line's end.

    Raises:
        ProxyHeaderError: it is none.
    """
    found = _V1.fullmatch(line)
    if found is None:
        raise ProxyHeaderError("the PROXY header is malformed")
    if found[1]:
        return ProxyHeader(1, "PROXY")
    family = found[2].decode()
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        for address in found.group(3, 4):
            kind(address.decode())
    except ValueError as error:
        raise ProxyHeaderError(f"the PROXY header has {error}") from None
    if any(int(port) > 65535 for port in found.group(5, 6)):
        raise ProxyHeaderError("the PROXY header has a port that is none")
    info = V1Parser.parse(line)
    return ProxyHeader(1, "PROXY", family, _compressed(info.source), _compressed(info.destination))


def second_version(data: bytes) -> ProxyHeader:
    """Return what a header of version 2 says, all of it.

    Raises:
        ProxyHeaderError: it is none.
        InvalidProxyHeader: likewise.
    """
    info = V2Parser.parse(data)
    if not data[12] & 0x0F:
        return ProxyHeader(2, "LOCAL")
    if info.source is None:
        return ProxyHeader(2, "PROXY")
    family, size = _FAMILIES[data[13] >> 4]
    tlvs = _tlvs(data, V2_HEAD + size)
    if data[13] >> 4 < 3:
        family %= "TCP" if data[13] & 0x0F == 1 else "UDP"
    return ProxyHeader(2, "PROXY", family, _compressed(info.source), _compressed(info.destination), tlvs)


def _compressed(address: Any) -> Any:
    """Return an address as people write it: Twisted's parser leaves the zeros in that of IPv6."""
    if isinstance(address, IPv6Address):
        plain = ipaddress.IPv6Address(address.host)
        host = f"::ffff:{plain.ipv4_mapped}" if plain.ipv4_mapped else str(plain)
        return IPv6Address(address.type, host, address.port)
    return address


def _words(error: InvalidProxyHeader) -> str:
    """Return what is wrong with a header, of which Twisted's errors say what kind of thing it is."""
    kinds = {
        "InvalidNetworkProtocol": "the PROXY header has an unknown address family",
        "MissingAddressData": "the PROXY header ends in the middle of its addresses",
    }
    return kinds.get(type(error).__name__, "the PROXY header is malformed")


# TLVs: type, length, value.


def _parts(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return type, beginning and value of each TLV."""
    parts, start = [], 0
    while start < len(data):
        if start + _TLV.size > len(data):
            raise ProxyHeaderError("the PROXY header ends in the middle of a TLV")
        kind, size = _TLV.unpack_from(data, start)
        start += _TLV.size
        if start + size > len(data):
            raise ProxyHeaderError("the PROXY header ends in the middle of a TLV")
        parts.append((kind, start, data[start : start + size]))
        start += size
    return parts


def _tlvs(header: bytes, start: int) -> dict[str, Any]:
    """Return the TLVs of a header, which begin at `start`, by their names."""
    named: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    for kind, at, value in _parts(header[start:]):
        if kind in _TEXTS:
            named[_TEXTS[kind]] = _text(value)
        elif kind == _SSL:
            named["ssl"] = _ssl(value)
        elif kind == _CRC32C:
            if "crc32c" in named:  # thousands that are right can be made, and each takes a look at all
                raise ProxyHeaderError("the PROXY header has two checksums")
            blank = bytearray(header)
            blank[start + at : start + at + len(value)] = bytes(len(value))
            if value != crc32c(bytes(blank)).to_bytes(4, "big"):
                raise ProxyHeaderError("the PROXY header was damaged: its CRC-32C is another")
            named["crc32c"] = value.hex()
        elif kind != _NOOP and len(others) < SHOWN_TLVS:
            others.append({"type": f"0x{kind:02x}", "value": value[:SHOWN_BYTES].hex()})
    return {**named, "others": others} if others else named


def _ssl(value: bytes) -> dict[str, Any]:
    """Return what is said of the client's TLS."""
    if len(value) < _SSL_HEAD.size:
        raise ProxyHeaderError("the PROXY header ends in the middle of a TLV")
    client, verify = _SSL_HEAD.unpack_from(value)
    found: dict[str, Any] = {
        "tls": bool(client & _BY_TLS),
        "client_certificate": bool(client & _CERTIFICATE),
        "verified": bool(client & _CERTIFICATE) and verify == 0,
    }
    for kind, _, part in _parts(value[_SSL_HEAD.size :]):
        if kind in _SSL_TEXTS:
            found[_SSL_TEXTS[kind]] = _text(part)
    return found


def _text(value: bytes) -> str:
    """Return what is text as such, and other bytes in hexadecimal."""
    value = value[:SHOWN_BYTES]
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C_TABLE: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes (RFC 9260 appendix A); Python's own are of another polynomial."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


# What a client says.


def header_for(plan: ProxyPlan, local: Any, peer: Any) -> bytes:
    """Return the header that a connection begins with.

    Of addresses of both families an IPv4 one is written as one of IPv6, as HAProxy does. Where the plan
    does not say from which address the connection is to come, it comes from where it does.

    Args:
        plan: what it says.
        local: our own address, of Twisted's.
        peer: the other end's.
    """
    if plan.host is None and isinstance(peer, UNIXAddress):
        return _unix_header(plan, local, peer)
    port = getattr(local, "port", 0) if plan.port is None else plan.port
    source = _ip(local.host if plan.host is None else plan.host)
    destination = None if isinstance(peer, UNIXAddress) else _ip(peer.host)
    if destination is None:  # nobody knows
        destination = type(source)(0)
    if source.version != destination.version:
        source, destination = _sixth(source), _sixth(destination)
    ports = port, getattr(peer, "port", 0)
    if plan.version == 1:
        return f"PROXY TCP{source.version} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()
    addresses = source.packed + destination.packed + struct.pack("!HH", *ports)
    return _packed(0x11 if source.version == 4 else 0x21, addresses)


def _unix_header(plan: ProxyPlan, local: Any, peer: Any) -> bytes:
    """Return the header for a connection through the file system, which version 1 has no word for."""
    if plan.version == 1:
        return b"PROXY UNKNOWN\r\n"
    return _packed(0x31, struct.pack("!108s108s", local.name or b"", peer.name or b""))


def _packed(family: int, addresses: bytes) -> bytes:
    return V2Parser.PREFIX + struct.pack("!BBH", 0x21, family, len(addresses)) + addresses


_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(host: str) -> _IP:
    return ipaddress.ip_address(host.partition("%")[0])


def _sixth(address: _IP) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(f"::ffff:{address}" if address.version == 4 else str(address))
