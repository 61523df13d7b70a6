"""Connections of servers that have ended, of which nothing is left for the garbage collector to find."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import pathlib
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hyperframe.frame import SettingsFrame
from twisted.internet.task import deferLater

from netecho.plans import RequestPlan
from netecho.protocols._http_limits import WEBSOCKET_PATH
from netecho.protocols._http_server import PREFACE
from tests import reactors
from tests.test_conformance import Both

SCHEMES = ("tcp", "tls", "unix", "http", "https", "ws", "wss", "smtp", "smtps")
_CORES = ("_parser", "_h2", "_protocol")
"""The attributes under which what speaks HTTP or WebSocket keeps the core of a library's."""
UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from running."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parts_of(connection: Any) -> list[weakref.ref[Any]]:
    """Return references to a connection and to what serves it that keep nothing alive."""
    wire = getattr(connection, "wire", None)
    parts = [connection, connection.transport, wire, *(getattr(wire, name, None) for name in _CORES)]
    found: list[weakref.ref[Any]] = []
    for part in parts:
        with contextlib.suppress(TypeError):  # None, and what is written in C
            found.append(weakref.ref(part))
    return found


async def parts_that_stay(reactor: Any, connections: set[Any], parts: list[weakref.ref[Any]]) -> list[Any]:
    """Wait until there is no connection, and return what is left of one."""
    while connections:
        await deferLater(reactor, 0)
    await deferLater(reactor, 0)  # in this turn it is still told of its end
    return [part() for part in parts if part() is not None]


@pytest.mark.parametrize("aborted", [False, True], ids=["closed", "aborted"])
@pytest.mark.parametrize("scheme", [*SCHEMES, "http/2", "https/2", "smtp/starttls"])
@pytest.mark.parametrize("kind", reactors.KINDS)
def test_connection_that_has_ended(kind: str, scheme: str, aborted: bool, tmp_path: pathlib.Path) -> None:
    """It is freed at once, with its transport and the state of its protocol, whoever has ended it."""
    scheme, _, form = scheme.partition("/")

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener: Any = await both.listen()
        both.route = dataclasses.replace(both.route, request=RequestPlan(http2=form == "2"))
        if form == "starttls":
            other = Both(reactor, "smtps", tmp_path)
            secure: Any = await other.listen()
            upgrade = secure._factory.settings.tls
            listener._factory.settings = dataclasses.replace(listener._factory.settings, upgrade=upgrade)
            both.route = dataclasses.replace(both.route, tls=other.route.tls, starttls=True)
            await secure.drain()
        connections = listener._factory.connections
        with uncollected():
            exchanger: Any = await both.connect()
            both.send(exchanger, 0, b"message")
            await both.answered(1)
            [parts] = [parts_of(connection) for connection in connections]
            assert len(parts) >= 2
            if aborted:
                exchanger._on_lost = None
                exchanger.transport.abortConnection()
            else:
                exchanger.close()
            assert not await parts_that_stay(reactor, connections, parts)
        await listener.drain()

    reactors.run(kind, scenario)


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("http", b"GET / HTTP/1.1\r\n\r\n"),
        ("http", b"nothing of the kind\r\n\r\n"),
        ("http", PREFACE + SettingsFrame(0).serialize() + bytes(8)),
        ("http", UPGRADE % WEBSOCKET_PATH.encode()),
        ("http", UPGRADE % WEBSOCKET_PATH.encode() + b"\xff"),
        ("ws", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("ws", b"nothing of the kind\r\n\r\n"),
        ("ws", UPGRADE % b"/" + b"\xff\x00"),
        ("ws", UPGRADE % b"/" + b"\x81\x81\x00\x00\x00\x00\xff"),
        ("smtp", b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nhalf"),
    ],
)
def test_connection_that_was_refused(scheme: str, said: bytes, tmp_path: pathlib.Path) -> None:
    """It is freed likewise, whatever its peer has done wrong or left undone."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener: Any = await both.listen()
        connections = listener._factory.connections
        with uncollected(), socket.create_connection(("127.0.0.1", listener.target.port)) as peer:
            peer.sendall(said)
            while not (connections and all(one.received == len(said) for one in connections)):
                await deferLater(reactor, 0)
            [parts] = [parts_of(connection) for connection in connections]
            peer.close()
            assert not await parts_that_stay(reactor, connections, parts)
        await listener.drain()

    reactors.run("fast", scenario)
