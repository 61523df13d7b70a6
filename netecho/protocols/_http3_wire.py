"""HTTP/3's frames over one QUIC connection: aioquic's, with limits on what is kept for a peer.

With a dynamic QPACK table a peer could refer to kilobytes that we remember by a single byte, and aioquic
buffers a frame until its end, however long it is said to be. This is the only module that uses private parts
of aioquic's HTTP/3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import pylsqpack
from aioquic._buffer import Buffer, BufferReadError
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import (
    ErrorCode,
    FrameError,
    FrameType,
    H3Connection,
    H3Stream,
    HeadersState,
    IdError,
    MessageError,
    ProtocolError,
    Setting,
    encode_frame,
)
from aioquic.h3.events import H3Event, Headers

from netecho.protocols._http_limits import MOST_HEAD
from netecho.protocols._quic_wire import Wire

ALPN: Final = ("h3",)
FAREWELL: Final = (int(ErrorCode.H3_NO_ERROR), True)
"""How a connection ends in order; see `netecho.protocols._quic_link.Link.farewell`."""
OVERHEAD: Final = 32
"""Bytes that are added for each field to the size of a head (RFC 9114 section 4.2.2)."""
TABLE: Final = 4096
"""Bytes of the largest QPACK table that we have a peer keep for us, however large it allows."""
BLOCKED: Final = 16
"""Streams that may be blocked by entries of that table which are on their way."""


class ExcessError(ProtocolError):
    """A head is larger than `MOST_HEAD`."""

    error_code = ErrorCode.H3_EXCESSIVE_LOAD


@dataclasses.dataclass
class MalformedReceived(H3Event):
    """A request is malformed: nothing more of it is told."""

    stream_id: int


class HTTP3Wire(H3Connection):
    """The sans-I/O core of one HTTP/3 connection.

    Args:
        wire: the QUIC connection beneath.
    """

    def __init__(self, wire: Wire) -> None:
        self.frames = 0
        """How many frames have come, of any type."""
        self.unanswered_from: int | None = None
        """The first stream whose request a server does not answer, as it takes no more requests on this
        connection (GOAWAY, RFC 9114 section 5.2); `None`: it has said no such thing."""
        self._lent: Headers | None = None
        """The head to which `:authority` has just been added, for aioquic to check."""
        self._malformed: set[int] = set()
        """The streams of malformed requests of which more may come."""
        self._wire = wire
        super().__init__(wire)

    # What we allow a peer.

    def _init_connection(self) -> None:
        # No pushes and no dynamic table, so that no stream is ever blocked by a missing entry.
        self._max_push_id = None
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return {
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.QPACK_BLOCKED_STREAMS: 0,
            Setting.MAX_FIELD_SECTION_SIZE: MOST_HEAD,
        }

    def _validate_settings(self, settings: dict[int, int]) -> None:
        super()._validate_settings(settings)
        for setting, most in (
            (Setting.QPACK_MAX_TABLE_CAPACITY, TABLE),
            (Setting.QPACK_BLOCKED_STREAMS, BLOCKED),
        ):
            settings[setting] = min(most, settings.get(setting, 0))

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        if sum(len(name) + len(value) + OVERHEAD for name, value in headers) > MOST_HEAD:
            raise ExcessError(f"a head has {MOST_HEAD} bytes at most")
        if not self._is_client:
            named = dict(headers)
            # Host may stand for it (RFC 9114 section 4.3.1), which aioquic does not accept.
            if b":authority" not in named and b":method" in named and b"host" in named:
                headers = self._lent = [(b":authority", named[b"host"]), *headers]
        return headers

    def _check_control_frame_type(self, frame_type: int) -> None:
        self.frames += 1
        super()._check_control_frame_type(frame_type)
        if frame_type == FrameType.GOAWAY and self._is_client:
            # aioquic drops what this one says, but not what a MAX_PUSH_ID does, of which a server has none.
            self._stream[self._peer_control_stream_id or 0].frame_type = FrameType.MAX_PUSH_ID

    def _handle_control_frame(self, frame_type: int, frame_data: bytes) -> None:
        if frame_type != FrameType.MAX_PUSH_ID or not self._is_client:
            super()._handle_control_frame(frame_type, frame_data)
            return
        content = Buffer(data=frame_data)
        try:
            stream = content.pull_uint_var()
        except BufferReadError:
            raise FrameError("GOAWAY names no stream") from None
        if not content.eof():
            raise FrameError("GOAWAY names more than a stream")
        if stream % 4 or (self.unanswered_from is not None and stream > self.unanswered_from):
            raise IdError("GOAWAY names a stream that it must not")
        self.unanswered_from = stream

    def _check_request_or_push_frame_type(self, frame_type: int, stream: H3Stream) -> None:
        self.frames += 1
        super()._check_request_or_push_frame_type(frame_type, stream)

    def _check_content_length(self, stream: H3Stream) -> None:
        # An answer to HEAD or of status 304 has the length of a content that is not sent.
        if stream.content_length or not self._is_client:
            super()._check_content_length(stream)

    def _handle_request_or_push_end(self, stream: H3Stream) -> list[H3Event]:
        if self._is_client and stream.headers_recv_state is HeadersState.INITIAL:
            raise MessageError("an answer has no head")
        return super()._handle_request_or_push_end(stream)

    def _receive_request_or_push_data(
        self, stream: H3Stream, data: bytes, stream_ended: bool
    ) -> list[H3Event]:
        if stream.stream_id in self._malformed:
            stream.receiving_ended = stream_ended
            return []
        try:
            came = super()._receive_request_or_push_data(stream, data, stream_ended)
            length = stream.expected_content_length
            if length is not None and stream.content_length > length:
                raise MessageError("a body is longer than its head says")
        except MessageError:
            # aioquic ends the connection, and with it the requests of others that a proxy may have sent on
            # it: this is an error of the stream (RFC 9114 section 4.1.2).
            if self._is_client:
                raise
            stream.buffer = b""
            if not stream_ended:
                self._malformed.add(stream.stream_id)
            return [MalformedReceived(stream.stream_id)]
        return came

    def handle_event(self, event: Any) -> list[Any]:
        """Take an event of QUIC; return the events of HTTP that follow from it."""
        number = getattr(event, "stream_id", -1)
        stream = self._stream.get(number)
        try:
            came = super().handle_event(event)
        except RuntimeError:
            # The peer has stopped one of our QPACK streams in the same packet.
            return self._refuse(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "a critical stream is stopped")
        if self._lent is not None:
            del self._lent[0]
            self._lent = None
        critical = (self._peer_encoder_stream_id, self._peer_decoder_stream_id)
        if number in critical and getattr(event, "end_stream", False):
            return self._refuse(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "a critical stream is closed")
        stream = stream or self._stream.get(number)
        if number not in self._stream:
            self._malformed.discard(number)
        if stream is not None and len(stream.buffer) > MOST_HEAD:
            return self._refuse(ErrorCode.H3_EXCESSIVE_LOAD, "a frame is larger than is taken")
        return came

    def _refuse(self, code: int, reason: str) -> list[Any]:
        """Close the connection with an error, unless it is closed already."""
        if not self._is_done:
            self._is_done = True
            self._quic.close(code, reason_phrase=reason)
        return []

    @property
    def problem(self) -> str | None:
        """Why we end the connection, as the other end broke a rule of HTTP/3; `None` if it has not."""
        if not self._is_done or (why := self._wire.ended) is None:
            return None
        return why.reason_phrase or ErrorCode(why.error_code).name

    # What is kept.

    def knows(self, stream: int) -> bool:
        """Return whether a stream is open, and something has come on it."""
        return stream in self._stream

    @property
    def unfinished(self) -> int:
        """Bytes of incomplete frames, which are kept until their end has come."""
        return sum([len(one.buffer) for one in self._stream.values()])

    # What only one end says.

    def cancel(self, stream: int, code: int) -> None:
        """Reset our side of a stream, and have the peer stop sending on it."""
        self._quic.reset_stream(stream, code)
        if (ours := self._stream.get(stream)) is not None:
            ours.sending_ended = True
            if ours.is_ended():
                del self._stream[stream]
            else:
                self._quic.stop_stream(stream, code)

    def stop(self, stream: int, code: int) -> None:
        """Have the peer stop sending a request that has been answered (RFC 9114 section 4.1)."""
        self._quic.stop_stream(stream, code)

    def go_away(self, stream: int) -> None:
        """Send GOAWAY: no request from this stream on is answered (RFC 9114 section 5.2)."""
        self._quic.send_stream_data(
            self._local_control_stream_id or 0, encode_frame(FrameType.GOAWAY, encode_uint_var(stream))
        )
