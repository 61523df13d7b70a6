"""What is asked of sockets and of TLS, and what a result says of that."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from netecho.errors import UsageError
from netecho.plans.messages import RequestPlan
from netecho.plans.targets import Target
from netecho.plans.words import Family, TLSVersion


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
    keylog: str | None = None
    """Append the sessions' secrets to this file."""

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise UsageError("--key needs --cert: a key alone does not say who the server is")
        if self.ciphers is not None and self.minimum is TLSVersion.TLS_1_3:
            raise UsageError("--ciphers are of TLS 1.2, which --tls-min 1.3 does not speak: leave one out")


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
        if self.server_name == "":
            raise UsageError("--sni '' is no name")


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
        check_mtu(self.mtu)
        if self.source is not None:
            bare, zone, _ = self.source.partition("%")
            try:
                address = ipaddress.ip_address(bare)
            except ValueError:
                raise UsageError(f"--source {self.source!r} is not an IP address") from None
            if self.family is not Family.ANY and self.family != f"ipv{address.version}":
                raise UsageError(f"--source {self.source} is not an IPv{self.family[-1]} address")
            if address.version == 6 and address.is_link_local and not zone:
                raise UsageError(f"--source {bare} goes with an interface of this machine, as in {bare}%eth0")


def check_mtu(mtu: int | None) -> None:
    """Raise `UsageError` if DTLS cannot keep to packets of `mtu` bytes."""
    # OpenSSL divides a handshake into no datagrams below 256 bytes, which in IPv6 are packets of 304.
    if mtu is not None and not 304 <= mtu <= 65_535:
        raise UsageError(f"--mtu {mtu} is not between 304 and 65535")


def check_sockets(sockets: SocketOptions, target: Target) -> None:
    """Raise `UsageError` if something is asked of IP, and the target has a path in place of an address."""
    if target.path is None:
        return
    family = "-4/--ipv4" if sockets.family is Family.IPV4 else "-6/--ipv6"
    given = {
        family: sockets.family is not Family.ANY,
        "--source": sockets.source is not None,
        "--dscp": sockets.dscp is not None,
        "--ttl": sockets.ttl is not None,
    }
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(f"{flag} is of IP, which {target.scheme} is without: leave it out")


def check_fit(mtu: int | None, target: Target, size: int = 0) -> None:
    """Raise `UsageError` if a message of `size` bytes does not fit into `mtu`, or the target is no DTLS."""
    if mtu is None:
        return
    if not target.is_dtls:
        raise UsageError(f"--mtu is of DTLS, which {target} does not speak: add --proto udp --tls")
    if size > target.room(mtu):
        raise UsageError(f"a message of {size} bytes does not fit into --mtu {mtu}: {target.room(mtu)} do")


def check_alpn(tls: ClientTLS, request: RequestPlan | None) -> None:
    """Raise `UsageError` if another version of HTTP is offered in the handshake than is then spoken."""
    if request is None or request.upgrades or not tls.alpn:
        return
    if request.http2 and "h2" not in tls.alpn:
        raise UsageError(
            f"--http2 and --alpn {','.join(tls.alpn)} exclude each other: HTTP/2 is offered as h2"
        )
    if not request.http2 and "h2" in tls.alpn:
        raise UsageError("--alpn h2 offers HTTP/2, which is not spoken unless asked for: add --http2")


def check_tls(tls: ClientTLS, target: Target, request: RequestPlan | None = None) -> None:
    """Raise `UsageError` if something is asked of TLS that a target does not speak, or not in that way."""
    if tls.starttls:
        if not target.upgrades:
            raise UsageError("--starttls is for protocols that begin in clear: add --proto smtp")
        if target.secure:
            raise UsageError("--starttls and --tls exclude each other: TLS comes later or is there at once")
        return
    # A key log may have been asked for by SSLKEYLOGFILE, which is for every program that speaks TLS.
    if not target.secure and dataclasses.replace(tls, keylog=None) != ClientTLS():
        raise UsageError(f"flags for TLS are given, but {target} does not speak it: add --tls")
    check_alpn(tls, request)


def network_json(sockets: SocketOptions, tls: ClientTLS | None) -> dict[str, Any]:
    """Return what a result says of sockets and TLS: nothing of keys, not even the names of their files."""
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
