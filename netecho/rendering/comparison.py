"""Old results beside new ones, as people read them: what changed, between what bounds, what is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.comparison import THROUGHPUT, Change, Comparison, Verdict
from netecho.rendering.console import print_to
from netecho.rendering.streams import escape

_SIDES: Final = ("before", "now")
_LABEL_WIDTH: Final = 10
_GAP: Final = 2
_ANY_WIDTH: Final = 1_000
"""Wider than any table here: what it needs is measured, and not what it is given."""
_STYLES: Final = {Verdict.FASTER: "green", Verdict.SLOWER: "bold red", Verdict.NONE: "dim"}
_MOST_AS_PERCENT: Final = 10.0
"""A ratio from which on it is shown as a multiple."""
_LEAST_AS_PERCENT: Final = 0.0005
"""A ratio below which it would be rounded to nothing."""


def show_comparison(
    comparison: Comparison, console: Console, names: tuple[str, str], allowed: float | None = None
) -> bool:
    """Print a comparison; return whether anybody was still there to read it.

    Args:
        comparison: what was found.
        console: where to.
        names: what the old and the new results were read from.
        allowed: by what share it may be slower; `None` if nobody asked.
    """
    return print_to(console, *parts(comparison, names, allowed))


def parts(
    comparison: Comparison, names: tuple[str, str], allowed: float | None = None
) -> Iterator[RenderableType]:
    """Return what is shown, from top to bottom; see `show_comparison`."""
    yield _labelled((label, Text(escape(name), "bold")) for label, name in zip(_SIDES, names, strict=True))
    if comparison.changes:
        yield ""
        yield _Changes(comparison.changes)
    if comparison.unknown:
        yield ""
        yield _labelled(
            (escape(metric), Text(f"not compared: {escape(reason)}", "yellow"))
            for metric, reason in comparison.unknown.items()
        )
    yield ""
    yield _verdict(comparison, allowed)


def _labelled(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style="dim", width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(label, text)
    return grid


class _Changes:
    """A table of what changed, or sentences where that has no room: no number is cut."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._share = humanise.share(changes[0].confidence, 1).replace(".0", "")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        needed = Measurement.get(console, options.update(max_width=_ANY_WIDTH), table).minimum
        yield table if needed <= options.max_width else self._sentences()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, _GAP, 0, 0))
        table.add_column(style="dim", width=_LABEL_WIDTH, no_wrap=True)
        for _ in range(4):
            table.add_column(justify="right", no_wrap=True)
        table.add_column()
        table.add_row("", *_SIDES, "change", f"{self._share} interval", style="dim")
        for change in self._changes:
            table.add_row(
                escape(change.metric),
                _number(change, change.old),
                _number(change, change.new),
                _percent(change.ratio),
                _interval(change),
                Text(change.verdict.value, _STYLES[change.verdict]),
            )
        return table

    def _sentences(self) -> Table:
        rows = []
        for change in self._changes:
            old, new = _number(change, change.old), _number(change, change.new)
            text = Text(f"{old} before, {new} now, {_percent(change.ratio)} ")
            text.append(f"({self._share} interval {_interval(change)}): ")
            rows.append((escape(change.metric), text.append(change.verdict.value, _STYLES[change.verdict])))
        return _labelled(rows)


def _number(change: Change, value: float) -> str:
    return humanise.rate(value) if change.metric == THROUGHPUT else humanise.duration(value)


def _interval(change: Change) -> str:
    return f"{_percent(change.low)} to {_percent(change.high)}"


def _percent(ratio: float) -> str:
    if ratio >= _MOST_AS_PERCENT:
        return f"{ratio:,.0f} times"
    if ratio <= _LEAST_AS_PERCENT:  # nothing ever takes 100% less time
        return "<-99.9%"
    return f"{100 * (ratio - 1):+.1f}%"


def _verdict(comparison: Comparison, allowed: float | None) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    if not comparison.changes:
        grid.add_row(Text("·", "yellow"), Text("nothing could be compared", "yellow"))
    elif allowed is not None:
        regressions = [escape(change.metric) for change in comparison.regressions(allowed)]
        by = f"more than {100 * allowed:g}%"
        open_ones = [escape(change.metric) for change in comparison.changes if not change.within(allowed)]
        if regressions:
            grid.add_row(Text("✘", "bold red"), Text(f"{', '.join(regressions)} slower by {by}", "bold red"))
        elif open_ones:
            words = f"nothing is shown to be slower by {by}, and {', '.join(open_ones)} may be all the same"
            grid.add_row(Text("·", "yellow"), Text(words))
        else:
            grid.add_row(Text("✔", "green"), Text(f"nothing is slower by {by}"))
    if comparison.changes:
        grid.add_row(Text("·", "yellow"), Text(f"intervals: {comparison.method}"))
    for caveat in comparison.caveats:
        grid.add_row(Text("·", "yellow"), Text(escape(caveat)))
    return grid
