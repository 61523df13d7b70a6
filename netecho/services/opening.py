"""How long the steps take by which a connection is opened."""

from __future__ import annotations

from collections.abc import Callable


class Opening:
    """The opening of one connection, which begins when this is made.

    Args:
        clock: monotonic, in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.begun_ns = clock()
        self.connected_ns: int | None = None
        """When the transport beneath was connected; `None` if it was not, or by the handshake alone."""

    def on_connected(self) -> None:
        """Note that the transport beneath is connected; see `netecho.protocols._contract.Adapter.connect`."""
        self.connected_ns = self._clock()

    @property
    def connect_ns(self) -> int | None:
        """What connecting took; `None` if there is no such step."""
        return None if self.connected_ns is None else self.connected_ns - self.begun_ns

    def handshake_ns(self, opened_ns: int) -> int:
        """Return what the handshake took, at whose end it was so late."""
        return opened_ns - (self.begun_ns if self.connected_ns is None else self.connected_ns)
