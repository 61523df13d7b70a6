"""Histogram logs: what is written is read again, here and by HdrHistogram's own reader, and theirs here."""

from __future__ import annotations

import dataclasses
import datetime
import io
import pathlib

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader, HistogramLogWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.hdrlog import LEGEND, Entry, Log, entries_of, header, is_log, line, parse, result_of
from netecho.measure.histogram import HIGHEST_NS, Histogram
from netecho.measure.intervals import Interval
from netecho.measure.results import merge_results
from netecho.plans import SECOND
from netecho.rendering.schema import result_schema
from tests import samples

STARTED = datetime.datetime.fromisoformat(samples.STARTED)
STARTED_NS = 1_772_366_400_123_456_000
COUNTS = Histogram.of([1_000_000, 2_000_000, 2_000_000]).encode()
times = st.integers(0, 10**12)
distributions = st.lists(st.integers(1, 2 * HIGHEST_NS), max_size=20).map(Histogram.of)
entries = st.builds(Entry, times, times, distributions, st.sampled_from([None, "service", "a"]))


def written(*entries: Entry, comment: str = "netecho") -> str:
    """Return a whole log."""
    return header(STARTED, comment) + "".join(map(line, entries))


@settings(deadline=None)
@given(st.lists(entries, max_size=4))
def test_what_is_written_is_read_again(some: list[Entry]) -> None:
    """To the nanosecond; of the least value, to the histogram's resolution."""
    log = parse(written(*some).splitlines())
    assert log.started_ns == STARTED_NS
    assert len(log.entries) == len(some)
    for one, original in zip(log.entries, some, strict=True):
        assert (one.start_ns, one.length_ns, one.tag) == (original.start_ns, original.length_ns, original.tag)
        assert one.histogram.buckets() == original.histogram.buckets()
        assert one.histogram.maximum == original.histogram.maximum
        assert (one.histogram.minimum is None) == (original.histogram.minimum is None)
        if one.histogram.minimum is not None and original.histogram.minimum is not None:
            least = min(original.histogram.minimum, HIGHEST_NS)
            assert one.histogram.minimum <= least < one.histogram.minimum * 1.001 + 1


def test_a_log_begins_with_what_others_look_for() -> None:
    """In the order that is usual."""
    assert header(STARTED, "netecho 1.0").splitlines() == [
        "#[netecho 1.0]",
        "#[Histogram log format version 1.3]",
        "#[BaseTime: 1772366400.123456000 (seconds since epoch)]",
        "#[StartTime: 1772366400.123456000 (seconds since epoch), 2026-03-01T12:00:00.123456+00:00]",
        LEGEND,
    ]
    entry = Entry(1_500_000_000, SECOND, Histogram.of([1_234_567]), "service")
    fields = line(entry).split(",")
    assert fields[:4] == ["Tag=service", "1.500000000", "1.000000000", "1.234567"]
    assert fields[4].startswith("HISTFAAAA")


@pytest.mark.parametrize("tag", ["a b", "a,b", "a\n", "\t"])
def test_a_tag_that_would_break_its_line_is_refused(tag: str) -> None:
    """Every field ends at a comma or a space, for some readers."""
    with pytest.raises(ValueError, match="a tag cannot have commas or spaces"):
        line(Entry(0, 1, Histogram(), tag))


def test_hdrhistogram_reads_it(tmp_path: pathlib.Path) -> None:
    """Its own reader finds the same counts at the same times."""
    some = [
        Entry(number * SECOND, SECOND, samples.latencies(100 + number), tag)
        for number in range(3)
        for tag in (None, "service")
    ]
    path = tmp_path / "a.hlog"
    path.write_text(written(*some))
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    for entry in some:
        histogram = reader.get_next_interval_histogram()
        assert histogram.get_total_count() == entry.histogram.count
        assert histogram.get_value_at_percentile(99) == entry.histogram.at_percentile(99)
        assert histogram.get_start_time_stamp() == (STARTED_NS + entry.start_ns) / 1e6
        assert histogram.get_end_time_stamp() - histogram.get_start_time_stamp() == 1000
        assert histogram.get_tag() == entry.tag
    assert reader.get_next_interval_histogram() is None
    assert reader.get_start_time_sec() == STARTED_NS / 1e9
    reader.input_file.close()


