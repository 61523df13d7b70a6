"""A listener for byte streams, and the layers between its socket and the protocol that answers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from netecho.plans import Target
from netecho.protocols._impaired_stream import ImpairedFactory
from netecho.protocols._listener import Totals
from netecho.protocols._proxied import ProxiedFactory
from netecho.protocols._sockets import has_unread
from netecho.protocols._stream_server import ReplyFactory
from netecho.protocols._tls import HalfCloseableTLSFactory


class StreamListener:
    """An open listener for a stream; provides `netecho.protocols._listener.Listener`."""

    def __init__(self, port: Any, factory: ReplyFactory, target: Target) -> None:
        self._port = port
        self._factory = factory
        self._aborted = False
        self.target = target

    async def _accept_what_waits(self) -> None:
        """Accept the connections that the system has made already: their bytes may have come too."""
        for _ in range(100):
            if not has_unread(self._port.fileno()):
                return
            turn: Deferred[None] = Deferred()
            self._factory.reactor.callLater(0, turn.callback, None)
            await turn

    def _stop_listening(self) -> Any:
        return self._port.stopListening()

    async def _drain(self) -> None:
        await self._accept_what_waits()
        await self._stop_listening()
        drained = self._factory.drain()
        if self._aborted:
            self.abort()
        await drained

    def drain(self) -> Deferred[None]:
        """See `Listener.drain`."""
        return Deferred.fromCoroutine(self._drain())

    def abort(self) -> None:
        """See `Listener.abort`."""
        self._aborted = True
        self._factory.abort()

    def under_way(self) -> Totals:
        """See `Listener.under_way`."""
        connections = self._factory.connections
        return Totals(
            bytes_received=sum(one.received for one in connections),
            bytes_sent=sum(one.sent for one in connections),
        )


def to_listen_with(books: ReplyFactory) -> Any:
    """Return the factory to listen with: `books`, inside the layers that its settings ask for.

    Answers are impaired before they go into TLS: a peer would believe nothing that is changed after that. A
    PROXY header comes before TLS, so that what reads it is the outermost layer.

    Args:
        books: builds the connections that answer, and counts them.
    """
    settings = books.settings
    factory: Any = books
    if settings.impairment is not None:
        factory = ImpairedFactory(books, settings.impairment)
    if settings.tls is not None:
        factory = HalfCloseableTLSFactory(settings.tls, False, factory, books.reactor)
    return ProxiedFactory(factory, books) if settings.proxied else factory
