"""Made-up results, for the tests of what shows and reads them."""

from __future__ import annotations

import base64
import dataclasses
import functools
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from netecho.measure.counts import Connections, Counts
from netecho.measure.histogram import HIGHEST_NS, Histogram
from netecho.measure.intervals import IntervalSummary
from netecho.measure.segments import Segment
from netecho.measure.summary import Summary
from netecho.plans import SECOND, BenchPlan, ProbePlan, Target

STARTED = "2026-03-01T12:00:00.123456+00:00"
SYSTEM = {
    "host": "example",
    "os": "Linux 6.1",
    "python": "3.11.7",
    "twisted": "26.10.0",
    "cpus": 4,
    "reactor": "EPollReactor",
}
CLOSED_LOOP = (
    "closed loop: an exchange waits for the one before it, so a stall delays few samples and percentiles "
    "understate what users on a schedule would see"
)


@functools.cache
def latencies(count: int, median_ns: int = 1_000_000, spread: float = 0.35) -> Histogram:
    """Return a distribution with a tail, the same each time; not to be changed."""
    rng = random.Random(1)  # noqa: S311
    return Histogram.of([int(median_ns * rng.lognormvariate(0, spread)) for _ in range(count)])


def bench(**changes: Any) -> Summary:
    """Return the result of a load test that went well, with `changes`."""
    response = latencies(20_000)
    summary = Summary(
        command="bench",
        started=STARTED,
        elapsed_ns=10 * SECOND,
        interrupted=False,
        system=SYSTEM,
        plan=BenchPlan(Target(port=40213), embedded=True, connections=500).to_json(),
        connections=Connections(requested=500, opened=500, failed=0),
        counts=Counts(sent=451_234, completed=451_234, bytes_sent=28_878_976, bytes_received=28_878_976),
        errors={},
        latencies={
            "response": response,
            "service": response,
            "connect": latencies(500, 240_000),
        },
        intervals=tuple(
            IntervalSummary(
                second * SECOND,
                SECOND,
                45_000 + 900 * (second % 3),
                0,
                {"p50": 1_000_000, "p99": 2_300_000, "max": 4_000_000},
            )
            for second in range(10)
        ),
        cpu_share=0.43,
        caveats=(CLOSED_LOOP,),
    )
    return dataclasses.replace(summary, **changes)


def troubled() -> Summary:
    """Return the result of a load test in which everything happened."""
    response = Histogram()
    response.add(latencies(20_000))
    response.add(Histogram.of([5_000_000_000] * 3))
    return bench(
        interrupted=True,
        plan=BenchPlan(
            Target("tls", "tcp", True, "2001:db8::7", 8443), connections=500, pipeline=4, warmup_ns=SECOND
        ).to_json(),
        connections=Connections(requested=500, opened=480, failed=20, lost=7, reopened=6),
        counts=Counts(451_234, 451_190, 40, 3, 2, 11, 1, 28_878_976, 28_000_000),
        errors={"timeout": 33, "lost": 7, "refused": 20},
        latencies={
            "response": response,
            "service": latencies(20_000, 900_000),
            "connect": latencies(480, 240_000),
            "handshake": latencies(480, 2_400_000),
        },
        warmup=Counts(sent=44_000, completed=44_000),
        cpu_share=0.97,
        trustworthy=False,
        caveats=("only 480 of 500 connections opened", "interrupted: these are the results so far"),
        slo=({"expression": "p(99)<5ms", "observed": 2_300_000, "passed": True},),
        lateness={"p50": 1_000, "p99": 20_000, "max": 400_000},
    )


def probes(count: int = 5, **changes: Any) -> Summary:
    """Return the result of a series of probes, with `changes`."""
    response = latencies(count, 110_000, 0.1)
    summary = bench(
        command="client",
        elapsed_ns=(count - 1) * SECOND + 4_000_000,
        plan=ProbePlan(Target(host="localhost"), count=count).to_json(),
        connections=Connections(1, 1, 0),
        counts=Counts(sent=count, completed=count, bytes_sent=64 * count, bytes_received=64 * count),
        latencies={"response": response, "service": response, "connect": Histogram.of([250_000])},
        intervals=(),
        caveats=(),
    )
    return dataclasses.replace(summary, **changes)


def by_the_second(seconds: Sequence[Histogram], **changes: Any) -> Summary:
    """Return the result of a load test with these response times in each of its seconds."""
    response = Histogram.sum(seconds)
    counts = Counts(sent=response.count, completed=response.count)
    return bench(
        elapsed_ns=len(seconds) * SECOND,
        counts=counts,
        latencies={"response": response, "service": response},
        intervals=tuple(
            IntervalSummary(number * SECOND, SECOND, one.count, 0, None) for number, one in enumerate(seconds)
        ),
        segments=tuple(
            Segment(number * SECOND, SECOND, one) for number, one in enumerate(seconds) if one.count
        ),
        **changes,
    )


def encoded_histogram(counts: bytes) -> str:
    """Return a histogram of these counts, as they are on the wire, in the library's format."""
    header = struct.pack(">IIIIQQd", 0x1C849313, len(counts), 0, 3, 1, HIGHEST_NS, 1.0)
    compressed = zlib.compress(header + counts)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(compressed)) + compressed).decode()
