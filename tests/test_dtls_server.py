"""The server side of DTLS: whom it believes, what it keeps, and for how long."""

from __future__ import annotations

import gc
import random
import struct
import weakref

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho.plans import ClientTLS, ReplyMode
from netecho.protocols import _dtls_server
from netecho.protocols._dtls_association import Association
from netecho.protocols._dtls_cookies import LIFETIME, Cookies
from netecho.protocols._dtls_server import IDLE_TIMEOUT
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT
from netecho.services import tls
from tests.associations import Peer, Wire


def test_echo() -> None:
    """Messages of many peers come back, each to its own; all are counted."""
    wire = Wire()
    peers = [wire.connect(Peer(port)) for port in range(5000, 5005)]
    for peer in peers:
        for size in (1, 64, 1200, 16_384):
            assert peer.association.write(struct.pack(">H", peer.address[1])[:1] * size)
    wire.run(*peers)
    for peer in peers:
        assert [len(message) for message in peer.heard] == [1, 64, 1200, 16_384]
    totals = wire.totals
    assert (totals.connections, totals.open, totals.refused, totals.cut) == (5, 5, 0, 0)
    assert totals.datagrams_received == totals.datagrams_sent == 20
    assert totals.bytes_received == totals.bytes_sent == 5 * (1 + 64 + 1200 + 16_384)
    assert not totals.dropped


@pytest.mark.parametrize(("mode", "heard"), [(ReplyMode.DISCARD, []), (ReplyMode.CHARGEN, [b' !"#$'])])
def test_replies(mode: ReplyMode, heard: list[bytes]) -> None:
    """It can answer nothing, or other characters and no more of them."""
    wire = Wire(reply=mode)
    peer = wire.connect(Peer())
    peer.association.write(b"hello")
    wire.run(peer)
    assert peer.heard == heard
    assert wire.totals.bytes_received == 5


def test_nothing_is_kept_before_the_cookie() -> None:
    """A ClientHello without a cookie gets one, in an answer that is smaller, and leaves nothing behind."""
    wire = Wire()
    hello = Peer().hello()
    cookies = set()
    for port in range(2000, 3000):
        [request] = wire.ask(hello, ("203.0.113.5", port))
        assert len(request) < len(hello)
        cookies.add(request[-16:])
    assert len(cookies) == 1000
    totals = wire.totals
    assert (totals.connections, totals.open, totals.datagrams_sent) == (0, 0, 0)
    wire.clock.advance(0)  # for the turns of the reactor that these were divided among
    assert not wire.clock.getDelayedCalls()
    assert not wire.server._peers


def test_no_answer_is_larger_than_what_it_answers() -> None:
    """Whatever a ClientHello is cut to or changed into, what is spent on it is more than what comes of it."""
    wire = Wire()
    hello = Peer().hello()
    chance = random.Random(1)  # noqa: S311 - no secret
    for _ in range(2000):
        datagram = bytearray(hello[: chance.randrange(1, len(hello) + 1)])
        for _ in range(chance.randrange(4)):
            datagram[chance.randrange(len(datagram))] = chance.randrange(256)
        answers = wire.ask(bytes(datagram), ("203.0.113.5", chance.randrange(2000, 60_000)))
        assert sum(map(len, answers)) <= len(datagram)
    assert wire.totals.open == 0
    assert set(wire.dropped()) <= {"no association", "malformed ClientHello"}
    wire.connect(Peer())


