"""The server side of a protocol: how a listener answers, what can be done with it, and what it counts."""

from __future__ import annotations

import dataclasses
import socket
import typing
from collections.abc import Callable
from typing import Any

from netecho.impairment import Impairment
from netecho.plans import ReplyMode, Target

if typing.TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@dataclasses.dataclass(slots=True)
class Totals:
    """What a server has done so far, over all its listeners. Sizes are bytes of payload."""

    connections: int = 0
    """Connections accepted and served, including those that have ended."""
    open: int = 0
    """Connections that are served now, or whose PROXY header is waited for."""
    refused: int = 0
    """Connections closed at once, as there were too many."""
    rejected: int = 0
    """Connections closed before they were served, as they lacked the PROXY header that is demanded."""
    cut: int = 0
    """Connections ended by the server before their peer had all of its echo: too slow, idle, or a forced
    stop."""
    bytes_received: int = 0
    bytes_sent: int = 0
    datagrams_received: int = 0
    datagrams_sent: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    """Datagrams that were given no answer, by the reason."""
    impaired: dict[str, int] = dataclasses.field(default_factory=dict)
    """Answers that were impaired on purpose, by what was done: `lost`, `delayed`. In the counts above each is
    sent, once, whatever became of it."""

    def impair(self, harm: str) -> None:
        """Count an answer that was impaired in this way."""
        self.impaired[harm] = self.impaired.get(harm, 0) + 1

    def add(self, other: Totals) -> None:
        """Count all that `other` has counted."""
        for field in dataclasses.fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, dict):
                for reason, number in others.items():
                    mine[reason] = mine.get(reason, 0) + number
            else:
                setattr(self, field.name, mine + others)


OnEvent = Callable[[str, dict[str, Any]], None]
"""Called with the name of what happened at a server (`connected`, `disconnected`, `refused`, `rejected`,
`cut`, `dropped`) and its particulars, ready for JSON: times in nanoseconds, sizes in bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class ListenSettings:
    """How a listener answers. All listeners of one server share one `totals`."""

    totals: Totals
    reply: ReplyMode = ReplyMode.ECHO
    max_connections: int | None = None
    """Over all that share `totals`."""
    idle_timeout: float | None = None
    """Seconds without a byte received or sent after which a connection is closed."""
    tls: Any = None
    """An `IOpenSSLServerConnectionCreator` for each connection, of DTLS on a protocol of datagrams; `None` in
    clear. It also provides `netecho.protocols._security.Security`."""
    upgrade: Any = None
    """Like `tls`, for connections in clear that turn to TLS, on a protocol that `upgrades`; `None`: none
    may."""
    on_event: OnEvent | None = None
    udp_ports: set[int] = dataclasses.field(default_factory=set)
    """The server's own UDP ports: a datagram that claims to come from one would be answered for ever."""
    descriptor: int | None = None
    """A socket that is open already, one of those that the parent process got from `Adapter.open`. The
    listener takes it over. `None`: the listener opens its own."""
    mtu: int | None = None
    """Bytes in the largest packet of DTLS; `None`: 1,280 in handshakes, and any number afterwards."""
    key: bytes | None = dataclasses.field(default=None, repr=False)
    """The key with which a reflector authenticates packets; `None`: it does not."""
    stateful: bool = False
    """Whether a reflector counts its answers for each peer."""
    max_message: int | None = None
    """Bytes in the largest message that is taken, on a protocol that `bounds_messages`; `None`: its own
    limit."""
    impairment: Impairment | None = None
    """What is done to answers on purpose; `None`: nothing. Datagrams go through an `ImpairedPort` beneath the
    protocol, streams through an `ImpairedTransport` beneath each connection; see `Adapter.harms`."""
    proxied: bool = False
    """Whether each connection begins with a PROXY header, if the sockets are of streams."""
    qlog: str | None = None
    """The directory for a qlog of each connection, on a protocol that `has_qlog`; `None`: none is written."""
    retry: bool = False
    """Whether peers must always prove that their addresses are theirs before anything is kept of them, on a
    protocol that `retries`; else they must only when there are many."""
    alt_svc: int | None = None
    """The port at which clients are told that there is HTTP/3, by a secure listener that `has_requests`;
    `None`: they are not told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """The sockets that listen on a target, one for each process."""

    target: Target
    """With the port that the sockets really have."""
    sockets: tuple[socket.socket, ...]
    """One for each process; they may all be the same one."""

    def close(self) -> None:
        """Close them in this process. A process that has inherited one goes on."""
        for one in self.sockets:
            one.close()


class Listener(typing.Protocol):
    """An open listener."""

    @property
    def target(self) -> Target:
        """The address it really has: the port that the system chose, the address a name stands for."""

    def drain(self) -> Deferred[None]:
        """Take no new peers, answer all that was received, and end every connection in order.

        Fires when all have ended. The caller limits how long a slow peer may take, with `abort`.
        """

    def abort(self) -> None:
        """End every connection at once, answered or not. A `drain` under way then fires."""

    def under_way(self) -> Totals:
        """Return what open connections have moved so far and bring into the totals only when they end."""
