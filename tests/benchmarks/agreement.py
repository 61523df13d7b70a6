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
import contextlib
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

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
    for tcp in (False, True):
        bare, ours = [], []
        for _ in range(rounds):
            with echoing(tcp=tcp) as port:
                bare.append(bare_socket(port, seconds, tcp=tcp))
                ours.append(netecho_to(port, seconds, tcp=tcp))
        least, mine = statistics.median(bare), statistics.median(ours)
        scheme = "tcp" if tcp else "udp"
        yield scheme, f"{least * 1e6:,.1f} µs", f"{mine * 1e6:,.1f} µs", f"{(mine - least) * 1e6:,.1f} µs"


@contextlib.contextmanager
def echoing(*, tcp: bool) -> Iterator[int]:
    """Run an echo server in a process of its own, and give its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        talk: Callable[[socket.socket], None] = echo_datagrams
        if tcp:
            listener.listen()
            talk = echo_streams
        process = multiprocessing.get_context("fork").Process(target=talk, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()


def echo_streams(listener: socket.socket) -> None:
    """Serve one connection after the other."""
    while True:
        with listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(SIZE):
                connection.sendall(data)


def echo_datagrams(port: socket.socket) -> None:
    """Send every datagram back."""
    while True:
        port.sendto(*port.recvfrom(SIZE))


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
    measured = (row for delay in DELAYS for row in medians(delay, asked.seconds, asked.rounds))
    _print(("protocol", "delay each way", "program", "median", "netecho is off by"), measured)
    _print(("protocol", "bare socket", "netecho", "netecho adds"), overhead(asked.seconds, asked.rounds))


def _print(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    for cells in (header, ("---",) * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)
    print()


if __name__ == "__main__":
    main()
