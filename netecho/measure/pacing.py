"""When to send: a schedule that is a pure function of the exchange's number, so that it cannot drift."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Pacer:
    """Exchanges at a steady interval, until a count or a time is reached, whichever comes first.

    Times are in nanoseconds from the start.
    """

    interval_ns: int
    count: int | None = None
    duration_ns: int | None = None
    """Nothing is due at this time or after it."""

    def due_ns(self, sequence: int) -> int | None:
        """Return when an exchange is due, by its number from 0; `None` if the schedule ends before it."""
        if self.count is not None and sequence >= self.count:
            return None
        due = sequence * self.interval_ns
        if self.duration_ns is not None and due >= self.duration_ns:
            return None
        return due
