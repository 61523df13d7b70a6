"""One end of a DTLS association (RFC 6347): OpenSSL's side of it, its timers, and datagrams out and in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from netecho.protocols._dtls_records import datagrams, is_single
from netecho.reactor.records import records_of

LARGEST_MESSAGE: Final = 1 << 14
"""Bytes of payload in the largest record, and a message is one record (RFC 6347 section 4.1)."""
MINIMUM_MTU: Final = 1280
"""Bytes in a packet that every IPv6 network passes whole (RFC 8200 section 5), and almost every IPv4
network."""
_FLIGHT: Final = 1 << 16


class Party(Protocol):
    """What talks through an association, and is told what becomes of it."""

    def established(self) -> None:
        """The handshake is complete: messages can be written."""

    def message_received(self, message: bytes) -> None:
        """Take a message of the other end's."""

    def ended(self, reason: Failure) -> None:
        """Take the end of the association, by the other end or by an error.

        It is called once, and not after `Association.close` or `abandon`.

        Args:
            reason: `ConnectionDone`, if it ended in order.
        """


class Association:
    """OpenSSL's side of one association, on memory buffers, driven by datagrams and time.

    Args:
        clock: runs the timers after which a flight of the handshake is sent again.
        connection: has been told whether it is the client or the server.
        datagram_size: bytes in the largest datagram of a handshake.
        send: sends a datagram to the other end, and returns whether the system took it.
        party: who talks through it.
    """

    __slots__ = (
        "_clock",
        "_connection",
        "_datagram_size",
        "_over",
        "_party",
        "_reason",
        "_records",
        "_send",
        "_timer",
    )

    def __init__(
        self,
        clock: Any,
        connection: SSL.Connection,
        datagram_size: int,
        send: Callable[[bytes], bool],
        party: Party,
    ) -> None:
        self._clock = clock
        self._connection = connection
        self._datagram_size = datagram_size
        self._send = send
        self._party: Any = party
        """`None` when it is over."""
        self._records: Any = None
        """A `Records`, when the handshake is complete."""
        self._timer: Any = None
        self._reason: Failure | None = None
        self._over = False
        connection.set_app_data(self)
        prepare(connection, datagram_size)

    @property
    def connection(self) -> SSL.Connection:
        """OpenSSL's side."""
        return self._connection

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete."""
        return self._records is not None

    def shake_hands(self) -> None:
        """Take the handshake as far as it goes now."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
            self._set_timer()
            return
        except SSL.Error:
            self._fail(Failure())
            return
        self._stop_timer()
        self._records = records_of(self._connection)
        self._flush()
        if not self._over:
            self._party.established()
        if not self._over:
            self._read(None)  # what came before the last of the handshake, and waited for it

    def received(self, datagram: bytes) -> None:
        """Take a datagram from the other end, or so it seems: what is not genuine has no effect."""
        if self._over:
            return
        if self._records is None:
            self._connection.bio_write(datagram)
            self.shake_hands()
        else:
            self._read(datagram)

    def _read(self, datagram: bytes | None) -> None:
        """Open a datagram, or what is left of those before, and pass on the messages in it."""
        records, party = self._records, self._party
        try:
            message = records.read() if datagram is None else records.open(datagram)
            if message is not None:
                party.message_received(message)
                if datagram is not None and is_single(datagram):
                    return
                while not self._over and (message := records.read()) is not None:
                    party.message_received(message)
        except SSL.ZeroReturnError:
            self._closed()
            return
        except SSL.Error:
            self._fail(Failure())
            return
        if not self._over:
            # There may be an answer though no message came: a peer that repeats its last flight has missed
            # ours.
            self._flush()

    def write(self, message: bytes) -> bool:
        """Send a message, in a record and datagram of its own; return whether it could be sent.

        An empty message cannot, nor one that is larger than `LARGEST_MESSAGE`.
        """
        if self._over or self._records is None or not 0 < len(message) <= LARGEST_MESSAGE:
            return False
        try:
            wire = self._records.encrypt(message)
        except SSL.Error:
            self._fail(Failure())
            return False
        if wire is None:
            return False
        if is_single(wire):
            return self._send(wire)
        self._send_all(wire)
        return True

    def close(self) -> None:
        """End the association, and say so to the other end if it can be told."""
        if self._over:
            return
        if self._records is not None:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """End the association without a word."""
        self._over = True
        self._stop_timer()
        # Break the cycle of references, which would wait for the garbage collector: OpenSSL's side is large.
        self._connection.set_app_data(None)
        self._party, self._send = None, _send_nowhere

    def check_cookie(self, _: bytes) -> bool:
        """Return `True`: OpenSSL checks once more the cookie with which the peer was let in."""
        return True

    def failVerification(self, reason: Failure) -> None:  # noqa: N802 - Twisted's
        """Keep the reason why the peer's certificate does not verify, for when the handshake fails by it."""
        self._reason = reason

    def _fail(self, reason: Failure) -> None:
        """End by an error, after telling the other end what OpenSSL says of it."""
        self._flush()
        party = self._party
        self.abandon()
        if party is not None:
            party.ended(self._reason or reason)

    def _closed(self) -> None:
        """End by the other end's close_notify, and answer it with ours (RFC 5246 section 7.2.1)."""
        party = self._party
        self.close()
        if party is not None:
            party.ended(Failure(ConnectionDone()))

    def _flush(self) -> None:
        """Send all that OpenSSL has written: flights of the handshake, and alerts."""
        try:
            flight = self._connection.bio_read(_FLIGHT)
        except SSL.Error:  # WantReadError: there is nothing
            return
        self._send_all(flight)

    def _send_all(self, flight: bytes) -> None:
        for datagram in datagrams(flight, self._datagram_size):
            self._send(datagram)

    def _set_timer(self) -> None:
        """Have the last flight sent again when OpenSSL takes it for lost (RFC 6347 section 4.2.4)."""
        self._stop_timer()
        if self._over:  # it could not be sent
            return
        patience = self._connection.DTLSv1_get_timeout()
        if patience is not None:
            self._timer = self._clock.callLater(patience, self._timed_out)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _timed_out(self) -> None:
        self._timer = None
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._fail(Failure())
            return
        self._flush()
        self._set_timer()


def _send_nowhere(_: bytes) -> bool:
    """Send a datagram of an association that is over."""
    return False


def datagram_size(mtu: int, *, is_ipv6: bool) -> int:
    """Return how many bytes a UDP datagram has at most in a packet of `mtu` bytes."""
    return mtu - (40 if is_ipv6 else 20) - 8


def prepare(connection: SSL.Connection, datagram_size: int) -> None:
    """Have OpenSSL divide what it writes in a handshake into records that fit into datagrams of that size."""
    connection.set_ciphertext_mtu(datagram_size)
