"""What a server answers on a byte stream, by its mode: RFC 862 to 864, what it sees, or what anybody says."""

from __future__ import annotations

import json
from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols import _stream_server
from netecho.protocols._broadcast import Backlog, cut_off
from netecho.protocols._contract import ListenSettings
from netecho.protocols._seen import seen_of
from netecho.protocols._stream_server import Receiver, ReplyFactory, ReplyProtocol


class Info(ReplyProtocol):
    """What the server sees of a connection, in one line of JSON as soon as there is one, and the end.

    Nothing need be sent to get it, as of daytime (RFC 867); what is sent is thrown away.
    """

    def handshakeCompleted(self) -> None:
        """Say it."""
        super().handshakeCompleted()
        line = json.dumps(seen_of(self)).encode() + b"\n"
        self.sent = len(line)
        self.transport.write(line)
        self.finish()

    def dataReceived(self, data: bytes) -> None:
        """Count it."""
        self.received += len(data)


class Broadcast(Receiver):
    """What comes in goes out to every peer of the listener, whose it is included."""

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
        """Take what one of the peers says."""
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
        """Leave all that is kept to the transport, and what that does with it alone."""
        for data in self._backlog.take():
            self._say(data)
        super().stop_answering()


REPLIES: Final[dict[ReplyMode, type[ReplyProtocol]]] = {
    **_stream_server.REPLIES,
    ReplyMode.INFO: Info,
    ReplyMode.BROADCAST: Broadcast,
}


def reply_factory(reactor: Any, settings: ListenSettings) -> ReplyFactory:
    """Return what builds the connections of a listener that answers so, and keeps the books."""
    return ReplyFactory(reactor, settings, REPLIES[settings.reply])
