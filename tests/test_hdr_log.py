"""`--hdr-log`: what HdrHistogram's own reader finds in it adds up to the result, whatever ended the run."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import signal

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from netecho.errors import NetechoError, UsageError
from netecho.measure.histogram import HIGHEST_NS, Histogram
from netecho.measure.intervals import Interval
from netecho.plans import SECOND
from netecho.rendering.files import GrowingFile, SavedForms
from netecho.rendering.histogram_log import HistogramLog
from tests import samples
from tests.benches import bench, checked, echo, ignore, running, serving
from tests.clients import client, socat
from tests.servers import netecho


def read(path: pathlib.Path) -> dict[str | None, list[HdrHistogram]]:
    """Return the histograms in a log, by tag, as HdrHistogram reads them."""
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    found: dict[str | None, list[HdrHistogram]] = {}
    while (one := reader.get_next_interval_histogram()) is not None:
        found.setdefault(one.get_tag(), []).append(one)
    reader.input_file.close()
    return found


def adds_up(found: list[HdrHistogram], encoded: str) -> None:
    """Hold that histograms are, together, one of a result."""
    total = HdrHistogram(1, HIGHEST_NS, 3)
    for one in found:
        total.add(one)
    expected = HdrHistogram.decode(encoded)
    assert total.get_total_count() == expected.get_total_count()
    for percentile in (1, 10, 50, 75, 90, 99, 99.9, 100):
        assert total.get_value_at_percentile(percentile) == expected.get_value_at_percentile(percentile)


@pytest.mark.parametrize(
    "words",
    [["-q", "400"], ["-q", "400", "--workers", "2"], ["-n", "300"]],
    ids=["open", "workers", "closed"],
)
def test_it_is_the_result_over_time(words: list[str], tmp_path: pathlib.Path) -> None:
    """A line for each second, and for what is left of the last one; service times have a tag."""
    path = tmp_path / "a.hlog"
    length = [] if "-n" in words else ["-z", "1300ms"]
    with serving(echo) as url:
        result = bench(url, "-c", "4", *length, *words, "--hdr-log", str(path))
    found = read(path)
    adds_up(found[None], result["histograms"]["response"])
    if "-q" in words:
        assert len(found[None]) >= 2
        adds_up(found["service"], result["histograms"]["service"])
    else:
        assert list(found) == [None]


def test_probes_have_one_too(tmp_path: pathlib.Path) -> None:
    """Those of a client are an open loop, and add up as well."""
    path = tmp_path / "a.hlog"
    with socat("TCP-LISTEN:0,bind=127.0.0.1,fork") as port:
        done = client("-n", "30", "-i", "2ms", "127.0.0.1", str(port), "--json", "-", "--hdr-log", str(path))
    assert done.returncode == 0
    found, result = read(path), json.loads(done.stdout)
    adds_up(found[None], result["histograms"]["response"])
    adds_up(found["service"], result["histograms"]["service"])


def test_it_can_be_followed_and_is_whole_when_interrupted(tmp_path: pathlib.Path) -> None:
    """The first second is there while the second one goes on, and the old log is not any more."""
    path = tmp_path / "a.hlog"
    path.write_text("old")
    words = ["-q", "200", "-z", "1h", "--hdr-log", str(path), "--json", "-"]
    with serving(echo) as url, running(url, *words) as process:
        assert process.stderr is not None
        assert b"errors 0" in process.stderr.readline()  # the progress of that second comes with it
        followed = read(path)
        assert followed[None][0].get_total_count() > 0
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
        assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["interrupted"]
    adds_up(read(path)[None], result["histograms"]["response"])


def test_a_run_that_measures_nothing_leaves_the_old_log(tmp_path: pathlib.Path) -> None:
    """There is nothing to put in its place."""
    path = tmp_path / "a.hlog"
    path.write_text("old")
    done = netecho("bench", "127.0.0.1", "1", "--hdr-log", str(path), "--quiet")
    assert done.returncode == 1
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_came_back(tmp_path: pathlib.Path) -> None:
    """Seconds without echoes are in it, empty."""
    path = tmp_path / "a.hlog"
    with serving(ignore) as url:
        bench(url, "-q", "20", "-z", "1s", "-w", "500ms", "--hdr-log", str(path), status=1, is_answered=False)
    assert sum(one.get_total_count() for one in read(path)[None]) == 0


def test_standard_output(tmp_path: pathlib.Path) -> None:
    """With `-` it is the log alone, in place of the text."""
    with serving(echo) as url:
        done = netecho("bench", url, "-n", "10", "--quiet", "--hdr-log", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    path = tmp_path / "a.hlog"
    path.write_bytes(done.stdout)
    assert [one.get_total_count() for one in read(path)[None]] == [10]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"hdr_log": "/nonexistent/a"}, "--hdr-log '/nonexistent/a' cannot be written: no such file"),
        ({"hdr_log": "./a", "csv": "a"}, "--csv and --hdr-log are both to be written to 'a'"),
        ({"hdr_log": "-", "json": "-"}, "--json - and --hdr-log - cannot both go to standard output"),
    ],
)
def test_mistakes(files: dict[str, str], says: str) -> None:
    """They are found before anything is sent."""
    with pytest.raises(UsageError, match=re.escape(says)):
        SavedForms.open(**{"json": None, "csv": None, "stdout": io.StringIO(), **files})  # type: ignore[arg-type]


def test_a_pipe_that_nobody_reads(tmp_path: pathlib.Path) -> None:
    """It is a mistake, found before the run: to wait for somebody would hold that up."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = netecho("bench", "-n", "1", "--hdr-log", str(pipe))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == (
        f"netecho: --hdr-log '{pipe}' cannot be written: nobody reads the pipe: start what does first\n"
    )


