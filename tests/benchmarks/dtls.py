"""DTLS beside plain UDP, in one run: what encryption costs a server and a client, and what a handshake costs.

Run by hand as `python -m tests.benchmarks.dtls`, on a machine that does nothing else: the servers have the
first processor, and `netecho bench`, which loads them, has the last. Rates are of a second of processor time:
the server's own, or the client's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Final

from tests.benchmarks.http import LAST, load, serving, show

ROUNDS: Final = 5
SECONDS: Final = 3
CONNECTIONS: Final = 50
SIZES: Final = [64, 1200]
PLAIN, SECURE = "UDP", "DTLS"
URLS: Final = {PLAIN: "udp://127.0.0.1:0", SECURE: "dtls://127.0.0.1:0"}


def measured(url: str, clock: int, *words: str) -> tuple[float, float]:
    """Return the exchanges in a second of the server's processor time, and in one of the client's."""
    command = [sys.executable, "-m", "netecho", "bench", url, "-c", str(CONNECTIONS), "-z", f"{SECONDS}s"]
    if url.startswith("dtls"):
        command.append("-k")
    before = time.clock_gettime_ns(clock)
    said, _ = load(*command, "--quiet", "--json", "-", *words)
    spent = time.clock_gettime_ns(clock) - before
    result = json.loads(said)
    assert not result["exchanges"]["errors"]
    served: float = result["exchanges"]["completed"] * 1e9 / spent
    client: float = result["throughput"]["exchanges_per_s"] / result["instrument"]["cpu_share"]
    return served, client


def main() -> None:
    """Measure, and print."""
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(["netecho", "serve", "--json-stream", url]))
            for name, url in URLS.items()
        }
        for size in SIZES:
            echoes: dict[str, list[float]] = {name: [] for name in servers}
            clients: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, (url, clock) in servers.items():
                    served, client = measured(url, clock, "-l", str(size))
                    echoes[name].append(served)
                    clients[name].append(client)
            show(f"Echoes of {size} bytes in a second of the server's processor time", echoes, PLAIN)
            show(f"Exchanges of {size} bytes in a second of the client's", clients, PLAIN)
        url, clock = servers[SECURE]
        shaken = [measured(url, clock, "--mode", "handshake") for _ in range(ROUNDS)]
        show("Handshakes in a second of the server's", {SECURE: [one for one, _ in shaken]}, SECURE)
        show("Handshakes in a second of the client's", {SECURE: [one for _, one in shaken]}, SECURE)


if __name__ == "__main__":
    os.sched_setaffinity(0, LAST)
    main()
