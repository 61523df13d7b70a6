"""Netstrings (https://cr.yp.to/proto/netstrings.txt): a protocol as anybody may add it to netecho.

`test_one_file.py` puts this one file into a copy of `netecho/protocols/` and has everything use it.
"""

from __future__ import annotations

import collections
from typing import Any, Final

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import NetstringReceiver
from twisted.python.failure import Failure

from netecho.plans import ReplyMode
from netecho.protocols._contract import Adapter, Kind, OnLost, OnReply, Route
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_server import Receiver, ReplyFactory
from netecho.protocols._tcp_adapter import TCPAdapter

MOST_MESSAGE: Final = 1 << 20
"""Bytes of a message, unless `--max-message` says otherwise."""


class NetstringConnection(Receiver, NetstringReceiver):
    """A connection of a server: each string is sent back."""

    messages = 0

    def connectionMade(self) -> None:
        """Take strings as long as the listener takes them."""
        self.MAX_LENGTH = self.factory.settings.max_message or MOST_MESSAGE
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Take what has come; Twisted makes strings of it."""
        if not self.finished:
            self.received += len(data)
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            self.progressed()

    def stringReceived(self, string: bytes) -> None:
        """Answer a string."""
        if self.factory.settings.reply is ReplyMode.ECHO:
            self.messages += 1
            content = string if self.spoil is None else self.spoil(string)
            answer = b"%d:%b," % (len(content), content)
            self.sent += len(answer)
            self.transport.write(answer)

    def _handleParseError(self) -> None:  # noqa: N802 - Twisted's name
        self.finish()  # in order: what was asked before this is still answered


class NetstringExchanger(NetstringReceiver):
    """A connection of a client, whose echoes come in the order of its messages."""

    transport: Any
    MAX_LENGTH = MOST_MESSAGE

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        self._on_reply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._awaited: collections.deque[int] = collections.deque()

    def connectionMade(self) -> None:
        """Let small messages leave at once."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        self._awaited.append(sequence)
        self.sendString(payload)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """Pass on an echo, unless nobody waits for it any more."""
        if self._on_lost is not None:
            self._on_reply(self._awaited.popleft() if self._awaited else None, string)

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say so, unless we did it."""
        if self._on_lost is not None:
            self._on_lost(reason)


class Netstring(TCPAdapter):
    """See `netecho.protocols._contract.Adapter`."""

    name = "netstring"
    kind = Kind.MESSAGE
    secure_scheme: str | None = "netstrings"
    maximum_size: int | None = MOST_MESSAGE
    bounds_messages = True

    def factory(self, reactor: Any, settings: ListenSettings) -> ReplyFactory:
        """See `TCPAdapter.factory`."""
        return ReplyFactory(reactor, settings, NetstringConnection)

    def exchanger(self, reactor: Any, route: Route, on_reply: OnReply, on_lost: OnLost) -> NetstringExchanger:
        """See `TCPAdapter.exchanger`."""
        return NetstringExchanger(on_reply, on_lost)


adapter: Adapter = Netstring()
