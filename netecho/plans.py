"""What is going to be done, decided in full before anything is done.

A plan is a frozen dataclass: a command turns its flags into one, checks it once, and hands it to a
service. Everything that a result needs to say about how it was made is in its `to_json`. Times are
integers of nanoseconds, sizes are bytes, rates are per second. A plan that makes no sense raises
`UsageError` when it is made.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import math
import re
import urllib.parse
from typing import Any

from netecho.errors import UsageError
from netecho.impairment import Impairment

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
DEFAULT_PORT = 8000
DEFAULT_SIZE = 64
LOOPBACK = "127.0.0.1"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2."""
_FRAMING = ("connection", "content-length", "host", "transfer-encoding", "upgrade", "expect", "te")
_UPGRADING = tuple(f"sec-websocket-{word}" for word in ("key", "version", "extensions", "accept"))
_ADDRESS = re.compile(r"[^\s<>\x00-\x1f\x7f]{1,254}")
_HOST_NAME = re.compile(r"[\x21-\x7e]{1,255}")
_AUTHORITY = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::([0-9]{0,9}))?")
"""Host and port of RFC 3986 section 3.2, which `urllib.parse` reads too leniently (`[::1]80`)."""


def _check_mtu(mtu: int | None) -> None:
    # OpenSSL divides a handshake into no datagrams below 256 bytes, which in IPv6 are packets of 304.
    if mtu is not None and not 304 <= mtu <= 65_535:
        raise UsageError(f"--mtu {mtu} is not between 304 and 65535")


def share(total: int, parts: int, index: int) -> int:
    """Return part `index` of `total` divided into `parts` that differ by at most one."""
    return total // parts + (index < total % parts)


class ReplyMode(enum.StrEnum):
    """What a server answers."""

    ECHO = "echo"
    """What came in (RFC 862)."""
    DISCARD = "discard"
    """Nothing (RFC 863)."""
    CHARGEN = "chargen"
    """Lines of characters, whatever came in (RFC 864)."""
    REJECT = "reject"
    """That what came in is refused for good."""
    TEMPFAIL = "tempfail"
    """That it is refused for now."""
    INFO = "info"
    """What the server sees of the connection, in JSON."""
    BROADCAST = "broadcast"
    """What came in, to every peer of the listener."""


class Verify(enum.StrEnum):
    """How much of every echo is compared with what was sent."""

    FULL = "full"
    NONE = "none"


class Mode(enum.StrEnum):
    """What an exchange of a bench is."""

    EXCHANGE = "exchange"
    """A message and its echo, over connections that stay."""
    CONNECT = "connect"
    """A connection that is opened and closed again."""
    HANDSHAKE = "handshake"
    """The same with the TLS handshake."""


class Arrival(enum.StrEnum):
    """How the exchanges of an open loop follow each other."""

    CONSTANT = "constant"
    """At equal distances."""
    POISSON = "poisson"
    """Independently of each other, as the requests of many users do: exponential gaps."""
    UNIFORM = "uniform"
    """Each anywhere in the time that it would have to itself at a constant rate."""


class Timer(enum.StrEnum):
    """How an open loop waits for the next exchange that is due."""

    SIMPLE = "simple"
    """Asleep, until the system wakes it."""
    HYBRID = "hybrid"
    """Asleep, and awake for the last of it, as waking up takes time: it costs much of a processor."""


class Family(enum.StrEnum):
    """Which addresses of a host name may be used."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class ReactorName(enum.StrEnum):
    """What waits for the network, and runs everything else meanwhile."""

    FAST = "fast"
    """Our own; see `netecho.reactor`."""
    EPOLL = "epoll"
    POLL = "poll"
    SELECT = "select"
    ASYNCIO = "asyncio"
    """The others are Twisted's."""


