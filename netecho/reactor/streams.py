"""TCP transports that send at once what they are given, when nothing is waiting to be sent.

Twisted's own queue every write and ask epoll whether the socket takes it, which on a socket that does
costs three system calls for one. Here the queue is for what the system did not take. All else, from
producers to half-close, abort and TLS, is inherited.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from errno import EAGAIN, ENOBUFS, EPIPE
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet._newtls import startTLS
from twisted.internet.abstract import FileDescriptor, _dataMustBeBytes
from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from netecho.reactor.losses import lost_by
from netecho.reactor.outgoing import KEPT_MOST, Outgoing
from netecho.reactor.tls import DirectTLSTransport

SMALL: Final = 479
"""Bytes asked for until a message is larger: their object is the largest that Python's own allocator has."""
BULK: Final = 1 << 19
"""Bytes asked for, and written without a pause, on a connection that always has more: it takes a fifth less
of the processor than in buffers of the usual size."""
BULK_AFTER: Final = 256
"""Buffers of the usual size, received and sent on without delay, that show a connection to be such a one:
more than the systems' own buffers hold, so that its peer must be reading."""
LARGE_PIECES: Final = 32
"""Buffers that a producer fills in large pieces, written directly, until it is looked whether it has an end:
to look costs three system calls, and for each buffer of a bulk echo a twentieth of its rate."""
ACCEPTS: Final = 100
"""Connections that a port accepts in one turn of the reactor, so that none starves what else there is."""
_KEEPING_NOTHING: Final = Outgoing()
"""What UNIX sockets have, which keep what is written by themselves."""


