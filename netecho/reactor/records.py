"""What is left of pyOpenSSL for each message once a handshake is over: four calls to OpenSSL itself.

pyOpenSSL's methods allocate a buffer for every call, look at every callback, and raise an exception
where OpenSSL says "no more for now", which it does once for every message. `Records` calls the same
functions of OpenSSL on the same objects. They are private to pyOpenSSL, so that `records_of` makes
`PublicRecords`, which use its methods, where they are not what is expected.

Calling OpenSSL on the socket in place of its memory buffers was measured too, and is slower: OpenSSL
reads the five bytes of each record's header by themselves.
"""

from __future__ import annotations

import threading
from typing import Any, Final, Protocol

from OpenSSL import SSL
from OpenSSL.SSL import WantReadError

try:
    from OpenSSL._util import ffi, lib
except ImportError:
    ffi = lib = None

try:
    # Names of this module, as looking them up in the library each time costs as much as the call.
    _ssl_read, _ssl_write, _ssl_get_error = lib.SSL_read, lib.SSL_write, lib.SSL_get_error
    _bio_read, _bio_write, _bio_get_mem_data = lib.BIO_read, lib.BIO_write, lib.BIO_get_mem_data
    _WANT_READ: Final = lib.SSL_ERROR_WANT_READ
except AttributeError:
    _KNOWN = False
else:
    _KNOWN = True
DRAINED_MOST: Final = 1 << 15
"""Bytes read at once from either side: more than any record."""


class _Buffer(threading.local):
    """Where OpenSSL puts what it has read, until that is copied: one for each thread."""

    def __init__(self) -> None:
        self.address = ffi.new("char[]", DRAINED_MOST)
        self.view = ffi.buffer(self.address)
        self.pointer = ffi.new("char **")


_buffer: Final[Any] = _Buffer() if _KNOWN else None


class Records(Protocol):
    """The two sides of an established TLS connection: plaintext and what is on the wire."""

    single: bool
    """Whether what `open` took last was exactly one record: once that is read, nothing is left unread."""
    taken: int
    """Bytes that `encrypt` has taken, if it returned something. A record has room for 16 KiB, or for as
    little as 512 bytes if the peer asks for that (RFC 6066 section 4)."""

    def open(self, data: bytes) -> bytes | None:
        """Take bytes off the wire, and read the first record that is whole with them; see `read`."""

    def read(self) -> bytes | None:
        """Return the plaintext of the next record; `None` if no more has arrived.

        Raises:
            OpenSSL.SSL.Error: as `OpenSSL.SSL.Connection.recv` does, but for `WantReadError`.
        """

    def has_unread(self) -> bool:
        """Return whether `read` may have more, after it has returned something."""

    def encrypt(self, data: bytes) -> bytes | None:
        """Encrypt what fits in one record, the first `taken` bytes, and return what is to be sent.

        Returns:
            `None` if OpenSSL has to hear from the peer first.

        Raises:
            OpenSSL.SSL.Error: as `OpenSSL.SSL.Connection.send` does, but for `WantReadError`.
        """

    def drain(self) -> bytes:
        """Return what else is to be sent, `DRAINED_MOST` bytes at most; empty if there is nothing."""


class PublicRecords:
    """Records by pyOpenSSL's own methods; see `Records`."""

    __slots__ = ("_connection", "single", "taken")

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self.single = False
        self.taken = 0

    def open(self, data: bytes) -> bytes | None:
        """See `Records.open`."""
        self._connection.bio_write(data)
        return self.read()

    def read(self) -> bytes | None:
        """See `Records.read`."""
        try:
            return self._connection.recv(DRAINED_MOST)
        except WantReadError:
            return None

    def has_unread(self) -> bool:
        """See `Records.has_unread`."""
        return True

    def encrypt(self, data: bytes) -> bytes | None:
        """See `Records.encrypt`."""
        try:
            self.taken = self._connection.send(data)
        except WantReadError:
            return None
        return self.drain()

    def drain(self) -> bytes:
        """See `Records.drain`."""
        try:
            return self._connection.bio_read(DRAINED_MOST)
        except WantReadError:
            return b""


class DirectRecords:
    """Records by OpenSSL's functions; see `Records`.

    Raises:
        AttributeError: this version of pyOpenSSL lacks the private attributes that are used here.
    """

    __slots__ = (
        "_address",
        "_between",
        "_connection",
        "_from_ssl",
        "_into_ssl",
        "_pointer",
        "_ssl",
        "_view",
        "single",
        "taken",
    )

    def __init__(self, connection: SSL.Connection) -> None:
        private: Any = connection
        self._connection = private
        self._ssl = private._ssl
        self._into_ssl = private._into_ssl
        self._from_ssl = private._from_ssl
        self._address, self._view, self._pointer = _buffer.address, _buffer.view, _buffer.pointer
        self.single = False
        self.taken = 0
        self._between = False
        """Whether OpenSSL is known to have read all that arrived, up to the end of a record."""

    def open(self, data: bytes) -> bytes | None:
        """See `Records.open`."""
        size = len(data)
        _bio_write(self._into_ssl, data, size)
        # A record's header ends with its length (RFC 8446 section 5.1).
        self.single = self._between and size > 5 and size == 5 + (data[3] << 8 | data[4])
        size = _ssl_read(self._ssl, self._address, DRAINED_MOST)
        if size > 0:
            message: bytes = self._view[:size]
            return message
        self._unread(size)
        return None

    def read(self) -> bytes | None:
        """See `Records.read`."""
        size = _ssl_read(self._ssl, self._address, DRAINED_MOST)
        if size > 0:
            data: bytes = self._view[:size]
            return data
        self._unread(size)
        return None

    def _unread(self, result: int) -> None:
        """Deal with a call that has read nothing.

        Raises:
            OpenSSL.SSL.Error: there is another reason than that no more has arrived.
        """
        self._between = False
        if _ssl_get_error(self._ssl, result) != _WANT_READ:
            self._connection._raise_ssl_error(self._ssl, result)

    def has_unread(self) -> bool:
        """See `Records.has_unread`."""
        unread = bool(_bio_get_mem_data(self._into_ssl, self._pointer))
        self._between = not unread
        return unread

    def encrypt(self, data: bytes) -> bytes | None:
        """See `Records.encrypt`."""
        ssl = self._ssl
        size = _ssl_write(ssl, data, len(data))
        if size > 0:
            self.taken = size
            # What a record adds to its contents is far less than what is left for it here.
            size = _bio_read(self._from_ssl, self._address, DRAINED_MOST)
            wire: bytes = self._view[:size] if size > 0 else b""
            return wire
        if _ssl_get_error(ssl, size) != _WANT_READ:
            self._connection._raise_ssl_error(ssl, size)
        return None

    def drain(self) -> bytes:
        """See `Records.drain`."""
        size = _bio_read(self._from_ssl, self._address, DRAINED_MOST)
        data: bytes = self._view[:size] if size > 0 else b""
        return data


def records_of(connection: SSL.Connection) -> Records:
    """Return the records of a connection that works on memory and has finished its handshake."""
    try:
        return DirectRecords(connection) if _KNOWN else PublicRecords(connection)
    except AttributeError:
        return PublicRecords(connection)
