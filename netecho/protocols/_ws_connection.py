"""Connections of a WebSocket server with a port of its own."""

from __future__ import annotations

from typing import Any

from netecho.protocols._http_server import PATIENCE, HTTPConnection
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_server import Receiver
from netecho.protocols._watched import Patience, WatchedFactory
from netecho.protocols._ws_server import WebSocketServer


class WebSocketConnection(HTTPConnection):
    """A connection that is only for WebSocket: its first request must ask for that.

    `received` and `sent` count all bytes, not only those of messages.
    """

    def connectionMade(self) -> None:
        """Start the peer's time limits."""
        self._undecided = None
        self.wire = WebSocketServer(self)
        Receiver.connectionMade(self)

    def handshakeCompleted(self) -> None:
        """Wait for the request; the protocol that ALPN agreed on changes nothing."""
        Receiver.handshakeCompleted(self)


class WebSocketFactory(WatchedFactory):
    """Builds the connections of a WebSocket listener."""

    def __init__(self, reactor: Any, settings: ListenSettings, patience: Patience = PATIENCE) -> None:
        super().__init__(reactor, settings, WebSocketConnection, patience)
