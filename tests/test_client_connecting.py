"""From a host to addresses, from a failure to words, and how the reactor's one run ends."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netecho.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    ExitStatus,
    NetechoError,
    NoFileError,
    NoPortError,
    RefusedError,
    ResolveError,
    TLSError,
    UnreachableError,
    UsageError,
)
from netecho.options import resolve_target
from netecho.plans import Family, SocketOptions, Target
from netecho.protocols._contract import Kind, Route
from netecho.services.resolving import connect_failure, refusal, resolve, untried
from tests.benches import serving
from tests.clients import process
from tests.peers import outlives_a_twin
from tests.servers import TIMEOUT, netecho


class Resolver:
    """A reactor, as far as resolving goes, that knows one host."""

    def __init__(self, *addresses: str) -> None:
        self.nameResolver = self
        self._addresses = addresses

    def resolveHostName(
        self, receiver: Any, name: str, port: int, types: Sequence[type], transport: str
    ) -> None:
        """Answer at once."""
        receiver.resolutionBegan(self)
        for address in self._addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            if kind in types:
                receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


def resolved(resolver: Resolver, host: str, sockets: SocketOptions, kind: Kind) -> tuple[str, ...]:
    """Return what `resolve` gives, or raise what it raises."""
    results: list[Any] = []
    Deferred.fromCoroutine(resolve(resolver, host, 80, sockets, kind)).addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    answer: tuple[str, ...] = results[0]
    return answer


def test_addresses() -> None:
    """The system's order is kept, each address once; for datagrams IPv4 comes first."""
    both = Resolver("::1", "127.0.0.1", "::1")
    any_family = SocketOptions()
    for sockets, kind, expected in [
        (any_family, Kind.STREAM, ("::1", "127.0.0.1")),
        (any_family, Kind.DATAGRAM, ("127.0.0.1", "::1")),
        (SocketOptions(Family.IPV4), Kind.STREAM, ("127.0.0.1",)),
        (SocketOptions(Family.IPV6), Kind.DATAGRAM, ("::1",)),
        (SocketOptions(source="127.0.0.2"), Kind.STREAM, ("127.0.0.1",)),
        (SocketOptions(source="fe80::1%lo"), Kind.STREAM, ("::1",)),
    ]:
        assert resolved(both, "host", sockets, kind) == expected


def test_an_address_is_not_looked_up() -> None:
    """An IP address is its own answer, and must be of the family that is asked for."""
    nobody = Resolver()
    for host in ("127.0.0.1", "::1", "fe80::1%lo"):
        assert resolved(nobody, host, SocketOptions(), Kind.STREAM) == (host,)
    with pytest.raises(UsageError, match=r"127\.0\.0\.1 is an IPv4 address, and -6 asks for another"):
        resolved(nobody, "127.0.0.1", SocketOptions(Family.IPV6), Kind.STREAM)
    with pytest.raises(UsageError, match=r"::1 is an IPv6 address, and --source 127\.0\.0\.2 asks"):
        resolved(nobody, "::1", SocketOptions(source="127.0.0.2"), Kind.STREAM)


@pytest.mark.parametrize(
    ("host", "family", "kind", "words"),
    [
        ("nobody", Family.ANY, ResolveError, "nobody has no address: check the name"),
        ("nobody", Family.IPV6, ResolveError, "nobody has no IPv6 address"),
        ("a..b", Family.ANY, UsageError, "'a..b' is not a host name"),
        ("a" * 64, Family.ANY, UsageError, "is not a host name"),
    ],
)
def test_no_address(host: str, family: Family, kind: type[NetechoError], words: str) -> None:
    """A host without an address is an error in words, and a name that cannot be one is a mistake."""
    with pytest.raises(kind, match=words):
        resolved(Resolver(), host, SocketOptions(family), Kind.STREAM)


REMOTE = Target(host="192.0.2.1")
NEARBY = Target("quic", "quic", True, "fe80::2", 8000)
PATH = Target("unix", "unix", path="/tmp/echo")
IN_THE_WAY = Target("unix", "unix", path=os.path.dirname(__file__))


