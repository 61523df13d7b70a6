"""A client of HTTP/2 that a test turns by hand: `h2` writes its frames, and what comes is told as it comes.

`h2` would take nothing more of a server that has said GOAWAY.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from h2.connection import H2Connection
from hpack import Decoder
from hyperframe.frame import Frame, HeadersFrame

from tests.servers import receive_exactly

HEAD: Final = 9
"""Bytes of a frame's head."""
Fields = list[tuple[str, str]]


def head(method: str, path: str, *more: tuple[str, str]) -> Fields:
    """Return the fields of a request."""
    return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *more]


class Client:
    """A connection.

    Args:
        connection: a socket, to be closed by the caller.
        window: bytes of each answer that are taken.
    """

    def __init__(self, connection: socket.socket, window: int = 65_535) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self.h2 = H2Connection()
        self.h2.local_settings.initial_window_size = window
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()

    def ask(self, fields: Fields, body: bytes = b"", *, ended: bool = True) -> int:
        """Have a request ready to be sent; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=ended and not body)
        if body:
            self.h2.send_data(stream, body, end_stream=ended)
        return stream

    def flush(self) -> None:
        """Send all that is ready, in one segment if it is small."""
        self._connection.sendall(self.h2.data_to_send())

    def next(self) -> Any:
        """Return the next frame, `None` at the end; that of a head has its fields in `fields`."""
        begun = receive_exactly(self._connection, HEAD)
        if not begun:
            return None
        frame, size = Frame.parse_frame_header(memoryview(begun))
        frame.parse_body(memoryview(receive_exactly(self._connection, size)))
        if isinstance(frame, HeadersFrame):
            frame.fields = dict(self._decoder.decode(frame.data, raw=True))  # type: ignore[attr-defined]
        return frame

    def until(self, name: str, stream: int = 0) -> Any:
        """Return the next frame with that name on a stream, passing over all others."""
        while (frame := self.next()) is not None:
            if (type(frame).__name__, frame.stream_id) == (f"{name}Frame", stream):
                return frame
        raise AssertionError(f"no {name} came")

    def status(self, stream: int) -> int:
        """Return that of the answer whose head comes next on a stream."""
        return int(self.until("Headers", stream).fields[b":status"])
