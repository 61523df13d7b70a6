"""TLS with each direction closed on its own, against Python's own ssl module and other people's tools."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import random
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IHandshakeListener,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.plans import ClientTLS, ServerTLS
from netecho.protocols._tls import HalfCloseableTLSFactory, TruncationError
from netecho.services.tls import ClientContext, ServerContext, for_client, for_server


class Files:
    """An authority and a server certificate of its own, on disk, and contexts that use them."""

    def __init__(self, directory: pathlib.Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.ca, self.server = str(directory / "ca.pem"), str(directory / "server.pem")
        authority.cert_pem.write_to_path(self.ca)
        issued.private_key_and_cert_chain_pem.write_to_path(self.server)
        self.server_context: ServerContext = for_server(ServerTLS(certificate=self.server))
        self.client_context: ClientContext = for_client(ClientTLS(authorities=self.ca), "localhost", {})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return certificates for the whole module, as keys take time to make."""
    return Files(tmp_path_factory.mktemp("tls"))


@implementer(IHalfCloseableDescriptor)
class Wire(StringTransport):
    """A transport in memory that closes each direction on its own, as TCP does."""

    write_closed = False

    def loseWriteConnection(self) -> None:
        """Note that a FIN would be sent now."""
        self.write_closed = True

    def readConnectionLost(self, reason: Failure) -> None:
        """Not used: the test calls the protocol's."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """Not used, likewise."""


class Talker(Protocol):
    """A protocol that records what it is told, and knows nothing of half-close."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.told: list[str] = []
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes."""
        self.received += data

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Keep the reason."""
        self.reason = reason


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class HalfTalker(Talker):
    """One that knows of half-close."""

    def handshakeCompleted(self) -> None:
        """Note it."""
        self.told.append("handshake")

    def readConnectionLost(self) -> None:
        """Note it."""
        self.told.append("read closed")

    def writeConnectionLost(self) -> None:
        """Note it."""
        self.told.append("write closed")


