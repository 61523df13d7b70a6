"""The flags that say what `client` and `bench` send, how much, and for how long."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from netecho.options import units
from netecho.options.panels import LOAD, OBJECTIVES, OPEN_LOOP, TLS, read_by
from netecho.plans import Arrival, Mode, Timer, Verify

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
    int | None,
    typer.Option(
        "--pipeline",
        metavar="COUNT",
        show_default="1, or --streams",
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

ModeWord = Annotated[
    Mode,
    typer.Option(
        "--mode",
        metavar="WORD",
        case_sensitive=False,
        rich_help_panel=LOAD,
        help="What to repeat: exchange (a message and its echo), connect (opening a connection), "
        "or handshake (that with TLS).",
    ),
]

ConnectionsLifetime = Annotated[
    int | None,
    typer.Option(
        "--connections-lifetime",
        metavar="TIME",
        parser=read_by(units.parse_duration),
        rich_help_panel=LOAD,
        help="Close each connection at this age, between exchanges, and open it anew.",
    ),
]

ConnectionsStages = Annotated[
    Any,  # as of `Stages`
    typer.Option(
        "--connections-stages",
        metavar="STAGES",
        parser=read_by(units.parse_stages),
        rich_help_panel=LOAD,
        help="Change the number of connections in straight lines, from -c: 10s:100,1m:500.",
    ),
]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        rich_help_panel=TLS,
        metavar="",
        help="Resume the TLS session of the connection before.",
    ),
]

# bench's open loop.

Rate = Annotated[
    float | None,
    typer.Option(
        "-q",
        "--rate",
        metavar="RATE",
        parser=read_by(units.parse_rate),
        rich_help_panel=OPEN_LOOP,
        help="Send this many messages a second over all connections, whatever comes back: 500, 20k.",
    ),
]

RatePerConnection = Annotated[
    float | None,
    typer.Option(
        "--rate-per-connection",
        metavar="RATE",
        parser=read_by(units.parse_rate),
        rich_help_panel=OPEN_LOOP,
        help="Send this many a second on each connection.",
    ),
]

ArrivalOrder = Annotated[
    Arrival,
    typer.Option(
        "--arrival",
        metavar="WORD",
        case_sensitive=False,
        rich_help_panel=OPEN_LOOP,
        help="How messages are spaced: constant (evenly), poisson (as independent users send them), "
        "or uniform (each anywhere in its own slot).",
    ),
]

Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="NUMBER",
        show_default="0",
        parser=read_by(units.parse_count),
        rich_help_panel=OPEN_LOOP,
        help="Draw other random arrivals; the same number draws the same ones again.",
    ),
]

TimerWord = Annotated[
    Timer | None,
    typer.Option(
        "--timer",
        case_sensitive=False,
        show_default="hybrid if there is a processor for it",
        rich_help_panel=OPEN_LOOP,
        help="Sleep until a message is due, or be awake for the last of it: more exact, but busy.",
    ),
]

Stages = Annotated[
    Any,  # a tuple of `Stage`, or None: Typer takes a tuple for several words
    typer.Option(
        "--stages",
        metavar="STAGES",
        parser=read_by(units.parse_stages),
        rich_help_panel=OPEN_LOOP,
        help="Change the rate in straight lines, from -q or from 0: 10s:1k,30s:5k,10s:0.",
    ),
]

MaxInFlight = Annotated[
    int,
    typer.Option(
        "--max-in-flight",
        metavar="COUNT",
        show_default="100k",
        parser=read_by(units.parse_count),
        rich_help_panel=OPEN_LOOP,
        help="Hold back datagrams while this many are in flight.",
    ),
]

# Verdicts.


def check_objective(text: str) -> str:
    """Return an objective as it is.

    Raises:
        UsageError: it is none.
    """
    from netecho.measure.slo import Objective

    return Objective.parse(text).expression


Slo = Annotated[
    list[str] | None,
    typer.Option(
        "--slo",
        metavar="OBJECTIVE",
        parser=read_by(check_objective),
        rich_help_panel=OBJECTIVES,
        help="Exit with 99 unless this holds: 'p(99)<20ms', 'loss<0.1%', 'rate>=10k', 'errors==0'.",
    ),
]

AbortOnFail = Annotated[
    bool,
    typer.Option(
        "--abort-on-fail",
        rich_help_panel=OBJECTIVES,
        metavar="",
        help="End the run as soon as an objective is out of reach.",
    ),
]

Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        rich_help_panel=OBJECTIVES,
        help="Compare with the results in this file, which --json wrote.",
    ),
]

LoadedLatency = Annotated[
    bool,
    typer.Option(
        "--loaded-latency",
        rich_help_panel=OBJECTIVES,
        metavar="",
        help="Probe the target alone first, then beside the load: how much longer echoes take, and "
        "responsiveness.",
    ),
]

FindMax = Annotated[
    list[str] | None,
    typer.Option(
        "--find-max",
        metavar="OBJECTIVE",
        parser=read_by(check_objective),
        rich_help_panel=OBJECTIVES,
        help="Search for the highest rate at which this holds, in runs of -z each (5s): 'p(99)<10ms'.",
    ),
]
