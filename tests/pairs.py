"""Two protocols that talk to each other over a real socket, both in one reactor."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any, Final

import trustme
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.protocols._tls import HalfCloseableTLSFactory
from tests.reactors import turn

Action = Callable[[Any], object]


class Recorder(Protocol):
    """A protocol that records what it is told, in order, and then does what the test wants of it.

    Args:
        actions: by the name of what it is told ("made", "data", "read closed", "write closed", "lost"),
            what is called then, with this protocol.
    """

    transport: Any

    def __init__(self, actions: dict[str, Action] | None = None) -> None:
        self.actions = dict(actions or {})
        self.told: list[str] = []
        self.received = bytearray()
        self.reason: Failure | None = None

    def _tell(self, what: str) -> None:
        if what != "data" or self.told[-1:] != ["data"]:  # in how many pieces it comes is nobody's concern
            self.told.append(what)
        if (action := self.actions.get(what)) is not None:
            action(self)

    def connectionMade(self) -> None:
        """Record it."""
        self._tell("made")

    def dataReceived(self, data: bytes) -> None:
        """Record it."""
        self.received += data
        self._tell("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record it."""
        self.reason = reason
        self._tell("lost")

    @property
    def lost(self) -> type[BaseException] | None:
        """Return the class of the reason for which the connection was lost, if it was."""
        return None if self.reason is None else self.reason.type


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """One that is told when a direction closes, and goes on with the other."""

    def readConnectionLost(self) -> None:
        """Record it."""
        self._tell("read closed")

    def writeConnectionLost(self) -> None:
        """Record it."""
        self._tell("write closed")


@implementer(IFileDescriptorReceiver)
class DescriptorRecorder(HalfRecorder):
    """One that takes descriptors too, and records after how many bytes each came."""

    def __init__(self, actions: dict[str, Action] | None = None) -> None:
        super().__init__(actions)
        self.descriptors: list[int] = []

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Record it."""
        os.close(descriptor)
        self.descriptors.append(len(self.received))


@dataclasses.dataclass(frozen=True)
class Link:
    """A kind of connection."""

    name: str
    half_closes: bool
    """Whether each direction closes on its own."""
    is_unix: bool = False
    secure: Callable[[Any, bool, Any], Any] | None = None
    """Puts TLS beneath a factory's protocols; given the reactor and whether it is a client's."""

    def __str__(self) -> str:
        return self.name


class _Factory(ClientFactory):
    """Gives out, one after the other, the protocols that are put into it."""

    noisy = False

    def __init__(self, *protocols: Protocol) -> None:
        self.protocols = list(protocols)

    def buildProtocol(self, addr: Any) -> Any:
        return self.protocols.pop(0)


@functools.cache
def _contexts() -> tuple[Any, Any]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    both = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
    root = Certificate.loadPEM(authority.cert_pem.bytes())
    return PrivateCertificate.loadPEM(both).options(), optionsForClientTLS("localhost", trustRoot=root)


def server_context() -> Any:
    """Return what makes the OpenSSL side of a server's connections."""
    return _contexts()[0]


def client_context() -> Any:
    """Return what makes the OpenSSL side of connections to it."""
    return _contexts()[1]


def _twisted_tls(reactor: Any, is_client: bool, wrapped: Any) -> Any:
    return TLSMemoryBIOFactory(_contexts()[is_client], is_client, wrapped, reactor)


def _netecho_tls(reactor: Any, is_client: bool, wrapped: Any) -> Any:
    return HalfCloseableTLSFactory(_contexts()[is_client], is_client, wrapped, reactor)


TCP: Final = Link("tcp", half_closes=True)
UNIX: Final = Link("unix", half_closes=True, is_unix=True)
TLS: Final = Link("tls", half_closes=False, secure=_twisted_tls)
HALF_TLS: Final = Link("half-tls", half_closes=True, secure=_netecho_tls)
LINKS: Final = (TCP, UNIX, TLS, HALF_TLS)


class Listening:
    """A port whose connections get the protocols that are put here.

    Args:
        buffers: the sizes of the system's buffers for sending and receiving, in bytes; its own when `None`.
            Linux doubles what it is asked for.
    """

    _names = itertools.count()

    def __init__(self, reactor: Any, link: Link, buffers: tuple[int, int] | None = None) -> None:
        self._reactor = reactor
        self._link = link
        self._buffers = buffers
        self._factory = _Factory()
        factory: Any = self._factory
        if link.secure is not None:
            factory = link.secure(reactor, False, factory)
        if link.is_unix:
            self._name = f"\0netecho-tests-{os.getpid()}-{next(self._names)}"
            self.port = reactor.listenUNIX(self._name, factory)
        else:
            self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self._shrink(self.port.socket)  # TCP's go over to the connections that are accepted

    def _shrink(self, connection: socket.socket) -> None:
        if self._buffers is not None:
            send, receive = self._buffers
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)

    def expect(self, server: Protocol) -> None:
        """Have the next connection that nothing else waits for get this protocol."""
        self._factory.protocols.append(server)

    def connect(self, client: Protocol, server: Protocol) -> None:
        """Connect a client's protocol with a server's, and turn the reactor until both know of it."""
        self.begin(client, server)
        turn(self._reactor, lambda: client.transport is not None and server.transport is not None)
        if self._link.is_unix:
            for protocol in client, server:
                self._shrink(raw(protocol.transport).socket)

    def begin(self, client: Protocol, server: Protocol) -> Any:
        """Begin to connect them, and return the connector."""
        self.expect(server)
        factory: Any = _Factory(client)
        if self._link.secure is not None:
            factory = self._link.secure(self._reactor, True, factory)
        if self._link.is_unix:
            return self._reactor.connectUNIX(self._name, factory)
        connector = self._reactor.connectTCP("127.0.0.1", self.port.getHost().port, factory)
        self._shrink(connector.transport.socket)
        return connector


def raw(transport: Any) -> Any:
    """Return the transport that has the socket, beneath any TLS."""
    while (beneath := getattr(transport, "transport", None)) is not None:
        transport = beneath
    return transport
