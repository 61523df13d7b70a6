"""The flags that say what `client` and `bench` send, how much, and for how long."""

from __future__ import annotations

from typing import Annotated

import typer

from netecho.options import units
from netecho.options.flags import LOAD, read_by
from netecho.plans import Verify

Size = Annotated[
    int | None,
    typer.Option(
        "-l",
        "--size",
        metavar="SIZE",
        show_default="64, and for STAMP 0",
        parser=read_by(units.parse_size),
        rich_help_panel=LOAD,
        help="Bytes in each message: 64, 10k, 64KiB.",
    ),
]
Duration = Annotated[
    int | None,
    typer.Option(
        "-z",
        "--duration",
        metavar="TIME",
        parser=read_by(units.parse_duration),
        rich_help_panel=LOAD,
        help="Stop after this time: 10s, 1m30s.",
    ),
]
Timeout = Annotated[
    int,
    typer.Option(
        "-w",
        "--timeout",
        metavar="TIME",
        show_default="5s",
        parser=read_by(units.parse_duration),
        rich_help_panel=LOAD,
        help="Wait this long for a connection, and for an echo.",
    ),
]
VerifyEcho = Annotated[
    Verify,
    typer.Option(
        "--verify",
        case_sensitive=False,
        rich_help_panel=LOAD,
        help="How much of every echo to compare with what was sent.",
    ),
]


# client's own.

Count = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--count",
        metavar="COUNT",
        parser=read_by(units.parse_count),
        rich_help_panel=LOAD,
        help="Probe, and stop after this many.",
    ),
]

Interval = Annotated[
    int | None,
    typer.Option(
        "-i",
        "--interval",
        metavar="TIME",
        show_default="1s",
        parser=read_by(units.parse_duration),
        rich_help_panel=LOAD,
        help="Probe, this far apart: 10ms, 0.5s.",
    ),
]

Message = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--message",
        metavar="TEXT",
        rich_help_panel=LOAD,
        help="Send this text in every probe.",
    ),
]

# bench's own.

Connections = Annotated[
    int,
    typer.Option(
        "-c",
        "--connections",
        metavar="COUNT",
        show_default="1",
        parser=read_by(units.parse_count),
        rich_help_panel=LOAD,
        help="Connections to open.",
    ),
]

Exchanges = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--exchanges",
        metavar="COUNT",
        parser=read_by(units.parse_count),
        rich_help_panel=LOAD,
        help="Stop after this many, over all connections.",
    ),
]

Pipeline = Annotated[
    int,
    typer.Option(
        "--pipeline",
        metavar="COUNT",
        show_default="1",
        parser=read_by(units.parse_count),
        rich_help_panel=LOAD,
        help="Messages in flight on each connection.",
    ),
]

Warmup = Annotated[
    int,
    typer.Option(
        "--warmup",
        metavar="TIME",
        show_default="0",
        parser=read_by(units.parse_duration),
        rich_help_panel=LOAD,
        help="Run this long before measuring.",
    ),
]

ConnectRate = Annotated[
    float | None,
    typer.Option(
        "--connect-rate",
        metavar="RATE",
        parser=read_by(units.parse_rate),
        rich_help_panel=LOAD,
        help="Open at most this many connections a second: 500, 2k.",
    ),
]

NoReconnect = Annotated[
    bool,
    typer.Option(
        "--no-reconnect", rich_help_panel=LOAD, metavar="", help="Do not open a lost connection again."
    ),
]
