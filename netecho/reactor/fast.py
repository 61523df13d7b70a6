"""The reactor itself: how it waits, and how an event gets from epoll to its transport."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Mapping
from functools import partial
from select import EPOLLERR, EPOLLET, EPOLLIN
from time import monotonic, time
from typing import Any, Final

from twisted.internet import error
from twisted.internet.base import _topHandler
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log

from netecho.reactor import datagrams, streams, unixstreams
from netecho.reactor.enduring import EnduringPort
from netecho.reactor.logcontext import TurnContext, with_present_context
from netecho.reactor.outgoing import Outgoing
from netecho.reactor.timers import Alarm
from netecho.reactor.tls import DirectTLSFactory
from netecho.reactor.waiting import BusyPoll

DIRECT: Final = (streams.DirectConnection.doRead, datagrams.Port.doRead)
"""A transport whose `doRead` is one of these is read from without a log context of its own, by its `receive`,
which does the same. (Python finds `receive` in the class; it would look for a `doRead` in each instance
first, as Twisted gives another one to those that connect.) Whoever replaces a connection's `doRead` has to do
so before it is read from."""
LONGEST: Final = 86_400.0
"""Seconds to wait for events at most, before looking again at what is due."""
EVENTS: Final = 42
"""Events taken from epoll in one turn, so that no peer waits for longer than these take; the next turn begins
with those that were left. On x86-64, as many as have room in the largest object of Python's own
allocator."""


class Watched(dict[int, Any]):
    """What a reactor watches, by file descriptor.

    Attributes:
        table: a list by file descriptor of those that are `DIRECT`, with `None` for all others.
    """

    __slots__ = ("table",)  # Python finds it sooner than in the `__dict__` that a dict's subclass has else

    def __init__(self, selectables: Mapping[int, Any]) -> None:
        super().__init__()
        self.table: list[streams.DirectConnection | datagrams.Port | None] = []
        for fd, selectable in selectables.items():
            self[fd] = selectable

    def make_room(self, fd: int) -> None:
        """Have the table reach as far as `fd`: all that epoll reports is looked for in it."""
        if fd >= len(self.table):
            self.table.extend([None] * (fd + 1))

    def __setitem__(self, fd: int, selectable: Any) -> None:
        super().__setitem__(fd, selectable)
        self.make_room(fd)
        is_direct = getattr(getattr(selectable, "doRead", None), "__func__", None) in DIRECT
        self.table[fd] = selectable if is_direct else None

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        self.table[fd] = None


class FastReactor(EPollReactor):
    """Twisted's epoll reactor with its hot paths replaced; see `netecho.reactor`.

    `seconds` counts from 1970, as `IDelayedCall.getTime` has to, by what the wall clock said when the reactor
    was made. From then on it is monotonic: no delayed call moves when that clock is set (twisted#2424).

    Args:
        busy_poll: for how many seconds it waits awake before it sleeps, where that helps; see `BusyPoll`.
    """

    KEPT_FROM = 2
    """Events in a turn that make it worth while to keep what is written, and to send it together."""
    KEPT_LONGEST = 0.01
    """Seconds that a turn's events may take; if they take longer, what is written in the next is not kept."""

    _selectables: Watched

    def __init__(self, busy_poll: float = 0.0) -> None:
        self._monotonic_epoch = time() - monotonic()
        self._turn = TurnContext()
        self.outgoing = Outgoing()
        self._is_slow = False
        # Looked at in every turn: Python finds it sooner in the instance than in the class.
        self._kept_from = self.KEPT_FROM
        self._alarm: Alarm | None = None
        super().__init__()
        self._busy_poll = BusyPoll(self._poller.poll, busy_poll)
        self._wait = self._busy_poll.poll if busy_poll else self._poller.poll
        self._selectables = Watched(self._selectables)
        with contextlib.suppress(OSError):  # no descriptor left, perhaps: epoll's timeouts serve too
            self._alarm = Alarm()
            self._selectables.make_room(self._alarm.fileno())
            self._poller.register(self._alarm.fileno(), EPOLLIN | EPOLLET)

    @property
    def busy_polled(self) -> float:
        """For how many seconds it has waited awake so far: processor time, but no work."""
        return self._busy_poll.awake

    def seconds(self) -> float:
        """See `IReactorTime.seconds`."""
        return monotonic() + self._monotonic_epoch

    def mainLoop(self) -> None:
        """Run until `stop`: what is due, then what has happened, again and again."""
        self._turn.run(self._loop)
        log.msg("Main loop terminated.")

    def _loop(self) -> None:
        # `while True`: of a function that is called only once, Python 3.11 begins to specialise the bytecode
        # at unconditional jumps back, and at no others.
        do_iteration = self.doIteration  # looked up again now and then: who counts turns may replace it
        while self._started:
            with _topHandler:
                while True:
                    if not self._started:
                        break
                    timeout: float | None
                    if self._newTimedCalls or self.threadCallQueue or self._justStopped:
                        timeout = 0.0
                    elif self._pendingTimedCalls:
                        timeout = self._pendingTimedCalls[0].time - self.seconds()
                        if timeout > LONGEST:
                            timeout = LONGEST
                    else:
                        timeout = None
                    if timeout is not None and timeout <= 0.0:
                        self.runUntilCurrent()
                        timeout = self.timeout()
                        do_iteration = self.doIteration
                    do_iteration(timeout if self.running else 0)

    def iterate(self, delay: float = 0.0) -> None:
        """See `IReactorCore.iterate`. A protocol may call it, to wait for the answer to what it wrote."""
        current = self._turn.current
        if isinstance(current, streams.DirectConnection):
            current.send_kept()
        outgoing = self.outgoing
        outgoing.send()
        keeping, outgoing.keeping = outgoing.keeping, False
        turn = self._turn
        entered, turn.entered = turn.entered, False
        try:
            super().iterate(delay)
        finally:
            turn.entered = entered
            outgoing.keeping = keeping

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, `timeout` seconds at most (`None`: for ever), and pass them on.

        Each event's transport is called, and disconnected if it says so or fails; what they wrote is sent.
        """
        # In one piece: each function call delays a lone event, which finds nothing in the processor's caches.
        turn = self._turn
        if not turn.entered:
            turn.run(self.doPoll, timeout)
            return
        if timeout and timeout > 0.0 and self._alarm is not None:
            timeout = self._alarm.timeout(timeout)
        try:
            events = self._wait(timeout, EVENTS)
        except OSError as failure:
            if failure.errno == errno.EINTR:
                return
            raise
        if not events:
            return
        table, outgoing = self._selectables.table, self.outgoing
        before, are_several = turn.current, False
        if len(events) >= self._kept_from:
            are_several = True
            outgoing.keeping = not self._is_slow
            begun = monotonic()
        readable = EPOLLIN  # a local name is found sooner
        try:
            for fd, event in events:
                transport = table[fd]
                if transport is None:
                    self._dispatch_other(fd, event)
                    continue
                turn.current = transport
                try:
                    if event == readable:
                        try:
                            why = transport.receive()
                        except BaseException as failure:
                            log.err()
                            self._disconnectSelectable(transport, failure, False)
                        else:
                            if why:
                                self._disconnectSelectable(transport, why, True)
                    else:
                        self._doReadOrWrite(transport, fd, event)
                except KeyboardInterrupt:
                    raise
                except BaseException:  # of a protocol's `connectionLost`
                    log.err()
        finally:
            turn.current = before
            if are_several:
                outgoing.keeping = False
                self._is_slow = monotonic() - begun > self.KEPT_LONGEST
                if outgoing:
                    outgoing.send()

    doIteration = doPoll

    def _initThreadPool(self) -> None:
        """See `ReactorBase`. Threads get a copy of the log context, as ours changes with each event."""
        super()._initThreadPool()
        pool: Any = self.threadpool
        pool.callInThreadWithCallback = partial(with_present_context, pool.callInThreadWithCallback)

    def _doReadOrWrite(self, selectable: Any, fd: int, event: int) -> None:
        """See `_PollLikeMixin`, which takes any error for the end of a connection.

        A UDP port outlives errors. And when a connection cannot be made, the socket knows the reason that a
        firewall or a router has given, for which Twisted does not ask.
        """
        is_alone = event & EPOLLERR and not event & EPOLLIN
        refused = is_alone and isinstance(selectable, (EnduringPort, streams.Client))
        if not (refused and selectable.meet_error()):
            super()._doReadOrWrite(selectable, fd, event)

    def _dispatch_other(self, fd: int, event: int) -> None:
        """Pass on an event of what is no transport of ours, or is still connecting, as Twisted does."""
        selectable = self._selectables.get(fd)
        if selectable is not None:  # not gone since, by what another event did, nor our alarm
            self._turn.current = selectable
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    # Methods that make transports. Twisted's have no hook by which they would make ours.

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

    def listenSSL(
        self, port: Any, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        """See `IReactorSSL.listenSSL`."""
        clock: Any = self
        secure = DirectTLSFactory(contextFactory, False, factory, clock)
        listening = self.listenTCP(port, secure, backlog, interface)
        listening._type = "TLS"
        return listening

    def connectSSL(
        self,
        host: str,
        port: int,
        factory: Any,
        contextFactory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> Any:
        """See `IReactorSSL.connectSSL`."""
        clock: Any = self
        secure = DirectTLSFactory(contextFactory, True, factory, clock)
        return self.connectTCP(host, port, secure, timeout, bindAddress)

    def listenUDP(self, port: Any, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        """See `IReactorUDP.listenUDP`."""
        listening = datagrams.Port(port, protocol, interface, maxPacketSize, self)
        listening.startListening()
        return listening

    def listenMulticast(
        self,
        port: Any,
        protocol: Any,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> Any:
        """See `IReactorMulticast.listenMulticast`."""
        reactor: Any = self
        listening = datagrams.MulticastPort(port, protocol, interface, maxPacketSize, reactor, listenMultiple)
        listening.startListening()
        return listening

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        """See `IReactorUNIX.listenUNIX`."""
        listening = unixstreams.UNIXPort(address, factory, backlog, mode, self, wantPID)
        listening.startListening()
        return listening

    def connectUNIX(self, address: Any, factory: Any, timeout: float = 30, checkPID: int = 0) -> Any:
        """See `IReactorUNIX.connectUNIX`."""
        connector = unixstreams.UNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamPort`."""
        self._check_family(addressFamily)
        listening: Any
        if addressFamily == socket.AF_UNIX:
            listening = unixstreams.UNIXPort._fromListeningDescriptor(self, fileDescriptor, factory)
        else:
            listening = streams.Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamConnection`."""
        self._check_family(addressFamily)
        if addressFamily == socket.AF_UNIX:
            return unixstreams.UNIXServer._fromConnectedSocket(fileDescriptor, factory, self)
        return streams.Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)

    def adoptDatagramPort(
        self, fileDescriptor: int, addressFamily: Any, protocol: Any, maxPacketSize: int = 8192
    ) -> Any:
        """See `IReactorSocket.adoptDatagramPort`."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            raise error.UnsupportedAddressFamily(addressFamily)
        listening = datagrams.Port._fromListeningDescriptor(
            self, fileDescriptor, addressFamily, protocol, maxPacketSize
        )
        listening.startListening()
        return listening

    def _check_family(self, family: Any) -> None:
        if family not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(family)


def install(*, busy_poll: float = 0.0) -> FastReactor:
    """Install it as the global reactor, and return it; see `netecho.reactor.install`.

    What runs children on a parent's reactor, as Twisted's own tests do, calls the `install` of the module
    that has its class.

    Raises:
        ReactorAlreadyInstalledError: something has imported `twisted.internet.reactor` already.
    """
    reactor = FastReactor(busy_poll)
    installReactor(reactor)
    return reactor
