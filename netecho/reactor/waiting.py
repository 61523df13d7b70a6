"""Waiting awake for a moment before going to sleep.

To sleep and to be woken takes longer than to answer a small message, on a virtual machine most of all, and in
request and response each side waits for the other to wake. Network cards have the same under the name of busy
polling (`net.core.busy_poll`, in microseconds), and KVM for processors with nothing to do (`halt_poll_ns`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

ASLEEP_MOST: Final = 1023
"""Waits, at most, that are asleep from the beginning before it is tried again whether to be awake helps."""

LOOK: Final = 50e-6
"""Seconds that no look for events takes, unless it was another process that had the processor for them."""


class BusyPoll:
    """Looks for events again and again, for a moment, before it sleeps until one comes.

    Whether that helps is learnt from whether one came in that moment. If none did, the next three waits are
    asleep from the beginning; then fifteen, and so on to `ASLEEP_MOST`. If one did, half as many as before.
    So a process that has nothing to do sleeps, and so, nearly always, does one whose events come seldom, or
    one that would keep those it waits for from their processor. One whose events come several at a time
    sleeps too: the more of them have come by the time it wakes, the less it does for each.

    Args:
        poll: waits, at most so many seconds (`None` or less than 0: for ever), for at most so many events.
        moment: how long it looks for them, in seconds.
        clock: the time, in seconds.
    """

    __slots__ = ("_asleep", "_clock", "_left", "_moment", "_poll", "awake")

    def __init__(
        self,
        poll: Callable[[float | None, int], list[Any]],
        moment: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._poll = poll
        self._moment = moment
        self._clock = clock
        self.awake = 0.0
        """How long it has waited awake, in seconds by the clock: to ask for processor time takes longer."""
        self._asleep = 0
        """How many waits were to be asleep from the beginning after the last one that was not."""
        self._left = 0
        """How many of these are left, those not counted in which several events came."""

    def poll(self, timeout: float | None, most: int) -> list[Any]:
        """Wait as `poll` does, which was given."""
        poll = self._poll
        if self._left:
            events = poll(timeout, most)
            if timeout != 0 and len(events) < 2:
                self._left -= 1
            return events
        events = poll(0, most)
        if events or timeout == 0:
            if len(events) > 1:
                self._left = 1
            return events
        clock = self._clock
        now = clock()
        until = inf if timeout is None or timeout < 0 else now + timeout
        end = min(now + self._moment, until)
        while now < end:
            events = poll(0, most)
            last, now = now, clock()
            if (took := now - last) < LOOK:
                self.awake += took
            if events:
                self._left = self._asleep = self._asleep >> 1
                return events
        self._left = self._asleep = min(self._asleep << 2 | 3, ASLEEP_MOST)
        return poll(timeout if until == inf else max(0.0, until - now), most)
