"""Interval histograms in the HdrHistogram log format, version 1.3, which other tools read and plot.

    log = header(started, version) + "".join(map(entry, intervals))

A line is an interval: when it began, in seconds from the log's start, how long it was, its longest time in
milliseconds, and its distribution in nanoseconds. Response times have no tag; service times, where they
are others, have theirs. The format is that of HdrHistogram's `HistogramLogWriter`
(http://hdrhistogram.org), with digits enough that a time is exact to the nanosecond when it is read back.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from netecho.measure.histogram import HIGHEST_NS, Histogram
from netecho.measure.recorder import Interval

SERVICE: Final = "service"
"""The tag of service times."""
_LEGEND: Final = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_NUMBER: Final = r"([0-9]{1,12}(?:\.[0-9]{0,12})?)"
_ENTRY: Final = re.compile(rf"(?:Tag=([^,\s]+),)?{_NUMBER},{_NUMBER},{_NUMBER},([A-Za-z0-9+/=]+)")
_START: Final = re.compile(rf"#\[StartTime: *{_NUMBER} ")
_BASE: Final = re.compile(rf"#\[BaseTime: *{_NUMBER} ")
_YEAR_S: Final = 365 * 24 * 3600
"""A time further than this before the log's start is none of a calendar, but one since that start."""


def header(started: str, version: str) -> str:
    """Return the lines before the first interval.

    Args:
        started: when what is measured began, in ISO 8601 with the offset from UTC.
        version: netecho's.
    """
    at = datetime.datetime.fromisoformat(started).astimezone(datetime.UTC)
    date = at.strftime("%a %b %d %H:%M:%S UTC %Y")
    return (
        f"#[netecho {version}: values in nanoseconds, maxima in milliseconds]\n"
        "#[Histogram log format version 1.3]\n"
        f"#[StartTime: {at.timestamp():.3f} (seconds since epoch), {date}]\n"
        f"{_LEGEND}\n"
    )


def entry(interval: Interval) -> str:
    """Return the line of an interval, and that of its service times if they are others."""
    response = _line(interval, interval.response, "")
    service = "" if interval.service is None else _line(interval, interval.service, f"Tag={SERVICE},")
    return response + service


def _line(interval: Interval, histogram: Histogram, tag: str) -> str:
    times = (interval.start_ns, 9), (interval.length_ns, 9), (histogram.maximum or 0, 6)
    numbers = [f"{value // 10**digits}.{value % 10**digits:0{digits}}" for value, digits in times]
    return f"{tag}{','.join(numbers)},{histogram.encode()}\n"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of a log. Times in nanoseconds from the log's start."""

    tag: str | None
    start_ns: int
    length_ns: int
    histogram: Histogram


@dataclasses.dataclass(frozen=True)
class Log:
    """What a log holds."""

    started_s: float | None
    """When it began, in seconds since the epoch; `None` if it does not say."""
    entries: tuple[Entry, ...]

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The intervals, with response times from what has no tag; of errors a log knows nothing."""
        services = {one.start_ns: one.histogram for one in self.entries if one.tag == SERVICE}
        return tuple(
            Interval(
                one.start_ns,
                one.length_ns,
                one.histogram.count,
                0,
                one.histogram,
                services.get(one.start_ns),
            )
            for one in self.entries
            if one.tag is None
        )


def read(lines: Iterable[str]) -> Log:
    """Return what is in a log, of netecho or another tool; values are taken for nanoseconds.

    Raises:
        ValueError: it is no such log; the message says which line is not of one.
    """
    origin = _Origin()
    entries = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("#"):
            origin.take(text)
        elif text and not text.startswith('"'):
            match = _ENTRY.fullmatch(text)
            if match is None:
                raise ValueError(f"line {number} is not of a histogram log")
            tag, start, length, longest, encoded = match.groups()
            try:
                histogram = _decode(encoded, round(Fraction(longest) * 10**6))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            start_ns = round(origin.since(Fraction(start)) * 10**9)
            entries.append(Entry(tag, start_ns, round(Fraction(length) * 10**9), histogram))
    return Log(None if origin.started is None else float(origin.started), tuple(entries))


class _Origin:
    """When a log began, and since when its times count."""

    def __init__(self) -> None:
        self.started: Fraction | None = None
        self._base: Fraction | None = None
        self._first: Fraction | None = None

    def take(self, comment: str) -> None:
        """Read what a comment says of it, if anything."""
        if (match := _START.match(comment)) is not None:
            self.started = Fraction(match[1])
        elif (match := _BASE.match(comment)) is not None:
            self._base = Fraction(match[1])

    def since(self, time: Fraction) -> Fraction:
        """Return a line's time in seconds from the log's start: its own, or that of the first line."""
        if self._base is None and self.started is not None and time < self.started - _YEAR_S:
            return time
        time += self._base or 0
        if self._first is None:
            self._first = time
        return time - (self._first if self.started is None else self.started)


def _decode(encoded: str, longest_ns: int) -> Histogram:
    """Return a histogram; its maximum is the line's, if that is exact enough to be in the last bucket."""
    histogram = Histogram.decode(encoded)
    for last in histogram.buckets()[-1:]:
        if Histogram.of([min(longest_ns, HIGHEST_NS)]).buckets()[0][0] == last[0]:
            histogram.maximum = longest_ns
    return histogram
