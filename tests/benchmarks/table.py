"""What was measured, as the Markdown that the README shows."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.benchmarks.contestants import UVLOOP
from tests.benchmarks.load import Sample

BUSY: Final = 0.9
"""The part of a processor that a server has at least used whose own speed set the rate."""
WIDTH: Final = 105
"""Of a line of text in the README."""
Rounds = Mapping[str, Sequence[Sample]]
"""By contestant, what it did in each round of one load."""


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One load, on every contestant."""

    title: str
    rounds: Rounds


def markdown(columns: Sequence[Column], base: str, size: int, tls: str) -> str:
    """Return both tables, with what they mean, and where they were made.

    Args:
        columns: what was measured; at least one, all of the same contestants.
        base: the contestant that the others are compared with.
        size: bytes in a message.
        tls: the version and cipher that all of them speak.
    """
    rounds = len(columns[0].rounds[base])
    parts = [
        _wrapped(
            f"Microseconds of processor time that a server takes for an exchange of {size} bytes; in "
            f"brackets, how many times faster that makes it than {base}."
        ),
        _table(columns, lambda column, name: _cost_cell(column.rounds, name, base)),
        _wrapped(
            f"Exchanges a second; in brackets, how many times those of {base}. Where there is a `~`, the "
            "server had time to spare: the load, or the way between the two, set the rate."
        ),
        _table(columns, lambda column, name: _rate_cell(column.rounds, name, base)),
        _wrapped(
            f"Medians of {_count(rounds, 'round')}, each of which puts each load on each server in turn; "
            f"ratios are taken round by round. {machine(tls)} {' '.join(_losses(columns))}"
        ),
    ]
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _table(columns: Sequence[Column], cell: Callable[[Column, str], str]) -> str:
    rows = [["echo server", *(column.title for column in columns)]]
    rows += [[name, *(cell(column, name) for column in columns)] for name in columns[0].rounds]
    rule = "|---|" + "---:|" * len(columns)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], rule, *lines[1:]])


def _cost_cell(rounds: Rounds, name: str, base: str) -> str:
    cost = statistics.median(sample.cost_ns for sample in rounds[name]) / 1000
    ratio = _median_ratio(rounds[base], rounds[name], lambda sample: sample.cost_ns)
    return f"{cost:.1f} ({ratio:.2f})"


def _rate_cell(rounds: Rounds, name: str, base: str) -> str:
    samples = rounds[name]
    rate = statistics.median(sample.rate for sample in samples)
    ratio = _median_ratio(samples, rounds[base], lambda sample: sample.rate)
    idle = statistics.median(sample.busy for sample in samples) < BUSY
    return f"{'~' if idle else ''}{rate:,.0f} ({ratio:.2f})"


def _median_ratio(
    above: Sequence[Sample], below: Sequence[Sample], figure: Callable[[Sample], float]
) -> float:
    return statistics.median(figure(one) / figure(other) for one, other in zip(above, below, strict=True))


def _losses(columns: Sequence[Column]) -> list[str]:
    return [
        f"{name} lost {_count(lost, 'datagram')} ({column.title})."
        for column in columns
        for name, samples in column.rounds.items()
        if (lost := sum(sample.lost for sample in samples))
    ]


def machine(tls: str) -> str:
    """Return what and where it was measured, and when."""
    software = [
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(
            f"{name} {importlib.metadata.version(name.lower())}"
            for name in ("Twisted", "uvloop")[: 1 + UVLOOP]
        ),
        tls,
    ]
    processors = _count(os.cpu_count() or 1, "processor")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{_processor()}, {processors}; {', '.join(software)}; {today}."


def _processor() -> str:
    """Return the processor's model, or else its architecture."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
