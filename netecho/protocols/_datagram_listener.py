"""A listener for datagrams, and the layer between its port and the protocol that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol

from netecho.plans import Target
from netecho.protocols._datagram_server import DatagramServer
from netecho.protocols._impaired_datagrams import ImpairedPort
from netecho.protocols._inherited import adopt_datagrams
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._sockets import (
    RECEIVE_SIZE,
    bound_target,
    grow_buffers,
    has_unread,
    listen_error,
    listen_udp,
)

DRAIN_TIME: Final = 0.25
"""Seconds that a server goes on, when it ends, while datagrams come without a pause."""


class DatagramListener:
    """An open port for datagrams; provides `netecho.protocols._listener.Listener`."""

    def __init__(self, reactor: Any, port: Any, target: Target, impaired: ImpairedPort | None = None) -> None:
        self._reactor = reactor
        self._port = port
        self._impaired = impaired
        self._stopped: Deferred[None] | None = None
        self.target = target

    def _stop(self) -> Deferred[None]:
        """Close the port, once: asked again, Twisted's would never tell whoever asked first."""
        if self._stopped is None:
            self._stopped = maybeDeferred(self._port.stopListening)
        return self._stopped

    async def _read_what_waits(self) -> None:
        until = self._reactor.seconds() + DRAIN_TIME
        while self._stopped is None and has_unread(self._port.fileno()) and self._reactor.seconds() < until:
            turn: Deferred[None] = Deferred()
            self._reactor.callLater(0, turn.callback, None)
            await turn

    async def _send_what_is_held(self) -> None:
        if self._stopped is None and self._impaired is not None:
            await self._impaired.emptied()

    async def _drain(self) -> None:
        await self._read_what_waits()
        await self._send_what_is_held()
        await self._stop()

    def drain(self) -> Deferred[None]:
        """See `Listener.drain`."""
        return Deferred.fromCoroutine(self._drain())

    def abort(self) -> None:
        """See `Listener.abort`."""
        self._stop()

    def under_way(self) -> Totals:
        """See `Listener.under_way`: each datagram is counted as it comes."""
        return Totals()


def open_port(
    reactor: Any,
    listen: Callable[[Any, Target, DatagramProtocol, int | None], Any],
    target: Target,
    protocol: DatagramServer,
    settings: ListenSettings,
) -> tuple[Any, ImpairedPort | None]:
    """Open a port for a server; see `Adapter.listen`.

    Args:
        reactor: where it listens.
        listen: opens it: `listen_datagrams`, or another that takes the same.
        target: where to listen.
        protocol: the server.
        settings: how it answers.

    Returns:
        The port, and what stands between it and the protocol if anything is to be done to answers.

    Raises:
        ListenError: the system does not allow it.
    """
    impaired = None
    if settings.impairment is not None:
        impaired = ImpairedPort(reactor, protocol, settings.impairment, settings.totals)
    try:
        port = listen(reactor, target, impaired or protocol, settings.descriptor)
    except (CannotListenError, OSError) as error:
        raise listen_error(target, error) from error
    grow_buffers(port.getHandle())
    settings.udp_ports.add(port.getHost().port)
    return port, impaired


def open_listener(
    reactor: Any,
    listen: Callable[[Any, Target, DatagramProtocol, int | None], Any],
    target: Target,
    protocol: DatagramServer,
    settings: ListenSettings,
) -> DatagramListener:
    """Open a port by `open_port`; return a listener for a protocol without connections to end."""
    port, impaired = open_port(reactor, listen, target, protocol, settings)
    return DatagramListener(reactor, port, bound_target(target, port), impaired)


def listen_datagrams(reactor: Any, target: Target, protocol: DatagramProtocol, descriptor: int | None) -> Any:
    """Listen on a host and port with a plain port of Twisted's, for `open_listener` and `open_port`."""
    if descriptor is not None:
        return adopt_datagrams(reactor, descriptor, protocol, RECEIVE_SIZE)
    return listen_udp(reactor, target.port, protocol, target.host, RECEIVE_SIZE)
