"""`netecho report`: saved results, shown again in any form."""

from __future__ import annotations

import io
import json as json_module
import math
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from netecho.errors import ExitStatus, UsageError
from netecho.measure.summary import Summary
from netecho.rendering.files import SavedForms
from netecho.rendering.live import JSONStream
from netecho.rendering.streams import console_on, escape, write_out
from netecho.rendering.text import show

_STANDARD_INPUT: Final = "-"


def run(
    files: Sequence[str],
    *,
    json: str | None = None,
    csv: str | None = None,
    json_stream: bool = False,
    stdin: IO[str] | None = None,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> int:
    """Show the results in `files` and return the exit status.

    Args:
        files: what `--json`, or `--json-stream`, wrote; `-` is standard input.
        json: a file to write them to as JSON, `-` for standard output.
        csv: a file to write them to as CSV, `-` for standard output.
        json_stream: write a `result` event for each in place of text.
        stdin: what `-` reads; the process's own unless given, and likewise the others.
        stdout: where results go.
        stderr: where nothing goes as yet.

    Raises:
        UsageError: a file is not there or holds no result, or a file to write cannot be written.
    """
    stdout = stdout or sys.stdout
    forms = SavedForms.open(json, csv, stdout, json_stream=json_stream)
    named = [(name, one) for name in files for one in read(name, stdin or sys.stdin)]
    summaries = [summary for _, summary in named]
    forms.save(summaries)
    if json_stream:
        stream = JSONStream(stdout)
        for summary in summaries:
            stream.result(summary)
    elif json is None and csv is None and stdout is not None:
        _show_all(named, stdout)
    return ExitStatus.GOOD


def _show_all(named: Sequence[tuple[str, Summary]], stdout: IO[str]) -> None:
    console = console_on(stdout)
    for index, (name, summary) in enumerate(named):
        if index and not write_out("\n", stdout):
            return
        if not show(summary, console, name=name if len(named) > 1 else None):
            return


def read(name: str, stdin: IO[str] | None) -> list[Summary]:
    """Return the results in a file, or in standard input for `-`; there is at least one.

    The file is one JSON object, or has one on each line, of which those that are results, or events
    with a result in them, are taken.

    Raises:
        UsageError: it cannot be read, or there is no result in it.
    """
    label = "standard input" if name == _STANDARD_INPUT else repr(name)
    try:
        objects = list(_objects(_text(name, stdin)))
        summaries = [Summary.from_json(one) for one in objects]
    except OSError as error:
        raise UsageError(f"{label} cannot be read: {_lower(error.strerror or str(error))}") from None
    except json_module.JSONDecodeError as error:
        raise UsageError(f"{label} is not JSON: {escape(error)}") from None
    except RecursionError:
        raise UsageError(f"{label} is not a result: it is nested too deeply") from None
    except ValueError as error:  # bytes that are not text among them
        raise UsageError(f"{label} is not a result: {escape(error)}") from None
    if not summaries:
        raise UsageError(f"{label} holds no result: the run that wrote it may have been cut short")
    return summaries


def _text(name: str, stdin: IO[str] | None) -> str:
    if name != _STANDARD_INPUT:
        with open(name, encoding="utf-8-sig") as file:
            return file.read()
    if stdin is None:
        raise OSError(0, "it is closed")
    return stdin.read()


def _objects(text: str) -> Iterator[Any]:
    """Yield what should be results."""
    try:
        values = [_parse(text)]
    except json_module.JSONDecodeError:
        lines = [line for line in io.StringIO(text) if line.strip()]
        if len(lines) < 2 or not lines[0].rstrip().endswith("}"):
            raise
        values = [_parse(line) for line in lines]
    for value in values:
        if not isinstance(value, dict) or "event" not in value or "schema" in value:
            yield value
        elif value["event"] == "result":
            yield value.get("result")


def _parse(text: str) -> Any:
    return json_module.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that a result has")
    return number


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
