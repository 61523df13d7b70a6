"""The flags that several commands share, as annotations for Typer: one spelling, one help text."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from netecho.errors import UsageError
from netecho.options import units
from netecho.options.checks import MOST_SIZE
from netecho.options.panels import LOAD, NETWORK, OUTPUT, REFLECTOR, REQUESTS, read_by
from netecho.plans import Family, ProxyPlan, ReactorName, SocketOptions


def parse_proto(text: str) -> str:
    """Return a protocol's name, as it is.

    Raises:
        UsageError: there is no such protocol.
    """
    from netecho import protocols

    if text not in protocols.names():
        raise UsageError(f"unknown protocol {text!r}: it is one of {', '.join(protocols.names())}")
    return text


def family(ipv4: bool, ipv6: bool) -> Family:
    """Return the address family that -4 and -6 ask for.

    Raises:
        UsageError: both are given.
    """
    if ipv4 and ipv6:
        raise UsageError("-4 and -6 exclude each other: leave both out to use either")
    return Family.IPV4 if ipv4 else Family.IPV6 if ipv6 else Family.ANY


def complete_proto() -> list[str]:
    """Return the words that --proto takes."""
    from netecho import protocols

    return list(protocols.names())


def complete_url() -> list[str]:
    """Return how the URL of a target or listener may begin."""
    from netecho import protocols

    of_paths = protocols.of_paths()
    return [f"{scheme}:" if scheme in of_paths else f"{scheme}://" for scheme in protocols.schemes()]


def complete_dscp() -> list[str]:
    """Return the names of code points."""
    return sorted(units.DSCP_NAMES)


# Where to.

TargetText = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        show_default="the server that `netecho serve` starts",
        help="A URL, a host, or a path: tcp://host:port, localhost, unix:/path.",
        autocompletion=complete_url,
    ),
]
BenchTargetText = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        show_default="a server of its own, started for the run",
        help="A URL, a host, or a path: tcp://host:port, localhost, unix:/path.",
        autocompletion=complete_url,
    ),
]
TargetPort = Annotated[
    int | None,
    typer.Argument(
        metavar="PORT",
        show_default=False,
        parser=read_by(units.parse_port),
        help="The target's port, when it is a host.",
    ),
]
Proto = Annotated[
    str | None,
    typer.Option(
        "--proto",
        metavar="NAME",
        show_default="tcp",
        parser=read_by(parse_proto),
        autocompletion=complete_proto,
        help="The protocol to speak.",
    ),
]
Secure = Annotated[bool, typer.Option("--tls", metavar="", help="Speak it over TLS.")]
Reactor = Annotated[
    ReactorName | None,
    typer.Option(
        "--reactor",
        metavar="NAME",
        case_sensitive=False,
        show_default="fast, where there is epoll",
        help="Run on this reactor: fast, epoll, poll, select, asyncio.",
    ),
]
BusyPoll = Annotated[
    int | None,
    typer.Option(
        "--busy-poll",
        metavar="TIME",
        show_default="50us",
        parser=read_by(units.parse_duration),
        help="Look for events this long before sleeping, where it helps: quicker, but busy. 0 is never.",
    ),
]

Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="COUNT",
        show_default="1",
        parser=read_by(units.parse_count),
        help="Share the work among this many processes.",
    ),
]

# Sockets.

IPv4 = Annotated[
    bool, typer.Option("-4", "--ipv4", rich_help_panel=NETWORK, metavar="", help="Use IPv4 only.")
]
IPv6 = Annotated[
    bool, typer.Option("-6", "--ipv6", rich_help_panel=NETWORK, metavar="", help="Use IPv6 only.")
]
Source = Annotated[
    str | None,
    typer.Option("--source", metavar="ADDRESS", rich_help_panel=NETWORK, help="Connect from this address."),
]
Dscp = Annotated[
    int | None,
    typer.Option(
        "--dscp",
        metavar="CODE",
        parser=read_by(units.parse_dscp),
        autocompletion=complete_dscp,
        rich_help_panel=NETWORK,
        help="Mark packets with a code point: 0 to 63, or a name such as ef, af41, cs1.",
    ),
]
Ttl = Annotated[
    int | None,
    typer.Option(
        "--ttl",
        metavar="HOPS",
        parser=read_by(units.parse_ttl),
        rich_help_panel=NETWORK,
        help="Limit how many hops packets live: 1 to 255.",
    ),
]

Mtu = Annotated[
    int | None,
    typer.Option(
        "--mtu",
        metavar="BYTES",
        parser=read_by(units.parse_size),
        rich_help_panel=NETWORK,
        help="Send no packet of DTLS larger than this, IP and UDP headers and all.",
    ),
]

SendProxy = Annotated[
    ProxyPlan | None,
    typer.Option(
        "--send-proxy",
        metavar="VERSION",
        parser=read_by(units.parse_send_proxy),
        rich_help_panel=NETWORK,
        help="Begin connections with a PROXY header: v1, v2, or v2:ADDRESS[:PORT] to name another source.",
    ),
]

# Streams.

Streams = Annotated[
    int | None,
    typer.Option(
        "--streams",
        metavar="COUNT",
        show_default="as many as the server allows",
        parser=read_by(units.parse_count),
        rich_help_panel=LOAD,
        help="Have this many streams at once on each connection, an exchange on each.",
    ),
]
Qlog = Annotated[
    str | None,
    typer.Option(
        "--qlog",
        metavar="DIRECTORY",
        rich_help_panel=OUTPUT,
        help="Write a qlog of each connection, in a file of its own, to this directory.",
    ),
]

# Reflectors.

HmacKey = Annotated[
    str | None,
    typer.Option(
        "--hmac-key",
        metavar="FILE",
        rich_help_panel=REFLECTOR,
        help="Authenticate STAMP's packets with the key in this file.",
    ),
]

# HTTP.

Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="WORD",
        show_default="POST",
        rich_help_panel=REQUESTS,
        help="Send requests of this method.",
    ),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="FIELD",
        rich_help_panel=REQUESTS,
        help="Send this field with each request, or with the one for a WebSocket: 'Name: value'.",
    ),
]
Body = Annotated[
    str | None,
    typer.Option(
        "--body",
        metavar="TEXT",
        rich_help_panel=REQUESTS,
        help="Send this in each request, or the bytes of a file: @FILE.",
    ),
]
HTTP2 = Annotated[
    bool,
    typer.Option(
        "--http2", metavar="", rich_help_panel=REQUESTS, help="Speak HTTP/2, whether over TLS or in clear."
    ),
]


def read_body(text: str | None) -> str | None:
    """Return what --body says to send, one character a byte, as plans have it.

    Raises:
        UsageError: it names a file that cannot be read, or that is larger than any message.
    """
    if text is None:
        return None
    if not text.startswith("@"):
        return os.fsencode(text).decode("latin-1")
    try:
        with open(text[1:], "rb") as file:
            body = file.read(MOST_SIZE + 1)
    except OSError as error:
        raise UsageError(f"--body {text}: {error.strerror or error}") from None
    if len(body) > MOST_SIZE:
        raise UsageError(f"--body {text}: this is more than 128 MiB, the largest message that there is")
    return body.decode("latin-1")


def socket_options(
    ipv4: bool, ipv6: bool, source: str | None, dscp: int | None, ttl: int | None, mtu: int | None
) -> SocketOptions:
    """Return what the socket flags ask for.

    Raises:
        UsageError: they contradict each other.
    """
    return SocketOptions(family=family(ipv4, ipv6), source=source, dscp=dscp, ttl=ttl, mtu=mtu)
