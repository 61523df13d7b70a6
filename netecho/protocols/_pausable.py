"""Exchangers whose answers can be paused, by who does not take them fast enough."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol


class Pausable:
    """An exchanger that is paused as a producer of answers; provides `IPushProducer`, but for its end."""

    transport: Any
    _is_paused = False

    def pauseProducing(self) -> None:
        """Pass on no answers for now."""
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Pass on answers again."""
        self._is_paused = False
        self.transport.resumeProducing()


class PausableProtocol(Pausable, Protocol):
    """The same for a Twisted protocol, whose pause goes on when it is connected again."""

    def makeConnection(self, transport: Any) -> None:
        """Begin with a connection; one that is not the first may be paused at once."""
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        if self._is_paused:
            self.transport.pauseProducing()
