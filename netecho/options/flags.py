"""The flags that several commands share, as annotations for Typer: one spelling, one help text."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from netecho.errors import UsageError
from netecho.options import units
from netecho.plans import ClientTLS, Family, ProxyPlan, ReactorName, SocketOptions

_T = TypeVar("_T")

NETWORK, TLS, LIMITS, LOAD, OUTPUT = "Sockets", "TLS", "Limits", "What is sent", "Output"
REFLECTOR, REQUESTS, OPEN_LOOP = "Reflector", "HTTP", "Open loop"
OBJECTIVES, RESULTS = "Objectives", "Several results"
IMPAIRMENT, MAIL = "What goes wrong on purpose", "Mail"
"""The panels that help shows flags in."""


def read_by(parse: Callable[[str], _T]) -> Callable[[_T | str], _T]:
    """Return a Typer parser that leaves a default alone, and whose error names the flag."""

    def read(value: _T | str) -> _T:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def parse_proto(text: str) -> str:
    """Return a protocol's name, as it is.

    Raises:
        UsageError: there is no such protocol.
    """
    from netecho import protocols

    if text not in protocols.names():
        raise UsageError(f"unknown protocol {text!r}: it is one of {', '.join(protocols.names())}")
    return text


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


def split_words(values: list[str] | None) -> tuple[str, ...]:
    """Return the words of a flag that may be repeated, separated by commas, or both."""
    return tuple(word for value in values or () for word in value.split(",") if word)


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
        help="Mark packets with a code point: 0 to 63, or a name as ef, af41, cs1.",
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
        help="Begin with a PROXY header: v1, v2, or with where it says to come from, v2:ADDRESS[:PORT].",
    ),
]

# TLS.

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
        help="Begin in clear, then turn to TLS: of SMTP.",
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
        help="Streams at once on each connection, an exchange on each, where a protocol has them.",
    ),
]
Qlog = Annotated[
    str | None,
    typer.Option(
        "--qlog",
        metavar="DIRECTORY",
        rich_help_panel=OUTPUT,
        help="Write down what each connection does in a file of its own there, in the form of qlog.",
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

# Output.

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
        "-v", "--verbose", rich_help_panel=OUTPUT, metavar="", help="Say more, as connections come and go."
    ),
]


# Saved results.

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
        help="Exit with 99 if it is shown to be slower, by more than this: 5%.",
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
        help="Send this field with each request, or that for a WebSocket: 'Name: value'.",
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
        UsageError: it names a file that cannot be read.
    """
    if text is None:
        return None
    if not text.startswith("@"):
        return os.fsencode(text).decode("latin-1")
    try:
        with open(text[1:], "rb") as file:
            return file.read().decode("latin-1")
    except OSError as error:
        raise UsageError(f"--body {text}: {error.strerror or error}") from None


def socket_options(
    ipv4: bool, ipv6: bool, source: str | None, dscp: int | None, ttl: int | None, mtu: int | None
) -> SocketOptions:
    """Return what the socket flags ask for.

    Raises:
        UsageError: they contradict each other.
    """
    return SocketOptions(family(ipv4, ipv6), source, dscp, ttl, mtu)


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
    return ClientTLS(cacert, cert, key, insecure, sni, split_words(alpn), keylog, starttls)
