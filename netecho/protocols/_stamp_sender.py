"""STAMP's Session-Sender (RFC 8762 section 4.2): packets leave with a time, and answers bring all four."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netecho.errors import NoReflectorError
from netecho.measure.oneway import Reflection
from netecho.protocols._clock_error import ClockError
from netecho.protocols._contract import OnLost, OnReply
from netecho.protocols._datagram_client import Conversation, DatagramExchanger
from netecho.protocols._stamp_packets import (
    PacketError,
    ReflectorPacket,
    SenderPacket,
    extra_padding,
    payload_in,
)
from netecho.protocols._timestamps import ntp_from, unix_ns_from

_WRAP = 1 << 32


class Session:
    """One session with a reflector: makes the packets that leave, and reads the answers.

    Args:
        key: authenticates packets both ways; `None`: they are not.
        clock: nanoseconds since 1970.
    """

    def __init__(self, key: bytes | None, clock: Callable[[], int] = time.time_ns) -> None:
        self._key = key
        self._clock = clock
        self._clock_error = ClockError()
        self._newest = -1

    def packet(self, sequence: int, payload: bytes) -> bytes:
        """Return the test packet of an exchange, which is to leave now.

        Exchanges are numbered from 0, and each comes after those before it.
        """
        self._newest = sequence
        rest = extra_padding(payload)
        packet = SenderPacket(sequence % _WRAP, ntp_from(self._clock()), self._clock_error(), rest)
        return packet.encode(self._key)

    def read(self, datagram: bytes, returned_ns: int) -> tuple[int | None, bytes, Reflection | None]:
        """Read what came back.

        Args:
            datagram: what came.
            returned_ns: when, in nanoseconds since 1970.

        Returns:
            The sequence number of the exchange that it answers, its payload, and the times of the exchange.
            The number is `None` if there was no such exchange, or if it is no answer at all: the payload is
            then the datagram as it came. The times are `None` if the reflector's timestamps make no sense.

        Raises:
            NoReflectorError: it is one of our own packets, as it left.
        """
        try:
            answer = ReflectorPacket.decode(datagram, self._key)
        except PacketError:
            return None, datagram, None
        if not answer.sender_timestamp and self._is_own(datagram):
            raise NoReflectorError(
                "what answers is an echo service and no STAMP reflector: our packets come back as they left"
            )
        sequence = self._newest - (self._newest - answer.sender_sequence) % _WRAP
        payload = payload_in(answer.rest)
        if sequence < 0:
            return None, payload, None
        try:
            return sequence, payload, self._reflection(answer, returned_ns)
        except ValueError:
            return sequence, payload, None

    def _is_own(self, datagram: bytes) -> bool:
        """Return whether a packet is one that we send, octet for octet.

        An answer is never: behind our timestamp a reflector puts its own and a copy of ours, where we send
        zeros (RFC 8762 sections 4.2.1 and 4.3.1).
        """
        packet = SenderPacket.decode(datagram, self._key)
        was_sent = packet.timestamp > 0 and (self._newest - packet.sequence) % _WRAP <= self._newest
        return was_sent and packet.encode(self._key) == datagram

    def _reflection(self, answer: ReflectorPacket, returned_ns: int) -> Reflection:
        """Return the times of an exchange.

        Raises:
            ValueError: the reflector's timestamps make no sense.
        """
        if not (answer.timestamp and answer.receive_timestamp):
            raise ValueError("a timestamp of 0 is of a clock that was not set (RFC 5905 section 6)")
        theirs, ours = answer.error, self._clock_error()
        their_error, our_error = theirs.error_ns, ours.error_ns
        return Reflection(
            sent_ns=unix_ns_from(answer.sender_timestamp, returned_ns),
            received_ns=unix_ns_from(answer.receive_timestamp, returned_ns, ptp=theirs.ptp),
            answered_ns=unix_ns_from(answer.timestamp, returned_ns, ptp=theirs.ptp),
            returned_ns=returned_ns,
            number=answer.sequence,
            ttl=answer.sender_ttl,
            synchronised=theirs.synchronised and ours.synchronised,
            error_ns=None if their_error is None or our_error is None else their_error + our_error,
        )


class SenderExchanger(DatagramExchanger):
    """Exchanges with a reflector; provides `netecho.protocols._contract.Exchanger`."""

    def __init__(self, session: Session, on_reply: OnReply, on_lost: OnLost) -> None:
        super().__init__(on_reply, on_lost)
        self._session = session

    def send(self, sequence: int, payload: bytes) -> None:
        """See `DatagramExchanger.send`."""
        self.write(self._session.packet(sequence, payload))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass an answer on, with the times of its exchange."""
        try:
            read = self._session.read(datagram, self.transport.socket.received_ns)
        except NoReflectorError:
            self._lose(Failure())
        else:
            self._on_reply(*read)


class SenderConversation(Conversation):
    """A conversation in the payloads of packets."""

    def __init__(self, session: Session, protocol: Protocol) -> None:
        super().__init__(protocol)
        self._session = session
        self._next = 0

    def write(self, datagram: bytes) -> None:
        """See `Conversation.write`."""
        sequence, self._next = self._next, self._next + 1
        super().write(self._session.packet(sequence, datagram))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass the payload of an answer on; anything else is ignored."""
        try:
            sequence, payload, _ = self._session.read(datagram, self.transport.socket.received_ns)
        except NoReflectorError:
            self._end(Failure())
            return
        if sequence is not None:
            super().datagramReceived(payload, addr)