def test_a_cookie_is_not_asked_for_at_any_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the answer were larger than the ClientHello, none would be sent."""
    monkeypatch.setattr(Cookies, "make", lambda *_: bytes(250))
    wire = Wire()
    assert wire.ask(Peer().hello(), ("203.0.113.5", 5000)) == []
    assert wire.dropped() == {"malformed ClientHello": 1}
    monkeypatch.undo()
    wire.connect(Peer())


def test_a_cookie_is_for_its_address() -> None:
    """What was told to one address proves nothing at another, which is asked in its turn."""
    wire = Wire()
    second = Peer().hello_with_cookie(wire)
    [request] = wire.ask(second, ("203.0.113.5", 5000))
    assert len(request) < len(second)
    assert wire.totals.open == 0


def test_a_cookie_is_for_its_hello() -> None:
    """Who has seen a cookie begins no other handshake with it: neither at its peer's cost, nor a flood."""
    wire = Wire()
    peer = Peer()
    second = peer.hello_with_cookie(wire)
    for place in (25, 27, 58):  # the version, and the first and last of the random
        other = bytearray(second)
        other[place] ^= 1
        assert sum(map(len, wire.ask(bytes(other), peer.address))) < len(other)
        assert wire.totals.open == 0
    assert wire.ask(second, peer.address)
    assert wire.totals.open == 1


@pytest.mark.parametrize(("age", "believed"), [(LIFETIME, True), (2 * LIFETIME, False)])
def test_a_cookie_grows_old(age: float, believed: bool) -> None:
    """A cookie is good for a while; who brings one that is too old is asked for another."""
    wire = Wire()
    peer = Peer()
    second = peer.hello_with_cookie(wire)
    wire.clock.pump([age])
    answers = wire.ask(second, peer.address)
    assert wire.totals.open == believed
    assert (sum(map(len, answers)) > len(second)) == believed


@pytest.mark.parametrize("source", [("203.0.113.5", 53), ("203.0.113.5", 4433), ("224.0.0.1", 5000)])
def test_sources_that_get_no_answer(source: tuple[str, int]) -> None:
    """As on UDP in clear, nobody is made to answer a service, us, or many at once."""
    wire = Wire(udp_ports={4433})
    assert wire.ask(Peer().hello(), source) == []
    assert sum(wire.dropped().values()) == 1


def test_what_belongs_to_no_association_is_dropped() -> None:
    """Data of an association that is not there gets no answer; its sender is nobody that is known."""
    wire, other = Wire(), Wire()
    peer = other.connect(Peer())
    peer.association.write(b"hello")
    assert wire.ask(peer.out.popleft(), peer.address) == []
    assert wire.ask(b"hello", peer.address) == []
    assert wire.ask(b"", peer.address) == []
    assert wire.dropped() == {"no association": 3}


def test_what_is_not_genuine_has_no_effect() -> None:
    """Neither noise nor old datagrams from a peer's address harm its association, or are answered."""
    wire = Wire()
    peer = wire.connect(Peer())
    peer.association.write(b"once")
    message = peer.out.popleft()
    assert len(wire.ask(message, peer.address)) == 1
    assert wire.ask(message, peer.address) == []
    assert wire.ask(message[:-1] + bytes([message[-1] ^ 1]), peer.address) == []
    assert wire.ask(b"noise", peer.address) == []
    peer.association.write(b"twice")
    wire.run(peer)
    assert peer.heard == [b"twice"]


def test_a_handshake_has_a_deadline() -> None:
    """Who proves an address and then dawdles is forgotten, whatever it has sent meanwhile."""
    wire = Wire()
    peer = Peer()
    second = peer.hello_with_cookie(wire)
    assert wire.ask(second, peer.address)
    assert wire.totals.open == 1
    for _ in range(9):
        wire.clock.advance(HANDSHAKE_TIMEOUT / 10)
        wire.ask(second, peer.address)
        assert wire.totals.open == 1
    wire.clock.advance(HANDSHAKE_TIMEOUT / 10 + 0.01)
    assert wire.totals.open == 0
    assert not wire.clock.getDelayedCalls()
    assert "took too long" in wire.ends()[-1]


