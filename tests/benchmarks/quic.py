"""QUIC and HTTP/3 side by side, in one run: our servers and those of aioquic on uvloop, and so the clients.

Run by hand as `python -m tests.benchmarks.quic`, on a machine that does nothing else: the servers have the
first processor, and what loads them has the last. The core of both is aioquic's; what differs is what drives
it. A server's rate is of a second of its own processor time, under `netecho bench`; a client's of its own, on
our server. Each exchange is a stream of its own, one under way on each connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Final

from tests.benchmarks.http import CONNECTIONS, LAST, SECONDS, both_ends, load, serving, show

ROUNDS: Final = 5
SIZES: Final = [64, 16_384]
PROTOCOLS: Final = ["quic", "http3"]
OURS, THEIRS = "netecho", "aioquic on uvloop"


def servers(protocol: str) -> dict[str, list[str]]:
    """Return the programs that serve a protocol."""
    return {
        OURS: ["netecho", "serve", "--json-stream", f"{protocol}://127.0.0.1:0"],
        THEIRS: ["tests.benchmarks.quic_aioquic", "serve", protocol],
    }


def their_load(url: str, size: int) -> float:
    """Return the exchanges that aioquic's client makes in a second of its processor time."""
    words = ["tests.benchmarks.quic_aioquic", "load", url, str(CONNECTIONS), str(SECONDS), str(size)]
    said, _ = load(sys.executable, "-m", *words)
    rate: float = json.loads(said)["per_cpu_second"]
    return rate


def compare(protocol: str) -> None:
    """Measure one protocol, and print."""
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(serving(words)) for name, words in servers(protocol).items()}
        for size in SIZES:
            echoes: dict[str, list[float]] = {OURS: [], THEIRS: []}
            clients: dict[str, list[float]] = {OURS: [], THEIRS: []}
            for _ in range(ROUNDS):
                for name, (url, clock) in running.items():
                    served, client = both_ends(url, clock, "-k", "-l", str(size))
                    echoes[name].append(served)
                    if name == OURS:
                        clients[OURS].append(client)
                clients[THEIRS].append(their_load(running[OURS][0], size))
            show(f"{protocol}: echoes of {size} bytes in a second of the server's time", echoes, THEIRS)
            show(f"{protocol}: exchanges of {size} bytes in a second of the client's", clients, THEIRS)
        shaken: dict[str, list[float]] = {OURS: [], THEIRS: []}
        for _ in range(ROUNDS):
            for name, (url, clock) in running.items():
                shaken[name].append(both_ends(url, clock, "-k", "--mode", "handshake")[0])
        show(f"{protocol}: handshakes in a second of the server's", shaken, THEIRS)


def main() -> None:
    """Measure, and print."""
    for protocol in PROTOCOLS:
        compare(protocol)


if __name__ == "__main__":
    os.sched_setaffinity(0, LAST)
    main()
