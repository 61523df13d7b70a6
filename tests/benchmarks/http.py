"""HTTP side by side, in one run: our server and twisted.web's under wrk, our bench, hey and ab on our server.

Run by hand as `python -m tests.benchmarks.http`, on a machine that does nothing else: the servers have the
first processor, and what loads them has the last. Each round puts each load on each server in turn, and
ratios are taken round by round.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Final

from tests.benchmarks.contestants import processor_clock
from tests.peers import need
from tests.servers import ROOT

ROUNDS: Final = 5
SECONDS: Final = 3
CONNECTIONS: Final = 50
SIZE: Final = 64
OURS, THEIRS = "netecho serve", "twisted.web"
SERVERS: Final = {
    OURS: ["netecho", "serve", "--json-stream", "http://127.0.0.1:0"],
    THEIRS: ["tests.benchmarks.http_twisted"],
}
FIRST, LAST = {0}, {(os.cpu_count() or 1) - 1}


@contextlib.contextmanager
def serving(module: list[str]) -> Iterator[tuple[str, int]]:
    """Run a server on the first processor; yield its URL, and the clock of what it takes of that."""
    with subprocess.Popen(
        [sys.executable, "-m", *module], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        try:
            os.sched_setaffinity(process.pid, FIRST)
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], processor_clock(process.pid)
        finally:
            process.kill()


def load(*words: str) -> tuple[str, float]:
    """Run a load on the last processor; return what it said, and its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, LAST),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wrk(url: str, *words: str) -> float:
    """Return the requests a second that a server answers."""
    said, _ = load(need("wrk"), "-t", "1", "-c", str(CONNECTIONS), "-d", str(SECONDS), *words, url)
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.search(r"Requests/sec: +([0-9.]+)", said)
    assert found is not None
    return float(found[1])


def ab(url: str, body: str) -> float:
    """Return the requests that ab makes in a second of its processor time."""
    words = ["-q", "-k", "-t", str(SECONDS), "-n", "10000000", "-c", str(CONNECTIONS)]
    said, seconds = load(need("ab"), *words, "-p", body, "-T", "text/plain", f"{url}/")
    found = re.search(r"Complete requests: +([0-9]+)\nFailed requests: +0\n", said)
    assert found is not None, said
    return int(found[1]) / seconds


def hey(url: str, body: str) -> float:
    """Return the requests that hey makes in a second of its processor time."""
    words = ["-z", f"{SECONDS}s", "-c", str(CONNECTIONS), "-cpus", "1", "-m", "POST"]
    said, seconds = load(need("hey"), *words, "-D", body, "-T", "text/plain", f"{url}/")
    found = re.search(r"Status code distribution:\s+\[200\]\s+([0-9]+) responses\s*\Z", said)
    assert found is not None, said
    return int(found[1]) / seconds


def bench(url: str, *words: str) -> float:
    """Return the exchanges that `netecho bench` makes in a second of its processor time."""
    command = [sys.executable, "-m", "netecho", "bench", url, "-c", str(CONNECTIONS), "-l", str(SIZE)]
    said, _ = load(*command, "-z", str(SECONDS), "--warmup", "500ms", "--quiet", "--json", "-", *words)
    result = json.loads(said)
    share: float = result["instrument"]["cpu_share"]
    rate: float = result["throughput"]["exchanges_per_s"]
    assert not result["exchanges"]["errors"]
    return rate / share


def both_ends(url: str, clock: int, *words: str) -> tuple[float, float]:
    """Return what `netecho bench` does in a second of its server's processor time, and in one of its own."""
    command = [sys.executable, "-m", "netecho", "bench", url, "-c", str(CONNECTIONS), "-z", f"{SECONDS}s"]
    before = time.clock_gettime_ns(clock)
    said, _ = load(*command, "--quiet", "--json", "-", *words)
    spent = time.clock_gettime_ns(clock) - before
    result = json.loads(said)
    assert not result["exchanges"]["errors"]
    served: float = result["exchanges"]["completed"] * 1e9 / spent
    client: float = result["throughput"]["exchanges_per_s"] / result["instrument"]["cpu_share"]
    return served, client


def show(title: str, rows: dict[str, list[float]], base: str) -> None:
    """Print medians, and their ratios to those of a base, round by round."""
    print(f"\n{title}")
    for name, values in rows.items():
        ratio = statistics.median(one / other for one, other in zip(values, rows[base], strict=True))
        print(f"  {name:28} {statistics.median(values):12,.0f} {ratio:6.2f}")


def main() -> None:
    """Measure, and print."""
    echo: dict[str, list[float]] = {name: [] for name in SERVERS}
    get: dict[str, list[float]] = {name: [] for name in SERVERS}
    ours, unverified = "netecho bench", "netecho bench --verify none"
    clients: dict[str, list[float]] = {name: [] for name in ("ab", "hey", ours, unverified)}
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        body, script = directory / "body", directory / "post.lua"
        body.write_bytes(b"x" * SIZE)
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {SIZE})\n')
        urls = {name: stack.enter_context(serving(words))[0] for name, words in SERVERS.items()}
        for _ in range(ROUNDS):
            for name, url in urls.items():
                echo[name].append(wrk(url, "-s", str(script)))
                get[name].append(wrk(url))
            clients["ab"].append(ab(urls[OURS], str(body)))
            clients["hey"].append(hey(urls[OURS], str(body)))
            clients[ours].append(bench(urls[OURS]))
            clients[unverified].append(bench(urls[OURS], "--verify", "none"))
    show(f"wrk -c {CONNECTIONS}, POST of {SIZE} bytes: requests a second", echo, THEIRS)
    show(f"wrk -c {CONNECTIONS}, GET /: requests a second", get, THEIRS)
    show("On netecho serve: exchanges in a second of the client's processor time", clients, "ab")


if __name__ == "__main__":
    main()
