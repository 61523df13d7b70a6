"""QUIC among peers that lie about their address, that are many, that do not read, or that say nothing."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var as varint
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from netecho.plans import ServerTLS
from netecho.protocols._listener import ListenSettings, Totals
from netecho.protocols._quic_echo import EchoPort
from netecho.protocols._quic_server import (
    CROWDED,
    CROWDED_BY_ONE,
    MOST_HANDSHAKES,
    TRUSTING,
    said_in_every_version,
)
from netecho.protocols._quic_wire import WINDOW
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT
from netecho.services import tls
from tests.quic_peers import Peer
from tests.servers import TIMEOUT, Server

ID = slice(6, 14)
"""Where the server's ID is in a client's first datagram: behind flags, version and length."""


def initials(peer: Peer, count: int) -> Iterator[bytes]:
    """Yield first datagrams of as many connections, that nobody goes on with."""
    [(datagram, _), *_] = peer.core.datagrams_to_send(time.monotonic())
    for _ in range(count):
        forged = bytearray(datagram)
        forged[ID] = os.urandom(8)
        yield bytes(forged)


class Wires:
    """A port's transport, that keeps what is sent by whom it is for."""

    maxThroughput = 0  # noqa: N815 - Twisted's

    def __init__(self) -> None:
        self.sent: dict[tuple[str, int], list[bytes]] = {}

    def write(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Keep a datagram."""
        self.sent.setdefault(address, []).append(datagram)

    def getHost(self) -> IPv4Address:
        """Return the port's address."""
        return IPv4Address("UDP", "127.0.0.1", 8443)


class Port:
    """A server's port in memory, and a clock to be turned by hand."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.totals = Totals()
        self.context = tls.for_server(ServerTLS(), {"127.0.0.1"})
        self.port = EchoPort(self.clock, ListenSettings(self.totals, tls=self.context, **settings))
        self.wires = Wires()
        transport: Any = self.wires
        self.port.makeConnection(transport)

    def __enter__(self) -> Port:
        """Be used."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the authority."""
        self.context.close()

    def turn(self, seconds: float = 0.0) -> None:
        """Have so much time pass, in steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
        self.clock.advance(0)


def test_amplification() -> None:
    """Whoever has not shown that an address is its own gets three times what came from there, at most.

    What it gets is lost, and sent again, until the handshake has taken too long: there is no more then.
    """
    peer = Peer(("127.0.0.1", 8443), None)
    [(datagram, _), *_] = peer.core.datagrams_to_send(time.monotonic())
    peer.socket.close()
    victim = ("192.0.2.1", 5000)
    with Port() as server:
        server.port.datagramReceived(datagram, victim)
        server.turn()
        at_first = len(server.wires.sent[victim])
        server.turn(HANDSHAKE_TIMEOUT)
        assert len(server.wires.sent[victim]) > at_first  # it did send again
        assert sum(map(len, server.wires.sent[victim])) <= 3 * len(datagram)
        assert not server.port.links
        assert not server.clock.getDelayedCalls()


def test_flood_of_forged_addresses() -> None:
    """Few get an answer that costs memory; the others one that is smaller than what they sent, and is all."""
    peer = Peer(("127.0.0.1", 8443), None)
    with Port() as server:
        for number, datagram in enumerate(initials(peer, 3000)):
            server.port.datagramReceived(datagram, (f"192.0.2.{number % 250}", 2000 + number))
        server.turn()
        assert len(server.port.opening) == TRUSTING
        retries = 0
        for number in range(3000):
            for answer in server.wires.sent.get((f"192.0.2.{number % 250}", 2000 + number), []):
                header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
                assert header.packet_type is QuicPacketType.RETRY
                assert len(answer) < 300
                retries += 1
        assert retries == 3000 - TRUSTING
        server.turn(HANDSHAKE_TIMEOUT)
        assert not server.port.links
        assert server.totals.connections == 0
    peer.socket.close()


def initial(to: bytes, token: bytes = b"") -> bytes:
    """Return a first datagram with nothing to be read in it: whoever gets it waits for more."""
    begin = b"\xc0\x00\x00\x00\x01\x08" + to + b"\x08" + os.urandom(8)
    return begin + varint(len(token)) + token + varint(1200) + os.urandom(1200)


def begin(server: Port, source: tuple[str, int]) -> bool:
    """Begin with a token of a Retry, and go on with nothing; return whether that was let in."""
    before = len(server.port.opening)
    server.port.datagramReceived(initial(os.urandom(8)), source)
    [retry] = server.wires.sent.pop(source)
    header = pull_quic_header(Buffer(data=retry), host_cid_length=8)
    server.port.datagramReceived(initial(header.source_cid, header.token), source)
    server.turn()
    assert source not in server.wires.sent  # to wait is not to be told anything
    return len(server.port.opening) > before


def test_handshakes_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who do show that their addresses are theirs are let in up to a number."""
    assert MOST_HANDSHAKES > TRUSTING
    monkeypatch.setattr("netecho.protocols._quic_server.MOST_HANDSHAKES", 2)
    with Port(retry=True) as server:
        for count in range(4):
            assert begin(server, (f"192.0.2.{count}", 5000)) == (count < 2)
        assert len(server.port.opening) == 2
        assert server.totals.dropped == {CROWDED: 2}
        server.turn(HANDSHAKE_TIMEOUT)
        assert begin(server, ("192.0.2.3", 5000))


def test_handshakes_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one address, whatever the port, there are no more than there is room left for."""
    monkeypatch.setattr("netecho.protocols._quic_server.MOST_HANDSHAKES", 8)
    with Port(retry=True) as server:
        assert [begin(server, ("192.0.2.1", 5000 + count)) for count in range(6)] == [True] * 4 + [False] * 2
        assert server.totals.dropped == {CROWDED_BY_ONE: 2}
        assert [begin(server, ("192.0.2.2", 5000 + count)) for count in range(3)] == [True] * 2 + [False]
        assert begin(server, ("192.0.2.3", 5000))
        server.turn(HANDSHAKE_TIMEOUT)
        assert [begin(server, ("192.0.2.2", 6000 + count)) for count in range(5)] == [True] * 4 + [False]


def test_address_in_whose_name_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses its part to those who only say that they are at its address."""
    monkeypatch.setattr("netecho.protocols._quic_server.MOST_HANDSHAKES", TRUSTING + 4)
    with Port() as server:
        for count in range(2 * TRUSTING):
            server.port.datagramReceived(initial(os.urandom(8)), ("192.0.2.1", 2000 + count))
        server.turn()
        assert len(server.port.opening) == TRUSTING
        assert begin(server, ("192.0.2.1", 5000))


def test_flood_from_one_address() -> None:
    """Whoever begins handshakes without end from one address leaves room, and memory, for others."""
    with Server("quic://127.0.0.1:0") as server:
        address = server.listener.address
        before = server.resident_kib()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.bind(("127.0.0.1", 0))
            flood.connect(address)
            flood.settimeout(TIMEOUT)
            for count in range(TRUSTING + MOST_HANDSHAKES + 10):
                flood.send(initial(os.urandom(8)))
                if count >= TRUSTING:
                    header = pull_quic_header(Buffer(data=flood.recv(2048)), host_cid_length=8)
                    flood.send(initial(header.source_cid, header.token))
            other = Peer(address, server.listener.ca, host="127.0.0.2")
            assert other.pump(lambda: other.happened(HandshakeCompleted), HANDSHAKE_TIMEOUT / 2)
            assert other.exchange(b"in") == b"in"
            assert server.resident_kib() - before < 64 << 10
            other.close()
        stopped = server.end()
        assert stopped["dropped"].keys() == {CROWDED_BY_ONE}
        assert stopped["connections"] == 1


NAMES = b"\x08abcdefgh\x08ijklmnop"
UNKNOWN = b"\x1a\x2a\x3a\x4a"
LONGEST = b"\xff" + bytes(range(255)) + b"\xff" + bytes(reversed(range(255)))
VERSIONS = {
    "version": (b"\xc0" + UNKNOWN + NAMES + bytes(1200), True),
    "no fixed bit": (b"\x80" + UNKNOWN + NAMES + bytes(1200), True),
    "other layout": (b"\xc0" + UNKNOWN + NAMES + b"\xff" * 1200, True),
    "long IDs": (b"\xff" + UNKNOWN + LONGEST + bytes(1200 - 517), True),
    "no IDs": (b"\xff" + UNKNOWN + bytes(1200), True),
    "too short": (b"\xff" + UNKNOWN + LONGEST + bytes(1199 - 517), False),
    "short": (b"\xc0" + UNKNOWN + NAMES + bytes(1000), False),
    "negotiation": (b"\xc0" + bytes(4) + NAMES + bytes(1200), False),
    "truncated negotiation": (b"\xc0" + bytes(4) + NAMES + bytes(1201), False),
    "first version, no fixed bit": (b"\x80\0\0\0\1" + NAMES + bytes(1200), False),
    "first version, long IDs": (b"\xc0\0\0\0\1" + LONGEST + bytes(1200), False),
    "IDs cut off": (b"\xc0" + UNKNOWN + b"\xff" * 200, False),
    "empty": (b"", False),
    "text": (b"hello", False),
}


@pytest.mark.parametrize(("datagram", "answered"), VERSIONS.values(), ids=VERSIONS)
def test_version_negotiation(datagram: bytes, answered: bool) -> None:
    """A version that nobody knows is answered with those that are known, if it asks for an answer at all.

    Whatever follows the connection IDs in that version, and however long those are, they come back.
    """
    with Port() as server:
        server.port.datagramReceived(datagram, ("192.0.2.1", 5000))
        server.turn()
        sent = server.wires.sent.get(("192.0.2.1", 5000), [])
        assert bool(sent) == answered
        for one in sent:
            asked, said = said_in_every_version(datagram), said_in_every_version(one)
            assert asked is not None
            assert said == (0, asked[2], asked[1])
            versions = one[7 + len(asked[1]) + len(asked[2]) :]
            assert 1 in struct.unpack(f">{len(versions) // 4}L", versions)
            assert len(one) < len(datagram)


@pytest.mark.parametrize("source", [("192.0.2.1", 53), ("192.0.2.1", 8443), ("224.0.0.1", 5000)])
def test_version_negotiation_with_nobody(source: tuple[str, int]) -> None:
    """Nobody is made to answer a service, us, or many at once by it."""
    with Port(udp_ports={8443}) as server:
        server.port.datagramReceived(VERSIONS["no fixed bit"][0], source)
        assert source not in server.wires.sent
        assert sum(server.totals.dropped.values()) == 1


def test_said_in_every_version() -> None:
    """A long header says its version and its IDs, if it is long enough to."""
    whole = b"\xff" + UNKNOWN + b"\2to\4from"
    assert said_in_every_version(whole + b"more") == (0x1A2A3A4A, b"to", b"from")
    for size in range(len(whole)):
        assert said_in_every_version(whole[:size]) is None
    assert said_in_every_version(b"\x7f" + whole[1:]) is None


@pytest.mark.parametrize("token", [b"x", bytes(20), bytes(range(100))], ids=["one", "zeros", "another"])
def test_token_of_another_server(token: bytes) -> None:
    """It is as good as none: the peer is let in as one that has shown nothing, or is asked by a Retry."""
    source = ("192.0.2.1", 5000)
    with Port() as server:
        server.port.datagramReceived(initial(os.urandom(8), token), source)
        server.turn()
        assert len(server.port.opening) == 1
        assert source not in server.wires.sent
    with Port(retry=True) as server:
        server.port.datagramReceived(initial(os.urandom(8), token), source)
        assert not server.port.links
        [answer] = server.wires.sent[source]
        header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
        assert header.packet_type is QuicPacketType.RETRY


def test_token_of_another_server_is_no_hindrance() -> None:
    """A client that brings one shakes hands, and has its echo."""
    with Server("quic://127.0.0.1:0") as server:
        peer = Peer(server.listener.address, server.listener.ca, token=os.urandom(60))
        assert peer.exchange(b"in") == b"in"
        peer.close()


@pytest.mark.parametrize("wrong", ["address", "port", "age", "ID", "token"])
def test_token_that_is_not_good(wrong: str) -> None:
    """A token of ours that is not good for what it is brought for gets a word and no connection."""
    source = ("192.0.2.1", 5000)
    with Port(retry=True) as server:
        server.port.datagramReceived(initial(os.urandom(8)), source)
        [retry] = server.wires.sent.pop(source)
        header = pull_quic_header(Buffer(data=retry), host_cid_length=8)
        token, name = header.token, header.source_cid
        if wrong == "address":
            source = ("192.0.2.2", 5000)
        elif wrong == "port":
            source = ("192.0.2.1", 5001)
        elif wrong == "age":
            server.turn(60)
        elif wrong == "ID":
            name = os.urandom(8)
        else:
            token = token[:-1] + bytes([token[-1] ^ 1])
        datagram = initial(name, token)
        server.port.datagramReceived(datagram, source)
        assert not server.port.links
        [answer] = server.wires.sent[source]
        assert len(answer) < len(datagram)
        header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
        assert header.packet_type is QuicPacketType.INITIAL


def test_early_data() -> None:
    """A session that is resumed has none: whoever repeats its first flight would be answered once more."""
    with Server("quic://127.0.0.1:0") as server:
        first = Peer(server.listener.address, server.listener.ca)
        assert first.exchange(b"first") == b"first"
        assert first.pump(lambda: first.tickets)
        first.close()
        again = Peer(server.listener.address, server.listener.ca, session_ticket=first.tickets[0])
        assert again.exchange(b"again") == b"again"
        again.close()
        [shaken] = [event for event in again.events if isinstance(event, HandshakeCompleted)]
        assert shaken.session_resumed
        assert not shaken.early_data_accepted


def test_peer_that_does_not_read() -> None:
    """It can send no more than a window, costs a bounded amount of memory, and delays nobody."""
    with Server("quic://127.0.0.1:0") as server:
        address, ca = server.listener.address, server.listener.ca
        slow = Peer(address, ca, reads=False, max_data=100_000, max_stream_data=100_000)
        steady = Peer(address, ca)
        assert steady.exchange(b"before") == b"before"
        before = server.resident_kib()
        message = os.urandom(4 * WINDOW)
        for part in range(4):  # of streams, each has a window of its own
            slow.core.send_stream_data(4 * part, message[part::4], end_stream=True)
        assert slow.pump(lambda: slow.core._remote_max_data_used >= WINDOW)
        assert not slow.pump(lambda: slow.core._remote_max_data_used > WINDOW + 100_000, 1.0)
        assert steady.exchange(b"in time") == b"in time"
        assert server.resident_kib() - before < 6 * WINDOW // 1024
        # It reads after all.
        del slow.core._write_connection_limits, slow.core._write_stream_limits
        assert slow.pump(lambda: len(slow.ended) == 4), "the echo did not go on"
        assert [bytes(slow.echoes[4 * part]) for part in range(4)] == [message[part::4] for part in range(4)]
        slow.close()
        steady.close()


def test_idle_peer() -> None:
    """A connection on which nothing moves is closed after its time, though its system is still there."""
    with Server("quic://127.0.0.1:0", "--idle-timeout", "300ms") as server:
        peer = Peer(server.listener.address, server.listener.ca)
        assert peer.exchange(b"once") == b"once"
        assert peer.pump(lambda: peer.happened(ConnectionTerminated))
        assert peer.end.error_code == 0
        peer.socket.close()


def test_too_many_connections() -> None:
    """One more than there may be is told so."""
    with Server("quic://127.0.0.1:0", "--max-connections", "1") as server:
        first, second = (Peer(server.listener.address, server.listener.ca) for _ in range(2))
        assert first.pump(lambda: first.happened(HandshakeCompleted))
        assert first.exchange(b"in") == b"in"
        assert second.pump(lambda: second.happened(ConnectionTerminated))
        assert second.end.error_code == 2  # CONNECTION_REFUSED
        first.close()
        second.socket.close()
        assert server.end()["refused"] >= 1


def test_too_many_at_the_same_time() -> None:
    """Nor are there more than there may be if all have begun before the first was done."""
    with Server("quic://127.0.0.1:0", "--max-connections", "2") as server:
        peers = [Peer(server.listener.address, server.listener.ca) for _ in range(4)]
        for peer in peers:
            for datagram, address in peer.core.datagrams_to_send(time.monotonic()):
                peer.socket.sendto(datagram, address)
        for peer in peers:
            assert peer.pump(lambda peer=peer: peer.happened(HandshakeCompleted))  # type: ignore[misc]
        for peer in peers[2:]:
            assert peer.pump(lambda peer=peer: peer.happened(ConnectionTerminated))  # type: ignore[misc]
            assert peer.end.error_code == 2  # CONNECTION_REFUSED
        for peer in peers[:2]:
            assert peer.exchange(b"in") == b"in"
        for peer in peers:
            peer.close()
        stopped = server.end()
        assert (stopped["connections"], stopped["refused"]) == (2, 2)


def test_stream_that_is_reset() -> None:
    """A peer that takes back what it said on a stream costs nothing but that stream."""
    with Server("quic://127.0.0.1:0") as server:
        peer = Peer(server.listener.address, server.listener.ca)
        for _ in range(300):  # more than there may be at once
            stream = peer.core.get_next_available_stream_id()
            peer.core.send_stream_data(stream, bytes(1000))
            assert peer.pump(lambda: stream in peer.echoes)  # noqa: B023 - it is over before the next
            peer.core.reset_stream(stream, 7)
            peer.core.stop_stream(stream, 7)
        assert peer.exchange(b"still here") == b"still here"
        peer.close()
