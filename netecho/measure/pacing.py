"""When to send: schedules that are pure functions of an exchange's number, so that they cannot drift.

An open loop's `Schedule` says when every exchange is due and asks nothing of any reply. It divides
exactly: among workers, who take its numbers in turn, and among connections, when the rate is that of
each. An `Agenda` goes through it, and through the lanes of several, as time passes:

    agenda = Agenda(lanes_of(plan))
    while True:
        for due_ns, lane in agenda.due_until(clock() - begun):
            ...  # send it now, or hold it back
        wake_at(begun + agenda.next_due_ns)  # None: there is no more

All times are in nanoseconds from the start.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final, TypeVar

from netecho.measure.ramps import Ramp, exactly
from netecho.plans import Arrival, BenchPlan, Portion, Stage, share

T = TypeVar("T")
_BLOCK: Final = 64
"""Exchanges whose times are worked out in one go."""
_LANE_BLOCK: Final = 8
"""The same where there are many schedules, each of which has some worked out in advance."""
_PLACE_BITS: Final = 20
_PLACES: Final = 1 << _PLACE_BITS


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


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """When the exchanges of an open loop are due: at a rate, until a count or a time is reached.

    The integral of the rate says how many exchanges there are to be by when, and each has its place in
    that count, which makes it due when the integral gets there. Exchange k from 0 has

    - `constant`: place k. 100/s for 10 s is 1000 exchanges, the first at 0, the last at 9.99 s.
    - `poisson`: the sum of k + 1 exponential gaps of mean 1, which under a changing rate makes a Poisson
      process of that rate (time-rescaling). How many there are in a time is random, with the seed.
    - `uniform`: a random place between k and k + 1. Each has its slot, so that the rate is as exact as a
      constant one's and there are as many, but nothing that is periodic on the way can keep in step with
      them (stratified sampling; RFC 2330 section 11.1 on why). The gaps are between 0 and two slots.
    """

    rate: Fraction
    """Per second; where the stages begin."""
    arrival: Arrival = Arrival.CONSTANT
    seed: int | str = 0
    stages: tuple[Stage, ...] = ()
    """How the rate changes. When they are over, so is the schedule."""
    duration_ns: int | None = None
    """Nothing is due at this time or after it. The stages', if there are any."""
    count: int | None = None
    """Of the whole, whatever the part."""
    multiple: int = 1
    """The rate is so many times that."""
    index: int = 0
    parts: int = 1
    """This is one of so many parts: it has exchanges `index`, `index + parts`, `index + 2 * parts` ..."""

    @property
    def ramp(self) -> Ramp:
        """The rate over time, of all parts together."""
        return Ramp(self.rate, self.stages, self.duration_ns, self.multiple)

    @property
    def length_ns(self) -> int | None:
        """How long it is meant to take, which is what its average rate is over; `None`: it has no end.

        10 exchanges at 10/s are a second's, though the last of them is due before it is over.
        """
        ramp = self.ramp
        if self.count is not None:
            for times in ramp.times([[self.count]]):
                return times[0]
        return ramp.duration_ns

    def times(self) -> Iterator[int]:
        """Yield when each exchange of this part is due, in order, always the same."""
        return itertools.chain.from_iterable(self.blocks())

    def blocks(self, largest: int = _BLOCK) -> Iterator[list[int]]:
        """Yield the same in lists, which costs less; the first are short, so that beginning is quick.

        A part of a random schedule draws the places of the other parts too, which costs a fraction of
        what an exchange does.
        """
        places: Iterator[float]
        if self.arrival is Arrival.CONSTANT:
            places = itertools.count(self.index, self.parts)
        else:
            draw = _poisson if self.arrival is Arrival.POISSON else _uniform
            places = itertools.islice(draw(self.seed), self.index, None, self.parts)
        if self.count is not None:
            places = itertools.islice(places, share(self.count, self.parts, self.index))
        return self.ramp.times(_in_blocks(places, largest))

    def split(self, parts: int) -> tuple[Schedule, ...]:
        """Return so many parts, which together are this schedule exactly."""
        return tuple(
            dataclasses.replace(self, index=self.index + self.parts * part, parts=self.parts * parts)
            for part in range(parts)
        )

    def lane(self, number: int, lanes: int) -> Schedule:
        """Return the schedule of one connection of many, if the rate is that of each of them.

        Constant rates are in even step: all together they are one constant rate. Random ones are
        independent. The count is divided.
        """
        if self.arrival is Arrival.CONSTANT:
            return dataclasses.replace(self, multiple=lanes).split(lanes)[number]
        return dataclasses.replace(
            self,
            seed=f"{self.seed}/{number}",
            count=None if self.count is None else share(self.count, lanes, number),
        )


