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
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
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
    is_secure: bool = False
    wrap: Callable[[Any, bool, Any], Any] | None = None
    """Puts TLS beneath a factory's protocols, given the reactor and whether it is a client's; where it is
    `None`, the reactor does."""

    def __str__(self) -> str:
        return self.name


class _Factory(ClientFactory):
    """Gives out, one after the other, the protocols that are put into it."""

    noisy = False

    def __init__(self, *protocols: Protocol) -> None:
        self.protocols = list(protocols)

    def buildProtocol(self, addr: Any) -> Any:
        return self.protocols.pop(0)


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Context:
    """Makes the OpenSSL side of connections, of a server if it has a certificate; trusts everybody."""

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        if certificate is not None:
            certificate.configure_cert(self._context)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802 - Twisted's
        return SSL.Connection(self._context, None)

    clientConnectionForTLS = serverConnectionForTLS  # noqa: N815


@functools.cache
def server_context() -> Any:
    """Return what makes the OpenSSL side of a server's connections."""
    return _Context(trustme.CA().issue_cert("localhost"))


@functools.cache
def client_context() -> Any:
    """Return what makes the OpenSSL side of a client's."""
    return _Context()


def _context(is_client: bool) -> Any:
    return client_context() if is_client else server_context()


def _twisted_tls(reactor: Any, is_client: bool, wrapped: Any) -> Any:
    return TLSMemoryBIOFactory(_context(is_client), is_client, wrapped, reactor)


def _netecho_tls(reactor: Any, is_client: bool, wrapped: Any) -> Any:
    return HalfCloseableTLSFactory(_context(is_client), is_client, wrapped, reactor)


TCP: Final = Link("tcp", half_closes=True)
UNIX: Final = Link("unix", half_closes=True, is_unix=True)
SSL_BY_REACTOR: Final = Link("ssl", half_closes=False, is_secure=True)
TLS: Final = Link("tls", half_closes=False, is_secure=True, wrap=_twisted_tls)
HALF_TLS: Final = Link("half-tls", half_closes=True, is_secure=True, wrap=_netecho_tls)
LINKS: Final = (TCP, UNIX, SSL_BY_REACTOR, TLS, HALF_TLS)


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
        factory: Any = self._factory if link.wrap is None else link.wrap(reactor, False, self._factory)
        if link.is_unix:
            self._name = f"\0netecho-tests-{os.getpid()}-{next(self._names)}"
            self.port = reactor.listenUNIX(self._name, factory)
            return
        if link.is_secure and link.wrap is None:
            self.port = reactor.listenSSL(0, factory, server_context(), interface="127.0.0.1")
        else:
            self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._shrink(self.port.socket)  # these go over to the connections that are accepted

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
        if self._link.wrap is not None:
            factory = self._link.wrap(self._reactor, True, factory)
        if self._link.is_unix:
            return self._reactor.connectUNIX(self._name, factory)
        number = self.port.getHost().port
        if self._link.is_secure and self._link.wrap is None:
            connector = self._reactor.connectSSL("127.0.0.1", number, factory, client_context())
        else:
            connector = self._reactor.connectTCP("127.0.0.1", number, factory)
        self._shrink(connector.transport.socket)
        return connector


def raw(transport: Any) -> Any:
    """Return the transport that has the socket, beneath any TLS."""
    while (beneath := getattr(transport, "transport", None)) is not None:
        transport = beneath
    return transport
