"""STAMP's test packets, octet by octet as the figures of RFC 8762 have them."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import pathlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.protocols._stamp_packets import (
    AUTHENTICATED_SIZE,
    BASE_SIZE,
    HMAC_SIZE,
    NOT_AUTHENTIC,
    TOO_SHORT,
    TWAMP_SIZE,
    PacketError,
    ReflectorPacket,
    SenderPacket,
    extra_padding,
    payload_in,
)
from netecho.protocols._timestamps import ErrorEstimate
from tests.captures import dissect, pcap, udp

KEY = b"a shared secret"
MARCH_2020 = 1_583_020_800 * 10**9
"""Midnight, as UTC has it: 0xe2057980 seconds since 1900, 0x5e5afb00 since 1970."""
SENT = 0xE2057980_80000000
"""Half a second later."""
SENDER_ERROR = ErrorEstimate(synchronised=True, scale=13, multiplier=31)
REFLECTOR_ERROR = ErrorEstimate(ptp=True, multiplier=1)


def octets(figure: str) -> bytes:
    """Return the octets of a figure: in hexadecimal, four in a row, with what they are behind them."""
    return bytes.fromhex(" ".join(row.partition("|")[0] for row in figure.splitlines()))


SENDER = (
    SenderPacket(42, SENT, SENDER_ERROR),
    None,
    octets(  # figure 2
        """
        00 00 00 2a | Sequence Number
        e2 05 79 80 | Timestamp
        80 00 00 00 |
        8d 1f       | Error Estimate: S, not Z, Scale 13, Multiplier 31
              00 00 | MBZ (30 octets)
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        """
    ),
)
SENDER_AUTHENTICATED = (
    SenderPacket(42, SENT, SENDER_ERROR),
    KEY,
    octets(  # figure 4
        """
        00 00 00 2a | Sequence Number
        00 00 00 00 | MBZ (12 octets)
        00 00 00 00 |
        00 00 00 00 |
        e2 05 79 80 | Timestamp
        80 00 00 00 |
        8d 1f       | Error Estimate
              00 00 | MBZ (70 octets)
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        a7 86 67 09 | HMAC (16 octets), as openssl dgst makes it of the 96 octets above
        da 12 56 6d |
        f2 9c 06 8e |
        a3 19 7e ba |
        """
    ),
)
REFLECTOR = (
    ReflectorPacket(
        7, 0xE2057980_C0000000, SENDER_ERROR, 0xE2057980_A0000000, 42, SENT, ErrorEstimate(multiplier=2), 254
    ),
    None,
    octets(  # figure 5
        """
        00 00 00 07 | Sequence Number
        e2 05 79 80 | Timestamp
        c0 00 00 00 |
        8d 1f       | Error Estimate
              00 00 | MBZ
        e2 05 79 80 | Receive Timestamp
        a0 00 00 00 |
        00 00 00 2a | Session-Sender Sequence Number
        e2 05 79 80 | Session-Sender Timestamp
        80 00 00 00 |
        00 02       | Session-Sender Error Estimate
              00 00 | MBZ
        fe          | Ses-Sender TTL
           00 00 00 | MBZ
        """
    ),
)
REFLECTOR_AUTHENTICATED = (
    ReflectorPacket(
        7, 0x5E5AFB00_1DCD6500, REFLECTOR_ERROR, 0x5E5AFB00_0EE6B280, 42, SENT, SENDER_ERROR, 254
    ),
    KEY,
    octets(  # figure 6; the reflector's timestamps are PTP's: 500 and 250 million nanoseconds
        """
        00 00 00 07 | Sequence Number
        00 00 00 00 | MBZ (12 octets)
        00 00 00 00 |
        00 00 00 00 |
        5e 5a fb 00 | Timestamp
        1d cd 65 00 |
        40 01       | Error Estimate: not S, Z, Scale 0, Multiplier 1
              00 00 | MBZ (6 octets)
        00 00 00 00 |
        5e 5a fb 00 | Receive Timestamp
        0e e6 b2 80 |
        00 00 00 00 | MBZ (8 octets)
        00 00 00 00 |
        00 00 00 2a | Session-Sender Sequence Number
        00 00 00 00 | MBZ (12 octets)
        00 00 00 00 |
        00 00 00 00 |
        e2 05 79 80 | Session-Sender Timestamp
        80 00 00 00 |
        8d 1f       | Session-Sender Error Estimate
              00 00 | MBZ (6 octets)
        00 00 00 00 |
        fe          | Ses-Sender TTL
           00 00 00 | MBZ (15 octets)
        00 00 00 00 |
        00 00 00 00 |
        00 00 00 00 |
        66 cc ab 93 | HMAC (16 octets)
        64 08 2b a0 |
        bb b3 2d f6 |
        d7 39 f6 e2 |
        """
    ),
)
MUST_BE_ZERO = {
    "2": [(14, 44)],
    "4": [(4, 16), (26, 96)],
    "5": [(14, 16), (38, 40), (41, 44)],
    "6": [(4, 16), (26, 32), (40, 48), (52, 64), (74, 80), (81, 96)],
}
"""Where each MBZ field begins and ends, in octets."""
Packet = SenderPacket | ReflectorPacket
FIGURES: dict[str, tuple[Packet, bytes | None, bytes]] = {
    "2": SENDER,
    "4": SENDER_AUTHENTICATED,
    "5": REFLECTOR,
    "6": REFLECTOR_AUTHENTICATED,
}

figures = pytest.mark.parametrize(("packet", "key", "wire"), FIGURES.values(), ids=FIGURES)
numbers = st.integers(0, 2**32 - 1)
timestamps = st.integers(0, 2**64 - 1)
errors = st.builds(ErrorEstimate, st.booleans(), st.booleans(), st.integers(0, 63), st.integers(0, 255))
rests = st.binary(max_size=200)
packets = st.builds(SenderPacket, numbers, timestamps, errors, rests) | st.builds(
    ReflectorPacket,
    numbers,
    timestamps,
    errors,
    timestamps,
    numbers,
    timestamps,
    errors,
    st.integers(0, 255),
    rests,
)
keys = st.none() | st.binary(min_size=1, max_size=100)


@figures
def test_figures(packet: Packet, key: bytes | None, wire: bytes) -> None:
    """Each packet is to the octet what its figure has, and is read back as it was."""
    assert len(wire) == (BASE_SIZE if key is None else AUTHENTICATED_SIZE)
    assert packet.encode(key) == wire
    assert type(packet).decode(wire, key) == packet


@figures
@pytest.mark.parametrize("cut", [True, False], ids=["one octet short", "empty"])
def test_too_short(packet: Packet, key: bytes | None, wire: bytes, cut: bool) -> None:
    """A packet that ends before its last field, or in authenticated mode before its HMAC does, is none."""
    least = TWAMP_SIZE if key is None else AUTHENTICATED_SIZE
    with pytest.raises(PacketError, match=TOO_SHORT):
        type(packet).decode(wire[: least - 1] if cut else b"", key)


@pytest.mark.parametrize("figure", MUST_BE_ZERO)
def test_what_must_be_zero_is_ignored(figure: str) -> None:
    """Whatever a peer sets the MBZ fields to, the packet says the same."""
    packet, key, wire = FIGURES[figure]
    noisy = bytearray(wire)
    for start, stop in MUST_BE_ZERO[figure]:
        assert not any(wire[start:stop])
        noisy[start:stop] = b"\xff" * (stop - start)
    if key is not None:
        noisy[-HMAC_SIZE:] = hmac.new(key, noisy[:-HMAC_SIZE], hashlib.sha256).digest()[:HMAC_SIZE]
    assert type(packet).decode(bytes(noisy), key) == packet


@pytest.mark.parametrize("figure", ["2", "5"])
@pytest.mark.parametrize("size", range(TWAMP_SIZE, BASE_SIZE))
def test_twamp_light(figure: str, size: int) -> None:
    """TWAMP's packets (RFC 5357), which end up to three octets before STAMP's, are read like those."""
    packet, _, wire = FIGURES[figure]
    assert type(packet).decode(wire[:size]) == packet


@given(packets, keys)
def test_round_trip(packet: Packet, key: bytes | None) -> None:
    """Any packet is read back as it was, whatever follows it."""
    wire = packet.encode(key)
    assert len(wire) == len(packet.rest) + (BASE_SIZE if key is None else AUTHENTICATED_SIZE)
    assert type(packet).decode(wire, key) == packet


@pytest.mark.parametrize("figure", ["4", "6"])
def test_any_change_is_noticed(figure: str) -> None:
    """No bit of an authenticated packet can be changed, and no other key opens it."""
    packet, key, wire = FIGURES[figure]
    for bit in range(8 * AUTHENTICATED_SIZE):
        changed = bytearray(wire)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError, match=NOT_AUTHENTIC):
            type(packet).decode(bytes(changed), key)
    with pytest.raises(PacketError, match=NOT_AUTHENTIC):
        type(packet).decode(wire, b"another secret")


def test_hmac_does_not_cover_the_rest() -> None:
    """It is of the first six blocks, whatever follows the packet (RFC 8762 section 4.4)."""
    packet, key, wire = SENDER_AUTHENTICATED
    longer = SenderPacket(packet.sequence, packet.timestamp, packet.error, b"more")
    assert longer.encode(key) == wire + b"more"
    assert SenderPacket.decode(wire + b"less", key).rest == b"less"


def test_truncated_hmac() -> None:
    """The HMAC is the left half of HMAC-SHA-256: the end of a packet is what RFC 4231's method gives."""
    packet, _, _ = SENDER
    key = b"\x0c" * 20  # RFC 4231 section 4.6
    wire = packet.encode(key)
    assert wire[-HMAC_SIZE:] == hmac.new(key, wire[:-HMAC_SIZE], hashlib.sha256).digest()[:HMAC_SIZE]


