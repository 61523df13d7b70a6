"""How fast the reactors are: echo servers side by side, in one run, as the README's table.

    python -m tests.benchmarks.reactors

Rates swing from minute to minute on most machines, so each round puts each load on each server in
turn, and what counts is the median of the ratios taken round by round. Servers run on the first
processor and the load on the second. The load is written in Python and may be slower than a server, which
then has time to spare; what a server spends on an exchange is the steadier figure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import pathlib
import resource
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from tests.benchmarks import contestants
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.load import BrokenEchoError, DatagramLoad, Load, Sample, StreamLoad
from tests.benchmarks.table import Column, markdown

SIZE: Final = 64
"""Bytes in a message."""
BASE: Final = "a plain Twisted echo"
"""What the others are compared with."""
DESCRIPTORS: Final = 10_000
QUIET: Final = 0.5
"""The load average of a machine on which nothing else runs, at the most."""
WARM_UP: Final = 0.2
"""Seconds, at most, that each load is put on each server before the first round."""


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """How many messages are in flight, and on what."""

    title: str
    scheme: str
    in_flight: int

    def on(self, server: Contestant) -> Load:
        """Connect it to a server."""
        listener = server.listeners[self.scheme]
        if self.scheme == "udp":
            return DatagramLoad(listener.connect(), SIZE, self.in_flight)
        return StreamLoad([listener.connect() for _ in range(self.in_flight)], SIZE)


WORKLOADS: Final = (
    Workload("TCP, 1 connection", "tcp", 1),
    Workload("TCP, 50", "tcp", 50),
    Workload("TCP, 500", "tcp", 500),
    Workload("TLS, 50", "tls", 50),
    Workload("UDP, 50 in flight", "udp", 50),
    Workload("UDP, 512", "udp", 512),
    Workload("UNIX, 50", "unix", 50),
)


def measure(workload: Workload, servers: dict[str, Contestant], rounds: int, seconds: float) -> Column:
    """Put one load on each server in turn, `rounds` times for `seconds` each."""
    samples: dict[str, list[Sample]] = {name: [] for name in servers}
    with contextlib.ExitStack() as stack:
        loads: dict[str, Load] = {}
        for name, server in servers.items():
            loads[name] = stack.enter_context(contextlib.closing(workload.on(server)))
            loads[name].run(min(WARM_UP, seconds), server.cpu_ns)
        for _ in range(rounds):
            for name, load in loads.items():
                samples[name].append(load.run(seconds, servers[name].cpu_ns))
    return Column(workload.title, samples)


def processors() -> tuple[int | None, int | None]:
    """Return the processors for the servers and for the load; `None` if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def allow_descriptors() -> None:
    """Allow as many open files as the connections need; the servers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(workloads: Sequence[Workload], rounds: int, seconds: float) -> str:
    """Measure, and return the tables."""
    server_processor, load_processor = processors()
    allow_descriptors()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="netecho-")))
        certificate, key, authority = contestants.certificate(directory)
        servers = {
            name: stack.enter_context(contestants.running(command, authority, server_processor))
            for name, command in contestants.commands(certificate, key, str(directory / "echo")).items()
        }
        tls = {server.tls() for server in servers.values()}
        if len(tls) > 1:
            raise BrokenEchoError(f"the servers differ in what they speak: {', '.join(sorted(tls))}")
        if load_processor is not None:
            os.sched_setaffinity(0, {load_processor})
        gc.freeze()
        columns = []
        for workload in workloads:
            print(workload.title, file=sys.stderr, flush=True)
            columns.append(measure(workload, servers, rounds, seconds))
    return markdown(columns, BASE, SIZE, tls.pop())


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.reactors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="COUNT", help="(7)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="SECONDS", help="of each load (1)")
    parser.add_argument("--only", default="", metavar="SCHEMES", help="for example tcp,udp")
    asked = parser.parse_args()
    if os.getloadavg()[0] > QUIET:
        print("other programs are running: what follows is partly their doing", file=sys.stderr)
    schemes = set(asked.only.split(",")) if asked.only else {one.scheme for one in WORKLOADS}
    workloads = [one for one in WORKLOADS if one.scheme in schemes]
    if not workloads or asked.rounds < 1 or asked.seconds <= 0:
        parser.error("nothing to measure")
    try:
        print(run(workloads, asked.rounds, asked.seconds))
    except BrokenEchoError as error:
        sys.exit(f"not measured: {error}")


if __name__ == "__main__":
    main()
