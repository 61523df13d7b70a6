"""`netecho report`: what was saved is shown again, and what is no result is said in a line."""

from __future__ import annotations

import csv
import datetime
import io
import json
import pathlib
import re

import pytest

from netecho.commands import report
from netecho.errors import ExitStatus, UsageError
from netecho.measure.hdrlog import Entry, header, line
from netecho.measure.histogram import Histogram
from netecho.plans import SECOND
from netecho.rendering.machine import to_json_lines, to_json_text
from tests import samples, schemas


def saved(path: pathlib.Path, text: str) -> str:
    """Write a file and return its name."""
    path.write_text(text)
    return str(path)


def run(*names: str, stdin: str = "", **options: str | bool | float) -> str:
    """Return what the command writes to standard output."""
    stdout = io.StringIO()
    assert report.run(names, stdin=io.StringIO(stdin), stdout=stdout, **options) == 0  # type: ignore[arg-type]
    return stdout.getvalue()


def test_a_result_is_shown_as_it_was(tmp_path: pathlib.Path) -> None:
    """Text by default, without the name when there is one file."""
    text = run(saved(tmp_path / "a.json", to_json_text(samples.bench())))
    assert text.startswith("netecho bench  tcp://127.0.0.1:40213")
    assert "45,123 exchanges/s" in text


def test_several_are_shown_with_their_names(tmp_path: pathlib.Path) -> None:
    """In the order given."""
    a = saved(tmp_path / "a.json", to_json_text(samples.bench()))
    b = saved(tmp_path / "b.json", to_json_text(samples.probes()))
    text = run(a, b)
    assert text.index(f"{a}:") < text.index("netecho bench") < text.index(f"{b}:") < text.index("rtt min")


def test_standard_input_and_every_other_form(tmp_path: pathlib.Path) -> None:
    """What is read is what is written."""
    original = to_json_text(samples.troubled())
    assert run("-", stdin=original, json="-") == original
    (row,) = csv.DictReader(io.StringIO(run("-", stdin=original, csv="-")))
    assert row["exchanges.lost"] == "40"
    assert json.loads(run("-", stdin=original, json_stream=True)) == {
        "event": "result",
        "result": json.loads(original),
    }
    copy = tmp_path / "copy.json"
    assert run("-", stdin=original, json=str(copy)) == ""
    assert copy.read_text() == original


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_files_are_read_as_what_they_are(tmp_path: pathlib.Path, encoding: str) -> None:
    """With a mark or none, whatever people type in; PowerShell redirects in UTF-16, with CRLF."""
    text = to_json_text(samples.bench(system={**samples.bench().system, "host": "zürich"}))
    content = (
        json.dumps(json.loads(text), indent=2, ensure_ascii=False).replace("\n", "\r\n").encode(encoding)
    )
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for name in (str(path), "-"):
        stdout = io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(content), "cp1252")
        assert report.run([name], json="-", stdin=stdin, stdout=stdout) == ExitStatus.GOOD
        assert stdout.getvalue() == text