def unbound(cause: OSError) -> error.CannotListenError:
    """Return what Twisted says of a port for datagrams that cannot be opened."""
    return error.CannotListenError("::", 0, cause)


@pytest.mark.parametrize(
    ("problem", "target", "kind", "words"),
    [
        (error.ConnectionRefusedError(), Target(), RefusedError, "start one with: netecho serve --port 8000"),
        (
            error.ConnectionRefusedError(),
            Target("tls", "tcp", True, "::1", 8443),
            RefusedError,
            "connection to tls://[::1]:8443 refused: nothing listens there; "
            "start one with: netecho serve --tls --port 8443",
        ),
        (error.ConnectionRefusedError(), REMOTE, RefusedError, "or a firewall refuses it"),
        (error.ConnectionRefusedError(), PATH, RefusedError, "netecho serve unix:/tmp/echo"),
        (error.ConnectionRefusedError(), IN_THE_WAY, ConnectError, "failed: what is there is no socket"),
        (error.ConnectError(errno.ENOENT), PATH, RefusedError, "there is no socket"),
        (error.TCPTimedOutError(), REMOTE, ConnectTimeoutError, "timed out"),
        (error.TimeoutError(), REMOTE, ConnectTimeoutError, "-w"),
        (error.NoRouteError(), REMOTE, UnreachableError, "no route"),
        (error.ConnectError(errno.EHOSTUNREACH), REMOTE, UnreachableError, "no route"),
        (OSError(errno.ENETUNREACH, ""), REMOTE, UnreachableError, "no route"),
        (error.ConnectError(errno.EACCES), PATH, ConnectError, "does not permit"),
        (OSError(errno.EACCES, ""), REMOTE, ConnectError, "a firewall refuses it, or it"),
        (error.ConnectError(errno.EMFILE), REMOTE, NoFileError, "ulimit -n"),
        (error.ConnectBindError(errno.EMFILE), REMOTE, NoFileError, "too many open files"),
        (error.ConnectError(errno.EADDRNOTAVAIL), REMOTE, NoPortError, "use fewer connections"),
        (error.ConnectBindError(errno.EADDRINUSE), REMOTE, NoPortError, "use fewer connections"),
        (error.ConnectBindError(errno.EADDRNOTAVAIL), REMOTE, ConnectError, "--source"),
        (error.ConnectBindError(socket.EAI_NONAME, "No name"), REMOTE, ConnectError, "address: No name"),
        (unbound(OSError(errno.EMFILE, "")), NEARBY, NoFileError, "too many open files"),
        (unbound(OSError(errno.EADDRINUSE, "")), REMOTE, NoPortError, "use fewer connections"),
        (unbound(OSError(errno.EADDRNOTAVAIL, "")), NEARBY, ConnectError, "--source address: Cannot assign"),
        (unbound(socket.gaierror(socket.EAI_NONAME, "No name")), REMOTE, ConnectError, "address: No name"),
        (error.UnknownHostError(), REMOTE, ResolveError, "has no address"),
        (error.ConnectionLost(), Target("tls", "tcp", True), TLSError, "perhaps it speaks no TLS"),
        (CertificateError("as it is"), REMOTE, CertificateError, "as it is"),
        (error.ConnectError(errno.EINVAL), REMOTE, ConnectError, "failed: Invalid argument"),
        (error.ConnectError(errno.EINVAL), NEARBY, ConnectError, "as in fe80::1%eth0"),
        (socket.gaierror(socket.EAI_NONAME, "Name"), NEARBY, ConnectError, "as in fe80::1%eth0"),
    ],
)
def test_failures_in_words(problem: Exception, target: Target, kind: type[NetechoError], words: str) -> None:
    """Each failure to connect is one line that says what failed, and what to do."""
    answer = connect_failure(Failure(problem), target)
    assert type(answer) is kind
    assert words in str(answer)
    assert "\n" not in str(answer)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("tls", "client"),
        ("tls", "client -n 1"),
        ("tls", "bench -n 1"),
        ("tls", "bench --mode handshake -n 1"),
        ("smtp", "bench -n 1"),
        ("ws", "client"),
    ],
)
def test_who_accepts_and_says_nothing(scheme: str, words: str) -> None:
    """It is there, and no firewall is in the way: it is told which protocol was looked for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        flags = ["--timeout" if words.startswith("bench") else "-w", "300ms"]
        done = netecho(*words.split(), url, *flags)
    assert done.returncode == ExitStatus.FAILED
    takes = ", and does the path take large packets" if scheme == "tls" else ""
    line = (
        f"netecho: connection to {url} timed out: the other end accepted it, and then fell silent; "
        f"does it speak {scheme} on that port{takes}? Or wait longer with -w\n"
    )
    assert line in done.stderr.decode()


def test_who_greets_and_says_nothing_more() -> None:
    """It has said something, and is not accused of anything else."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 mx.example ESMTP\r\n")
        while connection.recv(1 << 16):
            pass

    with serving(talk, "smtp") as url:
        done = netecho("client", url, "-w", "300ms")
    assert "timed out: the other end accepted it, and then fell silent;" in done.stderr.decode()