class TLSVersion(enum.StrEnum):
    """The oldest TLS version that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """A listener's or target's URL taken apart, before anyone has asked which protocols exist.

    A part that the text does not give is `None`.
    """

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    query: str | None = None

    @classmethod
    def parse(cls, text: str) -> Location:
        """Take apart `tcp://host:port`, `//:port`, `unix:/path`, `/path`, `host:port`, `:port` or `host`.

        An IPv6 address with a port stands in brackets, as in RFC 3986 section 3.2.2.

        Raises:
            UsageError: the text is none of these, or its port is not a number up to 65535.
        """
        if not text or not text.isprintable():
            raise UsageError(f"{text!r} is not a URL or host")
        if text.startswith(("/", "./", "../")) and not text.startswith("//"):
            return cls(path=text)
        head, _, rest = text.partition(":")
        if head and rest.startswith("///"):
            return cls(scheme=head.lower(), path=rest[2:])
        if head and rest.startswith(("/", "./", "../")) and not rest.startswith("//"):
            return cls(scheme=head.lower(), path=rest)
        if any(character.isspace() for character in text):
            raise UsageError(f"{text!r} is not a URL or host")
        if not text.startswith("//") and not rest.startswith("//"):
            text = f"//[{text}]" if _is_ipv6(text) else f"//{text}"
        return cls._parse_authority(text)

    @classmethod
    def _parse_authority(cls, text: str) -> Location:
        shown = text.removeprefix("//")
        wrong = UsageError(f"{shown!r} is not a URL or host: write tcp://host:port, host:port or unix:/path")
        try:
            parts = urllib.parse.urlsplit(text)
            host = parts.hostname
        except ValueError:
            raise wrong from None
        if "@" in parts.netloc:
            raise UsageError("a URL with a user name or password in it is not accepted")
        if text.startswith(("?", "//?")):
            raise wrong
        if "#" in text:
            raise UsageError(f"{text!r} has a fragment, which is never sent: leave it out")
        authority = _AUTHORITY.fullmatch(parts.netloc)
        if authority is None or not (parts.scheme or text.startswith("//")):
            raise wrong
        port = int(authority[1]) if authority[1] else None
        if port is not None and port > 65535:
            raise UsageError(f"port {port} is not between 0 and 65535")
        return cls(parts.scheme or None, host or None, port, parts.path or None, parts.query or None)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where to listen, or whom to talk to: a location whose protocol is known.

    `scheme` is how it is spelt (`tls`), `protocol` the adapter that speaks it (`tcp`), and `secure`
    whether that is in its secure form. A target has a `host` and `port`, or a `path` in the file
    system. As a listener's address, port 0 takes a free one.
    """

    scheme: str = "tcp"
    protocol: str = "tcp"
    secure: bool = False
    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    path: str | None = None
    resource: str = ""
    """What is asked for there, on protocols that have such: path and query of an HTTP URL."""
    upgrades: bool = False
    """Whether a connection in clear can turn to TLS, on its protocol."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is not between 0 and 65535")

    @property
    def is_dtls(self) -> bool:
        """Whether it speaks TLS in datagrams (RFC 6347)."""
        return self.scheme == "dtls"

    def room(self, mtu: int) -> int:
        """Return how many bytes of payload are certain to fit into a packet of DTLS of `mtu` bytes.

        The headers of IP and UDP take 28, or 48 in IPv6 or whatever a name may stand for; and what DTLS adds,
        37 with the cipher that adds most.
        """
        return mtu - (28 if _is_ipv4(self.host) else 48) - 37

    def __str__(self) -> str:
        """Return the URL, as `Location.parse` takes it."""
        if self.path is not None:
            return f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.resource}"


@dataclasses.dataclass(frozen=True, slots=True)
class ServerTLS:
    """How a server speaks TLS. Files are PEM; without a certificate, an authority is made on the spot."""

    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    """Clients must show a certificate signed by one of the authorities in this file."""
    alpn: tuple[str, ...] = ()
    minimum: TLSVersion = TLSVersion.TLS_1_2
    ciphers: str | None = None
    """An OpenSSL cipher string for TLS 1.2; Mozilla's intermediate list when not given."""

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise UsageError("--key needs --cert: a key alone does not say who the server is")


@dataclasses.dataclass(frozen=True, slots=True)
class ClientTLS:
    """How a client speaks TLS, and whom it trusts. Files are PEM."""

    authorities: str | None = None
    """Trust the authorities in this file, and no others; else the system's."""
    certificate: str | None = None
    key: str | None = None
    insecure: bool = False
    """Talk to a server whose certificate does not verify."""
    server_name: str | None = None
    """The name asked for (SNI) and verified, when it is not the target's host."""
    alpn: tuple[str, ...] = ()
    keylog: str | None = None
    """Append the session's secrets to this file, in the NSS key log format."""
    starttls: bool = False
    """Begin in clear, and then have the connection turn to TLS."""

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise UsageError("--key needs --cert: a key alone does not say who the client is")


