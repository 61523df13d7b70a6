"""HTTP/2's frames over one connection of a server: those of `h2`, with windows and a memory of our sizes."""

from __future__ import annotations

from typing import Final

from h2.config import H2Configuration
from hyperframe.frame import GoAwayFrame

from netecho.protocols._http2_headers import RememberingConnection

WINDOW: Final = 1 << 20
"""Bytes of all bodies of a connection that may wait for their echoes to be taken."""


class HTTP2Wire(RememberingConnection):
    """The core of one connection's HTTP. It remembers fewer of the streams that have ended."""

    MAX_CLOSED_STREAMS = 1000

    def __init__(self) -> None:
        # What is sent of a head is ours, or what has been found to be in order as it came.
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # Its own settings are those that are wanted: 100 streams, heads of 64 KiB, windows of 64 KiB.
        self.initiate_connection()
        self.increment_flow_control_window(WINDOW - 65_535)

    def farewell(self) -> tuple[int, bytes]:
        """Return the last stream that has come, and what says that we answer none after it.

        The streams up to there go on (RFC 9113 section 6.8). `close_connection` would end them.
        """
        last = self.highest_inbound_stream_id
        return last, GoAwayFrame(last_stream_id=last).serialize()
