"""Exchanges over QUIC, each on a stream of its own."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset
from twisted.python.failure import Failure

from netecho.protocols._contract import OnLost, OnReply
from netecho.protocols._quic_client import ClientLink, ResetError, Transport
from netecho.protocols._quic_wire import NO_ERROR

_E = TypeVar("_E")


class Exchanges(Generic[_E]):
    """What is common to exchangers each of whose exchanges is a stream.

    Args:
        link: the connection.
        on_reply: called with each answer.
        on_lost: called when the connection is lost.
    """

    transport: Transport

    def __init__(self, link: ClientLink, on_reply: OnReply, on_lost: OnLost) -> None:
        self._link = link
        self._on_reply: OnReply = on_reply
        self._on_lost = on_lost
        self._most = link.route.multiplex.streams
        self._exchanges: dict[int, _E] = {}
        """Those under way, by their streams."""
        self._queue: collections.deque[tuple[int, bytes]] = collections.deque()
        """Messages for which there is no stream yet."""

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        if self._most is not None and len(self._exchanges) >= self._most:
            self._queue.append((sequence, payload))
            return
        stream = self._link.wire.get_next_available_stream_id()
        self._exchanges[stream] = self._begin(stream, sequence, payload)
        self._link.flush_soon()

    def _begin(self, stream: int, sequence: int, payload: bytes) -> _E:
        """Send a message on a stream; return what is known of its exchange."""
        raise NotImplementedError

    def _end(self, stream: int) -> None:
        """Forget an exchange, and begin one that has waited for its place."""
        del self._exchanges[stream]
        if self._queue:
            self.send(*self._queue.popleft())

    def flushed(self) -> None:
        """Pause the producer while the other end does not read."""
        self.transport.regulate(self._link.wire.backlog)

    def lost(self, reason: Failure) -> None:
        """Say so, unless we did it."""
        on_lost, self._on_lost = self._on_lost, _ignore
        self._on_reply = _ignore
        on_lost(reason)

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = self._on_reply = _ignore
        self._link.abort()


def _ignore(*_: object) -> None:
    """Take what nobody waits for any more."""


class _Echo:
    __slots__ = ("missing", "pieces", "sequence")

    def __init__(self, sequence: int, size: int) -> None:
        self.sequence = sequence
        self.missing = size
        self.pieces: list[bytes] = []


class StreamsExchanger(Exchanges[_Echo]):
    """Exchanges whose bytes come back on their streams; provides `netecho.protocols._contract.Exchanger`."""

    def __init__(self, link: ClientLink, on_reply: OnReply, on_lost: OnLost) -> None:
        super().__init__(link, on_reply, on_lost)
        self.transport = link.transport
        link.use(self)

    def _begin(self, stream: int, sequence: int, payload: bytes) -> _Echo:
        self._link.wire.send_stream_data(stream, payload, True)
        return _Echo(sequence, len(payload))

    def happened(self, event: QuicEvent) -> None:
        """Take echoes, or some of one."""
        if isinstance(event, StreamDataReceived):
            echo = self._exchanges.get(event.stream_id)
            if echo is None:
                return
            self.transport.protocol.dataReceived(event.data)
            echo.pieces.append(event.data)
            echo.missing -= len(event.data)
            if event.end_stream:
                self._complete(event.stream_id, echo)
            elif echo.missing < 0:  # nobody is to send us more than we asked for
                self._link.wire.stop_stream(event.stream_id, NO_ERROR)
                self._complete(event.stream_id, echo)
        elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id in self._exchanges:
            # One message gets no echo, and `OnReply` cannot say so: only the end of the connection can.
            self.lost(Failure(ResetError(f"{ResetError.__doc__}: {event.error_code:#x}")))
            self._link.abort()

    def _complete(self, stream: int, echo: _Echo) -> None:
        self._end(stream)
        pieces = echo.pieces
        self._on_reply(echo.sequence, pieces[0] if len(pieces) == 1 else b"".join(pieces))
