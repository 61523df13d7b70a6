"""When the instrument itself stood still."""

from __future__ import annotations

from netecho.measure.stalls import NOTABLE_NS, PERIOD_NS, Stalls, StallWatch

MS = 1_000_000


def test_on_time() -> None:
    """Who wakes when it was to, or little later, has not stood still."""
    watch = StallWatch(1000, 0)
    watch.woke(1000 + PERIOD_NS, 5)
    watch.woke(1000 + 2 * PERIOD_NS + NOTABLE_NS - 1, 5)
    assert watch.stalls(1000 + 3 * PERIOD_NS, 5) == Stalls(watched_ns=3 * PERIOD_NS)


def test_stood_still() -> None:
    """What it was away for is what it was late by, less the time that it used."""
    watch = StallWatch(0, 0)
    watch.woke(PERIOD_NS + 300 * MS, 40 * MS)
    watch.woke(2 * PERIOD_NS + 500 * MS, 40 * MS)
    assert watch.stalls(2 * PERIOD_NS + 500 * MS, 40 * MS) == Stalls(
        2, 460 * MS, 260 * MS, 2 * PERIOD_NS + 500 * MS
    )


def test_busy() -> None:
    """Time that it used is no time in which it stood still: it is in its share of a processor."""
    watch = StallWatch(0, 7 * MS)
    watch.woke(1000 * MS, 1007 * MS)
    assert watch.stalls(1000 * MS, 1007 * MS).count == 0


def test_a_wake_that_is_overdue() -> None:
    """It counts from where the time is, and is not counted twice when it comes."""
    watch = StallWatch(0, 0)
    assert watch.stalls(PERIOD_NS + 50 * MS, 0).total_ns == 50 * MS
    watch.woke(PERIOD_NS + 80 * MS, 0)
    assert watch.stalls(PERIOD_NS + 80 * MS, 0).total_ns == 80 * MS


def test_share() -> None:
    """It is of the time that was watched, if any was."""
    assert Stalls().share == 0
    assert Stalls(2, 30, 20, 300).share == 0.1
