"""WebSocket side by side, in one run: our server and that of `websockets` on uvloop, and so the clients.

Run by hand as `python -m tests.benchmarks.ws`, on a machine that does nothing else: the servers have the
first processor, and what loads them has the last. Each round puts each load on each server in turn, and
ratios are taken round by round. A server's rate is what it does in a second of its own processor time under a
load that costs little; a client's is what it does in a second of its own, on our server.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from typing import Final
from urllib.parse import urlsplit

from websockets.frames import BINARY, Frame

from tests.benchmarks.http import LAST, bench, load, serving, show

ROUNDS: Final = 5
SECONDS: Final = 3.0
CONNECTIONS: Final = 50
SIZES: Final = [64, 4096, 65_536]
OURS, THEIRS = "netecho serve", "websockets on uvloop"
SERVERS: Final = {
    OURS: ["netecho", "serve", "--json-stream", "ws://127.0.0.1:0"],
    THEIRS: ["tests.benchmarks.ws_websockets", "serve"],
}
REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def opened(url: str) -> socket.socket:
    """Return a connection that has been upgraded."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def served(url: str, clock: int, size: int) -> float:
    """Return the echoes that a server makes in a second of its processor time.

    One is in flight on each connection. The frames have been made before, and each echo is compared.
    """
    frame = Frame(BINARY, os.urandom(size))
    message, echo = frame.serialize(mask=True), frame.serialize(mask=False)
    done = 0
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(opened(url)) for _ in range(CONNECTIONS)]
        poller = stack.enter_context(select.epoll())
        missing = {connection.fileno(): b"" for connection in connections}
        by_number = {connection.fileno(): connection for connection in connections}
        for number in missing:
            poller.register(number, select.EPOLLIN)
            by_number[number].sendall(message)
        before, ends = time.clock_gettime_ns(clock), time.monotonic() + SECONDS
        while time.monotonic() < ends:
            for number, _ in poller.poll():
                connection = by_number[number]
                came = missing[number] + connection.recv(1 << 20)
                if len(came) < len(echo):
                    missing[number] = came
                    continue
                assert came == echo, "an echo is not what was sent"
                missing[number] = b""
                done += 1
                connection.sendall(message)
        spent = time.clock_gettime_ns(clock) - before
    return done * 1e9 / spent


def their_load(url: str, size: int) -> float:
    """Return the exchanges that the library's client makes in a second of its processor time."""
    words = ["tests.benchmarks.ws_websockets", "load", url, str(CONNECTIONS), str(SECONDS), str(size)]
    said, _ = load(sys.executable, "-m", *words)
    rate: float = json.loads(said)["per_cpu_second"]
    return rate


def main() -> None:
    """Measure, and print."""
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(serving(words)) for name, words in SERVERS.items()}
        for size in SIZES:
            echoes: dict[str, list[float]] = {name: [] for name in SERVERS}
            clients: dict[str, list[float]] = {"netecho bench": [], THEIRS: []}
            for _ in range(ROUNDS):
                for name, (url, clock) in servers.items():
                    echoes[name].append(served(url, clock, size))
                url, _ = servers[OURS]
                clients["netecho bench"].append(bench(url, "-l", str(size)))
                clients[THEIRS].append(their_load(url, size))
            show(f"Echoes of {size} bytes in a second of the server's processor time", echoes, THEIRS)
            show(f"Exchanges of {size} bytes in a second of the client's", clients, THEIRS)


if __name__ == "__main__":
    os.sched_setaffinity(0, LAST)
    main()
