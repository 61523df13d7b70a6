"""Probes alone, and then beside a load: how much longer everything takes for whoever is not the load.

The load is made by processes of its own, so that a probe waits for the path and the server, and not for the
client that makes the load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from netecho.measure.counts import Counts
from netecho.measure.progress import Progress
from netecho.measure.responsiveness import LoadedLatency, Probed, trimmed_mean
from netecho.measure.summary import Summary
from netecho.plans import SECOND
from netecho.services.foreign_probes import ForeignProbes
from netecho.services.intervals import OnProgress
from netecho.services.worker_bench import BenchWorkers

PROBE_INTERVAL_NS: Final = SECOND // 20
"""Between probes: seldom enough that they are no load themselves."""
IDLE_NS: Final = 5 * SECOND
"""How long they are alone, at most."""
IDLE_SHARE: Final = 2
"""They are alone for at most the time that the load takes, divided by this."""


def idle_ns(length_ns: int | None) -> int:
    """Return how long probes are alone before a load of `length_ns`, or of an unknown length if `None`."""
    return IDLE_NS if length_ns is None else min(IDLE_NS, length_ns // IDLE_SHARE)


class LoadedLatencyRun:
    """One such measurement.

    Args:
        reactor: runs us.
        probes: makes what sends probes, for each of the two times.
        load: makes the load, which is to tell its progress.
        length_ns: how long that is; `None` if it is not known.
        on_progress: told of the progress of the load.
    """

    def __init__(
        self,
        reactor: Any,
        probes: Callable[[], ForeignProbes],
        load: Callable[[OnProgress], BenchWorkers],
        length_ns: int | None,
        on_progress: OnProgress,
    ) -> None:
        self._reactor = reactor
        self._idle, self._loaded = probes(), probes()
        self._load = load(self._progress)
        self._length_ns = length_ns
        self._on_progress = on_progress
        self._is_alone: Deferred[None] | None = None
        self._interrupted = False
        self._has_begun = False
        self._before: Probed | None = None
        self._beside: Probed | None = None
        self._end: Any = None

    async def run(self) -> None:
        """Run it to its end, or until `interrupt`.

        Raises:
            NetechoError: the load could not open one connection.
        """
        alone_ns = idle_ns(self._length_ns)
        self._idle.start(PROBE_INTERVAL_NS)
        self._is_alone = deferLater(self._reactor, alone_ns / SECOND)
        self._on_progress(Progress("idle", 0, alone_ns, 0, None, None, Counts(), 0))
        try:
            await self._is_alone
        except CancelledError:
            if not self._interrupted:
                raise
        finally:
            self._is_alone = None
            self._before = self._idle.stop()
        if self._interrupted:
            return
        try:
            await self._load.run()
        finally:
            self._stop_probing()

    def interrupt(self) -> None:
        """Stop now, with what has been recorded so far."""
        self._interrupted = True
        self._load.interrupt()
        if self._is_alone is not None:
            self._is_alone.cancel()

    def summary(self, started: str, system: Mapping[str, Any]) -> Summary:
        """Return the result of the load, with what probes came to; see `Benchmark.summary`."""
        summary = self._load.summary(started, system)
        response = summary.distribution("response")
        nothing = Probed(0, 0, {})
        latency = LoadedLatency(
            PROBE_INTERVAL_NS,
            self._before or nothing,
            self._beside or nothing,
            None if response is None else trimmed_mean(response),
        )
        gap = () if latency.gap is None else (latency.gap,)
        return dataclasses.replace(
            summary, loaded_latency=latency.to_json(), caveats=(*summary.caveats, *gap)
        )

    def _progress(self, progress: Progress) -> None:
        self._on_progress(progress)
        # The first that is told is told at the end of a second of the load: queues are full by then.
        if progress.phase != "measuring" or self._has_begun or not progress.whole:
            return
        self._has_begun = True
        self._loaded.start(PROBE_INTERVAL_NS)
        if progress.total_ns is not None:
            left_ns = max(0, progress.total_ns - progress.elapsed_ns)
            self._end = self._reactor.callLater(left_ns / SECOND, self._stop_probing)

    def _stop_probing(self) -> None:
        """End with the load: what is still in flight afterwards is none."""
        if self._end is not None and self._end.active():
            self._end.cancel()
        if self._beside is None:
            self._beside = self._loaded.stop()
