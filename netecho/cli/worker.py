"""`netecho worker`, which people do not run."""

from __future__ import annotations

import typer

from netecho.cli.command import Command

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
def worker() -> int:
    """Be one of the processes that --workers asks for; they are started by the one that was asked."""
    from netecho.commands import worker as command

    return command.run()
