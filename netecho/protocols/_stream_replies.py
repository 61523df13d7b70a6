"""What a server answers on a byte stream, by its reply mode: RFC 862 to 864, what it sees, or a broadcast."""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from netecho.plans import ReplyMode
from netecho.protocols._broadcast import Backlog, cut_off
from netecho.protocols._connection_info import seen_of
from netecho.protocols._listener import ListenSettings
from netecho.protocols._stream_server import Receiver, ReplyFactory, ReplyProtocol


class Echo(Receiver):
    """RFC 862: what comes in goes out."""

    @property
    def sent(self) -> int:  # type: ignore[override]
        """How many bytes have been written: as many as were received."""
        return self.received

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        if self.finished:
            return
        self.received += len(data)
        self.transport.write(data)
        if self.timeOut is not None or self.draining:
            self.progressed()


class Discard(Receiver):
    """RFC 863: what comes in is thrown away."""

    def dataReceived(self, data: bytes) -> None:
        """Count it."""
        self.received += len(data)
        self.progressed()


def _chargen_pattern() -> bytes:
    characters = bytes(range(0x20, 0x7F))
    rotated = characters + characters
    return b"".join(rotated[start : start + 72] + b"\r\n" for start in range(len(characters)))


CHARGEN_PATTERN: Final = _chargen_pattern()
"""RFC 864's recommended pattern: lines of 72 of the 95 printing characters, taken as a ring, each line
beginning one character further. After 95 lines it begins again."""


@implementer(IPullProducer)
class Chargen(ReplyProtocol):
    """RFC 864: characters, as fast as the peer takes them, until it closes."""

    def handshakeCompleted(self) -> None:
        """Begin to send."""
        super().handshakeCompleted()
        self.transport.registerProducer(self, False)

    def dataReceived(self, data: bytes) -> None:
        """Throw it away, as the RFC says."""
        self.received += len(data)
        self.progressed()

    def resumeProducing(self) -> None:
        """Write the next round of lines."""
        self.sent += len(CHARGEN_PATTERN)
        self.transport.write(CHARGEN_PATTERN)
        self.progressed()

    def stopProducing(self) -> None:
        """Nothing to do: the connection is gone."""

    def stop_answering(self) -> None:
        """Write no more rounds."""
        self.transport.unregisterProducer()

    def is_answered(self) -> bool:
        """Return `True`: nothing is owed."""
        return True


class Info(ReplyProtocol):
    """What the server sees of a connection, in one line of JSON, and the end.

    As with daytime (RFC 867) the peer need send nothing to get it, and what it sends is thrown away.
    """

    def handshakeCompleted(self) -> None:
        """Send the line, and end."""
        super().handshakeCompleted()
        line = json.dumps(seen_of(self)).encode() + b"\n"
        self.sent = len(line)
        self.transport.write(line)
        self.finish()

    def dataReceived(self, data: bytes) -> None:
        """Count it."""
        self.received += len(data)


class Broadcast(Receiver):
    """What comes in goes out to every peer of the listener, its sender included."""

    factory: ReplyFactory

    def __init__(self) -> None:
        super().__init__()
        self._is_held = False
        """The peer does not take what it is sent."""
        self._backlog: Backlog[bytes] = Backlog()

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        if self.finished:
            return
        self.received += len(data)
        for connection in list(self.factory.connections):
            connection.hear(data)  # type: ignore[attr-defined]
        if self.timeOut is not None or self.draining:
            self.progressed()

    def hear(self, data: bytes) -> None:
        """Send the peer what one of the peers has sent, or keep it while the peer does not read."""
        if self.finished or self._shaking_hands or self._lost or self._cut:
            return
        if not self._is_held:
            self._say(data)
        elif not self._backlog.add(data, len(data)):
            cut_off(self)

    def _say(self, data: bytes) -> None:
        self.sent += len(data)
        self.transport.write(data)
        if self.timeOut is not None:
            self.resetTimeout()  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """Read nothing more, and keep what is said: the peer does not take it."""
        self._is_held = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Send what has been kept, as long as the peer takes it."""
        self._is_held = False
        for data in self._backlog.take():
            self._say(data)
            if self._is_held:
                return
        super().resumeProducing()

    def stop_answering(self) -> None:
        """Give all that is kept to the transport, and ask it no more when it takes more."""
        for data in self._backlog.take():
            self._say(data)
        super().stop_answering()


REPLIES: Final[dict[ReplyMode, type[ReplyProtocol]]] = {
    ReplyMode.ECHO: Echo,
    ReplyMode.DISCARD: Discard,
    ReplyMode.CHARGEN: Chargen,
    ReplyMode.INFO: Info,
    ReplyMode.BROADCAST: Broadcast,
}


def reply_factory(reactor: Any, settings: ListenSettings) -> ReplyFactory:
    """Return the factory for the connections of a listener, by its reply mode."""
    return ReplyFactory(reactor, settings, REPLIES[settings.reply])
