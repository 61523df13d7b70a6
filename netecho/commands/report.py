"""`netecho report`: saved results, shown again in any form, compared, or added up."""

from __future__ import annotations

import json as json_module
import math
import re
import sys
from collections.abc import Container, Iterator, Sequence
from typing import IO, Any, Final

from netecho.errors import ExitStatus, UsageError, reason_of
from netecho.measure import comparison as comparing
from netecho.measure import hdrlog, humanise
from netecho.measure.results import merge_results
from netecho.measure.summary import Summary
from netecho.rendering.comparison import show_comparison
from netecho.rendering.console import console_on
from netecho.rendering.files import SavedForms
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.streams import escape, write_out
from netecho.rendering.text import show

_STANDARD_INPUT: Final = "-"
_LARGEST: Final = 1 << 30
"""Bytes in a file, at most: ten thousand results have less, and a device may have no end."""
_PIECE: Final = 1 << 20


def run(
    files: Sequence[str],
    *,
    compare: bool = False,
    fail_on_regression: float | None = None,
    merge: bool = False,
    json: str | None = None,
    csv: str | None = None,
    json_stream: bool = False,
    stdin: IO[str] | None = None,
    stdout: IO[str] | None = None,
) -> int:
    """Show the results in `files` and return the exit status.

    Args:
        files: what `--json`, or `--json-stream`, wrote; `-` is standard input.
        compare: compare the second file's results with the first's.
        fail_on_regression: by what share they may be slower: 0.05 is 5 %.
        merge: add all results up to one; there may be histogram logs among them.
        json: a file to write them to as JSON, `-` for standard output.
        csv: a file to write them to as CSV, `-` for standard output.
        json_stream: write a `result` event for each, or a `comparison` event, in place of text.
        stdin: what `-` reads; the process's own unless given.
        stdout: where results go; likewise.

    Raises:
        UsageError: a file is not there or holds no result, or a file to write cannot be written.
    """
    if compare and merge:
        raise UsageError("--compare and --merge exclude each other: merge to a file first, with --json")
    if fail_on_regression is not None and not compare:
        raise UsageError("--fail-on-regression needs --compare: something to be slower than")
    if compare and len(files) != 2:
        raise UsageError(f"--compare takes two files, the old and the new, and not {len(files)}")
    if files.count(_STANDARD_INPUT) > 1:
        raise UsageError("standard input can be read once: name - once")
    stdin, stdout = stdin or sys.stdin, stdout or sys.stdout
    forms = SavedForms.open(json, csv, stdout, json_stream=json_stream)
    shown = stdout if json is None and csv is None and not json_stream else None
    stream = JSONStream(stdout if json_stream else None)
    if compare:
        return _compare((files[0], files[1]), fail_on_regression, stdin, forms, stream, shown)
    named = (
        [("", _merged(files, stdin))]
        if merge
        else [(name, one) for name in files for one in read(name, stdin)]
    )
    summaries = [summary for _, summary in named]
    forms.save(summaries)
    for summary in summaries:
        stream.result(summary)
    if shown is not None:
        _show_all(named, shown)
    return ExitStatus.GOOD


def _compare(
    files: tuple[str, str],
    allowed: float | None,
    stdin: IO[str] | None,
    forms: SavedForms,
    stream: JSONStream,
    shown: IO[str] | None,
) -> ExitStatus:
    old, new = (read(name, stdin) for name in files)
    for name, results in zip(files, (old, new), strict=True):
        check_runs(name, results)
    if comparing.is_repeated([*old, *new]):
        raise UsageError(f"{label_of(files[0])} and {label_of(files[1])} have a run in common: compare two")
    comparison = comparing.compare(old, new)
    if not comparison.changes:
        reason = next(iter(comparison.unknown.values()))
        raise UsageError(f"{label_of(files[1])} cannot be compared with {label_of(files[0])}: {reason}")
    judged = {**comparison.judged(files[0], allowed), "compared": files[1]}
    forms.save_comparison(comparison, judged)
    stream.event("comparison", comparison=judged)
    if shown is not None:
        names = (_counted(files[0], old), _counted(files[1], new))
        show_comparison(comparison, console_on(shown), names, allowed)
    return ExitStatus.SLO_MISSED if judged["regressions"] else ExitStatus.GOOD


def _counted(name: str, summaries: Sequence[Summary]) -> str:
    return name if len(summaries) == 1 else f"{name}: {len(summaries)} results"


