"""HTTP/2's frames over one connection: those of `h2`, which has every GOAWAY be the end of all streams.

This is the one file that knows what `h2` keeps of that to itself. As of 4.4 there is no other way to finish
what is under way (RFC 9113 section 6.8).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
from hyperframe.frame import GoAwayFrame

from netecho.protocols._http2_headers import RememberingConnection

WINDOW: Final = 1 << 20
"""Bytes of all bodies of a connection that may wait for their echoes to be taken."""


class _States(H2ConnectionStateMachine):
    """Those of a connection whose streams go on when the other end says that it takes no more."""

    _transitions: ClassVar[dict[Any, Any]] = {  # type: ignore[misc]
        **H2ConnectionStateMachine._transitions,
        **{
            (state, ConnectionInputs.RECV_GOAWAY): (None, state)
            for state in (ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
        },
    }


class HTTP2Wire(RememberingConnection):
    """The core of one connection's HTTP, at either end."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _States()


class ServerWire(HTTP2Wire):
    """That of a server, with windows of its size. It remembers fewer of the streams that have ended."""

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
