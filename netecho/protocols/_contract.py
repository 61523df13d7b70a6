"""What a protocol offers to the rest of netecho, and what it is given.

`serve` calls `Adapter.listen`; `client` and `bench` measure through `Adapter.connect`, which makes
an `Exchanger`; `client` at a terminal or in a pipe talks through `Adapter.converse`, which connects
any Twisted protocol. Nothing else of a protocol is visible above this package.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Callable
from typing import Any

from netecho.impairment import Harm, Impairment
from netecho.plans import (
    MailPlan,
    MultiplexPlan,
    ProxyPlan,
    ReplyMode,
    RequestPlan,
    SocketOptions,
    Target,
)

if typing.TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import Protocol
    from twisted.python.failure import Failure

    from netecho.measure.oneway import Reflection
    from netecho.protocols._inherited import Opened


class Kind(enum.Enum):
    """What a protocol carries."""

    STREAM = "stream"
    """Bytes in order; where a message ends is known by its length alone."""
    DATAGRAM = "datagram"
    """Messages that may be lost, doubled or overtaken."""
    MESSAGE = "message"
    """Messages, each answered in order."""


class Receipt(enum.Enum):
    """What an answer tells of a message that does not come back itself."""

    MATCHES = "matches"
    """It was received as it was sent: its size and digest are the same."""
    DIFFERS = "differs"
    """It was not."""
    UNTOLD = "untold"
    """It was received, and the answer does not tell how."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the other end says of an exchange beside its echo, on protocols that have such a word."""

    status: str
    """In the protocol's own code: `200`."""
    refused: bool = False
    """It says that there is no echo: what comes with it is none."""
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
            sequence: the exchange that it answers. `None` on a protocol that is not `numbered`: which
                exchange is meant is for the payload itself to say; on one that is: it answers none.
            payload: as it came back; where a receipt stands for it, the words that it was given in.
            reflection: the times of the exchange, where the other end is a reflector and told them.
            answer: what the other end says of the exchange, where it has a word for it.
        """


OnLost = Callable[["Failure"], None]
"""Called once when a connection ends that `Exchanger.close` did not end, with the reason."""


class Exchanger(typing.Protocol):
    """One connection, seen by the load side."""

    @property
    def transport(self) -> Any:
        """The Twisted transport beneath, for showing what was negotiated."""

    def send(self, sequence: int, payload: bytes) -> None:
        """Send one message. Its echo comes to `OnReply` with the same sequence number."""

    def close(self) -> None:
        """End the connection at once. Neither `OnReply` nor `OnLost` is called after this."""


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """How to reach a target: what was resolved and decided before connecting."""

    target: Target
    addresses: tuple[str, ...] = ()
    """The host's IP addresses in the order of preference; empty for a path."""
    sockets: SocketOptions = dataclasses.field(default_factory=SocketOptions)
    tls: Any = None
    """An `IOpenSSLClientConnectionCreator`, for the TLS side of each connection; `None` in clear. On a
    protocol of datagrams it makes DTLS's. It is a `netecho.protocols._security.ClientSecurity` too."""
    timeout: float = 5.0
    """Seconds for a connection to be made, its TLS handshake included."""
    key: bytes | None = dataclasses.field(default=None, repr=False)
    """With which a reflector authenticates its packets, and we ours; `None`: neither does."""
    resolve_ns: int | None = None
    """How long it took to resolve the host; `None` if it was an address already."""
    request: RequestPlan = dataclasses.field(default_factory=RequestPlan, repr=False)
    """How messages travel, on a protocol that `has_requests`; how connections begin, on one that
    `begins_with_request`."""
    mail: MailPlan = dataclasses.field(default_factory=MailPlan, repr=False)
    """From whom messages are, and for whom, on a protocol that `has_envelopes`."""
    proxy: ProxyPlan | None = None
    """What each connection says first of where it comes from, on a protocol that `takes_proxy`."""
    starttls: bool = False
    """Connections begin in clear, and `tls` is for what follows, on a protocol that `upgrades`."""
    multiplex: MultiplexPlan = dataclasses.field(default_factory=MultiplexPlan)
    """How streams are used, on a protocol that `multiplexes`."""


