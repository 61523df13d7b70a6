"""TLS of protocols that shake hands by themselves, without OpenSSL: what they are given, and what they tell.

`Route.tls` and `ListenSettings.tls` make OpenSSL's side of a connection for those that leave it to that. They
also have what is here, which says the same in plain values.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from cryptography import x509


class Identity(typing.Protocol):
    """Who one is: a private key, and the certificates that lead from one's own to an authority."""

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
        """What is offered, or chosen from (RFC 7301), best first; empty: what the protocol has itself."""

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
    """That of a client."""

    @property
    def server_name(self) -> bytes | None:
        """For SNI; `None` if none is sent."""

    @property
    def resumes(self) -> bool:
        """Whether a connection resumes the session of the one before it, which `session` is for."""

    session: Any
    """What the last connection left, in the protocol's own form; `None` at first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """What the two ends of a connection agreed upon; a transport has it as its `agreement`."""

    version: str
    """Of TLS, and of what is around it."""
    cipher: str
    bits: int
    """The cipher's secret bits."""
    group: str | None = None
    """The key exchange group."""
    alpn: str | None = None
    server_name: str | None = None
    """As the client sent it (SNI)."""
    chain: Sequence[x509.Certificate] = ()
    """What the other end has shown."""
    verified: bool = False
    """The other end's certificate was looked at, and verifies."""
    problem: str | None = None
    """Why it does not verify."""
    resumed: bool = False
    """The session is one of a connection before."""
