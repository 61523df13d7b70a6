"""What is seen while a run goes on: drawn again and again on a terminal, a line at a time elsewhere."""

from __future__ import annotations

import collections
import json
import typing
from collections.abc import Mapping
from typing import IO, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.progress import Progress
from netecho.measure.summary import IntervalSummary, Summary
from netecho.rendering import bars
from netecho.rendering.streams import console_on, escape, is_live, speaks_unicode, write_out

_HISTORY: Final = 40
_BAR_WIDTH: Final = 40
_SECOND_NS: Final = 1_000_000_000


class ProgressView(typing.Protocol):
    """Shows how far a run has come. All calls come from one thread."""

    def update(self, progress: Progress) -> None:
        """Show where the run is now."""

    def finish(self) -> None:
        """Take away what would be in the way of the result. May be called more than once."""


def progress_view(stderr: IO[str] | None, *, quiet: bool = False) -> ProgressView:
    """Return the view that suits a stream: a terminal's, plain lines, or one that shows nothing."""
    if quiet or stderr is None:
        return Quiet()
    console = console_on(stderr)
    return LiveView(console) if is_live(console) else PlainProgress(stderr)


class Quiet:
    """Shows nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Leave nothing behind."""


class PlainProgress:
    """A line for each interval, for pipes, log files and screen readers."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream: IO[str] | None = stream
        self._phase: str | None = None
        self._shown_ns = 0
        self._open: int | None = None

    def update(self, progress: Progress) -> None:
        """Write a line if an interval has ended, a phase begun, or connecting taken another second."""
        if progress.phase != self._phase:
            self._phase, self._shown_ns = progress.phase, 0
            if progress.phase != "connecting" and progress.interval is None:
                self._write(progress.phase)
                return
        elif progress.interval is None and (
            progress.phase != "connecting" or progress.elapsed_ns - self._shown_ns < _SECOND_NS
        ):
            return
        self._shown_ns = progress.elapsed_ns
        interval = progress.interval
        if interval is None:
            self._write(_connecting(progress))
            return
        line = _interval_line(progress, interval)
        changed = self._open not in (None, progress.connections_open)
        self._open = progress.connections_open
        self._write(f"{line}  {self._open:,} open" if changed else line)

    def finish(self) -> None:
        """Do nothing: what was written stays."""

    def _write(self, line: str) -> None:
        if not write_out(f"{line}\n", self._stream):
            self._stream = None


def _interval_line(progress: Progress, interval: IntervalSummary) -> str:
    """Return `  3.0s  45.1k/s  p50 1.02 ms  p99 4.10 ms  max 9.80 ms  errors 0` for what has just ended."""
    words = [f"{progress.elapsed_ns / 1e9:5.1f}s", f"{humanise.rate(interval.exchanges_per_s):>7}"]
    words += [f"{key} {humanise.duration(value)}" for key, value in (interval.response or {}).items()]
    words.append(f"errors {interval.errors:,}")
    if progress.phase != "measuring":
        words.append(f"({progress.phase})")
    return "  ".join(words)


def _connecting(progress: Progress) -> str:
    wanted = progress.connections_requested
    of = f" of {wanted:,}" if wanted is not None else ""
    return f"connecting: {progress.connections_open:,}{of} open"


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
        """Draw."""
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
            text.append(f"{key} ", "dim").append(humanise.duration(value).ljust(10))
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


class JSONStream:
    """One JSON object on each line: every interval as it ends, and the result at last."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def update(self, progress: Progress) -> None:
        """Write an `interval` event, if one has ended."""
        if progress.interval is not None:
            self.event(
                "interval",
                phase=progress.phase,
                **progress.interval.to_json(),
                connections_open=progress.connections_open,
            )

    def finish(self) -> None:
        """Do nothing: every line is whole."""

    def result(self, summary: Summary) -> None:
        """Write the `result` event."""
        self.event("result", result=summary.to_json())

    def event(self, name: str, /, **particulars: Any) -> bool:
        """Write any event; return whether anybody is still there to read it."""
        line = json.dumps({"event": name, **particulars}, allow_nan=False)
        return write_out(f"{line}\n", self._stream)
