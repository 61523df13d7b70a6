"""Captures of datagrams, written here and read by tshark."""

from __future__ import annotations

import json
import pathlib
import struct
import subprocess
from typing import Any

from tests.peers import need

MARCH_2020 = 1_583_020_800
"""Midnight of the first, when all captures were made."""


def dissect(capture: pathlib.Path) -> list[Any]:
    """Return what tshark finds in each packet of a capture, by the fields' names."""
    words = ["-r", str(capture), "-d", "udp.port==862,twamp.test", "-T", "json", "-J", "twamp.test"]
    run = subprocess.run([need("tshark"), *words], capture_output=True, check=True, timeout=60)
    text = run.stdout.decode().replace('"twamp.test.', '"')
    return [packet["_source"]["layers"]["twamp.test"] for packet in json.loads(text)]


def pcap(frames: list[bytes]) -> bytes:
    """Return a capture file of Ethernet frames (draft-ietf-opsawg-pcap)."""
    header = struct.pack("<LHHlLLL", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    return header + b"".join(
        struct.pack("<LLLL", MARCH_2020, number, len(frame), len(frame)) + frame
        for number, frame in enumerate(frames)
    )


def udp(source: int, destination: int, payload: bytes) -> bytes:
    """Return the Ethernet frame of a datagram between two ports of 127.0.0.1; it has no UDP checksum."""
    datagram = struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload
    loopback = bytes([127, 0, 0, 1])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 255, 17, 0) + 2 * loopback
    total = sum(struct.unpack("!10H", header))
    checksum = 0xFFFF - (total % 0xFFFF or 0xFFFF)
    header = header[:10] + checksum.to_bytes(2, "big") + header[12:]
    return bytes(12) + b"\x08\x00" + header + datagram
