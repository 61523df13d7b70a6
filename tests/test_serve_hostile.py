"""A server among floods, slow readers, and a system that takes things away from it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor

from netecho.services import running
from tests.namespaces import Path
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, netecho, receive_exactly

MIB = 1 << 20
_FLOOD = """
import os, socket, sys
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flood.connect(("127.0.0.1", int(sys.argv[1])))
flood.setblocking(False)
print(flush=True)
while os.getppid() == int(sys.argv[2]):
    try:
        flood.send(b"")
    except OSError:
        pass
"""


def test_flood_of_empty_datagrams_starves_nobody() -> None:
    """Empty datagrams that come without a pause keep neither a signal nor another listener waiting."""
    with contextlib.ExitStack() as stack, Server("udp://127.0.0.1:0", "tcp://127.0.0.1:0") as server:
        datagrams, stream = server.listeners
        words = [sys.executable, "-c", _FLOOD, str(datagrams.address[1]), str(os.getpid())]
        for _ in range(2):
            flood = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE))
            stack.callback(flood.kill)
            assert flood.stdout is not None
            flood.stdout.readline()
        with stream.connect() as connection:
            connection.settimeout(10)
            for _ in range(10):
                connection.sendall(b"still there?")
                assert receive_exactly(connection, 12) == b"still there?"
        server.tell()
        server.process.wait(10)


def test_start_that_fails_ends(tmp_path: pathlib.Path) -> None:
    """When a listener cannot be opened, those that were are closed, and nothing of theirs is left."""
    with Server("tcp://127.0.0.1:0") as server:
        done = netecho(
            "serve",
            "udp://127.0.0.1:0",
            "tls://127.0.0.1:0",
            f"unix:{tmp_path / 'echo'}",
            server.listener.url,
            environment={"TMPDIR": str(tmp_path)},
        )
    assert done.returncode == 1
    assert b"is in use" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_behind(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    """Told to end in any way, the closing of its terminal included, it removes all that it made."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with Server("tls://127.0.0.1:0", f"unix:{tmp_path / 'echo'}", env=environment) as server:
        assert len(list(tmp_path.iterdir())) == 2
        server.end(number)
    assert list(tmp_path.iterdir()) == []


def test_hangup_that_is_to_be_ignored() -> None:
    """Under nohup, it outlives its terminal."""

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with Server("--port", "0", preexec_fn=nohup) as server:
        server.process.send_signal(signal.SIGHUP)
        with server.listener.connect() as connection:
            connection.sendall(b"here")
            assert receive_exactly(connection, 4) == b"here"


def test_socket_taken_away(tmp_path: pathlib.Path) -> None:
    """A socket that somebody has removed is no reason not to end in order."""
    path = tmp_path / "echo"
    with Server(f"unix:{path}") as server, server.listener.connect() as connection:
        path.unlink()
        connection.sendall(b"last")
        assert receive_exactly(connection, 4) == b"last"
        assert server.end()["connections"] == 1


def test_socket_of_a_successor_is_left_alone(tmp_path: pathlib.Path) -> None:
    """A server whose socket was replaced does not remove the socket of the one that took its place."""
    path = tmp_path / "echo"
    with Server(f"unix:{path}") as server:
        path.unlink()
        with Server(f"unix:{path}") as successor:
            server.end()
            with successor.listener.connect() as connection:
                connection.sendall(b"mine")
                assert receive_exactly(connection, 4) == b"mine"
    assert not path.exists()