def lanes_of(plan: BenchPlan) -> tuple[Schedule, ...]:
    """Return the schedules of an open loop, or of a part of one: those of all parts make the whole's.

    It is one, whichever connection carries what is due; or, if the rate is that of each connection, one
    for each of the part's, in order. In a closed loop there is none.
    """
    if not plan.open_loop:
        return ()
    portion = plan.portion or Portion(0, 1, plan.connections, plan.exchanges)
    whole = Schedule(
        exactly(plan.rate or plan.rate_per_connection or 0),
        plan.arrival,
        plan.seed,
        plan.stages,
        plan.length_ns,
        portion.exchanges,
    )
    if plan.rate_per_connection is None:
        return (dataclasses.replace(whole, index=portion.index, parts=portion.parts),)
    numbers = portion.numbers(portion.connections)
    return tuple(whole.lane(number, portion.connections) for number in numbers)


def connections_at(plan: BenchPlan, time_ns: int) -> int:
    """Return how many connections a plan, or a part of one, is to have open at a time from its start."""
    if not plan.connections_stages:
        return plan.connections
    portion = plan.portion or Portion(0, 1, plan.connections, None)
    ramp = Ramp(Fraction(portion.connections), plan.connections_stages)
    return len(portion.numbers(math.floor(ramp.value_at(time_ns))))


def _in_blocks(items: Iterator[T], largest: int) -> Iterator[list[T]]:
    """Yield all in lists, each twice as long as the one before it up to the largest."""
    size = 1
    while block := list(itertools.islice(items, size)):
        yield block
        size = min(2 * size, largest)


def _poisson(seed: int | str) -> Iterator[float]:
    """Yield the times of a Poisson process of rate 1, without end."""
    draw, log = random.Random(seed).random, math.log  # noqa: S311 - not for secrets
    place = 0.0
    while True:
        place -= log(1.0 - draw())
        yield place


def _uniform(seed: int | str) -> Iterator[float]:
    """Yield a number from each of [0, 1), [1, 2), [2, 3) ..., without end."""
    draw = random.Random(seed).getrandbits  # noqa: S311 - not for secrets
    slot = 0
    while True:
        # So many bits that the sum is exact, and is never rounded up into the next slot.
        yield slot + draw(_PLACE_BITS) / _PLACES
        slot += 1


class Agenda:
    """What is due, by when, over one schedule or several side by side.

    Args:
        lanes: the schedules: one that is everybody's, or one for each connection.
    """

    __slots__ = ("_block", "_blocks", "_next", "due")

    def __init__(self, lanes: Sequence[Schedule]) -> None:
        self.due = 0
        """How many exchanges have been due so far."""
        self._blocks: Iterator[list[tuple[int, int]]]
        if len(lanes) == 1:
            self._blocks = (list(zip(block, itertools.repeat(0))) for block in lanes[0].blocks())
        else:
            each = [itertools.chain.from_iterable(lane.blocks(_LANE_BLOCK)) for lane in lanes]
            numbered = [zip(times, itertools.repeat(number)) for number, times in enumerate(each)]
            self._blocks = _in_blocks(heapq.merge(*numbered), _BLOCK)
        self._block = next(self._blocks, [])
        self._next = 0

    @property
    def next_due_ns(self) -> int | None:
        """When the next exchange is due; `None` if there is none."""
        return self._block[self._next][0] if self._block else None

    def due_until(self, now_ns: int, at_most: int | None = None) -> list[tuple[int, int]]:
        """Return what has become due since the last call, in order: when, and by which lane's number.

        Args:
            now_ns: the time; what is due at it is due.
            at_most: leave the rest for the next call, so that replies are read in between.
        """
        due: list[tuple[int, int]] = []
        while self._block:
            end = bisect.bisect_left(self._block, (now_ns + 1, 0), self._next)
            if at_most is not None:
                end = min(end, self._next + at_most - len(due))
            due += self._block[self._next : end]
            self._next = end
            if end < len(self._block):
                break
            self._block, self._next = next(self._blocks, []), 0
        self.due += len(due)
        return due
