"""How much work a peer may cause that serves nothing: a bound on floods of pings, resets and the like."""

from __future__ import annotations

from typing import Final

CREDIT: Final = 400.0
"""How many frames that move nothing a peer may send at once; see `Credit`."""
REFILL: Final = 40.0
"""How many more it may send for each second that passes."""
PER_EXCHANGE: Final = 8.0
"""How many more for each exchange that is complete."""
PER_FRAME: Final = 512
"""Bytes of content for which it may send one more."""


class Credit:
    """A peer's credit for frames that move nothing: pings, settings, resets of its own, and the like.

    It is a token bucket. A peer whose requests are answered earns more than any honest client needs.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._left = CREDIT
        self._seen = now

    def spend(self, frames: int, now: float) -> bool:
        """Pay for frames at a time in seconds; return whether there was credit enough."""
        self._left = min(CREDIT, self._left + (now - self._seen) * REFILL) - frames
        self._seen = now
        return self._left >= 0

    def earn(self, amount: float) -> None:
        """Add to the credit, up to `CREDIT`."""
        self._left = min(CREDIT, self._left + amount)
