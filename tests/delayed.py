"""A path of a known length on this machine: all that goes through it arrives a fixed time later."""

from __future__ import annotations

import collections
import contextlib
import functools
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from tests.servers import TIMEOUT

_LARGEST: Final = 65_536
_HOST: Final = "127.0.0.1"


class Delayed:
    """A path to a port of this machine, by UDP or TCP, until the block is left.

    Args:
        port: the server's.
        seconds: the delay each way.
        tcp: it carries connections, else datagrams.
    """

    def __init__(self, port: int, seconds: float, *, tcp: bool) -> None:
        self._server = (_HOST, port)
        self._seconds = seconds
        self._tcp = tcp
        self._front = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        self._front.bind((_HOST, 0))
        if tcp:
            self._front.listen()
        self.port: int = self._front.getsockname()[1]
        # All wait equally long, so that what came first leaves first.
        self._waiting: collections.deque[tuple[float, Callable[[], object]]] = collections.deque()
        self._takers: dict[socket.socket, Callable[[], object]] = {}
        self._servers: dict[tuple[str, int], socket.socket] = {}
        self._stop, self._stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._takers[self._front] = self._accept if self._tcp else self._take_datagram
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._stop.close()
        self._thread.join(TIMEOUT)
        for each in (*self._takers, self._stopping):
            each.close()

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            ready, _, _ = select.select([self._stopping, *self._takers], [], [], wait)
            if self._stopping in ready:
                return
            for one in ready:
                self._takers[one]()
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                with contextlib.suppress(OSError):  # the other end has gone
                    self._waiting.popleft()[1]()

    def _later(self, call: Callable[[], object]) -> None:
        self._waiting.append((time.monotonic() + self._seconds, call))

    def _accept(self) -> None:
        client, _ = self._front.accept()
        server = socket.create_connection(self._server)
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._takers[one] = functools.partial(self._take_bytes, one, other)

    def _take_bytes(self, one: socket.socket, other: socket.socket) -> None:
        try:
            data = one.recv(_LARGEST)
        except ConnectionError:
            data = b""
        if data:
            self._later(lambda: other.sendall(data))
        else:
            del self._takers[one]
            self._later(lambda: other.shutdown(socket.SHUT_WR))

    def _take_datagram(self) -> None:
        datagram, peer = self._front.recvfrom(_LARGEST)
        if peer not in self._servers:
            self._servers[peer] = server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.connect(self._server)
            self._takers[server] = lambda: self._take_echo(server, peer)
        server = self._servers[peer]
        self._later(lambda: server.send(datagram))

    def _take_echo(self, server: socket.socket, peer: tuple[str, int]) -> None:
        echo = server.recv(_LARGEST)
        self._later(lambda: self._front.sendto(echo, peer))
