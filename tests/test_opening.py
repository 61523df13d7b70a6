"""How long the steps take by which a connection is opened."""

from __future__ import annotations

import pathlib
import socket
import ssl
import threading
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from netecho import protocols
from netecho.options import resolve_target
from netecho.plans import ClientTLS
from netecho.protocols._contract import Route
from netecho.services import tls
from netecho.services.opening import Opening
from tests import reactors
from tests.benches import serving
from tests.servers import TIMEOUT
from tests.test_bench_peers import certificate  # noqa: F401 - a fixture


def test_steps() -> None:
    """Connecting ends where the handshake begins."""
    now = 100
    opening = Opening(lambda: now)
    assert opening.connect_ns is None
    now = 130
    opening.on_connected()
    assert opening.connect_ns == 30
    assert opening.handshake_ns(200) == 70


def test_handshake_alone() -> None:
    """Where it is the handshake that connects, that is all there is."""
    opening = Opening(lambda: 100)
    assert opening.connect_ns is None
    assert opening.handshake_ns(200) == 100


def test_a_protocol_that_begins_late() -> None:
    """What it says when the handshake is over is no part of that, nor what it said before, with STARTTLS."""
    opening = Opening(iter([100, 130, 170, 260]).__next__)
    opening.on_connected()
    opening.on_connected()
    assert (opening.connect_ns, opening.handshake_ns(500)) == (30, 40)
    opening.on_connected()
    assert (opening.connect_ns, opening.handshake_ns(500)) == (30, 90)


@pytest.mark.parametrize(
    ("scheme", "said", "steps"),
    [
        ("wss", [], 2),
        ("smtps", [], 2),
        ("smtp", [b"220 it.example\r\n", b"250-it.example\r\n250 STARTTLS\r\n", b"220 go on\r\n"], 3),
    ],
)
def test_a_server_that_says_nothing_in_tls(
    scheme: str,
    said: list[bytes],
    steps: int,
    certificate: pathlib.Path,  # noqa: F811
) -> None:
    """Each step is told when it is there, and not when the protocol above has begun: here it never does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    over = threading.Event()

    def shake_hands(connection: socket.socket) -> None:
        for number, line in enumerate(said):
            if number:
                connection.recv(100)
            connection.sendall(line)
        with context.wrap_socket(connection, server_side=True):
            over.wait(TIMEOUT)

    async def scenario(reactor: Any) -> None:
        target = resolve_target(url, None, None, False)
        security = tls.for_client(ClientTLS(authorities=str(certificate / "ca.pem")), target.host, {})
        route = Route(target, (target.host,), tls=security, starttls=bool(said))
        told: list[None] = []
        all_told: Deferred[None] = Deferred()

        def on_connected() -> None:
            told.append(None)
            if len(told) == steps:
                reactor.callLater(0, all_told.callback, None)

        adapter = protocols.for_target(target)
        connecting = adapter.connect(reactor, route, lambda *_: None, lambda _: None, on_connected)
        connecting.addErrback(lambda failure: failure.trap(CancelledError))
        await all_told
        connecting.cancel()

    with serving(shake_hands) as plain:
        url = plain.replace("tcp", scheme)
        try:
            reactors.run("fast", scenario)
        finally:
            over.set()
