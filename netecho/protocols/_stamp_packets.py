"""STAMP's test packets (RFC 8762 sections 4.2 to 4.4): from bytes to fields, and back.

With a key a packet is in authenticated mode: laid out in blocks of 16 octets, with an HMAC at its end. What
must be zero is sent so and ignored on receipt. A packet may be longer than its base: a Session-Reflector
copies the rest into its answer, so that both are of one size, and the HMAC does not cover it. In the rest
goes a payload, as the Extra Padding TLV of RFC 8972 section 4.1.

Unauthenticated packets may also be TWAMP Light's (RFC 5357), whose fields are in the same places, but
which end before the last three octets, that must be zero.
"""

from __future__ import annotations

import dataclasses
import hmac
import struct
from typing import Final

from netecho.protocols._timestamps import ErrorEstimate

BASE_SIZE: Final = 44
TWAMP_SIZE: Final = 41
"""Octets of the shortest unauthenticated packet that is symmetrical: the fields of an answer."""
AUTHENTICATED_SIZE: Final = 112
HMAC_SIZE: Final = 16
"""HMAC-SHA-256, truncated to 128 bits."""
_COVERED: Final = AUTHENTICATED_SIZE - HMAC_SIZE

_SENDER: Final = struct.Struct("!LQH")
_SENDER_BASE: Final = struct.Struct("!LQH30x")
_SENDER_AUTHENTICATED: Final = struct.Struct("!L12xQH70x")
_REFLECTOR: Final = struct.Struct("!LQH2xQLQH2xB")
_REFLECTOR_BASE: Final = struct.Struct("!LQH2xQLQH2xB3x")
_REFLECTOR_AUTHENTICATED: Final = struct.Struct("!L12xQH6xQ8xL12xQH6xB15x")
_TIMESTAMP: Final = struct.Struct("!Q")
_TLV: Final = struct.Struct("!BBH")
"""Flags, type, length of the value."""
_UNRECOGNISED: Final = 0x80
"""The flag that a Session-Sender sets, for a reflector that understands the TLV to clear."""
_EXTRA_PADDING: Final = 1
TLV_SIZE: Final = _TLV.size


class PacketError(ValueError):
    """A datagram is no STAMP packet; the message is the reason."""


TOO_SHORT: Final = "too short for STAMP"
NOT_AUTHENTIC: Final = "HMAC does not match"


@dataclasses.dataclass(frozen=True, slots=True)
class SenderPacket:
    """What a Session-Sender sends: figures 2 and 4."""

    sequence: int
    timestamp: int
    """64 bits, of the form that `error` says."""
    error: ErrorEstimate
    rest: bytes = b""
    """What follows the base packet."""

    def encode(self, key: bytes | None = None) -> bytes:
        """Return the octets; with a key, of authenticated mode."""
        fields = self.sequence, self.timestamp, self.error.encode()
        if key is None:
            return _SENDER_BASE.pack(*fields) + self.rest
        return _sealed(_SENDER_AUTHENTICATED.pack(*fields), key) + self.rest

    @classmethod
    def decode(cls, datagram: bytes, key: bytes | None = None) -> SenderPacket:
        """Return what the octets say.

        Raises:
            PacketError: they are too few, or the HMAC is not that of the key.
        """
        if key is None:
            if len(datagram) < TWAMP_SIZE:
                raise PacketError(TOO_SHORT)
            sequence, timestamp, error = _SENDER.unpack_from(datagram)
            rest = datagram[BASE_SIZE:]
        else:
            sequence, timestamp, error = _SENDER_AUTHENTICATED.unpack(_unsealed(datagram, key))
            rest = datagram[AUTHENTICATED_SIZE:]
        return cls(sequence, timestamp, ErrorEstimate.decode(error), rest)


