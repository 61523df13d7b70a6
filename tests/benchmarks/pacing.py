"""How well `netecho bench` keeps to a rate, against `netecho serve` on a machine that does nothing else.

python -m tests.benchmarks.pacing [--rate RATE] [--seconds SECONDS] [--connections COUNT] [--rounds COUNT]
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from typing import Any, Final

from netecho.plans import Timer
from tests.servers import Server

SCHEMES: Final = ("tcp", "udp")
HEADER: Final = (
    "protocol",
    "timer",
    "due",
    "left a second",
    "off by",
    "late p50",
    "late p99",
    "held back",
    "ended after",
    "processor",
    "stolen",
)


def measure(url: str, timer: str, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """Return the result of a run."""
    words = ["-q", f"{rate:f}", "-z", f"{seconds:f}", "-c", str(connections), "--timer", timer]
    done = subprocess.run(
        [sys.executable, "-m", "netecho", "bench", url, *words, "--quiet", "--json", "-"],
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(scheme: str, result: dict[str, Any], rate: float, seconds: float) -> tuple[str, ...]:
    """Return what a result says of its pacing, in the columns of `HEADER`."""
    instrument = result["instrument"]
    late = instrument["lateness_ns"]
    return (
        scheme,
        result["plan"]["timer"],
        f"{instrument['due']:,}",
        f"{instrument['achieved_rate_per_s']:,.2f}",
        f"{100 * (instrument['achieved_rate_per_s'] / rate - 1):+.3f}%",
        f"{late['p50'] / 1000:,.0f} µs",
        f"{late['p99'] / 1000:,.0f} µs",
        f"{instrument['held_back']:,}",
        f"{(result['elapsed_ns'] / 1e9 - seconds) * 1000:+.2f} ms",
        f"{instrument['cpu_share']:.0%}",
        f"{instrument['steal_share']:.2%}",
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure each protocol and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    rows = [HEADER, tuple("---" for _ in HEADER)]
    with Server(*(f"{scheme}://127.0.0.1:0" for scheme in SCHEMES)) as server:
        for listener, timer in itertools.product(server.listeners, Timer):
            for _ in range(asked.rounds):
                result = measure(listener.url, timer, asked.rate, asked.seconds, asked.connections)
                rows.append(row(listener.scheme, result, asked.rate, asked.seconds))
    for cells in rows:
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
