"""What every adapter must do, whatever its protocol.

Servers that send back whatever bytes they are sent are seen by sockets that know nothing of them. Those whose
payloads are in messages of the protocol's own form are seen through the adapter's own client, as all are.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netecho import protocols
from netecho.impairment import Delay, Harm, Impairment
from netecho.measure.oneway import Reflection
from netecho.plans import ClientTLS, ServerTLS, Target
from netecho.protocols._contract import Adapter, Answer, Exchanger, Kind, Receipt, Route
from netecho.protocols._listener import Listener, ListenSettings, Totals
from netecho.protocols.tcp import TCP
from netecho.protocols.udp import DTLS, UDP
from netecho.protocols.unix import UNIX
from netecho.services import tls
from tests import reactors
from tests.servers import Listening, Server, exchange, receive_all, receive_exactly

MIB = 1 << 20
KEY = b"between us"
"""For those that authenticate."""
FORMS = [
    (name, scheme)
    for name in protocols.names()
    for scheme in dict.fromkeys((name, protocols.load(name).secure_scheme))
    if scheme is not None
]
"""Each protocol in clear and, where it has one, in its secure form."""


def is_bare(adapter: Adapter) -> bool:
    """Return whether payloads have no form of the protocol's own: whatever bytes are sent come back."""
    return isinstance(adapter, TCP | UNIX | UDP) and not isinstance(adapter, DTLS)


def forms_of(*kinds: Kind) -> pytest.MarkDecorator:
    """Run a test with a server of each protocol of these kinds that is a plain echo, in each of its forms."""
    adapters = {scheme: protocols.for_scheme(scheme)[0] for _, scheme in FORMS}
    chosen = [form for form in FORMS if is_bare(one := adapters[form[1]]) and one.kind in kinds]
    return pytest.mark.parametrize("form", chosen, ids=[scheme for _, scheme in chosen], indirect=True)


every_form = forms_of(*Kind)
streams = forms_of(Kind.STREAM)
datagrams = forms_of(Kind.DATAGRAM)


@pytest.fixture(scope="module")
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Serve one form of one protocol for this module's tests."""
    name, scheme = request.param
    url = f"{scheme}://127.0.0.1:0"
    if protocols.load(name).default_port is None:
        url = f"{scheme}:{tmp_path_factory.mktemp(scheme) / 'echo'}"
    with Server(url) as server:
        yield server.listener


@every_form
@pytest.mark.parametrize("size", [1, 2, 63, 1460, 9000, 65_507])
def test_echo(form: Listening, size: int) -> None:
    """What is sent comes back, byte for byte, again and again."""
    with form.connect() as connection:
        for _ in range(3):
            message = os.urandom(size)
            connection.sendall(message)
            assert receive_exactly(connection, size) == message


@streams
def test_split(form: Listening) -> None:
    """Where one message ends and the next begins does not matter to a stream."""
    message = os.urandom(1000)
    with form.connect() as connection:
        for start in range(0, 1000, 7):
            connection.sendall(message[start : start + 7])
        assert receive_exactly(connection, 1000) == message


@streams
def test_coalesced(form: Listening) -> None:
    """Messages that arrive together come back whole and in order."""
    messages = [os.urandom(size) for size in range(1, 200)]
    with form.connect() as connection:
        connection.sendall(b"".join(messages))
        for message in messages:
            assert receive_exactly(connection, len(message)) == message


@streams
def test_huge(form: Listening) -> None:
    """A message larger than every buffer on the way comes back, read as it comes."""
    message = os.urandom(32 * MIB)
    with form.connect() as connection:
        assert exchange(connection, message) == message


@streams
def test_half_close(form: Listening) -> None:
    """What was sent before a half-close comes back to its last byte, and then the end."""
    message = os.urandom(8 * MIB)
    with form.connect() as connection:
        if isinstance(connection, ssl.SSLSocket):
            pytest.skip("Python's ssl has no half-close; test_tls_protocol.py and openssl show it")
        assert exchange(connection, message, half_close=True) == message


@streams
def test_half_close_without_data(form: Listening) -> None:
    """A peer that closes without a word gets the end, and nothing else."""
    with form.connect() as connection:
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap().close()
            return
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b""


@streams
def test_abort(form: Listening) -> None:
    """A peer that resets its connection in mid-echo disturbs nobody."""
    with form.connect() as steady:
        for _ in range(20):
            connection = form.connect()
            connection.sendall(b"x" * 100_000)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            steady.sendall(b"still here")
            assert receive_exactly(steady, 10) == b"still here"