class PlainEcho(Talker):
    """An echo that knows nothing of half-close."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class Echo(HalfTalker):
    """An echo that stops reading from a peer that does not read, and closes after its peer."""

    def connectionMade(self) -> None:
        """Be held back by our own unsent echo."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """Close, as nothing more will be echoed."""
        super().readConnectionLost()
        self.transport.loseConnection()


class Conversation:
    """One of our TLS transports, and Python's ssl at the other end of the wire."""

    def __init__(
        self,
        files: Files,
        inner: Talker,
        is_client: bool = False,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        wire: StringTransport | None = None,
    ) -> None:
        self.clock = Clock()
        self.wire: Any = wire or Wire()  # type: ignore[no-untyped-call]
        if is_client:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.server)
        else:
            context = ssl.create_default_context(cafile=files.ca)
        context.minimum_version = context.maximum_version = version
        self.to_peer, self.from_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if is_client else "localhost"
        self.peer = context.wrap_bio(self.to_peer, self.from_peer, is_client, name)
        self.peer_received = bytearray()
        self.peer_saw_close = False
        wrapped = ClientFactory()
        wrapped.buildProtocol = lambda _: inner  # type: ignore[assignment]
        creator = files.client_context if is_client else files.server_context
        factory = HalfCloseableTLSFactory(creator, is_client, wrapped, self.clock)  # type: ignore[arg-type]
        self.tls: Any = factory.buildProtocol(None)
        self.tls.makeConnection(self.wire)

    def shake_hands(self) -> Conversation:
        """Complete the handshake."""
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.peer.do_handshake()
            self.pump()
        assert self.tls._handshakeDone
        return self

    def pump(self) -> None:
        """Carry all that is to be carried, both ways, and let the peer read it."""
        while True:
            self.clock.advance(0)
            ours, theirs = self.wire.value(), self.from_peer.read()
            self.wire.clear()
            if not ours and not theirs:
                return
            if ours:
                self.to_peer.write(ours)
                self.peer_reads()
            if theirs:
                self.tls.dataReceived(theirs)

    def peer_reads(self) -> None:
        """Have the peer take all that has arrived."""
        with contextlib.suppress(ssl.SSLWantReadError):
            if self.peer.version() is None:
                self.peer.do_handshake()
            try:
                while data := self.peer.read(65536):
                    self.peer_received += data
            except ssl.SSLZeroReturnError:
                pass
            self.peer_saw_close = True

    def peer_closes(self) -> None:
        """Have the peer write its close_notify, to go out with what it wrote before."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.unwrap()


BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class TestPeerCloses:
    """The peer closes its side first."""

    @BOTH_VERSIONS
    @pytest.mark.parametrize("echo", [Echo, PlainEcho])
    def test_echo_precedes_close_notify(
        self, files: Files, echo: type[Talker], version: ssl.TLSVersion
    ) -> None:
        """What arrives in one turn with the close_notify is echoed before ours, then the wire closes."""
        inner = echo()
        talk = Conversation(files, inner, version=version).shake_hands()
        talk.peer.write(b"last words")
        talk.peer_closes()
        talk.tls.dataReceived(talk.from_peer.read())
        talk.pump()
        assert bytes(talk.peer_received) == b"last words"
        assert talk.peer_saw_close
        assert talk.wire.disconnecting
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(ConnectionDone)

    @pytest.mark.parametrize("echo", [Echo, PlainEcho])
    def test_fin_alone(self, files: Files, echo: type[Talker]) -> None:
        """A FIN without close_notify loses no echo either, and the protocol learns that it was cut short."""
        inner = echo()
        talk = Conversation(files, inner).shake_hands()
        talk.peer.write(b"last words")
        talk.tls.dataReceived(talk.from_peer.read())
        talk.tls.readConnectionLost()
        talk.tls.readConnectionLost()  # a transport may say so again
        talk.pump()
        assert bytes(talk.peer_received) == b"last words"
        assert talk.peer_saw_close
        assert talk.wire.disconnecting
        assert inner.told.count("read closed") == (echo is Echo)
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(TruncationError)
        assert inner.reason.check(ConnectionLost)

    @pytest.mark.parametrize("echo", [Echo, PlainEcho])
    def test_reset_in_answer_to_close_notify(self, files: Files, echo: type[Talker]) -> None:
        """A peer that has said its farewell need not wait for ours, and its system resets what comes then."""
        inner = echo()
        talk = Conversation(files, inner).shake_hands()
        talk.peer_closes()
        talk.tls.dataReceived(talk.from_peer.read())
        talk.tls.connectionLost(Failure(ConnectionLost()))
        assert inner.reason.check(ConnectionDone)

    def test_reset_of_what_is_on_its_way(self, files: Files) -> None:
        """What the system has not even taken by then is lost, whatever both have said."""
        inner = PlainEcho()
        talk = Conversation(files, inner).shake_hands()
        talk.peer_closes()
        talk.tls.dataReceived(talk.from_peer.read())
        talk.wire.dataBuffer, talk.wire.offset = b"echo", 3
        talk.tls.connectionLost(Failure(ConnectionLost()))
        assert inner.reason.check(ConnectionLost)

    def test_reset_before_close_notify(self, files: Files) -> None:
        """Who is still being written to is lost, whatever it has said."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        talk.peer_closes()
        talk.tls.dataReceived(talk.from_peer.read())
        inner.transport.write(b"still here")
        talk.tls.connectionLost(Failure(ConnectionLost()))
        assert inner.reason.check(ConnectionLost)

    def test_write_side_stays_open(self, files: Files) -> None:
        """A protocol that knows of half-close goes on writing until it is done."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        talk.peer_closes()
        talk.tls.dataReceived(talk.from_peer.read())
        assert inner.told == ["handshake", "read closed"]
        assert not talk.wire.disconnecting
        inner.transport.write(b"still here")
        inner.transport.loseWriteConnection()
        assert talk.wire.disconnecting
        talk.pump()
        assert bytes(talk.peer_received) == b"still here"
        assert talk.peer_saw_close

    def test_transport_without_half_close(self, files: Files) -> None:
        """Where the transport can only end whole, a missing close_notify is told by the reason alone."""
        inner = HalfTalker()
        talk = Conversation(files, inner, wire=StringTransport()).shake_hands()
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(TruncationError)

    def test_fin_in_handshake(self, files: Files) -> None:
        """A peer that leaves in the middle of the handshake is a lost connection."""
        inner = HalfTalker()
        talk = Conversation(files, inner)
        talk.tls.readConnectionLost()
        assert talk.wire.disconnecting
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.told == []
        assert inner.reason.check(ConnectionLost)

    @settings(max_examples=40, deadline=None)
    @given(
        messages=st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6),
        cuts=st.lists(st.integers(0, 20000), max_size=8),
        notifies=st.booleans(),
    )
    def test_any_segments(self, files: Files, messages: list[bytes], cuts: list[int], notifies: bool) -> None:
        """However the bytes are cut up on their way, all of them are echoed before the end."""
        talk = Conversation(files, Echo()).shake_hands()
        for message in messages:
            talk.peer.write(message)
        if notifies:
            talk.peer_closes()
        sent = talk.from_peer.read()
        edges = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
        for begin, end in itertools.pairwise(edges):
            talk.tls.dataReceived(sent[begin:end])
        if not notifies:
            talk.tls.readConnectionLost()
        talk.pump()
        assert bytes(talk.peer_received) == b"".join(messages)
        assert talk.peer_saw_close
        assert talk.wire.disconnecting


class TestWeClose:
    """Our protocol closes its side first."""

    @pytest.mark.parametrize("is_client", [True, False])
    def test_half_close(self, files: Files, is_client: bool) -> None:
        """After loseWriteConnection the peer sees the end, and what it still sends is received."""
        inner = HalfTalker()
        talk = Conversation(files, inner, is_client).shake_hands()
        inner.transport.write(b"all of ")
        inner.transport.write(b"it")
        inner.transport.loseWriteConnection()
        inner.transport.loseWriteConnection()
        assert talk.wire.write_closed
        talk.pump()
        assert bytes(talk.peer_received) == b"all of it"
        assert talk.peer_saw_close
        talk.peer.write(b"and back")
        talk.pump()
        talk.tls.writeConnectionLost()
        assert bytes(inner.received) == b"and back"
        assert not talk.wire.disconnecting
        talk.peer_closes()
        talk.pump()
        assert inner.told == ["handshake", "write closed", "read closed"]
        assert talk.wire.disconnecting
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(ConnectionDone)

    def test_half_close_before_the_handshake(self, files: Files) -> None:
        """What is written, and closed, before the handshake waits for it."""
        inner = HalfTalker()
        talk = Conversation(files, inner, is_client=True)
        inner.transport.registerProducer(inner.transport, True)
        inner.transport.write(b"early")
        talk.clock.advance(0)
        assert talk.wire.producerState == "producing"
        inner.transport.loseWriteConnection()
        talk.shake_hands()
        assert bytes(talk.peer_received) == b"early"
        assert talk.peer_saw_close
        assert talk.wire.write_closed

    def test_nothing_at_all(self, files: Files) -> None:
        """A client with nothing to say completes the handshake and closes its side."""
        inner = HalfTalker()
        talk = Conversation(files, inner, is_client=True)
        inner.transport.loseWriteConnection()
        talk.shake_hands()
        assert talk.peer_saw_close

    def test_half_close_without_fin(self, files: Files) -> None:
        """Where the transport cannot half-close, close_notify alone says that there is no more."""
        inner = HalfTalker()
        talk = Conversation(files, inner, wire=StringTransport()).shake_hands()
        inner.transport.loseWriteConnection()
        talk.pump()
        assert inner.told == ["handshake", "write closed"]
        assert talk.peer_saw_close

    def test_late_write_is_dropped(self, files: Files) -> None:
        """To write after closing does no harm."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        inner.transport.loseWriteConnection()
        inner.transport.write(b"too late")
        talk.pump()
        assert bytes(talk.peer_received) == b""
        assert not talk.wire.disconnecting

    def test_abort_in_handshake(self, files: Files) -> None:
        """There is nothing to close in order before the handshake: loseConnection aborts."""
        inner = HalfTalker()
        talk = Conversation(files, inner)
        inner.transport.loseConnection()
        assert talk.wire.disconnected

    def test_close_discards_what_still_arrives(self, files: Files) -> None:
        """After loseConnection the protocol hears no more, and the peer's close ends the connection."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        inner.transport.write(b"bye")
        inner.transport.loseConnection()
        talk.peer.write(b"wait")
        talk.pump()
        assert bytes(inner.received) == b""
        assert bytes(talk.peer_received) == b"bye"
        assert not talk.wire.disconnecting
        talk.peer_closes()
        talk.pump()
        assert talk.wire.disconnecting
        assert inner.told == ["handshake"]

    def test_fin_after_our_close(self, files: Files) -> None:
        """A peer that answers our close with a bare FIN has cut nothing short that we wanted."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        inner.transport.loseConnection()
        talk.tls.readConnectionLost()
        assert talk.wire.disconnecting
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(ConnectionDone)


