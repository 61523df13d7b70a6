"""How long another end is left alone that could not be reached, before it is asked again."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.05
LONGEST: Final = 1.0
"""Seconds: twice as long after each attempt, until one has brought an answer."""


class Backoff:
    """The pauses between attempts to reach the same other end."""

    def __init__(self) -> None:
        self._next = FIRST

    def pause(self) -> float:
        """Return for how many seconds to leave it alone now."""
        pause, self._next = self._next, min(2 * self._next or FIRST, LONGEST)
        return pause

    def waive(self) -> None:
        """Have no pause before the next attempt: it has answered, and if it ends, then in order."""
        self._next = 0.0

    def reset(self) -> None:
        """Begin anew: it has answered."""
        self._next = FIRST