@given(st.binary(max_size=200), keys)
def test_noise(noise: bytes, key: bytes | None) -> None:
    """Octets that are no packet are refused in so many words, and never raise anything else."""
    for kind in (SenderPacket, ReflectorPacket):
        if key is None and len(noise) >= TWAMP_SIZE:
            assert kind.decode(noise).rest == noise[BASE_SIZE:]
        else:
            with pytest.raises(PacketError, match=f"{TOO_SHORT}|{NOT_AUTHENTIC}"):
                kind.decode(noise, key)


@given(st.binary(max_size=300))
def test_payload(payload: bytes) -> None:
    """A payload is found again in what carries it, with the flag of one that nobody has recognised."""
    rest = extra_padding(payload)
    assert payload_in(rest) == payload
    if payload:
        assert rest == b"\x80\x01" + len(payload).to_bytes(2, "big") + payload  # RFC 8972 figures 3 and 4
        assert payload_in(b"\0" + rest[1:]) == payload, "a reflector that recognises it says so"
    else:
        assert rest == b""


@pytest.mark.parametrize(
    "rest",
    [
        b"\x80\x01\x00",
        b"\x80\x02\x00\x01x",
        b"\x80\x01\x00\x02x",
        b"\x80\x01\x00\x01xy",
        bytes(27),
    ],
    ids=["no header", "another TLV", "cut", "more", "padding"],
)
def test_no_payload(rest: bytes) -> None:
    """What is not exactly one TLV of Extra Padding carries no payload."""
    assert payload_in(rest) == b""


