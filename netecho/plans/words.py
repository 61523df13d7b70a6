"""The words of plans: each enumeration has the values that a flag takes, and that a result says."""

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
    """A refusal for good."""
    TEMPFAIL = "tempfail"
    """A refusal for now: the client may try again."""
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
    """A connection that is opened with a TLS handshake, and closed again."""


class Arrival(enum.StrEnum):
    """How the exchanges of an open loop are spaced."""

    CONSTANT = "constant"
    """Evenly."""
    POISSON = "poisson"
    """Independently of each other, as the requests of many users do: exponential gaps."""
    UNIFORM = "uniform"
    """Each anywhere in the time that it would have to itself at a constant rate."""


class Timer(enum.StrEnum):
    """How an open loop waits for the next exchange that is due."""

    SIMPLE = "simple"
    """Asleep, until the system wakes it."""
    HYBRID = "hybrid"
    """Asleep at first, and awake for the last of it: exact, as waking up takes time, but it costs processor
    time."""


class Family(enum.StrEnum):
    """Which addresses of a host name may be used."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class ReactorName(enum.StrEnum):
    """Which reactor runs the program: ours, or one of Twisted's."""

    FAST = "fast"
    """See `netecho.reactor`."""
    EPOLL = "epoll"
    POLL = "poll"
    SELECT = "select"
    ASYNCIO = "asyncio"


class TLSVersion(enum.StrEnum):
    """The oldest TLS version that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"
