"""SMTP (RFC 5321): each message is a mail, and a receipt stands for its echo, as mails do not come back.

The server is a sink: it accepts mails and keeps none. The reply to each has its size and SHA-256 as received,
which the client compares with what it sent. The replies of other servers tell neither, and only say that the
mail was accepted. Why the protocol is implemented here, and not by a library, is said in `_smtp_session`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from netecho.impairment import Harm
from netecho.plans import ReplyMode
from netecho.protocols._contract import Adapter, Exchanger, Kind, OnLost, OnReply, Route
from netecho.protocols._listener import ListenSettings
from netecho.protocols._smtp_client import SMTPExchanger
from netecho.protocols._smtp_server import SMTPFactory
from netecho.protocols._sockets import tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._tcp_adapter import TCPAdapter


class SMTP(TCPAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "smtp"
    kind = Kind.MESSAGE
    secure_scheme: str | None = "smtps"
    replies = frozenset({ReplyMode.ECHO, ReplyMode.DISCARD, ReplyMode.REJECT, ReplyMode.TEMPFAIL})
    has_envelopes = True
    bounds_messages = True
    has_receipts = True
    is_text = True
    upgrades = True

    def harms_in(self, reply: ReplyMode) -> frozenset[Harm]:
        """Return all, except corruption if no receipts are sent."""
        return self.harms if reply is ReplyMode.ECHO else self.harms - {Harm.CORRUPT}

    def factory(self, reactor: Any, settings: ListenSettings) -> SMTPFactory:
        """See `TCPAdapter.factory`."""
        return SMTPFactory(reactor, settings)

    def connect(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_connected: Callable[[], object] | None = None,
    ) -> Deferred[Exchanger]:
        """Connect for exchanges; fires when the server has said what it offers, in TLS if asked."""
        exchanger = SMTPExchanger(reactor, route, on_reply, on_lost, on_connected)
        first = dataclasses.replace(route, tls=None) if route.starttls else route

        async def connect() -> Exchanger:
            await connect_protocol(reactor, tcp_endpoint(reactor, route), first, exchanger, on_connected)
            return await exchanger.ready

        return Deferred.fromCoroutine(connect()).addTimeout(route.timeout, reactor)


adapter: Adapter = SMTP()