def test_interrupted_while_a_name_is_resolved() -> None:
    """Who waits for a name before anything listens need not wait for its end."""
    code = (
        "import socket, sys, threading\n"
        "from netecho.services import running\n"
        "told, arrived = threading.Event(), running.Signals.arrived\n"
        "def arrives(*words): told.set(); return arrived(*words)\n"
        "def slow(*_, **__): print('asked', flush=True); told.wait(30); return []\n"
        "running.Signals.arrived, socket.getaddrinfo = arrives, slow\n"
        "from netecho.program import main\n"
        "sys.argv = ['netecho', 'serve', '--host', 'slow.invalid', '--port', '0']; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        process.terminate()
        try:
            _, said = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said == b"netecho: interrupted\n"


def test_flood_that_reads_slowly_gets_all_of_its_echo() -> None:
    """A peer that sends without a pause, and reads slowly, gets all that was accepted, and then the end."""
    with Server("--port", "0", "--drain-timeout", "30s") as server, server.listener.connect() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer.sendall(b"x" * 65_536)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        received = len(receive_exactly(peer, MIB))
        server.tell()
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(65_536):
                received += len(data)
                threading.Event().wait(0.02)  # what makes it slow
        totals = server.wait_for("stopped")
        assert received == totals["bytes_received"] == totals["bytes_sent"]
        assert totals["cut"] == 0
        assert time.monotonic() - begun < 25
        sender.join(TIMEOUT)


def test_log_that_cannot_be_written_cuts_nobody(tmp_path: pathlib.Path) -> None:
    """When the disk that the log goes to is full, connections are served and ended as before."""

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "-v"],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            preexec_fn=small_disk,
        ) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"hello")
            assert receive_exactly(connection, 5) == b"hello"
            process.terminate()
            assert connection.recv(1) == b""
        try:
            assert b"served 1 connection" in process.communicate(timeout=TIMEOUT)[0]
        finally:
            process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("reactor", "soft", "hard", "refused", "asked"),
    [
        (PollReactor, 256, 4096, set(), [(4096, 4096)]),
        (PollReactor, 4096, 4096, set(), []),
        (PollReactor, 256, 1 << 62, {1 << 62}, [(10_240, 1 << 62)]),
        (PollReactor, 20_000, 1 << 62, {1 << 62}, []),
        (SelectReactor, 256, 512, set(), [(512, 512)]),
        (SelectReactor, 256, 4096, set(), [(1024, 4096)]),
        (SelectReactor, 4096, 4096, set(), [(1024, 4096)]),
        (SelectReactor, 256, 1 << 62, {1 << 62}, [(1024, 1 << 62)]),
    ],
)
def test_descriptor_limit(
    reactor: type[object],
    soft: int,
    hard: int,
    refused: set[int],
    asked: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes all the descriptors that it may; where the limit is not meant, many, never fewer.

    With `select`, it takes as many as that can watch.
    """
    granted: list[tuple[int, int]] = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        if limits[0] in refused:
            raise ValueError("not allowed to raise maximum limit")
        granted.append(limits)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    running._set_descriptor_limit(reactor.__new__(reactor))
    assert granted == asked


def test_no_temporary_directory() -> None:
    """Where nothing can be written, TLS says what it needs."""
    code = (
        "import tempfile, sys; tempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
        "from netecho.program import main; sys.argv = ['netecho', 'serve', '--tls', '--port', '0']; main()"
    )
    assert tempfile.gettempdir()  # here there is one
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert b"--cert" in done.stderr
    assert done.stderr.count(b"\n") == 1


def _link_local_address() -> str:
    """Return an address of this machine that goes with an interface, and skip the test if it has none."""
    with pathlib.Path("/proc/net/if_inet6").open() as table:
        scoped = [line.split() for line in table if line.startswith("fe80")]
    if not scoped:
        pytest.skip("no interface has a link-local address")
    digits, zone = scoped[0][0], scoped[0][5]
    return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{zone}"


def test_datagrams_at_a_link_local_address() -> None:
    """An address with a zone can be listened on, where a machine has one."""
    host = _link_local_address()
    with Server(f"udp://[{host}]:0") as server:
        port = server.listener.url.rpartition(":")[2]
        address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
            peer.settimeout(TIMEOUT)
            peer.connect(address[0][4])
            peer.send(b"nearby")
            assert peer.recv(10) == b"nearby"


@pytest.mark.parametrize("scheme", ["tcp", "udp", "dtls", "stamp", "quic", "http", "ws", "http3"])
def test_client_at_a_link_local_address(scheme: str) -> None:
    """An address with a zone can be talked to, and be what is talked from."""
    host = _link_local_address()
    with Server(f"{scheme}://[{host}]:0") as server:
        trust = ["--cacert", server.listener.ca] if server.listener.ca is not None else []
        done = netecho("client", "-n", "1", "--source", host, *trust, server.listener.url)
        assert (done.returncode, done.stderr) == (0, b"")
        done = netecho("client", "-n", "1", "--reactor", "epoll", *trust, server.listener.url)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("scheme", ["udp", "dtls", "stamp", "quic"])
def test_neighbour(scheme: str) -> None:
    """A server at all addresses answers a peer at a link-local one on the link that it is on.

    The other links of the server's machine have the same prefix, and are in the way unless the zone counts.
    """
    with Path(mtu=1500) as path, Server(f"{scheme}://[::]:0", prefix=path.router.prefix) as server:
        port = server.listener.url.rpartition(":")[2]
        for peer, link in ((path.client, "to-c"), (path.server, "to-s")):
            url = f"{scheme}://[{path.router.nearby(link)}%eth0]:{port}"
            trust = [] if server.listener.ca is None else ["-k"]
            done = netecho("client", "-n", "1", "-w", "2s", *trust, url, prefix=peer.prefix)
            assert (done.returncode, done.stderr) == (0, b"")
