"""The client side of datagrams, on sockets of each reactor."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import udp
from twisted.internet.error import CannotListenError

from netecho.plans import ClientTLS, SocketOptions, Target
from netecho.protocols import for_target
from netecho.protocols._contract import Route
from netecho.services import tls
from tests import reactors

NOBODY = "255.255.255.255"
"""An address to which a socket cannot be connected, unless it asks to be allowed to."""
TARGETS = [
    Target("udp", "udp", host=NOBODY),
    Target("dtls", "udp", True, NOBODY, is_dtls=True),
    Target("stamp", "stamp", host=NOBODY),
]


@pytest.mark.parametrize("kind", reactors.KINDS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_port_that_cannot_be_connected_is_closed(kind: str, target: Target) -> None:
    """While there is no way to a target, each attempt to go there takes a port no longer than it lasts."""

    async def scenario(reactor: Any) -> None:
        client = tls.for_client(ClientTLS(insecure=True), NOBODY, datagrams=True) if target.secure else None
        told: list[Any] = []
        route = Route(target, (NOBODY,), tls=client)
        with pytest.raises(PermissionError):
            await for_target(target).connect(reactor, route, lambda *_: None, told.append)
        ports = [one for one in reactor.getReaders() if isinstance(one, udp.Port)]
        assert ports == []
        assert told == []

    reactors.run(kind, scenario)


@pytest.mark.parametrize("kind", reactors.KINDS)
def test_zone_that_cannot_be_sent_from(kind: str) -> None:
    """An address with a zone that is none of this machine's is told as one without a zone is."""

    async def scenario(reactor: Any) -> None:
        route = Route(Target("udp", "udp", host="::1"), ("::1",), SocketOptions(source="fe80::1%lo"))
        with pytest.raises(CannotListenError):
            await for_target(route.target).connect(reactor, route, lambda *_: None, lambda _: None)

    reactors.run(kind, scenario)
