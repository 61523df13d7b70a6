"""A quantity that changes in straight lines, stage by stage; of a rate, also when how much of it is due.

Each stage goes from what was reached before it to its own target over its duration, as in k6: stages of
10 s to 1000, 30 s to 1000 and 10 s to 0 rise, hold and fall. A stage without duration is a step.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from netecho.plans import SECOND, Stage


def exactly(number: float) -> Fraction:
    """Return the number as it is written in decimals: 0.1 is a tenth, which the float is not."""
    return Fraction(repr(number))


@dataclasses.dataclass(frozen=True, slots=True)
class Leg:
    """One straight line of a ramp."""

    begin_ns: int
    length_ns: int | None
    """`None`: without end."""
    start: Fraction
    end: Fraction
    before: Fraction
    """The integral up to its beginning: of a rate, how many are due before it."""

    @property
    def after(self) -> Fraction | None:
        """The integral up to its end; `None` if it has none."""
        return None if self.length_ns is None else self.until(self.length_ns)

    def value_at(self, elapsed_ns: int) -> Fraction:
        """Return the quantity at a time since the leg's beginning."""
        if not self.length_ns:
            return self.end
        return self.start + (self.end - self.start) * elapsed_ns / self.length_ns

    def until(self, elapsed_ns: int) -> Fraction:
        """Return the integral, per second, up to a time since the leg's beginning."""
        return self.before + (self.start + self.value_at(elapsed_ns)) * elapsed_ns / (2 * SECOND)

    def times(self, values: Sequence[float]) -> list[int]:
        """Return when the integral reaches each of these ascending values, in whole nanoseconds.

        Where the quantity is constant and the values are integers it is exact, however large they are;
        else it is within the 53 bits of a float, which in an hour is less than a nanosecond, but for the
        last few where the quantity falls to nothing.
        """
        begin = self.begin_ns
        if self.start == self.end:
            # (value - before) * SECOND / start, over one denominator.
            times = SECOND * self.start.denominator * self.before.denominator
            less = SECOND * self.start.denominator * self.before.numerator
            over = self.start.numerator * self.before.denominator
            reached = [begin + int((value * times - less) // over) for value in values]
        else:
            # The root of a parabola, in the form that loses no digits where the slope is small.
            before, start, twice, root = float(self.before), float(self.start), 2.0 * SECOND, math.sqrt
            square, slope = start * start, twice * float(self.end - self.start) / (self.length_ns or 1)
            reached = [
                begin + int(twice * rest / (start + root(max(0.0, square + slope * rest))))
                if (rest := value - before) > 0
                else begin
                for value in values
            ]
        if self.length_ns is not None and reached[-1] >= begin + self.length_ns:
            reached = [min(time, begin + self.length_ns - 1) for time in reached]  # it was rounded up
        return reached


class Ramp:
    """A quantity over time.

    Args:
        start: what it is at the beginning.
        stages: how it changes; without any it stays what it is.
        duration_ns: when it ends, if there are no stages; `None`: never.
        scale: it is so many times all that.
    """

    def __init__(
        self,
        start: Fraction,
        stages: Sequence[Stage] = (),
        duration_ns: int | None = None,
        scale: int = 1,
    ) -> None:
        start *= scale
        self.legs: list[Leg] = []
        begin_ns, before = 0, Fraction(0)
        for stage in stages:
            leg = Leg(begin_ns, stage.duration_ns, start, exactly(stage.target) * scale, before)
            self.legs.append(leg)
            begin_ns, before, start = begin_ns + stage.duration_ns, leg.until(stage.duration_ns), leg.end
        if not stages:
            self.legs.append(Leg(0, duration_ns, start, start, before))

    @property
    def duration_ns(self) -> int | None:
        """When it ends; `None`: never."""
        last = self.legs[-1]
        return None if last.length_ns is None else last.begin_ns + last.length_ns

    def value_at(self, time_ns: int) -> float:
        """Return the quantity at a time from the beginning; from its end on it stays what it is there."""
        leg, elapsed_ns = self._find(time_ns)
        return float(leg.value_at(elapsed_ns))

    def until(self, time_ns: int) -> Fraction:
        """Return the integral, per second, up to a time: of a rate, how many are due before it."""
        leg, elapsed_ns = self._find(time_ns)
        return leg.until(elapsed_ns)

    def _find(self, time_ns: int) -> tuple[Leg, int]:
        """Return the leg at a time, and the time since its beginning."""
        leg = next(leg for leg in reversed(self.legs) if leg.begin_ns <= time_ns)
        elapsed_ns = time_ns - leg.begin_ns
        return leg, elapsed_ns if leg.length_ns is None else min(elapsed_ns, leg.length_ns)

    def times(self, blocks: Iterable[Sequence[float]]) -> Iterator[list[int]]:
        """Yield when the integral reaches each of these values, which ascend, in nanoseconds.

        They come and go in blocks, which costs a fraction of doing so one by one. It ends with the ramp:
        what would be due at its end is not.
        """
        ends = [leg.after for leg in self.legs]
        number = 0
        for block in blocks:
            begin = 0
            while begin < len(block):
                if number == len(ends):
                    return
                after = ends[number]
                end = len(block) if after is None else bisect.bisect_left(block, after, begin)
                if end > begin:
                    yield self.legs[number].times(block[begin:end])
                if end < len(block):
                    number += 1
                begin = end
