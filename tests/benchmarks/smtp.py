"""SMTP side by side, in one run: our sink, Twisted's and Postfix's smtp-sink, under Postfix's smtp-source.

Run by hand as `python -m tests.benchmarks.smtp`, on a machine that does nothing else: the servers have the
first processor, and what loads them has the last. Each round puts each load on each server in turn, and
ratios are taken round by round. Ours and Twisted's digest what they receive; smtp-sink throws it away.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from tests.peers import need
from tests.servers import ROOT, TIMEOUT

ROUNDS: Final = 7
SESSIONS: Final = 20
MAILS: Final = 4000
OURS, TWISTED, POSTFIX = "netecho serve", "twisted.mail", "smtp-sink"
LOADS: Final = {
    "many mails on a connection, 64 bytes": ["-d", "-l", "64"],
    "many mails on a connection, 10 KiB": ["-d", "-l", "10240"],
    "a connection for each mail, 64 bytes": ["-l", "64"],
    "a connection for each mail, 10 KiB": ["-l", "10240"],
}
FIRST, LAST = {0}, {(os.cpu_count() or 1) - 1}


@contextlib.contextmanager
def serving(name: str) -> Iterator[str]:
    """Run a server on the first processor; yield its host and port."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{reserved.getsockname()[1]}"
    commands = {
        OURS: [sys.executable, "-m", "netecho", "serve", f"smtp://{place}"],
        TWISTED: [sys.executable, "-m", "tests.benchmarks.smtp_twisted", place],
        POSTFIX: [need("smtp-sink"), *(["-u", "nobody"] if os.geteuid() == 0 else []), place, "1000"],
    }
    with subprocess.Popen(commands[name], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            os.sched_setaffinity(process.pid, FIRST)
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    host, _, port = place.partition(":")
                    socket.create_connection((host, int(port)), TIMEOUT).close()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline, f"{name} does not listen"
            yield place
        finally:
            process.kill()


def source(place: str, *words: str) -> float:
    """Return the mails a second that a server takes."""
    begun = time.monotonic()
    addresses = ["-f", "a@example.org", "-t", "b@example.org"]
    subprocess.run(
        [need("smtp-source"), "-s", str(SESSIONS), "-m", str(MAILS), *addresses, *words, place],
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, LAST),
    )
    return MAILS / (time.monotonic() - begun)


def main() -> None:
    """Measure, and print."""
    with contextlib.ExitStack() as stack:
        places = {name: stack.enter_context(serving(name)) for name in (OURS, TWISTED, POSTFIX)}
        for title, words in LOADS.items():
            rates: dict[str, list[float]] = {name: [] for name in places}
            for _ in range(ROUNDS):
                for name, place in places.items():
                    rates[name].append(source(place, *words))
            print(f"\nsmtp-source -s {SESSIONS}, {title}: mails a second")
            for name, values in rates.items():
                ratio = statistics.median(
                    one / other for one, other in zip(values, rates[POSTFIX], strict=True)
                )
                print(f"  {name:20} {statistics.median(values):10,.0f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
