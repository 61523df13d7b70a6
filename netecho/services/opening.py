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
        self._steps: list[int] = []
        """When the transport beneath was connected; when TLS began, if that was later; when it was there."""

    def on_connected(self) -> None:
        """Note a step; see `netecho.protocols._contract.Adapter.connect`."""
        self._steps.append(self._clock())

    @property
    def connected_ns(self) -> int | None:
        """When the transport beneath was connected; `None` if it was not, or by the handshake alone."""
        return self._steps[0] if self._steps else None

    @property
    def connect_ns(self) -> int | None:
        """What connecting took; `None` if there is no such step."""
        return self._steps[0] - self.begun_ns if self._steps else None

    def handshake_ns(self, opened_ns: int) -> int:
        """Return what the handshake took: until `opened_ns`, if nobody told that it was over before."""
        if len(self._steps) < 2:
            return opened_ns - (self._steps[0] if self._steps else self.begun_ns)
        return self._steps[-1] - self._steps[-2]