@dataclasses.dataclass(frozen=True, slots=True)
class RequestPlan:
    """How messages travel in HTTP requests."""

    method: str = "POST"
    headers: tuple[str, ...] = ()
    """Fields to send, as `Name: value`."""
    body: str | None = None
    """Send this, one character a byte, rather than generated bytes."""
    http2: bool = False
    """Speak HTTP/2, by ALPN over TLS and at once in clear; else HTTP/1.1."""
    upgrades: bool = False
    """It is the one that a connection begins with, to go on in another protocol, in which messages travel."""

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.method) or self.method == "CONNECT":
            raise UsageError(f"--method {self.method!r} is not a method to send messages with")
        for field in self.headers:
            name, colon, value = field.partition(":")
            if not colon or not _TOKEN.fullmatch(name) or not value.isprintable():
                raise UsageError(f"--header {field!r} is not a field: write 'Name: value'")
            is_framing = name.lower() in _FRAMING or (self.upgrades and name.lower() in _UPGRADING)
            if is_framing:
                raise UsageError(f"--header {name} is for netecho itself to say: leave it out")

    @property
    def message(self) -> bytes | None:
        """What each request carries; `None` if that is generated."""
        return None if self.body is None else self.body.encode("latin-1")

    @property
    def alpn(self) -> tuple[str, ...]:
        """What is offered in a TLS handshake, unless the user names something else."""
        return ("h2",) if self.http2 else ("http/1.1",)

    @property
    def has_content(self) -> bool:
        """Whether the method is for sending something: others carry a message only if they are told to."""
        return self.upgrades or self.method not in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")

    def is_echoed(self, size: int) -> bool:
        """Return whether an echo server sends back what a request of so many bytes carries."""
        return self.method != "HEAD" and (size > 0 or self.has_content)

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of it: no header's value, which may be a password."""
        return {
            "method": self.method,
            "headers": [field.partition(":")[0] for field in self.headers],
            "http2": self.http2,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class MailPlan:
    """From whom and to whom messages travel in mails. Without being told otherwise, they are nobody's."""

    sender: str = "netecho@netecho.invalid"
    """Empty for the null path (RFC 5321 section 4.5.5)."""
    recipient: str = "echo@netecho.invalid"
    ehlo: str | None = None
    """Who the client says it is; its address if `None`."""

    def __post_init__(self) -> None:
        if self.sender and not _ADDRESS.fullmatch(self.sender):
            raise UsageError(f"--from {self.sender!r} is not an address: write user@example.org, or <>")
        if not _ADDRESS.fullmatch(self.recipient):
            raise UsageError(f"--to {self.recipient!r} is not an address: write user@example.org")
        if self.ehlo is not None and not _HOST_NAME.fullmatch(self.ehlo):
            raise UsageError(f"--ehlo {self.ehlo!r} is not a host's name")

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"sender": self.sender, "recipient": self.recipient, "ehlo": self.ehlo}


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyPlan:
    """What a client's connections say first of where they come from: HAProxy's PROXY protocol."""

    version: int = 2
    host: str | None = None
    """The IP address that it is to come from; `None`: that which it does."""
    port: int | None = None
    """The same of its port."""

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise UsageError("--send-proxy: the versions of the PROXY protocol are v1 and v2")
        if self.host is not None:
            try:
                ipaddress.ip_address(self.host)
            except ValueError:
                raise UsageError(f"--send-proxy: {self.host!r} is not an IP address") from None
        if self.port is not None and (self.host is None or not 0 <= self.port <= 65535):
            raise UsageError("--send-proxy: a port follows an address, and is a number from 0 to 65535")

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"version": self.version, "source": self.host, "port": self.port}


