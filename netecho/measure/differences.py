"""How far two clocks are apart, again and again: distributions of signed times that add exactly.

A time taken by one clock less a time taken by another is a delay, and how much the clocks differ: it may be
negative, and as large as the clocks are wrong. A histogram whose resolution is a share of each value would
lose the delay in that. So here it is the same everywhere: a power of two nanoseconds, the smallest with
which no more than so many cells of the grid have any samples. Which that is depends on the samples and not
on their order, and so it is the same distribution however the samples were split and added again.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, Final

from netecho.measure.histogram import Histogram


class Differences:
    """A distribution of signed durations in nanoseconds.

    Args:
        cells: how many cells may have samples: it bounds memory, at about 100 bytes each, and resolution,
            which is at worst a share `1 / cells` of the distance between the extremes.
    """

    CELLS: Final = 1 << 13

    __slots__ = ("_bits", "_cells", "_counts", "maximum", "minimum")

    def __init__(self, cells: int = CELLS) -> None:
        self._cells = cells
        self._bits = 0
        """A cell is 2 to the power of this wide."""
        self._counts: collections.Counter[int] = collections.Counter()
        self.minimum: int | None = None
        self.maximum: int | None = None

    def record(self, samples: list[int]) -> None:
        """Count `samples`, in nanoseconds."""
        if samples:
            self._extend(min(samples), max(samples))
            bits = self._bits
            self._counts.update([value >> bits for value in samples])
            self._coarsen()

    def add(self, other: Differences) -> None:
        """Count all that `other` has counted, which must have as many cells."""
        if other.minimum is None or other.maximum is None:
            return
        self._extend(other.minimum, other.maximum)
        self._coarsen(other._bits)
        self._count(other._counts, self._bits - other._bits)
        self._coarsen()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Differences):
            return NotImplemented
        return (self.minimum, self.maximum, self._bits, self._counts) == (
            other.minimum,
            other.maximum,
            other._bits,
            other._counts,
        )

    __hash__ = None  # type: ignore[assignment]  # it changes as it counts

    def over(self, base_ns: int) -> Histogram:
        """Return how far the samples are above a base; those that are below it are counted as nothing."""
        histogram = Histogram()
        if self.minimum is None or self.maximum is None:
            return histogram
        middle = (1 << self._bits) // 2
        counts: collections.Counter[int] = collections.Counter()
        for cell, count in self._counts.items():
            value = min(max((cell << self._bits) + middle, self.minimum), self.maximum)
            counts[value - base_ns] += count
        histogram.record_counts(counts)
        histogram.minimum = max(self.minimum - base_ns, 0)
        histogram.maximum = max(self.maximum - base_ns, 0)
        return histogram

    def pack(self) -> list[Any]:
        """Return everything, for JSON."""
        cells, counts = list(self._counts), list(self._counts.values())
        return [self._cells, self._bits, self.minimum, self.maximum, cells, counts]

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> Differences:
        """Return the distribution that `pack` was asked of. Raises whatever a wrong shape raises."""
        most, bits, minimum, maximum, cells, counts = packed
        differences = cls(most)
        differences._bits, differences.minimum, differences.maximum = bits, minimum, maximum
        differences._counts.update(dict(zip(cells, counts, strict=True)))
        return differences

    def _extend(self, least: int, most: int) -> None:
        self.minimum = least if self.minimum is None else min(self.minimum, least)
        self.maximum = most if self.maximum is None else max(self.maximum, most)

    def _coarsen(self, bits: int = 0) -> None:
        """Widen cells to `bits` at least, and further until they are few enough."""
        while self._bits < bits or len(self._counts) > self._cells:
            counts, self._counts = self._counts, collections.Counter()
            step = max(1, bits - self._bits)
            self._bits += step
            self._count(counts, step)

    def _count(self, counts: collections.Counter[int], step: int) -> None:
        """Count cells that are narrower by `step` bits."""
        mine = self._counts
        for cell, count in counts.items():
            mine[cell >> step] += count