def test_too_large_payload() -> None:
    """A length has 16 bits."""
    assert len(extra_padding(bytes(65_535))) == 65_539
    with pytest.raises(struct.error):
        extra_padding(bytes(65_536))


def test_tshark(tmp_path: pathlib.Path) -> None:
    """A program that nobody here wrote finds in each field what was put there.

    Its dissector is of TWAMP-Test in unauthenticated mode, and looks at every packet as an answer.
    """
    (sender, _, _), (reflector, _, _) = SENDER, REFLECTOR
    capture = tmp_path / "stamp.pcap"
    answer = dataclasses.replace(reflector, rest=extra_padding(b"abc"))
    capture.write_bytes(pcap([udp(40_000, 862, sender.encode()), udp(862, 40_000, answer.encode())]))
    none = {f"error_estimate.{part}": "0" for part in ("s", "z", "scale", "multiplier")}
    estimate = {**none, "error_estimate.s": "1", "error_estimate.scale": "13"}
    estimate["error_estimate.multiplier"] = "31"
    assert dissect(capture) == [
        {
            "seq_number": "42",
            "timestamp": "Mar  1, 2020 00:00:00.500000000 UTC",
            "error_estimate": str(0x8D1F),
            "error_estimate_tree": estimate,
            "mbz1": "0",
            "receive_timestamp": "Jan  1, 1970 00:00:00.000000000 UTC",
            "sender_seq_number": "0",
            "sender_timestamp": "Jan  1, 1970 00:00:00.000000000 UTC",
            "sender_error_estimate": "0",
            "sender_error_estimate_tree": none,
            "mbz2": "0",
            "sender_ttl": "0",
            "padding": "00:00:00",
        },
        {
            "seq_number": "7",
            "timestamp": "Mar  1, 2020 00:00:00.750000000 UTC",
            "error_estimate": str(0x8D1F),
            "error_estimate_tree": estimate,
            "mbz1": "0",
            "receive_timestamp": "Mar  1, 2020 00:00:00.625000000 UTC",
            "sender_seq_number": "42",
            "sender_timestamp": "Mar  1, 2020 00:00:00.500000000 UTC",
            "sender_error_estimate": "2",
            "sender_error_estimate_tree": {**none, "error_estimate.multiplier": "2"},
            "mbz2": "0",
            "sender_ttl": "254",
            "padding": "00:00:00:80:01:00:03:61:62:63",
        },
    ]
