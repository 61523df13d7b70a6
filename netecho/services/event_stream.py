"""A text stream for what a server tells as it goes on: no peer waits because whoever reads that does not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final, TextIO

from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.services.standardio import OutputConsumer

LAST_LINES_TIMEOUT: Final = 5.0
"""Seconds that whoever reads has at the end for what waits to be read."""


@implementer(IPushProducer)
class EventStream(io.TextIOBase):
    """Passes what is written on to another stream, as fast as that takes it, and drops what has no room.

    Docker's `non-blocking` logs and HAProxy's do the same. The room is an `OutputConsumer`'s.

    Args:
        reactor: provides `IReactorFromThreads` and `IReactorTime`.
        stream: where to; nobody else writes to it until `finish` has.
        on_dropped: called when there is room again, with how often there was none.
        on_failed: called when it cannot be written any more: its disk is full, or its reader has gone.
    """

    def __init__(
        self,
        reactor: Any,
        stream: TextIO,
        on_dropped: Callable[[int], object],
        on_failed: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._stream = stream
        self._on_dropped = on_dropped
        self._on_failed = on_failed
        self._is_full = self._is_finishing = False
        self.dropped = 0
        """How often there was no room, as far as `on_dropped` has not been told."""
        self._consumer = OutputConsumer(reactor, stream.fileno())
        self._consumer.registerProducer(self, True)
        self._consumer.ended.addErrback(self._failed)
        self._consumer.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The other stream's."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Have lines written, or drop them."""
        if self._is_full:
            self.dropped += 1
        else:
            self._consumer.write(text.encode(self.encoding, self._stream.errors or "strict"))
        return len(text)

    def pauseProducing(self) -> None:
        """Drop what comes from now on."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """Take what comes again, and have it said what did not."""
        self._is_full = False
        if self.dropped and not self._is_finishing:
            dropped, self.dropped = self.dropped, 0
            self._on_dropped(dropped)

    def stopProducing(self) -> None:
        """Do nothing: nobody asks for it."""

    def _failed(self, reason: Failure) -> None:
        reason.trap(OSError)
        self._on_failed()

    async def finish(self) -> bool:
        """Wait until all has been written; return whether it has, and the other stream is free again."""
        self._is_finishing = True
        self._consumer.finish()
        try:
            await self._consumer.ended.addTimeout(LAST_LINES_TIMEOUT, self._reactor)
        except TimeoutError:
            return False
        return True
