"""Distributions and series as rows and characters: which buckets to show, and how to draw them."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Final

from netecho.measure.histogram import Histogram

MOST_ROWS: Final = 12
_LADDERS: Final = (
    (10, 11, 12, 13, 15, 16, 18, 20, 22, 24, 27, 30, 33, 36, 39, 43, 47, 51, 56, 62, 68, 75, 82, 91),
    (10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82),
    (10, 15, 20, 30, 50, 70),
    (10, 20, 50),
    (10, 30),
    (10,),
)
"""Steps within a factor of ten, the finest first: each is about even on a logarithmic scale."""
_LINEAR_RATIO: Final = 1.8
"""Distributions narrower than this factor are shown on even steps."""
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_ASCII_SPARKS: Final = "_.:-=+*#"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a histogram as people read it."""

    start_ns: int | None
    """Its smallest value; `None` for the first row when it takes all below the second's."""
    count: int
    open_ended: bool = False
    """It is the last and holds outliers, however large."""


def rows(histogram: Histogram) -> list[Row]:
    """Divide a distribution, which must have samples, into rows at round values.

    `MOST_ROWS` at most follow all but the outermost thousandth at each end, so that a single outlier
    does not squeeze the rest together: what lies beyond is in one more row at either end.
    """
    low, high = histogram.at_percentile(0.1), histogram.at_percentile(99.9)
    edges = _edges(max(1, low), max(1, high))
    beyond = _round_above(high)
    has_tail = histogram.buckets()[-1][0] >= beyond
    if has_tail:
        edges.append(beyond)
    counts = [0] * (len(edges) + 1)
    for value, count in histogram.buckets():
        counts[bisect.bisect_right(edges, value)] += count
    answer = [Row(start, count) for start, count in zip(edges, counts[1:], strict=True)]
    if has_tail:
        answer[-1] = dataclasses.replace(answer[-1], open_ended=True)
    if counts[0]:
        answer.insert(0, Row(None, counts[0]))
    return answer


def _edges(low: int, high: int) -> list[int]:
    """Return where rows start so that they hold all from `low` to `high`."""
    if high < low * _LINEAR_RATIO:
        return _even_edges(low, high)
    for ladder in _LADDERS:
        edges = _ladder_edges(ladder, low, high)
        if len(edges) < MOST_ROWS:
            break
    return edges


def _ladder_edges(ladder: Sequence[int], low: int, high: int) -> list[int]:
    first, last = (math.floor(math.log10(value)) for value in (low, high))
    # The ladder's steps are in tenths, so that there are none between 1 and 2 nanoseconds.
    steps = [step * 10**power // 10 for power, step in itertools.product(range(first - 1, last + 1), ladder)]
    steps = sorted({step for step in steps if step <= high})
    return steps[max(0, bisect.bisect_right(steps, low) - 1) :]


def _round_above(value: int) -> int:
    """Return the first round number above `value`."""
    magnitude: int = 10 ** len(str(value))
    return next(step for step in (magnitude // 5, magnitude // 2, magnitude) if step > value)


def _even_edges(low: int, high: int) -> list[int]:
    step = 1
    for factor in itertools.cycle((2, 5, 10)):  # 1, 2, 5, 10, 20, 50 ...
        if (high - low) / step < MOST_ROWS - 2:
            break
        step = step * 2 if factor != 5 else step * 5 // 2
    return list(range(low // step * step, high + 1, step))


def bar(share: float, width: int, *, ascii_only: bool) -> str:
    """Return a bar that fills `share` of `width` cells. However small, what is not nothing shows."""
    if ascii_only:
        return "#" * max(round(share * width), share > 0)
    eighths = max(round(share * width * 8), share > 0)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def sparkline(values: Sequence[float], *, ascii_only: bool) -> str:
    """Return a character for each value, as high as its share of the largest."""
    sparks = _ASCII_SPARKS if ascii_only else _SPARKS
    largest = max(values, default=0.0)
    if largest <= 0:
        return sparks[0] * len(values)
    return "".join(sparks[round(max(0.0, value) / largest * (len(sparks) - 1))] for value in values)


def condense(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values, each the mean of as many neighbours as it takes."""
    group = math.ceil(len(values) / width) if values else 1
    return [
        sum(part) / len(part) for part in (values[at : at + group] for at in range(0, len(values), group))
    ]