class DirectConnection(tcp.Connection):
    """The parts of a connection that receive and send.

    Once it is made, the reactor calls it with no log context of its own.

    What a program can see is what it sees of Twisted's own: a producer is paused and asked for more as if
    all that is written were queued, and errors are told in the next turn.
    """

    protocol: Any
    producer: Any
    TLS: bool

    direct: bool
    """Whether a write goes to the system: connected in clear, nothing queued before it, no pull producer."""
    _lost: int | None = None
    """The error by which the system has told that the connection is lost, as it does but once: a later `recv`
    says that it ended."""
    _outgoing: Outgoing
    """Who has something kept while events are passed on."""
    kept: bytes
    """What is kept of this connection."""
    _most: int
    """What `bufferSize` is, found sooner."""
    _most_kept: int
    """Bytes that are kept at most."""
    _room: int
    """Bytes that are asked for at once."""
    _full_reads = 0
    """How often a buffer of the usual size was full."""
    _until_much: int
    """Bytes that may be written directly until it is looked whether a producer writes without an end."""
    _large_pieces = 0
    """How often as much was written in large pieces since then."""
    _has_much = False
    """Whether a producer has written much since the last turn that was asked for then."""

    def __init__(self, *arguments: Any) -> None:
        self._room = SMALL
        self.bufferSize = FileDescriptor.bufferSize
        self.direct = False
        self.kept = b""
        self._outgoing = _KEEPING_NOTHING
        super().__init__(*arguments)

    @property
    def bufferSize(self) -> int:
        """Bytes that are received at once, and queued until a producer is told to pause."""
        return self._most

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._most = self._until_much = size
        self._most_kept = min(size, KEPT_MOST)
        self._room = min(self._room, size)

    def doRead(self) -> Any:
        """See `IReadDescriptor.doRead`."""
        return self.receive()

    def receive(self) -> Any:
        """Receive once, what fits, and deliver it."""
        room = self._room
        try:
            data = self.socket.recv(room)
        except BlockingIOError:
            return None
        except OSError as error:
            self._lost = error.errno
            return CONNECTION_LOST
        if len(data) == room:
            data = self._fill_up(data, self.socket.recv)
        if data:
            self.protocol.dataReceived(data)
            return None
        return CONNECTION_LOST if self._lost else CONNECTION_DONE

    def _fill_up(self, data: bytes, receive: Callable[[int], bytes]) -> bytes:
        """Have more room from now on, as all there was is full; return what has come of this message."""
        size, most = len(data), self._most
        if size < most:
            # What came together is delivered together: if a connection is closed with something unread, its
            # peer may lose what it was sent last.
            self._room = most
            try:
                data += receive(most - size)
            except BlockingIOError:
                pass
            except OSError as error:
                self._lost = error.errno
        elif size == FileDescriptor.bufferSize:
            self._full_reads += 1
            if self._full_reads == BULK_AFTER:
                self.bufferSize = self._room = BULK
        return data

    def write(self, data: bytes) -> None:
        """Send `data`, or as much as the system takes; the rest follows when it takes more.

        While several events are passed on, a little is kept a moment, to be sent with what others write.
        """
        if self.direct and type(data) is bytes:
            outgoing = self._outgoing
            if outgoing.keeping:
                kept = self.kept
                size = len(kept) + len(data) if kept else len(data)
                if size <= self._most_kept or outgoing.sending:
                    if kept:
                        self.kept = kept + data
                    else:
                        self.kept = data
                        outgoing.append(self)
                    return
                self._until_much -= len(kept)
                outgoing.send()
                if not self.direct:  # what was kept could not be sent, and goes first
                    FileDescriptor.write(self, data)
                    return
            try:
                sent = self.socket.send(data)
            except OSError as error:
                sent = self.not_sent(error)
            if sent == len(data):
                self._until_much = left = self._until_much - sent
                if left >= 0:
                    return
            self.queue_rest(data, sent)
        elif self.TLS:
            if self.connected:
                self.protocol.write(data)
        else:
            self._queue_from_now_on()  # a subclass of bytes is queued: so is what follows it
            FileDescriptor.write(self, data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec`, as `write` would its concatenation."""
        if self.direct:
            pieces = list(iovec)
            for piece in pieces:
                _dataMustBeBytes(piece)
            self.write(b"".join(pieces))
        elif self.TLS:
            if self.connected:
                self.protocol.writeSequence(iovec)
        else:
            FileDescriptor.writeSequence(self, iovec)

    def _queue_from_now_on(self) -> None:
        """Send what is kept, and have all that is written after it queued."""
        if self.direct:
            self._outgoing.send()
            self.direct = False

    def not_sent(self, error: OSError) -> int:
        """Take why `send` has sent nothing, and return 0."""
        if error.errno not in (EAGAIN, ENOBUFS, EPIPE):
            # Twisted's way is to say so in the next turn, when nobody is in the middle of something. Of a
            # connection that its peer has closed in order (EPIPE) that turn reads the end, as Twisted does.
            self._lost = error.errno
        return 0

    def queue_rest(self, data: bytes, sent: int) -> None:
        """Queue what the system did not take; have a producer pause after as much as would fill the queue.

        One that writes in many pieces is paused when it has filled it twice in one turn of the reactor, or
        `LARGE_PIECES` times as often if they are large.
        """
        size = len(data)
        if sent < size:
            self.direct = False
            self._tempDataBuffer.append(data[sent:] if sent else data)
            self._tempDataLen = size - sent
            self.startWriting()
        is_much = size > self._most
        if self._until_much < 0:
            self._until_much = self._most
            self._large_pieces += 1
            if self.producer is not None and (2 * size < self._most or self._large_pieces >= LARGE_PIECES):
                self._large_pieces = 0
                is_much, self._has_much = is_much or self._has_much, True
                self.startWriting()
        if is_much and self.producer is not None:
            self.producerPaused = True
            self.startWriting()
            self.producer.pauseProducing()

    def doWrite(self) -> Any:
        """Send what is queued, now that the system takes more."""
        if self.direct:
            self._outgoing.send()
        self._has_much = False
        result = super().doWrite()
        self.direct = self._may_send() and not self.TLS
        return result

    def _may_send(self) -> bool:
        """Return whether nothing goes before what would be sent now."""
        return bool(self.connected) and not (
            self.dataBuffer
            or self._tempDataBuffer
            or self._writeDisconnected
            or self._lost
            or self._aborting  # by a producer that was asked for more
            or (self.producer is not None and not self.streamingProducer)
        )

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer.registerProducer`."""
        if not streaming and self.direct:
            self._queue_from_now_on()  # it is asked for more when the queue is empty: so there must be one,
            self.startWriting()  # and it is asked so for what has been sent before it came, too
        super().registerProducer(producer, streaming)

    def send_kept(self) -> None:
        """Send what is kept until the end of an event, as the reactor is turned in the middle of it."""
        protocol = self.protocol if self.connected else None
        while protocol is not None:
            if isinstance(protocol, DirectTLSTransport):
                protocol.send_kept()
            protocol = getattr(protocol, "wrappedProtocol", None)

    def connectionLost(self, reason: Any) -> None:
        """Take the end of the connection; if the system has said what ended it, the reason says so, too."""
        self.direct = False
        # Of a connection that is not being read only epoll has told that it is lost, which does not say why.
        if type(reason.value) is ConnectionLost and (number := self._lost or self._untold_error()):
            reason = lost_by(OSError(number, os.strerror(number)))
        super().connectionLost(reason)

    def _untold_error(self) -> int:
        """Return the error that the system has yet to tell of; 0 if there is none."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def abortConnection(self) -> None:
        """Send nothing more, and reset the connection in the next turn."""
        self.direct = False
        super().abortConnection()

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """See `ITLSTransport.startTLS`."""
        self._queue_from_now_on()
        startTLS(self, ctx, normal, _Beneath)


class _Beneath(FileDescriptor):
    """What TLS uses of a connection after `startTLS`, when its own methods are those of TLS."""

    # Twisted calls these as functions, with the connection itself for `self`.

    def write(self: Any, data: bytes) -> None:
        """Send the bytes of TLS."""
        if not self._may_send():
            FileDescriptor.write(self, data)
            return
        try:
            sent = self.socket.send(data)
        except OSError as error:
            sent = self.not_sent(error)
        self._until_much -= sent
        self.queue_rest(data, sent)


class Server(DirectConnection, tcp.Server):
    """An accepted TCP connection."""

    def __init__(
        self, sock: Any, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        super().__init__(sock, protocol, client, server, sessionno, reactor)
        self._outgoing = reactor.outgoing
        self.direct = True


class BeingMade:
    """What a connection that is being made has from the beginning.

    Python has the attributes of an instance in an array, where they are found soonest and take the least
    room, if those before it had the same in the same order. A hundred connections that are being made have
    none yet of what Twisted sets later. So it is set here, and those that are made after them have it too.
    """

    def __init__(self, *arguments: Any) -> None:
        connection: Any = self
        connection.connected, connection.logstr = connection.connected, connection.logstr
        connection.doRead = connection.doWrite = connection.realAddress = None
        del connection.doRead, connection.doWrite, connection.realAddress  # which leaves them their places
        super().__init__(*arguments)


class Client(DirectConnection, BeingMade, tcp.Client):
    """A TCP connection that we made."""

    def _connectDone(self) -> None:
        reactor: Any = self.reactor
        self._outgoing = reactor.outgoing
        self.direct = True
        super()._connectDone()

    def meet_error(self) -> bool:
        """Learn why it cannot be made, and fail with that; return whether it was still being made."""
        if self.connected:
            return False
        self.doConnect()
        return True


class Connector(tcp.Connector):
    """Makes `Client`s."""

    def _makeTransport(self) -> Any:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class AcceptsInBursts(tcp.Port):
    """What of a port accepts connections."""

    def doRead(self) -> None:
        """Accept what waits, within bounds: Twisted's own has none while more comes."""
        super().doRead()
        self.numberAccepts = min(self.numberAccepts, ACCEPTS)


class Port(AcceptsInBursts):
    """A TCP port; accepts `Server`s."""

    transport = Server