class TestProducers:
    """Backpressure, and how it ends."""

    def test_own_producer_pauses_reading(self, files: Files) -> None:
        """A transport that is its own producer stops reading while the wire is full."""
        talk = Conversation(files, Echo()).shake_hands()
        talk.wire.producer.pauseProducing()
        assert talk.wire.producerState == "paused"
        talk.wire.producer.resumeProducing()
        assert talk.wire.producerState == "producing"

    @pytest.mark.parametrize("method", ["loseConnection", "loseWriteConnection"])
    def test_own_producer_does_not_delay_the_end(self, files: Files, method: str) -> None:
        """Closing while the wire is full sends what was written, and reads on to see the peer close."""
        inner = Echo()
        talk = Conversation(files, inner).shake_hands()
        inner.transport.write(b"x" * 100_000)
        talk.wire.producer.pauseProducing()
        getattr(inner.transport, method)()
        assert talk.wire.producer is None
        assert talk.wire.producerState == "producing"
        talk.pump()
        assert len(talk.peer_received) == 100_000
        assert talk.peer_saw_close
        talk.peer_closes()
        talk.pump()
        assert talk.wire.disconnecting

    def test_other_producers_are_waited_for(self, files: Files) -> None:
        """A producer that is not the transport may finish after loseConnection, as in all of Twisted."""
        inner = HalfTalker()
        talk = Conversation(files, inner).shake_hands()
        inner.transport.registerProducer(StringTransport(), True)
        inner.transport.loseConnection()
        inner.transport.write(b"the rest")
        talk.pump()
        assert not talk.peer_saw_close
        inner.transport.unregisterProducer()
        talk.pump()
        assert bytes(talk.peer_received) == b"the rest"
        assert talk.peer_saw_close

    def test_other_producer_is_stopped(self, files: Files) -> None:
        """A protocol without half-close is disconnected by its peer's close, its producer told to stop."""
        inner = Talker()
        talk = Conversation(files, inner).shake_hands()
        producer = StringTransport()
        inner.transport.registerProducer(producer, True)
        talk.peer_closes()
        talk.pump()
        assert producer.producerState == "stopped"
        assert talk.peer_saw_close
        assert talk.wire.disconnecting

    def test_broken_record(self, files: Files) -> None:
        """Garbage on the wire ends the connection with OpenSSL's error, paused or not."""
        inner = Echo()
        talk = Conversation(files, inner).shake_hands()
        talk.wire.producer.pauseProducing()
        talk.tls.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert talk.wire.producer is None
        assert talk.wire.disconnecting
        talk.tls.connectionLost(Failure(ConnectionDone()))
        assert inner.reason.check(SSL.Error)


