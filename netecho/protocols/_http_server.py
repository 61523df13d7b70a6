"""The connections of an HTTP server: which version they speak, their time limits, and how they end."""

from __future__ import annotations

from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols._connection_info import seen_of
from netecho.protocols._http1_server import HTTP1Server
from netecho.protocols._http2_server import HTTP2Server
from netecho.protocols._http_bounded import BoundedHTTP1, BoundedImpairedHTTP1
from netecho.protocols._http_impaired import ImpairedHTTP1, ImpairedHTTP2
from netecho.protocols._listener import ListenSettings
from netecho.protocols._sockets import unsent
from netecho.protocols._stream_server import LINGER, Receiver
from netecho.protocols._watched import LastWords, Patience, WatchedFactory
from netecho.protocols._ws_server import WebSocketServer

PATIENCE: Final = Patience()
REMEMBERED: Final = 3600
"""Seconds for which a client may remember Alt-Svc (RFC 7838 section 3.1)."""
FAREWELL: Final = 0.2
"""Seconds between an error and the cut of the connection, so that the peer can read the error."""
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The connection preface of HTTP/2 (RFC 9113 section 3.4)."""


class HTTPConnection(Receiver):
    """A connection of an HTTP server, in any version over TCP.

    `received` and `sent` count all bytes of HTTP, not only content.
    """

    factory: HTTPFactory
    _last_words: LastWords | None = None

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        """The peer does not take what it is sent: nothing more is written for now."""
        self._is_reading = True
        self._has_ended = False
        """The peer has closed its half."""
        self._undecided: bytes | None = b""
        """What has come while it may begin either version; `None` once the version is known."""
        self._seen: dict[str, Any] | None = None
        self._answered = 0
        """Requests that were answered before an upgrade to WebSocket."""
        self.wire: Any = None

    @property
    def messages(self) -> int | None:
        """How many requests or messages have been answered."""
        return self._answered + int(self.wire.given)

    @property
    def begun(self) -> int:
        """How many answers have been begun."""
        return self._answered + int(self.wire.begun)

    @property
    def reply(self) -> ReplyMode:
        """The reply mode."""
        return self.factory.settings.reply

    @property
    def most(self) -> int | None:
        """Bytes of the largest body that is taken; `None` for no limit."""
        return self.factory.settings.max_message

    def connectionMade(self) -> None:
        """Start the peer's time limits."""
        self.wire = self._http1()
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """Speak the version that was agreed on by ALPN (RFC 7301)."""
        if self.factory.settings.tls is not None:
            chosen = self.transport.getHandle().get_alpn_proto_negotiated()
            self._undecided = None if chosen else b""
            if chosen == b"h2":
                self._speak_http2()
        super().handshakeCompleted()

    @property
    def alternative(self) -> bytes:
        """The value of the Alt-Svc field of every answer; empty for none."""
        return self.factory.alternative

    def _http1(self) -> HTTP1Server:
        most, spoil = self.most, self.spoil
        if most is None:
            return HTTP1Server(self) if spoil is None else ImpairedHTTP1(self, spoil)
        return BoundedHTTP1(self, most) if spoil is None else BoundedImpairedHTTP1(self, most, spoil)

    def _speak_http2(self) -> None:
        self.wire.close()
        self.wire = HTTP2Server(self) if self.spoil is None else ImpairedHTTP2(self, self.spoil)

    def upgrade(self, head: bytes) -> None:
        """Go on in WebSocket.

        Args:
            head: the request, and what has come after it.
        """
        self._answered += self.wire.given
        self.wire.close()
        self.wire = WebSocketServer(self)
        self.wire.received(head)

    def finish(self) -> None:
        """End in order, after a farewell if the version has one that was not sent yet."""
        if self.finished or not self.wire.part():
            super().finish()

    def now(self) -> float:
        """Return the time, in seconds."""
        return float(self.factory.reactor.seconds())

    def seen(self) -> dict[str, Any]:
        """Return what the server knows of the connection, ready for JSON."""
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
        """Decide by the first bytes which version a peer speaks (RFC 9113 section 3.3).

        Returns what is to be parsed: all of it once the version is known, and nothing before that.
        """
        known = data[: len(PREFACE)]
        self._undecided = data
        if PREFACE.startswith(known) and len(known) < len(PREFACE):
            return b""
        self._undecided = None
        if known == PREFACE:
            self._speak_http2()
        return data

    def write(self, data: bytes) -> None:
        """Send something."""
        self.sent += len(data)
        self.transport.write(data)

    def proceed(self) -> None:
        """Go on with what had to wait for the peer, or for a pause."""
        if self.finished or self._lost:
            return
        self.wire.proceed()
        self._look_to_reading()
        self.progressed()
        if self._has_ended and not self.wire.holds and not self.finished:
            super().readConnectionLost()

    def _look_to_reading(self) -> None:
        """Read from the peer if there is room for what it sends, else stop reading."""
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
        """Stop reading and writing: the peer has not taken its answer yet."""
        self.is_paused = True
        self._look_to_reading()

    def resumeProducing(self) -> None:
        """Go on, as the peer has taken its answer."""
        self.is_paused = False
        self.proceed()

    def readConnectionLost(self) -> None:
        """The peer has closed its half: requests that have come whole are still answered."""
        self._has_ended = True
        if not self.wire.holds:
            super().readConnectionLost()

    def drain(self) -> None:
        """Answer the requests that have come, then finish."""
        super().drain()
        self.wire.drain()

    def cut_soon(self) -> None:
        """Cut the connection after `FAREWELL` seconds, in which the peer can read why."""
        self.factory.reactor.callLater(FAREWELL, self._cut_off)

    def _cut_off(self) -> None:
        if not self._lost:
            self.cut()

    def is_answered(self) -> bool:
        """Return whether no request is under way, and all that came before the drain has been read."""
        return self.wire.is_idle and super().is_answered()

    def look(self, now: float, patience: Patience) -> None:
        """End the connection if the peer takes too long over its current step.

        Args:
            now: the time, in seconds.
            patience: the time limits.
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
        """End a connection that made no progress, but leave the time for the last answer to `look`.

        If the connection were closed before the peer has taken that answer, the system would keep it for
        minutes.
        """
        if self.flushed and not self.draining and unsent(self.transport.fileno()):
            self.setTimeout(LINGER)  # type: ignore[no-untyped-call]
        else:
            super().timeoutConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """Drop what was still to be sent."""
        self.wire.close()
        super().connectionLost(reason)


class HTTPFactory(WatchedFactory):
    """Builds the connections of an HTTP listener."""

    def __init__(self, reactor: Any, settings: ListenSettings, patience: Patience = PATIENCE) -> None:
        super().__init__(reactor, settings, HTTPConnection, patience)
        self.alternative = b""
        if settings.alt_svc is not None and settings.tls is not None:
            self.alternative = b'h3=":%d"; ma=%d' % (settings.alt_svc, REMEMBERED)
