"""Logs of distributions over time, in HdrHistogram's log format 1.3, which its tools in every language read.

    #[netecho 0.1.0 bench tcp://127.0.0.1:8000]
    #[Histogram log format version 1.3]
    #[BaseTime: 1772366400.123456000 (seconds since epoch)]
    #[StartTime: 1772366400.123456000 (seconds since epoch), 2026-03-01T12:00:00.123456+00:00]
    "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
    0.000000000,1.000071000,3.104582,HISTFAAAAFN4nJNpmSzMwMDAxQABzFCaEUoz2X+AMIKZAE...
    Tag=service,0.000000000,1.000071000,2.990421,HISTFAAAAFJ4nJNpmSzMwMDAwgABzFCaEU...

Each line has when an interval began, in seconds from the base time, and how long it was; the largest value,
in milliseconds; and the counts, V2 compressed, base64. A tag tells apart distributions of the same time.
What is written has every digit of a nanosecond. Source: the documentation of HistogramLogReader and
HistogramLogWriter at http://hdrhistogram.org.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

from netecho.measure.counts import Connections, Counts
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.merging import summarise
from netecho.measure.parts import Part
from netecho.measure.quality import Judgement
from netecho.measure.segments import align
from netecho.measure.summary import LATENCIES, Summary

VERSION: Final = "1.3"
RESPONSE, SERVICE = "response", "service"
LEGEND: Final = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_SECONDS: Final = r"([0-9]{1,10}(?:\.[0-9]{0,18})?)"
_VALUE: Final = r"([0-9]{1,20}(?:\.[0-9]{0,18})?)"
_TIME: Final = re.compile(rf"#\[(StartTime|BaseTime): *{_SECONDS} ")
_LINE: Final = re.compile(rf"(?:Tag=([^, ]*)[, ]+)?{_SECONDS}[, ]+{_SECONDS}[, ]+{_VALUE}[, ]+([^, ]+)")
_NOT_IN_TAGS: Final = re.compile(r"[\s,]")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LONGEST_S: Final = 1 << 32
"""More than a century: no log is of more."""
_YEAR_S: Final = 365 * 24 * 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """The distribution of one stretch of time. Times in nanoseconds from the start of the log."""

    start_ns: int
    length_ns: int
    histogram: Histogram
    tag: str | None = None
    """What it is of, without commas or spaces; `None` is what a log is mainly of: response times."""


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """What a log says."""

    started_ns: int | None
    """When it began, from the epoch; `None` if it does not say."""
    entries: tuple[Entry, ...]


def header(started: datetime.datetime, comment: str) -> str:
    """Return the lines that a log begins with.

    Args:
        started: from when the entries' times count, with its offset from UTC.
        comment: what the log is of, on one line.
    """
    seconds = f"{_decimal(_from_epoch_ns(started), 9)} (seconds since epoch)"
    lines = (
        f"#[{comment}]",
        f"#[Histogram log format version {VERSION}]",
        f"#[BaseTime: {seconds}]",
        f"#[StartTime: {seconds}, {started.isoformat()}]",
        LEGEND,
    )
    return "".join(f"{line}\n" for line in lines)


def line(entry: Entry) -> str:
    """Return the line of an entry, to be written when its time is over.

    Raises:
        ValueError: its tag has a comma or a space in it.
    """
    if entry.tag is not None and _NOT_IN_TAGS.search(entry.tag):
        raise ValueError(f"a tag cannot have commas or spaces: {entry.tag!r}")
    fields = [
        *([] if entry.tag is None else [f"Tag={entry.tag}"]),
        _decimal(entry.start_ns, 9),
        _decimal(entry.length_ns, 9),
        _decimal(entry.histogram.maximum or 0, 6),
        entry.histogram.encode(),
    ]
    return ",".join(fields) + "\n"


def entries_of(intervals: Iterable[Interval]) -> Iterator[Entry]:
    """Yield what a log has of a run's intervals: response times, and service times by their name."""
    for one in intervals:
        yield Entry(one.start_ns, one.length_ns, one.response)
        if one.service is not None:
            yield Entry(one.start_ns, one.length_ns, one.service, SERVICE)


def is_log(text: str) -> bool:
    """Return whether a text begins as logs do."""
    first = text.lstrip().partition("\n")[0].rstrip()
    return first.startswith(("#", LEGEND)) or _LINE.fullmatch(first) is not None


