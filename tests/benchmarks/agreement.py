"""netecho, irtt and sockperf on the same paths, one after the other, and what netecho adds to a round trip.

python -m tests.benchmarks.agreement [--seconds SECONDS] [--rounds COUNT]

Medians of round trips, and how far netecho's is from the others'. With a delay, all go through the same path,
and what they add themselves hardly counts. Without one there is nothing to measure but the programs and
their servers: the numbers differ by what each of them takes.

The last table is netecho's overhead: the same server, which echoes with two system calls for each message, is
asked by netecho and by a loop that does nothing but send and receive on a blocking socket. The difference of
the two medians is what netecho adds: its reactor, its clock, its bookkeeping, and every byte compared.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Final

from tests.benches import echo, serving
from tests.yardsticks import SIZE, YARDSTICKS, netecho, netecho_to

DELAYS: Final = (0.01, 0.002, 0.0)


def medians(delay: float, seconds: float, rounds: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each program and protocol."""
    for tcp in (False, True):
        programs = [("netecho", netecho), *((name, one) for name, by_tcp, one in YARDSTICKS if by_tcp is tcp)]
        found: dict[str, list[float]] = {name: [] for name, _ in programs}
        for _ in range(rounds):
            for name, measure in programs:
                found[name].append(measure(tcp, delay, seconds))
        ours = statistics.median(found["netecho"])
        for name, _ in programs:
            theirs = statistics.median(found[name])
            apart = "" if name == "netecho" else f"{100 * (ours / theirs - 1):+.1f}%"
            yield (
                "tcp" if tcp else "udp",
                f"{delay * 1000:g} ms",
                name,
                f"{theirs * 1e6:,.0f} µs",
                apart,
            )


def overhead(seconds: float, rounds: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each protocol: a bare socket's median, netecho's, and the difference."""
    for scheme in ("udp", "tcp"):
        bare, ours = [], []
        for _ in range(rounds):
            with serving(echo_datagrams if scheme == "udp" else echo, scheme) as url:
                port = int(url.rpartition(":")[2])
                bare.append(bare_socket(port, seconds, tcp=scheme == "tcp"))
                ours.append(netecho_to(port, seconds, tcp=scheme == "tcp"))
        least, mine = statistics.median(bare), statistics.median(ours)
        yield scheme, f"{least * 1e6:,.1f} µs", f"{mine * 1e6:,.1f} µs", f"{(mine - least) * 1e6:,.1f} µs"


def echo_datagrams(port: socket.socket) -> None:
    """Send every datagram back."""
    while True:
        datagram, peer = port.recvfrom(65_536)
        if not datagram:  # as it is when the socket has been shut down
            return
        port.sendto(datagram, peer)


def bare_socket(port: int, seconds: float, *, tcp: bool) -> float:
    """Return the median round trip of a blocking socket, in seconds."""
    message, times = bytes(SIZE), []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as connection:
        connection.connect(("127.0.0.1", port))
        if tcp:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < until:
            connection.send(message)
            connection.recv(SIZE)
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    rows = [("protocol", "delay each way", "program", "median", "netecho is off by"), ("---",) * 5]
    for delay in DELAYS:
        rows += medians(delay, asked.seconds, asked.rounds)
    _print(rows)
    rows = [("protocol", "bare socket", "netecho", "netecho adds"), ("---",) * 4]
    rows += overhead(asked.seconds, asked.rounds)
    _print(rows)


def _print(rows: list[tuple[str, ...]]) -> None:
    for cells in rows:
        print(f"| {' | '.join(cells)} |", flush=True)
    print()


if __name__ == "__main__":
    main()
