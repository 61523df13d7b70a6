"""aioquic's QUIC connection, with bounds on what a peer can have it keep, and have it do for nothing.

With `_quic_wire`, whose `Wire` is built on this, the only file that uses aioquic's private attributes.
aioquic bounds most of what a peer can choose, but

- a peer that sends every second byte of a stream has it remember each gap, and go through all for each byte;
- a peer that acknowledges nothing has it remember every acknowledgement that it has sent;
- a TLS message that claims to be 16 MiB long is collected, even before anybody knows who sends it;
- a packet can be full of frames that move nothing, each of which takes as long as one that does.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from aioquic.quic.connection import QuicConnection, QuicConnectionError
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.packet import QuicFrameType as Frame
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import StreamFinishedError

MOST_GAPS: Final = 1000
"""Gaps in what has come of a stream. An honest peer makes hundreds, when every other packet of a burst is
lost."""
MOST_CRYPTO: Final = 64 << 10
"""Bytes of a TLS message that is not complete yet: more than any chain of certificates has."""
MOST_ACKNOWLEDGEMENTS: Final = 1000
"""Packets with acknowledgements alone that are remembered: a peer need not acknowledge these."""
_FEW: Final = 16
_MOVES_NOTHING: Final = (
    Frame.PING,
    Frame.ACK,
    Frame.ACK_ECN,
    Frame.STOP_SENDING,
    Frame.MAX_DATA,
    Frame.MAX_STREAM_DATA,
    Frame.MAX_STREAMS_BIDI,
    Frame.MAX_STREAMS_UNI,
    Frame.DATA_BLOCKED,
    Frame.STREAM_DATA_BLOCKED,
    Frame.STREAMS_BLOCKED_BIDI,
    Frame.STREAMS_BLOCKED_UNI,
    Frame.NEW_CONNECTION_ID,
    Frame.RETIRE_CONNECTION_ID,
    Frame.PATH_CHALLENGE,
    Frame.PATH_RESPONSE,
)


class _Ranges(RangeSet):
    """Finds the place of what is added by bisection; aioquic's own goes through all ranges."""

    def add(self, start: int, stop: int | None = None) -> None:
        """Add a range."""
        ranges: list[range] = self._RangeSet__ranges  # type: ignore[attr-defined]
        if stop is None:
            stop = start + 1
        first = last = bisect_left(ranges, start, key=attrgetter("stop"))
        while last < len(ranges) and ranges[last].start <= stop:
            last += 1
        if first < last:
            start, stop = min(start, ranges[first].start), max(stop, ranges[last - 1].stop)
        ranges[first:last] = [range(start, stop)]


class BoundedConnection(QuicConnection):
    """One connection."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.idle_frames = 0
        """How many frames have come that move nothing (`_MOVES_NOTHING`, or a frame of a stream or of TLS
        with nothing new)."""
        frames = self._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        for kind in _MOVES_NOTHING:
            take, epochs = frames[kind]
            frames[kind] = functools.partial(self._take_idly, take), epochs

    def _take_idly(self, take: Callable[..., None], context: Any, frame_type: int, buf: Any) -> None:
        self.idle_frames += 1
        take(context, frame_type, buf)

    @property
    def out_of_order(self) -> int:
        """Bytes kept of what has come behind gaps, over all streams."""
        return sum([len(one.receiver._buffer) for one in self._streams.values()])

    def _handle_stream_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        start = buf.tell()
        stream = buf.pull_uint_var()
        buf.seek(start)
        came, told = self._local_max_data.used, len(self._events)
        try:
            super()._handle_stream_frame(context, frame_type, buf)
        except StreamFinishedError:
            self.idle_frames += 1
            raise
        if self._local_max_data.used == came and len(self._events) == told:
            self.idle_frames += 1
        one = self._streams.get(stream)
        if one is not None:
            self._check_gaps(one, frame_type)

    def _handle_reset_stream_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        told = len(self._events)
        try:
            super()._handle_reset_stream_frame(context, frame_type, buf)
        finally:
            if len(self._events) == told:
                self.idle_frames += 1

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        start = buf.tell()
        stop = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        stream = self._crypto_streams[context.epoch]
        receiver = stream.receiver
        # The TLS layer has the beginning of the next message.
        if stop - receiver.starting_offset() + len(self.tls._receive_buffer) > MOST_CRYPTO:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too large")
        came = receiver.highest_offset, receiver.starting_offset()
        super()._handle_crypto_frame(context, frame_type, buf)
        if (receiver.highest_offset, receiver.starting_offset()) == came:
            self.idle_frames += 1
        self._check_gaps(stream, frame_type)

    def _check_gaps(self, stream: Any, frame_type: int) -> None:
        ranges = stream.receiver._ranges
        if len(ranges) > _FEW:
            if len(ranges) > MOST_GAPS:
                raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "too many gaps")
            if not isinstance(ranges, _Ranges):
                stream.receiver._ranges = _Ranges(ranges)

    def _handle_ack_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        super()._handle_ack_frame(context, frame_type, buf)
        if self._spaces[context.epoch].largest_acked_packet >= self._packet_number:
            # RFC 9000 section 13.1: such a peer would have us send faster than anything can arrive.
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "what was never sent is acknowledged"
            )

    def _consume_peer_cid(self) -> None:
        if not self._peer_cid_available:
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, Frame.NEW_CONNECTION_ID, "no connection ID is left"
            )
        super()._consume_peer_cid()

    def _idle_timeout(self) -> float:
        if self._remote_max_idle_timeout == 0:  # which says that there is none (RFC 9000 section 18.2)
            self._remote_max_idle_timeout = None
        return super()._idle_timeout()

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Return what is to be sent, and where to."""
        datagrams = super().datagrams_to_send(now)
        for space in self._spaces.values():
            sent: dict[int, QuicSentPacket] = space.sent_packets
            if len(sent) - space.ack_eliciting_in_flight > 2 * MOST_ACKNOWLEDGEMENTS:
                # It makes no difference whether they arrive.
                idle = [number for number, packet in sent.items() if not packet.in_flight]
                for number in idle[:-MOST_ACKNOWLEDGEMENTS]:
                    del sent[number]
        return datagrams