@dataclasses.dataclass(frozen=True, slots=True)
class MultiplexPlan:
    """How connections that carry many streams at once are used."""

    streams: int | None = None
    """Streams at once on each, one for each exchange; `None`: as many as the other end allows."""
    qlog: str | None = None
    """Write down in this directory what each connection does, in the form of qlog, a file for each."""

    def __post_init__(self) -> None:
        if self.streams is not None and self.streams < 1:
            raise UsageError("--streams must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a run over which something changes in a straight line from what it was before."""

    duration_ns: int
    """0 changes it at once."""
    target: float
    """What is reached at its end: exchanges per second, or a number of connections."""

    def __post_init__(self) -> None:
        if self.duration_ns < 0 or not 0 <= self.target < math.inf:
            raise UsageError("a stage has a duration and a target that are not below 0, such as 10s:1k")

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"duration_ns": self.duration_ns, "target": self.target}


@dataclasses.dataclass(frozen=True, slots=True)
class SocketOptions:
    """What is asked of the client's sockets before they connect."""

    family: Family = Family.ANY
    source: str | None = None
    """Connect from this address."""
    dscp: int | None = None
    """Differentiated services code point, 0 to 63 (RFC 2474)."""
    ttl: int | None = None
    """Time to live, or hop limit, 1 to 255."""
    mtu: int | None = None
    """Bytes in the largest packet of DTLS."""

    def __post_init__(self) -> None:
        if self.dscp is not None and not 0 <= self.dscp <= 63:
            raise UsageError(f"--dscp {self.dscp} is not between 0 and 63")
        if self.ttl is not None and not 1 <= self.ttl <= 255:
            raise UsageError(f"--ttl {self.ttl} is not between 1 and 255")
        _check_mtu(self.mtu)
        if self.source is not None:
            try:
                version = ipaddress.ip_address(self.source.partition("%")[0]).version
            except ValueError:
                raise UsageError(f"--source {self.source!r} is not an IP address") from None
            if self.family is not Family.ANY and self.family != f"ipv{version}":
                raise UsageError(f"--source {self.source} is not an IPv{self.family[-1]} address")


