"""Reactors for tests: ours beside Twisted's, new for each test, and none of them the global one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar
from unittest import mock

import twisted.internet
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python import log
from twisted.python.failure import Failure

from netecho.reactor.fast import FastReactor


class CrowdedReactor(FastReactor):
    """Ours, which does in each turn what it does in one with many events."""

    KEPT_FROM = 0


KINDS: Final[dict[str, type[EPollReactor]]] = {"fast": FastReactor, "epoll": EPollReactor}
"""The reactor under test, and the one that it must not be told from."""
STREAM_KINDS: Final[dict[str, type[EPollReactor]]] = {**KINDS, "crowded": CrowdedReactor}
"""The same for what depends on how many connections there are."""
TIMEOUT: Final = 30.0
"""Seconds after which what has not happened will not; no test waits this long when all is well."""

T = TypeVar("T")


@contextlib.contextmanager
def fresh(kind: str) -> Iterator[Any]:
    """Make a reactor, let code that asks for the global one find it, and close all that it has at the end.

    Raises:
        AssertionError: an error was logged meanwhile that `flush_errors` has not taken.
    """
    errors: list[Failure] = []

    def observe(event: dict[str, Any]) -> None:
        if event["isError"]:
            errors.append(event["failure"])

    reactor: Any = STREAM_KINDS[kind]()
    reactor.logged = errors
    log.addObserver(observe)
    with (
        # What Twisted does through the global reactor: the flush of TLS writes, and pull producers over TLS.
        mock.patch.object(twisted.internet, "reactor", reactor, create=True),
        mock.patch.object(task, "_theCooperator", task.Cooperator()),
    ):
        try:
            yield reactor
        finally:
            reactor.disconnectAll()
            for reader in reactor._internalReaders:
                reactor.removeReader(reader)
                reader.connectionLost(None)
            reactor._poller.close()
            log.removeObserver(observe)
    assert not errors, "".join(error.getTraceback() for error in errors)


def flush_errors(reactor: Any, *kinds: type[BaseException]) -> list[BaseException]:
    """Take the errors of these kinds that have been logged, and return them."""
    taken = [error for error in reactor.logged if error.check(*kinds)]
    reactor.logged[:] = [error for error in reactor.logged if error not in taken]
    return [error.value for error in taken]


def turn(reactor: Any, until: Callable[[], object]) -> None:
    """Turn a reactor that does not run until something is so.

    Raises:
        AssertionError: it is not, after `TIMEOUT` seconds.
    """
    deadline = time.monotonic() + TIMEOUT
    while not until():
        assert time.monotonic() < deadline, "it has not happened"
        due = reactor.timeout()
        reactor.iterate(0.01 if due is None else min(0.01, due))


def run(
    kind: str, scenario: Callable[[Any], Coroutine[Deferred[Any], Any, T]], timeout: float = TIMEOUT
) -> T:
    """Run a reactor, as programs do, for as long as `scenario` takes, and return what that returns."""
    outcomes: list[Any] = []
    with fresh(kind) as reactor:

        def begin() -> None:
            outcome = Deferred.fromCoroutine(scenario(reactor)).addTimeout(timeout, reactor)
            outcome.addBoth(outcomes.append).addCallback(lambda _: reactor.stop())

        reactor.callWhenRunning(begin)
        reactor.run(installSignalHandlers=False)
    [result] = outcomes
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]
