"""How an HTTP server's connections go: which version they speak, how long they may take, how they end."""

from __future__ import annotations

from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols._connection_info import seen_of
from netecho.protocols._contract import ListenSettings
from netecho.protocols._http1_server import HTTP1Server
from netecho.protocols._http2_server import HTTP2Server
from netecho.protocols._http_bounded import BoundedHTTP1, BoundedImpairedHTTP1
from netecho.protocols._http_impaired import ImpairedHTTP1, ImpairedHTTP2
from netecho.protocols._sockets import unsent
from netecho.protocols._stream_server import LINGER, Receiver
from netecho.protocols._watched import LastWords, Patience, WatchedFactory
from netecho.protocols._ws_server import WebSocketServer

PATIENCE: Final = Patience()
REMEMBERED: Final = 3600
"""Seconds that a client may remember where HTTP/3 is (RFC 7838 section 3.1)."""
FAREWELL: Final = 0.2
"""Seconds in which a peer that is cut off may read why."""
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every HTTP/2 connection begins with."""


class HTTPConnection(Receiver):
    """A connection of an HTTP server, whichever version it speaks.

    `received` and `sent` count all bytes of HTTP, not of content alone.
    """

    factory: HTTPFactory
    _last_words: LastWords | None = None

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        """The peer does not take what it is sent."""
        self._is_reading = True
        self._has_ended = False
        """The peer sends nothing more."""
        self._undecided: bytes | None = b""
        """What has come as long as it may be either version's; `None`: it is known which."""
        self._seen: dict[str, Any] | None = None
        self._answered = 0
        """Messages, before it was upgraded."""
        self.wire: Any = None

    @property
    def messages(self) -> int | None:
        """How many requests have been answered."""
        return self._answered + int(self.wire.given)

    @property
    def begun(self) -> int:
        """How many answers have been begun."""
        return self._answered + int(self.wire.begun)

    @property
    def reply(self) -> ReplyMode:
        """What is answered."""
        return self.factory.settings.reply

    @property
    def most(self) -> int | None:
        """Bytes of a body that are taken; `None`: any number."""
        return self.factory.settings.max_message

    def connectionMade(self) -> None:
        """Begin the peer's time."""
        self.wire = self._http1()
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """Speak what has been agreed on."""
        if self.factory.settings.tls is not None:
            chosen = self.transport.getHandle().get_alpn_proto_negotiated()
            self._undecided = None if chosen else b""
            if chosen == b"h2":
                self.wire = self._http2()
        super().handshakeCompleted()

    @property
    def alternative(self) -> bytes:
        """The `Alt-Svc` field of every answer; empty if there is none."""
        return self.factory.alternative

    def _http1(self) -> HTTP1Server:
        most, spoil = self.most, self.spoil
        if most is None:
            return HTTP1Server(self) if spoil is None else ImpairedHTTP1(self, spoil)
        return BoundedHTTP1(self, most) if spoil is None else BoundedImpairedHTTP1(self, most, spoil)

    def _http2(self) -> HTTP2Server:
        return HTTP2Server(self) if self.spoil is None else ImpairedHTTP2(self, self.spoil)

    def upgrade(self, head: bytes) -> None:
        """Go on in WebSocket, for which this is the request and what has come behind it."""
        self._answered += self.wire.given
        self.wire.close()
        self.wire = WebSocketServer(self)
        self.wire.received(head)

    def finish(self) -> None:
        """End in order: with a farewell first, if the wire has one and has not said it."""
        if self.finished or not self.wire.part():
            super().finish()

    def now(self) -> float:
        """Return the time, in seconds."""
        return float(self.factory.reactor.seconds())

    def seen(self) -> dict[str, Any]:
        """Return what is to be seen of the connection, ready for JSON."""
        if self._seen is None:
            self._seen = seen_of(self)
        return self._seen

    def dataReceived(self, data: bytes) -> None:
        """Take what has come."""
        if self.finished:
            return
        self.received += len(data)
        if self._undecided is not None and not (data := self._decide(self._undecided + data)):
            return
        self.wire.received(data)
        if self.is_paused or not self._is_reading or self.wire.is_full:
            self._look_to_reading()
        if self.timeOut is not None or self.draining:
            self.progressed()

    def _decide(self, data: bytes) -> bytes:
        """See by its first bytes which version a peer speaks (RFC 9113 section 3.3); return what is known."""
        known = data[: len(PREFACE)]
        self._undecided = data
        if PREFACE.startswith(known) and len(known) < len(PREFACE):
            return b""
        self._undecided = None
        if known == PREFACE:
            self.wire = self._http2()
        return data

    def write(self, data: bytes) -> None:
        """Send something."""
        self.sent += len(data)
        self.transport.write(data)

    def proceed(self) -> None:
        """Go on with what had to wait."""
        if self.finished or self._lost:
            return
        self.wire.proceed()
        self._look_to_reading()
        self.progressed()
        if self._has_ended and not self.wire.holds and not self.finished:
            super().readConnectionLost()

    def _look_to_reading(self) -> None:
        """Read from the peer if there is room for what it sends."""
        if self.finished:
            return
        wanted = not (self.is_paused or self.wire.is_full)
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def pauseProducing(self) -> None:
        """Read and send nothing more: the peer has not taken its answer yet."""
        self.is_paused = True
        self._look_to_reading()

    def resumeProducing(self) -> None:
        """Go on: the peer has taken its answer."""
        self.is_paused = False
        self.proceed()

    def readConnectionLost(self) -> None:
        """The peer has closed its half: what it asked for is still answered, if it asked for it whole."""
        self._has_ended = True
        if not self.wire.holds:
            super().readConnectionLost()

    def drain(self) -> None:
        """Answer what was asked, then finish."""
        super().drain()
        self.wire.drain()

    def cut_soon(self) -> None:
        """End the connection at once, but for a moment in which the peer may learn why."""
        self.factory.reactor.callLater(FAREWELL, self._cut_off)

    def _cut_off(self) -> None:
        if not self._lost:
            self.cut()

    def is_answered(self) -> bool:
        """Return whether no request is under way, and all that was received before the drain is read."""
        return self.wire.is_idle and super().is_answered()

    def look(self, now: float, patience: Patience) -> None:
        """End the connection if the peer takes too long for what it is at.

        Args:
            now: in seconds.
            patience: what it may take.
        """
        if self._shaking_hands or self._lost:
            return
        waiting = unsent(self.transport.fileno())
        if not self.finished:
            self.wire.look(now, waiting, patience)
            return
        if self._last_words is None:
            self._last_words = LastWords(now)
        if self._last_words.is_overdue(now, waiting, patience):
            self.cut()

    def timeoutConnection(self) -> None:
        """End a connection that made no progress, but leave to `look` how long the last answer may take.

        To close a connection while its peer has not taken that would leave the system with it, for minutes.
        """
        if self.flushed and not self.draining and unsent(self.transport.fileno()):
            self.setTimeout(LINGER)  # type: ignore[no-untyped-call]
        else:
            super().timeoutConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """Forget what was still to be sent."""
        self.wire.close()
        super().connectionLost(reason)


class HTTPFactory(WatchedFactory):
    """Builds the connections of one listener."""

    def __init__(self, reactor: Any, settings: ListenSettings, patience: Patience = PATIENCE) -> None:
        super().__init__(reactor, settings, HTTPConnection, patience)
        self.alternative = b""
        if settings.alt_svc is not None and settings.tls is not None:
            self.alternative = b'h3=":%d"; ma=%d' % (settings.alt_svc, REMEMBERED)
