"""What peers may have a server do for nothing."""

from __future__ import annotations

from typing import Final

CREDIT: Final = 400.0
"""Frames that move nothing which a peer may send at once; see `Credit`."""
REFILL: Final = 40.0
"""The same a second."""
PER_EXCHANGE: Final = 8.0
"""The same for an exchange that is complete."""
PER_FRAME: Final = 512
"""The same for so many bytes of content."""


class Credit:
    """What a peer may have us do for nothing: pings, settings, resets of what it has begun, and the like.

    Whoever has requests answered earns more of it than any client needs.
    """

    def __init__(self, now: float) -> None:
        self._left = CREDIT
        self._seen = now

    def spend(self, frames: int, now: float) -> bool:
        """Pay for frames; return whether there was enough for them."""
        self._left = min(CREDIT, self._left + (now - self._seen) * REFILL) - frames
        self._seen = now
        return self._left >= 0

    def earn(self, amount: float) -> None:
        """Add to it."""
        self._left = min(CREDIT, self._left + amount)
