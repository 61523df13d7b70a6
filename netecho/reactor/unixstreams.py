"""Connections and listeners on UNIX sockets, as `netecho.reactor.streams` has them for TCP."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterable
from typing import Any, Final

from twisted.internet import unix
from twisted.internet._newtls import startTLS
from twisted.internet.abstract import FileDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python import log

from netecho.reactor.streams import AcceptsInBursts, BeingMade, DirectConnection

ANCILLARY: Final = socket.CMSG_SPACE(4096)
"""Bytes of ancillary data (file descriptors) that are received at once, as in Twisted."""


class UNIXConnection(DirectConnection):
    """A connection on a UNIX socket, which may carry file descriptors beside bytes.

    A descriptor is sent with the bytes that are written in the same turn, before or after it. So what is
    written while something is being received is not sent before all of that has been delivered.
    """

    _sendmsgQueue: list[int]
    _ancillaryLevelSOLSOCKETTypeSCMRIGHTS: Any

    def __init__(self, *arguments: Any) -> None:
        # Attributes that sending sets: they are made here, as in `BeingMade`.
        self.dataBuffer, self.offset, self.producerPaused = b"", 0, False
        self._receiving = False
        self._asked = False
        """Whether there has been something to send, or a connection to close, since it began to receive."""
        super().__init__(*arguments)

    def receive(self) -> Any:
        """Receive once what is there, deliver it, and send what was written meanwhile."""
        room = self._room
        try:
            data, ancillary, _, _ = self.socket.recvmsg(room, ANCILLARY)
        except BlockingIOError:
            return None
        except OSError as error:
            self._lost = error.errno
            return CONNECTION_LOST
        if len(data) == room and not ancillary:
            data = self._fill_up(data, functools.partial(self._receive_more, ancillary))
        self._receiving, self._asked = True, False
        try:
            if ancillary:
                self._take_ancillary(ancillary)
            if data:
                self.protocol.dataReceived(data)
        finally:
            self._receiving = False
        if self._asked:
            self._flush()
        return None if data else CONNECTION_LOST if self._lost else CONNECTION_DONE

    def _receive_more(self, ancillary: list[tuple[int, int, bytes]], size: int) -> bytes:
        data, more, _, _ = self.socket.recvmsg(size, ANCILLARY)
        ancillary += more
        return data

    def _take_ancillary(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Deliver file descriptors; say of anything else that it is not supported, as Twisted does."""
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._ancillaryLevelSOLSOCKETTypeSCMRIGHTS(data)
            else:
                log.msg(
                    format="%(protocolName)s (on %(hostAddress)r) received unsupported ancillary data "
                    "(level=%(cmsgLevel)r, type=%(cmsgType)r) from %(peerAddress)r.",
                    hostAddress=self.getHost(),
                    peerAddress=self.getPeer(),
                    protocolName=self._getLogPrefix(self.protocol),
                    cmsgLevel=level,
                    cmsgType=kind,
                )

    def _flush(self) -> None:
        """Send what has been written in this event, or ask epoll when it can be."""
        pieces = self._tempDataBuffer
        if self.disconnecting or self._writeDisconnecting or not pieces:
            self.startWriting()
        elif self._sendmsgQueue or self.dataBuffer or self.producerPaused or not self.direct:
            if self.doWrite() is not None or self.dataBuffer:
                self.startWriting()  # the rest, or an error, which is then met again
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._tempDataLen = 0
            try:
                sent = self.socket.send(data)
            except OSError as error:
                sent = self.not_sent(error)
            if sent != len(data):
                self.queue_rest(data, sent)

    def send_kept(self) -> None:
        """See `DirectConnection`."""
        super().send_kept()
        self._receiving = False
        if self._asked:
            self._asked = False
            self.startWriting()

    def startWriting(self) -> None:
        """Ask epoll when the socket takes more, unless it is tried anyway at the end of this event."""
        if self._receiving:
            self._asked = True
        else:
            super().startWriting()

    def stopWriting(self) -> None:
        """Have nothing more to send."""
        self._asked = False
        super().stopWriting()

    def write(self, data: bytes) -> None:
        """Queue `data`, through TLS once that has been started."""
        if self._receiving and self.direct and type(data) is bytes and data:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
            self._asked = True
            if self._tempDataLen > self.bufferSize:
                self._maybePauseProducer()
        elif self.TLS:
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
        self.direct = False  # for good: what is written from now on is for TLS to encrypt first
        startTLS(self, ctx, normal, FileDescriptor)


class UNIXServer(UNIXConnection, unix.Server):
    """An accepted connection on a UNIX socket."""


class UNIXClient(UNIXConnection, BeingMade, unix.Client):
    """A connection to a UNIX socket."""


class UNIXConnector(unix.Connector):
    """Makes `UNIXClient`s."""

    def _makeTransport(self) -> Any:
        return UNIXClient(self.address, self, self.reactor, self.checkPID)


class UNIXPort(AcceptsInBursts, unix.Port):
    """A UNIX socket that listens; accepts `UNIXServer`s."""

    transport = UNIXServer
