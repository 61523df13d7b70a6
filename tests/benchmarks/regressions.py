"""How often `bench --baseline` raises a false alarm, and how often it finds a tenth more delay.

    python -m tests.benchmarks.regressions [PAIRS]

A pair is a run and another one, of the same thing or of a server that keeps every message for a tenth longer;
each is a `netecho bench` against a server in a process of its own. A pair of each takes 20 s. What comes of
it without chance is in `tests/test_measure_comparison.py`, with many more pairs of made-up runs.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DELAY_MS = 10.0
MORE = 1.1
PAIRS = 20
WORDS = ("-q", "500", "-c", "16", "-z", "5s", "--quiet")
GATE = ("--fail-on-regression", "5%")


def serve(delay_s: float) -> None:
    """Echo every message after a delay, and say first on which port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_echo, args=(connection, delay_s), daemon=True).start()


def _echo(connection: socket.socket, delay_s: float) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(64):
            time.sleep(delay_s)
            connection.sendall(data)


@contextlib.contextmanager
def serving(delay_ms: float) -> Iterator[str]:
    """Run such a server beside the block; gives its URL."""
    command = [sys.executable, "-m", "tests.benchmarks.regressions", "serve", str(delay_ms / 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"tcp://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def bench(url: str, *words: str) -> int:
    """Make a run; return its exit status."""
    command = [sys.executable, "-m", "netecho", "bench", url, *WORDS, *words]
    return subprocess.run(command, stdout=subprocess.DEVNULL, cwd=ROOT, check=False).returncode


def change_of(path: pathlib.Path) -> str:
    """Return what a comparison says of the median."""
    changes = json.loads(path.read_text())["comparison"]["changes"]
    for one in changes:
        if one["metric"] == "p50":
            low, ratio, high = (100 * (one[key] - 1) for key in ("low", "ratio", "high"))
            return f"p50 {ratio:+.1f}% ({low:+.1f}% to {high:+.1f}%)"
    return "p50 not compared"


def main(pairs: int = PAIRS) -> None:
    """Make the pairs, and print what came of each, and of all."""
    alarms = found = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(DELAY_MS) as same,
        serving(DELAY_MS * MORE) as slow,
    ):
        old, new = pathlib.Path(directory, "old.json"), pathlib.Path(directory, "new.json")
        for number in range(1, pairs + 1):
            bench(same, "--json", str(old))
            alarm = bench(same, "--json", str(new), "--baseline", str(old), *GATE)
            words = [f"{number:3}  the same: {alarm:2}, {change_of(new)}"]
            caught = bench(slow, "--json", str(new), "--baseline", str(old), *GATE)
            words.append(f"a tenth more: {caught:2}, {change_of(new)}")
            print("; ".join(words), flush=True)
            alarms += alarm == 99
            found += caught == 99
    print(f"{pairs} pairs: {alarms} false alarms, {found} of {pairs} regressions found")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(float(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:2]))