@streams
def test_slow_reader(form: Listening) -> None:
    """A peer that sends without reading is held back, delays nobody, and gets all when it reads."""
    with form.connect() as slow, form.connect() as steady:
        slow.setblocking(False)
        sent = 0
        block = bytes(range(256)) * 256
        try:
            while sent < 64 * MIB:
                sent += slow.send(block[sent % len(block) :])
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        assert sent < 64 * MIB, "nothing held the sender back"
        steady.sendall(b"in time")
        assert receive_exactly(steady, 7) == b"in time"
        slow.settimeout(60)
        echo = receive_exactly(slow, sent)
        assert echo == (block * (sent // len(block) + 1))[:sent]


@datagrams
@pytest.mark.parametrize("size", [0, 1, 512, 1472, 1473, 8192, 8193, 65_506, 65_507])
def test_datagram_sizes(form: Listening, size: int) -> None:
    """Datagrams of every size come back as they were, the empty one too, one for one."""
    with form.connect() as connection:
        messages = [os.urandom(size) for _ in range(3)]
        for message in messages:
            connection.send(message)
            assert connection.recv(65_536) == message
        connection.settimeout(0)
        with pytest.raises(BlockingIOError):
            connection.recv(65_536)


@datagrams
def test_many_datagrams_together(form: Listening) -> None:
    """A burst comes back whole: each datagram once, none joined or cut."""
    with form.connect() as connection:
        messages = {struct.pack(">I", number) + os.urandom(number) for number in range(60)}
        for message in messages:
            connection.send(message)
        assert {connection.recv(65_536) for _ in messages} == messages


def test_socket_is_private(tmp_path: pathlib.Path) -> None:
    """As loopback is the default elsewhere, a socket in the file system is its owner's alone."""
    path = tmp_path / "echo"
    with Server(f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


class Both:
    """An adapter's server and client in one reactor."""

    def __init__(self, reactor: Any, scheme: str, directory: pathlib.Path) -> None:
        self.reactor = reactor
        self.directory = directory
        self.adapter, self.secure = protocols.for_scheme(scheme)
        path = None if self.adapter.default_port is not None else str(directory / "echo")
        is_dtls = self.secure and self.adapter.kind is Kind.DATAGRAM
        self._target = Target(scheme, self.adapter.name, self.secure, port=0, path=path, is_dtls=is_dtls)
        self.replies: list[tuple[int | None, bytes, Reflection | None]] = []
        self._waiting: tuple[int, Deferred[None]] | None = None
        self._sent: collections.deque[bytes] = collections.deque()

    def send(self, exchanger: Exchanger, sequence: int, payload: bytes) -> None:
        """Send a message."""
        self._sent.append(payload)
        exchanger.send(sequence, payload)

    async def listen(self, impairment: Impairment | None = None) -> Listener:
        """Open a listener, and make a route to it."""
        target, datagrams = self._target, self._target.is_dtls
        server = tls.for_server(ServerTLS(), {target.host}) if self.secure else None
        offered = None if server is None else server.offering(self.adapter.alpn, datagrams=datagrams)
        self.totals = Totals()
        settings = ListenSettings(self.totals, tls=offered, key=KEY, stateful=True, impairment=impairment)
        listener = await self.adapter.listen(self.reactor, target, settings)
        client = None
        if server is not None:
            assert server.authority is not None
            trust = ClientTLS(authorities=server.authority.path)
            client = tls.for_client(trust, target.host, datagrams=datagrams)
            server.close()
        self.route = Route(listener.target, (self._target.host,), tls=client, key=KEY)
        return listener

    async def connect(self) -> Exchanger:
        """Open a connection, whose echoes are kept."""
        return await self.adapter.connect(self.reactor, self.route, self._reply, self._lost)

    async def answered(self, count: int) -> None:
        """Wait for that many echoes."""
        waiting: Deferred[None] = Deferred()
        self._waiting = count, waiting
        self._look()
        await waiting

    def _reply(
        self,
        sequence: int | None,
        payload: bytes,
        reflection: Reflection | None = None,
        answer: Answer | None = None,
        /,
    ) -> None:
        assert answer is not None or not (self.adapter.has_requests or self.adapter.has_receipts)
        if self.adapter.has_receipts:
            # The exchanger has compared it with what it sent, of which it has sent the oldest first.
            assert answer is not None
            assert answer.receipt is Receipt.MATCHES
            assert payload
            payload = self._sent.popleft()
        self.replies.append((sequence, payload, reflection))
        self._look()

    def _look(self) -> None:
        if self._waiting is not None and len(self.replies) >= self._waiting[0]:
            (_, waiting), self._waiting = self._waiting, None
            waiting.callback(None)

    def _lost(self, reason: Failure) -> None:
        assert self._waiting is not None
        self._waiting[1].errback(reason)


def sizes_of(adapter: Adapter) -> list[int]:
    """Return sizes of payloads that a protocol carries, the extremes among them."""
    most = 1_000_000 if adapter.maximum_size is None else adapter.maximum_size
    return sorted({adapter.minimum_size, adapter.default_size, 1, 8, 1460, 9000, most})


every_scheme = pytest.mark.parametrize("scheme", [scheme for _, scheme in FORMS])


@every_scheme
@pytest.mark.parametrize("kind", reactors.KINDS)
def test_exchanges(scheme: str, kind: str, tmp_path: pathlib.Path) -> None:
    """Through an adapter's own client payloads of all sizes come back, with the number that it knows."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener = await both.listen()
        exchanger = await both.connect()
        for sequence, size in enumerate(sizes_of(both.adapter)):
            payload = os.urandom(size)
            both.send(exchanger, sequence, payload)
            await both.answered(sequence + 1)
            number, came, reflection = both.replies[sequence]
            assert came == payload
            assert number == (sequence if both.adapter.numbered else None)
            assert (reflection is not None) == both.adapter.reflects
        exchanger.close()
        await listener.drain()

    reactors.run(kind, scenario)


@every_scheme
def test_open_connections_count(scheme: str, tmp_path: pathlib.Path) -> None:
    """What a connection has moved is known while it is open: a server may be killed, and is one for weeks."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener = await both.listen()
        exchanger = await both.connect()
        both.send(exchanger, 0, b"x" * 1000)
        await both.answered(1)
        so_far = dataclasses.replace(both.totals)
        so_far.add(listener.under_way())
        assert so_far.bytes_received >= 1000
        assert so_far.bytes_sent > 0
        exchanger.close()
        await listener.drain()
        assert listener.under_way() == Totals()
        farewells = range(100)
        assert both.totals.bytes_received - so_far.bytes_received in farewells
        assert both.totals.bytes_sent - so_far.bytes_sent in farewells

    reactors.run("fast", scenario)


@every_scheme
def test_impairment(scheme: str, tmp_path: pathlib.Path) -> None:
    """What a server does to its answers on purpose it does whatever protocol they are in, and counts it."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        assert Harm.DELAY in both.adapter.harms
        listener = await both.listen(Impairment(Delay(20_000_000)))
        exchanger = await both.connect()
        begun = reactor.seconds()
        both.send(exchanger, 0, b"x" * 100)
        await both.answered(1)
        assert reactor.seconds() - begun >= 0.02
        assert both.totals.impaired["delayed"] >= 1
        exchanger.close()
        await listener.drain()

    reactors.run("fast", scenario)


@every_scheme
def test_exchanges_in_flight(scheme: str, tmp_path: pathlib.Path) -> None:
    """Many at a time come back, each once."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener = await both.listen()
        exchanger = await both.connect()
        payloads = [b"%04d" % number for number in range(100)]
        for sequence, payload in enumerate(payloads):
            both.send(exchanger, sequence, payload)
        await both.answered(len(payloads))
        assert sorted(payload for _, payload, _ in both.replies) == payloads
        if both.adapter.numbered:
            assert [payload for _, payload, _ in sorted(both.replies, key=lambda one: one[:2])] == payloads
        exchanger.close()
        await listener.drain()

    reactors.run("fast", scenario)


class Talker(Protocol):
    """A protocol that says something, and waits for its echo, or for a receipt in its place."""

    transport: Any

    def __init__(self, message: bytes, *, receipt: bool) -> None:
        self.message = message
        self.receipt = receipt
        self.heard = b""
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(self.message)

    def dataReceived(self, data: bytes) -> None:
        """Hear."""
        self.heard += data
        if self.receipt or len(self.heard) == len(self.message):
            self.done.callback(None)


@every_scheme
def test_conversation(scheme: str, tmp_path: pathlib.Path) -> None:
    """Any Twisted protocol can talk through an adapter, which knows of its messages what it must."""

    async def scenario(reactor: Any) -> None:
        both = Both(reactor, scheme, tmp_path)
        listener = await both.listen()
        talker = Talker(os.urandom(1000), receipt=both.adapter.has_receipts)
        connected: list[bool] = []
        await both.adapter.converse(reactor, both.route, talker, lambda: connected.append(True))
        # Where nothing or the handshake is what connects, there is nothing to be told of; TLS is a step more.
        adapter, is_secure = both.adapter, both.route.tls is not None
        by_handshake = is_secure and adapter.secure_scheme == adapter.name
        has_steps = adapter.kind is not Kind.DATAGRAM and not by_handshake
        assert len(connected) == (1 + is_secure if has_steps else 0)
        await talker.done
        assert talker.heard if talker.receipt else talker.heard == talker.message
        talker.transport.loseConnection()
        await listener.drain()

    reactors.run("fast", scenario)
