"""DTLS beside plain UDP, in one run: what encryption costs a server and a client, and what a handshake costs.

Run by hand as `python -m tests.benchmarks.dtls`, on a machine that does nothing else: the servers have the
first processor, and `netecho bench`, which loads them, has the last. Rates are of a second of processor time:
the server's own, or the client's own.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from tests.benchmarks.http import LAST, both_ends, serving, show

ROUNDS: Final = 5
SIZES: Final = [64, 1200]
PLAIN, SECURE = "UDP", "DTLS"
TRUST: Final = {PLAIN: [], SECURE: ["-k"]}
URLS: Final = {PLAIN: "udp://127.0.0.1:0", SECURE: "dtls://127.0.0.1:0"}


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
                    served, client = both_ends(url, clock, "-l", str(size), *TRUST[name])
                    echoes[name].append(served)
                    clients[name].append(client)
            show(f"Echoes of {size} bytes in a second of the server's processor time", echoes, PLAIN)
            show(f"Exchanges of {size} bytes in a second of the client's", clients, PLAIN)
        url, clock = servers[SECURE]
        shaken = [both_ends(url, clock, "--mode", "handshake", *TRUST[SECURE]) for _ in range(ROUNDS)]
        show("Handshakes in a second of the server's", {SECURE: [one for one, _ in shaken]}, SECURE)
        show("Handshakes in a second of the client's", {SECURE: [one for _, one in shaken]}, SECURE)


if __name__ == "__main__":
    os.sched_setaffinity(0, LAST)
    main()
