"""Words that plans are written in: each is what a flag takes, and what a result says."""

from __future__ import annotations

import enum

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


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