def parse(lines: Iterable[str]) -> Log:
    """Return what a log says, of this program or another.

    The largest value of an entry is that of its line where it agrees with the counts, and theirs where
    it does not, as when it is not in milliseconds; the smallest is theirs.

    Raises:
        ValueError: it is no such log; the message names the line.
    """
    times: dict[str, Fraction] = {}
    found: list[tuple[Fraction, Fraction, Histogram, str | None]] = []
    for number, text in enumerate(lines, 1):
        content = text.strip()
        if match := _TIME.match(content):
            times.setdefault(match[1], Fraction(match[2]))
        if content and not content.startswith(("#", LEGEND[:16])):
            try:
                found.append(_entry(content))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    started, shift = _origin(times, min((one[0] for one in found), default=Fraction(0)))
    if any(at + shift + length > _LONGEST_S for at, length, _, _ in found):
        raise ValueError("its times are not of one run")
    return Log(
        None if started is None else round(started * 10**9),
        tuple(
            Entry(max(0, round((at + shift) * 10**9)), round(length * 10**9), histogram, tag)
            for at, length, histogram, tag in found
        ),
    )


def result_of(log: Log, like: Summary) -> Summary:
    """Return a log as a result, to be added to others by `merge_results`.

    A log knows of nothing but echoes: what was lost and what was planned is not in it, and it says so.

    Args:
        log: what was read; it has an entry of response times, which are those without a tag.
        like: a result that it is to be added to, whose circumstances are taken to be its own too.

    Raises:
        ValueError: it has no echoes, or is the log of that result itself.
    """
    main = [one for one in log.entries if one.tag in (None, RESPONSE)]
    distributions: dict[str, Histogram] = {}
    for one in log.entries:
        distributions.setdefault(one.tag or RESPONSE, Histogram()).add(one.histogram)
    response = distributions.get(RESPONSE, Histogram())
    if not response.count:
        raise ValueError("it has no response times: those are its entries without a tag")
    known = like.latencies.get(RESPONSE)
    if known is not None and known.buckets() == response.buckets():
        raise ValueError("it is the log of a result that is merged already")
    caveats = ["a histogram log has the echoes only: not their bytes, and nothing of what did not come back"]
    if others := [tag for tag in distributions if tag not in LATENCIES]:
        caveats.append(f"left out of a histogram log: what has the tag {', '.join(others)}")
    part = Part(
        Counts(sent=response.count, completed=response.count),
        Connections(0, 0, 0),
        distributions={name: one for name, one in distributions.items() if name in LATENCIES},
        intervals=align(
            Interval(one.start_ns, one.length_ns, one.histogram.count, 0, one.histogram) for one in main
        ),
        elapsed_ns=max(one.start_ns + one.length_ns for one in main),
        whole=True,
    )
    return summarise(
        part,
        command=like.command,
        started=like.started if log.started_ns is None else _from_epoch(log.started_ns).isoformat(),
        system=like.system,
        plan={"target": like.plan.get("target")},
        judgement=Judgement(True, tuple(caveats)),
    )


def _entry(content: str) -> tuple[Fraction, Fraction, Histogram, str | None]:
    """Return when an interval began and how long it was, in seconds, its distribution and its tag."""
    match = _LINE.fullmatch(content)
    if match is None:
        raise ValueError("it is not of a histogram log")
    tag, start, length, most, counts = match.groups()
    histogram = Histogram.decode(counts)
    most_ns = round(Fraction(most) * 10**6)
    ((last, _),) = Histogram.of([most_ns]).buckets()
    if histogram.maximum == last:
        histogram.maximum = most_ns
    return Fraction(start), Fraction(length), histogram, tag


def _origin(times: dict[str, Fraction], first: Fraction) -> tuple[Fraction | None, Fraction]:
    """Return when a log began, in seconds from the epoch, and what to add to its times to count from then.

    Times are from the base time, if there is one; else from the epoch; else, if that is long before the
    start time, from that.
    """
    start, base = times.get("StartTime"), times.get("BaseTime")
    if base is None and start is not None and first < start - _YEAR_S:
        base = start
    if start is None:
        start = base if base is not None else first if first > _YEAR_S else None
    return start, Fraction(0) if start is None else (base or Fraction(0)) - start


def _from_epoch_ns(time: datetime.datetime) -> int:
    return (time - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _from_epoch(since_ns: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=since_ns // 1000)


def _decimal(number: int, places: int) -> str:
    """Return a number in units of the power of ten that so many places stand for, exactly."""
    whole, rest = divmod(number, 10**places)
    return f"{whole}.{rest:0{places}d}"
