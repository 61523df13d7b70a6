"""What a server does under peers that behave badly, when it is told to end, and when it cannot start."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import trustme

from tests.peers import outlives_a_twin
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, exchange, netecho, receive_all, receive_exactly

MIB = 1 << 20


def test_several_listeners(tmp_path: pathlib.Path) -> None:
    """One process listens on any number of URLs, of IPv4 and IPv6, and says where, one event each."""
    path = tmp_path / "echo"
    urls = ["tcp://:0", "tls://:0", "udp://:0", f"unix:{path}", "tcp://[::1]:0", "udp://[::1]:0"]
    with Server(*urls) as server:
        schemes = [listener.scheme for listener in server.listeners]
        assert schemes == ["tcp", "tls", "udp", "unix", "tcp", "udp"]
        for listener in server.listeners:
            with listener.connect() as connection:
                connection.sendall(b"hello")
                assert receive_exactly(connection, 5) == b"hello"


def test_says_where_it_listens_in_words() -> None:
    """Without --json-stream there is one plain line per listener, with the port that it really has."""
    with subprocess.Popen([*COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        port = int(line.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            pass
        process.terminate()
        assert "\x1b" not in line
        assert process.stdout.read().decode().strip()
    assert process.returncode == 0


def test_discard() -> None:
    """RFC 863: nothing comes back, and the connection ends when the peer ends it."""
    with Server("--reply", "discard", "--port", "0") as server:
        with server.listener.connect() as connection:
            connection.sendall(b"x" * MIB)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        assert server.end()["bytes_received"] == MIB


def test_chargen() -> None:
    """RFC 864: lines of 72 characters, each beginning one further in the ring of 95, until we close."""
    with Server("--reply", "chargen", "--port", "0") as server, server.listener.connect() as connection:
        lines = receive_exactly(connection, 74 * 200).split(b"\r\n")[:-1]
        ring = bytes(range(0x20, 0x7F)) * 2
        for number, line in enumerate(lines):
            start = number % 95
            assert line == ring[start : start + 72]


def test_chargen_datagrams_are_no_larger_than_requests() -> None:
    """A reply with a false sender's address must not be larger than the request that caused it."""
    with Server("udp://127.0.0.1:0", "--reply", "chargen") as server, server.listener.connect() as peer:
        for size in (1, 10, 512, 1000):
            peer.send(b"?" * size)
            assert len(peer.recv(65_536)) == min(size, 74 * 95)


