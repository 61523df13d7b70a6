"""How long things took, as people read it: a table of statistics, and a histogram of the response time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.histogram import PERCENTILES, Histogram, percentile_key
from netecho.measure.reflected import BACK, DWELL, OUT
from netecho.measure.summary import LATENCIES, Summary
from netecho.rendering import bars
from netecho.rendering.plan import opened
from netecho.rendering.streams import speaks_unicode

WAYS: Final = (OUT, BACK, DWELL)
"""The distributions beside latencies of an exchange with a reflector."""
_LABEL_WIDTH: Final = 11
_GAP: Final = 4
_COLUMN_WIDTH: Final = 10
_LEAST_HISTOGRAM_WIDTH: Final = 40
_WIDEST_HISTOGRAM: Final = 72
_FEWEST_SAMPLES: Final = 20
"""Below this many echoes a histogram shows less than the numbers do."""
_SHORT: Final = {"handshake_resumed": "resumed", "first_byte": "1st byte"}
"""Latencies whose names are too long for a column."""
_STATISTICS: Final = ("min", "mean", *map(percentile_key, PERCENTILES), "max")


def statistics_and_histogram(summary: Summary, console: Console) -> RenderableType:
    """Return the table of statistics, and the histogram beside it where there is room, else below."""
    shown = {name: summary.latencies[name] for name in LATENCIES if name in summary.latencies}
    response = shown.get("response")
    if shown.get("service") == response:
        shown.pop("service", None)
    for name in WAYS:
        if (one := summary.distribution(name)) is not None:
            shown[name] = one
    columns = {name: _column(one) for name, one in shown.items()}
    column_width = max(
        (_COLUMN_WIDTH, *(1 + len(value) for one in columns.values() for value in one.values()))
    )
    tables = list(_statistics(columns, column_width, console.width))
    if response is None or response.count < _FEWEST_SAMPLES:
        return Group(*tables)
    counted = "echoes" if opened(summary.plan) is None else "opened"
    room = console.width - (_LABEL_WIDTH + column_width * len(columns)) - _GAP
    if room < _LEAST_HISTOGRAM_WIDTH:
        return Group(*tables, *histogram_below(response, console, counted))
    beside = Table.grid(padding=(0, _GAP, 0, 0))
    beside.add_row(*tables, _histogram(response, console, min(room, _WIDEST_HISTOGRAM), counted))
    return beside


def histogram_below(
    response: Histogram, console: Console, counted: str = "echoes"
) -> Iterator[RenderableType]:
    """Yield a histogram to stand under what is above it, if it has samples and room to show anything."""
    if response.count >= _FEWEST_SAMPLES and console.width >= _LEAST_HISTOGRAM_WIDTH:
        yield ""
        yield _histogram(response, console, min(console.width, _WIDEST_HISTOGRAM), counted)


def _column(histogram: Histogram) -> dict[str, str]:
    """Return the statistics of a distribution in words."""
    statistics = histogram.to_json() or {}
    return {key: humanise.duration(statistics[key]) for key in meaningful(histogram)}


def _statistics(
    columns: Mapping[str, Mapping[str, str]], column_width: int, width: int
) -> Iterator[RenderableType]:
    """Yield a table, or several one below the other: of as many columns each as have room."""
    names = list(columns)
    room = max(1, (width - _LABEL_WIDTH) // column_width)
    for first in range(0, len(names), room):
        if first:
            yield ""
        yield _table({name: columns[name] for name in names[first : first + room]}, column_width)


def _table(columns: Mapping[str, Mapping[str, str]], column_width: int) -> Table:
    table = Table.grid()
    table.add_column(style="dim", width=_LABEL_WIDTH, no_wrap=True)
    for _ in columns:
        table.add_column(justify="right", width=column_width, no_wrap=True)
    table.add_row("latency", *(_SHORT.get(name, name) for name in columns), style="dim")
    for key in _STATISTICS:
        style = "bold" if key in ("p50", "p99") else ""
        if any(key in column for column in columns.values()):
            table.add_row(key, *(Text(column.get(key, ""), style) for column in columns.values()))
    return table


def meaningful(histogram: Histogram) -> list[str]:
    """Return the statistics that say something of so many samples: p99 of 50 is only their maximum."""
    needed = {percentile_key(one): 100 / (100 - one) for one in PERCENTILES}
    return [key for key in _STATISTICS if histogram.count >= needed.get(key, 1)]


def _histogram(histogram: Histogram, console: Console, width: int, counted: str) -> Table:
    ascii_only = not speaks_unicode(console.file)
    rows = bars.rows(histogram)
    total = histogram.count
    largest = max(row.count for row in rows)
    labels = [_row_label(row, rows[1] if len(rows) > 1 else row) for row in rows]
    count_width = max(len(counted), len(f"{largest:,}"))
    label_width = max(len("from"), *map(len, labels))
    bar_width = max(4, width - label_width - count_width - len("<0.001%") - 4)
    p90, p99 = histogram.at_percentile(90), histogram.at_percentile(99)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", width=label_width, no_wrap=True)
    table.add_column(width=bar_width, no_wrap=True)
    table.add_column(justify="right", width=len("<0.001%"), no_wrap=True)
    table.add_column(justify="right", width=count_width, no_wrap=True, style="dim")
    table.add_row("from", "response time", "", counted, style="dim")
    for row, label in zip(rows, labels, strict=True):
        start = row.start_ns or 0
        style = "red" if start > p99 else "yellow" if start > p90 else "green"
        drawn = bars.bar(row.count / largest, bar_width, ascii_only=ascii_only)
        share = humanise.share(row.count, total) if row.count else ""
        table.add_row(label, Text(drawn, style), share, f"{row.count:,}")
    return table


def _row_label(row: bars.Row, second: bars.Row) -> str:
    if row.start_ns is None:
        return f"<{humanise.span(second.start_ns or 0)}"
    return (">" if row.open_ended else "") + humanise.span(row.start_ns)