@dataclasses.dataclass(slots=True)
class Totals:
    """What a server has done so far, over all its listeners. Sizes are bytes of payload."""

    connections: int = 0
    """Accepted and served, those that have ended included."""
    open: int = 0
    """Being served now, or waited for to say whose they are."""
    refused: int = 0
    """Closed at once, as there were too many."""
    rejected: int = 0
    """Closed before they were served, as they did not begin with the PROXY header that is demanded."""
    cut: int = 0
    """Ended by the server before their peer had all of its echo: too slow, idle, or a forced stop."""
    bytes_received: int = 0
    bytes_sent: int = 0
    datagrams_received: int = 0
    datagrams_sent: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    """Datagrams that were given no answer, by the reason."""
    impaired: dict[str, int] = dataclasses.field(default_factory=dict)
    """Answers to which something was done on purpose, by what it was: `lost`, `delayed`. Above they count
    as sent, each once, whatever became of it."""

    def impair(self, harm: str) -> None:
        """Count an answer to which this was done on purpose."""
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
    """An `IOpenSSLServerConnectionCreator`, for the TLS side of each connection; `None` in clear. On a
    protocol of datagrams it makes DTLS's. It is a `netecho.protocols._security.Security` too."""
    upgrade: Any = None
    """Another, for connections in clear that ask for TLS, on a protocol that `upgrades`; `None`: none may."""
    on_event: OnEvent | None = None
    udp_ports: set[int] = dataclasses.field(default_factory=set)
    """The server's own ports: a datagram that says it comes from one would be answered for ever."""
    descriptor: int | None = None
    """A socket that is open already, one of those that the parent process got from `Adapter.open`; it is
    the listener's. `None`: the listener opens its own."""
    mtu: int | None = None
    """Bytes in the largest packet of DTLS; `None`: a careful size in handshakes, then any."""
    key: bytes | None = dataclasses.field(default=None, repr=False)
    """With which a reflector authenticates packets; `None`: it does not."""
    stateful: bool = False
    """Whether a reflector counts its answers for each peer."""
    max_message: int | None = None
    """Bytes of a message that is taken, on a protocol that `bounds_messages`; `None`: its own limit."""
    impairment: Impairment | None = None
    """What is done to answers on purpose; `None`: nothing. A listener has an `ImpairedPort` beneath its
    protocol of datagrams, or an `ImpairedTransport` beneath each on connections: see `Adapter.harms`."""
    proxied: bool = False
    """Whether each connection begins with a PROXY header, on a protocol that `takes_proxy`."""
    qlog: str | None = None
    """The directory in which a protocol that `has_qlog` writes down what its connections do."""
    retry: bool = False
    """Whether peers must prove that their addresses are theirs before anything is kept of them, on a protocol
    that `retries`; else they must when there are many."""
    alt_svc: int | None = None
    """The port at which clients of a secure listener that `has_requests` are told there is HTTP/3."""


class Listener(typing.Protocol):
    """An open listener."""

    @property
    def target(self) -> Target:
        """The address it really has: the port that the system chose, the address a name stands for."""

    def drain(self) -> Deferred[None]:
        """Take no new peers, answer all that was received, and end every connection in order.

        Fires when all have ended; how long a slow peer may take is the caller's to limit.
        """

    def abort(self) -> None:
        """End every connection at once, answered or not. A `drain` under way then fires."""


class Adapter(typing.Protocol):
    """A protocol: its words, how it listens, how it connects."""

    name: str
    """The `--proto` word, and the URL scheme in clear; the file's name."""
    kind: Kind
    default_port: int | None
    """`None` for protocols that have a path in place of a host and port."""
    secure_scheme: str | None
    """The URL scheme of its secure form; `None` if it has none, and its `name` if it has no other."""

    @property
    def secured(self) -> Adapter | None:
        """The adapter of its secure form, where that carries something else; `None`: this one is."""

    minimum_size: int
    maximum_size: int | None
    """The payloads it can carry, in bytes."""
    default_size: int
    """Bytes in a payload unless the user says otherwise."""
    framed: bool
    """Whether payloads travel in messages of the protocol's own form, so that only who knows it gets an echo;
    else whatever bytes are sent come back."""
    numbered: bool
    """Whether it is known without looking at the payload which exchange an echo answers."""
    reflects: bool
    """Whether the server is a reflector (RFC 8762), which takes `ListenSettings.key` and `stateful`."""
    has_requests: bool
    """Whether messages travel in HTTP requests: it takes `Route.request`."""
    begins_with_request: bool
    """Whether connections begin with one, in which there may be fields of the user's."""
    has_envelopes: bool
    """Whether messages travel in mails: it takes `Route.mail`."""
    bounds_messages: bool
    """Whether its server takes messages up to a size: `ListenSettings.max_message`."""
    has_resources: bool
    """Whether a target may have a resource: the path and query of a URL."""
    alpn: tuple[str, ...]
    """What its server chooses from in a TLS handshake (RFC 7301), best first, unless the user says."""
    replies: frozenset[ReplyMode]
    """What its server can answer."""
    harms: frozenset[Harm]
    """What its server can do to answers on purpose."""
    has_receipts: bool
    """Whether a receipt stands for the echo: see `Answer.receipt`."""
    is_text: bool
    """Whether payloads should be lines of text; others travel in another form, and take longer."""
    upgrades: bool
    """Whether a connection in clear can turn to TLS: `Route.starttls` and `ListenSettings.upgrade`."""
    takes_proxy: bool
    """Whether it has stream connections, which can begin with the header of HAProxy's PROXY protocol:
    `Route.proxy` and `ListenSettings.proxied`."""

    multiplexes: bool
    """Whether a connection can carry many exchanges at once, each on a stream of its own: it takes
    `MultiplexPlan.streams`."""
    has_qlog: bool
    """Whether it can write down what connections do: it takes `MultiplexPlan.qlog`, `ListenSettings.qlog`."""

    retries: bool
    """Whether its server can have peers prove their addresses first: it takes `ListenSettings.retry`."""

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
        any handshake, but not where it is the handshake that connects; and when TLS over it is established,
        before the protocol says anything in it. If TLS begins later (STARTTLS), it is called when it begins
        too. Fails with Twisted's own connect errors, its `TimeoutError` after the route's timeout, or the TLS
        failure.
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