@pytest.mark.parametrize("words", ["client", "client -n 1", "bench -n 1", "bench --mode handshake -n 1"])
def test_datagrams_that_nobody_answers(words: str) -> None:
    """Nothing has accepted anything where the handshake is in datagrams: a firewall may be in the way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"dtls://127.0.0.1:{silent.getsockname()[1]}"
        done = netecho(*words.split(), url, "--timeout", "300ms")
    assert done.returncode == ExitStatus.FAILED
    line = f"netecho: connection to {url} timed out: no answer came; check the address and firewalls, or wait"
    assert line in done.stderr.decode()


COMMAND = """
import sys
from twisted.internet.defer import Deferred
from netecho.errors import NetechoError
from netecho.services.running import run

async def main(reactor, signals):
    {}

try:
    sys.exit(run(main))
except NetechoError as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
"""


@pytest.mark.parametrize(
    ("body", "status", "out"),
    [
        ("return 99", 99, ""),
        ("raise NetechoError('it did not work')", 1, "it did not work\n"),
        ("Deferred().errback(ValueError()); return 0", 0, ""),
        ("from twisted.logger import Logger; Logger().critical('not for people'); return 0", 0, ""),
    ],
)
def test_run(body: str, status: int, out: str) -> None:
    """A command's status and its errors come through; Twisted's log does not."""
    result = subprocess.run(
        [sys.executable, "-c", COMMAND.format(body)],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (status, out, "")


FAILURE = "from twisted.python.failure import Failure"
ASKED = "signals.on_first(lambda number: print('asked by', number.name, flush=True))"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Each signal is sent when the line before it has been read.
        ("await Deferred()", ["interrupted"]),
        (f"{ASKED}; await Deferred()", ["asked by SIGINT", "interrupted"]),
        # One that is asking a name server that is down is not waited for.
        ("import time; reactor.callInThread(time.sleep, 3600); await Deferred()", ["interrupted"]),
        # To what awaits a connection, to be cancelled is an attempt that failed.
        (
            f"{FAILURE}; await Deferred().addErrback(lambda _: Failure(NetechoError('failed')))",
            ["interrupted"],
        ),
    ],
)
def test_signals(body: str, expected: list[str]) -> None:
    """The first signal asks for an end if the command wants to be asked; the next is the end."""
    body = f"reactor.callLater(0, print, 'ready', flush=True); {body}"
    with process(
        [sys.executable, "-c", COMMAND.format(body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        for line in expected[:-1]:
            child.send_signal(2)
            assert child.stdout.readline().decode() == f"{line}\n"
            outlives_a_twin(child)
        child.send_signal(2)
        assert child.wait(TIMEOUT) == 130
        assert child.stdout.readline().decode() == f"{expected[-1]}\n"
        assert child.stderr is not None
        assert child.stderr.read() == b""


DEFECT = "try: await Deferred()\n    except BaseException: raise ZeroDivisionError('oops') from None"
LATE_DEFECT = (
    "try: await Deferred()\n    finally:\n        later = Deferred()\n"
    "        reactor.callLater(0, later.errback, ZeroDivisionError('oops'))\n        await later"
)


@pytest.mark.parametrize("body", [DEFECT, LATE_DEFECT])
def test_defect_after_a_signal(body: str) -> None:
    """It is told of, and not taken for what the signal has led to."""
    body = f"reactor.callLater(0, print, 'ready', flush=True)\n    {body}"
    with process(
        [sys.executable, "-c", COMMAND.format(body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(2)
        out, complaints = child.communicate(timeout=TIMEOUT)
    assert out == b""
    assert complaints.splitlines()[-1] == b"ZeroDivisionError: oops"


def test_signal_at_the_end() -> None:
    """Ctrl-C when the command has ended is of no effect: neither a traceback nor another status."""
    script = (
        "import atexit, os, sys\n"
        "from netecho.services.running import run\n"
        "async def main(reactor, signals): return 42\n"
        "status = run(main)\n"
        "atexit.register(os.kill, os.getpid(), 2)\n"
        "os.kill(os.getpid(), 2)\n"
        "sys.exit(status)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=TIMEOUT, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (42, b"", b"")


def test_open_files_as_many_as_allowed() -> None:
    """The soft limit of open files is raised to the hard one."""
    resource = pytest.importorskip("resource")
    body = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE)); return 0"
    hard = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    result = subprocess.run(
        [sys.executable, "-c", COMMAND.format(body)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        text=True,
    )
    assert result.stdout == f"{hard} {hard}\n"


def test_path_too_long(tmp_path: pathlib.Path) -> None:
    """A path that no socket can have is no server that is busy."""
    url = f"unix:{tmp_path / ('x' * 120)}"
    done = netecho("client", "-n", "1", url)
    assert done.returncode == 1
    assert done.stderr.decode() == f"netecho: connection to {url} failed: AF_UNIX path too long\n"


def test_refused_by_the_system() -> None:
    """A real refusal, as a real reactor reports it, is one of these."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    body = f"""
    from netecho.protocols import load
    from netecho.protocols._contract import Route
    from netecho.plans import Target
    from netecho.services.resolving import connect_failure
    from twisted.python.failure import Failure
    target = Target(port={port})
    try:
        await load('tcp').connect(reactor, Route(target, ('127.0.0.1',)), None, None)
    except Exception:
        raise connect_failure(Failure(), target) from None
