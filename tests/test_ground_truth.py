"""What is measured of a server whose every delay is known: never less than the truth, nor much more."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Callable

from netecho.measure.histogram import Histogram
from tests.benches import bench, checked, running, serving
from tests.servers import Server

MS = 1_000_000
SCRIPT = (0, 0, 0, 20 * MS, 20 * MS, 20 * MS, 60 * MS, 60 * MS, 60 * MS, 200 * MS)
"""Nanoseconds that a server keeps each message, in turn."""
RESOLUTION = 1.001
"""By what factor a histogram may be off."""


def scripted(kept: list[int]) -> Callable[[socket.socket], None]:
    """Return a server that keeps each message for its time, and notes how long it really did."""
    turns = itertools.cycle(SCRIPT)
    pause = threading.Event()

    def talk(connection: socket.socket) -> None:
        while data := connection.recv(64):
            came = time.monotonic_ns()
            if delay := next(turns):
                pause.wait(delay / 1e9)
            kept.append(time.monotonic_ns() - came)
            connection.sendall(data)

    return talk


def test_percentiles_of_a_server_with_scripted_delays() -> None:
    """At every rank at least what the server kept; in the midst of each delay hardly more.

    An exchange takes as long as the server keeps it, and longer. How much longer is known of those that it
    does not keep at all, in the same run, and the instrument says how late it was itself.
    """
    kept: list[int] = []
    with serving(scripted(kept)) as url:
        result = bench(url, "-q", "200", "-c", "40", "-n", "600")
    truth = sorted(kept)
    service, response = (Histogram.decode(result["histograms"][name]) for name in ("service", "response"))
    assert len(truth) == service.count == 600
    for percentile in range(1, 101):
        true = truth[percentile * len(truth) // 100 - 1]
        assert service.at_percentile(percentile) >= true
        assert response.at_percentile(percentile) >= true
    overhead = service.at_percentile(27)  # of the three tenths that are not kept, nine tenths have less
    slack = overhead + result["instrument"]["lateness_ns"]["max"]
    for middle in (15, 45, 75, 95):
        true = truth[middle * len(truth) // 100 - 1]
        assert service.at_percentile(middle) <= true * RESOLUTION + slack


def test_a_server_that_stands_still() -> None:
    """All that was due meanwhile is late by as long as that took; service time hides it, which is said."""
    with Server("--port", "0") as server:
        words = (server.listener.url, "-q", "1000", "-c", "4", "-z", "3s", "--json", "-")
        with running(*words) as process:
            assert process.stderr is not None
            assert b"errors 0" in process.stderr.readline()
            server.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            try:
                process.stderr.readline()  # which comes a second later
            finally:
                server.process.send_signal(signal.SIGCONT)
            seconds = time.monotonic() - stopped
            out, _ = process.communicate()
            assert process.returncode == 0
    result = checked(json.loads(out))
    assert result["exchanges"]["completed"] == 3000
    response, service = (Histogram.decode(result["histograms"][name]) for name in ("response", "service"))
    late = sum(count for value, count in response.buckets() if value > 10 * MS)
    assert late >= 1000 * (seconds - 0.1)
    # Of three seconds one, in which times are evenly spread between all of it and nothing.
    assert response.at_percentile(99) > 0.9e9 * seconds
    assert response.at_percentile(90) > 0.5e9 * seconds
    assert service.at_percentile(99) < response.at_percentile(99) / 2
    [caveat] = [one for one in result["caveats"] if "service time alone hides that" in one]
    assert caveat.startswith("response time (p99 ")
    assert " had to wait for a connection, up to " in caveat
