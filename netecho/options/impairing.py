"""The flags of `serve` that say what is done to its answers on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netecho.errors import UsageError
from netecho.impairment import Delay, Harm, Impairment
from netecho.options import units
from netecho.options.panels import IMPAIRMENT, read_by

if TYPE_CHECKING:
    from netecho.plans import ReplyMode
    from netecho.protocols._contract import Adapter


def parse_delay(text: str) -> Delay:
    """Return a delay: `5ms`, `5ms~2ms` for 3 to 7 ms, `5ms~2ms:10%` for a tenth of the answers.

    Raises:
        UsageError: it is none.
    """
    times, colon, share = text.partition(":")
    mean, tilde, spread = times.partition("~")
    return Delay(
        units.parse_duration(mean),
        units.parse_duration(spread) if tilde else 0,
        units.parse_share(share) if colon else 1.0,
    )


def check_impairment(adapters: Iterable[Adapter], impairment: Impairment, reply: ReplyMode) -> None:
    """Check that each of the protocols can do to its answers, in a reply mode, all that is asked for.

    Raises:
        UsageError: one of them cannot.
    """
    for adapter in adapters:
        possible = adapter.harms_in(reply)
        for harm in impairment.harms:
            if harm not in adapter.harms:
                raise UsageError(
                    f"--{harm} is nothing that happens on {adapter.name}: it takes {_flags(adapter.harms)}"
                )
            if harm not in possible:
                raise UsageError(
                    f"--{harm} is nothing that happens on {adapter.name} with --reply {reply}: "
                    + (f"it takes {_flags(possible)}" if possible else "it sends no answers")
                )


def _flags(harms: frozenset[Harm]) -> str:
    return ", ".join(f"--{one}" for one in Harm if one in harms)


DelayFlag = Annotated[
    Any,  # a `Delay`, or None: Typer knows no other class than its own
    typer.Option(
        "--delay",
        metavar="TIME~SPREAD:SHARE",
        parser=read_by(parse_delay),
        rich_help_panel=IMPAIRMENT,
        help="Delay answers by this time, more or less the spread, or only a share of them: 5ms~2ms:10%.",
    ),
]


def _share(flag: str, text: str) -> Any:
    return typer.Option(
        flag,
        metavar="SHARE",
        show_default=False,
        parser=read_by(units.parse_share),
        rich_help_panel=IMPAIRMENT,
        help=text,
    )


Loss = Annotated[float, _share("--loss", "Drop this share of the answers: 1%. Datagrams only.")]
Duplicate = Annotated[float, _share("--duplicate", "Send this share of the answers twice. Datagrams only.")]
Reorder = Annotated[
    float, _share("--reorder", "Send this share of the answers behind the next one. Datagrams only.")
]
Corrupt = Annotated[float, _share("--corrupt", "Change a bit in this share of the answers.")]
Truncate = Annotated[
    float,
    _share("--truncate", "Send only the beginning of this share of the answers; a connection ends with it."),
]

CloseAfter = Annotated[
    int | None,
    typer.Option(
        "--close-after",
        metavar="COUNT",
        parser=read_by(units.parse_count),
        rich_help_panel=IMPAIRMENT,
        help="End each connection after this many answers.",
    ),
]

Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="NUMBER",
        show_default="0",
        parser=read_by(units.parse_count),
        rich_help_panel=IMPAIRMENT,
        help="Draw other impairments; the same number draws the same ones again.",
    ),
]