"""
    result = subprocess.run(
        [sys.executable, "-c", COMMAND.format(body.strip())],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        text=True,
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert "nothing listens there" in result.stdout


@pytest.mark.parametrize(
    ("url", "addresses", "says"),
    [
        ("udp://both:1", ("127.0.0.1", "::1"), "; that is of 127.0.0.1, and -6 tries ::1"),
        ("stamp://both:1", ("::1", "127.0.0.1"), "; that is of ::1, and -4 tries 127.0.0.1"),
        ("udp://one:1", ("127.0.0.1",), ""),
        (
            "udp://many:1",
            ("127.0.0.1", "127.0.0.2", "127.0.0.3"),
            "; that is of 127.0.0.1, and the name is also that of 127.0.0.2, 127.0.0.3",
        ),
        ("dtls://both:1", ("127.0.0.1", "::1"), ""),
        ("tcp://both:1", ("127.0.0.1", "::1"), ""),
    ],
)
def test_addresses_that_were_not_tried(url: str, addresses: tuple[str, ...], says: str) -> None:
    """They are named where there is no handshake, which tries all."""
    route = Route(resolve_target(url, None, None, False), addresses)
    assert untried(route) == says
    assert str(refusal(route)).endswith(f"or a firewall refuses it{says}")


@pytest.mark.parametrize("words", [["client", "-n", "1"], ["client"], ["bench", "-n", "1", "-w", "100ms"]])
def test_a_name_whose_first_address_refuses_datagrams(words: list[str], tmp_path: pathlib.Path) -> None:
    """The line says which flag takes another."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\nask = socket.getaddrinfo\n"
        "def getaddrinfo(host, *rest):\n"
        "    hosts = ['127.0.0.1', '::1'] if host == 'both.test' else [host]\n"
        "    return [found for one in hosts for found in ask(one, *rest)]\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = netecho(*words, f"udp://both.test:{port}", input=b"hello", environment=environment)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith(b"netecho: ")]
    assert line.endswith(b"; that is of 127.0.0.1, and -6 tries ::1")
