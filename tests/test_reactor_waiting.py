"""Waiting awake: when it is done, and above all when it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.reactor.waiting import ASLEEP_MOST, LOOK, BusyPoll

TAKES = 2.0**-20
"""Seconds that a look takes: about 1 us, of which floating point has sums exactly."""
MOMENT = 50 * TAKES
"""The moment of these tests."""
MOST = 42
EVENT = [(7, 1)]
SEVERAL = [(7, 1), (8, 1)]


class World:
    """Where events come at known times, to whoever polls."""

    def __init__(self) -> None:
        self.now = 0.0
        self.next = float("inf")
        """When the next event comes."""
        self.events = EVENT
        """What comes then."""
        self.polls: list[float | None] = []
        """How long each poll was to wait."""
        self.pauses: list[float] = []
        """For how long another process has the processor in the next polls."""
        self.slept = 0
        """How many were to."""

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def poll(self, timeout: float | None, most: int) -> list[Any]:
        """Wait as epoll does, which takes a moment even if it need not."""
        assert most == MOST
        self.polls.append(timeout)
        self.slept += timeout != 0
        self.now += TAKES + (self.pauses.pop(0) if self.pauses else 0.0)
        until = self.next if timeout is None else min(self.next, self.now + timeout)
        if until == float("inf"):
            return []  # a test has seen enough
        self.now = max(self.now, until)
        if self.next <= self.now:
            self.next = float("inf")
            return self.events
        return []

    def wait(self, busy: BusyPoll, gap: float, events: list[Any] = EVENT) -> bool:
        """Wait for what comes in `gap`; return whether that was done awake."""
        self.next, self.events = self.now + gap, events
        slept = self.slept
        assert busy.poll(None, MOST) == events
        return self.slept == slept


@pytest.fixture
def world() -> World:
    """Return a world in which nothing has happened."""
    return World()


@pytest.fixture
def busy(world: World) -> BusyPoll:
    """Return what is tested."""
    return BusyPoll(world.poll, MOMENT, world.clock)


def test_what_is_there_is_taken_at_once(world: World, busy: BusyPoll) -> None:
    """One look finds it."""
    for timeout in (None, 0, 0.5, -1):
        world.next = world.now
        assert busy.poll(timeout, MOST) == EVENT
    assert world.polls == [0, 0, 0, 0]


def test_who_does_not_wait_looks_once(world: World, busy: BusyPoll) -> None:
    """A turn that is not to wait does not."""
    assert busy.poll(0, MOST) == []
    assert world.polls == [0]


def test_what_comes_soon_is_waited_for_awake(world: World, busy: BusyPoll) -> None:
    """So a conversation in which each answers the other soon goes on without any sleep."""
    for _ in range(100):
        assert world.wait(busy, MOMENT / 2)
    assert busy.awake == world.now - 100 * TAKES  # the first look of each was no waiting


@pytest.mark.parametrize("timeout", [None, 10 * MOMENT, -1])
def test_then_it_sleeps(world: World, busy: BusyPoll, timeout: float | None) -> None:
    """It does so once, for what is left of the time, and the moment before is no longer than it was to be."""
    assert busy.poll(timeout, MOST) == []
    *looks, sleep = world.polls
    assert set(looks) == {0}
    assert busy.awake == MOMENT
    assert sleep == (9 * MOMENT if timeout == 10 * MOMENT else timeout)
    assert len(looks) == MOMENT / TAKES + 1


@pytest.mark.parametrize("timeout", [TAKES / 4, MOMENT / 2, MOMENT, 10 * MOMENT])
def test_it_is_never_late(world: World, busy: BusyPoll, timeout: float) -> None:
    """What is due when the time is over waits for no moment to end. (A look or two take as long as any.)"""
    begun = world.now
    assert busy.poll(timeout, MOST) == []
    assert world.now - begun <= timeout + 3 * TAKES


def test_what_another_took_was_not_waited_awake(world: World) -> None:
    """A look that takes very long is one in which another process had the processor."""
    busy = BusyPoll(world.poll, 1.0, world.clock)
    world.pauses = [0.0, LOOK, 0.0, 0.01, 0.0]
    assert busy.poll(5 * TAKES + LOOK + 0.01, MOST) == []
    assert busy.awake == 3 * TAKES


def test_in_vain_it_is_tried_ever_less(world: World, busy: BusyPoll) -> None:
    """What comes seldom is waited for asleep: the waits between two that are not grow to `ASLEEP_MOST`."""
    between, asleep = [], 0
    for _ in range(4 * ASLEEP_MOST):
        polls = len(world.polls)
        assert not world.wait(busy, 10 * MOMENT)
        if len(world.polls) - polls == 1:
            asleep += 1
        else:
            between.append(asleep)
            asleep = 0
    assert between[:5] == [0, 3, 15, 63, 255]
    assert set(between[5:]) == {ASLEEP_MOST}


def test_a_turn_that_does_not_wait_is_no_wait(world: World, busy: BusyPoll) -> None:
    """It is none of those that are asleep: a protocol may ask for such a turn after each event."""
    assert not world.wait(busy, 10 * MOMENT)
    for _ in range(3):
        assert busy.poll(0, MOST) == []
        polls = len(world.polls)
        assert not world.wait(busy, MOMENT / 2)
        assert len(world.polls) == polls + 1
    assert world.wait(busy, MOMENT / 2)


def test_it_learns_that_it_helps_again(world: World, busy: BusyPoll) -> None:
    """As soon as something comes soon, it is tried more and more, until each wait is awake."""
    for _ in range(10 * ASLEEP_MOST):
        world.wait(busy, 10 * MOMENT)
    waits = [world.wait(busy, MOMENT / 2) for _ in range(4 * ASLEEP_MOST)]
    assert waits.count(False) <= 3 * ASLEEP_MOST
    assert all(waits[-100:])


def test_several_at_a_time_are_waited_for_asleep(world: World, busy: BusyPoll) -> None:
    """When several events have come together the next wait is asleep, until one comes alone again."""
    assert world.wait(busy, MOMENT / 2)
    assert world.wait(busy, 0, SEVERAL)
    for _ in range(10):
        assert not world.wait(busy, MOMENT / 2, SEVERAL)
    assert not world.wait(busy, MOMENT / 2)
    assert world.wait(busy, MOMENT / 2)


@given(st.lists(st.booleans(), min_size=1, max_size=100), st.integers(1, 5))
def test_it_is_seldom_awake_in_vain(soon: list[bool], rounds: int) -> None:
    """However what comes soon and what does not follow each other, one of four waits is, at the most."""
    world = World()
    busy = BusyPoll(world.poll, MOMENT, world.clock)
    vain = asleep = 0
    for comes_soon in soon * rounds:
        polls = len(world.polls)
        if not world.wait(busy, MOMENT / 2 if comes_soon else 10 * MOMENT):
            vain += len(world.polls) - polls > 1
            asleep += len(world.polls) - polls == 1
    assert vain <= 1 + asleep / 3
