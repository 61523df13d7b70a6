"""What is due and finds no connection free: held back, counted, and sent as soon as one is, in due order.

An exchange that was held back counts its response time from when it was due and its service time from
when it left at last, which is what tells a server that stalls from one that is slow (coordinated
omission). The bookkeeping is a few calls around the ones that send:

    for due_ns, _ in agenda.due_until(now):
        if idle and not holdback.waiting:
            send(idle.pop(), due_ns)
        else:
            holdback.hold(due_ns)
    ...
    # when a connection has got its echo, or has opened:
    if holdback.waiting:
        send(connection, holdback.release(now))
    else:
        idle.append(connection)

Times are integers of nanoseconds on one clock, which is the caller's.
"""

from __future__ import annotations

import array
import dataclasses
from typing import Final

_SPENT: Final = 4096
"""Released entries kept at most, unless more are waiting, before they are cleared away."""


@dataclasses.dataclass(frozen=True, slots=True)
class HeldBack:
    """What was held back, in numbers that add up over connections and workers."""

    count: int = 0
    """How many exchanges did not leave when they were due, for want of a connection."""
    unsent: int = 0
    """How many of them never left. They are in no other count, nor in any distribution."""
    longest_ns: int = 0
    """The longest that one waited to leave, or waited in vain."""

    def __add__(self, other: HeldBack) -> HeldBack:
        return HeldBack(
            self.count + other.count,
            self.unsent + other.unsent,
            max(self.longest_ns, other.longest_ns),
        )


class Holdback:
    """The exchanges that wait for a connection, or for one connection if the rate is that of each."""

    __slots__ = ("_due", "_first", "_longest_ns", "count")

    def __init__(self) -> None:
        self.count = 0
        """How many have been held back so far."""
        # Eight bytes each, so that a server which stands still for long does not cost memory in plenty.
        self._due = array.array("q")
        self._first = 0
        self._longest_ns = 0

    @property
    def waiting(self) -> int:
        """How many are held back now."""
        return len(self._due) - self._first

    def hold(self, due_ns: int) -> None:
        """Hold back an exchange. They come in the order in which they are due."""
        self._due.append(due_ns)
        self.count += 1

    def release(self, now_ns: int) -> int:
        """Return when the exchange was due that leaves now: the first of those that wait.

        Raises:
            IndexError: none waits.
        """
        due_ns = self._due[self._first]
        self._first += 1
        if now_ns - due_ns > self._longest_ns:
            self._longest_ns = now_ns - due_ns
        if self._first >= _SPENT and self._first >= len(self._due) - self._first:
            del self._due[: self._first]
            self._first = 0
        return due_ns

    def totals(self, now_ns: int) -> HeldBack:
        """Return what it all came to, if nothing leaves any more."""
        longest_ns = self._longest_ns
        if self.waiting:
            longest_ns = max(longest_ns, now_ns - self._due[self._first])
        return HeldBack(self.count, self.waiting, longest_ns)
