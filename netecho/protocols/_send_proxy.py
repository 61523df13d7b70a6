"""Connections of a client that begin with a PROXY header, as with HAProxy's `send-proxy`."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from netecho.plans import ProxyPlan
from netecho.protocols._proxy_header import header_for


class SendProxy(Protocol):
    """Sends the header, and then leaves the connection to another protocol.

    Args:
        plan: what the header says.
        successor: the protocol that talks then, in TLS perhaps.
    """

    transport: Any

    def __init__(self, plan: ProxyPlan, successor: Any) -> None:
        self._plan = plan
        self.successor = successor

    def connectionMade(self) -> None:
        """Send the header, and connect the successor."""
        transport = self.transport
        transport.write(header_for(self._plan, transport.getHost(), transport.getPeer()))
        self.successor.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what comes before the endpoint has let go of the connection."""
        self.successor.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on that the connection has ended before that."""
        self.successor.connectionLost(reason)


class SendProxyFactory(Factory):
    """Builds a `SendProxy` for each protocol that another factory builds."""

    noisy = False

    def __init__(self, plan: ProxyPlan, factory: Any) -> None:
        self._plan = plan
        self._factory = factory

    def buildProtocol(self, addr: Any) -> SendProxy:
        """See `Factory.buildProtocol`."""
        return SendProxy(self._plan, self._factory.buildProtocol(addr))
