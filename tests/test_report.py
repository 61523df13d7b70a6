"""`netecho report`: what was saved is shown again, and what is no result is said in a line."""

from __future__ import annotations

import csv
import io
import json
import pathlib

import pytest

from netecho.commands import report
from netecho.errors import UsageError
from netecho.rendering.machine import to_json_lines, to_json_text
from tests import samples


def saved(path: pathlib.Path, text: str) -> str:
    """Write a file and return its name."""
    path.write_text(text)
    return str(path)


def run(*names: str, stdin: str = "", **options: str | bool) -> str:
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


def test_recordings_and_lines_are_read() -> None:
    """`--json-stream` ends in the result; several results are one on each line."""
    stream = '{"event": "listening"}\n{"event": "interval"}\n' + json.dumps(
        {"event": "result", "result": samples.bench().to_json()}
    )
    assert "45,123 exchanges/s" in run("-", stdin=stream)
    lines = to_json_lines([samples.bench(), samples.probes()])
    assert run("-", stdin=lines, json="-") == lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("not json", "is not JSON"),
        ('{"a": 1}\n{"b"\n', "is not JSON"),
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
        (binary, "is not a result"),
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
