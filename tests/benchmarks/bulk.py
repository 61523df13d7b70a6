"""How fast one connection is that always has more to send: a mebibyte a write, echoed.

    python -m tests.benchmarks.bulk [--scheme tcp|tls|unix] [--beside NAME=PORT,PID ...]

Servers run on the first processor and the load on the second. The load writes whenever the system takes
more, reads whenever there is something, and compares every byte. With `--beside`, servers that run already on
this machine, of whatever make, are measured in the same rounds; start them with `taskset -c 0`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import select
import socket
import ssl
import statistics
import tempfile
import time
from typing import Final

from tests.benchmarks import contestants
from tests.benchmarks.load import PATIENCE, SECOND, BrokenEchoError, Clock, Sample
from tests.benchmarks.reactors import processors

MIB: Final = 1 << 20
_WAIT: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BulkLoad:
    """Mebibytes without end on one connection; provides `tests.benchmarks.load.Load`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._message = bytes(os.urandom(MIB))
        self._received = bytearray(MIB)
        self._room = memoryview(self._received)
        connection.setblocking(False)

    def run(self, seconds: float, clock: Clock) -> Sample:
        """See `Load.run`. A sample's exchanges are mebibytes."""
        connection, message, poller = self._connection, memoryview(self._message), select.poll()
        cpu, begun = clock(), time.monotonic_ns()
        ends = begun + int(seconds * SECOND)
        came, sent, asked = 0, 0, 0
        while came < sent or time.monotonic_ns() < ends:
            wanted = select.POLLIN
            if time.monotonic_ns() < ends or sent % MIB:
                wanted |= select.POLLOUT
            if wanted != asked:
                poller.register(connection, wanted)
                asked = wanted
            if not poller.poll(PATIENCE * 1000):
                raise BrokenEchoError(f"nothing came in {PATIENCE:g} s")
            with contextlib.suppress(*_WAIT):
                while wanted & select.POLLOUT:
                    sent += connection.send(message[sent % MIB :])
                    if not sent % MIB:
                        break
            with contextlib.suppress(*_WAIT):
                came += self._receive(came % MIB)
        return Sample(came // MIB, time.monotonic_ns() - begun, clock() - cpu)

    def _receive(self, place: int) -> int:
        """Receive once, to that place in the message; compare it when it is complete."""
        size = self._connection.recv_into(self._room[place:])
        if not size:
            raise BrokenEchoError("the connection was closed")
        if place + size == MIB and self._received != self._message:
            raise BrokenEchoError("what came back is not what was sent")
        return size

    def close(self) -> None:
        """See `Load.close`."""
        self._connection.close()


def report(samples: dict[str, list[Sample]], base: str) -> None:
    """Print a line for each server: its rate, its cost, and how many times the rate of `base` that is."""
    print(f"{'':34}{'MiB/s':>8}{'us of processor a MiB':>24}{'of ' + base:>24}")
    for name, own in samples.items():
        rate = statistics.median(sample.rate for sample in own)
        cost = statistics.median(sample.cost_ns for sample in own) / 1000
        ratio = statistics.median(one.rate / two.rate for one, two in zip(own, samples[base], strict=True))
        print(f"{name:34}{rate:8,.0f}{cost:24,.0f}{ratio:24.2f}")


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scheme", choices=["tcp", "tls", "unix"], default="tcp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round and server (1)")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=PORT,PID")
    asked = parser.parse_args()
    server_processor, load_processor = processors()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="netecho-")))
        certificate, key, authority = contestants.certificate(directory)
        loads: dict[str, tuple[BulkLoad, Clock]] = {}
        for name, command in contestants.commands(certificate, key, str(directory / "echo")).items():
            server = stack.enter_context(contestants.running(command, authority, server_processor))
            connection = server.listeners[asked.scheme].connect()
            loads[name] = stack.enter_context(contextlib.closing(BulkLoad(connection))), server.cpu_ns
        for beside in asked.beside:
            name, _, rest = beside.partition("=")
            port, pid = map(int, rest.split(","))
            connection = socket.create_connection(("127.0.0.1", port))
            clock: Clock = functools.partial(time.clock_gettime_ns, contestants.processor_clock(pid))
            loads[name] = stack.enter_context(contextlib.closing(BulkLoad(connection))), clock
        if load_processor is not None:
            os.sched_setaffinity(0, {load_processor})
        samples: dict[str, list[Sample]] = {name: [] for name in loads}
        for load, cpu_ns in loads.values():
            load.run(0.2, cpu_ns)
        for _ in range(asked.rounds):
            for name, (load, cpu_ns) in loads.items():
                samples[name].append(load.run(asked.seconds, cpu_ns))
    report(samples, next(reversed(loads)))


if __name__ == "__main__":
    main()