def test_a_pipe_that_is_read(tmp_path: pathlib.Path) -> None:
    """It gets the log to its end."""
    pipe, path = tmp_path / "pipe", tmp_path / "a.hlog"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with serving(echo) as url, open(reader, "rb") as read_from:
        assert netecho("bench", url, "-n", "10", "--quiet", "--hdr-log", str(pipe)).returncode == 0
        path.write_bytes(read_from.read())
    assert [one.get_total_count() for one in read(path)[None]] == [10]


def test_a_pipe_that_is_not_emptied(tmp_path: pathlib.Path) -> None:
    """It holds up nothing: that is said in place of the rest."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = GrowingFile(str(pipe), "--hdr-log", None)
        with pytest.raises(NetechoError, match="cannot be written: who reads the pipe is too far behind"):
            file.write("x" * 10_000_000)
        file.close()
    finally:
        os.close(reader)


def test_a_log_begins_when_what_is_measured_did(tmp_path: pathlib.Path) -> None:
    """It has no header before there is an interval, and then has it once, from when that began."""
    path = tmp_path / "a.hlog"
    path.write_text("old")
    log = HistogramLog(GrowingFile(str(path), "--hdr-log", None), "bench here\nand there")
    assert path.read_text() == "old"
    for number in range(2):
        log.add(Interval(number * SECOND, SECOND, 20, 0, samples.latencies(20)))
        lines = path.read_text().splitlines()
        assert len(lines) == 6 + number
    assert lines[0].endswith(r"bench here\nand there]")
    log.close()
    assert Histogram.decode(lines[-1].split(",")[-1]).count == 20
    assert path.read_text().splitlines() == lines


def test_a_log_of_nothing_is_a_header(tmp_path: pathlib.Path) -> None:
    """So that whoever reads it finds what it is of."""
    path = tmp_path / "a.hlog"
    HistogramLog(GrowingFile(str(path), "--hdr-log", None), "bench").close()
    assert len(path.read_text().splitlines()) == 5
    assert read(path) == {}


def test_a_full_disk_ends_the_log_and_not_the_run() -> None:
    """The result is shown all the same, and the exit status is not 0."""
    with serving(echo) as url:
        done = netecho("bench", url, "-n", "10", "--quiet", "--hdr-log", "/dev/full", "--json", "-")
    assert done.returncode == 1
    assert checked(json.loads(done.stdout))["exchanges"]["completed"] == 10
    assert done.stderr == b"netecho: --hdr-log '/dev/full' cannot be written: no space left on device\n"


def test_what_cannot_be_replaced_is_written_to() -> None:
    """A device is opened, and not taken away."""
    file = GrowingFile("/dev/null", "--hdr-log", None)
    assert file.write("one\n")
    assert file.write("two\n")
    file.close()
    assert pathlib.Path("/dev/null").is_char_device()