@pytest.mark.parametrize("completes", [False, True])
def test_a_peer_that_is_forgotten_is_gone(completes: bool) -> None:
    """Its OpenSSL side is let go of at once, and does not wait for the garbage collector: it is large."""
    wire = Wire()
    peer = Peer()
    if completes:
        wire.connect(peer)
    else:
        wire.ask(peer.hello_with_cookie(wire), peer.address)
    connection = weakref.ref(wire.server._peers[peer.address].association.connection)
    gc.collect()
    gc.disable()
    try:
        wire.clock.pump([IDLE_TIMEOUT + 1])
        assert wire.totals.open == 0
        assert connection() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("idle", [None, 7.0])
def test_idle_peers_are_forgotten(idle: float | None) -> None:
    """A peer that says nothing is forgotten after a while, and told; one that says something is not."""
    wire = Wire(idle_timeout=idle)
    patience = IDLE_TIMEOUT if idle is None else idle
    quiet, lively = (wire.connect(Peer(port)) for port in (5000, 5001))
    wire.clock.advance(0.75 * patience)
    lively.association.write(b"still here")
    wire.run(quiet, lively)
    wire.clock.advance(0.5 * patience)
    wire.run(quiet, lively)
    assert wire.totals.open == 1
    assert quiet.reason is not None
    assert quiet.reason.check(ConnectionDone)
    assert lively.reason is None
    assert "idle" in wire.ends()[-1]
    wire.clock.advance(0.75 * patience)
    assert wire.totals.open == 0
    assert not wire.clock.getDelayedCalls()


def test_a_peer_begins_anew() -> None:
    """A new ClientHello replaces an association when it has brought a cookie, and not before."""
    wire = Wire()
    old = wire.connect(Peer())
    new = Peer()
    second = new.hello_with_cookie(wire)
    old.association.write(b"mine")  # whoever sent that hello, this association is still there
    wire.run(old)
    assert old.heard == [b"mine"]
    for datagram in wire.ask(second, new.address):
        new.association.received(datagram)
    wire.run(new)
    assert new.is_established
    new.association.write(b"new")
    wire.run(new)
    assert new.heard == [b"new"]
    old.association.write(b"old")
    assert wire.ask(old.out.popleft(), old.address) == []
    assert (wire.totals.connections, wire.totals.open) == (2, 1)
    assert "begun anew" in wire.ends()[-1]


def test_whoever_begins_in_the_name_of_a_peer_does_not_end_its_association() -> None:
    """While a new handshake is not complete, and if it never is, the association before it is there."""
    wire = Wire()
    old = wire.connect(Peer())
    [greeting, *_] = wire.ask(Peer().hello_with_cookie(wire), old.address)
    assert greeting[0] == 22
    for words in b"before", b"after":
        old.association.write(words)
        wire.run(old)
        wire.clock.advance(HANDSHAKE_TIMEOUT)
        wire.out.clear()  # it was sent again, until it took too long
    assert old.heard == [b"before", b"after"]
    assert (wire.totals.connections, wire.totals.open, wire.ends()) == (1, 1, [])
    old.association.close()
    wire.run(old)
    assert wire.totals.open == 0
    assert not wire.clock.getDelayedCalls()


def test_the_last_to_begin_anew() -> None:
    """Of those that have not shaken hands, the last to begin takes the place of the one before it."""
    wire = Wire(max_connections=1)
    old = wire.connect(Peer())
    given_up, new = Peer(), Peer()
    wire.ask(given_up.hello_with_cookie(wire), given_up.address)
    flight = wire.ask(new.hello_with_cookie(wire), new.address)
    old.association.write(b"still here")
    wire.run(old)
    assert old.heard == [b"still here"]
    for datagram in flight:
        new.association.received(datagram)
    wire.run(new)
    assert new.is_established
    wire.clock.advance(HANDSHAKE_TIMEOUT)
    assert (wire.totals.connections, wire.totals.open, wire.totals.refused) == (2, 1, 0)


