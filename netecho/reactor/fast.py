"""The reactor itself: how it waits, and how an event gets from epoll to its transport."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterable
from select import EPOLLET, EPOLLIN
from typing import Any, Final

from twisted.internet import error
from twisted.internet.base import _topHandler
from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

from netecho.reactor import streams
from netecho.reactor.logcontext import TurnContext
from netecho.reactor.timers import Alarm

EVENTS: Final = 512
"""Events taken from epoll in one turn; the next turn begins with those that were left."""


class FastReactor(EPollReactor):
    """Twisted's epoll reactor with its hot paths replaced; see `netecho.reactor`.

    `seconds` is monotonic, so that no delayed call moves when the wall clock is set (twisted#2424).
    """

    seconds = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._turn = TurnContext()
        self._alarm: Alarm | None = None
        self._table: list[streams.DirectConnection | None] = [None] * 64
        """By its descriptor, each transport that is called without a log context of its own."""
        super().__init__()
        with contextlib.suppress(OSError):  # no descriptor left, perhaps: epoll's timeouts serve too
            self._alarm = Alarm()
            self._poller.register(self._alarm.fileno(), EPOLLIN | EPOLLET)

    def mainLoop(self) -> None:
        """Run until `stop`: what is due, then what has happened, again and again."""
        while self._started:
            with _topHandler:
                while self._started:
                    self.runUntilCurrent()
                    timeout = self.timeout()
                    self.doIteration(self.running and timeout)
        log.msg("Main loop terminated.")

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, `timeout` seconds at most (`None`: for ever), and pass them on."""
        if timeout is None:
            timeout = -1
        elif timeout > 0 and self._alarm is not None:
            pending = self._pendingTimedCalls
            timeout = self._alarm.timeout(timeout, pending[0].time if pending else None)
        try:
            events = self._poller.poll(timeout, min(len(self._selectables) + 1, EVENTS))
        except OSError as failure:
            if failure.errno == errno.EINTR:
                return
            raise
        if events:
            self._turn.run(self._dispatch, events)

    doIteration = doPoll

    def _dispatch(self, events: Iterable[tuple[int, int]]) -> None:
        """Call each event's transport, and disconnect it if it says so or fails."""
        table, turn = self._table, self._turn
        for fd, event in events:
            transport = table[fd]
            if transport is None:
                self._dispatch_other(fd, event)
                continue
            turn.current = transport
            if event == EPOLLIN:
                in_read = True
                try:
                    why = transport.doRead()
                except BaseException as failure:
                    why, in_read = failure, False
                    log.err()
                if why:
                    self._disconnectSelectable(transport, why, in_read)
            else:
                self._doReadOrWrite(transport, fd, event)

    def _dispatch_other(self, fd: int, event: int) -> None:
        """Do the same, as Twisted does, for whatever is not a transport of ours."""
        selectable = self._selectables.get(fd)
        if selectable is not None:  # not gone since, by what another event did, nor our alarm
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    def _add(self, xer: Any, primary: Any, other: Any, selectables: Any, event: int, antievent: int) -> None:
        super()._add(xer, primary, other, selectables, event, antievent)
        fd, table = xer.fileno(), self._table
        if fd >= len(table):
            table.extend([None] * (fd + 1))
        table[fd] = xer if isinstance(xer, streams.DirectConnection) else None

    def _remove(
        self, xer: Any, primary: Any, other: Any, selectables: Any, event: int, antievent: int
    ) -> None:
        super()._remove(xer, primary, other, selectables, event, antievent)
        fd = xer.fileno()
        if fd == -1:  # it has closed its socket: found by what it is
            fd = self._table.index(xer) if xer in self._table else fd
        if fd not in selectables:
            self._table[fd] = None

    # What makes transports: ours in place of Twisted's, which have no hook for it.

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See `IReactorTCP.listenTCP`."""
        listening = streams.Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """See `IReactorTCP.connectTCP`."""
        connector = streams.Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        """See `IReactorUNIX.listenUNIX`."""
        listening = streams.UNIXPort(address, factory, backlog, mode, self, wantPID)
        listening.startListening()
        return listening

    def connectUNIX(self, address: Any, factory: Any, timeout: float = 30, checkPID: int = 0) -> Any:
        """See `IReactorUNIX.connectUNIX`."""
        connector = streams.UNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamPort`."""
        self._check_family(addressFamily)
        listening: Any
        if addressFamily == socket.AF_UNIX:
            listening = streams.UNIXPort._fromListeningDescriptor(self, fileDescriptor, factory)
        else:
            listening = streams.Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamConnection`."""
        self._check_family(addressFamily)
        if addressFamily == socket.AF_UNIX:
            return streams.UNIXServer._fromConnectedSocket(fileDescriptor, factory, self)
        return streams.Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)

    def _check_family(self, family: Any) -> None:
        if family not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(family)