def _merged(files: Sequence[str], stdin: IO[str] | None) -> Summary:
    logs: dict[str, str] = {}  # the names, by what is in them
    summaries: list[Summary] = []
    for name in files:
        text = _read_text(name, stdin)
        if hdrlog.is_log(text):
            _check_new(name, text, logs)
            logs[text] = name
            continue
        for one in _results(name, text):
            _check_new(name, one, summaries)
            summaries.append(one)
    if not summaries:
        raise UsageError("histogram logs do not say what was measured: merge them with the result of a run")
    results = tuple(summaries)
    for text, name in logs.items():
        try:
            log = hdrlog.parse(text.splitlines())
            # It may be the log of any of them, and is taken to be like the first.
            added, *_ = [hdrlog.result_of(log, one) for one in results]
        except ValueError as error:
            raise UsageError(f"{label_of(name)} cannot be merged: {escape(error)}") from None
        summaries.append(added)
    return merge_results(summaries)


def _check_new(name: str, one: object, merged: Container[object]) -> None:
    if one in merged:
        raise UsageError(f"{label_of(name)} cannot be merged: it is merged already, or a part of it")


def _show_all(named: Sequence[tuple[str, Summary]], stdout: IO[str]) -> None:
    console = console_on(stdout)
    for index, (name, summary) in enumerate(named):
        if index and not write_out("\n", stdout):
            return
        if not show(summary, console, name=name if len(named) > 1 else None):
            return


def read(name: str, stdin: IO[str] | None) -> list[Summary]:
    """Return the results in a file, or in standard input for `-`; there is at least one.

    The file has any number of JSON objects, one behind another, of which those that are results, or events
    with a result in them, are taken.

    Raises:
        UsageError: it cannot be read, there is no result in it, or a comparison.
    """
    return _results(name, _read_text(name, stdin))


def check_runs(name: str, summaries: Sequence[Summary]) -> None:
    """Check that each result in a file is of a run of its own, so that they show how runs differ.

    Raises:
        UsageError: a run is there twice.
    """
    if comparing.is_repeated(summaries):
        raise UsageError(f"{label_of(name)} has the same run twice: it tells nothing of how runs differ")


def _read_text(name: str, stdin: IO[str] | None) -> str:
    try:
        return _text(name, stdin)
    except OSError as error:
        raise UsageError(f"{label_of(name)} cannot be read: {reason_of(error)}") from None
    except ValueError:
        raise UsageError(f"{label_of(name)} is not a result: it has bytes that are no text") from None


def _results(name: str, text: str) -> list[Summary]:
    label = label_of(name)
    if hdrlog.is_log(text):
        raise UsageError(f"{label} is a histogram log: --merge adds it to the result of a run")
    try:
        objects = list(_objects(text))
        if any(isinstance(one, dict) and one.get("schema") == comparing.SCHEMA for one in objects):
            raise UsageError(
                f"{label} is a comparison, and no result: give --compare the two files that it was made of"
            )
        summaries = [Summary.from_json(one) for one in objects]
    except json_module.JSONDecodeError as error:
        raise UsageError(f"{label} is not JSON: {escape(error)}") from None
    except RecursionError:
        raise UsageError(f"{label} is not a result: it is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{label} is not a result: {escape(error)}") from None
    if not summaries:
        raise UsageError(f"{label} holds no result: the run that wrote it may have been cut short")
    return summaries


def label_of(name: str) -> str:
    """Return what a file is called in messages."""
    return "standard input" if name == _STANDARD_INPUT else repr(name)


def _text(name: str, stdin: IO[str] | None) -> str:
    if name != _STANDARD_INPUT:
        with open(name, "rb") as file:
            return _decoded(file)
    if stdin is None:
        raise OSError(0, "it is closed")
    # The encoding of standard input is that of what people type, and not of files.
    binary: IO[bytes] | None = getattr(stdin, "buffer", None)
    return stdin.read() if binary is None else _decoded(binary)


def _decoded(file: IO[bytes]) -> str:
    """Return the text in a file: in UTF-8, or in UTF-16, as some shells redirect what a program writes."""
    content = bytearray()
    while part := file.read(_PIECE):
        content += part
        if len(content) > _LARGEST:
            raise OSError(0, f"it is larger than {humanise.size(_LARGEST)}")
    return content.decode(json_module.detect_encoding(content))


def _objects(text: str) -> Iterator[Any]:
    """Yield what should be results."""
    for value in _values(text):
        if not isinstance(value, dict) or "event" not in value or "schema" in value:
            yield value
        elif value["event"] in ("result", "comparison"):
            yield value.get(value["event"])


def _values(text: str) -> Iterator[Any]:
    """Yield what is in a text, one behind another, as lines or files are that were put together."""
    begun = 0
    while found := _NEXT.search(text, begun):
        value, begun = _DECODER.raw_decode(text, found.start())
        yield value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that a result has")
    return number


_DECODER: Final = json_module.JSONDecoder(parse_constant=_finite, parse_float=_finite)
_NEXT: Final = re.compile(r"\S")
"""What is behind white space."""
