"""The one place where a reactor is chosen, installed, imported and run.

`run` is `twisted.internet.task.react` for a command: it runs an async function until it has an exit
status. The first Ctrl-C, SIGTERM or SIGHUP asks that function to come to an end, the second ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

import netecho.reactor
from netecho.errors import ExitStatus, NetechoError, UsageError, UserInterruptError, is_debugging
from netecho.plans import SECOND, ReactorName

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""A terminal that is closed sends SIGHUP; Windows has none."""
REPEAT: Final = 0.1
"""Seconds in which a second signal is the first one's twin: `timeout` tells us, and then our whole group."""
_MODEST_DESCRIPTOR_LIMIT: Final = 10_240
"""macOS's OPEN_MAX."""
_FD_SETSIZE: Final = 1024
"""`select` knows of no descriptor with this number or a higher one, and Twisted cuts its connection."""

BUSY_POLL_NS: Final = 50_000
"""For how long to look for events before sleeping: most peers wake and answer in less. It is what Linux's
documentation has for network cards (net.core.busy_poll)."""

_OF_CANCELLING: Final = CancelledError, NetechoError, OSError, ConnectError, ConnectionClosed
"""What a command may make of it that it is cancelled: to whoever connects, it is an attempt that failed."""

_SYSTEM_CALLS: Final = {
    ReactorName.FAST: "epoll",
    ReactorName.EPOLL: "epoll",
    ReactorName.POLL: "poll",
    ReactorName.SELECT: "select",
    ReactorName.ASYNCIO: "select",
}
"""What each reactor waits with, at the least; Python's `select` has those that the system has."""


def available() -> tuple[ReactorName, ...]:
    """Return the reactors that this system can run."""
    return tuple(name for name, call in _SYSTEM_CALLS.items() if hasattr(select, call))


def busy_poll_of(name: ReactorName | None, asked_ns: int | None) -> int:
    """Return for how long a reactor waits awake before it sleeps, in nanoseconds.

    Args:
        name: the reactor; `None`: the default of `install`.
        asked_ns: what the user has asked for; `None`: nothing, which is `BUSY_POLL_NS` if it can.

    Raises:
        UsageError: it cannot.
    """
    is_meant, is_there = name in (None, ReactorName.FAST), ReactorName.FAST in available()
    if is_meant and is_there:
        return BUSY_POLL_NS if asked_ns is None else asked_ns
    if asked_ns:
        why = "this system has no epoll" if is_meant else f"the {name} one has none"
        raise UsageError(f"--busy-poll is of the fast reactor: {why}")
    return 0


def install(name: ReactorName | None = None, busy_poll_ns: int = 0) -> None:
    """Install the reactor that `run` runs: if `None`, the fast one, or Twisted's default without epoll.

    A command does so before it loads a protocol: there are parts of Twisted that import the reactor
    when they are imported themselves, and so would install its default.

    Args:
        name: the reactor.
        busy_poll_ns: for how long the fast one waits awake before it sleeps.

    Raises:
        UsageError: this system has no such reactor.
        ReactorAlreadyInstalledError: there is one already.
    """
    if name is not None and name not in available():
        raise UsageError(f"this system has no {name} reactor: --reactor takes {', '.join(available())}")
    if name is None or name is ReactorName.FAST:
        netecho.reactor.install(busy_poll=busy_poll_ns / SECOND)
    elif name is ReactorName.ASYNCIO:
        from twisted.internet import asyncioreactor

        # Not the default loop, which on Windows is one that has no readers and writers.
        asyncioreactor.install(asyncio.SelectorEventLoop())
    else:
        importlib.import_module(f"twisted.internet.{name}reactor").install()