def test_a_device_without_an_end_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all of it is read."""
    monkeypatch.setattr(report, "_LARGEST", 4 << 20)
    with pytest.raises(UsageError, match=r"'/dev/zero' cannot be read: it is larger than 4.00 MiB"):
        run("/dev/zero")


def test_recordings_and_lines_are_read() -> None:
    """`--json-stream` ends in the result; several results are one on each line."""
    stream = '{"event": "listening"}\n{"event": "interval"}\n' + json.dumps(
        {"event": "result", "result": samples.bench().to_json()}
    )
    assert "45,123 exchanges/s" in run("-", stdin=stream)
    lines = to_json_lines([samples.bench(), samples.probes()])
    assert run("-", stdin=lines, json="-") == lines


def test_files_that_were_put_together_are_read() -> None:
    """As `cat` does it: objects on as many lines as they have, and nothing between them."""
    first, second = (to_json_text(one) for one in (samples.bench(), samples.probes()))
    lines = to_json_lines([samples.bench(), samples.probes()])
    for text in (first + second, first.strip() + second.strip() + "\n\n"):
        assert run("-", stdin=text, json="-") == lines
    line = first.count("\n") + 2
    with pytest.raises(UsageError, match=f"^standard input is not JSON: .*: line {line} column 1 "):
        run("-", stdin=first + "{\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no result: the run that wrote it may have been cut short"),
        ("\n \n", "holds no result"),
        ("not json", "is not JSON"),
        ('{"event": "interval"}\n\n{"b"\n', "is not JSON: Expecting ':' delimiter: line 4 column 1"),
        ("{}", "is not a result: its schema is None"),
        ("[]", "is not a result"),
        ("3", "is not a result"),
        ('{"schema": "netecho.result/1"}', "is not a result: it has no 'exchanges'"),
        ('{"schema": NaN}', "NaN is not a number"),
        ('{"schema": 1e999}', "1e999 is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"event": "listening"}\n{"event": "interval"}\n', "holds no result"),
        ('{"event": "result", "result": 3}', "is not a result"),
        ('{"schema": "\\u001b[2J"}', r"\x1b"),
    ],
)
def test_what_is_no_result_is_one_line_that_names_the_file(
    tmp_path: pathlib.Path, text: str, words: str
) -> None:
    """Never a traceback, and no control code from it."""
    name = saved(tmp_path / "a.json", text)
    with pytest.raises(UsageError) as caught:
        run(name)
    message = str(caught.value)
    assert message.startswith(f"{name!r} ")
    assert words in message
    assert message.isprintable()


def test_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    """Missing, a directory, or not text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in (
        (tmp_path / "missing", "cannot be read: no such file or directory"),
        (tmp_path, "cannot be read: is a directory"),
        (binary, "is not a result: it has bytes that are no text"),
    ):
        with pytest.raises(UsageError, match=words):
            run(str(path))


def test_nothing_is_written_when_one_file_is_wrong(tmp_path: pathlib.Path) -> None:
    """All are read first."""
    good = saved(tmp_path / "a.json", to_json_text(samples.bench()))
    out = tmp_path / "out.json"
    with pytest.raises(UsageError):
        run(good, str(tmp_path / "missing"), json=str(out))
    assert not out.exists()