@dataclasses.dataclass(frozen=True, slots=True)
class ReflectorPacket:
    """What a Session-Reflector answers: figures 5 and 6."""

    sequence: int
    """Its own count of answers if it is stateful, else that of the packet answered."""
    timestamp: int
    """When it left the reflector."""
    error: ErrorEstimate
    """Of both of the reflector's timestamps."""
    receive_timestamp: int
    """When the packet that it answers came to the reflector."""
    sender_sequence: int
    sender_timestamp: int
    sender_error: ErrorEstimate
    """These three are as they were in the packet that it answers."""
    sender_ttl: int
    """TTL or hop limit with which that packet came."""
    rest: bytes = b""
    """What follows the base packet: a copy of what followed that of the packet answered."""

    def encode(self, key: bytes | None = None) -> bytes:
        """Return the octets; with a key, of authenticated mode."""
        fields = (
            self.sequence,
            self.timestamp,
            self.error.encode(),
            self.receive_timestamp,
            self.sender_sequence,
            self.sender_timestamp,
            self.sender_error.encode(),
            self.sender_ttl,
        )
        if key is None:
            return _REFLECTOR_BASE.pack(*fields) + self.rest
        return _sealed(_REFLECTOR_AUTHENTICATED.pack(*fields), key) + self.rest

    @classmethod
    def decode(cls, datagram: bytes, key: bytes | None = None) -> ReflectorPacket:
        """Return what the octets say.

        Raises:
            PacketError: they are too few, or the HMAC is not that of the key.
        """
        if key is None:
            if len(datagram) < TWAMP_SIZE:
                raise PacketError(TOO_SHORT)
            fields = _REFLECTOR.unpack_from(datagram)
            rest = datagram[BASE_SIZE:]
        else:
            fields = _REFLECTOR_AUTHENTICATED.unpack(_unsealed(datagram, key))
            rest = datagram[AUTHENTICATED_SIZE:]
        sequence, timestamp, error, received, sender_sequence, sender_timestamp, sender_error, ttl = fields
        return cls(
            sequence,
            timestamp,
            ErrorEstimate.decode(error),
            received,
            sender_sequence,
            sender_timestamp,
            ErrorEstimate.decode(sender_error),
            ttl,
            rest,
        )


def sender_timestamp_in(datagram: bytes, *, authenticated: bool) -> int:
    """Return the Session-Sender Timestamp that a packet has if it is read as an answer.

    In what a Session-Sender sends, there are zeros in that place, or TWAMP's padding.
    """
    (timestamp,) = _TIMESTAMP.unpack_from(datagram, 64 if authenticated else 28)
    return int(timestamp)


def extra_padding(payload: bytes) -> bytes:
    """Return the rest of a packet that carries a payload: none if that is empty.

    Raises:
        struct.error: it has more than 65,535 bytes.
    """
    return _TLV.pack(_UNRECOGNISED, _EXTRA_PADDING, len(payload)) + payload if payload else b""


def payload_in(rest: bytes) -> bytes:
    """Return the payload in the rest of a packet: empty unless that is exactly one Extra Padding TLV."""
    if len(rest) >= TLV_SIZE:
        _, kind, length = _TLV.unpack_from(rest)
        if kind == _EXTRA_PADDING and length == len(rest) - TLV_SIZE:
            return rest[TLV_SIZE:]
    return b""


def _sealed(covered: bytes, key: bytes) -> bytes:
    return covered + hmac.digest(key, covered, "sha256")[:HMAC_SIZE]


def _unsealed(datagram: bytes, key: bytes) -> bytes:
    """Check a packet's HMAC, in constant time; return the part that it covers.

    Raises:
        PacketError: the packet is too short, or its HMAC is not that of the key.
    """
    if len(datagram) < AUTHENTICATED_SIZE:
        raise PacketError(TOO_SHORT)
    covered = datagram[:_COVERED]
    expected = hmac.digest(key, covered, "sha256")[:HMAC_SIZE]
    if not hmac.compare_digest(expected, datagram[_COVERED:AUTHENTICATED_SIZE]):
        raise PacketError(NOT_AUTHENTIC)
    return covered
