"""The flags of `netecho report`."""

from __future__ import annotations

import typer

from netecho.cli.command import Command
from netecho.options import flags

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
def report(
    files: flags.Files,
    compare: flags.Compare = False,
    fail_on_regression: flags.FailOnRegression = None,
    merge: flags.Merge = False,
    json: flags.Json = None,
    csv: flags.Csv = None,
    json_stream: flags.JsonStream = False,
) -> int:
    """Show saved results again, compare them, or add them up.

    [bold]Examples[/bold]

      netecho report before.json after.json
      netecho report result.json --csv result.csv
      netecho report --compare before.json after.json --fail-on-regression 5%
      netecho report --merge a.json b.json c.hlog --json all.json
    """
    from netecho.commands import report as command

    flags.check_outputs(json=json, csv=csv, json_stream=json_stream)
    return command.run(
        files,
        compare=compare,
        fail_on_regression=fail_on_regression,
        merge=merge,
        json=json,
        csv=csv,
        json_stream=json_stream,
    )