@dataclasses.dataclass(frozen=True, slots=True)
class ListenPlan:
    """What `serve` runs: listeners, and how each answers."""

    listeners: tuple[Target, ...]
    reply: ReplyMode = ReplyMode.ECHO
    tls: ServerTLS = ServerTLS()
    max_connections: int | None = None
    """Over all listeners; one more is closed at once. Of several workers each has its share."""
    idle_timeout_ns: int | None = None
    drain_timeout_ns: int = 10 * SECOND
    workers: int = 1
    """Processes, over which the system spreads connections, and datagrams by where they come from."""
    hmac_key: str | None = None
    """Reflectors authenticate packets with the key in this file."""
    stateful: bool = False
    """Reflectors count their answers for each peer (RFC 8762 section 4)."""
    mtu: int | None = None
    """Bytes in the largest packet of DTLS."""
    max_message: int | None = None
    """Bytes of a message that is taken, on protocols that have a limit for it."""
    impairment: Impairment = dataclasses.field(default_factory=Impairment)
    """What is done to answers on purpose."""
    proxied: bool = False
    """Connections begin with a PROXY header, which says where they come from."""
    qlog: str | None = None
    """As in `MultiplexPlan`."""

    def __post_init__(self) -> None:
        if not self.listeners:
            raise UsageError("nothing to listen on")
        fixed = [
            (one.protocol, one.path or (one.host, one.port))
            for one in self.listeners
            if one.path is not None or one.port
        ]
        if len(set(fixed)) < len(fixed):
            raise UsageError("the same address is to be listened on twice")
        _at_least(1, "--max-connections", self.max_connections)
        _at_least(1, "--max-message", self.max_message)
        _at_least(1, "--workers", self.workers)
        if self.max_connections is not None and self.max_connections < self.workers:
            raise UsageError("--max-connections is shared out: it must be at least as many as --workers")
        if self.workers > 1 and self.reply is ReplyMode.BROADCAST:
            raise UsageError(
                "--reply broadcast is for one process, which knows all its peers: leave out --workers"
            )
        if self.tls != ServerTLS() and not self.tls_hosts:
            raise UsageError("flags for TLS are given, but no listener speaks it: add --tls")
        self._check_dtls()

    def _check_dtls(self) -> None:
        _check_mtu(self.mtu)
        speaks = any(one.is_dtls for one in self.listeners)
        if self.mtu is not None and not speaks:
            raise UsageError("--mtu is of DTLS, which no listener speaks: add --proto udp --tls")
        if self.tls.minimum is TLSVersion.TLS_1_3 and speaks:
            raise UsageError("--tls-min 1.3 is newer than all DTLS that there is here, which is 1.2")

    @property
    def tls_hosts(self) -> frozenset[str]:
        """Where TLS is spoken: on secure listeners, and with a certificate on those that can turn to it."""
        if self.tls.certificate is None and not any(one.secure for one in self.listeners):
            return frozenset()
        return frozenset(one.host for one in self.listeners if one.secure or one.upgrades)

    def split(self) -> tuple[ListenPlan, ...]:
        """Divide the plan among its workers: each has all listeners, and a share of the connections."""
        return tuple(
            dataclasses.replace(
                self,
                max_connections=None
                if self.max_connections is None
                else share(self.max_connections, self.workers, index),
                workers=1,
                impairment=self.impairment.part(index),
            )
            for index in range(self.workers)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class TalkPlan:
    """What `client` runs when a person or a pipe says what to send."""

    target: Target
    sockets: SocketOptions = SocketOptions()
    tls: ClientTLS = ClientTLS()
    timeout_ns: int = 5 * SECOND
    hmac_key: str | None = None
    """Authenticate packets to and from a reflector with the key in this file."""
    request: RequestPlan | None = None
    """How messages travel, on protocols that have requests."""
    mail: MailPlan | None = None
    """The same, on those that have mails."""
    proxy: ProxyPlan | None = None
    """What is said first of where a connection comes from, if anything."""
    multiplex: MultiplexPlan = MultiplexPlan()
    """How streams are used, on protocols that multiplex."""

    def __post_init__(self) -> None:
        _at_least(1, "-w/--timeout", self.timeout_ns)
        _not_in_vain(self.tls, self.target)
        _fits(self.sockets.mtu, self.target)


@dataclasses.dataclass(frozen=True, slots=True)
class ProbePlan:
    """What `client` runs as a ping: paced probes, one connection, every reply shown."""

    target: Target
    count: int | None = None
    interval_ns: int = SECOND
    duration_ns: int | None = None
    size: int = DEFAULT_SIZE
    message: bytes | None = None
    """Send this, rather than `size` generated bytes."""
    timeout_ns: int = 5 * SECOND
    verify: Verify = Verify.FULL
    sockets: SocketOptions = SocketOptions()
    tls: ClientTLS = ClientTLS()
    hmac_key: str | None = None
    """As in `TalkPlan`."""
    request: RequestPlan | None = None
    """As in `TalkPlan`."""
    receipts: bool = False
    """Receipts stand for echoes."""
    mail: MailPlan | None = None
    """As in `TalkPlan`."""
    proxy: ProxyPlan | None = None
    """As in `TalkPlan`."""
    multiplex: MultiplexPlan = MultiplexPlan()
    """As in `TalkPlan`."""

    def __post_init__(self) -> None:
        _at_least(1, "-n/--count", self.count)
        _at_least(0, "-i/--interval", self.interval_ns)
        _at_least(1, "-z/--duration", self.duration_ns)
        _at_least(0, "-l/--size", self.size)
        _at_least(1, "-w/--timeout", self.timeout_ns)
        _not_in_vain(self.tls, self.target)
        _fits(self.sockets.mtu, self.target, self.payload_size)

    @property
    def payload_size(self) -> int:
        """Bytes in each probe."""
        return self.size if self.message is None else len(self.message)

    def to_json(self) -> dict[str, Any]:
        """Return the `plan` object of `netecho.result/1`."""
        return {
            "target": str(self.target),
            "embedded": False,
            "model": "open",
            "connections": 1,
            "count": self.count,
            "interval_ns": self.interval_ns,
            "rate_per_s": SECOND / self.interval_ns if self.interval_ns else None,
            "duration_ns": self.duration_ns,
            "size": self.payload_size,
            "pipeline": None,
            "timeout_ns": self.timeout_ns,
            "verify": self.verify.value,
            "hmac": self.hmac_key is not None,
            "request": None if self.request is None else self.request.to_json(),
            "receipts": self.receipts,
            "mail": None if self.mail is None else self.mail.to_json(),
            "send_proxy": None if self.proxy is None else self.proxy.to_json(),
            "streams": self.multiplex.streams,
            **_network_json(self.sockets, self.tls if self.target.secure or self.tls.starttls else None),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Portion:
    """Which part of a divided plan one is, and what of the whole it takes to know when its turn is.

    Of exchanges and connections alike, it has the numbers `index`, `index + parts`, `index + 2 * parts`
    and so on.
    """

    index: int
    parts: int
    connections: int
    """Of the whole."""
    exchanges: int | None
    """Of the whole."""

    def numbers(self, total: int) -> range:
        """Return which of so many are this part's."""
        return range(self.index, total, self.parts)


@dataclasses.dataclass(frozen=True, slots=True)
class BenchPlan:
    """What `bench` runs over its connections, until a count or a time is reached.

    With a rate, or stages of one, it is an open loop: exchanges leave when they are due, whatever has come
    back. Without, it is a closed one: each connection sends when its last echo has come.
    """

    target: Target
    embedded: bool = False
    """The target is a server of our own, started for this run."""
    connections: int = 1
    exchanges: int | None = None
    """Stop after this many, over all connections."""
    duration_ns: int | None = 10 * SECOND
    size: int = DEFAULT_SIZE
    pipeline: int = 1
    """Exchanges in flight on each connection."""
    warmup_ns: int = 0
    timeout_ns: int = 5 * SECOND
    connect_rate: float | None = None
    """Connections opened a second, at most."""
    verify: Verify = Verify.FULL
    reconnect: bool = True
    sockets: SocketOptions = SocketOptions()
    tls: ClientTLS = ClientTLS()
    rate: float | None = None
    """Exchanges due a second, over all connections; where the stages begin."""
    rate_per_connection: float | None = None
    """The same on each connection; the stages then are each connection's too."""
    arrival: Arrival = Arrival.CONSTANT
    seed: int = 0
    """Random arrivals are the same for the same seed."""
    stages: tuple[Stage, ...] = ()
    """How the rate changes, from `rate` or from 0. They say how long the run is."""
    connections_stages: tuple[Stage, ...] = ()
    """How the number of connections changes, from `connections`. They say how long the run is."""
    max_in_flight: int = 100_000
    """Datagrams of an open loop in flight, over all connections: what is due beyond that is held back."""
    workers: int = 1
    slo: tuple[str, ...] = ()
    """Objectives, as `measure.slo.Objective.parse` takes them: what reads the flag checks them by that."""
    abort_on_fail: bool = False
    """End as soon as an objective is missed."""
    portion: Portion | None = None
    """`None`: the whole."""
    hmac_key: str | None = None
    """As in `TalkPlan`."""
    mode: Mode = Mode.EXCHANGE
    """Of the other two, `connections` are so many at a time."""
    resume: bool = False
    """TLS sessions are resumed: each connection's by the one that comes after it in its place."""
    connections_lifetime_ns: int | None = None
    """Connections are closed in order at this age, and opened anew."""
    request: RequestPlan | None = None
    """As in `TalkPlan`."""
    receipts: bool = False
    """Receipts stand for echoes."""
    mail: MailPlan | None = None
    """As in `TalkPlan`."""
    proxy: ProxyPlan | None = None
    """As in `TalkPlan`."""
    multiplex: MultiplexPlan = MultiplexPlan()
    """As in `TalkPlan`."""
    timer: Timer = Timer.SIMPLE

    def __post_init__(self) -> None:
        # A part of a plan may have none of the connections that there are at first.
        least = 0 if self.portion is not None and self.connections_stages else 1
        _at_least(least, "-c/--connections", self.connections)
        _at_least(1, "-n/--exchanges", self.exchanges)
        _at_least(1, "-z/--duration", self.duration_ns)
        _at_least(0, "-l/--size", self.size)
        _at_least(1, "--pipeline", self.pipeline)
        _at_least(0, "--warmup", self.warmup_ns)
        _at_least(1, "-w/--timeout", self.timeout_ns)
        _at_least(1, "--max-in-flight", self.max_in_flight)
        _at_least(1, "--workers", self.workers)
        _at_least(1, "--connections-lifetime", self.connections_lifetime_ns)
        _above_zero("--connect-rate", self.connect_rate)
        self._check_end()
        self._check_rate()
        self._check_mode()
        if self.abort_on_fail and not self.slo:
            raise UsageError("--abort-on-fail needs an objective to fail: --slo")
        _not_in_vain(self.tls, self.target)
        _fits(self.sockets.mtu, self.target, self.size)

    def _check_end(self) -> None:
        if self.stages or self.connections_stages:
            if self.duration_ns is not None:
                raise UsageError("stages say how long a run is: leave out -z")
            if not self.length_ns:
                raise UsageError("stages without any duration end a run before it begins")
        elif self.exchanges is None and self.duration_ns is None:
            raise UsageError("a run needs an end: -n or -z")
        if any(not one.target.is_integer() for one in self.connections_stages):
            raise UsageError("--connections-stages lead to whole numbers of connections")

    def _check_rate(self) -> None:
        _above_zero("-q/--rate", self.rate)
        _above_zero("--rate-per-connection", self.rate_per_connection)
        if self.rate is not None and self.rate_per_connection is not None:
            raise UsageError("-q/--rate is for all connections together: leave out --rate-per-connection")
        if self.rate_per_connection is not None and self.connections_stages:
            raise UsageError("--connections-stages change how many share a rate: give it as -q/--rate")
        if not self.open_loop:
            if self.arrival is not Arrival.CONSTANT:
                raise UsageError("--arrival is how the exchanges of a rate follow each other: add -q/--rate")
            if self.timer is not Timer.SIMPLE:
                raise UsageError("--timer is how the exchanges of a rate are waited for: add -q/--rate")
            return
        start = self.rate or self.rate_per_connection
        if start is None and not any(one.target for one in self.stages):
            raise UsageError("--stages never lead to a rate above 0")
        if start is None and self.warmup_ns:
            raise UsageError("--warmup needs a rate to warm up at: add -q/--rate, where --stages begin")

    def _check_mode(self) -> None:
        if self.resume and (not self.target.secure or self.mode is Mode.CONNECT):
            raise UsageError("--resume is for TLS sessions: add --tls, with --mode handshake or exchange")
        if self.mode is Mode.EXCHANGE:
            return
        if self.mode is Mode.HANDSHAKE and not self.target.secure:
            raise UsageError(f"--mode handshake is for TLS, which {self.target} does not speak: add --tls")
        for flag, given in (
            ("--streams", self.multiplex.streams is not None),
            ("--pipeline", self.pipeline > 1),
            ("--connect-rate", self.connect_rate is not None),
            ("--rate-per-connection", self.rate_per_connection is not None),
            ("--connections-lifetime", self.connections_lifetime_ns is not None),
        ):
            if given:
                raise UsageError(
                    f"{flag} is for connections that stay, which those of --mode {self.mode} do not: "
                    "-c says how many are open at a time, and -q how many are opened a second"
                )

    @property
    def open_loop(self) -> bool:
        """Whether exchanges leave by a schedule, and not by the echoes that come."""
        return self.rate is not None or self.rate_per_connection is not None or bool(self.stages)

    @property
    def length_ns(self) -> int | None:
        """How long it takes if nothing ends it before; `None`: until all exchanges have been sent."""
        if not self.stages and not self.connections_stages:
            return self.duration_ns
        return max(sum(one.duration_ns for one in each) for each in (self.stages, self.connections_stages))

    @property
    def most_connections(self) -> int:
        """How many connections there are when there are most."""
        return max([self.connections, *(int(one.target) for one in self.connections_stages)])

    def split(self, parts: int) -> tuple[BenchPlan, ...]:
        """Divide the plan among `parts` workers so that the parts add up to it exactly.

        Connections, exchanges, the connect rate and what may be in flight are divided; a schedule is
        interleaved (`measure.pacing.lanes_of`), as are stages of connections; the rest is every part's
        own. There are never more parts than connections or exchanges, so that none has nothing to do.
        """
        most = self.most_connections
        parts = max(1, min(parts, most, self.exchanges or most, self.max_in_flight))
        whole = self.portion or Portion(0, 1, self.connections, self.exchanges)
        portions = [
            dataclasses.replace(whole, index=whole.index + whole.parts * index, parts=whole.parts * parts)
            for index in range(parts)
        ]
        return tuple(
            dataclasses.replace(
                self,
                connections=share(self.connections, parts, index),
                exchanges=self._exchanges_of(portion),
                connect_rate=None if self.connect_rate is None else self.connect_rate / parts,
                max_in_flight=share(self.max_in_flight, parts, index),
                workers=1,
                portion=portion,
            )
            for index, portion in enumerate(portions)
        )

    def _exchanges_of(self, portion: Portion) -> int | None:
        if portion.exchanges is None:
            return None
        if self.rate_per_connection is None:
            return len(portion.numbers(portion.exchanges))
        # Each connection has a share of its own, and the portion those of its connections.
        return sum(
            share(portion.exchanges, portion.connections, number)
            for number in portion.numbers(portion.connections)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the `plan` object of `netecho.result/1`."""
        return {
            "target": str(self.target),
            "embedded": self.embedded,
            "model": "open" if self.open_loop else "closed",
            "connections": self.connections,
            "rate_per_s": self.rate,
            "rate_per_connection_per_s": self.rate_per_connection,
            "arrival": self.arrival.value if self.open_loop else None,
            "seed": self.seed if self.open_loop and self.arrival is not Arrival.CONSTANT else None,
            "timer": self.timer.value if self.open_loop else None,
            "stages": [one.to_json() for one in self.stages] or None,
            "connections_stages": [one.to_json() for one in self.connections_stages] or None,
            "max_in_flight": self.max_in_flight if self.open_loop else None,
            "workers": self.workers,
            "slo": list(self.slo),
            "exchanges": self.exchanges,
            "duration_ns": self.duration_ns,
            "size": self.size,
            "pipeline": self.pipeline,
            "warmup_ns": self.warmup_ns,
            "timeout_ns": self.timeout_ns,
            "connect_rate_per_s": self.connect_rate,
            "verify": self.verify.value,
            "reconnect": self.reconnect,
            "hmac": self.hmac_key is not None,
            "request": None if self.request is None else self.request.to_json(),
            "receipts": self.receipts,
            "mail": None if self.mail is None else self.mail.to_json(),
            "send_proxy": None if self.proxy is None else self.proxy.to_json(),
            "streams": self.multiplex.streams,
            "mode": self.mode.value,
            "resume": self.resume if self.target.secure else None,
            "connections_lifetime_ns": self.connections_lifetime_ns,
            **_network_json(self.sockets, self.tls if self.target.secure or self.tls.starttls else None),
        }


def _at_least(minimum: int, flag: str, value: int | None) -> None:
    if value is not None and value < minimum:
        raise UsageError(f"{flag} must be at least {minimum}")


def _fits(mtu: int | None, target: Target, size: int = 0) -> None:
    if mtu is None:
        return
    if not target.is_dtls:
        raise UsageError(f"--mtu is of DTLS, which {target} does not speak: add --proto udp --tls")
    if size > target.room(mtu):
        raise UsageError(f"a message of {size} bytes does not fit into --mtu {mtu}: {target.room(mtu)} do")


def _above_zero(flag: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{flag} must be more than 0")


def _not_in_vain(tls: ClientTLS, target: Target) -> None:
    if tls.starttls:
        if not target.upgrades:
            raise UsageError("--starttls is for protocols that begin in clear: add --proto smtp")
        if target.secure:
            raise UsageError("--starttls and --tls exclude each other: TLS comes later or is there at once")
        return
    # A key log may be asked for by the environment, for whatever will speak TLS.
    if not target.secure and dataclasses.replace(tls, keylog=None) != ClientTLS():
        raise UsageError(f"flags for TLS are given, but {target} does not speak it: add --tls")


def _network_json(sockets: SocketOptions, tls: ClientTLS | None) -> dict[str, Any]:
    """Return what a result says of sockets and TLS. No file name of a key, and no key, is among it."""
    answer: dict[str, Any] = {
        "family": sockets.family.value,
        "source": sockets.source,
        "dscp": sockets.dscp,
        "ttl": sockets.ttl,
        **({} if sockets.mtu is None else {"mtu": sockets.mtu}),
        "tls": None,
    }
    if tls is not None:
        answer["tls"] = {
            "insecure": tls.insecure,
            "server_name": tls.server_name,
            "alpn": list(tls.alpn),
            "client_certificate": tls.certificate is not None,
            **({"starttls": True} if tls.starttls else {}),
        }
    return answer