def test_a_peer_ends_while_it_begins_anew() -> None:
    """What begins at the address of an association that ends goes on without it."""
    wire = Wire()
    old, new = wire.connect(Peer()), Peer()
    flight = wire.ask(new.hello_with_cookie(wire), new.address)
    old.association.close()
    wire.run(old)
    assert (wire.totals.connections, wire.totals.open) == (2, 1)
    for datagram in flight:
        new.association.received(datagram)
    wire.run(new)
    assert new.is_established
    assert (wire.totals.connections, wire.totals.open) == (2, 1)
    new.association.write(b"new")
    wire.run(new)
    assert new.heard == [b"new"]


def test_end_while_a_peer_begins_anew() -> None:
    """When the server ends, a handshake at the address of an association ends with it."""
    wire = Wire()
    old = wire.connect(Peer())
    wire.ask(Peer().hello_with_cookie(wire), old.address)
    wire.server.end(Failure(ConnectionDone()))
    wire.run(old)
    assert old.reason is not None
    assert (wire.totals.connections, wire.totals.open) == (1, 0)
    assert not wire.clock.getDelayedCalls()


def test_a_hello_that_comes_twice_is_one() -> None:
    """What a peer sends again, as the answer was lost or late, begins no other association."""
    wire = Wire()
    peer = Peer()
    first = peer.hello()
    [request] = wire.ask(first, peer.address)
    peer.association.received(request)
    second = peer.out.popleft()
    flight = wire.ask(second, peer.address)
    wire.ask(second, peer.address)
    wire.ask(first, peer.address)
    for datagram in flight:
        peer.association.received(datagram)
    wire.run(peer)
    wire.ask(second, peer.address)
    peer.association.write(b"once")
    wire.run(peer)
    assert peer.heard == [b"once"]
    assert wire.totals.connections == 1


def test_most_connections() -> None:
    """One peer more than there may be is refused, and let in when there is room."""
    wire = Wire(max_connections=2)
    first, second = (wire.connect(Peer(port)) for port in (5000, 5001))
    third = Peer(5002)
    hello = third.hello_with_cookie(wire)
    assert wire.ask(hello, third.address) == []
    assert (wire.totals.refused, wire.totals.open) == (1, 2)
    assert wire.events[-1] == ("refused", {"peer": "198.51.100.7:5002", "limit": 2})
    wire.connect(Peer(5001))  # it takes its own place
    second.association.abandon()
    first.association.close()
    wire.run(first)
    assert wire.totals.open == 1
    for datagram in wire.ask(hello, third.address):
        third.association.received(datagram)
    wire.run(third)
    assert third.is_established


def knock(wire: Wire, port: int, host: str) -> bool:
    """Have a peer come with a cookie, and go no further; return whether its handshake has begun."""
    peer, before = Peer(port, host), wire.totals.open
    wire.ask(peer.hello_with_cookie(wire), peer.address)
    return wire.totals.open > before


def test_most_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many handshakes are under way at a time, however many may be connected."""
    monkeypatch.setattr(_dtls_server, "MOST_HANDSHAKES", 3)
    wire = Wire()
    assert [knock(wire, 5000, f"198.51.100.{host}") for host in range(1, 6)] == [True] * 3 + [False] * 2
    assert wire.dropped() == {"too many handshakes": 2}
    wire.clock.advance(HANDSHAKE_TIMEOUT + 0.01)
    assert wire.totals.open == 0
    for port in range(6000, 6005):
        wire.connect(Peer(port))
    assert wire.totals.open == 5
    assert knock(wire, 5000, "198.51.100.1")


def test_handshakes_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one address, whatever the port, there are no more than there is room left for."""
    monkeypatch.setattr(_dtls_server, "MOST_HANDSHAKES", 8)
    wire = Wire()
    assert [knock(wire, port, "198.51.100.7") for port in range(5000, 5006)] == [True] * 4 + [False] * 2
    assert wire.dropped() == {"too many handshakes from one address": 2}
    wire.connect(Peer(5000, "198.51.100.8"))
    assert [knock(wire, port, "198.51.100.9") for port in range(5000, 5003)] == [True] * 2 + [False]
    peer = Peer(5000)  # begins anew, in the place of its former one
    wire.ask(peer.hello_with_cookie(wire), peer.address)
    assert not knock(wire, 5001, "198.51.100.7")
    wire.clock.advance(HANDSHAKE_TIMEOUT + 0.01)
    assert [knock(wire, port, "198.51.100.7") for port in range(6000, 6005)] == [True] * 4 + [False]


