"""What a protocol offers to the rest of netecho, and what its client side is given.

`serve` calls `Adapter.listen`, which makes a `Listener`: the server side is in `_listener`. `client` and
`bench` measure through `Adapter.connect`, which makes an `Exchanger`; `client` at a terminal or in a pipe
talks through `Adapter.converse`, which connects any Twisted protocol. Nothing else of a protocol is visible
above this package.
"""

from __future__ import annotations

import dataclasses
import enum
import socket
import typing
from collections.abc import Callable
from typing import Any

from netecho.impairment import Harm
from netecho.plans import (
    MailPlan,
    MultiplexPlan,
    ProxyPlan,
    ReplyMode,
    RequestPlan,
    SocketOptions,
    Target,
)
from netecho.protocols._listener import Listener, ListenSettings, Opened

if typing.TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import Protocol
    from twisted.python.failure import Failure

    from netecho.measure.oneway import Reflection


class Kind(enum.Enum):
    """What a protocol carries."""

    STREAM = "stream"
    """Bytes in order; where a message ends is known by its length alone."""
    DATAGRAM = "datagram"
    """Messages that may be lost, doubled or overtaken."""
    MESSAGE = "message"
    """Messages, each answered in order."""


class Receipt(enum.Enum):
    """What an answer says of a message that does not come back itself."""

    MATCHES = "matches"
    """It was received as it was sent: its size and digest are the same."""
    DIFFERS = "differs"
    """It was not."""
    UNTOLD = "untold"
    """It was received, and the answer does not say how."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the other end says of an exchange beside its echo, on protocols whose answers have a status."""

    status: str
    """The protocol's own code: `200`."""
    refused: bool = False
    """The exchange is refused: what comes with the answer is no echo."""
    redirects: bool = False
    """The answer is to be had elsewhere: what comes with this one is no echo, unless it is by chance."""
    receipt: Receipt | None = None
    """What stands for the echo, on a protocol that `has_receipts`."""


class OnReply(typing.Protocol):
    """Called once per echo."""

    def __call__(
        self,
        sequence: int | None,
        payload: bytes,
        reflection: Reflection | None = None,
        answer: Answer | None = None,
        /,
    ) -> None:
        """Take an echo.

        Args:
            sequence: the exchange that it answers. On a protocol that is not `numbered` it is always `None`,
                and the payload itself says which exchange is meant; on one that is, `None` is for an echo
                that answers no exchange.
            payload: as it came back; where a receipt stands for it, the text of the receipt.
            reflection: the times of the exchange, if the other end is a reflector and told them.
            answer: what the other end says of the exchange, on protocols whose answers have a status.
        """


OnLost = Callable[["Failure"], None]
"""Called once, with the reason, when a connection ends otherwise than by `Exchanger.close`."""


class Exchanger(typing.Protocol):
    """One connection, seen by the load side."""

    @property
    def transport(self) -> Any:
        """The Twisted transport beneath, for showing what was negotiated."""

    def send(self, sequence: int, payload: bytes) -> None:
        """Send one message. Its echo comes to `OnReply` with the same sequence number."""

    def close(self) -> Deferred[None] | None:
        """End the connection. Neither `OnReply` nor `OnLost` is called after this.

        Returns what fires when the other end has answered a farewell that its protocol would have it answer,
        or a short time has passed: the process should not end before that. `None`: there is nothing to wait
        for.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """How to reach a target: what was resolved and decided before connecting."""

    target: Target
    addresses: tuple[str, ...] = ()
    """The host's IP addresses in the order of preference; empty for a path."""
    sockets: SocketOptions = dataclasses.field(default_factory=SocketOptions)
    tls: Any = None
    """An `IOpenSSLClientConnectionCreator` for each connection, of DTLS on a protocol of datagrams; `None` in
    clear. It also provides `netecho.protocols._security.ClientSecurity`."""
    timeout: float = 5.0
    """Seconds for a connection to be made, its TLS handshake included."""
    key: bytes | None = dataclasses.field(default=None, repr=False)
    """The key with which a reflector authenticates its packets, and we ours; `None`: neither does."""
    resolve_ns: int | None = None
    """How long it took to resolve the host; `None` if it was an address already."""
    request: RequestPlan = dataclasses.field(default_factory=RequestPlan, repr=False)
    """How messages are carried, on a protocol that `has_requests`; how connections begin, on one that
    `begins_with_request`."""
    mail: MailPlan = dataclasses.field(default_factory=MailPlan, repr=False)
    """The envelope of messages, on a protocol that `has_envelopes`."""
    proxy: ProxyPlan | None = None
    """The PROXY header that each connection begins with, if its socket is of streams; `None`: none."""
    starttls: bool = False
    """Connections begin in clear, and `tls` is for what follows, on a protocol that `upgrades`."""
    multiplex: MultiplexPlan = dataclasses.field(default_factory=MultiplexPlan)
    """How streams are used, on a protocol that `multiplexes`."""
    on_reopened: Callable[[], object] | None = None
    """Called when an exchanger or a conversation has put a new connection in the place of its own, which had
    fallen silent, where a protocol can tell no other end of it. `None`: it is not to."""
    keep_alive: bool = False
    """Whether the system is to probe a connection over TCP that is silent: for those who wait without end."""


