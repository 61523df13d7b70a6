"""How late timers are: those of the fast reactor, of Twisted's epoll reactor, and of a bare timerfd.

    python -m tests.benchmarks.timers [--delay MICROSECONDS] [--rounds N] [--samples N]

Each timer is set when the one before it has gone off, and nothing else happens meanwhile. The three take
turns, so that a machine that is busy for a while is so for all of them.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from netecho.reactor.timers import Alarm
from tests.reactors import KINDS, fresh


def of_reactor(kind: str, delay: float, samples: int) -> list[float]:
    """Return by how many seconds each of so many calls of `callLater` is late."""
    lateness: list[float] = []
    with fresh(kind) as reactor:
        due = 0.0

        def go_off() -> None:
            nonlocal due
            now = time.monotonic()
            if due:
                lateness.append(now - due)
            if len(lateness) == samples:
                reactor.stop()
            else:
                due = time.monotonic() + delay
                reactor.callLater(delay, go_off)

        reactor.callWhenRunning(go_off)
        reactor.run(installSignalHandlers=False)
    return lateness


def of_timerfd(delay: float, samples: int) -> list[float]:
    """Return the same for a timerfd that is waited for in read(2)."""
    alarm = Alarm()
    os.set_blocking(alarm.fileno(), True)
    lateness = []
    for _ in range(samples):
        due = time.monotonic() + delay
        alarm.set_off(delay)
        os.read(alarm.fileno(), 8)
        lateness.append(time.monotonic() - due)
    return lateness


def main() -> None:
    """Measure, and print p50 and p99 of each round and of all."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--delay", type=float, default=100, help="microseconds (%(default)s)")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--samples", type=int, default=2000, help="timers in each round")
    given: Any = options.parse_args()
    delay = given.delay / 1e6
    kinds: dict[str, Callable[[], list[float]]] = {
        "timerfd": lambda: of_timerfd(delay, given.samples),
        **{kind: functools.partial(of_reactor, kind, delay, given.samples) for kind in KINDS},
    }
    rounds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    print(f"late after {given.delay:,.0f} us, in us: p50/p99")
    print("  ".join(f"{kind:>15}" for kind in kinds))
    for _ in range(given.rounds):
        for kind, measure in kinds.items():
            percentiles = statistics.quantiles(measure(), n=100)
            rounds[kind].append((percentiles[49] * 1e6, percentiles[98] * 1e6))
        print("  ".join(f"{p50:7,.0f}/{p99:7,.0f}" for p50, p99 in (rounds[kind][-1] for kind in kinds)))
    medians = ([statistics.median(column) for column in zip(*rounds[kind], strict=True)] for kind in kinds)
    print("  ".join(f"{p50:7,.0f}/{p99:7,.0f}" for p50, p99 in medians), " medians")


if __name__ == "__main__":
    main()
