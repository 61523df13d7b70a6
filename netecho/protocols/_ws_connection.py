"""Connections of a WebSocket server with a port of its own."""

from __future__ import annotations

from typing import Any

from netecho.protocols._contract import ListenSettings
from netecho.protocols._http_server import PATIENCE, HTTPConnection
from netecho.protocols._stream_server import Receiver
from netecho.protocols._watched import Patience, WatchedFactory
from netecho.protocols._ws_server import WebSocketServer


class WebSocketConnection(HTTPConnection):
    """A connection on which nothing is spoken but WebSocket, once it has been asked for.

    `received` and `sent` count all bytes, not of messages alone.
    """

    def connectionMade(self) -> None:
        """Begin the peer's time."""
        self._undecided = None
        self.wire = WebSocketServer(self)
        Receiver.connectionMade(self)

    def handshakeCompleted(self) -> None:
        """Wait for the request: whatever TLS has agreed on, there is but one way to go on."""
        Receiver.handshakeCompleted(self)


class WebSocketFactory(WatchedFactory):
    """Builds the connections of one listener."""

    def __init__(self, reactor: Any, settings: ListenSettings, patience: Patience = PATIENCE) -> None:
        super().__init__(reactor, settings, WebSocketConnection, patience)
