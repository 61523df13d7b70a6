"""Saved results: written whole or not at all, and found out before the run whether they can be."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from netecho.errors import NetechoError, UsageError
from netecho.measure.responsiveness import STEPS, LoadedLatency, Probed
from netecho.measure.trials import Found, Trial
from netecho.rendering.files import ResultFile, SavedForms
from netecho.rendering.machine import CSV_COLUMNS, to_csv, to_json_lines, to_json_text
from netecho.rendering.schema import result_schema
from netecho.rendering.streams import escape, write_out
from tests import samples, schemas

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_json_text_is_the_result() -> None:
    """As the schema has it, with a line end."""
    text = to_json_text(samples.troubled())
    assert text.endswith("}\n")
    schemas.RESULT.validate(json.loads(text))
    lines = to_json_lines([samples.bench(), samples.probes()]).splitlines()
    assert [json.loads(line)["command"] for line in lines] == ["bench", "client"]


def test_csv_has_a_row_for_each_result_under_the_json_paths() -> None:
    """Every cell is what JSON has at its column's path."""
    header, good, bad, probes = csv.reader(
        io.StringIO(to_csv([samples.bench(), samples.troubled(), samples.probes()]))
    )
    assert tuple(header) == CSV_COLUMNS
    assert len(set(header)) == len(header) == len(good) == len(bad) == len(probes)
    row = dict(zip(header, bad, strict=True))
    result = samples.troubled().to_json()
    assert row["plan.target"] == "tls://[2001:db8::7]:8443"
    assert row["latency_ns.response.p99.9"] == str(result["latency_ns"]["response"]["p99.9"])
    assert row["exchanges.lost"] == "40"
    assert json.loads(row["exchanges.errors"]) == {"timeout": 33, "lost": 7, "refused": 20}
    assert json.loads(row["caveats"]) == result["caveats"]
    assert (row["trustworthy"], row["interrupted"], row["plan.count"]) == ("false", "true", "")
    assert dict(zip(header, good, strict=True))["latency_ns.handshake.min"] == ""


def test_csv_has_no_control_characters() -> None:
    """A result may have come from anywhere, and its table goes to a terminal."""
    evil = "x\x1b[2J\x9b\n\u202e"
    plan = {**samples.bench().plan, "target": evil, "mode": evil, "slo": [evil]}
    summary = samples.bench(started=evil, plan=plan, system={"host": evil, "os": evil}, caveats=(evil,))
    _, row = to_csv([summary]).splitlines()
    assert row.isprintable()
    assert row.count(r"x\x1b[2J\x9b\n\u202e") == 5


def test_csv_leaves_out_nothing_that_a_plan_says() -> None:
    """A key added to a plan is to be added to the columns too; TLS is a detail for JSON."""
    for summary in (samples.bench(), samples.probes()):
        assert {f"plan.{key}" for key in summary.plan} - set(CSV_COLUMNS) == {"plan.tls"}


ONLY_JSON = (
    *("schema", "plan.tls", "flows", "intervals", "segments", "comparison"),
    *("histograms", "loaded_latency.idle.histograms", "loaded_latency.loaded.histograms"),
    *("delay_ns.jitter_arrivals", "delay_ns.jitter_weighted"),  # to merge jitters by
)
"""What of a result is not in its row of a table: forms, lists, and another table."""


