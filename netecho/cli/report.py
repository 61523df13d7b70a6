"""The flags of `netecho report`."""

from __future__ import annotations

import typer

from netecho.cli.command import Command
from netecho.options import output

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
def report(
    files: output.Files,
    compare: output.Compare = False,
    fail_on_regression: output.FailOnRegression = None,
    merge: output.Merge = False,
    json: output.Json = None,
    csv: output.Csv = None,
    json_stream: output.JsonStream = False,
) -> int:
    """Show saved results again, compare them, or add them up.

    [bold]Examples[/bold]

      netecho report before.json after.json
      netecho report result.json --csv result.csv
      netecho report --compare before.json after.json --fail-on-regression 5%
      netecho report --merge a.json b.json c.hlog --json all.json
    """
    from netecho.commands import report as command

    output.check_outputs(json=json, csv=csv, json_stream=json_stream)
    return command.run(
        files,
        compare=compare,
        fail_on_regression=fail_on_regression,
        merge=merge,
        json=json,
        csv=csv,
        json_stream=json_stream,
    )
