"""Servers that look from time to time whether their peers get on: what those may take, and who is overdue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from netecho.protocols._contract import ListenSettings
from netecho.protocols._stream_server import ReplyFactory


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long peers may take, in seconds."""

    start: float = 10.0
    """For a step of the protocol, as the head of a request, however its bytes come; for a body, and to take
    an answer, so long and more as it moves:"""
    rate: float = 1024.0
    """For so many bytes of a body or an answer they get a second more."""
    idle: float = 12.0
    """Until the next request. Who reads an answer slowly that its system has taken whole looks idle too."""
    look: float = 1.0
    """Between looks at what they do."""


class Progress:
    """What one connection is at, as often as somebody looks.

    Every exchange has its own time, which starts with it and grows with what is moved in it: bytes that come
    one by one do not buy more of it.
    """

    __slots__ = ("_moved", "_since", "_stage")

    def __init__(self, now: float) -> None:
        self._stage: Any = None
        self._since = now
        self._moved = 0

    def is_overdue(self, now: float, stage: Any, moved: int, patience: Patience, *, idle: bool) -> bool:
        """Return whether a peer has taken too long.

        Args:
            now: in seconds.
            stage: what it is at; while that is the same, its time runs.
            moved: bytes of bodies and answers, so far.
            patience: what it may take.
            idle: nothing is under way.
        """
        if stage != self._stage:
            self._stage, self._since, self._moved = stage, now, moved
        allowed = patience.idle if idle else patience.start + (moved - self._moved) / patience.rate
        return now - self._since >= allowed


class LastWords:
    """How a peer takes the last that it is owed, when nothing more is written to it."""

    __slots__ = ("_progress", "_taken", "_waiting")

    def __init__(self, now: float) -> None:
        self._progress = Progress(now)
        self._taken = 0
        self._waiting = 0

    def is_overdue(self, now: float, waiting: int, patience: Patience) -> bool:
        """Return whether a peer takes too long for what the system has for it.

        Args:
            now: in seconds.
            waiting: bytes that the system has; if there are none, nobody is waited for.
            patience: what it may take.
        """
        # What is gone has been taken. What has come in its place from the transport's buffer nobody says.
        self._taken += max(0, self._waiting - waiting)
        self._waiting = waiting
        overdue = self._progress.is_overdue(now, bool(waiting), self._taken, patience, idle=False)
        return overdue and bool(waiting)


class WatchedFactory(ReplyFactory):
    """Builds the connections of one listener, and has them `look` how they get on while there are any.

    Args:
        reactor: where they run.
        settings: of the listener.
        protocol: makes one.
        patience: how often they look, and what a peer may take.
    """

    def __init__(
        self, reactor: Any, settings: ListenSettings, protocol: Callable[[], Any], patience: Patience
    ) -> None:
        super().__init__(reactor, settings, protocol)
        self._patience = patience
        self._call: Any = None

    def opened(self, connection: Any) -> None:
        """Look at it from time to time, as at all others."""
        super().opened(connection)
        if self._call is None:
            self._call = self.reactor.callLater(self._patience.look, self._look)

    def closed(self, connection: Any, reason: Any, elapsed_ns: int) -> None:
        """Look no more, if it was the last."""
        super().closed(connection, reason, elapsed_ns)
        if not self.connections and self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self.reactor.callLater(self._patience.look, self._look)
        now = self.reactor.seconds()
        for connection in list(self.connections):
            connection.look(now, self._patience)  # type: ignore[attr-defined]
