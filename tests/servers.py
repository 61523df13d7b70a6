"""netecho itself as a child process, and plain sockets that talk to it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self
from unittest import mock

from netecho import program, protocols
from netecho.protocols._contract import Adapter, Kind
from netecho.services import running

COMMAND = [sys.executable, "-m", "netecho"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
URL = re.compile(r"[a-z][a-z0-9]*:(//|/|\./|\.\./)")
TIMEOUT = 60.0
"""Seconds after which a test that waits for something is over; none waits this long when all is well."""


def netecho(
    *words: str,
    input: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    root: pathlib.Path = ROOT,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, by another one if there is a prefix; of the package that is in `root`."""
    return subprocess.run(
        [*prefix, *COMMAND, *words],
        input=input,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        cwd=root,
        env={**os.environ, **(environment or {})},
    )


def mistaken(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in this process that is found to be a mistake before any reactor runs."""
    out, complaints = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(running, "install"),
        mock.patch.object(running, "run", side_effect=AssertionError("no mistake was found")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(complaints),
    ):
        status = program.run(list(words))
    return subprocess.CompletedProcess(words, status, out.getvalue().encode(), complaints.getvalue().encode())


@dataclasses.dataclass
class Listening:
    """One listener of a server under test."""

    url: str
    ca: str | None = None

    @property
    def scheme(self) -> str:
        """Return the URL's scheme."""
        return self.url.partition(":")[0]

    @property
    def form(self) -> tuple[Adapter, bool]:
        """Return its protocol, and whether that is in its secure form."""
        return protocols.for_scheme(self.scheme)

    @property
    def path(self) -> str | None:
        """Return the path in the file system, if that is what it listens on."""
        return self.url.partition(":")[2] if self.form[0].default_port is None else None

    @property
    def address(self) -> tuple[str, int]:
        """Return the host and port."""
        parts = urllib.parse.urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def connect(self, **tls: Any) -> socket.socket:
        """Return a blocking socket connected to it, through TLS if that is its form."""
        if self.path is not None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT)
            connection.connect(self.path)
            return connection
        adapter, secure = self.form
        if adapter.kind is Kind.DATAGRAM and not secure:
            family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
            datagrams = socket.socket(family, socket.SOCK_DGRAM)
            datagrams.settimeout(TIMEOUT)
            datagrams.connect(self.address)
            return datagrams
        plain = socket.create_connection(self.address, TIMEOUT)
        if not secure:
            return plain
        return self.context(**tls).wrap_socket(plain, server_hostname="localhost")

    def context(self, **tls: Any) -> ssl.SSLContext:
        """Return a context that trusts the server's authority."""
        context = ssl.create_default_context(cafile=self.ca)
        for name, value in tls.items():
            setattr(context, name, value)
        return context


class Server:
    """`netecho serve` in a child process; ended, and its exit status looked at, on leaving the block."""

    def __init__(
        self, *words: str, prefix: Sequence[str] = (), root: pathlib.Path = ROOT, **options: Any
    ) -> None:
        self._words = words
        self._root = root
        self._prefix = prefix
        self._options = options
        self._told = False
        self.status = 0
        self.complaints = b""
        self.events: list[dict[str, Any]] = []
        self.listeners: list[Listening] = []

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            [*self._prefix, *COMMAND, "serve", "--json-stream", *self._words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._root,
            **self._options,
        )
        expected = max(1, sum(URL.match(word) is not None for word in self._words))
        while len(self.listeners) < expected:
            self.listeners.append(self._listening())
        return self

    def _listening(self) -> Listening:
        event = self.wait_for("listening")
        return Listening(event["url"], event.get("ca"))

    @property
    def listener(self) -> Listening:
        """Return the first listener."""
        return self.listeners[0]

    @property
    def out(self) -> IO[bytes]:
        """Return its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_for(self, name: str) -> dict[str, Any]:
        """Return the next event of that name, reading on until it comes."""
        for line in self.out:
            event: dict[str, Any] = json.loads(line)
            self.events.append(event)
            if event["event"] == name:
                return event
        assert self.process.stderr is not None
        raise AssertionError(f"no {name} event: {self.process.stderr.read().decode()}")

    def end(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """Tell it to end; return what it says when it has."""
        self.tell(number)
        return self.wait_for("stopped")

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Tell it to end."""
        self._told = True
        self.process.send_signal(number)

    def resident_kib(self, *, peak: bool = False) -> int:
        """Return its resident memory in KiB: what it is, or the most that it has been."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:" if peak else "VmRSS:")[2].split()[0])

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; when nothing else is wrong, it must have ended well and said nothing in anger."""
        if not self._told:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, complaints = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        if kind is None:
            assert complaints == self.complaints
            assert self.process.returncode == self.status


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or fewer if the peer closes before."""
    received = bytearray()
    while len(received) < size and (data := connection.recv(min(1 << 20, size - len(received)))):
        received += data
    return bytes(received)


def receive_all(connection: socket.socket) -> bytes:
    """Return all that comes until the peer closes."""
    received = bytearray()
    while data := connection.recv(1 << 20):
        received += data
    return bytes(received)


def exchange(
    connection: socket.socket, message: bytes, *, half_close: bool = False, piece: int = 1 << 16
) -> bytes:
    """Send a message while reading what comes back; return as much as was sent, or all until the end.

    With `half_close` the sending side is closed after the message. At most `piece` bytes are sent at once.
    Neither a thread nor a blocking call, as OpenSSL allows one at a time on a connection.
    """
    wait = select.poll()
    connection.setblocking(False)
    received, view = bytearray(), memoryview(message)
    while half_close or len(received) < len(message):
        wait.register(connection, select.POLLIN | (select.POLLOUT if view else 0))
        assert wait.poll(TIMEOUT * 1000), "neither reading nor writing went on"
        if view:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                view = view[connection.send(view[:piece]) :]
                if not view and half_close:
                    connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = connection.recv(1 << 20)
            if not data:
                break
            received += data
    connection.settimeout(TIMEOUT)
    return bytes(received)
