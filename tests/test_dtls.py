"""DTLS between netecho's own ends, over real sockets: what is lost and sent again, measured, and ended."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import pathlib
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.python.failure import Failure

from netecho import protocols
from netecho.impairment import Delay, Impairment
from netecho.plans import ClientTLS, ReplyMode, ServerTLS, Target
from netecho.protocols._contract import Route
from netecho.protocols._dtls_client import UNANSWERED, AssociationPort
from netecho.protocols._listener import Listener, ListenSettings, Totals
from netecho.services import tls
from netecho.services.handshake import UnverifiedError
from tests import reactors
from tests.associations import Peer
from tests.benches import bench, checked
from tests.lossy import LossyPath
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, netecho

DTLS = Target("dtls", "udp", True, port=0, is_dtls=True)
IP_PKTINFO = 8
"""Linux's: from which of this machine's addresses a datagram comes, as whoever forges one has it."""
FLIGHTS = [
    ("ClientHello", {0}, set()),
    ("HelloVerifyRequest", set(), {0}),
    ("ClientHello with cookie", {1}, set()),
    ("ServerHello to ServerHelloDone", set(), {1}),
    ("ClientKeyExchange to Finished", {2}, set()),
    ("Finished", set(), {2}),
    ("one of each", {0, 2}, {2}),
]
"""What is lost of a handshake, by the place of its datagram in each direction."""


async def listen(reactor: Any, totals: Totals, **settings: Any) -> tuple[Listener, Any]:
    """Open a listener; return it, and what its clients shake hands with."""
    server = tls.for_server(ServerTLS(), {DTLS.host})
    offered = server.offering((), datagrams=True)
    listener = await protocols.for_target(DTLS).listen(
        reactor, DTLS, ListenSettings(totals, tls=offered, **settings)
    )
    assert server.authority is not None
    client = tls.for_client(ClientTLS(authorities=server.authority.path), DTLS.host, datagrams=True)
    server.close()
    return listener, client


def route_to(address: tuple[str, int], client: Any) -> Route:
    """Return the way to a server."""
    host, port = address
    return Route(Target("dtls", "udp", True, host, port, is_dtls=True), (host,), tls=client, timeout=30)


class Exchanges:
    """One connection, and one exchange over it at a time."""

    def __init__(self, reactor: Any, route: Route) -> None:
        self._reactor = reactor
        self._route = route
        self._exchanger: Any = None
        self._awaited: Deferred[bytes] | None = None
        self.lost: Deferred[object] = Deferred()
        """Fires with the class of the reason."""

    async def open(self) -> None:
        """Connect."""
        adapter = protocols.for_target(self._route.target)
        self._exchanger = await adapter.connect(self._reactor, self._route, self._replied, self._lost)

    def _replied(self, _: object, payload: bytes, *__: object) -> None:
        assert self._awaited is not None
        awaited, self._awaited = self._awaited, None
        awaited.callback(payload)

    def _lost(self, reason: Failure) -> None:
        self.lost.callback(reason.type)

    async def exchange(self, payload: bytes) -> bytes:
        """Send something, and return what comes back."""
        self._awaited = awaited = Deferred[bytes]()
        self._exchanger.send(0, payload)
        return await awaited

    @property
    def has_doubts(self) -> bool:
        """Whether a new association is being made beside the one that there is."""
        return self._exchanger.transport._successor is not None

    def shout(self) -> None:
        """Send as much as must be unanswered for an association to be doubted, and wait for nothing."""
        for _ in range(UNANSWERED):
            self._exchanger.send(0, b"anybody there?")

    def close(self) -> None:
        """End it."""
        self._exchanger.close()


def test_lost_flights() -> None:
    """Whatever is lost of a handshake is sent again in a second or two, and the handshake completed."""

    async def through(
        reactor: Any, server: tuple[str, int], client: Any, out: set[int], back: set[int]
    ) -> int:
        with LossyPath(server, out.__contains__, back.__contains__) as path:
            exchanges = Exchanges(reactor, route_to(path.address, client))
            await exchanges.open()
            assert await exchanges.exchange(b"here") == b"here"
            exchanges.close()
            return path.lost

    async def scenario(reactor: Any) -> None:
        totals = Totals()
        listener, client = await listen(reactor, totals)
        server = (DTLS.host, listener.target.port)
        ways = [
            Deferred.fromCoroutine(through(reactor, server, client, out, back)) for _, out, back in FLIGHTS
        ]
        assert await gatherResults(ways) == [len(out) + len(back) for _, out, back in FLIGHTS]
        assert totals.connections == len(FLIGHTS)
        await listener.drain()

    reactors.run("fast", scenario)


@pytest.mark.parametrize("impairment", [None, Impairment(delay=Delay(50_000_000))], ids=["plain", "delayed"])
def test_goodbye_of_a_server(impairment: Impairment | None) -> None:
    """A server that ends says so, and its clients know at once, or as late as it says all else."""

    async def scenario(reactor: Any) -> None:
        listener, client = await listen(reactor, Totals(), impairment=impairment)
        exchanges = Exchanges(reactor, route_to((DTLS.host, listener.target.port), client))
        await exchanges.open()
        assert await exchanges.exchange(b"here") == b"here"
        await listener.drain()
        assert await exchanges.lost is ConnectionDone

    reactors.run("fast", scenario)


@pytest.mark.parametrize("begun", [False, True])
def test_socket_closed_by_the_reactor(begun: bool) -> None:
    """A socket that the reactor closes, as some do when a port is unreachable, is the end like any other."""

    async def scenario(reactor: Any) -> None:
        listener, client = await listen(reactor, Totals())
        reasons: list[object] = []
        association = AssociationPort(
            reactor,
            route_to((DTLS.host, listener.target.port), client),
            lambda _: None,
            lambda reason: reasons.append(reason.type),
        )
        port = reactor.listenUDP(0, association, DTLS.host)
        port.connect(DTLS.host, listener.target.port)
        completed = association.shake_hands()
        if begun:
            await completed
        port.connectionLost()
        if begun:
            assert reasons == [ConnectionRefusedError]
        else:
            with pytest.raises(ConnectionRefusedError):
                await completed
        await listener.drain()

    reactors.run("fast", scenario)


def doubting(address: tuple[str, int], client: Any, on_reopened: Callable[[], object]) -> Route:
    """Return the way to a server whose silence is not borne for long, and ends by another association."""
    return dataclasses.replace(route_to(address, client), timeout=1.0, on_reopened=on_reopened)


def trusting_anybody() -> Any:
    """Return what a client shakes hands with that asks for no certificate."""
    return tls.for_client(ClientTLS(insecure=True), DTLS.host, datagrams=True)


def test_server_that_has_forgotten_us() -> None:
    """One that drops what we say, as it was started anew, is shaken hands with anew, again and again."""

    async def scenario(reactor: Any) -> None:
        totals = [Totals() for _ in range(3)]
        listeners = [(await listen(reactor, each))[0] for each in totals]
        with LossyPath((DTLS.host, listeners[0].target.port)) as path:
            replaced: Deferred[None] = Deferred()
            route = doubting(path.address, trusting_anybody(), lambda: replaced.callback(None))
            exchanges = Exchanges(reactor, route)
            await exchanges.open()
            for listener in listeners[1:]:
                path.lead_to((DTLS.host, listener.target.port))
                exchanges.shout()
                await replaced
                replaced = Deferred()  # for the next
                assert await exchanges.exchange(b"again") == b"again"
            exchanges.close()
        assert [each.connections for each in totals] == [1, 1, 1]
        await gatherResults([listener.drain() for listener in listeners])

    reactors.run("fast", scenario)


def test_server_that_answers_nothing() -> None:
    """It is shaken hands with anew too, but each time after twice as long."""

    async def scenario(reactor: Any) -> None:
        totals = Totals()
        listener, client = await listen(reactor, totals, reply=ReplyMode.DISCARD)
        replaced: Deferred[None] = Deferred()
        address = (DTLS.host, listener.target.port)
        exchanges = Exchanges(reactor, doubting(address, client, lambda: replaced.callback(None)))
        await exchanges.open()
        took = []
        for _ in range(2):
            begun = reactor.seconds()
            exchanges.shout()
            await replaced
            replaced = Deferred()  # for the next
            took.append(reactor.seconds() - begun)
        assert took[0] > 1.0
        assert took[1] > 2.0
        assert totals.connections == 3
        exchanges.close()
        await listener.drain()

    reactors.run("fast", scenario)


def test_gap_in_the_path() -> None:
    """An association that has been doubted stays if its server answers before another one is complete."""

    async def scenario(reactor: Any) -> None:
        totals = Totals()
        listener, client = await listen(reactor, totals)
        is_whole = True
        begun: Deferred[None] = Deferred()

        def loses(place: int) -> bool:
            if is_whole:
                return False
            if place == 0:  # of another port
                reactor.callFromThread(begun.callback, None)
            return not begun.called or place < UNANSWERED

        with LossyPath((DTLS.host, listener.target.port), out=loses) as path:
            replaced: Deferred[None] = Deferred()
            exchanges = Exchanges(reactor, doubting(path.address, client, lambda: replaced.callback(None)))
            await exchanges.open()
            assert await exchanges.exchange(b"before") == b"before"
            is_whole = False
            exchanges.shout()
            await begun
            assert exchanges.has_doubts
            assert await exchanges.exchange(b"after") == b"after"
            assert not exchanges.has_doubts
            exchanges.close()
        assert not replaced.called
        assert totals.connections == 1
        await listener.drain()

    reactors.run("fast", scenario)


def test_server_that_cannot_be_trusted_any_more() -> None:
    """If the server in the place of one that fell silent shows another certificate, that is the end."""

    async def scenario(reactor: Any) -> None:
        listener, client = await listen(reactor, Totals())
        other, _ = await listen(reactor, Totals())
        with LossyPath((DTLS.host, listener.target.port)) as path:
            exchanges = Exchanges(reactor, doubting(path.address, client, lambda: None))
            await exchanges.open()
            assert await exchanges.exchange(b"here") == b"here"
            path.lead_to((DTLS.host, other.target.port))
            exchanges.shout()
            assert await exchanges.lost is UnverifiedError
        await gatherResults([listener.drain(), other.drain()])

    reactors.run("fast", scenario)


LOADS = [
    ("bench -c 2 -q 400 -n 1600 -w 1s", 2),
    ("client -n 400 -i 10ms -w 1s", 1),
    ("bench -c 2 -q 400 -n 1600 -w 1s --no-reconnect", 0),
]


@pytest.mark.parametrize(("words", "reopened"), LOADS, ids=["bench", "client", "not"])
def test_restart(words: str, reopened: int) -> None:
    """A server that is killed, with another in its place, costs what was under way, and no more."""
    under_way = threading.Event()

    def loses(place: int) -> bool:
        if place == 100:
            under_way.set()
        return False

    url = "dtls://127.0.0.1:0"
    with (
        Server(url) as heir,
        Server(url) as server,
        LossyPath(server.listener.address, out=loses) as path,
    ):
        command = [*COMMAND, *words.split(), "dtls://{}:{}".format(*path.address), "-k", "--json", "-"]
        with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, cwd=ROOT) as client:
            assert under_way.wait(TIMEOUT)
            server.status = -signal.SIGKILL
            server.tell(signal.SIGKILL)
            path.lead_to(heir.listener.address)
            output, _ = client.communicate(timeout=TIMEOUT)
        begun_anew = heir.end()["connections"]
    result = checked(json.loads(output))
    assert result["connections"]["lost"] == result["connections"]["reopened"] <= begun_anew
    if reopened:  # on a machine that stands still for longer than their patience, more than once
        assert result["connections"]["reopened"] >= reopened
    else:
        assert begun_anew == 0
    exchanges = result["exchanges"]
    assert exchanges["lost"] == exchanges["errors"]["timeout"] > 0
    assert exchanges["in_flight"] == 0


@pytest.fixture(scope="module")
def server() -> Any:
    """Serve DTLS, and UDP in clear."""
    with Server("dtls://127.0.0.1:0", "udp://127.0.0.1:0", "--idle-timeout", "1m") as running:
        yield running


def trusting(server: Server) -> tuple[str, ...]:
    """Return the target and flags of a client that trusts a server."""
    assert server.listener.ca is not None
    return server.listener.url, "--cacert", server.listener.ca


def test_bench(server: Server, tmp_path: pathlib.Path) -> None:
    """A result has what a result of UDP has, and how long handshakes took."""
    table = tmp_path / "result.csv"
    result = bench(
        *trusting(server), "-c", "4", "-n", "400", "-l", "1000", "--mtu", "1280", "--csv", str(table)
    )
    assert result["exchanges"]["completed"] == 400
    assert result["latency_ns"]["handshake"]["count"] == 4
    assert result["latency_ns"]["connect"] is None, "it is the handshake that connects"
    assert result["plan"]["mtu"] == 1280
    [row] = csv.DictReader(table.open(newline=""))
    assert row["plan.mtu"] == "1280"
    assert len(result["flows"]) == 4
    assert result["plan"]["target"].startswith("dtls://")


def test_bench_of_its_own_server() -> None:
    """The server that a bench starts for itself speaks DTLS too, in several processes on either side."""
    result = bench("--proto", "udp", "--tls", "-c", "4", "-n", "100", "--workers", "2")
    assert result["exchanges"]["completed"] == 100


def test_bench_through_losses(server: Server) -> None:
    """What a path loses is lost in the result, to a datagram; what comes is what was sent."""

    def loses(place: int) -> bool:
        return place >= 4 and place % 10 == 0  # in the handshake nothing

    with LossyPath(server.listener.address, out=loses) as path:
        url = "dtls://{}:{}".format(*path.address)
        result = bench(url, *trusting(server)[1:], "-q", "200", "-n", "100", "-w", "1s")
        lost = path.lost
    # Of the client's 104 datagrams one may be its goodbye.
    assert lost in (9, 10)
    assert result["exchanges"]["lost"] == 10
    assert result["exchanges"]["completed"] == 90
    assert result["exchanges"]["corrupted"] == 0


@pytest.mark.parametrize("resume", [False, True])
def test_handshakes(server: Server, resume: bool) -> None:
    """Handshakes can be what is measured, in full or resumed."""
    words = ["--resume"] if resume else []
    result = bench(*trusting(server), "--mode", "handshake", "-c", "2", "-n", "20", *words)
    assert result["exchanges"]["completed"] == 20
    latencies = result["latency_ns"]
    assert latencies["handshake"]["count"] == (2 if resume else 20)
    assert (latencies["handshake_resumed"] or {"count": 0})["count"] == (18 if resume else 0)


def test_client(server: Server) -> None:
    """A pipe and a ping work as on UDP, and -v says what was negotiated."""
    said = netecho("client", *trusting(server), "-v", input=b"hello\n" * 1000)
    assert said.stdout == b"hello\n" * 1000
    for words in (b"DTLSv1.2", b"certificate verified", b"handshake"):
        assert words in said.stderr
    said = netecho("client", *trusting(server), "-n", "3", "-i", "1ms", "-l", "16384")
    assert said.returncode == 0
    assert b"3 sent, 3 received" in said.stdout


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        ("client {dtls} -n 1", 1, "signed by an authority unknown here"),
        (
            "client {closed} -n 1 -k",
            1,
            "nothing listens there; start one with: netecho serve --proto udp --tls",
        ),
        ("client {plain} -n 1 -k", 1, "speaks no TLS; leave --tls out"),
        ("client {dtls} -k -n 1 -l 16385", 2, "a message on dtls has at most 16,384 bytes"),
        ("bench {dtls} -k --mode connect", 2, "--mode connect is for protocols that connect"),
    ],
)
def test_words(server: Server, words: str, status: int, error: str) -> None:
    """What goes wrong is one line."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    places = {
        "dtls": server.listeners[0].url,
        "plain": server.listeners[1].url.replace("udp", "dtls"),
        "closed": f"dtls://127.0.0.1:{closed}",
    }
    done = netecho(*(word.format_map(places) for word in words.split()))
    assert done.returncode == status
    assert error in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_sigterm() -> None:
    """A server that is told to end says goodbye to its peers, and how much it has done."""
    with Server("dtls://127.0.0.1:0", "-v") as server:
        with LossyPath(server.listener.address) as path:
            url = "dtls://{}:{}".format(*path.address)
            done = netecho("client", url, *trusting(server)[1:], "-n", "1")
            assert done.returncode == 0
        stopped = server.end()
    assert (stopped["connections"], stopped["open"]) == (1, 0)
    assert (stopped["datagrams_received"], stopped["datagrams_sent"]) == (1, 1)
    assert stopped["dropped"] == {}


