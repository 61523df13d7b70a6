"""What `serve` runs."""

from __future__ import annotations

import dataclasses

from netecho.errors import UsageError
from netecho.impairment import Impairment
from netecho.plans.checks import above_zero, at_least
from netecho.plans.load import share
from netecho.plans.network import ServerTLS, check_mtu
from netecho.plans.targets import Target
from netecho.plans.words import SECOND, ReplyMode, TLSVersion


@dataclasses.dataclass(frozen=True, slots=True)
class ListenPlan:
    """What `serve` runs: listeners, and how they answer."""

    listeners: tuple[Target, ...]
    reply: ReplyMode = ReplyMode.ECHO
    tls: ServerTLS = ServerTLS()
    max_connections: int | None = None
    """Connections over all listeners; any more are closed at once. Each worker has its share of them."""
    idle_timeout_ns: int | None = None
    drain_timeout_ns: int = 10 * SECOND
    workers: int = 1
    """Processes, over which the system spreads connections, and datagrams by where they come from."""
    hmac_key: str | None = None
    """A file with the key by which reflectors authenticate packets; `None`: they do not."""
    stateful: bool = False
    """Reflectors count their answers for each peer (RFC 8762 section 4)."""
    mtu: int | None = None
    """Bytes in the largest packet of DTLS."""
    max_message: int | None = None
    """Bytes in the largest message that is taken, on protocols that have such a limit; `None`: their own."""
    impairment: Impairment = dataclasses.field(default_factory=Impairment)
    """What is done to answers on purpose."""
    proxied: bool = False
    """Connections begin with a PROXY header, which says where they come from."""
    qlog: str | None = None
    """The directory for a qlog of each connection; `None`: none is written."""
    quic_retry: bool = False
    """Peers of QUIC always prove that their addresses are theirs before anything is kept of them."""
    alt_svc: int | None = None
    """The port at which clients of https are told that there is HTTP/3 (RFC 7838); `None`: they are not
    told."""

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
        at_least(1, "--max-connections", self.max_connections)
        at_least(1, "--max-message", self.max_message)
        above_zero("--idle-timeout", self.idle_timeout_ns)
        at_least(1, "--workers", self.workers)
        at_least(1, "--alt-svc", self.alt_svc)
        if self.max_connections is not None and self.max_connections < self.workers:
            raise UsageError("--max-connections is shared out: it must be at least as many as --workers")
        if self.workers > 1 and self.reply is ReplyMode.BROADCAST:
            raise UsageError(
                "--reply broadcast is for one process, which knows all its peers: leave out --workers"
            )
        if self.tls != ServerTLS() and not self.tls_hosts:
            raise UsageError("flags for TLS are given, but no listener speaks it: add --tls")
        if self.alt_svc is not None and not any(one.scheme == "https" for one in self.listeners):
            raise UsageError("--alt-svc is for what https answers, which no listener speaks: add https://")
        self._check_dtls()

    def _check_dtls(self) -> None:
        check_mtu(self.mtu)
        speaks = any(one.is_dtls for one in self.listeners)
        if self.mtu is not None and not speaks:
            raise UsageError("--mtu is of DTLS, which no listener speaks: add --proto udp --tls")
        if self.tls.minimum is TLSVersion.TLS_1_3 and speaks:
            raise UsageError("--tls-min 1.3 is newer than all DTLS that there is here, which is 1.2")

    @property
    def tls_hosts(self) -> frozenset[str]:
        """The hosts where TLS is spoken: of secure listeners, and of those that can turn to TLS.

        The latter count only if there is a certificate, or a secure listener for which one is made.
        """
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