class Signals:
    """What a command does when it is told to end, by Ctrl-C or SIGTERM."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        """The first one, if any came."""
        self.has_cancelled = False
        """Whether one has cancelled the command."""
        self._on_first: Callable[[signal.Signals], None] | None = None

    def on_first(self, callback: Callable[[signal.Signals], None] | None) -> None:
        """Have the first signal call `callback` in the reactor, which asks for an end in order.

        Without one, and at the second signal, the command is cancelled: whatever it awaits fails with
        `CancelledError`, so that its `finally` clauses run, and nothing is waited for.
        """
        self._on_first = callback

    def arrived(self, number: int) -> bool:
        """Note a signal; return whether the command was asked to end in order, or is to be cancelled."""
        first = self.received is None
        if first:
            self.received = signal.Signals(number)
        if not first or self._on_first is None:
            self.has_cancelled = True
            return False
        self._on_first(signal.Signals(number))
        return True


def run(main: Callable[[Any, Signals], Awaitable[int]]) -> int:
    """Run `main` with the reactor, and the signals that it may react to; return its exit status.

    If no reactor is installed yet, it is the default of `install`. When nobody reads any more what it writes,
    it has failed.

    Raises:
        UserInterruptError: it was interrupted and had not asked to end in order, or was told twice.
        Exception: whatever `main` raised, as it was.
    """
    try:
        return _run(main)
    except KeyboardInterrupt:
        raise UserInterruptError("interrupted") from None
    except BrokenPipeError:  # which Typer would take for the end of somebody's reading --help
        return ExitStatus.FAILED


def _run(main: Callable[[Any, Signals], Awaitable[int]]) -> int:
    _direct_log()
    _keep_descriptors_from_children()
    if "twisted.internet.reactor" not in sys.modules:
        install()
    from twisted.internet import reactor as default_reactor

    reactor: Any = default_reactor
    _set_descriptor_limit(reactor)
    reactor.seconds = time.monotonic  # so that no timer moves when the wall clock is set (twisted#2424)
    signals = Signals()
    results: list[int | Failure] = []

    async def command() -> int:
        return await main(reactor, signals)

    def ended(result: int | Failure) -> None:
        results.append(result)
        if len(results) == 1:
            # What the last callbacks have queued, such as the closing of a socket, is still done.
            reactor.callLater(0, reactor.stop)

    def start() -> None:
        def told_to_end(number: int) -> None:
            if not results and not signals.arrived(number):
                deferred.cancel()
                if not results:  # it is still busy, in a `finally` clause perhaps
                    ended(Failure(CancelledError()))

        # Before the command begins: it may at once say something that somebody answers with a signal.
        _catch_signals(caught, lambda number: reactor.callFromThread(told_to_end, number))
        _let_threads_be(reactor)
        deferred = Deferred.fromCoroutine(command())
        deferred.addBoth(ended)

    _collect_garbage()
    with _signals_of_ours() as caught:
        reactor.callWhenRunning(start)
        reactor.run()
    if not results:  # the reactor took a signal itself, before it ran
        raise UserInterruptError("interrupted")
    return _exit_status(results, signals)


def _exit_status(results: list[int | Failure], signals: Signals) -> int:
    """Return what a command ended with: the first of its results, or a defect that came after it."""
    for result in results:
        if isinstance(result, Failure) and not (signals.has_cancelled and result.check(*_OF_CANCELLING)):
            result.raiseException()
    if isinstance(results[0], Failure):
        raise UserInterruptError("interrupted")
    return int(results[0])


@contextlib.contextmanager
def _signals_of_ours() -> Iterator[list[int]]:
    """Give the signals that end a command, but for those that our parent had us ignore (as nohup does).

    Ctrl-C is not restored but ignored: a reactor runs once in a process, which now ends anyway, and whatever
    one more would interrupt in that could only end in a traceback.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield [number for number, disposition in before.items() if disposition is not signal.SIG_IGN]
    finally:
        for number, disposition in before.items():
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else disposition)


def _catch_signals(numbers: list[int], arrived: Callable[[int], None]) -> None:
    """Have each of `numbers` call `arrived`, in place of what Twisted installed at its start."""
    count = 0
    previous = -REPEAT

    def caught(number: int, _frame: object) -> None:
        nonlocal count, previous
        if (now := time.monotonic()) - previous < REPEAT:
            return
        previous = now
        count += 1
        if count == 2:  # a third one ends a process whose reactor has stopped turning
            signal.signal(number, signal.SIG_DFL)
        arrived(number)

    for number in numbers:
        signal.signal(number, caught)


def _let_threads_be(reactor: Any) -> None:
    """Wait for none of the reactor's threads at the end: one may be asking a name server that is down."""
    reactor.getThreadPool().threadFactory = functools.partial(threading.Thread, daemon=True)
    reactor.removeSystemEventTrigger(reactor.threadpoolShutdownID)


def _collect_garbage() -> None:
    """Have garbage looked for in what comes from here on, if none was while the program was loaded."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _direct_log() -> None:
    """Send Twisted's log to standard error when debugging, and else nowhere.

    What a person must know is said by the command itself, in a line.
    """
    debugging = is_debugging()
    observers: list[Any] = [textFileLogObserver(sys.stderr)] if debugging else []
    globalLogBeginner.beginLoggingTo(
        observers,
        redirectStandardIO=False,
        discardBuffer=not debugging,
    )


def _set_descriptor_limit(reactor: object) -> None:
    """Allow as many open files as the system lets us, and the reactor can watch: each connection is one."""
    if resource is None:
        return
    from twisted.internet.selectreactor import SelectReactor  # which loads what only a reactor needs

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if isinstance(reactor, SelectReactor) and not 0 <= hard <= _FD_SETSIZE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FD_SETSIZE, hard))
        return
    for limit in (hard, _MODEST_DESCRIPTOR_LIMIT):
        # macOS calls its hard limit infinite and then refuses that.
        with contextlib.suppress(ValueError, OSError):
            if soft == resource.RLIM_INFINITY or 0 <= limit <= soft:
                return
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def _keep_descriptors_from_children() -> None:
    """Have no child of ours inherit what we did, but for the standard streams.

    Twisted would tell the system to close it there, which is refused, and no child started, for a number
    above a limit that has been lowered since.
    """
    with contextlib.suppress(OSError):  # Windows has no such directory, and an odd container may not
        for number in map(int, os.listdir("/dev/fd")):
            if number > 2:
                with contextlib.suppress(OSError):  # the directory's own has been closed since
                    os.set_inheritable(number, False)
