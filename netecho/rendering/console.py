"""Consoles of Rich on such streams as `streams` writes to, for what is more than lines."""

from __future__ import annotations

from typing import IO, Final

from rich.console import Console

from netecho.rendering.streams import failed, lead_nowhere, write_out

_UNKNOWN_WIDTH: Final = 80


class _QuietConsole(Console):
    """Rich ends the process when the reader has gone; a run is to go on, and its results to be saved."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        lead_nowhere(self.file)


def console_on(stream: IO[str], *, width: int | None = None) -> Console:
    """Return a console on `stream`: coloured on a terminal, plain otherwise or when NO_COLOR is set."""
    console = _QuietConsole(
        file=stream, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False
    )
    if console.width < 1:  # COLUMNS is 0 where a terminal has not told its size: nothing would be shown
        console.width = _UNKNOWN_WIDTH
    return console


def is_live(console: Console) -> bool:
    """Return whether lines can be drawn again: a terminal, and one that moves its cursor."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def print_to(console: Console, *renderables: object) -> bool:
    """Print on a console through `write_out`; return what that does."""
    try:
        with console.capture() as captured:
            for renderable in renderables:
                console.print(renderable)
    except OSError as error:  # Rich writes to the stream even so: nothing, which a device may refuse
        raise failed(console.file, error) from None
    text = captured.get()
    if not console.is_terminal:  # tables are padded to their width, which a file need not keep
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    return write_out(text, console.file)
