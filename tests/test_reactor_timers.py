"""Delayed calls: in order, never early, without a busy loop, and deaf to the wall clock."""

from __future__ import annotations

import gc
import json
import math
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadable import isInIOThread

from netecho.reactor.timers import NEAR, Alarm
from tests.pairs import TCP, Listening, Recorder
from tests.peers import need
from tests.reactors import KINDS, TIMEOUT, fresh, run
from tests.servers import ROOT

on_both = pytest.mark.parametrize("kind", KINDS)
_RESOLUTION = 1e-6
"""Seconds that are more than a float can be wrong by which counts them from 1970."""


def rounded(timeout: float) -> int:
    """Return the milliseconds that Python makes of a timeout for epoll: it rounds up, twice."""
    fraction, seconds = math.modf(timeout)
    nanoseconds = int(seconds) * 10**9 + math.ceil(fraction * 1e9)
    return -(-nanoseconds // 10**6)


@given(st.floats(NEAR, 2_147_483, exclude_min=True))
def test_far_moment_is_left_to_epoll(seconds: float) -> None:
    """Until a moment is near, epoll waits: whole milliseconds, and such that it need not be late."""
    alarm = Alarm()
    alarm.set_off = pytest.fail  # type: ignore[assignment]
    left = seconds - rounded(alarm.timeout(seconds)) / 1000
    assert 0.0004 < left < NEAR + 1e-8  # and what floats leave out


@pytest.mark.parametrize("seconds", [1e-10, 1e-6, 0.0001, NEAR])
def test_near_moment_sets_the_alarm(seconds: float) -> None:
    """A near moment wakes whoever watches the descriptor: not before, and without anyone reading it."""
    alarm = Alarm()
    watching = select.epoll()
    watching.register(alarm.fileno(), select.EPOLLIN | select.EPOLLET)
    for _ in range(4):
        before = time.monotonic()
        assert alarm.timeout(seconds) == -1
        assert watching.poll(10) == [(alarm.fileno(), select.EPOLLIN)]
        assert time.monotonic() - before >= seconds
        assert watching.poll(0) == []


def test_alarm_is_set_once_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait again for the same moment costs no system call; a sooner one sets it, and so does the next."""
    clock, alarm, calls = task.Clock(), Alarm(), list[float]()
    monkeypatch.setattr(time, "monotonic", clock.seconds)
    alarm.set_off = calls.append
    clock.advance(5)
    for seconds, passing in [
        (0.001, 0.0005),
        (0.0005, 0.0001),
        (0.0002, 0.0001),
        (0.0003, 0.0002),
        (0.001, 0),
    ]:
        alarm.timeout(seconds)
        clock.advance(passing)
    assert calls == [1e-3, 2e-4, 1e-3]


def test_alarm_gives_its_descriptor_back() -> None:
    """A reactor that is forgotten leaves no timer open."""
    descriptors = []
    for _ in range(3):
        with fresh("fast") as reactor:
            assert reactor._alarm is not None
            descriptors.append(reactor._alarm.fileno())
        del reactor
        gc.collect()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_alarm_with_a_high_descriptor() -> None:
    """It does not matter how many descriptors were open before, nor which of them have been closed since."""
    taken = [os.dup(0) for _ in range(200)]
    for descriptor in taken[:3]:  # for epoll, and the reactor's waker
        os.close(descriptor)
    with fresh("fast") as reactor:
        fired: list[int] = []
        reactor.callLater(0.0005, fired.append, 1)
        while not fired:
            reactor.iterate(reactor.timeout())
        assert reactor._alarm.fileno() >= max(taken)
    for descriptor in taken[3:]:
        os.close(descriptor)


class Turned:
    """A reactor whose clock, and the rest of it, is turned by hand."""

    def __init__(self, reactor: Any) -> None:
        self._now = 0.0
        self.called: list[str] = []
        self.reactor = reactor
        reactor.seconds = lambda: self._now

    def call(self, delay: float, name: str) -> Any:
        """Ask for a call that is recorded by its name."""
        return self.reactor.callLater(delay, self.called.append, name)

    def at(self, now: float) -> list[str]:
        """Return what is called when it is so late, in a turn that does not wait."""
        self.called.clear()
        self._now = now
        self.reactor.iterate(0)
        return list(self.called)


@pytest.fixture(params=KINDS)
def turned(request: pytest.FixtureRequest) -> Iterator[Turned]:
    """Make each reactor in turn, with a clock that is turned by hand."""
    with fresh(request.param) as reactor:
        yield Turned(reactor)


def test_order(turned: Turned) -> None:
    """Calls come in the order of their times, whatever the order in which they are asked for; none early."""
    for delay in (*range(2, 40, 3), *range(1, 40, 3), *range(3, 40, 3)):
        turned.call(delay, str(delay))
    assert turned.at(0.999) == []
    assert turned.at(1) == ["1"]
    assert turned.at(3.5) == ["2", "3"]
    assert turned.at(39) == [str(delay) for delay in range(4, 40)]


def test_changes_of_mind(turned: Turned) -> None:
    """Calls may be cancelled, made later and made sooner, before the reactor has looked at them and after."""
    names = ["cancelled", "later", "reset later", "reset sooner", "sooner", "fixed"]
    for first in 0, 100:
        turned.at(first)
        calls = {name: turned.call(5 + number, name) for number, name in enumerate(names)}
        if first:
            assert turned.at(first) == []
        calls["cancelled"].cancel()
        calls["later"].delay(40)
        calls["reset later"].reset(20)
        calls["reset sooner"].reset(1)
        calls["sooner"].delay(-7)
        assert calls["later"].getTime() == first + 46
        assert turned.at(first + 1) == ["reset sooner"]
        assert turned.at(first + 2) == ["sooner"]
        assert turned.at(first + 19) == ["fixed"]
        assert turned.at(first + 20) == ["reset later"]
        assert turned.at(first + 45) == []
        assert turned.at(first + 46) == ["later"]
        with pytest.raises(AlreadyCancelled):
            calls["cancelled"].reset(0)
        with pytest.raises(AlreadyCalled):
            calls["fixed"].cancel()


def test_many(turned: Turned) -> None:
    """Ten thousand calls, most of them cancelled, cost none of the rest."""
    calls = [turned.call(1 + number, str(number)) for number in range(10_000)]
    turned.at(0)
    for number, call in enumerate(calls):
        if number % 7:
            call.cancel()
    assert turned.at(5_000) == [str(number) for number in range(0, 5_000, 7)]
    assert turned.at(20_000) == [str(number) for number in range(5_005, 10_000, 7)]
    assert turned.reactor.getDelayedCalls() == []


@on_both
def test_at_once_is_in_the_next_turn(kind: str) -> None:
    """`callLater(0)` calls in the next turn, after what was asked for before it, and lets events through."""

    async def scenario(reactor: Any) -> list[str]:
        called: list[str] = []

        def note(name: str) -> None:
            called.append(name)
            if name == "one":
                reactor.callLater(0, note, "three")
                reactor.callFromThread(note, "event")

        reactor.callLater(0, note, "one")
        reactor.callLater(0, note, "two")
        assert called == []
        while len(called) < 4:
            await task.deferLater(reactor, 0)
        return called

    called = run(kind, scenario)
    assert called[:2] == ["one", "two"]
    assert sorted(called[2:]) == ["event", "three"]


@on_both
def test_waiting_is_no_busy_loop(kind: str) -> None:
    """To wait for a timer takes a handful of turns of the reactor, however far it is."""

    async def scenario(reactor: Any) -> dict[float, int]:
        turns = 0
        await task.deferLater(reactor, 0)  # so that it runs before its turns are counted
        do_iteration = reactor.doIteration

        def count(delay: float | None) -> None:
            nonlocal turns
            turns += 1
            do_iteration(delay)

        reactor.doIteration = count
        found = {}
        for delay in 0.0001, 0.0014, 0.0016, 0.003, 0.009, 0.05, 0.1:
            before = turns
            await task.deferLater(reactor, delay)
            found[delay] = turns - before
        return found

    found = run(kind, scenario)
    assert all(turns <= 5 for turns in found.values()), found
    assert found[0.1] > 0


@on_both
def test_timers_while_traffic_flows(kind: str) -> None:
    """Neither waits for the other: timers go off in their order between the messages of a connection."""

    async def scenario(reactor: Any) -> tuple[int, list[tuple[float, float]]]:
        answer = {"data": lambda protocol: protocol.transport.write(b"x")}
        client, server = Recorder(answer), Recorder(answer)
        listening = Listening(reactor, TCP)
        listening.begin(client, server)
        while client.transport is None or server.transport is None:
            await task.deferLater(reactor, 0)
        client.transport.write(b"x")
        called: list[tuple[float, float]] = []
        delays = [number * 0.0004 for number in range(1, 101)]
        done: Deferred[None] = Deferred()

        def go_off(number: int, due: float) -> None:
            called.append((due, reactor.seconds()))
            if number < len(delays):
                reactor.callLater(0.0004, go_off, number + 1, reactor.seconds() + 0.0004)
            else:
                done.callback(None)

        go_off(0, reactor.seconds())
        await done
        return len(server.received), called

    messages, called = run(kind, scenario)
    assert messages >= 50, "one in every second turn at the least"
    assert all(due <= at for due, at in called)
    assert len(called) == 101


@on_both
def test_timer_behind_a_flood(kind: str) -> None:
    """A connection that always has more to read keeps no timer from going off."""

    async def scenario(reactor: Any) -> bool:
        server = Recorder({"data": lambda server: server.received.clear()})
        listening = Listening(reactor, TCP)
        listening.expect(server)
        ended = threading.Event()

        def flood() -> None:
            with socket.create_connection(listening.port.socket.getsockname()) as client:
                while not ended.is_set():
                    client.sendall(bytes(1 << 16))

        flooding = deferToThreadPool(reactor, reactor.getThreadPool(), flood)
        while "data" not in server.told:
            await task.deferLater(reactor, 0)
        for _ in range(20):
            await task.deferLater(reactor, 0.001)
        going_on = not flooding.called
        ended.set()
        await flooding
        return going_on

    assert run(kind, scenario)


@on_both
@pytest.mark.parametrize("delay", [0, 0.0005, 0.002])
@pytest.mark.parametrize("farther", [None, 0.001, 10])
def test_timer_set_from_a_thread(kind: str, delay: float, farther: float | None) -> None:
    """A thread may ask for a timer while the reactor waits, for another one or for nothing."""

    async def scenario(reactor: Any) -> bool:
        done: Deferred[bool] = Deferred()
        threading.Timer(
            0.0005, reactor.callFromThread, [reactor.callLater, delay, lambda: done.callback(isInIOThread())]
        ).start()
        other = None if farther is None else reactor.callLater(farther, lambda: None)
        in_reactor = await done
        if other is not None and other.active():
            other.cancel()
        return in_reactor

    assert run(kind, scenario)


@on_both
def test_turning_by_hand(kind: str) -> None:
    """`iterate` returns when its time is over, though a timer is far, and however often it is called."""
    with fresh(kind) as reactor:
        far = reactor.callLater(1000, pytest.fail)
        for delay in 0.0005, 0.001, 0.001, 0.002, 0.0005:
            before = time.monotonic()
            reactor.iterate(delay)
            assert time.monotonic() - before < 500
        far.cancel()


def test_time_counts_from_the_epoch() -> None:
    """`seconds` begins with what the wall clock says, and only goes on; calls are due by it."""
    before = time.time()
    with fresh("fast") as reactor:
        readings = [reactor.seconds() for _ in range(1000)]
        assert readings == sorted(readings)
        assert before - _RESOLUTION <= readings[0]
        assert readings[-1] <= time.time() + _RESOLUTION
        call = reactor.callLater(5, lambda: None)
        assert readings[-1] + 5 <= call.getTime() <= reactor.seconds() + 5
        call.cancel()


@on_both
def test_clock_of_a_program(kind: str) -> None:
    """A program may set another clock: calls are due by that one."""
    begun = time.monotonic()

    async def scenario(reactor: Any) -> float:
        reactor.seconds = lambda: begun + 1e6 + 10 * (time.monotonic() - begun)
        called: Deferred[None] = task.deferLater(reactor, 1.0)
        too_late = threading.Timer(TIMEOUT / 2, reactor.callFromThread, [called.cancel])
        too_late.start()
        try:
            await called
        finally:
            too_late.cancel()
        return time.monotonic() - begun

    assert run(kind, scenario, timeout=10 * TIMEOUT) >= 0.1


_JUMP = """
import json, sys, time

from netecho.reactor import install

reactor = install()
stamp, hours = sys.argv[1:]
begun, wall = time.monotonic(), time.time()
called, jumped = [], []

def note(due):
    called.append((due, time.monotonic() - begun))

def ask(delay):
    reactor.callLater(delay, note, time.monotonic() - begun + delay)

def jump():
    with open(stamp, "w") as file:
        file.write(f"{int(hours) * 3600:+d}")
    jumped.append(time.time() - wall)
    ask(0.0003)

for delay in (0.2, 0.02, 0.1):
    ask(delay)
reactor.callLater(0.01, jump)
reactor.callLater(0.3, reactor.stop)
reactor.run()
print(json.dumps({"jumped": jumped[0], "called": called}))
"""
"""A program whose wall clock is set while it waits for timers."""


@pytest.mark.parametrize("hours", [-1, 1])
def test_wall_clock_moves_no_timer(hours: int, tmp_path: Path) -> None:
    """The wall clock is set an hour back or forward while timers wait: none is early, and none is lost."""
    preload = subprocess.run(
        [need("faketime"), "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, check=True, text=True
    ).stdout.strip()
    stamp = tmp_path / "stamp"
    stamp.write_text("+0")
    done = subprocess.run(
        [sys.executable, "-c", _JUMP, str(stamp), str(hours)],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": preload,
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(stamp),
        },
    )
    assert done.stderr == b""
    told = json.loads(done.stdout)
    assert round(told["jumped"] / 3600) == hours, "the clock has been set"
    assert len(told["called"]) == 4
    assert told["called"] == sorted(told["called"])
    assert all(due <= at for due, at in told["called"])
