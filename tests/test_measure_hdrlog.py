"""Logs of histograms: other tools read ours, and we read theirs."""

from __future__ import annotations

import pathlib

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader, HistogramLogWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.hdrlog import SERVICE, Entry, entry, header, read
from netecho.measure.histogram import HIGHEST_NS, LOWEST_NS, SIGNIFICANT_DIGITS, Histogram
from netecho.measure.recorder import Interval

STARTED = "2026-03-01T13:00:00.127456+01:00"
EPOCH_S = 1_772_366_400
SECOND = 10**9
histograms = st.lists(st.integers(1, 2 * HIGHEST_NS), max_size=20).map(Histogram.of)
intervals = st.lists(
    st.builds(
        lambda start, length, response, service: Interval(
            start, length, response.count, 0, response, service
        ),
        st.integers(0, 10**14),
        st.integers(0, 10**10),
        histograms,
        st.none() | histograms,
    ),
    max_size=4,
    unique_by=lambda one: one.start_ns,
)


def written(every: list[Interval]) -> str:
    """Return a log of these."""
    return header(STARTED, "9.9") + "".join(map(entry, every))


def roughly(histogram: Histogram) -> tuple[object, ...]:
    """Return all that a log keeps: the smallest value is that of its bucket."""
    return histogram.maximum, histogram.buckets()


def test_what_is_written() -> None:
    """A header that says what is what, then a line for each interval, and one for its service times."""
    one = Interval(SECOND, SECOND + 5, 2, 0, Histogram.of([1_234_567, 1]), Histogram.of([9]))
    first, second, third, fourth, response, service = written([one]).splitlines()
    assert first == "#[netecho 9.9: values in nanoseconds, maxima in milliseconds]"
    assert second == "#[Histogram log format version 1.3]"
    assert third == f"#[StartTime: {EPOCH_S}.127 (seconds since epoch), Sun Mar 01 12:00:00 UTC 2026]"
    assert fourth == '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
    assert response.startswith("1.000000000,1.000000005,1.234567,HISTFAAAA")
    assert service.startswith("Tag=service,1.000000000,1.000000005,0.000009,HISTFAAAA")


@settings(deadline=None, max_examples=30)
@given(intervals)
def test_read_reverses_write(every: list[Interval]) -> None:
    """To the nanosecond, but for what a log does not keep."""
    log = read(written(every).splitlines(keepends=True))
    assert log.started_s == EPOCH_S + 0.127
    assert len(log.intervals) == len(every)
    for found, one in zip(log.intervals, every, strict=True):
        assert (found.start_ns, found.length_ns) == (one.start_ns, one.length_ns)
        assert (found.completed, found.errors) == (one.response.count, 0)
        assert roughly(found.response) == roughly(one.response)
        assert (found.service is None) is (one.service is None)
        if found.service is not None and one.service is not None:
            assert roughly(found.service) == roughly(one.service)


@settings(deadline=None, max_examples=20)
@given(intervals)
def test_others_read_ours(tmp_path_factory: pytest.TempPathFactory, every: list[Interval]) -> None:
    """The reader of the HdrHistogram library finds the same intervals, tags and samples."""
    path = tmp_path_factory.mktemp("logs") / "ours.hlog"
    path.write_text(written(every), "ascii")
    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS))
    for one in every:
        for tag, histogram in ((None, one.response), (SERVICE, one.service)):
            if histogram is None:
                continue
            theirs = reader.get_next_interval_histogram()
            assert theirs.get_tag() == tag
            assert theirs.get_total_count() == histogram.count
            # Its iterator has no end where there is nothing.
            each = theirs if histogram.count else []
            recorded = [(item.value_iterated_to, item.count_at_value_iterated_to) for item in each]
            assert recorded == histogram.buckets()
            start_ms = (EPOCH_S + 0.127) * 1000 + one.start_ns / 1e6
            assert theirs.get_start_time_stamp() == pytest.approx(start_ms, abs=1)
            length_ms = theirs.get_end_time_stamp() - theirs.get_start_time_stamp()
            assert length_ms == pytest.approx(one.length_ns / 1e6, abs=1)
    assert reader.get_next_interval_histogram() is None
    reader.close()


def test_we_read_others(tmp_path: pathlib.Path) -> None:
    """What the HdrHistogram library writes, which rounds the longest time to less than its bucket."""
    path = tmp_path / "theirs.hlog"
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
    for value in (1_000_000, 2_345_678, 2_345_679):
        histogram.record_value(value)
    with path.open("w", encoding="ascii") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_legend()
        writer.output_interval_histogram(histogram, 5.0, 6.0)
        writer.output_interval_histogram(histogram, 6.0, 7.5)
    log = read(path.read_text("ascii").splitlines())
    assert log.started_s is None
    assert [(one.start_ns, one.length_ns) for one in log.intervals] == [
        (0, SECOND),
        (SECOND, 3 * SECOND // 2),
    ]
    expected = Histogram.of([1_000_000, 2_345_678, 2_345_679])
    for one in log.intervals:
        assert one.response.buckets() == expected.buckets()
        assert one.response.maximum == expected.buckets()[-1][0]
        assert one.service is None


@pytest.mark.parametrize(
    ("before", "times", "starts"),
    [
        # what is said of the origin, the lines' own times, and what they are in seconds from the start
        ("#[StartTime: 1772366400.5 (seconds since epoch), a date]", ["0.25", "1.25"], [0.25, 1.25]),
        ("#[StartTime: 1772366400.5 (seconds since epoch), a date]", ["1772366401.5"], [1]),
        ("#[StartTime: 1772366400.5 (seconds since epoch)]\n#[BaseTime: 1772366402 (s)]", ["3"], [4.5]),
        ("#[StartTime: 1772366400.5 (seconds since epoch), a date]", ["1772366400.25"], [-0.25]),
        ("#[StartTime: 7 (seconds since epoch), a date]", ["7", "9"], [0, 2]),
        ("", ["5", "6.5"], [0, 1.5]),
        ("#[BaseTime: 1772366402 (s)]", ["5", "6.5"], [0, 1.5]),
        ("# a remark\n\n", ["5"], [0]),
    ],
)
def test_origins(before: str, times: list[str], starts: list[float]) -> None:
    """Times since the epoch, since the start and since a base are told apart as others do."""
    encoded = Histogram.of([5]).encode()
    log = read([*before.splitlines(), *(f"{time},1,0.000005,{encoded}\n" for time in times)])
    assert [one.start_ns for one in log.entries] == [int(start * SECOND) for start in starts]


def test_other_tags() -> None:
    """What others tag is there, but is nobody's response time."""
    line = f"Tag=GET,1.0,1.0,0.000005,{Histogram.of([5]).encode()}"
    log = read([line])
    assert log.entries == (Entry("GET", 0, SECOND, Histogram.of([5])),)
    assert log.intervals == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("whatever", "line 2 is not of a histogram log"),
        ("1.0,1.0,0.1", "line 2 is not of a histogram log"),
        ("1.0,1.0,0.1,", "line 2 is not of a histogram log"),
        ("-1.0,1.0,0.1,HISTFAAAA", "line 2 is not of a histogram log"),
        ("Tag=,1.0,1.0,0.1,HISTFAAAA", "line 2 is not of a histogram log"),
        ("1.0,1.0,0.1,HISTFAAAA", "line 2: not a histogram"),
        ("1.0,1.0,0.1,x y", "line 2 is not of a histogram log"),
    ],
)
def test_not_a_log(line: str, reason: str) -> None:
    """The line that is wrong is named."""
    with pytest.raises(ValueError, match=reason):
        read(["# a remark", line])