def test_most_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit even if the user has none, as nothing else bounds the memory."""
    monkeypatch.setattr(_dtls_server, "MOST_PEERS", 1)
    wire = Wire()
    wire.connect(Peer(5000))
    other = Peer(5001)
    assert wire.ask(other.hello_with_cookie(wire), other.address) == []
    assert wire.totals.refused == 1


def test_end() -> None:
    """When the server ends it lets nobody in, answers those it has, and says goodbye to each."""
    wire = Wire()
    peers = [wire.connect(Peer(port)) for port in (5000, 5001)]
    wire.server.drain()
    late = Peer(5002)
    assert wire.ask(late.hello(), late.address) == []
    assert wire.dropped() == {"server ending": 1}
    peers[0].association.write(b"last")
    wire.run(*peers)
    assert peers[0].heard == [b"last"]
    wire.server.end(Failure(ConnectionDone()))
    wire.run(*peers)
    assert [peer.reason is not None and peer.reason.type for peer in peers] == [ConnectionDone] * 2
    assert wire.totals.open == 0
    assert not wire.clock.getDelayedCalls()


def test_goodbye() -> None:
    """A peer's close_notify ends its association, which answers it in kind."""
    wire = Wire()
    peer = wire.connect(Peer())
    peer.association.close()
    [answer] = wire.ask(peer.out.popleft(), peer.address)
    assert answer[0] == 21  # an alert
    assert wire.totals.open == 0
    assert "cleanly" in wire.ends()[-1]


@pytest.mark.parametrize("mtu", [304, 576, 1280])
def test_mtu(mtu: int) -> None:
    """No packet is larger than it may be: a handshake is divided, and an echo too large is not sent."""
    wire = Wire(mtu=mtu)
    peer = Peer()
    peer.association.shake_hands()
    sizes = []
    while wire.out or peer.out:
        while peer.out:
            wire.server.datagramReceived(peer.out.popleft(), peer.address)
        while wire.out:
            datagram, _ = wire.out.popleft()
            sizes.append(len(datagram))
            peer.association.received(datagram)
    assert peer.is_established
    assert max(sizes) <= mtu - 28
    room = peer.association.connection.get_cleartext_mtu() - (1232 - (mtu - 28))
    for size in (room, room + 1):
        peer.association.write(bytes(size))
    wire.run(peer)
    assert [len(message) for message in peer.heard] == [room]
    assert wire.dropped() == {"larger than --mtu": 1}


def test_what_cannot_be_sent() -> None:
    """An association that ends while it sends has no timer left; answers that do not go out are counted."""
    peer = Peer()
    clock = Clock()
    end = tls.for_client(ClientTLS(), "localhost", {}, datagrams=True).clientConnectionForTLS(peer)
    end.set_connect_state()

    def give_up(_: bytes) -> bool:
        association.abandon()
        return False

    association = Association(clock, end, 1232, give_up, peer)
    association.shake_hands()
    assert not clock.getDelayedCalls()
    wire = Wire()
    peer = wire.connect(Peer())
    wire.failure = BlockingIOError()
    peer.association.write(b"hello")
    assert wire.ask(peer.out.popleft(), peer.address) == []
    assert wire.dropped() == {"send buffer full": 1}
    assert (wire.totals.datagrams_received, wire.totals.datagrams_sent) == (1, 0)
    wire.failure = None
    peer.association.write(b"again")
    wire.run(peer)
    assert peer.heard == [b"again"]
