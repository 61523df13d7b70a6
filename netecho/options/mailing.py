"""The flags that say what is on the envelopes of mails."""

from __future__ import annotations

from typing import Annotated

import typer

from netecho.options.panels import MAIL

Sender = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="ADDRESS",
        show_default="nobody's",
        rich_help_panel=MAIL,
        help="Send mails from this address; <> is the null path, of bounces.",
    ),
]

Recipient = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="ADDRESS",
        show_default="nobody's",
        rich_help_panel=MAIL,
        help="Send them to this address.",
    ),
]

Ehlo = Annotated[
    str | None,
    typer.Option(
        "--ehlo",
        metavar="NAME",
        show_default="our address",
        rich_help_panel=MAIL,
        help="The name that the client gives of itself.",
    ),
]
