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


def check_impairment(adapters: Iterable[Adapter], impairment: Impairment) -> None:
    """Check that all that is to be done to answers can be done to those of each protocol.

    Raises:
        UsageError: one of them has no such thing.
    """
    for adapter in adapters:
        for harm in impairment.harms:
            if harm not in adapter.harms:
                words = ", ".join(f"--{one}" for one in Harm if one in adapter.harms)
                raise UsageError(f"--{harm} is nothing that happens on {adapter.name}: it takes {words}")


DelayFlag = Annotated[
    Any,  # a `Delay`, or None: Typer knows no other class than its own
    typer.Option(
        "--delay",
        metavar="TIME~SPREAD:SHARE",
        parser=read_by(parse_delay),
        rich_help_panel=IMPAIRMENT,
        help="Keep answers for this time, more or less by the spread, or a share of them: 5ms~2ms:10%.",
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


Loss = Annotated[float, _share("--loss", "Send so many of the answers not at all: 1%. Of datagrams.")]
Duplicate = Annotated[float, _share("--duplicate", "Send so many of the answers twice. Of datagrams.")]
Reorder = Annotated[
    float, _share("--reorder", "Have so many of the answers leave behind the next one. Of datagrams.")
]
Corrupt = Annotated[float, _share("--corrupt", "Change a bit in so many of the answers.")]
Truncate = Annotated[
    float,
    _share("--truncate", "Send only the beginning of so many answers; a connection ends with that."),
]

CloseAfter = Annotated[
    int | None,
    typer.Option(
        "--close-after",
        metavar="COUNT",
        parser=read_by(units.parse_count),
        rich_help_panel=IMPAIRMENT,
        help="End each connection after so many answers.",
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
        help="What happens to answers is the same for the same number.",
    ),
]
