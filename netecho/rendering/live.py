"""What is seen while a run goes on: drawn again and again on a terminal, a line at a time elsewhere."""

from __future__ import annotations

import contextlib
import typing
from typing import IO, Final

from netecho.errors import OutputError
from netecho.measure import humanise
from netecho.measure.intervals import IntervalSummary
from netecho.measure.progress import Progress
from netecho.rendering.streams import write_out

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
    if stderr.isatty():
        from netecho.rendering.console import console_on, is_live
        from netecho.rendering.terminal import LiveView

        console = console_on(stderr)
        if is_live(console):
            return LiveView(console)
    return PlainProgress(stderr)


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
        """Write a line if a whole interval has ended, a phase begun, or connecting taken another second."""
        if not progress.whole:
            return
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
        is_read = False
        with contextlib.suppress(OutputError):  # a full disk ends what is told of a run, and not the run
            is_read = write_out(f"{line}\n", self._stream)
        if not is_read:
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
