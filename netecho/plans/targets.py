"""Where to listen, and what to connect to: URLs and their parts."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import urllib.parse

from netecho.errors import UsageError

DEFAULT_PORT = 8000
LOOPBACK = "127.0.0.1"
_AUTHORITY = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::([0-9]{0,9}))?")
"""Host and port of RFC 3986 section 3.2, which `urllib.parse` reads too leniently (`[::1]80`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """The parts of a listener's or target's URL, whether or not there is such a protocol.

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

        An IPv6 address with a port stands in brackets, as in RFC 3986 section 3.2.2. The `%` before its zone
        may be written `%25`, as in RFC 6874.

        Raises:
            UsageError: the text is none of these, or its port is not a number up to 65535.
        """
        if not text or not text.isprintable():
            raise UsageError(f"{text!r} is not a URL or host")
        if text.startswith(("/", "./", "../")) and not text.startswith("//"):
            return cls(path=text)
        if text.startswith(("@", "unix:@")):
            raise UsageError(f"{text!r} is an abstract name, which is not supported: write unix:/path")
        head, _, rest = text.partition(":")
        if head and rest.startswith("///"):
            return cls(scheme=head.lower(), path=rest[2:])
        if head and rest.startswith(("/", "./", "../")) and not rest.startswith("//"):
            return cls(scheme=head.lower(), path=rest)
        if any(character.isspace() for character in text):
            raise UsageError(f"{text!r} is not a URL or host")
        if not text.startswith("//") and not rest.startswith("//"):
            text = f"//[{text}]" if is_ipv6(text) else f"//{text}"
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
        if host is not None and ":" in host:
            host = re.sub("%25(?=.)", "%", host, count=1)  # `%25` alone is the interface of that number
        return cls(parts.scheme or None, host or None, port, parts.path or None, parts.query or None)


def is_ipv6(text: str) -> bool:
    """Return whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_ipv4(text: str) -> bool:
    """Return whether a text is an IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where to listen, or what to connect to: a location whose protocol is known.

    `scheme` is the URL's (`tls`), `protocol` the name of the adapter that speaks it (`tcp`), and `secure`
    whether it is the protocol's secure form. A target has a `host` and `port`, or a `path` in the file
    system. As a listener's address, port 0 takes a free one.
    """

    scheme: str = "tcp"
    protocol: str = "tcp"
    secure: bool = False
    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    path: str | None = None
    resource: str = ""
    """Path and query of the URL, on protocols that have them."""
    upgrades: bool = False
    """Whether, on its protocol, a connection in clear can turn to TLS (STARTTLS)."""
    is_dtls: bool = False
    """Whether it speaks DTLS (RFC 6347)."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is not between 0 and 65535")

    def room(self, mtu: int) -> int:
        """Return how many bytes of payload are certain to fit into a packet of `mtu` bytes in DTLS.

        The headers of IP and UDP take 28 bytes, or 48 if the host is an IPv6 address, or a name, which may
        stand for one. DTLS adds 37 with the cipher that adds most.
        """
        return mtu - (28 if is_ipv4(self.host) else 48) - 37

    @property
    def authority(self) -> str:
        """Host and port as a URL has them that goes to the other end (RFC 3986 section 3.2).

        An IPv6 address stands in brackets, and without its zone, which has a meaning on this machine alone
        (RFC 6874 section 4).
        """
        return self._authority(self.host.partition("%")[0])

    def _authority(self, host: str) -> str:
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def remote_url(self) -> str:
        """The URL as it goes to the other end."""
        return f"{self.scheme}://{self.authority}{self.resource}"

    def __str__(self) -> str:
        """Return the URL, as `Location.parse` takes it."""
        if self.path is not None:
            return f"{self.scheme}:{self.path}"
        host = self.host.replace("%25", "%2525", 1)  # else the zone 251 would be read as 1
        return f"{self.scheme}://{self._authority(host)}{self.resource}"
