"""Connections that come through a proxy: what is done before and after it has said whose they are."""

from __future__ import annotations

import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho import protocols
from netecho.plans import ClientTLS, ProxyPlan, ReplyMode, ServerTLS, Target
from netecho.protocols._contract import Route
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._proxied import HEADER_TIMEOUT
from netecho.protocols._stream_listener import to_listen_with
from netecho.protocols._stream_replies import reply_factory
from netecho.protocols._stream_server import LINGER
from netecho.services import tls
from tests import reactors
from tests.servers import Server, receive_all, receive_exactly
from tests.test_stream_server import Wire

HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
FORMS = [
    scheme
    for name in protocols.names()
    if protocols.load(name).socket_kind is socket.SOCK_STREAM
    for scheme in (name, protocols.load(name).secure_scheme)
    if scheme is not None
]


class Listening:
    """A listener for proxies, whose connections are in memory."""

    def __init__(self, limit: int | None = None) -> None:
        self.clock = Clock()
        self.totals = Totals()
        self.events: list[tuple[str, dict[str, Any]]] = []
        settings = ListenSettings(
            self.totals,
            ReplyMode.ECHO,
            limit,
            on_event=lambda name, particulars: self.events.append((name, particulars)),
            proxied=True,
        )
        self.books = reply_factory(self.clock, settings)
        self._factory = to_listen_with(self.books)
        self._wires: list[Wire] = []

    def accept(self) -> Wire:
        """Return the transport of a new connection."""
        protocol = self._factory.buildProtocol(IPv4Address("TCP", "192.168.1.1", 54321))
        wire: Any = Wire()
        self._wires.append(wire)
        if protocol is None:
            wire.protocol = None
        else:
            wire.protocol = protocol
            protocol.makeConnection(wire)
        return wire  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close what stands for sockets."""
        for wire in self._wires:
            wire.socket.close()
            wire.peer.close()

    @property
    def names(self) -> list[str]:
        """What has happened."""
        return [name for name, _ in self.events]


@pytest.fixture
def listening(request: pytest.FixtureRequest) -> Iterator[Listening]:
    """Make a listener."""
    made = Listening(getattr(request, "param", None))
    yield made
    made.close()


def receive(wire: Any, data: bytes) -> None:
    """Have something arrive."""
    wire.protocol.dataReceived(data)


def test_header_and_more(listening: Listening) -> None:
    """What comes behind a header is answered, and the connection is the client's from then on."""
    wire = listening.accept()
    assert (listening.totals.open, listening.totals.connections) == (1, 0)
    receive(wire, HEADER[:20])
    receive(wire, HEADER[20:] + b"hello")
    receive(wire, b" again")
    assert wire.io.getvalue() == b"hello again"
    assert (listening.totals.open, listening.totals.connections) == (1, 1)
    listening.clock.advance(2 * HEADER_TIMEOUT)
    assert wire.aborts == 0
    wire.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
    assert listening.totals.open == 0
    connected, disconnected = (particulars for _, particulars in listening.events)
    assert connected == {
        "peer": "192.0.2.1:4711",
        "local": "198.51.100.2:443",
        "proxy": "192.168.1.1:54321",
    }
    assert disconnected["peer"] == "192.0.2.1:4711"
    assert disconnected["bytes_received"] == 11


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_no_addresses(listening: Listening, header: bytes) -> None:
    """Where a proxy names no client, as in its health checks, the addresses are the connection's own."""
    wire = listening.accept()
    receive(wire, header + b"hello")
    assert wire.io.getvalue() == b"hello"
    assert listening.events[0][1]["peer"] == listening.events[0][1]["proxy"] == "192.168.1.1:54321"


@pytest.mark.parametrize("data", [b"hello", b"PROXY nonsense\r\n", HEADER[:-1] + b"x" * 100])
def test_no_header(listening: Listening, data: bytes) -> None:
    """Whoever begins otherwise is closed without an answer, with one event, and counted apart."""
    wire = listening.accept()
    receive(wire, data)
    receive(wire, HEADER)
    wire.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
    assert (wire.aborts, wire.io.getvalue()) == (1, b"")
    assert listening.names == ["rejected"]
    assert listening.events[0][1]["peer"] == "192.168.1.1:54321"
    assert listening.totals == Totals(rejected=1)
    assert listening.clock.getDelayedCalls() == []