def test_refused_protocol(files: Files) -> None:
    """A wrapped factory that builds no protocol gets no TLS around it."""
    wrapped = ClientFactory()
    wrapped.buildProtocol = lambda _: None  # type: ignore[assignment]
    factory = HalfCloseableTLSFactory(files.server_context, False, wrapped, Clock())  # type: ignore[arg-type]
    assert factory.buildProtocol(None) is None


PROGRAM = """
import sys
from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory
from netecho.plans import ClientTLS, ServerTLS
from netecho.protocols._tls import HalfCloseableTLSFactory
from netecho.services.tls import for_client, for_server
sys.path.insert(0, sys.argv[1])
from test_tls_protocol import Echo, HalfTalker

class Sender(HalfTalker):
    def connectionMade(self):
        self.transport.write(sys.stdin.buffer.read())
        self.transport.loseWriteConnection()
    def connectionLost(self, reason):
        sys.stdout.buffer.write(self.received)
        sys.stdout.flush()
        print(reason.type.__name__, file=sys.stderr)
        reactor.stop()

def server(listen, where, certificate):
    context = for_server(ServerTLS(certificate=certificate))
    factory = HalfCloseableTLSFactory(context, False, ClientFactory.forProtocol(Echo), reactor)
    if listen == "tcp":
        print(reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port, flush=True)
    else:
        reactor.listenUNIX(where, factory)
        print(where, flush=True)

def client(port, ca):
    context = for_client(ClientTLS(authorities=ca), "localhost", {})
    factory = HalfCloseableTLSFactory(context, True, ClientFactory.forProtocol(Sender), reactor)
    reactor.connectTCP("127.0.0.1", int(port), factory)

globals()[sys.argv[2]](*sys.argv[3:])
reactor.run()
"""
HERE = pathlib.Path(__file__).parent


