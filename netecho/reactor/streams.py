"""TCP and UNIX transports that send at once what they are given, when nothing is waiting to be sent.

Twisted's own queue every write and ask epoll whether the socket takes it, which on a socket that does
costs three system calls for one. Here the queue is for what the system did not take. All else, from
producers to half-close, abort and TLS, is inherited.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet._newtls import startTLS
from twisted.internet.abstract import FileDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

ACCEPTS: Final = 100
"""Connections that a port accepts in one turn of the reactor, so that none starves what else there is."""


class DirectDescriptor(FileDescriptor):
    """What sends at once. The reactor calls it without making a log context first."""

    socket: Any
    producer: Any

    _direct = False
    """Whether a write goes to the system: we are connected, with nothing queued before it."""
    _lost = False
    """Whether the system has told `send` that the connection is lost; a later `recv` only says it ended."""

    def write(self, data: bytes) -> None:
        """Send `data`, or as much as the system takes; the rest follows when it takes more."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not self._direct:
            FileDescriptor.write(self, data)
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Twisted's way is to say so in the next turn, when nobody is in the middle of something.
            self._lost = True
            sent = 0
        size = len(data)
        if sent != size:
            self._direct = False
            self._tempDataBuffer.append(data[sent:] if sent else data)
            self._tempDataLen = size - sent
            self._maybePauseProducer()
            self.startWriting()
        elif self.producer is not None:
            self._sent(size)

    def _sent(self, size: int) -> None:
        """Have the producer behave as if what has just been sent had been queued for the next turn."""
        if not self.streamingProducer:
            self.startWriting()  # and be asked for more then, not from within its own write
        elif size > self.bufferSize:
            self.producerPaused = True
            self.producer.pauseProducing()
            self.startWriting()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec`, as `write` would its concatenation."""
        pieces = list(iovec)
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
        DirectDescriptor.write(self, b"".join(pieces))

    def doWrite(self) -> Any:
        """Send what is queued, now that the system takes more."""
        result = super().doWrite()
        self._direct = bool(self.connected) and not (
            self.dataBuffer or self._tempDataBuffer or self._writeDisconnected or self._lost
        )
        return result

    def connectionLost(self, reason: Any) -> None:
        """Note the end."""
        self._direct = False
        super().connectionLost(reason)


class DirectConnection(DirectDescriptor):
    """The parts of `twisted.internet.tcp.Connection` that send, receive or start TLS."""

    TLS: bool
    protocol: Any

    def doRead(self) -> Any:
        """Receive once what is there, and deliver it."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if data:
            self.protocol.dataReceived(data)
            return None
        return CONNECTION_LOST if self._lost else CONNECTION_DONE

    def write(self, data: bytes) -> None:
        """Send `data`, through TLS once that has been started."""
        if not self.TLS:
            DirectDescriptor.write(self, data)
        elif self.connected:
            self.protocol.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec`, through TLS once that has been started."""
        if not self.TLS:
            DirectDescriptor.writeSequence(self, iovec)
        elif self.connected:
            self.protocol.writeSequence(iovec)

    def abortConnection(self) -> None:
        """Send nothing more, and reset the connection in the next turn."""
        self._direct = False
        super().abortConnection()  # type: ignore[misc]

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """See `ITLSTransport.startTLS`."""
        startTLS(self, ctx, normal, DirectDescriptor)


class Server(DirectConnection, tcp.Server):
    """An accepted TCP connection."""

    def __init__(
        self, sock: Any, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        self.TLS = False
        self.producer = None
        self._direct = True
        super().__init__(sock, protocol, client, server, sessionno, reactor)


class Client(DirectConnection, tcp.Client):
    """A TCP connection that we made."""

    def _connectDone(self) -> None:
        self._direct = True
        self.producer = None
        self.TLS = False
        super()._connectDone()


class Connector(tcp.Connector):
    """Makes `Client`s."""

    def _makeTransport(self) -> Any:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class Port(tcp.Port):
    """A TCP port; accepts `Server`s."""

    transport = Server


class UNIXConnection(DirectConnection):
    """The same for UNIX sockets, which may carry file descriptors beside bytes.

    A descriptor goes with the bytes that are written in the same turn, before or after it. So what is
    written while something is received is sent when that has been dealt with, and no sooner.
    """

    _sendmsgQueue: list[int]
    _receiving = False

    def doRead(self) -> Any:
        """Receive once what is there, deliver it, and send what was written meanwhile."""
        self._receiving = True
        try:
            why = unix._SendmsgMixin.doRead(self)  # type: ignore[arg-type]  # one where it is mixed in
        finally:
            self._receiving = False
        if self.connected and (self._tempDataBuffer or self._sendmsgQueue):
            self._flush()
        return why

    def _flush(self) -> None:
        if self.disconnecting or self._writeDisconnecting or self.doWrite() is not None or self.dataBuffer:
            self.startWriting()  # the rest, the end, or an error, which is then met again

    def startWriting(self) -> None:
        """Ask epoll when the socket takes more, unless it is tried anyway at the end of this event."""
        if not self._receiving:
            super().startWriting()

    def write(self, data: bytes) -> None:
        """Queue `data`, through TLS once that has been started."""
        if self.TLS:
            super().write(data)
        else:
            FileDescriptor.write(self, data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Queue all of `iovec`, through TLS once that has been started."""
        if self.TLS:
            super().writeSequence(iovec)
        else:
            FileDescriptor.writeSequence(self, list(iovec))

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """See `ITLSTransport.startTLS`."""
        startTLS(self, ctx, normal, FileDescriptor)


class UNIXServer(UNIXConnection, unix.Server):
    """An accepted connection on a UNIX socket."""


class UNIXClient(UNIXConnection, unix.Client):
    """A connection to a UNIX socket."""


class UNIXConnector(unix.Connector):
    """Makes `UNIXClient`s."""

    def _makeTransport(self) -> Any:
        return UNIXClient(self.address, self, self.reactor, self.checkPID)


class UNIXPort(unix.Port):
    """A UNIX socket that listens; accepts `UNIXServer`s."""

    transport = UNIXServer
