"""The command line: commands and their flags.

This room parses, and no more. This file has the list of commands; each command's flags are in a file of its
name, which is imported only when that command is asked for, as Typer takes long to make parameters of them.
The body of a command imports the module that does its work, so that --help and completion need neither
Twisted nor Rich's terminal.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

import netecho
from netecho.cli.command import lightly

COMMANDS = {
    "serve": "Start echo servers.",
    "client": "Talk to an echo server, or ping it.",
    "bench": "Measure an echo server under load.",
    "report": "Show saved results again, or compare them.",
}
"""The commands that people run, and what --help says of each in its list."""

WORKER = "worker"
"""The hidden command by which netecho starts its own worker processes."""


class _Front(TyperGroup):
    """`netecho` without a command: the list of commands, in plain text, as Rich takes longest to import."""

    def __init__(self, **attributes: Any) -> None:
        listed: dict[str, Any] = {
            name: TyperCommand(name, short_help=text) for name, text in COMMANDS.items()
        }
        listed[WORKER] = TyperCommand(WORKER, hidden=True)
        super().__init__(**{**attributes, "commands": listed, "rich_markup_mode": None})

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags that come before a command, Typer's own among them."""
        return lightly(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is asked for, with all its flags: those in the list have none."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load(listed.name or ""), rest


def load(name: str) -> Any:
    """Return a command with all its flags."""
    return typer.main.get_command(importlib.import_module(f"netecho.cli.{name}").app)


app = typer.Typer(
    cls=_Front,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Every command has its own --help, with examples.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import platform

        import twisted  # has its version; to look that up in its metadata takes ten times as long
        from netecho.rendering.streams import write_out

        python = platform.python_version()
        line = f"netecho {netecho.__version__} (Twisted {twisted.__version__}, Python {python})"
        write_out(f"{line}\n", sys.stdout)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def front(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, metavar="", help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Echo endpoints on any protocol, a client for them, and an honest measurement of the path."""
    if context.invoked_subcommand is None:
        print(context.get_help())
