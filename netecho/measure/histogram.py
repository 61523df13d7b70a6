"""Latencies in HDR histograms that merge exactly: 3 significant digits from 1 ns to 1 h.

Beside each histogram the exact smallest and largest values are kept, since a histogram's own are
rounded to its resolution. Wire format: HdrHistogram V2 compressed, base64 (http://hdrhistogram.org).
"""

from __future__ import annotations

import base64
import bisect
import collections
import ctypes
import itertools
import math
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from hdrh.histogram import HdrHistogram

LOWEST_NS: Final = 1
HIGHEST_NS: Final = 3_600_000_000_000
SIGNIFICANT_DIGITS: Final = 3
PERCENTILES: Final = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
BRIEF_PERCENTILES: Final = (50.0, 99.0)
_SUB_BUCKET_BITS: Final = 11
"""2 x 10^3 rounded up to a power of two: within it, each value has a bucket of its own."""
_MASKS: Final = [-(1 << max(0, bits - _SUB_BUCKET_BITS)) for bits in range(HIGHEST_NS.bit_length() + 1)]
"""The bits of a value that say which bucket it is in, by how many it has. Shifts take 1.8 times as long."""

_ENVELOPE: Final = 8
"""Bytes before what is compressed: a cookie, and how long it is."""
_MOST_INFLATED: Final = 4 << 20
"""Bytes that an encoded histogram may inflate to. One of ours has 33,792 counts of 9 bytes at most and a
header of 40: 304,168. Others' may have more digits, or reach further."""
_STRETCH: Final = 256
"""Counts of an encoded histogram of which it is looked at once whether there are any but 0."""


def percentile_key(percentile: float) -> str:
    """Return the name that a percentile has in a result: `p50`, `p99.9`."""
    return f"p{percentile:g}"


