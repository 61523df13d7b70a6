"""TLS for protocols whose handshake is not OpenSSL's (QUIC): what they are given, and what they tell.

`Route.tls` and `ListenSettings.tls` make OpenSSL's side of a connection, for protocols that use OpenSSL. They
also provide what is here, which says the same in plain values.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from cryptography import x509


class Identity(typing.Protocol):
    """What one end proves itself with: a private key, and the certificates from its own to an authority."""

    @property
    def key(self) -> Any:
        """The private key, as `cryptography` has them."""

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """One's own certificate first."""


class Security(typing.Protocol):
    """How one end of connections speaks TLS."""

    @property
    def identity(self) -> Identity | None:
        """What is shown to the other end; a client may have nothing to show."""

    @property
    def alpn(self) -> Sequence[str]:
        """What is offered, or chosen from (RFC 7301), best first; empty: what the protocol itself has."""

    @property
    def verifies(self) -> bool:
        """Whether the other end must show a certificate."""

    def verify(self, chain: Sequence[x509.Certificate]) -> str | None:
        """Check the certificates that the other end has shown, its own first.

        Returns:
            Why they do not verify, where that is allowed; `None` if they do.

        Raises:
            Exception: they do not verify, and there must be no connection; `Adapter.connect` fails with it.
        """

    def log_secret(self, line: bytes) -> None:
        """Take a line of the NSS key log format, without its end, for the key log if there is one."""


class ClientSecurity(Security, typing.Protocol):
    """How a client speaks TLS."""

    @property
    def server_name(self) -> bytes | None:
        """The name for SNI; `None` if none is sent."""

    @property
    def resumes(self) -> bool:
        """Whether a connection resumes the session of the one before it, which is then in `session`."""

    session: Any
    """The last connection's session, in the protocol's own form; `None` at first."""


@dataclasses.dataclass(frozen=True, slots=True)
class TLSParameters:
    """What the two ends of a connection agreed upon, in whatever TLS they speak."""

    version: str
    """`TLSv1.3`; where there is a protocol around it, with that: `QUICv1 with TLSv1.3`."""
    cipher: str
    bits: int
    """The cipher's secret bits."""
    group: str | None = None
    """The key exchange group."""
    alpn: str | None = None
    server_name: str | None = None
    """As the client sent it (SNI)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement(TLSParameters):
    """What came of a handshake that is not OpenSSL's; a transport has it as its `agreement`."""

    chain: Sequence[x509.Certificate] = ()
    """What the other end has shown."""
    verified: bool = False
    """Whether the other end's certificate was checked, and verifies."""
    problem: str | None = None
    """Why it does not verify."""
    resumed: bool = False
    """Whether the session was resumed from an earlier connection."""
