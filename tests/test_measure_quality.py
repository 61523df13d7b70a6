"""The rules that decide whether a result can be trusted, from recorded cases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho.measure.counts import Counts
from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.oneway import Offset
from netecho.measure.quality import Observed, judge
from netecho.measure.reflected import Reflected
from netecho.measure.sending import Sending
from netecho.measure.stalls import Stalls
from netecho.plans import SECOND, Mode
from tests import samples

GOOD = Observed(
    counts=Counts(sent=10, completed=10),
    closed_loop=False,
    verified=True,
    cpu_share=0.5,
    connections_requested=2,
    connections_opened=2,
)
STALLED = Stalls(3, 500_000_000, 400_000_000, 20 * SECOND)


def test_a_good_run_needs_no_remark() -> None:
    """Nothing to say is said by nothing."""
    judgement = judge(GOOD)
    assert judgement.trustworthy
    assert judgement.caveats == ()


@pytest.mark.parametrize(
    ("change", "trustworthy", "words"),
    [
        ({"counts": Counts(sent=10, lost=10)}, False, "no echo came back"),
        ({"cpu_share": 0.95}, False, "95% of a processor"),
        ({"cpu_share": None}, True, None),
        ({"connections_opened": 1}, False, "only 1 of 2 connections"),
        (
            {"connections_opened": 1_242, "connections_requested": 5_000},
            False,
            "only 1,242 of 5,000 connections opened",
        ),
        ({"closed_loop": True}, True, "closed loop"),
        ({"verified": False}, True, "--verify none"),
        ({"unnumbered": True}, True, "carry no number"),
        ({"interrupted": True}, True, "results so far"),
        ({"asked": 10}, True, None),
        ({"asked": 20_000}, False, "ended after 10 of 20,000 exchanges"),
        ({"told_apart": 8}, True, None),
        ({"told_apart": 8, "counts": Counts(sent=10, completed=9, lost=1)}, False, "tell 8 exchanges apart"),
        ({"told_apart": 8, "counts": Counts(10, 10, duplicated=1)}, False, "tell 8 exchanges apart"),
        ({"told_apart": 8, "counts": Counts(10, 10, late=1)}, False, "tell 8 exchanges apart"),
        ({"told_apart": 10, "counts": Counts(sent=10, completed=9, lost=1)}, True, None),
        ({"steal_share": 0.035}, True, "kept 3.5% of the processors' time from it (steal)"),
        ({"steal_share": 0.005}, True, None),
        ({"stalls": STALLED}, True, "stood still 3 times (stopped, or kept from its"),
        ({"stalls": STALLED, "response": Histogram.of([1_600_000_001])}, True, None),
        ({"stalls": dataclasses.replace(STALLED, watched_ns=8 * SECOND)}, False, "400 ms and 6% of the time"),
        ({"stalls": Stalls(watched_ns=SECOND)}, True, None),
        ({"no_port": 7}, False, "7 connections found no local port free"),
        ({"no_file": 7}, False, "7 connections could not be opened as this client has too many open files"),
        ({"mode": Mode.CONNECT, "connections_opened": 1, "verified": False}, True, None),
        ({"mode": Mode.CONNECT, "closed_loop": True}, True, "closed loop: a connection waits"),
        ({"mode": Mode.HANDSHAKE, "counts": Counts(sent=1, lost=1)}, False, "not one connection could be"),
    ],
)
def test_each_rule(change: dict[str, object], trustworthy: bool, words: str | None) -> None:
    """Each departure from a good run has its own words, and some cost it its trust."""
    judgement = judge(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert judgement.trustworthy is trustworthy
    if words is None:
        assert judgement.caveats == ()
    else:
        assert len(judgement.caveats) == 1
        assert words in judgement.caveats[0]


def open_loop(
    *,
    due: int = 100_000,
    sent: int | None = None,
    took_s: float = 10,
    held_back: HeldBack = HeldBack(),  # noqa: B008 - it is frozen
    response_ns: int = 200_000,
    service_ns: int = 180_000,
    late_ns: tuple[int, int] = (20_000, 60_000),
    **changes: Any,
) -> Observed:
    """Return what was observed of 10 s at 10,000/s: medians, and lateness at p50 and p99."""
    sent = due - held_back.unsent if sent is None else sent
    return dataclasses.replace(
        GOOD,
        **{
            "counts": Counts(sent, sent),
            "sending": Sending(due, sent, 10 * SECOND, int(took_s * SECOND), held_back),
            "response": samples.latencies(1000, response_ns),
            "service": samples.latencies(1000, service_ns),
            "lateness": Histogram.of([late_ns[0]] * 900 + [late_ns[1]] * 100),
            "connections_requested": 10,
            "connections_opened": 10,
            "cpus": 4,
            **changes,
        },
    )


def crowd(*cpu_shares: float, embedded: bool = False) -> Observed:
    """Return what was observed of these workers in a closed loop on 2 processors."""
    return dataclasses.replace(
        GOOD,
        closed_loop=True,
        cpu_share=max(cpu_shares),
        workers=len(cpu_shares),
        cpu_total=sum(cpu_shares),
        cpus=2,
        embedded=embedded,
    )


MS = SECOND // 1000
RECORDED: dict[str, tuple[Observed, bool, list[tuple[str, ...]]]] = {
    # name: what was observed, whether it is to be trusted, and the words of each caveat
    "an idle machine keeps to 10,000/s": (open_loop(), True, []),
    "the client stood still for a second": (
        open_loop(late_ns=(30_000, 900 * MS), response_ns=400_000, cpu_share=0.3),
        False,
        [("late by 900 ms at p99", "did not keep to its schedule", "use --workers 2, or a lower rate (-q)")],
    ),
    "the client stood still for a second of 5, and then held back what it had missed": (
        open_loop(
            late_ns=(96_700, 955 * MS),
            held_back=HeldBack(21_840, 0, 1000 * MS),
            response_ns=400 * MS,
            cpu_share=0.3,
        ),
        False,
        [
            ("late by 955 ms at p99", "did not keep to its schedule"),
            ("service time (p99 387 µs) from when it left: 21,840 exchanges had to wait, up to 1.00 s, and",),
        ],
    ),
    "a timer that is late by a third of a loopback round trip": (
        open_loop(late_ns=(60_000, 150_000), response_ns=150_000, service_ns=80_000),
        True,
        [("late by 150 µs at p99, of a response time of 323 µs", "service times are without it")],
    ),
    "the client could not send so much": (
        open_loop(sent=100_000, took_s=12.5, cpu_share=0.99),
        False,
        [("99% of a processor", "--workers 2"), ("8.00k/s of the 10.0k/s", "too slow", "--workers 2")],
    ),
    "all workers are busy on all processors": (
        open_loop(cpu_share=0.97, workers=4),
        False,
        [("97% of a processor", "own; use a lower rate (-q)")],
    ),
    "three workers of four processors": (
        open_loop(cpu_share=0.97, workers=3),
        False,
        [("97% of a processor", "use --workers 4, or a lower rate")],
    ),
    "8 workers on the 2 processors that they have to themselves": (
        crowd(0.2155, 0.22, 0.22, 0.221, 0.222, 0.222, 0.223, 0.224),
        False,
        [
            (
                "8 workers together used 88% of 2 processors: they waited for each other",
                "partly their own; use fewer connections (-c) for latency",
            ),
            ("closed loop",),
        ],
    ),
    "8 workers on 2 processors, of which a server of its own has one": (
        crowd(0.11, 0.115, 0.1162, 0.1262, 0.1303, 0.1343, 0.1389, 0.1397, embedded=True),
        False,
        [("101% of 1 processor, as the server of its own has another: they",), ("closed loop",)],
    ),
    "8 workers that are idle most of the time": (
        crowd(*[0.18] * 8),
        True,
        [("closed loop",)],
    ),
    "a client that has one of 2 processors, and a server of its own the other": (
        crowd(0.94, embedded=True),
        False,
        [("94% of a processor", "partly its own; use fewer connections (-c) for latency"), ("closed loop",)],
    ),
    "2 workers with a processor each": (crowd(0.85, 0.86), True, [("closed loop",)]),
    "2 workers that share a processor, one of them busy": (
        crowd(0.91, 0.2, embedded=True),
        False,
        [("this client used 91% of a processor",), ("closed loop",)],
    ),
    "the only processor is the server's too": (
        dataclasses.replace(crowd(0.5), cpus=1, embedded=True),
        True,
        [("closed loop",)],
    ),
    "processors that nobody has counted": (
        dataclasses.replace(crowd(0.5, 0.5), cpus=None),
        True,
        [("closed loop",)],
    ),
    "500 connections in a closed loop on one processor": (
        dataclasses.replace(
            GOOD, closed_loop=True, cpu_share=0.99, connections_requested=500, connections_opened=500, cpus=2
        ),
        False,
        [("99% of a processor", "use --workers 2, or fewer connections (-c) for latency"), ("closed loop",)],
    ),
    "the server stood still for a second of 20": (
        open_loop(held_back=HeldBack(990, 0, 1000 * MS), response_ns=200_000, service_ns=180_000),
        True,
        [],
    ),
    "the server stood still for a second of 20, and it shows": (
        open_loop(held_back=HeldBack(990, 0, 1000 * MS), response_ns=20 * MS, service_ns=180_000),
        True,
        [
            (
                "response time (p99 43.0 ms)",
                "service time (p99 387 µs)",
                "990 exchanges had to wait",
                "up to 1.00 s",
                "hides",
            )
        ],
    ),
    "ten connections for 10,000/s at 5 ms": (
        open_loop(
            held_back=HeldBack(99_000, 70_000, 7 * SECOND),
            response_ns=3 * SECOND,
            service_ns=5 * MS,
            took_s=10,
        ),
        False,
        [
            (
                "70,000 exchanges that were due never left",
                "in no percentile",
                "takes 53 connections",
            ),
            ("hides that",),
            ("99,000 exchanges (99.0% of those due) found no connection free", "53 connections (-c) or"),
        ],
    ),
    "a server that is slower than the rate, and connections in plenty": (
        open_loop(
            held_back=HeldBack(50_000, 50, SECOND), connections_opened=10_000, connections_requested=10_000
        ),
        True,
        [("50,000 exchanges (50.0% of those due)", "use more connections (-c) or a lower rate (-q)")],
    ),
    "not one echo at a rate": (
        open_loop(
            sent=10,
            counts=Counts(10, 0, 10),
            held_back=HeldBack(99_990, 99_990, 10 * SECOND),
            response=None,
            service=Histogram(),
        ),
        False,
        [
            ("no echo came back",),
            ("99,990 exchanges that were due never left", "use more connections"),
            ("found no connection free",),
        ],
    ),
    "one of two workers was killed": (
        open_loop(workers=2, workers_died=1),
        False,
        [("1 of 2 workers died", "missing")],
    ),
    "an interrupted run": (open_loop(interrupted=True), True, [("results so far",)]),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_cases(name: str) -> None:
    """What was observed in a run, what is made of it, and the words for it."""
    observed, trustworthy, words = RECORDED[name]
    judgement = judge(observed)
    assert judgement.trustworthy is trustworthy
    assert len(judgement.caveats) == len(words)
    for caveat, parts in zip(judgement.caveats, words, strict=True):
        for part in parts:
            assert part in caveat


def test_reasons_for_distrust_come_first() -> None:
    """What spoils a result is read before what qualifies it."""
    judgement = judge(dataclasses.replace(GOOD, closed_loop=True, cpu_share=1.0))
    assert "processor" in judgement.caveats[0]
    assert "closed loop" in judgement.caveats[1]


def test_a_reflector() -> None:
    """What its times rest on is said, and spoils nothing."""
    reflected = Reflected(Losses(), Offset(5, 2), False, None, 0, {64: 10})
    judgement = judge(dataclasses.replace(GOOD, reflected=reflected))
    assert judgement.trustworthy
    assert judgement.caveats == tuple(reflected.remarks())
    assert len(judgement.caveats) == 1


def test_untold() -> None:
    """Answers that do not say what was received are remarked on, unless nobody wanted to compare."""
    counts = Counts(sent=10, completed=10, untold=3)
    judgement = judge(dataclasses.replace(GOOD, counts=counts))
    assert judgement.trustworthy
    assert any(caveat.startswith("3 answers did not say") for caveat in judgement.caveats)
    unverified = judge(dataclasses.replace(GOOD, counts=counts, verified=False))
    assert not any("did not say" in caveat for caveat in unverified.caveats)