def test_a_closed_standard_input_or_output(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """`<&-` is a mistake, `>&-` is nobody reading."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input cannot be read: it is closed"):
        report.run(["-"], stdout=io.StringIO())
    monkeypatch.setattr("sys.stdout", None)
    name = saved(tmp_path / "a.json", to_json_text(samples.bench()))
    assert report.run([name, name]) == 0


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_reader_who_goes_in_the_middle_ends_it_quietly(tmp_path: pathlib.Path, writes: int) -> None:
    """`netecho report a b | head -1`."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if text and self.getvalue().count("trustworthy") + self.getvalue().endswith("\n\n") >= writes:
                raise BrokenPipeError
            return super().write(text)

    name = saved(tmp_path / "a.json", to_json_text(samples.bench()))
    stdout = Gone()
    assert report.run([name, name], stdout=stdout) == 0
    assert stdout.getvalue().count("trustworthy") == min(writes, 1)


def level(middle_ns: int) -> str:
    """Return a saved result of which every second was the same."""
    return to_json_text(samples.by_the_second([samples.latencies(2_000, middle_ns)] * 4))


@pytest.fixture
def pair(tmp_path: pathlib.Path) -> tuple[str, str]:
    """Two results, the second a tenth slower."""
    return saved(tmp_path / "old.json", level(1_000_000)), saved(tmp_path / "new.json", level(1_100_000))


def test_a_comparison_side_by_side(
    pair: tuple[str, str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old before new, what changed, and by how much at least and at most."""
    monkeypatch.chdir(tmp_path)
    text = run("old.json", "new.json", compare=True)
    assert text.startswith("before      old.json\nnow         new.json\n")
    (p50,) = (line.split() for line in text.splitlines() if line.startswith("p50"))
    assert " ".join(p50[1:6]) == "1.00 ms 1.10 ms +10.1%"
    assert p50[-1] == "slower"


@pytest.mark.parametrize(
    ("allowed", "status", "words"),
    [
        (0.05, ExitStatus.SLO_MISSED, "✘ p10, p50, p99 slower by more than 5%"),
        (0.15, ExitStatus.GOOD, "✔ nothing is slower by more than 15%"),
    ],
)
def test_a_regression_is_a_status(
    pair: tuple[str, str], allowed: float, status: ExitStatus, words: str
) -> None:
    """99 if there is one, and only if somebody asked."""
    stdout = io.StringIO()
    assert report.run(pair, compare=True, fail_on_regression=allowed, stdout=stdout) == status
    assert words in stdout.getvalue()
    judged = io.StringIO()
    assert report.run(pair, compare=True, fail_on_regression=allowed, json="-", stdout=judged) == status
    told = json.loads(judged.getvalue())
    assert (told["allowed"], bool(told["regressions"])) == (allowed, status != ExitStatus.GOOD)
    assert ", ".join(told["regressions"]) in words
    assert report.run(pair, compare=True, stdout=stdout) == ExitStatus.GOOD
    assert report.run(pair[::-1], compare=True, fail_on_regression=0.05, stdout=stdout) == ExitStatus.GOOD


def test_a_comparison_for_machines(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """The same in every form, and nothing else on standard output."""
    found = json.loads(run(*pair, compare=True, json="-"))
    schemas.COMPARISON.validate(found)
    assert found["changes"][1]["ratio"] == pytest.approx(1.1, rel=0.002)
    assert (found["baseline"], found["compared"], found["allowed"], found["regressions"]) == (*pair, None, [])
    assert json.loads(run(*pair, compare=True, json_stream=True)) == {
        "event": "comparison",
        "comparison": found,
    }
    rows = list(csv.DictReader(io.StringIO(run(*pair, compare=True, csv="-"))))
    assert [{**row, "ratio": float(row["ratio"])} for row in rows] == [
        {**{key: str(value) for key, value in change.items()}, "ratio": change["ratio"]}
        for change in found["changes"]
    ]
    out = tmp_path / "out.json"
    assert run(*pair, compare=True, json=str(out)) == ""
    assert json.loads(out.read_text()) == found


def test_a_comparison_is_no_result(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """What it is, and what to do to see it, whatever wrote it and is to read it."""
    whole = saved(tmp_path / "whole.json", run(*pair, compare=True, json="-"))
    event = saved(tmp_path / "event.json", run(*pair, compare=True, json_stream=True))
    for name in (whole, event):
        words = f"{name!r} is a comparison, and no result: give --compare the two files"
        with pytest.raises(UsageError, match=re.escape(words)):
            run(name)
        with pytest.raises(UsageError, match=re.escape(words)):
            run(pair[0], name, compare=True)


def test_a_run_is_not_compared_with_itself(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """It never differs from itself, which would be taken for good news."""
    old, new = (pathlib.Path(name).read_text() for name in pair)
    again = saved(tmp_path / "again.json", json.dumps({**json.loads(old), "comparison": {"changes": []}}))
    twice = saved(tmp_path / "twice.json", 2 * (json.dumps(json.loads(new)) + "\n"))
    for names, words in (
        ((pair[0], pair[0]), "have a run in common"),
        ((pair[0], again), "have a run in common"),
        ((pair[0], twice), "twice.json' has the same run twice"),
        ((twice, pair[0]), "twice.json' has the same run twice"),
    ):
        with pytest.raises(UsageError, match=words):
            run(*names, compare=True)


def test_several_results_of_each_are_compared_as_runs(
    pair: tuple[str, str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have one on each line."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps(json.loads(level(1_000_000 + by))) + "\n" for by in (0, 1000, 2000, 3000))
    saved(tmp_path / "runs.json", lines)
    text = run("runs.json", "new.json", compare=True)
    assert "runs.json: 4 results\n" in text
    assert "intervals: Student's t of runs" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compare": True, "merge": True}, "--compare and --merge exclude each other"),
        ({"fail_on_regression": 0.05}, "--fail-on-regression needs --compare"),
        ({"compare": True, "files": 1}, "--compare takes two files, the old and the new, and not 1"),
        ({"compare": True, "files": 3}, "--compare takes two files, the old and the new, and not 3"),
    ],
)
def test_what_cannot_be_asked_together(pair: tuple[str, str], options: dict[str, object], words: str) -> None:
    """Nothing is read or written before that is known."""
    options = dict(options)
    files = [*pair, pair[0]][: int(str(options.pop("files", 2)))]
    with pytest.raises(UsageError, match=words):
        report.run(files, **options)  # type: ignore[arg-type]


def test_results_that_say_too_little_are_not_compared(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """That nothing was shown to be slower would be no answer."""
    nothing = samples.bench(latencies={}, intervals=())
    name = saved(tmp_path / "nothing.json", to_json_text(nothing))
    with pytest.raises(
        UsageError, match=r"nothing.json' cannot be compared with '.*: nothing came back in a run"
    ):
        run(pair[0], name, compare=True, fail_on_regression=0.05)


def test_results_are_added_up(pair: tuple[str, str]) -> None:
    """Into one, in any form."""
    merged = json.loads(run(*pair, merge=True, json="-"))
    schemas.RESULT.validate(merged)
    assert merged["exchanges"]["completed"] == 16_000
    assert merged["latency_ns"]["response"]["count"] == 16_000
    text = run(*pair, merge=True)
    assert text.startswith("netecho bench")
    assert "16,000 completed" in text


def test_nothing_is_added_up_twice(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """Nor left out in silence: a result or a log that is there twice is a mistake."""
    old = pathlib.Path(pair[0]).read_text()
    copy = saved(tmp_path / "copy.json", old)
    recording = saved(tmp_path / "lines.json", 2 * (json.dumps(json.loads(old)) + "\n"))
    log = saved(tmp_path / "b.hlog", log_text(samples.latencies(500)))
    for names in ((pair[0], pair[0]), (pair[0], copy), (recording,), (*pair, log, log)):
        with pytest.raises(UsageError, match=f"'{names[-1]}' cannot be merged: .* merged already"):
            run(*names, merge=True)


@pytest.mark.parametrize("options", [{}, {"merge": True}, {"compare": True}])
def test_standard_input_is_read_once(pair: tuple[str, str], options: dict[str, bool]) -> None:
    """The second time there is nothing left in it."""
    with pytest.raises(UsageError, match="standard input can be read once"):
        run("-", "-", stdin=pathlib.Path(pair[0]).read_text(), **options)


def log_text(*seconds: Histogram, since_s: int = 60) -> str:
    """Return a histogram log that began so much later than the samples' results."""
    started = datetime.datetime.fromisoformat(samples.STARTED) + datetime.timedelta(seconds=since_s)
    entries = (Entry(number * SECOND, SECOND, one) for number, one in enumerate(seconds))
    return header(started, "other") + "".join(map(line, entries))


def test_a_histogram_log_is_added_to_a_result(pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    """In whatever order they are named; what it is of comes from the result."""
    log = saved(tmp_path / "b.hlog", log_text(samples.latencies(500)))
    for names in ((pair[0], log), (log, pair[0])):
        merged = json.loads(run(*names, merge=True, json="-"))
        schemas.RESULT.validate(merged)
        assert merged["exchanges"]["completed"] == 8_500
        assert merged["plan"] == json.loads(level(1_000_000))["plan"]
        assert any("a histogram log has the echoes only" in caveat for caveat in merged["caveats"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (log_text(), r"b.hlog' cannot be merged: it has no response times"),
        (log_text(samples.latencies(1)) + "nonsense\x1b", r"b.hlog' cannot be merged: line 7: it is not of"),
        (
            log_text(*[samples.latencies(2_000, 1_000_000)] * 4),
            r"b.hlog' cannot be merged: it is the log of a result that is merged already",
        ),
    ],
)
def test_a_histogram_log_that_cannot_be_added(
    pair: tuple[str, str], tmp_path: pathlib.Path, text: str, words: str
) -> None:
    """One line says why, whichever result it has to do with."""
    for names in (pair, pair[::-1]):
        with pytest.raises(UsageError, match=words):
            run(*names, saved(tmp_path / "b.hlog", text), merge=True)


def test_histogram_logs_alone_are_no_results(tmp_path: pathlib.Path) -> None:
    """They do not say what was measured, or that all of it came back."""
    log = saved(tmp_path / "b.hlog", log_text(samples.latencies(500)))
    with pytest.raises(UsageError, match="merge them with the result of a run"):
        run(log, merge=True)
    for compare in (False, True):
        with pytest.raises(UsageError, match=r"b.hlog' is a histogram log: --merge adds it to"):
            run(log, log, compare=compare)
