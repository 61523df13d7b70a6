"""What the instrument says of itself: its share of a processor, and what its host kept for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from netecho.measure.stalls import PERIOD_NS, Stalls, StallWatch
from netecho.plans import SECOND
from netecho.services.system import ProcessorTime


class Instrument:
    """Counts, from when it is made, this process's processor time, and the time the host gives to others.

    Args:
        reactor: runs the process. Its busy polling is no work (`FastReactor.busy_polled`).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._worked_ns = self._work_ns()
        self._processors = ProcessorTime.now()

    def _work_ns(self) -> int:
        """Return the processor time of this process until now, without what it has waited awake."""
        return time.process_time_ns() - round(getattr(self._reactor, "busy_polled", 0.0) * SECOND)

    def cpu_share(self, elapsed_ns: int, awake_ns: int = 0) -> float:
        """Return what share of a processor this process has used.

        Args:
            elapsed_ns: in how much time.
            awake_ns: for how much of that it waited awake by turns of the reactor, which is no work either.
        """
        # Not below 0: short moments in which another had the processor are taken for ones of waiting awake.
        return max(0, self._work_ns() - self._worked_ns - awake_ns) / elapsed_ns

    def steal_share(self) -> float | None:
        """Return `ProcessorTime.steal_share`; `None` if the system does not say."""
        return None if self._processors is None else self._processors.steal_share()


class Wakes:
    """Wakes every `PERIOD_NS` from when it is made, until it is stopped, to see this process stand still.

    Args:
        reactor: provides `IReactorTime`.
        clock: monotonic, in nanoseconds.
    """

    def __init__(self, reactor: Any, clock: Callable[[], int]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._watch = StallWatch(clock(), time.process_time_ns())
        self._call: Any = None
        self._ended: Stalls | None = None
        self._wait()

    def _wait(self) -> None:
        self._call = self._reactor.callLater(PERIOD_NS / SECOND, self._wake)

    def _wake(self) -> None:
        self._watch.woke(self._clock(), time.process_time_ns())
        self._wait()

    def stop(self) -> None:
        """Wake no more, and count no stall from now on."""
        self._ended = self.stalls()
        if self._call.active():
            self._call.cancel()

    def stalls(self) -> Stalls:
        """Return what they have come to by now, or until it was stopped."""
        return self._ended or self._watch.stalls(self._clock(), time.process_time_ns())