def test_what_hdrhistogram_writes_is_read() -> None:
    """With other digits, and from a base time of its own."""
    file = io.StringIO()
    writer = HistogramLogWriter(file)
    writer.output_log_format_version()
    writer.output_base_time(1_700_000_000_000)
    writer.output_legend()
    theirs = HdrHistogram(1, HIGHEST_NS, 2)
    for value in (900_000, 1_000_000, 7_000_000):
        theirs.record_value(value)
    writer.output_interval_histogram(theirs, 2.5, 3.5)
    log = parse(file.getvalue().splitlines())
    (entry,) = log.entries
    assert (log.started_ns, entry.start_ns, entry.length_ns) == (
        1_700_000_000 * SECOND,
        2_500_000_000,
        SECOND,
    )
    assert entry.histogram.count == 3
    for percentile in (0.1, 50, 100):
        expected = theirs.get_value_at_percentile(percentile)
        assert entry.histogram.at_percentile(percentile) == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize(
    ("head", "start", "log_started_ns", "start_ns"),
    [
        # From the base time if there is one.
        ("#[BaseTime: 100.5 (s)]\n#[StartTime: 101 (s), x]\n", "2", 101 * SECOND, 1_500_000_000),
        ("#[BaseTime: 100.5 (s)]\n", "2", 100_500_000_000, 2 * SECOND),
        # Without it, from the start, when that is far later; else from the epoch.
        ("#[StartTime: 1700000000.0 (s), x]\n", "2", 1_700_000_000 * SECOND, 2 * SECOND),
        ("#[StartTime: 1700000000.0 (s), x]\n", "1700000002", 1_700_000_000 * SECOND, 2 * SECOND),
        # Without either, from the epoch, or from no time that is known.
        ("", "1700000002", 1_700_000_002 * SECOND, 0),
        ("", "2", None, 2 * SECOND),
        # What is before the start is at the start.
        ("#[BaseTime: 100 (s)]\n#[StartTime: 103 (s), x]\n", "2", 103 * SECOND, 0),
    ],
)
def test_times_are_told_as_every_reader_does(
    head: str, start: str, log_started_ns: int | None, start_ns: int
) -> None:
    """By the rules of the Java reader."""
    log = parse(f"{head}{LEGEND}\n\n{start},1,2,{COUNTS}\n".splitlines())
    assert (log.started_ns, log.entries[0].start_ns) == (log_started_ns, start_ns)


@pytest.mark.parametrize(
    ("most", "maximum"),
    [
        ("1.999999", 1_999_999),
        ("2.0", 2_000_000),
        ("2000.0", 2_000_895),  # in microseconds, it seems: the bucket's own
        ("0", 2_000_895),
    ],
)
def test_the_largest_value_is_believed_where_it_can_be(most: str, maximum: int) -> None:
    """Where it is what the counts say, but more exact."""
    (entry,) = parse([f"0,1,{most},{COUNTS}"]).entries
    assert entry.histogram.maximum == maximum


