"""The attributes that most adapters have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netecho.impairment import Harm
from netecho.plans import DEFAULT_PORT, DEFAULT_SIZE, ReplyMode
from netecho.protocols._contract import Adapter, Route


class PlainAdapter:
    """Defaults for a `netecho.protocols._contract.Adapter`.

    A subclass adds its name, what it carries, of which kind its sockets are, how it listens and connects, and
    what may be done to its answers; and overrides what differs.
    """

    harms: frozenset[Harm]
    default_port: int | None = DEFAULT_PORT
    minimum_size = 0
    maximum_size: int | None = None
    default_size = DEFAULT_SIZE
    numbered = True
    reflects = False
    has_requests = False
    begins_with_request = False
    has_envelopes = False
    bounds_messages = False
    has_resources = False
    alpn: tuple[str, ...] = ()
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD})
    has_receipts = False
    is_text = False
    upgrades = False
    multiplexes = False
    has_qlog = False
    retries = False
    keeps_peers = False

    @property
    def secured(self) -> Adapter | None:
        """None: its secure form carries the same."""
        return None

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return all that there are, unless no answer is sent to which any could happen."""
        return frozenset() if reply is ReplyMode.DISCARD else self.harms

    def overhead(self, size: int, *, authenticated: bool) -> int:
        """Return 0: payloads are all that is counted."""
        return 0

    def converse(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect a protocol; see `netecho.protocols._contract.Adapter.converse`."""
        raise NotImplementedError

    def visit(
        self,
        reactor: Any,
        route: Route,
        protocol: Protocol,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Protocol]:
        """Connect for a conversation, in which nothing need be said."""
        return self.converse(reactor, route, protocol, on_connected)
