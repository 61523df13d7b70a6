"""STAMP's Session-Reflector (RFC 8762 section 4.3): each test packet goes back with our times in it.

No answer is longer than what it answers: TWAMP Light's packets, which may be up to three octets shorter,
get the answer without its last octets, that must be zero. Shorter ones, for which RFC 8762 section 4.6 would
have an answer that is longer, get none.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols._clock_error import ClockError
from netecho.protocols._datagram_server import DatagramServer
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stamp_packets import PacketError, ReflectorPacket, SenderPacket, sender_timestamp_in
from netecho.protocols._timestamps import ntp_from, unix_ns_from

REFLECTED: Final = "an answer, not a test packet"
_LOOP_NS: Final = 60_000_000_000
"""How long after we sent an answer its timestamp is recognised in another reflector's answer."""
_WRAP: Final = 1 << 32


class Sessions:
    """How many answers each peer has been sent.

    Args:
        most: peers that are remembered; beyond that, the one answered longest ago is forgotten.
        idle_ns: how long a peer may be silent before it begins a new session.
    """

    MOST: Final = 1 << 14
    IDLE_NS: Final = 300_000_000_000

    def __init__(self, most: int = MOST, idle_ns: int = IDLE_NS) -> None:
        self._most = most
        self._idle_ns = idle_ns
        self._peers: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def next_number(self, peer: tuple[str, int], now_ns: int) -> int:
        """Return the number of the answer that a peer is sent now: from 0, and in 32 bits."""
        number, last_ns = self._peers.pop(peer, (0, now_ns))
        if now_ns - last_ns > self._idle_ns:
            number = 0
        self._peers[peer] = (number + 1) % _WRAP, now_ns
        if len(self._peers) > self._most:
            self._peers.popitem(last=False)
        return number


class Reflector(DatagramServer):
    """A reflector's port, which is a `TimedPort`.

    Two reflectors could answer each other for ever. But another reflector's answer to our answer has the time
    in it at which we sent ours, where a test packet has zeros: it gets no answer.

    Args:
        reactor: runs it.
        settings: how it answers.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self, reactor: Any, settings: ListenSettings, clock: Callable[[], int] = time.time_ns
    ) -> None:
        super().__init__(reactor, settings)
        self._key = settings.key
        self._answers = settings.reply is not ReplyMode.DISCARD
        self._sessions = Sessions() if settings.stateful else None
        self._clock = clock
        self._clock_error = ClockError()

    def answer(self, datagram: bytes, source: tuple[str, int]) -> None:
        """See `DatagramServer.answer`."""
        received_ns, hops = self.transport.socket.received_ns, self.transport.socket.hops
        try:
            packet = SenderPacket.decode(datagram, self._key)
        except PacketError as error:
            self.drop(str(error), source)
            return
        if self._sent_lately(sender_timestamp_in(datagram, authenticated=self._key is not None), received_ns):
            self.drop(REFLECTED, source)
        elif self._answers:
            number = packet.sequence
            if self._sessions is not None:
                number = self._sessions.next_number(source, received_ns)
            answer = ReflectorPacket(
                sequence=number,
                timestamp=ntp_from(self._clock()),
                error=self._clock_error(),
                receive_timestamp=ntp_from(received_ns),
                sender_sequence=packet.sequence,
                sender_timestamp=packet.timestamp,
                sender_error=packet.error,
                sender_ttl=hops,
                rest=packet.rest,
            )
            self.send(answer.encode(self._key)[: len(datagram)], source)

    def _sent_lately(self, timestamp: int, now_ns: int) -> bool:
        """Return whether we may have put a timestamp into an answer a short while ago."""
        return timestamp != 0 and abs(unix_ns_from(timestamp, now_ns) - now_ns) < _LOOP_NS