def documented(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Return where a result has its numbers and words, by its schema; maps of some other keys are one."""
    if "$ref" in schema:
        schema = result_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for inner in schema.get("anyOf", ()):
        if inner.get("type") != "null":
            yield from documented(inner, path)
    for key, inner in schema.get("properties", {}).items():
        yield from documented(inner, f"{path}.{key}".removeprefix("."))
    if not schema.keys() & {"anyOf", "properties"}:
        yield path


def test_csv_has_all_that_is_documented() -> None:
    """A key added to a result is to be added to the columns too, or to what only JSON is for."""
    names = [f"{column}." for column in CSV_COLUMNS]
    for path in documented(result_schema()):
        in_json_only = any(f"{path}.".startswith(f"{only}.") for only in ONLY_JSON)
        in_a_column = any(f"{path}.".startswith(name) or name.startswith(f"{path}.") for name in names)
        assert in_a_column is not in_json_only, path


def leaves(value: object, path: str) -> Iterator[str]:
    """Return where a result has its numbers and words, one by one, but for what only JSON is for."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "histograms":
                yield from leaves(inner, f"{path}.{key}")
    else:
        yield path


def test_csv_has_a_search_and_latency_under_load() -> None:
    """All of their JSON has a column, and stands in it."""
    trials = (Trial(1000.0, 999.9, True, ("p(99) 9 ms",)), Trial(2000.0, 1500.0, False, (), ("slow",)))
    found = Found(("p(99)<10ms",), 1000.0, False, "target", "1,000/s held", trials)
    probed = Probed(10, 9, {step: samples.latencies(9) for step in STEPS})
    summary = samples.bench(
        search=found.to_json(),
        loaded_latency=LoadedLatency(50_000_000, probed, probed, 2e6).to_json(),
    )
    header, cells = csv.reader(io.StringIO(to_csv([summary])))
    row = dict(zip(header, cells, strict=True))
    result = summary.to_json()
    for part in ("search", "loaded_latency"):
        assert set(leaves(result[part], part)) == {name for name in header if name.startswith(f"{part}.")}
    assert json.loads(row["search.steps"]) == result["search"]["steps"]
    echo = result["loaded_latency"]["loaded"]["latency_ns"]["echo"]
    assert row["loaded_latency.loaded.latency_ns.echo.p99.9"] == str(echo["p99.9"])


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: pathlib.Path) -> None:
    """Not those of a temporary one, and nothing is left beside it."""
    path = tmp_path / "new.json"
    file = ResultFile(str(path), "--json", None)
    assert list(tmp_path.iterdir()) == []
    file.write("new\n")
    mask = os.umask(0)
    os.umask(mask)
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_is_replaced_at_once_and_keeps_its_permissions(tmp_path: pathlib.Path) -> None:
    """Who had it open still reads the old one whole; a link to it stays a link."""
    path = tmp_path / "old.json"
    path.write_text("old\n")
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with path.open() as reader:
        ResultFile(str(link), "--json", None).write("new\n")
        assert reader.read() == "old\n"
    assert link.is_symlink()
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_failure_in_the_middle_leaves_the_old_file_whole(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the disk is full or the user presses Ctrl-C."""
    path = tmp_path / "old.json"
    path.write_text("old\n")
    file = ResultFile(str(path), "--json", None)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NetechoError, match="no space left on device") as caught:
        file.write("new\n")
    assert caught.value.exit_status == 1

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write("new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_found_out_before(tmp_path: pathlib.Path) -> None:
    """One line that names the flag and the file."""
    for path, reason in (
        (tmp_path / "missing" / "a.json", "no such file or directory"),
        (tmp_path, "it is a directory"),
        (pathlib.Path("/proc/version"), "permission denied|read-only"),
        (pathlib.Path("a\0b"), "null"),
    ):
        if IS_ROOT and path.is_absolute() and path.parts[1] == "proc":
            continue  # the superuser is told only when writing
        with pytest.raises(UsageError, match=f"--csv .* cannot be written: .*({reason})") as caught:
            ResultFile(str(path), "--csv", None)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "missing/"])
def test_what_names_no_file_is_found_out_before(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unset variable is no reason to run, and to have nowhere to put what came of it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"--json '{name}' cannot be written: it names no file"):
        ResultFile(name, "--json", None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_permission_is_left_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That its directory would allow replacing it is no permission."""
    path = tmp_path / "theirs.json"
    path.write_text("theirs")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UsageError, match="permission denied"):
        ResultFile(str(path), "--json", None)