def program(*arguments: str) -> list[str]:
    """Return the command that runs our side in a process, and so a reactor, of its own."""
    return [sys.executable, "-c", PROGRAM, str(HERE), *arguments]


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer as long as it is needed."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(command, env=environment, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def echo_server(files: Files, *where: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run our echo server; give its process and its port or path."""
    command = program("server", *(where or ("tcp", "")), files.server)
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().strip()


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip where a tool is missing, unless this is CI, where it must not be."""
    missing = shutil.which(tool) is None and not os.environ.get("CI")
    return pytest.mark.skipif(missing, reason=f"{tool} is not installed")


# The same in every run, so that a failure can be looked at again.
PAYLOAD = random.Random(8446).randbytes(8_000_000)  # noqa: S311


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("socat -t30 - OPENSSL:127.0.0.1:{port},cafile={ca}", marks=needs("socat"), id="socat"),
        pytest.param("ncat --ssl 127.0.0.1 {port}", marks=needs("ncat"), id="ncat"),
    ],
)
def test_other_clients_get_their_echo(files: Files, command: str) -> None:
    """8 MB sent and half-closed by other people's clients, by close_notify or FIN, come back whole."""
    with echo_server(files) as (_, port):
        arguments = command.format(port=port, ca=files.ca).split()
        done = subprocess.run(arguments, input=PAYLOAD, capture_output=True, timeout=60)
    assert len(done.stdout) == len(PAYLOAD)
    assert done.stdout == PAYLOAD


@needs("openssl")
def test_openssl_client_closes_in_order(files: Files) -> None:
    """`openssl s_client`, which cannot half-close, gets its echo and then ends well."""
    with echo_server(files) as (_, port):
        # Without -nocommands, a read that begins with Q, R or K is a command, and does not arrive.
        flags = f"-quiet -no_ign_eof -nocommands -CAfile {files.ca}"
        command = f"openssl s_client {flags} -connect 127.0.0.1:{port}"
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with running(command.split(), **pipes) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            message = b"R" + PAYLOAD[:50_000]
            client.stdin.write(message)
            client.stdin.flush()
            assert client.stdout.read(len(message)) == message
            client.stdin.close()
            assert client.wait(30) == 0


def free_port() -> int:
    """Return a port that nothing listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@needs("socat")
@pytest.mark.parametrize("echo", ["PIPE", "EXEC:cat"])
@pytest.mark.parametrize("version", ["TLS1.2", "TLS1.3"])
def test_socat_server_echoes_us(files: Files, echo: str, version: str) -> None:
    """8 MB and a half-close of ours come back whole from socat, and both ends close in order."""
    port = free_port()
    listen = f"OPENSSL-LISTEN:{port},bind=127.0.0.1,cert={files.server},verify=0"
    versions = f",openssl-min-proto-version={version},openssl-max-proto-version={version}"
    command = ["socat", "-d", "-d", listen + versions, echo]
    with running(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"listening on" not in process.stderr.readline():
            assert process.poll() is None
        done = subprocess.run(
            program("client", str(port), files.ca),
            input=PAYLOAD,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
    assert done.stderr.split() == [b"ConnectionDone"]
    assert done.stdout == PAYLOAD


def test_unix_socket(files: Files, tmp_path: pathlib.Path) -> None:
    """Over a UNIX socket, too, the echo of the last words precedes the close."""
    path = str(tmp_path / "echo")
    context = ssl.create_default_context(cafile=files.ca)
    with echo_server(files, "unix", path), socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(30)
        plain.connect(path)
        secure = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        secure.sendall(b"last words")
        socket.socket.shutdown(secure, socket.SHUT_WR)  # a FIN without close_notify
        wrapped = bytearray()
        while data := secure.recv(100):
            wrapped += data
        secure.close()
    assert bytes(wrapped) == b"last words"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peers_that_never_read(files: Files) -> None:
    """Peers that send all they can and read nothing cost a bounded amount of memory each."""
    context = ssl.create_default_context(cafile=files.ca)
    with contextlib.ExitStack() as stack:
        process, port = stack.enter_context(echo_server(files))

        def resident() -> int:
            fields = pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()
            return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

        def connect() -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
            return stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))

        reader = connect()
        reader.sendall(b"first")
        assert reader.recv(5) == b"first"
        before, sent = resident(), 0
        for _ in range(12):
            peer = connect()
            peer.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ssl.SSLWantWriteError):
                while True:
                    sent += peer.send(PAYLOAD[:16384])
        reader.sendall(b"again")
        assert reader.recv(5) == b"again"
        assert sent > 12 * 2**20  # else there was nothing to hold back
        assert resident() - before < 12 * 2**20