def test_deadline_is_absolute(listening: Listening) -> None:
    """A header that comes byte by byte has no more time than any other."""
    wire = listening.accept()
    for number in range(20):
        assert wire.aborts == 0
        receive(wire, HEADER[number : number + 1])
        listening.clock.advance(HEADER_TIMEOUT / 20)
    assert wire.aborts == 1
    assert listening.events == [
        ("rejected", {"peer": "192.168.1.1:54321", "reason": "no PROXY header came within 5 s"})
    ]


def test_closed_before(listening: Listening) -> None:
    """A proxy that closes before its header is complete is one that sent none."""
    wire = listening.accept()
    receive(wire, HEADER[:9])
    wire.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
    assert listening.names == ["rejected"]
    assert listening.totals == Totals(rejected=1)
    assert listening.clock.getDelayedCalls() == []


@pytest.mark.parametrize("listening", [2], indirect=True)
def test_limit(listening: Listening) -> None:
    """Those whose header is still to come count among those that are served at once."""
    first, second = listening.accept(), listening.accept()
    receive(first, HEADER)
    assert listening.accept().protocol is None  # type: ignore[attr-defined]
    assert listening.names == ["connected", "refused"]
    assert listening.events[1][1]["peer"] == "192.168.1.1:54321"
    receive(second, HEADER)  # had its place, and keeps it
    assert listening.totals.open == 2
    receive(second, b"hello")
    assert second.io.getvalue() == b"hello"


def test_drain(listening: Listening) -> None:
    """When a server ends, who has sent no header has a moment to, and is answered if it does."""
    silent, late = listening.accept(), listening.accept()
    drained = listening.books.drain()
    receive(late, HEADER + b"hello")
    listening.clock.advance(0)
    assert late.io.getvalue() == b"hello"
    assert late.half_closed
    late.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
    assert not drained.called
    listening.clock.advance(LINGER)
    assert silent.aborts == 1
    assert drained.called
    assert listening.totals.rejected == 1


def test_abort(listening: Listening) -> None:
    """A server that ends at once ends them too."""
    wire = listening.accept()
    drained = listening.books.drain()
    listening.books.abort()
    assert wire.aborts == 1
    assert drained.called


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("scheme", FORMS)
def test_every_protocol(scheme: str, version: int, tmp_path: pathlib.Path) -> None:
    """On every protocol over a stream, in clear and in TLS, a header goes before all and is understood."""
    adapter, secure = protocols.for_scheme(scheme)
    path = None if adapter.default_port is not None else str(tmp_path / "echo")
    target = Target(scheme, adapter.name, secure, port=0, path=path)
    events: list[tuple[str, dict[str, Any]]] = []

    def on_event(name: str, particulars: dict[str, Any]) -> None:
        events.append((name, particulars))

    async def scenario(reactor: Any) -> None:
        server = tls.for_server(ServerTLS(), {target.host}) if secure else None
        listener = await adapter.listen(
            reactor, target, ListenSettings(Totals(), tls=server, on_event=on_event, proxied=True)
        )
        client = None if server is None else tls.for_client(ClientTLS(insecure=True), target.host)
        if server is not None:
            server.close()
        route = Route(
            listener.target, (target.host,), tls=client, proxy=ProxyPlan(version, "2001:db8::7", 4711)
        )
        came: Deferred[bytes] = Deferred()
        payload = os.urandom(1000)
        exchanger = await adapter.connect(
            reactor, route, lambda _, echo, *__: came.callback(echo), came.errback
        )
        exchanger.send(0, payload)
        echo = await came
        assert b"sha256=" in echo if adapter.has_receipts else echo == payload
        exchanger.close()
        await listener.drain()

    reactors.run("fast", scenario)
    name, particulars = events[0]
    assert (name, particulars["peer"]) == ("connected", "[2001:db8::7]:4711")
    assert particulars["proxy"] != particulars["peer"]


def test_serve(tmp_path: pathlib.Path) -> None:
    """The flag is for all listeners, of a server of several processes too."""
    path = tmp_path / "echo"
    words = ["tcp://127.0.0.1:0", f"unix:{path}", "--workers", "2", "--proxy-protocol", "-v"]
    with Server(*words) as server:
        for listener in server.listeners:
            with listener.connect() as connection:
                connection.sendall(HEADER + b"hello")
                connection.shutdown(socket.SHUT_WR)
                assert receive_all(connection) == b"hello"
            assert server.wait_for("connected")["peer"] == "192.0.2.1:4711"
        with server.listener.connect() as connection:
            connection.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                receive_exactly(connection, 1)
        assert "does not begin with a PROXY header" in server.wait_for("rejected")["reason"]
        assert server.end()["rejected"] == 1