def test_fields_may_be_apart_by_spaces() -> None:
    """As the format says, and some write."""
    (entry,) = parse([f"Tag=a 0.5, 1.0, 2.0, {COUNTS}"]).entries
    assert (entry.tag, entry.start_ns, entry.histogram.count) == ("a", SECOND // 2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "line 1: it is not of a histogram log"),
        (f"#\n0,1,2,{COUNTS},5", "line 2: it is not of a histogram log"),
        (f"-1,1,2,{COUNTS}", "line 1: it is not of a histogram log"),
        (f"0,{'9' * 11},2,{COUNTS}", "line 1: it is not of a histogram log"),
        ("0,1,2,HISTFAAAAnonsense", "line 1: not a histogram"),
        (f"0,1,2,{samples.encoded_histogram(bytes(5 << 20))}", "line 1: not a histogram: it inflates"),
        (f"#[StartTime: 1700000000 (s), x]\n9999999999,1,2,{COUNTS}", "its times are not of one run"),
    ],
)
def test_what_is_no_log_is_refused(text: str, words: str) -> None:
    """By its line."""
    with pytest.raises(ValueError, match=words):
        parse(text.splitlines())


def test_the_entries_of_a_run() -> None:
    """Service time beside response time, where they are not the same."""
    closed = Interval(0, 5, 1, 0, Histogram.of([1]))
    opened = Interval(5, 6, 2, 0, Histogram.of([2]), Histogram.of([3]))
    assert list(entries_of([closed, opened])) == [
        Entry(0, 5, Histogram.of([1])),
        Entry(5, 6, Histogram.of([2])),
        Entry(5, 6, Histogram.of([3]), "service"),
    ]


def log_of(*histograms: Histogram, tag: str | None = None) -> Log:
    """Return a log with an entry for each second, a minute after the samples' results began."""
    return Log(
        STARTED_NS + 60 * SECOND,
        tuple(Entry(number * SECOND, SECOND, one, tag) for number, one in enumerate(histograms)),
    )


def test_a_log_adds_its_echoes_to_a_result() -> None:
    """And says what it does not know."""
    result = samples.by_the_second([samples.latencies(1_000)] * 4)
    more = log_of(samples.latencies(500), samples.latencies(700))
    service = log_of(samples.latencies(600), tag="service")
    other = log_of(samples.latencies(10), tag="a")
    log = dataclasses.replace(more, entries=(*more.entries, *service.entries, *other.entries))
    added = result_of(log, result)
    assert added.started == "2026-03-01T12:01:00.123456+00:00"
    assert added.elapsed_ns == 2 * SECOND
    assert [one.completed for one in added.intervals] == [500, 700]
    assert len(added.segments) == 2
    assert added.latencies["service"] == samples.latencies(600)
    total = merge_results([result, added])
    assert total.latencies["response"].count == 5_200
    assert (total.counts.sent, total.counts.completed, total.elapsed_ns) == (5_200, 5_200, 6 * SECOND)
    assert total.plan == result.plan
    assert total.connections == result.connections
    assert total.caveats[-2:] == (
        "a histogram log has the echoes only: not their bytes, and nothing of what did not come back",
        "left out of a histogram log: what has the tag a",
    )
    assert set(result_schema()["required"]) <= set(total.to_json())


def test_a_log_that_does_not_say_when_is_of_the_same_time() -> None:
    """As the result that it is added to."""
    log = dataclasses.replace(log_of(samples.latencies(500)), started_ns=None)
    result = samples.bench(latencies={})
    assert result_of(log, result).started == samples.STARTED


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (log_of(), "it has no response times"),
        (log_of(Histogram()), "it has no response times"),
        (log_of(samples.latencies(5), tag="service"), "it has no response times"),
        (log_of(samples.latencies(20_000)), "it is the log of a result that is merged already"),
    ],
)
def test_a_log_that_cannot_be_added(log: Log, words: str) -> None:
    """It has nothing, or would be counted twice."""
    with pytest.raises(ValueError, match=words):
        result_of(log, samples.bench())


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (written(), True),
        (f"\n\n{LEGEND}\n", True),
        (f"0,1,2,{COUNTS}\r\n", True),
        (f"Tag=a,0,1,2,{COUNTS}", True),
        ('{"schema": 1}', False),
        ("3", False),
        ("", False),
        ("hello, there", False),
    ],
)
def test_a_log_is_known_by_its_first_line(text: str, is_one: bool) -> None:
    """It has no name of its own."""
    assert is_log(text) is is_one
