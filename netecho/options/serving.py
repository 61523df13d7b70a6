"""The flags of `serve` alone."""

from __future__ import annotations

from typing import Annotated

import typer

from netecho.options import units
from netecho.options.flags import complete_url
from netecho.options.panels import LIMITS, NETWORK, REFLECTOR, TLS, read_by
from netecho.plans import ReplyMode, TLSVersion

Urls = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="URL",
        show_default=False,
        autocompletion=complete_url,
        help="Where to listen: tcp://:8000, tls://:8443, udp://:8000, unix:/path.",
    ),
]

Host = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="ADDRESS", show_default="loopback", help="Listen here; * is every address."
    ),
]

Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="PORT",
        show_default="8000",
        parser=read_by(units.parse_port),
        help="Listen on this port; 0 takes a free one.",
    ),
]

Reply = Annotated[
    ReplyMode,
    typer.Option(
        "--reply",
        metavar="WORD",
        case_sensitive=False,
        help="What to answer: echo, discard or chargen (RFC 862, 863, 864), info (what the server sees), "
        "broadcast (to all peers), or to mails reject or tempfail.",
    ),
]

ClientCA = Annotated[
    str | None,
    typer.Option(
        "--client-ca",
        metavar="FILE",
        rich_help_panel=TLS,
        help="Demand a client certificate signed by an authority in this PEM file.",
    ),
]

TLSMin = Annotated[
    TLSVersion,
    typer.Option("--tls-min", rich_help_panel=TLS, help="Speak no TLS version older than this."),
]

Ciphers = Annotated[
    str | None,
    typer.Option(
        "--ciphers",
        metavar="LIST",
        show_default="Mozilla's intermediate list",
        rich_help_panel=TLS,
        help="TLS 1.2 ciphers, as OpenSSL writes them.",
    ),
]

Keylog = Annotated[
    str | None,
    typer.Option(
        "--keylog",
        metavar="FILE",
        rich_help_panel=TLS,
        help="Append the sessions' secrets to this file, to decrypt captures with.",
    ),
]

MaxConnections = Annotated[
    int | None,
    typer.Option(
        "--max-connections",
        metavar="COUNT",
        show_default="any number, but 4096 of DTLS and of QUIC",
        parser=read_by(units.parse_count),
        rich_help_panel=LIMITS,
        help="Serve this many connections at once; more are closed.",
    ),
]

MaxMessage = Annotated[
    int | None,
    typer.Option(
        "--max-message",
        metavar="SIZE",
        show_default="the protocol's own: 16MiB of WebSocket, 64MiB of mail, any of HTTP",
        parser=read_by(units.parse_size),
        rich_help_panel=LIMITS,
        help="Take no larger message, or body of a request, on protocols that bound them.",
    ),
]

IdleTimeout = Annotated[
    int | None,
    typer.Option(
        "--idle-timeout",
        metavar="TIME",
        show_default="the protocol's own: 5m of DTLS, 1m of QUIC, none of TCP",
        parser=read_by(units.parse_duration),
        rich_help_panel=LIMITS,
        help="Close a connection on which nothing has moved for this long.",
    ),
]

DrainTimeout = Annotated[
    int,
    typer.Option(
        "--drain-timeout",
        metavar="TIME",
        show_default="10s",
        parser=read_by(units.parse_duration),
        rich_help_panel=LIMITS,
        help="When stopping, echo what was received for at most this long.",
    ),
]

ProxyProtocol = Annotated[
    bool,
    typer.Option(
        "--proxy-protocol",
        metavar="",
        rich_help_panel=NETWORK,
        help="Demand that connections begin with a PROXY header (v1 or v2), and believe it.",
    ),
]

Stateful = Annotated[
    bool,
    typer.Option(
        "--stateful",
        metavar="",
        rich_help_panel=REFLECTOR,
        help="Count STAMP's answers to each peer, which shows on which way packets are lost.",
    ),
]

QuicRetry = Annotated[
    bool,
    typer.Option(
        "--quic-retry",
        metavar="",
        rich_help_panel=NETWORK,
        help="Have every QUIC peer prove its address first (Retry), not only when many come at once.",
    ),
]

AltSvc = Annotated[
    int | None,
    typer.Option(
        "--alt-svc",
        metavar="PORT",
        parser=read_by(units.parse_port),
        rich_help_panel=NETWORK,
        help="Tell clients, in each answer of https://, that there is HTTP/3 at this port.",
    ),
]

ExitWithStdin = Annotated[bool, typer.Option("--exit-with-stdin", hidden=True)]