class Histogram:
    """A distribution of durations in nanoseconds.

    Durations over an hour are counted as an hour, and their true size kept as the maximum; those under
    a nanosecond are counted as one. Less than nothing, as of what left a little before it was due, is
    nothing.
    """

    # Buckets that have any samples, by their smallest value. HdrHistogram has an array of them all, which
    # takes milliseconds to make and to walk: too long for something done while measuring.
    __slots__ = ("_compact", "_counted", "maximum", "minimum")

    def __init__(self) -> None:
        self._counted: collections.Counter[int] = collections.Counter()
        self._compact: tuple[array[int], array[int]] | None = None
        """The same while it is compact, as values and counts."""
        self.minimum: int | None = None
        self.maximum: int | None = None

    @property
    def _counts(self) -> collections.Counter[int]:
        """The buckets, to be looked at."""
        if self._compact is None:
            return self._counted
        return collections.Counter(dict(zip(*self._compact, strict=True)))

    def _open(self) -> collections.Counter[int]:
        """Return the buckets, to be counted in."""
        self._counted, self._compact = self._counts, None
        return self._counted

    def compact(self) -> None:
        """Take a fifth of the memory until something more is counted; to look at it takes longer."""
        counts = self._counts
        code = "I" if max(counts.values(), default=0) < 1 << 32 else "Q"
        self._compact = array("q", counts), array(code, counts.values())
        self._counted = collections.Counter()

    @classmethod
    def of(cls, samples: Iterable[int]) -> Histogram:
        """Return the histogram of `samples`, in nanoseconds."""
        histogram = cls()
        histogram.record(list(samples))
        return histogram

    def record(self, samples: list[int]) -> None:
        """Count `samples`, in nanoseconds.

        They are rounded to the histogram's buckets and counted in bulk first, which costs a tenth of
        recording each.
        """
        if not samples:
            return
        least, most = max(0, min(samples)), max(0, max(samples))
        self.minimum = least if self.minimum is None else min(self.minimum, least)
        self.maximum = most if self.maximum is None else max(self.maximum, most)
        if least < LOWEST_NS or most > HIGHEST_NS:  # least is 0 too if it was less
            samples = [min(max(value, LOWEST_NS), HIGHEST_NS) for value in samples]
        self._open().update([value & _MASKS[value.bit_length()] for value in samples])

    def record_counts(self, counts: Mapping[int, int]) -> None:
        """Count samples, in nanoseconds, each as often as `counts` says."""
        if not counts:
            return
        least, most = max(0, min(counts)), max(0, max(counts))
        self.minimum = least if self.minimum is None else min(self.minimum, least)
        self.maximum = most if self.maximum is None else max(self.maximum, most)
        counted = self._open()
        for value, count in counts.items():
            inside = min(max(value, LOWEST_NS), HIGHEST_NS)
            counted[inside & _MASKS[inside.bit_length()]] += count

    @classmethod
    def sum(cls, parts: Iterable[Histogram]) -> Histogram:
        """Return the histogram of all that any of `parts` has counted."""
        total = cls()
        for part in parts:
            total.add(part)
        return total

    def add(self, other: Histogram) -> None:
        """Count all that `other` has counted. The sum is the same in whatever order things are added."""
        if other.minimum is None or other.maximum is None:
            return
        self._open().update(other._counts)
        self.minimum = other.minimum if self.minimum is None else min(self.minimum, other.minimum)
        self.maximum = other.maximum if self.maximum is None else max(self.maximum, other.maximum)

    def in_parts(self, buckets: int) -> Iterator[Histogram]:
        """Return histograms of so many buckets at most that sum up to this one, each as it is asked for."""
        items = iter(self._counts.items())
        while counts := dict(itertools.islice(items, buckets)):
            part = Histogram()
            part._open().update(counts)
            part.minimum, part.maximum = self.minimum, self.maximum
            yield part

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return (self.minimum, self.maximum, self._counts) == (other.minimum, other.maximum, other._counts)

    __hash__ = None  # type: ignore[assignment]  # it changes as it counts

    @property
    def count(self) -> int:
        """How many samples."""
        return self._counts.total()

    def at_percentile(self, percentile: float) -> int:
        """Return the value, in nanoseconds, that `percentile` per cent of the samples do not exceed.

        Raises:
            ValueError: there are no samples.
        """
        return self.at_percentiles((percentile,))[0]

    def at_percentiles(self, percentiles: Iterable[float]) -> list[int]:
        """Return `at_percentile` of each, which costs little more than one does.

        Raises:
            ValueError: there are no samples.
        """
        if self.minimum is None or self.maximum is None:
            raise ValueError("no samples, no percentiles")
        counts = self._counts
        ordered = sorted(counts)
        seen = list(itertools.accumulate(map(counts.__getitem__, ordered)))
        answer = []
        for percentile in percentiles:
            # In thousandths of a per cent, so that 99.9 per cent of 1000 is 999 exactly.
            rank = -(-round(percentile * 1000) * seen[-1] // 100_000)
            value = ordered[bisect.bisect_left(seen, rank)]
            answer.append(min(max(value + _width(value) - 1, self.minimum), self.maximum))
        return answer

    def buckets(self) -> list[tuple[int, int]]:
        """Return the (largest value in nanoseconds, count) of each bucket that has any, in order."""
        return [(value + _width(value) - 1, count) for value, count in sorted(self._counts.items())]

    def to_json(self) -> dict[str, int] | None:
        """Return the statistics, in nanoseconds, as a result shows them; `None` if there are no samples."""
        if self.minimum is None or self.maximum is None:
            return None
        count = self.count
        middles = [(value + _width(value) // 2, number) for value, number in self._counts.items()]
        mean = sum(value * number for value, number in middles) / count
        variance = math.fsum((value - mean) ** 2 * number for value, number in middles) / count
        answer = {
            "count": count,
            "min": self.minimum,
            "mean": min(max(round(mean), self.minimum), self.maximum),
            "stddev": round(math.sqrt(variance)),
            "max": self.maximum,
        }
        return answer | self._percentiles(PERCENTILES)

    def brief(self) -> dict[str, int] | None:
        """Return `p50`, `p99` and `max`, in nanoseconds; `None` if there are no samples."""
        if self.maximum is None:
            return None
        return self._percentiles(BRIEF_PERCENTILES) | {"max": self.maximum}

    def _percentiles(self, percentiles: Sequence[float]) -> dict[str, int]:
        values = self.at_percentiles(percentiles)
        return {percentile_key(one): value for one, value in zip(percentiles, values, strict=True)}

    def encode(self) -> str:
        """Return the counts as HdrHistogram V2 compressed, base64."""
        hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        for value, count in self._counts.items():
            hdr.record_value(value, count)
        encoded: bytes = hdr.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, encoded: str, statistics: Mapping[str, Any] | None = None) -> Histogram:
        """Return a histogram from what `encode` gave, of this program or another.

        Args:
            encoded: the counts.
            statistics: the exact `min` and `max`, as from `to_json`, without which they are as exact as the
                histogram, and it may be empty.

        Raises:
            ValueError: it is not such a histogram, inflates to more than 4 MiB, or has statistics of nothing,
                or of another.
        """
        histogram = cls()
        counts = histogram._open()
        try:
            _check_inflated(encoded)
            hdr = HdrHistogram.decode(encoded)
            for index, count in _counted(hdr.counts):
                # The largest that the bucket holds: another program's may be wider than ours.
                value = hdr.get_value_from_index(index + 1) - 1
                counts[value - value % _width(value)] += count
            if statistics is not None:
                histogram.minimum = int(statistics["min"])
                histogram.maximum = int(statistics["max"])
                if not counts:
                    raise ValueError("it is empty")
                ends = cls.of([histogram.minimum, histogram.maximum])
                in_them = (min(ends._counts), max(ends._counts)) == (min(counts), max(counts))
                if histogram.minimum > histogram.maximum or not in_them:
                    raise ValueError("its min and max are not those of its counts")
            elif counts:
                histogram.minimum, highest = min(counts), max(counts)
                histogram.maximum = highest + _width(highest) - 1
        except Exception as error:  # the codec raises whatever its parts raise: zlib, ctypes, its own
            raise ValueError(f"not a histogram: {error}") from error
        return histogram

    def pack(self) -> list[Any]:
        """Return everything, for JSON: a quarter of the time that `encode` takes, for use while measuring."""
        counts = self._counts
        return [self.minimum, self.maximum, list(counts), list(counts.values())]

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> Histogram:
        """Return the histogram that `pack` was asked of. Raises whatever a wrong shape raises."""
        histogram = cls()
        histogram.minimum, histogram.maximum, values, counts = packed
        histogram._open().update(dict(zip(values, counts, strict=True)))
        return histogram


def _check_inflated(encoded: str) -> None:
    """Check that an encoded histogram inflates to no more than one has, which the codec does not ask."""
    compressed = base64.b64decode(encoded)[_ENVELOPE:]
    if len(zlib.decompressobj().decompress(compressed, _MOST_INFLATED + 1)) > _MOST_INFLATED:
        raise ValueError("it inflates to more than 4 MiB, and one from 1 ns to 1 h has 297 KiB at most")


def _counted(counts: ctypes.Array[Any]) -> Iterator[tuple[int, int]]:
    """Yield the index of each of the counts that is more than 0, and the count.

    Most are 0, and of 5 digits there are 3.4 million: so they are looked at by the stretch.
    """
    size = ctypes.sizeof(counts) // len(counts)
    every, nothing = bytes(counts), bytes(_STRETCH * size)
    for start in range(0, len(counts), _STRETCH):
        stretch = every[start * size : (start + _STRETCH) * size]
        if stretch != nothing[: len(stretch)]:
            for index, count in enumerate(counts[start : start + _STRETCH], start):
                if count > 0:
                    yield index, count


def _width(value: int) -> int:
    """Return how many values share a bucket with `value`."""
    return 1 << max(0, value.bit_length() - _SUB_BUCKET_BITS)
