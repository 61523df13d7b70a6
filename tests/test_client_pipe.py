"""The client between two pipes: what goes in comes out, byte for byte, whatever the ends are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import DATAGRAMS, certificate, client, errors, line_with, ncat, process, socat
from tests.peers import need
from tests.servers import COMMAND, TIMEOUT, Server

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(10 * MIB)  # noqa: S311 - not a secret
MEMORY_BOUND = 150 * MIB
"""Of a process that has imported all of Twisted and holds a few buffers."""


@pytest.fixture(params=["tcp", "unix", "tls"])
def echo_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """A socat that echoes a stream, as the arguments that lead to it."""
    with contextlib.ExitStack() as stack:
        if request.param == "tcp":
            port = stack.enter_context(socat("TCP-LISTEN:0,fork,bind=127.0.0.1"))
            yield ["127.0.0.1", str(port)]
        elif request.param == "unix":
            stack.enter_context(socat(f"UNIX-LISTEN:{tmp_path}/echo,fork", "EXEC:cat"))
            yield [f"unix:{tmp_path}/echo"]
        else:
            pem = certificate(tmp_path)
            listener = f"OPENSSL-LISTEN:0,fork,bind=127.0.0.1,cert={pem},verify=0"
            port = stack.enter_context(socat(listener))
            yield [f"tls://localhost:{port}", "--cacert", f"{tmp_path}/ca.pem"]


def test_ten_mebibytes(echo_server: list[str], tmp_path: Path) -> None:
    """Ten mebibytes from a file to a file come back whole."""
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(DATA)
    with source.open("rb") as stdin, sink.open("wb") as stdout:
        status = subprocess.run(
            [*COMMAND, "client", *echo_server], stdin=stdin, stdout=stdout, timeout=TIMEOUT, check=False
        ).returncode
    assert status == 0
    assert hashlib.sha256(sink.read_bytes()).digest() == hashlib.sha256(DATA).digest()


@pytest.mark.parametrize("flags", [[], ["--ssl"]])
def test_ncat(flags: list[str]) -> None:
    """An echo of ncat's, in clear and over TLS with its self-made certificate, comes back whole.

    The input ends when the echo is there: ncat drops what it has not echoed when its peer half-closes.
    """
    data = DATA[:40_000]
    with ncat(*flags) as port:
        url = f"{'tls' if flags else 'tcp'}://127.0.0.1:{port}"
        with process(
            [*COMMAND, "client", url, *(["-k"] if flags else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(data)
            child.stdin.flush()
            assert child.stdout.read(len(data)) == data
            child.stdin.close()
            assert child.stdout.read() == b""
            assert child.wait(TIMEOUT) == 0


def test_nc_is_no_echo(tmp_path: Path) -> None:
    """With nc, each end sends its own and gets the other's; nobody minds that it is no echo."""
    path = tmp_path / "socket"
    ours, theirs = DATA[:MIB], DATA[MIB : 3 * MIB]
    (tmp_path / "theirs").write_bytes(theirs)
    with (
        (tmp_path / "theirs").open("rb") as stdin,
        (tmp_path / "got").open("wb") as stdout,
        process(
            [need("nc"), "-v", "-l", "-U", str(path)], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
        ) as nc,
    ):
        assert nc.stderr is not None
        line_with(nc.stderr, "Listening|Bound")
        with process(
            [*COMMAND, "client", f"unix:{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(ours)
            child.stdin.flush()
            assert child.stdout.read(len(theirs)) == theirs
            child.stdin.close()
            assert child.stdout.read() == b""
            assert child.wait(TIMEOUT) == 0
        assert nc.wait(TIMEOUT) == 0
    assert (tmp_path / "got").read_bytes() == ours


def test_reader_that_is_slow() -> None:
    """Nobody reads standard output for a while: memory stays bounded, and nothing is lost."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process(
            [*COMMAND, "client", "127.0.0.1", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        os.set_blocking(child.stdin.fileno(), False)
        block, taken = DATA[:MIB], 0
        # Every buffer on the way is full when standard input has had no room for a second.
        while taken < 256 * MIB and select.select([], [child.stdin], [], 1)[1]:
            taken += os.write(child.stdin.fileno(), block[taken % MIB :])
        assert taken < 64 * MIB
        assert _peak_memory(child.pid) < MEMORY_BOUND
        child.stdin.close()
        digest, expected = hashlib.sha256(), hashlib.sha256()
        for piece in iter(lambda: child.stdout.read(MIB), b""):  # type: ignore[union-attr]
            digest.update(piece)
        whole, rest = divmod(taken, MIB)
        for _ in range(whole):
            expected.update(block)
        expected.update(block[:rest])
        assert child.wait(TIMEOUT) == 0
        assert digest.digest() == expected.digest()


def test_memory_is_constant() -> None:
    """A gibibyte passes through client and server in no more memory than a few mebibytes take."""
    rounds = 103
    size = rounds * len(DATA)
    assert size > 1 << 30
    sent = hashlib.sha256()
    with (
        Server("--port", "0") as server,
        process(
            [*COMMAND, "client", server.listener.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
    ):
        stdin, stdout = child.stdin, child.stdout
        assert stdin is not None
        assert stdout is not None

        def feed() -> None:
            for number in range(rounds):
                piece = number.to_bytes(8, "big") + DATA[8:]  # no round is like another
                sent.update(piece)
                stdin.write(piece)
            stdin.flush()

        feeding = threading.Thread(target=feed)
        feeding.start()
        digest, left = hashlib.sha256(), size
        while left:
            piece = stdout.read(min(left, MIB))
            assert piece
            digest.update(piece)
            left -= len(piece)
        feeding.join(TIMEOUT)
        peaks = [_peak_memory(child.pid), _peak_memory(server.process.pid)]
        stdin.close()
        assert stdout.read() == b""
        assert child.wait(TIMEOUT) == 0
    assert digest.digest() == sent.digest()
    assert max(peaks) < MEMORY_BOUND


def _peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_closed_stdout() -> None:
    """When the reader of standard output goes away, the client ends without a word."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process(
            [*COMMAND, "client", "127.0.0.1", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None
        _, stderr = child.communicate(DATA[:MIB], timeout=TIMEOUT)
    assert (child.returncode, stderr) == (1, b"")


def test_full_disk() -> None:
    """Standard output that cannot be written is one line, and exit status 1."""
    with socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port, open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*COMMAND, "client", "127.0.0.1", str(port)],
            input=b"hello",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == b"netecho: standard output cannot be written: no space left on device\n"


def test_input_that_cannot_be_read(tmp_path: Path) -> None:
    """Standard input that is open for writing only is one line, and exit status 1."""
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    with socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port:
        result = client("127.0.0.1", str(port), stdin=descriptor)
    os.close(descriptor)
    assert (result.returncode, result.stdout) == (1, b"")
    assert errors(result) == "netecho: standard input cannot be read: bad file descriptor\n"


def _accepting(close: str) -> tuple[int, threading.Thread]:
    """Accept one connection on a free port, read a little, and close it `early` or by `reset`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(10)
        if close == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        else:
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
            connection.close()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


@pytest.mark.parametrize(
    ("close", "words"),
    [
        ("reset", "the connection was lost: "),
        ("early", "the other end closed the connection before all of standard input was sent"),
    ],
)
def test_peer_that_ends_early(close: str, words: str) -> None:
    """A reset, or an end before all was sent, is one line and exit status 1."""
    port, serving = _accepting(close)
    with process(
        [*COMMAND, "client", "127.0.0.1", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(b"0123456789")
        child.stdin.flush()
        stderr = child.stderr.read().decode()
        assert child.wait(TIMEOUT) == 1
    serving.join(TIMEOUT)
    assert stderr.startswith(f"netecho: {words}")
    assert stderr.count("\n") == 1


def test_interrupt() -> None:
    """Ctrl-C while both ends are silent ends it at once, with exit status 130."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process(
            [*COMMAND, "client", "127.0.0.1", str(port), "-v"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert child.stderr is not None
        assert child.stderr.readline().startswith(b"connected to 127.0.0.1:")
        assert child.stderr.readline().startswith(b"connected in ")
        child.send_signal(signal.SIGINT)
        assert child.wait(TIMEOUT) == 130
        assert child.stderr.read() == b"0 bytes sent, 0 received\nnetecho: interrupted\n"


def test_datagrams() -> None:
    """Over UDP, standard input goes out in blocks and comes back whole."""
    with socat("UDP-LISTEN:0,bind=127.0.0.1", DATAGRAMS) as port:
        result = client(f"udp://127.0.0.1:{port}", input=DATA[:50_000])
    assert errors(result) == ""
    assert (result.returncode, result.stdout) == (0, DATA[:50_000])


def test_lost_datagrams() -> None:
    """Datagrams that nobody answers are waited for no longer than -w, and counted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        result = client(f"udp://127.0.0.1:{port}", "-w", "100ms", "-l", "500", input=DATA[:2000])
        assert [len(silent.recv(1000)) for _ in range(4)] == [500] * 4
    assert (result.returncode, result.stdout) == (1, b"")
    assert errors(result) == "netecho: no reply: none of 4 datagrams came back; does a server listen?\n"


def test_a_message_that_is_not_answered() -> None:
    """A server that was connected to and says nothing is no datagram's silence: it may be slow."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = client(f"http://127.0.0.1:{silent.getsockname()[1]}", "-w", "100ms", input=b"hello")
    assert (result.returncode, result.stdout) == (1, b"")
    assert errors(result) == "netecho: no reply to 1 of 1 message; wait longer with -w\n"


def test_datagrams_to_nobody() -> None:
    """A port where nothing listens is one line, and exit status 1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    result = client(f"udp://127.0.0.1:{port}", input=b"hello")
    assert result.returncode == 1
    assert errors(result) == "netecho: no reply: nothing listens at the other end's port\n"


@pytest.mark.parametrize(
    ("listener", "resource", "status", "said", "words"),
    [
        (["http://127.0.0.1:0"], "/status/503", 1, b"HTTP 503", "refused 2 of 2 messages: status 503"),
        (["http://127.0.0.1:0"], "/status/302", 1, b"HTTP 302", "refused 2 of 2 messages: status 302"),
        (["smtp://127.0.0.1:0", "--reply", "reject"], "", 1, b"550 ", "refused 2 of 2 messages: status 550"),
        (
            ["smtp://127.0.0.1:0", "--corrupt", "100%"],
            "",
            3,
            b"sha256=",
            "received something else than was sent, says its receipt of 2 of 2 messages",
        ),
    ],
    ids=["status", "redirect", "reject", "corrupt"],
)
def test_answers_that_are_no_echo(
    listener: list[str], resource: str, status: int, said: bytes, words: str
) -> None:
    """What the other end refuses, or has received otherwise, is written out, and is no success."""
    with Server(*listener) as server:
        result = client(f"{server.listener.url}{resource}", "-l", "3", input=b"onetwo")
    assert errors(result) == f"netecho: the other end {words}\n"
    assert result.returncode == status
    assert result.stdout.count(said) == 2
