"""Connections that come through a proxy: nothing is done for one before the proxy has said whose it is."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure

from netecho.protocols._proxy_header import HeaderReader, ProxyHeader, ProxyHeaderError
from netecho.protocols._stream_server import ReplyFactory

HEADER_TIMEOUT: Final = 5.0
"""Seconds that a proxy has for its header, however its bytes come: a lost segment is sent again in 3."""


class Gate(Protocol):
    """Stands before a connection's protocol until its PROXY header has come, and is then in nobody's way."""

    transport: Any

    def __init__(self, factory: ProxiedFactory, books: ReplyFactory) -> None:
        self._factory = factory
        self._books = books
        self._reader = HeaderReader()
        self._deadline: Any = None
        self._is_waiting = False

    def connectionMade(self) -> None:
        """Begin the proxy's time."""
        self._is_waiting = True
        self._books.waits(self)
        self._limit(HEADER_TIMEOUT, f"no PROXY header came within {HEADER_TIMEOUT:g} s")

    def _limit(self, seconds: float, reason: str) -> None:
        self._deadline = self._books.reactor.callLater(seconds, self._refuse, reason)

    def drain(self, seconds: float) -> None:
        """Wait no longer than so many seconds, as the server ends."""
        self._deadline.cancel()
        self._limit(seconds, "the server ends, and no PROXY header has come")

    def cut(self) -> None:
        """End the connection at once."""
        self._refuse("the server ends, and no PROXY header has come")

    def dataReceived(self, data: bytes) -> None:
        """Take some of the header."""
        if not self._is_waiting:
            return
        try:
            found = self._reader.feed(data)
        except ProxyHeaderError as error:
            self._refuse(str(error))
        else:
            if found is not None:
                self._open(*found)

    def _open(self, header: ProxyHeader, rest: bytes) -> None:
        """Leave the connection to the protocol that is to have it."""
        self._leave()
        transport = self.transport
        self._books.admitted(self)
        protocol = self._factory.wrappedFactory.buildProtocol(header)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        if self._is_waiting:
            self._leave()
            self._books.rejected(self, reason)
            self.transport.abortConnection()

    def _leave(self) -> None:
        self._is_waiting = False
        if self._deadline.active():
            self._deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the connection has ended before its header."""
        self._refuse("it was closed before its PROXY header was complete")


class ProxiedFactory(WrappingFactory):
    """Puts a `Gate` before the connections of another factory, which builds for a `ProxyHeader`.

    Args:
        wrapped: makes the protocols that talk, in TLS perhaps: the header comes before that.
        books: those in which a connection is counted.
    """

    noisy = False

    def __init__(self, wrapped: Any, books: ReplyFactory) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._books = books

    def buildProtocol(self, addr: Any) -> Any:
        """Build a gate, or refuse the connection if there are too many."""
        return Gate(self, self._books) if self._books.has_room(addr) else None
