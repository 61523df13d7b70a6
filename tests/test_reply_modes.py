"""Servers that say what they see of a connection, and rooms in which every peer hears what any says."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from netecho.plans import ReplyMode
from netecho.protocols._broadcast import COST, MOST_WAITING
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._stream_replies import reply_factory
from netecho.protocols._stream_server import LINGER
from tests.peers import need
from tests.servers import TIMEOUT, Listening, Server, netecho, receive_all, receive_exactly
from tests.test_stream_server import Wire
from tests.test_ws_attacks import ACCEPTED, BINARY, CLOSE, REQUEST, answer, closing, frame

MIB = 1 << 20


# What the server sees.


@pytest.fixture(scope="module")
def informants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listening]]:
    """Serve what is seen, on each protocol that can, and of clients with certificates."""
    directory = tmp_path_factory.mktemp("info")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = authority.issue_cert("me@example.org", common_name="me")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "me.pem"))
    urls = [f"{scheme}://127.0.0.1:0" for scheme in ("tcp", "tls", "http", "ws")]
    asks = ["--client-ca", str(directory / "ca.pem")]
    with Server(*urls, f"unix:{directory / 'echo'}", "--reply", "info", *asks) as server:
        found = {one.scheme: one for one in server.listeners}
        yield {**found, "me": Listening(str(directory / "me.pem"))}


def test_info_at_once(informants: dict[str, Listening]) -> None:
    """A stream's peer need not say anything: it has a line of JSON, and the end."""
    host, port = informants["tcp"].address
    done = subprocess.run(
        [need("nc"), host, str(port)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout.count(b"\n") == 1
    seen = json.loads(done.stdout)
    assert seen == {"peer": seen["peer"], "local": f"{host}:{port}", "tls": None, "proxy": None}
    assert seen["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_info_to_who_talks(informants: dict[str, Listening], scheme: str) -> None:
    """What a peer says before it has heard is thrown away, and does not cost it the line."""
    with informants[scheme].connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"x" * 100_000)
        with connection.makefile() as lines:
            assert json.loads(lines.readline()).keys() == {"peer", "local", "tls", "proxy"}


def test_info_of_tls(informants: dict[str, Listening]) -> None:
    """Of TLS it says all that was agreed on, and whose certificate the client has shown."""
    listening = informants["tls"]
    host, port = listening.address
    words = ["s_client", "-connect", f"{host}:{port}", "-servername", "example.org", "-quiet", "-no_ign_eof"]
    trust = ["-CAfile", str(listening.ca), "-cert", informants["me"].url, "-key", informants["me"].url]
    with subprocess.Popen(
        [need("openssl"), *words, *trust],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        assert client.stdout is not None
        tls = json.loads(client.stdout.readline())["tls"]
    assert tls["version"] == "TLSv1.3"
    assert tls["cipher"].startswith("TLS_")
    assert tls["sni"] == "example.org"
    assert tls["client_certificate"]["subject"].endswith("CN=me")


def test_info_of_requests(informants: dict[str, Listening]) -> None:
    """HTTP answers any request so, whatever is in its body; pages stay what they are."""
    url = informants["http"].url
    curl = [need("curl"), "-sS"]
    page = subprocess.run(
        [*curl, "-d", "x" * 100_000, f"{url}/any?a=b"], capture_output=True, check=True
    ).stdout
    seen = json.loads(page)
    assert (seen["method"], seen["path"], seen["query"], seen["proxy"]) == (
        "POST",
        "/any",
        {"a": ["b"]},
        None,
    )
    assert subprocess.run([*curl, f"{url}/healthz"], capture_output=True, check=True).stdout == b"ok\n"


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_info_of_messages(informants: dict[str, Listening], compression: str | None) -> None:
    """WebSocket answers each message so, with what it was asked for at first."""
    with connect(f"{informants['ws'].url}/room?a=b", compression=compression) as connection:
        for message in ("text", b"bytes", "x" * 100_000):
            connection.send(message)
            seen = json.loads(connection.recv(TIMEOUT))
            assert seen["path"] == "/room?a=b"
            assert ["Upgrade", "websocket"] in seen["headers"]
            assert seen["peer"] == "{}:{}".format(*connection.local_address)


def test_info_for_who_does_not_read() -> None:
    """A peer that asks and asks, and reads nothing, is not read from: its answers are far larger."""
    with Server("ws://127.0.0.1:0", "--reply", "info") as server, server.listener.connect() as connection:
        connection.sendall(REQUEST[:-2] + b"X: %b\r\n" % (b"x" * 8000) * 6 + b"\r\n")
        assert ACCEPTED in connection.recv(65_536)
        before = server.resident_kib()
        connection.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * MIB:
                sent += connection.send(frame(BINARY, b"") * 10_000)
        assert sent < 64 * MIB
        connection.settimeout(TIMEOUT)
        assert len(receive_exactly(connection, 16 * MIB)) == 16 * MIB
        assert server.resident_kib(peak=True) < before + 16 * 1024


# Rooms.


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listening]]:
    """Serve a room on each protocol that can."""
    path = tmp_path_factory.mktemp("rooms") / "echo"
    urls = [f"{scheme}://127.0.0.1:0" for scheme in ("tcp", "tls", "ws")]
    with Server(*urls, f"unix:{path}", "--reply", "broadcast") as server:
        yield {one.scheme: one for one in server.listeners}


@pytest.mark.parametrize("scheme", ["tcp", "tls", "unix"])
def test_room(rooms: dict[str, Listening], scheme: str) -> None:
    """Everybody hears what anybody says, who says it too; nobody hears what was said in another room."""
    with contextlib.ExitStack() as stack:
        peers = []
        for number in range(3):
            peers.append(stack.enter_context(rooms[scheme].connect()))
            # It is in the room, and not on its way there, once it hears itself.
            peers[-1].sendall(b"%d" % number)
            for peer in peers:
                assert receive_exactly(peer, 1) == b"%d" % number
        for number, peer in enumerate(peers):
            words = bytes([number]) * 100_000
            peer.sendall(words)
            for other in peers:
                assert receive_exactly(other, len(words)) == words


def test_half_close_in_a_room(rooms: dict[str, Listening]) -> None:
    """Who has said all has its own words back before its end, and the others go on."""
    with rooms["tcp"].connect() as stays, rooms["tcp"].connect() as goes:
        stays.sendall(b"a")
        assert receive_exactly(stays, 1) == b"a"
        goes.sendall(b"bye")
        goes.shutdown(socket.SHUT_WR)
        assert receive_all(goes).endswith(b"bye")
        assert receive_exactly(stays, 3) == b"bye"
        stays.sendall(b"alone")
        assert receive_exactly(stays, 5) == b"alone"


def test_messages_in_a_room(rooms: dict[str, Listening]) -> None:
    """Messages are passed on whole and as what they are, whether they came compressed or in fragments."""
    url = rooms["ws"].url
    with connect(url, compression=None) as plain, connect(url) as deflating:
        peers: list[ClientConnection] = [plain, deflating]
        sent: list[Any] = ["text", b"bytes", b"", "x" * 300_000]
        for peer in peers:
            for message in sent:
                peer.send(message)
                for other in peers:
                    assert other.recv(TIMEOUT) == message
            peer.send(["in", " fragments"])
            for other in peers:
                assert other.recv(TIMEOUT) == "in fragments"


def test_one_in_a_room_is_an_echo(rooms: dict[str, Listening]) -> None:
    """A bench of one connection finds nothing wrong; of several, what others say is not taken for echoes."""
    alone = netecho("bench", rooms["tcp"].url, "-n", "100", "--quiet")
    assert alone.returncode == 0
    several = netecho("bench", rooms["tcp"].url, "-n", "100", "-c", "2", "--quiet", "--json", "-")
    assert several.returncode == 3
    assert json.loads(several.stdout)["exchanges"]["corrupted"] > 0


def talk(speaker: socket.socket, words: bytes, times: int) -> None:
    """Say the same many times, and hear it each time."""
    for _ in range(times):
        speaker.sendall(words)
        assert len(receive_exactly(speaker, len(words))) == len(words)


def test_who_does_not_listen() -> None:
    """Who takes nothing is cut off when too much waits for it, with an event; nobody else waits for it."""
    with Server("tcp://127.0.0.1:0", "--reply", "broadcast", "-v") as server:
        with server.listener.connect() as deaf, server.listener.connect() as speaker:
            server.wait_for("connected")
            server.wait_for("connected")
            before = server.resident_kib()
            talk(speaker, b"x" * 65_536, 1000)
            cut = server.wait_for("cut")
            assert cut["peer"] == "{}:{}".format(*deaf.getsockname())
            assert "1 MiB" in cut["reason"]
            with pytest.raises(ConnectionResetError):
                receive_all(deaf)
        assert server.resident_kib(peak=True) < before + 16 * 1024
        assert server.end()["cut"] == 1


def test_who_does_not_listen_to_messages() -> None:
    """So it is of messages, and the room goes on without whoever was cut off."""
    with Server("ws://127.0.0.1:0", "--reply", "broadcast", "-v") as server:
        with server.listener.connect() as deaf, connect(server.listener.url, compression=None) as speaker:
            deaf.sendall(REQUEST)
            assert ACCEPTED in deaf.recv(65_536)
            for _ in range(1000):
                speaker.send(b"x" * 65_536)
                assert len(speaker.recv(TIMEOUT)) == 65_536
            assert server.wait_for("cut")["peer"] == "{}:{}".format(*deaf.getsockname())
            speaker.send("still here")
            assert speaker.recv(TIMEOUT) == "still here"
        assert server.end()["cut"] == 1


def test_room_at_its_end() -> None:
    """A server that ends says so to all in a room: by the end of a stream, and by a close code."""
    with Server("tcp://127.0.0.1:0", "ws://127.0.0.1:0", "--reply", "broadcast") as server:
        with server.listeners[0].connect() as one, connect(server.listeners[1].url) as other:
            one.sendall(b"hello")
            assert receive_exactly(one, 5) == b"hello"
            other.send("hello")
            assert other.recv(TIMEOUT) == "hello"
            server.tell()
            assert receive_all(one) == b""
            with pytest.raises(ConnectionClosed) as closed:
                other.recv(TIMEOUT)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        server.wait_for("stopped")


class Room:
    """A room whose peers' transports are in memory."""

    def __init__(self, tls: object = None) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        settings = ListenSettings(
            Totals(), ReplyMode.BROADCAST, tls=tls, on_event=lambda name, _: self.events.append(name)
        )
        self.factory = reply_factory(self.clock, settings)
        self._wires: list[Wire] = []

    def enter(self) -> tuple[Any, Wire]:
        """Return a new peer's connection, and its transport."""
        connection: Any = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
        wire = Wire()
        self._wires.append(wire)
        connection.makeConnection(wire)
        return connection, wire

    def close(self) -> None:
        """Close what stands for sockets."""
        for wire in self._wires:
            wire.socket.close()
            wire.peer.close()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """Make a room."""
    made = Room(getattr(request, "param", None))
    yield made
    made.close()


def test_what_is_kept(room: Room) -> None:
    """What is said while a peer does not take it is kept in order, and sent as it takes it again."""
    speaker, _ = room.enter()
    slow, wire = room.enter()
    slow.pauseProducing()
    assert wire.producerState == "paused"
    speaker.dataReceived(b"one ")
    speaker.dataReceived(b"two ")
    assert wire.io.getvalue() == b""
    slow.resumeProducing()
    speaker.dataReceived(b"three")
    assert wire.io.getvalue() == b"one two three"
    assert wire.producerState == "producing"
    assert slow.sent == 13


def test_bound_of_what_is_kept(room: Room) -> None:
    """It is bounded in bytes, and small messages count for what they take beside."""
    speaker, _ = room.enter()
    slow, wire = room.enter()
    slow.pauseProducing()
    for _ in range(MOST_WAITING // (COST + 1) + 1):
        speaker.dataReceived(b"x")
    assert (wire.aborts, room.events.count("cut")) == (0, 0)
    speaker.dataReceived(b"x")
    speaker.dataReceived(b"x")
    assert (wire.aborts, room.events.count("cut")) == (1, 1)


def test_what_is_kept_goes_before_the_end(room: Room) -> None:
    """A peer that closes its half has all that was said before, though it has not taken it yet."""
    speaker, _ = room.enter()
    slow, wire = room.enter()
    slow.pauseProducing()
    speaker.dataReceived(b"kept")
    slow.readConnectionLost()
    assert wire.io.getvalue() == b"kept"
    assert wire.disconnecting
    speaker.dataReceived(b"too late")
    assert wire.io.getvalue() == b"kept"


@pytest.mark.parametrize("room", [object()], indirect=True)
def test_nobody_hears_before_the_handshake(room: Room) -> None:
    """Who is not in yet hears nothing: what was said to it would be kept without a bound."""
    speaker, _ = room.enter()
    late, wire = room.enter()
    speaker.handshakeCompleted()
    speaker.dataReceived(b"early")
    assert wire.io.getvalue() == b""
    late.handshakeCompleted()
    speaker.dataReceived(b"later")
    assert wire.io.getvalue() == b"later"


def test_listening_is_progress() -> None:
    """Who only listens is not idle while there is something to hear."""
    room = Room()
    settings = ListenSettings(Totals(), ReplyMode.BROADCAST, idle_timeout=2.0)
    room.factory = reply_factory(room.clock, settings)
    speaker, _ = room.enter()
    _, wire = room.enter()
    for _ in range(4):
        room.clock.advance(1.5)
        speaker.dataReceived(b"x")
    assert not wire.half_closed
    room.clock.advance(2)
    assert wire.half_closed
    room.clock.advance(LINGER)
    room.close()


def test_close_frame_comes_last(rooms: dict[str, Listening]) -> None:
    """A peer that closes a WebSocket hears what was said before, then the answer to that, and no more."""
    with rooms["ws"].connect() as connection:
        connection.sendall(REQUEST)
        assert ACCEPTED in connection.recv(65_536)
        connection.sendall(frame(BINARY, b"a") + frame(CLOSE, closing(1000)) + frame(BINARY, b"b"))
        assert receive_all(connection) == answer(BINARY, b"a") + answer(CLOSE, closing(1000))
