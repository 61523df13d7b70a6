"""The flags about TLS that several commands share; see `flags`."""

from __future__ import annotations

from typing import Annotated

import typer

from netecho.options.panels import TLS, split_words
from netecho.plans import ClientTLS

CACert = Annotated[
    str | None,
    typer.Option(
        "--cacert",
        metavar="FILE",
        rich_help_panel=TLS,
        help="Trust the authorities in this PEM file, not the system's.",
    ),
]
Cert = Annotated[
    str | None,
    typer.Option(
        "--cert", metavar="FILE", rich_help_panel=TLS, help="Show this certificate (PEM, with its chain)."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FILE",
        rich_help_panel=TLS,
        help="The certificate's private key, when it is in another file.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "-k", "--insecure", rich_help_panel=TLS, metavar="", help="Accept a certificate that does not verify."
    ),
]
Sni = Annotated[
    str | None,
    typer.Option(
        "--sni",
        metavar="NAME",
        rich_help_panel=TLS,
        help="Ask for this name and verify it, not the target's.",
    ),
]
Alpn = Annotated[
    list[str] | None,
    typer.Option(
        "--alpn",
        metavar="NAMES",
        rich_help_panel=TLS,
        help="Offer these protocols, best first, with commas between.",
    ),
]
Keylog = Annotated[
    str | None,
    typer.Option(
        "--keylog",
        metavar="FILE",
        envvar="SSLKEYLOGFILE",
        show_envvar=True,
        rich_help_panel=TLS,
        help="Append the sessions' secrets to this file, to decrypt captures with.",
    ),
]
Starttls = Annotated[
    bool,
    typer.Option(
        "--starttls",
        metavar="",
        rich_help_panel=TLS,
        help="Begin in clear, then turn to TLS (SMTP).",
    ),
]


def client_tls(
    cacert: str | None,
    cert: str | None,
    key: str | None,
    insecure: bool,
    sni: str | None,
    alpn: list[str] | None,
    keylog: str | None,
    starttls: bool,
) -> ClientTLS:
    """Return what a client's TLS flags ask for.

    Raises:
        UsageError: they contradict each other.
    """
    return ClientTLS(
        authorities=cacert,
        certificate=cert,
        key=key,
        insecure=insecure,
        server_name=sni,
        alpn=split_words(alpn),
        keylog=keylog,
        starttls=starttls,
    )
