"""Datagrams in batches: recvmmsg(2), sendmmsg(2) and UDP's segmentation offload (udp(7)), by ctypes.

A batch should cost Python little more than one datagram does. So the lengths and addresses of all its
datagrams are read, moved and compared as columns of the system's own structures, in one operation each,
and a batch can be sent back from where it was received.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal

from netecho.reactor.batches import Address

BATCH: Final = 64
"""Datagrams received or sent at once; also the segments that Linux takes in a message (UDP_MAX_SEGMENTS)."""
LARGEST: Final = 65_536
"""Bytes of room for a datagram at most: more than any datagram has."""
LARGEST_SUM: Final = 65_487
"""Bytes that the segments of one message may have together: as many as one datagram over IPv6."""
PEERS: Final = 4096
"""Addresses of which it is kept what they are in Twisted's form."""

_UDP_SEGMENT: Final = 103
_LINE: Final = 64
"""Bytes of a processor's cache line."""
_NAME_SIZES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
"""Bytes of a `sockaddr_in` and a `sockaddr_in6`."""


class _Vector(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """`struct msghdr`, as the kernel has it."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vectors_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", Header), ("length", ctypes.c_uint))


class _SegmentSize(ctypes.Structure):
    """A `struct cmsghdr` with the size of the segments that a message is to be sent in."""

    _fields_ = (
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("size", ctypes.c_uint16),
    )


def _missing(*arguments: object) -> int:
    """Stand in for a call that the C library does not have."""
    ctypes.set_errno(errno.ENOSYS)
    return -1


# No `argtypes` are set: ctypes takes as long to convert arguments by them as the system call takes.
_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg: Callable[..., int] = getattr(_libc, "recvmmsg", _missing)
_sendmmsg: Callable[..., int] = getattr(_libc, "sendmmsg", _missing)
_sendmsg: Callable[..., int] = getattr(_libc, "sendmsg", _missing)


def available() -> bool:
    """Return whether the system does have these calls and lets us use them (seccomp(2) may not)."""
    for call, arguments in ((_recvmmsg, (-1, None, 0, 0, None)), (_sendmmsg, (-1, None, 0, 0))):
        if call(*arguments) != -1 or ctypes.get_errno() != errno.EBADF:
            return False
    return True


def segments(port: socket.socket) -> bool:
    """Return whether the system can send one message in segments, each a datagram (from Linux 4.18)."""
    try:
        port.getsockopt(socket.SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


@lru_cache(PEERS)
def _address_of(name: bytes) -> Address:
    """Return the address in a `sockaddr_in` or `sockaddr_in6`, with the number of its zone if it has one."""
    port = int.from_bytes(name[2:4], "big")
    if len(name) == _NAME_SIZES[socket.AF_INET]:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    host, zone = socket.inet_ntop(socket.AF_INET6, name[8:24]), int.from_bytes(name[24:28], sys.byteorder)
    return f"{host}%{zone}" if zone else host, port


def column(structures: ctypes.Array[Any], offset: int, code: Literal["I", "L"]) -> memoryview:
    """Return a view of one field, at `offset`, of all of `structures`; `code` is its type for `struct`."""
    width = struct.calcsize(code)
    words: memoryview = memoryview(structures).cast("B").cast(code)
    return words[offset // width :: ctypes.sizeof(structures._type_) // width]


class Messages:
    """Room for `BATCH` datagrams, and the structures that tell the system of it.

    Args:
        family: `AF_INET` or `AF_INET6`.
        size: bytes of room for each; longer datagrams are cut. A page of it takes memory only once something
            has been received there.
    """

    _control_size = 0
    """Bytes of ancillary data (cmsg(3)) that are sent beside each datagram."""

    def __init__(self, family: int, size: int) -> None:
        self._size = size = min(size, LARGEST)
        # A distance that is no power of two: else all datagrams would compete for the same cache lines.
        self._step = (size // _LINE + 1 | 1) * _LINE
        # Private: after a fork, each process receives into its own memory.
        self._space = mmap.mmap(-1, BATCH * self._step, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without huge pages, of which one would take it all
            self._space.madvise(mmap.MADV_NOHUGEPAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._space))
        self._name_size = _NAME_SIZES[socket.AddressFamily(family)]
        self._names = bytearray(BATCH * self._name_size)
        self._room = (_Vector * BATCH)()
        self._incoming = (Message * BATCH)()
        self._contents = (_Vector * BATCH)()
        self._outgoing = (Message * BATCH)()
        self._names_at = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        self._contents_at = ctypes.addressof(self._contents)
        for index in range(BATCH):
            for messages, vectors in ((self._incoming, self._room), (self._outgoing, self._contents)):
                vectors[index] = _Vector(base + index * self._step, size)
                messages[index].header = Header(
                    self._names_at + index * self._name_size,
                    self._name_size,
                    ctypes.addressof(vectors) + index * ctypes.sizeof(_Vector),
                    1,
                )
        self._usual_name, self._usual_source = bytes(self._name_size), ("", 0)
        """The last source that a whole batch came from."""
        self._received = ctypes.c_void_p(ctypes.addressof(self._incoming))
        self._rows = [
            ctypes.c_void_p(ctypes.addressof(self._outgoing) + index * ctypes.sizeof(Message))
            for index in range(BATCH)
        ]
        self._lengths = column(self._incoming, Message.length.offset, "I")
        # The lower half of a `size_t`: the upper one stays 0.
        low = 0 if sys.byteorder == "little" else ctypes.sizeof(ctypes.c_size_t) - 4
        self._to_send = column(self._contents, _Vector.length.offset + low, "I")
        self._bases = column(self._contents, _Vector.base.offset, "L")
        self._usual_bases = memoryview(array("L", self._bases))
        self._payload: ctypes.c_char_p | None = None
        """What the outgoing messages point to, if not to what was received."""
        self._joined_control = bytearray(self._control_size + socket.CMSG_SPACE(2))
        self._segment = _SegmentSize.from_buffer(self._joined_control, self._control_size)
        self._segment.length = socket.CMSG_LEN(2)
        self._segment.level, self._segment.type = socket.SOL_UDP, _UDP_SEGMENT
        self._joined = Header(
            name_length=self._name_size,
            control=ctypes.addressof(self._segment) - self._control_size,
            control_length=len(self._joined_control),
        )
        self._joined_from = -1
        self._joined_at = ctypes.c_void_p(ctypes.addressof(self._joined))

    def receive(self, fd: int, limit: int) -> int:
        """Receive what is there, `limit` datagrams at most (`BATCH` or fewer); return how many came.

        Raises:
            OSError: what recvmmsg(2) says, `BlockingIOError` if none is there.
        """
        count = _recvmmsg(fd, self._received, limit, socket.MSG_DONTWAIT, None)
        if count < 0:
            raise _failure()
        return count

    def sizes(self, count: int) -> list[int]:
        """Return how many bytes each of the `count` datagrams received has."""
        return self._lengths[:count].tolist()

    def datagram(self, index: int, size: int) -> bytes:
        """Return the first `size` bytes of a datagram."""
        at = index * self._step
        return self._space[at : at + size]

    def sources(self, count: int) -> list[Address]:
        """Return where each of `count` datagrams came from."""
        width = self._name_size
        names = bytes(self._names[: count * width])
        return [_address_of(names[at : at + width]) for at in range(0, len(names), width)]

    def only_source(self, count: int) -> Address | None:
        """Return where all of `count` datagrams came from, or `None` if that is not one address."""
        names = self._names
        if not names.startswith(self._usual_name * count):
            name = bytes(names[: self._name_size])
            if not names.startswith(name * count):
                return None
            self._usual_name, self._usual_source = name, _address_of(name)
        return self._usual_source

    def answer(self, count: int) -> None:
        """Prepare to send `count` datagrams back to where they came from."""
        if self._payload is not None:
            self._bases[:] = self._usual_bases
            self._payload = None
        self._to_send[:count] = self._lengths[:count]

    def answer_with(self, payload: bytes, sizes: list[int]) -> list[int]:
        """Prepare to send `payload` in place of each datagram, cut to its size.

        Args:
            payload: what to send.
            sizes: of the datagrams, in bytes.

        Returns:
            The sizes to be sent: less than `sizes` where the payload is shorter.
        """
        sizes = [min(size, len(payload)) for size in sizes]
        self._payload = ctypes.c_char_p(payload)
        base = ctypes.cast(self._payload, ctypes.c_void_p).value or 0
        self._bases[: len(sizes)] = memoryview(array("L", [base]) * len(sizes))
        self._to_send[: len(sizes)] = memoryview(array("I", sizes))
        return sizes

    def send(self, fd: int, start: int, stop: int) -> int:
        """Send the datagrams from `start` to before `stop`, up to the first that fails; return how many.

        Raises:
            OSError: the first failed.
        """
        count = _sendmmsg(fd, self._rows[start], stop - start, socket.MSG_DONTWAIT)
        if count < 0:
            raise _failure()
        return count

    def joinable(self, count: int) -> bool:
        """Return whether `count` datagrams may be one message: all ancillary data are those of the first."""
        return True

    def send_segments(self, fd: int, start: int, stop: int, size: int) -> None:
        """Send datagrams of one size, other than 0, to one address, as segments of one message: all or none.

        The system handles them as one packet up to the network card, or to the socket that receives them on
        this machine, and divides them only there.

        Raises:
            OSError: none was sent.
        """
        if start != self._joined_from:
            self._joined.name = self._names_at + start * self._name_size
            self._joined.vectors = self._contents_at + start * ctypes.sizeof(_Vector)
            self._joined_from = start
        self._joined.vectors_length = stop - start
        self._segment.size = size
        if _sendmsg(fd, self._joined_at, socket.MSG_DONTWAIT) < 0:
            raise _failure()
