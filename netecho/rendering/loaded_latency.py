"""Latency under load beside latency without, as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.histogram import Histogram
from netecho.measure.responsiveness import ECHO, STEPS, LoadedLatency, Probed

_LABEL_WIDTH = 15
_COLUMN_WIDTH = 12


def parts(latency: LoadedLatency) -> Iterator[RenderableType]:
    """Return what is shown, from top to bottom."""
    sides = (latency.idle, latency.loaded)
    table = Table.grid()
    table.add_column(style="dim", width=_LABEL_WIDTH, no_wrap=True)
    for _ in sides:
        table.add_column(justify="right", width=_COLUMN_WIDTH, no_wrap=True)
    table.add_row("probes", "idle", "under load", style="dim")
    for step in STEPS:
        if any(step in side.times for side in sides):
            table.add_row(f"{step} p50", *(_percentile(side, step, 50) for side in sides))
    table.add_row("echo p90", *(_percentile(side, ECHO, 90) for side in sides))
    table.add_row("sent", *(f"{side.sent:,}" for side in sides))
    if any(side.lost for side in sides):
        table.add_row("lost", *(f"{side.lost:,}" for side in sides))
    yield table
    yield ""
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_column(style="dim", width=_LABEL_WIDTH - 1, no_wrap=True)
    lines.add_column(overflow="fold")
    ratio = "not known" if latency.ratio is None else f"{latency.ratio:,.1f} times as long at p50"
    lines.add_row("under load", Text(ratio, "bold"))
    lines.add_row("responsiveness", _responsiveness(latency))
    yield lines


def _percentile(probed: Probed, step: str, percentile: float) -> str:
    histogram = probed.times.get(step, Histogram())
    return humanise.duration(histogram.at_percentile(percentile)) if histogram.count else ""


def _responsiveness(latency: LoadedLatency) -> Text:
    if latency.rpm is None:
        return Text("not known", "bold")
    text = Text(f"{latency.rpm:,.0f} round trips a minute", "bold")
    of = f" (RPM: the mean of {latency.foreign_rpm:,.0f} by probes and {latency.loaded_rpm:,.0f} by the load)"
    return text.append(of, "not bold")
