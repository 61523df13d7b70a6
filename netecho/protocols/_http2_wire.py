"""HTTP/2's frames over one connection: `h2`, except that streams outlive a GOAWAY (RFC 9113 section 6.8).

`h2` treats every GOAWAY as the end of all streams, and up to version 4.4 has no public way to finish those
that are under way. This is the only module that uses private parts of `h2` for it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
from hyperframe.frame import GoAwayFrame

from netecho.protocols._http2_headers import RememberingConnection

WINDOW: Final = 1 << 20
"""Bytes of a connection's flow-control window: of request bodies whose echoes have not been taken."""


class _States(H2ConnectionStateMachine):
    """The states of a connection whose streams go on after the other end has sent GOAWAY."""

    _transitions: ClassVar[dict[Any, Any]] = {  # type: ignore[misc]
        **H2ConnectionStateMachine._transitions,
        **{
            (state, ConnectionInputs.RECV_GOAWAY): (None, state)
            for state in (ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
        },
    }


class HTTP2Wire(RememberingConnection):
    """The sans-I/O core of one HTTP/2 connection, at either end."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _States()


class ServerWire(HTTP2Wire):
    """The core of a server's connection. It remembers fewer closed streams than `h2` does by default."""

    MAX_CLOSED_STREAMS = 1000

    def __init__(self) -> None:
        # The fields sent are our own, or were validated when they came: they need no validation again.
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # The default settings of `h2` are right: 100 streams, heads of 64 KiB, stream windows of 64 KiB.
        self.initiate_connection()
        self.increment_flow_control_window(WINDOW - 65_535)

    def forget(self) -> None:
        """Take no more frames: the connection has ended. No garbage collector need look for its core then."""
        self._frame_dispatch_table.clear()

    def farewell(self) -> tuple[int, bytes]:
        """Return the number of the last stream that has come, and a GOAWAY frame that names it.

        The streams up to that one go on (RFC 9113 section 6.8); `close_connection` would end them.
        """
        last = self.highest_inbound_stream_id
        return last, GoAwayFrame(last_stream_id=last).serialize()
