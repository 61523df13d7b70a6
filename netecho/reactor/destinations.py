"""Answers that come from the address that was asked, on a machine that has several.

A socket that is bound to all addresses of a machine sends from the one that the route to the peer starts at.
A peer that asked another address, and has connected its socket to that, receives no answer from there. So the
system is asked for the destination of each datagram, and given it back as the source of the answer (ip(7):
IP_PKTINFO, and RFC 3542, 6.1 and 6.2).
"""

from __future__ import annotations

import ctypes
import errno
import socket
from array import array
from typing import Final

from netecho.reactor.messages import BATCH, Header, Message, Messages, column

_IP_PKTINFO: Final = 8
_GROUP: Final = 0xFF
"""The first byte of every IPv6 multicast address (RFC 4291, 2.7). None is an address to answer from."""


class _Info4(ctypes.Structure):
    """A `struct cmsghdr` with a `struct in_pktinfo`."""

    _fields_ = (
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("interface", ctypes.c_uint),
        ("source", ctypes.c_uint8 * 4),
        ("destination", ctypes.c_uint8 * 4),
    )


class _Info6(ctypes.Structure):
    """A `struct cmsghdr` with a `struct in6_pktinfo`."""

    _fields_ = (
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("address", ctypes.c_uint8 * 16),
        ("interface", ctypes.c_uint),
    )


def note_destinations(port: socket.socket) -> bool:
    """Have the system say where each datagram was sent, if the machine's addresses leave a choice.

    Returns:
        Whether it will say so.
    """
    if port.getsockname()[0] not in ("0.0.0.0", "::"):
        return False
    try:
        if port.family == socket.AF_INET6:
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            port.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    except OSError:
        return False
    return True


class AddressedMessages(Messages):
    """Messages that know where they were sent, and go back from there."""

    def __init__(self, family: int, size: int) -> None:
        info = _Info6 if family == socket.AF_INET6 else _Info4
        self._control_size = width = socket.CMSG_SPACE(ctypes.sizeof(info) - socket.CMSG_LEN(0))
        super().__init__(family, size)
        self._controls = bytearray(BATCH * width)
        controls_at = ctypes.addressof(ctypes.c_char.from_buffer(self._controls))
        for messages in (self._incoming, self._outgoing):
            for index in range(BATCH):
                messages[index].header.control = controls_at + index * width
                messages[index].header.control_length = width
        self._group_at = _Info6.address.offset if family == socket.AF_INET6 else 0
        """The byte of a control message that tells whether a datagram was sent to a group. 0 for IPv4, where
        the system itself says which address to answer from."""
        offset = Message.header.offset + Header.control_length.offset
        self._control_lengths = column(self._incoming, offset, "L")
        self._full_lengths = memoryview(array("L", self._control_lengths))
        self._lengths_to_send = column(self._outgoing, offset, "L")
        self._interfaces = memoryview(self._controls).cast("I")[info.interface.offset // 4 :: width // 4]
        self._any_interface = memoryview(array("I", [0] * BATCH))

    def receive(self, fd: int, limit: int) -> int:
        """See `Messages.receive`."""
        self._control_lengths[:limit] = self._full_lengths[:limit]
        count = super().receive(fd, limit)
        # The answer may have to leave by another interface than the one by which the datagram came.
        self._interfaces[:count] = self._any_interface[:count]
        return count

    def answer(self, count: int) -> None:
        """See `Messages.answer`."""
        super().answer(count)
        self._lengths_to_send[:count] = self._control_lengths[:count]

    def answer_with(self, payload: bytes, sizes: list[int]) -> list[int]:
        """See `Messages.answer_with`."""
        self._lengths_to_send[: len(sizes)] = self._control_lengths[: len(sizes)]
        return super().answer_with(payload, sizes)

    def send(self, fd: int, start: int, stop: int) -> int:
        """See `Messages.send`."""
        try:
            return super().send(fd, start, stop)
        except OSError as failure:
            if failure.errno != errno.EINVAL or not self._lengths_to_send[start]:
                raise
        # It was sent to a group, for instance, which is no address to answer from.
        self._lengths_to_send[start] = 0
        return super().send(fd, start, stop)

    def joinable(self, count: int) -> bool:
        """See `Messages.joinable`."""
        width, group = self._control_size, self._group_at
        first = bytes(self._controls[:width])
        self._joined_control[:width] = first
        return (
            self._control_lengths[0] == width
            and self._controls.startswith(first * count)
            and not (group and first[group] == _GROUP)
        )