class Adapter(typing.Protocol):
    """A protocol: its names and abilities, how it listens, how it connects."""

    name: str
    """The `--proto` word, and the URL scheme in clear; the file's name."""
    kind: Kind
    default_port: int | None
    """`None` for protocols that have a path in place of a host and port."""
    secure_scheme: str | None
    """The URL scheme of its secure form; `None` if it has none, and its `name` if it has no other."""

    @property
    def secured(self) -> Adapter | None:
        """The adapter of its secure form, if that is another one; `None`: this one serves both."""

    minimum_size: int
    maximum_size: int | None
    """The smallest and largest payload that it can carry, in bytes; `None`: any."""
    default_size: int
    """Bytes in a payload unless the user says otherwise."""
    numbered: bool
    """Whether the protocol itself tells which exchange an echo answers; else the payload has to."""
    reflects: bool
    """Whether the server is a reflector (RFC 8762), which takes `ListenSettings.key` and `stateful`."""
    has_requests: bool
    """Whether messages are carried in HTTP requests: it takes `Route.request`."""
    begins_with_request: bool
    """Whether connections begin with an HTTP request, in which there may be fields of the user's."""
    has_envelopes: bool
    """Whether messages are carried in mails: it takes `Route.mail`."""
    bounds_messages: bool
    """Whether its server limits the size of messages: it takes `ListenSettings.max_message`."""
    has_resources: bool
    """Whether a target may have a resource: the path and query of a URL."""
    alpn: tuple[str, ...]
    """What its server chooses from in a TLS handshake (RFC 7301), best first, unless the user names
    something."""
    replies: frozenset[ReplyMode]
    """The reply modes that its server has."""
    harms: frozenset[Harm]
    """What its server can do to answers on purpose, in its default reply mode."""
    has_receipts: bool
    """Whether a receipt stands for the echo: see `Answer.receipt`."""
    is_text: bool
    """Whether payloads should be lines of text; others have to be encoded, which takes longer."""
    upgrades: bool
    """Whether a connection in clear can turn to TLS: `Route.starttls` and `ListenSettings.upgrade`."""
    socket_kind: socket.SocketKind
    """`SOCK_STREAM` or `SOCK_DGRAM`: what its sockets are, whatever it carries. Stream connections can begin
    with the header of HAProxy's PROXY protocol: `Route.proxy` and `ListenSettings.proxied`."""
    multiplexes: bool
    """Whether a connection can carry many exchanges at once, each on a stream of its own: it takes
    `MultiplexPlan.streams`."""
    has_qlog: bool
    """Whether it can write qlogs: it takes `MultiplexPlan.qlog` and `ListenSettings.qlog`."""
    retries: bool
    """Whether its server can have peers prove their addresses first: it takes `ListenSettings.retry`."""
    keeps_peers: bool
    """Whether its server keeps what it must know of a peer for the peer's next datagram."""

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return which of `harms` can happen to what its server sends in a reply mode."""

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return how many bytes the protocol adds to a message.

        Args:
            size: its payload in bytes.
            authenticated: whether both ends have a key.
        """

    async def listen(self, reactor: Any, target: Target, settings: ListenSettings) -> Listener:
        """Open a listener on an address (not a name) and port, or a path.

        Raises:
            ListenError: the system does not allow it.
        """

    def open(self, target: Target, count: int) -> Opened:
        """Open the sockets of `count` processes that all listen on an address and port, or a path.

        Raises:
            ListenError: the system does not allow it.
        """

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Open a connection for exchanges; fires when the first can be sent.

        `on_connected` is called at each step beneath the protocol: when the transport is connected, before
        any handshake, but not where it is the handshake that connects, or nothing does; and when TLS over it
        is established, before the protocol says anything in it. If TLS begins later (STARTTLS), it is called
        when it begins too. Fails with Twisted's own connect errors, its `TimeoutError` after the route's
        timeout, or the TLS failure.
        """

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect a Twisted protocol whose `dataReceived` gets what the other end sends.

        A stream arrives in any pieces; of other kinds each call is one message. Its transport takes
        `write` in the same way, and `loseWriteConnection`, which says that no more will be sent.
        `on_connected`, and how it fails, are as of `connect`.
        """

    def visit(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect a Twisted protocol by the transport and its handshake alone: nothing is said beyond.

        Its connection is lost when the other end's last word has been heard: a refusal that TLS 1.3 has come
        after our end of the handshake is the reason. `on_connected`, and how it fails, are as of `connect`.
        """
