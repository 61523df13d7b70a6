"""Time limits for peers: servers check from time to time whether each peer makes progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_server import ReplyFactory


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """The time limits for peers, in seconds."""

    start: float = 10.0
    """For a step of the protocol, such as the head of a request. A body, and the taking of an answer, get
    more as bytes are moved: see `rate`."""
    rate: float = 1024.0
    """Bytes of a body or an answer for which a peer gets a second more."""
    idle: float = 12.0
    """Until the next request. A peer also counts as idle while it reads an answer from its own buffers."""
    look: float = 1.0
    """Between two checks."""


class Progress:
    """The progress of one connection or exchange, as seen by repeated checks.

    The time of a step starts with the step, and grows only with the number of bytes that are moved: a peer
    that sends them one by one gains no time by that.
    """

    __slots__ = ("_moved", "_since", "_stage")

    def __init__(self, now: float) -> None:
        self._stage: Any = None
        self._since = now
        self._moved = 0

    def is_overdue(self, now: float, stage: Any, moved: int, patience: Patience, *, idle: bool) -> bool:
        """Return whether a peer has taken too long.

        Args:
            now: the time, in seconds.
            stage: the current step; its time runs as long as this value stays the same.
            moved: bytes of bodies and answers that have been moved so far.
            patience: the time limits.
            idle: nothing is under way.
        """
        if stage != self._stage:
            self._stage, self._since, self._moved = stage, now, moved
        allowed = patience.idle if idle else patience.start + (moved - self._moved) / patience.rate
        return now - self._since >= allowed


class LastWords:
    """How a peer takes the last answers, after which nothing more is written."""

    __slots__ = ("_progress", "_taken", "_waiting")

    def __init__(self, now: float) -> None:
        self._progress = Progress(now)
        self._taken = 0
        self._waiting = 0

    def is_overdue(self, now: float, waiting: int, patience: Patience) -> bool:
        """Return whether a peer takes too long over what is in the system's send buffer.

        Args:
            now: the time, in seconds.
            waiting: bytes in that buffer; if there are none, the peer is never overdue.
            patience: the time limits.
        """
        # This counts too few: bytes that the transport has put in the place of those taken are not seen.
        self._taken += max(0, self._waiting - waiting)
        self._waiting = waiting
        overdue = self._progress.is_overdue(now, bool(waiting), self._taken, patience, idle=False)
        return overdue and bool(waiting)


class WatchedFactory(ReplyFactory):
    """Builds the connections of one listener, and calls `look` of each from time to time.

    Args:
        reactor: their reactor.
        settings: the settings of the listener.
        protocol: makes the protocol of a connection.
        patience: the time limits, and the time between checks.
    """

    def __init__(
        self, reactor: Any, settings: ListenSettings, protocol: Callable[[], Any], patience: Patience
    ) -> None:
        super().__init__(reactor, settings, protocol)
        self._patience = patience
        self._call: Any = None

    def opened(self, connection: Any) -> None:
        """Count a new connection, and start the checks if it is the first."""
        super().opened(connection)
        if self._call is None:
            self._call = self.reactor.callLater(self._patience.look, self._look)

    def closed(self, connection: Any, reason: Any, elapsed_ns: int) -> None:
        """Count a connection as closed, and stop the checks if it was the last."""
        super().closed(connection, reason, elapsed_ns)
        if not self.connections and self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self.reactor.callLater(self._patience.look, self._look)
        now = self.reactor.seconds()
        for connection in list(self.connections):
            connection.look(now, self._patience)  # type: ignore[attr-defined]