def test_peers_that_never_read_cost_little() -> None:
    """A thousand peers that send without reading cost a bounded amount of memory and delay nobody."""
    peers, block = 1000, b"x" * (1 << 18)
    with contextlib.ExitStack() as stack, Server("--port", "0") as server:
        raise_descriptor_limit(peers + 100)
        with server.listener.connect() as steady:
            steady.sendall(b"before")
            assert receive_exactly(steady, 6) == b"before"
            before = server.resident_kib()
            greedy = [stack.enter_context(server.listener.connect()) for _ in range(peers)]
            for connection in greedy:
                connection.setblocking(False)
            blocked: set[int] = set()
            while len(blocked) < peers:  # each has filled the buffers both ways
                for number, connection in enumerate(greedy):
                    if number not in blocked:
                        try:
                            connection.send(block)
                        except BlockingIOError:
                            blocked.add(number)
                steady.sendall(b"now")
                assert receive_exactly(steady, 3) == b"now"
            # 64 KiB in the transport's buffer and one read of as much, each with its Python objects
            assert server.resident_kib() - before < peers * 200
        for connection in greedy:
            connection.close()


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_bulk_costs_no_memory(scheme: str) -> None:
    """Half a gibibyte on one connection, in writes of a mebibyte, costs no more than its beginning."""
    size = 512 * MIB if scheme == "tcp" else 128 * MIB
    message = os.urandom(32 * MIB)
    with Server(f"{scheme}://127.0.0.1:0") as server, server.listener.connect() as connection:
        assert exchange(connection, message, piece=MIB) == message
        before = server.resident_kib(peak=True)
        for _ in range(size // len(message) - 1):
            assert exchange(connection, message, piece=MIB) == message
        assert server.resident_kib(peak=True) - before < 4 * 1024


def fill(connection: socket.socket) -> None:
    """Send without reading until every buffer on the way there and back is full."""
    connection.setblocking(False)
    while select.select([], [connection], [], 0.3)[1]:  # the system's buffers grow while they fill
        with contextlib.suppress(BlockingIOError):
            connection.send(b"x" * MIB)


@pytest.mark.parametrize(("scheme", "peers", "most"), [("tcp", 10_000, 1536), ("tls", 2_000, 30 * 1024)])
def test_idle_connections_cost_little(scheme: str, peers: int, most: int) -> None:
    """Connections that have had an echo cost next to nothing until they are used again, and then work."""
    raise_descriptor_limit(peers + 100)
    with contextlib.ExitStack() as stack, Server(f"{scheme}://127.0.0.1:0") as server:
        with server.listener.connect() as first:
            assert exchange(first, b"first") == b"first"
        before = server.resident_kib()
        idle = [stack.enter_context(server.listener.connect()) for _ in range(peers)]
        for message in (b"o" * 64, b"again"):
            for connection in idle:
                connection.sendall(message)
                assert receive_exactly(connection, len(message)) == message
            if message != b"again":
                assert (server.resident_kib() - before) * 1024 <= peers * most


def raise_descriptor_limit(wanted: int) -> None:
    """Allow this process as many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def test_more_connections_than_descriptors() -> None:
    """Out of descriptors, it closes new connections at once, and serves again when there are some."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with Server("--port", "0", "-v", preexec_fn=limit) as server:
        peers = [server.listener.connect() for _ in range(200)]
        served, refused = [], 0
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                peer.sendall(b"?")
        for peer in peers:
            try:
                answer = peer.recv(1)
            except ConnectionError:
                answer = b""
            if answer:
                served.append(peer)
            else:
                refused += 1
        assert 40 <= len(served) < 64
        assert len(served) + refused == 200
        for peer in peers:
            peer.close()
        server.wait_for("disconnected")
        with server.listener.connect() as again:
            again.sendall(b"back")
            assert receive_exactly(again, 4) == b"back"


def test_max_connections() -> None:
    """One connection too many is closed at once; when one ends there is room again."""
    with Server("--port", "0", "--max-connections", "2", "-v") as server:
        first, second = server.listener.connect(), server.listener.connect()
        for connection in (first, second):
            connection.sendall(b"in")
            assert receive_exactly(connection, 2) == b"in"
        with server.listener.connect() as third, contextlib.suppress(ConnectionResetError):
            assert third.recv(1) == b""
        assert server.wait_for("refused")["limit"] == 2
        first.close()
        server.wait_for("disconnected")
        with server.listener.connect() as third:
            third.sendall(b"now")
            assert receive_exactly(third, 3) == b"now"
        second.close()
        assert server.end()["refused"] == 1


def test_idle_timeout() -> None:
    """A connection on which nothing moves for the time given is closed in order."""
    with Server("--port", "0", "--idle-timeout", "200ms") as server, server.listener.connect() as idle:
        idle.sendall(b"last words")
        assert receive_exactly(idle, 10) == b"last words"
        begun = time.monotonic()
        assert idle.recv(1) == b""
        assert time.monotonic() - begun > 0.15


def test_idle_timeout_cuts_a_peer_that_never_reads() -> None:
    """A peer that takes nothing makes no progress, however much it has sent; it is cut."""
    words = ["--port", "0", "--idle-timeout", "1s", "-v"]
    with Server(*words) as server, server.listener.connect() as greedy:
        fill(greedy)
        server.wait_for("disconnected")
        assert server.end()["cut"] == 1


def test_handshake_that_is_never_finished_is_cut() -> None:
    """A peer that connects to TLS and says nothing is not waited for without end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "from netecho.protocols import _stream_server; _stream_server.HANDSHAKE_TIMEOUT = 0.2\n"
        "from netecho.program import main; import sys\n"
        "sys.argv = ['netecho', 'serve', '--tls', '--port', '0', '--json-stream']; main()"
    )
    server = Server()
    server.process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    listener = server._listening()
    with socket.create_connection(listener.address, TIMEOUT) as silent, contextlib.suppress(ConnectionError):
        assert receive_all(silent) == b""
    server.__exit__(None, None, None)


@pytest.mark.parametrize("form", ["tcp", "tls", "unix"])
def test_sigterm_under_load(form: str, tmp_path: pathlib.Path) -> None:
    """Told to end in mid-load, it echoes every byte that it accepted, and ends every connection in order."""
    url = f"unix:{tmp_path / 'echo'}" if form == "unix" else f"{form}://127.0.0.1:0"
    received = [0] * 50
    orderly = [False] * 50
    running = threading.Barrier(51)

    def load(number: int, connection: socket.socket) -> None:
        sent = bytearray()
        message = os.urandom(1000)
        echo = bytearray()
        for round_number in range(1 << 30):
            if round_number == 20:
                running.wait(TIMEOUT)
            try:
                connection.sendall(message)
            except OSError:
                break  # it has closed; what was echoed before is still to be read
            sent += message
            data = receive_exactly(connection, len(message))
            echo += data
            if len(data) < len(message):
                break
        with contextlib.suppress(OSError):
            echo += receive_all(connection)
            orderly[number] = True
        assert sent.startswith(echo)
        received[number] = len(echo)

    with Server(url) as server:
        connections = [server.listener.connect() for _ in range(50)]
        threads = [
            threading.Thread(target=load, args=(number, connection))
            for number, connection in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        running.wait(TIMEOUT)
        totals = server.end()
        for thread in threads:
            thread.join(TIMEOUT)
        for connection in connections:
            connection.close()
    assert all(orderly)
    assert sum(received) == totals["bytes_received"] == totals["bytes_sent"]
    assert totals["cut"] == 0


def test_sigterm_with_echo_not_yet_taken() -> None:
    """What a slow reader is owed when the server is told to end, it still gets, to the last byte."""
    with Server("--port", "0") as server, server.listener.connect() as slow:
        message = os.urandom(4 * MIB)
        slow.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(message):
                sent += slow.send(message[sent : sent + 65_536])
        server.tell()
        slow.settimeout(TIMEOUT)
        echo = receive_all(slow)
        assert message.startswith(echo)
        assert len(echo) == server.wait_for("stopped")["bytes_received"]


def test_sigterm_with_peer_that_takes_nothing() -> None:
    """A peer that does not read cannot keep it from ending within the drain timeout."""
    with Server("--port", "0", "--drain-timeout", "300ms") as server, server.listener.connect() as greedy:
        fill(greedy)
        assert server.end()["cut"] == 1


def test_second_signal_ends_at_once() -> None:
    """A second signal does not wait for anybody."""
    with Server("--port", "0", "--drain-timeout", "1h") as server, server.listener.connect() as greedy:
        fill(greedy)
        server.tell(signal.SIGINT)
        with contextlib.suppress(ConnectionError):  # it has begun to end when it accepts no more
            while True:
                server.listener.connect().close()
        outlives_a_twin(server.process)
        server.tell(signal.SIGINT)
        server.process.wait(TIMEOUT)
        server.status, server.complaints = 130, b"netecho: interrupted\n"


def test_signals_that_come_together_are_one() -> None:
    """Who is told twice at once, as `timeout` and some supervisors do it, still ends in order."""
    with Server("--port", "0", "--drain-timeout", "500ms") as server, server.listener.connect() as greedy:
        fill(greedy)
        server.tell(signal.SIGTERM)
        server.tell(signal.SIGINT)
        assert server.wait_for("stopped")["cut"] == 1


def test_exit_with_stdin() -> None:
    """A server that was started to end with its parent ends when its standard input does."""
    with Server("--port", "0", "--exit-with-stdin", stdin=subprocess.PIPE) as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        server.process.stdin = None
        assert server.wait_for("stopped")["connections"] == 0
        assert server.process.wait(TIMEOUT) == 0


def test_datagrams_from_low_ports_get_no_answer() -> None:
    """Below port 1024 live services that answer anything; their datagrams are counted and dropped."""
    with Server("udp://127.0.0.1:0", "-v") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as low:
            try:
                low.bind(("127.0.0.1", 1023))
            except PermissionError:
                pytest.skip("needs the right to bind to a low port")
            low.sendto(b"chargen?", server.listener.address)
            assert server.wait_for("dropped")["reason"] == "source port below 1024"
            assert not select.select([low], [], [], 0)[0]
        totals = server.end()
        assert totals["dropped"] == {"source port below 1024": 1}
        assert totals["datagrams_sent"] == 0


def test_two_servers_do_not_loop() -> None:
    """A datagram forged to come from one echo server to another ends, on any port."""
    with Server("udp://127.0.0.1:0", "-v") as one, Server("udp://127.0.0.1:0", "-v") as other:
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("needs the right to forge datagrams")
        with raw:
            source, destination = other.listener.address[1], one.listener.address[1]
            payload = b"round and round"
            header = b"".join(
                value.to_bytes(2, "big") for value in (source, destination, 8 + len(payload), 0)
            )
            raw.sendto(header + payload, ("127.0.0.1", 0))
        servers = {server.out: server for server in (one, other)}
        ready, _, _ = select.select(list(servers), [], [], TIMEOUT)
        assert servers[ready[0]].wait_for("dropped")["reason"] == "repeated without end"
        totals = [one.end(), other.end()]
        assert sum(sum(total["dropped"].values()) for total in totals) == 1


def test_own_ports_get_no_answer() -> None:
    """A datagram that says it comes from a port of this very server is dropped at once."""
    with Server("udp://127.0.0.1:0", "udp://127.0.0.1:0", "-v") as server:
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("needs the right to forge datagrams")
        with raw:
            ports = [listener.address[1] for listener in server.listeners]
            header = b"".join(value.to_bytes(2, "big") for value in (*ports, 9, 0))
            raw.sendto(header + b"?", ("127.0.0.1", 0))
        assert server.wait_for("dropped")["reason"] == "source port is our own"
        assert server.end()["datagrams_sent"] == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["serve", "gopher://:70"], 2, "unknown scheme 'gopher'"),
        (["serve", "tcp://:70000"], 2, "70000"),
        (["serve", "tcp://:port"], 2, "port"),
        (["serve", "--host", "no-such-host.invalid"], 1, "no-such-host.invalid has no address"),
        (["serve", "--host", "192.0.2.1"], 1, "not an address of this machine"),
        (["serve", "unix:/no/such/folder/echo"], 1, "No such file"),
        (["serve", "--tls", "--cert", "/no/such/file"], 2, "/no/such/file"),
        (["serve", "--tls", "--key", "/no/such/file"], 2, "--cert"),
        (["serve", "--tls", "--ciphers", "NONSENSE"], 2, "NONSENSE"),
        (["serve", "--proto", "carrier-pigeon"], 2, "carrier-pigeon"),
        (["serve", "--proto", "stamp", "--tls"], 2, "stamp"),
        (["serve", "--max-connections", "0"], 2, "--max-connections"),
        (
            ["serve", "--proto", "udp", "--idle-timeout", "5s"],
            2,
            "is of connections, which udp does not have",
        ),
        (["serve", "--proto", "quic", "--ciphers", "NONSENSE"], 2, "quic speaks TLS 1.3"),
        (
            ["client", "--keylog", "secrets"],
            2,
            "--keylog is for TLS, which tcp://127.0.0.1:8000",
        ),
        (["bench", "--keylog", "secrets", "-n", "1"], 2, "--keylog is for TLS"),
        (["client", "--proto", "quic", "--streams", "2"], 2, "--streams is of probes"),
        (["serve", "tcp://:8000", "tcp://:8000"], 2, "twice"),
        (["serve", "http://:8000", "tcp://:8000"], 2, "twice"),
        (["serve", "unix:"], 2, "unix: says only how: write unix:/path"),
        (["client", "tls:"], 2, "tls: says only how: write tls://HOST:PORT"),
        (["serve", "--reply", "shout"], 2, "shout"),
    ],
)
def test_mistakes(words: list[str], status: int, says: str) -> None:
    """Every mistake gets one line that names it, on standard error, and its exit status."""
    done = netecho(*words)
    assert done.returncode == status, done.stderr
    assert done.stdout == b""
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_address_in_use(proto: str) -> None:
    """A port that somebody else has is said to be in use."""
    with Server(f"{proto}://127.0.0.1:0") as server:
        done = netecho("serve", server.listener.url)
    assert done.returncode == 1
    hint = b"is in use by another program; choose another port (--port 0 takes a free one)\n"
    assert done.stderr.endswith(hint)
    assert done.stderr.count(b"\n") == 1


def test_socket_in_use_and_left_behind(tmp_path: pathlib.Path) -> None:
    """A live server's socket is not taken over; one that a killed server left behind is."""
    url = f"unix:{tmp_path / 'echo'}"
    with Server(url) as server:
        says = f"netecho: {url} is in use by another program; choose another path\n"
        assert netecho("serve", url).stderr.decode() == says
        server.process.kill()
        server.process.wait()
        with Server(url) as successor, successor.listener.connect() as connection:
            connection.sendall(b"mine")
            assert receive_exactly(connection, 4) == b"mine"
        server.process.returncode = 0


def test_file_in_the_way_is_left_alone(tmp_path: pathlib.Path) -> None:
    """A file that is no socket is never removed to listen in its place."""
    path = tmp_path / "precious"
    path.write_text("data")
    done = netecho("serve", f"unix:{path}")
    assert done.returncode == 1
    assert b"is not a socket" in done.stderr
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("validity", "says"),
    [
        ({"not_after": datetime.datetime(2024, 2, 3, 4, 5)}, "expired on 2024-02-03 04:05 UTC"),
        ({"not_before": datetime.datetime(2199, 1, 1)}, "is not valid before 2199-01-01 00:00 UTC"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_certificate_that_clients_refuse(
    validity: dict[str, datetime.datetime], says: str, workers: str, tmp_path: pathlib.Path
) -> None:
    """It is shown all the same, as somebody may want just that, but not without a word."""
    path = tmp_path / "cert.pem"
    options: dict[str, Any] = {
        "not_before": datetime.datetime(2024, 1, 1),
        "not_after": datetime.datetime(2200, 1, 1),
        **validity,
    }
    issued = trustme.CA().issue_cert("localhost", **options)
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    with Server("tls://127.0.0.1:0", "--cert", str(path), "--workers", workers) as server:
        server.complaints = f"netecho: --cert {path}: it {says}, and clients will refuse it\n".encode()


def test_key_of_another_certificate_in_the_chain(tmp_path: pathlib.Path) -> None:
    """Where there are several certificates, it is said which one the key should be of."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "cert.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"), append=True)
    done = netecho("serve", "--tls", "--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    assert done.returncode == 2
    assert b"the key is not the one of the first certificate" in done.stderr


def test_key_that_does_not_match(tmp_path: pathlib.Path) -> None:
    """A key of another certificate is a mistake that is found before anything listens."""
    authority = trustme.CA()
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    done = netecho("serve", "--tls", "--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    assert done.returncode == 2
    assert b"the key is not the one of the certificate" in done.stderr
    assert done.stderr.count(b"\n") == 1
