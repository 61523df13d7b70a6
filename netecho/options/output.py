"""The flags about what is written and where, and about saved results; see `flags`."""

from __future__ import annotations

import itertools
from typing import Annotated

import typer

from netecho.errors import UsageError
from netecho.options import units
from netecho.options.panels import OBJECTIVES, OUTPUT, RESULTS, read_by

Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Write the result as JSON; - is standard output.",
    ),
]
JsonStream = Annotated[
    bool,
    typer.Option(
        "--json-stream",
        rich_help_panel=OUTPUT,
        metavar="",
        help="Write what happens to standard output, a JSON object a line.",
    ),
]
Csv = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE", rich_help_panel=OUTPUT, help="Write the result as CSV; - is standard output."
    ),
]
HdrLog = Annotated[
    str | None,
    typer.Option(
        "--hdr-log",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Write a histogram log, a line each second, as HdrHistogram's tools read it; - is standard "
        "output.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", rich_help_panel=OUTPUT, metavar="", help="Show no progress.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", rich_help_panel=OUTPUT, metavar="", help="Say more, for instance of connections."
    ),
]


Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Results that client or bench wrote with --json.")
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare", rich_help_panel=RESULTS, metavar="", help="Compare the second file with the first."
    ),
]
FailOnRegression = Annotated[
    float | None,
    typer.Option(
        "--fail-on-regression",
        metavar="SHARE",
        parser=read_by(units.parse_share),
        rich_help_panel=OBJECTIVES,
        help="Exit with 99 if the new result is shown to be slower by more than this: 5%.",
    ),
]
Merge = Annotated[
    bool,
    typer.Option(
        "--merge",
        rich_help_panel=RESULTS,
        metavar="",
        help="Add all results up to one, histogram logs among them.",
    ),
]


def check_outputs(
    *, json: str | None, csv: str | None, json_stream: bool, hdr_log: str | None = None
) -> None:
    """Check that the machine formats asked for do not meet in one place.

    Raises:
        UsageError: two of them go to standard output, or to one file.
    """
    if [json, csv, hdr_log].count("-") + json_stream > 1:
        raise UsageError(
            "only one of --json -, --csv -, --hdr-log - and --json-stream can have standard output"
        )
    named = {"--json": json, "--csv": csv, "--hdr-log": hdr_log}
    for (flag, path), (other, its) in itertools.combinations(named.items(), 2):
        if path is not None and path == its:
            raise UsageError(f"{flag} and {other} cannot both write {path}")
