"""How far several workers have come together: one view of them all."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from netecho.measure.counts import Counts
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval, IntervalSummary
from netecho.measure.parts import Part
from netecho.measure.progress import Phase, Progress
from netecho.measure.segments import align
from netecho.plans import BenchPlan
from netecho.services.intervals import OnInterval, OnProgress

STAGES: Final[Mapping[str, int]] = {"connecting": 0, "warm-up": 1, "measuring": 2, "finishing": 2}
"""In which order phases come; workers do not change together from one to another of the same number."""
WAITING: Final = 3
"""Intervals that wait for a worker that is behind until they are shown without it."""

_Place = tuple[int, int]
"""A stage, and the number of an interval in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """What a worker tells at the end of an interval, beside what it has recorded."""

    phase: Phase
    number: int
    """Of this interval, among those of its stage."""
    elapsed_ns: int
    total_ns: int | None
    open: int
    """Connections."""
    whole: bool = True
    """As in `Progress`."""

    @property
    def place(self) -> _Place:
        """Which interval of all it is."""
        return STAGES[self.phase], self.number

    @classmethod
    def of(cls, progress: Progress, number: int) -> Tick:
        """Return what to tell of a worker's own progress."""
        return cls(
            progress.phase,
            number,
            progress.elapsed_ns,
            progress.total_ns,
            progress.connections_open,
            progress.whole,
        )


class Board:
    """Adds up what workers tell of the same interval, and passes it on when all have.

    Args:
        plan: of all of them together.
        workers: how many there are.
        on_progress: told of the sum; of the same interval again, if a worker tells late.
        on_interval: told of it too, with all that was recorded, while it is measured.
    """

    def __init__(
        self, plan: BenchPlan, workers: int, on_progress: OnProgress, on_interval: OnInterval | None = None
    ) -> None:
        self._plan = plan
        self._working = set(range(workers))
        self._on_progress = on_progress
        self._on_interval = on_interval
        self._parts: dict[int, Part] = {}
        self._open: dict[int, int] = {}
        self._places: dict[_Place, dict[int, tuple[Tick, tuple[Interval, ...]]]] = {}
        self._shown: _Place = (-1, -1)
        self._stage = 0
        self._response = Histogram()

    def told(self, worker: int, tick: Tick, part: Part) -> None:
        """Take what a worker tells at the end of an interval, which is the one interval of its part."""
        self._parts[worker], self._open[worker] = part, tick.open
        if tick.place > self._shown:
            self._places.setdefault(tick.place, {})[worker] = tick, part.intervals
            self._show()
        elif tick.place[0] == STAGES["measuring"]:  # it is too late to be passed on with the others
            self._tell([dataclasses.replace(tick, whole=False)], part.intervals)

    def left(self, worker: int, part: Part) -> None:
        """Note that a worker has ended, with all that it recorded: nobody waits for it any more."""
        self._parts[worker], self._open[worker] = part, 0
        self._working.discard(worker)
        self._show()

    def _show(self) -> None:
        """Pass on every interval that is complete, and those before."""
        places = sorted(self._places)
        complete = [place for place in places if self._working <= self._places[place].keys()]
        until = max([*complete, *places[:-WAITING]], default=self._shown)
        for place in places:
            if place <= until:
                self._pass_on(place)

    def _pass_on(self, place: _Place) -> None:
        told = self._places.pop(place).values()
        self._shown = place
        if place[0] != self._stage:
            self._stage, self._response = place[0], Histogram()
        self._tell([tick for tick, _ in told], (one for _, intervals in told for one in intervals))

    def _tell(self, ticks: Sequence[Tick], intervals: Iterable[Interval]) -> None:
        """Tell of an interval, which these workers had."""
        sums = align(intervals, grid_ns=1 << 62)
        for one in sums:
            self._response.add(one.response)
            if self._on_interval is not None and self._stage == STAGES["measuring"]:
                self._on_interval(one)
        counts = Counts()
        errors: collections.Counter[str] = collections.Counter()
        for part in self._parts.values():
            counts.add(part.counts if self._stage == STAGES["measuring"] else part.warmup or Counts())
            errors.update(part.errors)
        first = min(ticks, key=lambda tick: tick.phase == "finishing")
        self._on_progress(
            Progress(
                phase=first.phase,
                elapsed_ns=max(tick.elapsed_ns for tick in ticks),
                total_ns=first.total_ns,
                completed=counts.completed,
                total=self._plan.exchanges,
                interval=IntervalSummary.of(sums[0]) if sums else None,
                counts=counts,
                connections_requested=self._plan.connections,
                connections_open=sum(self._open.values()),
                errors=dict(errors),
                response=lambda: self._response.brief(),
                whole=any(tick.whole for tick in ticks),
            )
        )