def test_workers() -> None:
    """Whichever worker a peer comes to, it stays with that one: each has a secret of its own for cookies."""
    with Server("dtls://127.0.0.1:0", "--workers", "2", "-v") as server:
        result = bench(*trusting(server), "-c", "24", "-n", "2400")
        assert result["exchanges"]["completed"] == 2400
        stopped = server.end()
    assert (stopped["connections"], stopped["open"], stopped["dropped"]) == (24, 0, {})
    assert {told["worker"] for told in server.events if told["event"] == "connected"} == {0, 1}


def test_flood_of_hellos() -> None:
    """ClientHellos from 25,000 addresses cost no memory, and others are served meanwhile."""
    hello = Peer().hello()
    sources = itertools.count((127 << 24) + (1 << 16))
    with (
        Server("dtls://127.0.0.1:0") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood,
    ):
        flood.bind(("0.0.0.0", 0))
        flood.settimeout(TIMEOUT)

        def send(count: int) -> None:
            for _ in range(count // 100):
                for _ in range(100):
                    information = bytes(4) + struct.pack(">I", next(sources)) + bytes(4)
                    control = [(socket.IPPROTO_IP, IP_PKTINFO, information)]
                    flood.sendmsg([hello], control, 0, server.listener.address)
                for _ in range(100):
                    assert len(flood.recv(65_536)) < len(hello)

        send(5000)
        assert netecho("client", *trusting(server), "-n", "1").returncode == 0
        before = server.resident_kib()
        send(10_000)
        assert netecho("client", *trusting(server), "-n", "1").returncode == 0
        send(10_000)
        assert server.resident_kib() - before < 4096
        stopped = server.end()
    assert stopped["connections"] == 2
    assert stopped["dropped"] == {}
