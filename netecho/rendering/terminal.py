"""What is seen on a terminal while a run goes on: a few lines, drawn again and again."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.progress import Progress
from netecho.rendering import bars
from netecho.rendering.streams import encodable, escape, speaks_unicode

_HISTORY: Final = 40
_BAR_WIDTH: Final = 40


class LiveView:
    """A few lines at the foot of a terminal, drawn again at each update and taken away at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ascii = not speaks_unicode(console.file)
        self._rates: collections.deque[float] = collections.deque(maxlen=_HISTORY)
        self._phase: str | None = None
        self._latest: Mapping[str, int] | None = None
        self._live: Live | None = None

    def update(self, progress: Progress) -> None:
        """Draw, unless it is of a part of an interval only, whose rate is no rate of the run."""
        if not progress.whole:
            return
        if progress.phase != self._phase:
            self._phase = progress.phase
            self._rates.clear()
        if progress.interval is not None:
            self._rates.append(progress.interval.exchanges_per_s)
            self._latest = progress.interval.response
        if self._live is None:
            # Rich neither starts a thread nor takes over sys.stdout: the reactor's thread draws.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self.drawing(progress), refresh=True)

    def finish(self) -> None:
        """Take the drawing away and show the cursor again."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def drawing(self, progress: Progress) -> Group:
        """Return what is drawn for a moment of the run."""
        return Group(_progress_row(progress), self._rate_row(progress), self._latency_row(progress))

    def _rate_row(self, progress: Progress) -> Text:
        text = Text("  ")
        if self._rates:
            text.append(f"{humanise.rate(self._rates[-1]):>7}", "bold green").append("  ")
            text.append(bars.sparkline(list(self._rates), ascii_only=self._ascii), "cyan").append("  ")
        text.append(f"{progress.connections_open:,} open")
        if progress.errors:
            kinds = ", ".join(f"{number:,} {escape(kind)}" for kind, number in progress.errors.items())
            text.append("  ").append(kinds, "bold red")
        text.no_wrap, text.overflow = True, "crop" if self._ascii else "ellipsis"
        return text

    def _latency_row(self, progress: Progress) -> Text:
        text = Text("  ")
        for key, value in (progress.response() or self._latest or {}).items():
            shown = encodable(humanise.duration(value), self._console.file)
            text.append(f"{key} ", "dim").append(shown.ljust(10))
        return text


def _progress_row(progress: Progress) -> Table:
    """Return the phase, a bar, and how much of how much."""
    if progress.phase == "connecting" and progress.connections_requested:
        done, total = progress.connections_open, progress.connections_requested
        words = f"{done:,} of {total:,}"
    elif progress.total is not None:
        done, total = progress.completed, progress.total
        words = f"{done:,} of {total:,}"
    elif progress.total_ns is not None:
        done, total = progress.elapsed_ns, progress.total_ns
        words = f"{done / 1e9:.1f} of {humanise.span(total)}"
    else:
        done, total = 0, 0
        words = f"{progress.elapsed_ns / 1e9:.1f} s"
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    if total:
        grid.add_column()
        grid.add_column(no_wrap=True)
        bar = ProgressBar(total=total, completed=min(done, total), width=_BAR_WIDTH)
        grid.add_row(progress.phase, bar, words)
    else:
        grid.add_column(no_wrap=True)
        grid.add_row(progress.phase, words)
    return grid
