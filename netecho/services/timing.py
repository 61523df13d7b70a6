"""How an open loop waits for the next exchange that is due."""

from __future__ import annotations

from typing import Final

AWAKE_NS: Final = 200_000
"""How long before something is due a hybrid timer is awake: it takes most systems less to wake a process."""

TURN_NS: Final = 200_000
"""What no turn of the reactor takes in which nothing is done, unless it was another process that had the
processor meanwhile."""


class SimpleTimer:
    """Sleeps until something is due, and wakes up as late as the system wakes it."""

    awake_ns = 0

    def sleep_ns(self, wait_ns: int, now_ns: int, done: int) -> int:
        """Return for how long to sleep; see `HybridTimer`."""
        return wait_ns


class HybridTimer:
    """Sleeps until shortly before something is due, and then has the reactor turn without any sleep.

    `irtt` and others have the same under this name.
    """

    def __init__(self) -> None:
        self.awake_ns = 0
        """How long it was awake for nothing: turns of the reactor in which nothing was done."""
        self._turned_ns: int | None = None
        self._done = 0

    def sleep_ns(self, wait_ns: int, now_ns: int, done: int) -> int:
        """Return for how long to sleep before the next look at what is due; 0 for a turn of the reactor.

        Args:
            wait_ns: when something is due, from now.
            now_ns: the time.
            done: how many things have been done so far, of whatever kind.
        """
        if self._turned_ns is not None and done == self._done and now_ns - self._turned_ns < TURN_NS:
            self.awake_ns += now_ns - self._turned_ns
        self._done = done
        if wait_ns > AWAKE_NS:
            self._turned_ns = None
            return wait_ns - AWAKE_NS
        self._turned_ns = now_ns
        return 0