def test_a_socket_is_no_file(tmp_path: pathlib.Path) -> None:
    """It could not be opened in the end."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        with pytest.raises(UsageError, match="socket"):
            ResultFile(path, "--json", None)


def test_a_named_pipe_is_written_to_directly(tmp_path: pathlib.Path) -> None:
    """It is still a pipe afterwards, and its reader has the whole."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = ResultFile(str(path), "--json", None)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    assert file.write("through\n")
    reader.join(10)
    assert read == ["through\n"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_is_written_to_directly() -> None:
    """`--json /dev/null` must not make a file of it; `/dev/full` fails when it is written."""
    assert ResultFile(os.devnull, "--json", None).write("x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(NetechoError, match=r"--json '/dev/full' cannot be written: no space"):
        ResultFile("/dev/full", "--json", None).write("x")


def test_the_file_that_stdout_leads_to_is_stdout(tmp_path: pathlib.Path) -> None:
    """`--json out >out` writes one file, not two of which one is lost."""
    path = tmp_path / "out"
    with path.open("w") as stdout:
        file = ResultFile(str(path), "--json", stdout)
        assert file.is_stdout
        file.write("x\n")
        assert not ResultFile(str(tmp_path / "other"), "--json", stdout).is_stdout
    assert path.read_text() == "x\n"


def test_saved_forms_save_each(tmp_path: pathlib.Path) -> None:
    """One result is an object, several are JSON Lines."""
    path, table = tmp_path / "a.json", tmp_path / "a.csv"
    forms = SavedForms.open(str(path), str(table), io.StringIO())
    assert not forms.take_stdout
    forms.save([samples.bench()])
    assert path.read_text() == to_json_text(samples.bench())
    forms.save([samples.bench(), samples.probes()])
    assert len(path.read_text().splitlines()) == 2
    assert len(table.read_text().splitlines()) == 3
    nothing = SavedForms.open(None, None, None)
    nothing.save([samples.bench()])
    stdout = io.StringIO()
    one = SavedForms.open("-", None, stdout)
    assert one.take_stdout
    one.save([samples.bench()])
    assert json.loads(stdout.getvalue())["command"] == "bench"


def test_a_form_that_cannot_be_saved_costs_no_other(tmp_path: pathlib.Path) -> None:
    """A full disk under one file is none under the other."""
    table = tmp_path / "a.csv"
    with pytest.raises(NetechoError, match="--json '/dev/full'"):
        SavedForms.open("/dev/full", str(table), None).save([samples.bench()])
    assert table.read_text() == to_csv([samples.bench()])


def test_two_forms_cannot_have_one_place(tmp_path: pathlib.Path) -> None:
    """Nor two of them standard output."""
    path = str(tmp_path / "a")
    with pytest.raises(UsageError, match="both to be written"):
        SavedForms.open(path, path, None)
    for json_to, csv_to, stream in (("-", "-", False), ("-", None, True), (None, "-", True)):
        with pytest.raises(UsageError, match="cannot both go to standard output"):
            SavedForms.open(json_to, csv_to, io.StringIO(), json_stream=stream)


def test_write_out_says_whether_anybody_reads() -> None:
    """A stream that is closed, or was never open, is nobody."""
    stream = io.StringIO()
    assert write_out("x", stream)
    stream.close()
    assert not write_out("x", stream)
    assert not write_out("x", None)


def test_a_closed_pipe_is_quiet_to_the_end_of_the_process() -> None:
    """Nothing on stderr, and the exit status is the program's own."""
    code = (
        "import sys; from netecho.rendering.streams import write_out\n"
        "while write_out('x' * 1000 + '\\n', sys.stdout): pass\n"
        "print('more', flush=True)\n"
        "sys.exit(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 7


def test_a_full_disk_is_an_error_said_once() -> None:
    """Not again when the interpreter flushes at its end."""
    code = (
        "import sys; from netecho.errors import NetechoError\n"
        "from netecho.rendering.streams import write_out\n"
        "try: write_out('x', sys.stdout)\n"
        "except NetechoError as error: print('more', flush=True); sys.exit(str(error))\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "standard output cannot be written: no space left on device\n"
    assert done.returncode == 1


def test_escape_shows_what_it_must_not_send() -> None:
    """Control characters, C1 ones, line ends and reversals of direction; not letters."""
    assert escape("a\x1b[1m\x9b\n\u202eé 日本") == "a\\x1b[1m\\x9b\\n\\u202eé 日本"


def test_file_names_that_are_not_text_can_be_written() -> None:
    """Python keeps their bytes as lone surrogates."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    assert write_out("\udcff", stream)
    assert raw.getvalue() == b"\\udcff"
