"""Attempts to connect to the addresses of one target, until one of them is there (RFC 8305, section 5)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.python.failure import Failure

from netecho.protocols._contract import Route

DELAY: Final = 0.3
"""Seconds after which the next is begun beside those that have come to nothing yet: as Twisted has it over
TCP."""

_UNANSWERED: Final = ConnectionRefusedError, OSError, CannotListenError
"""How one fails that nobody has answered: the last, where the system has no addresses of its family."""

T = TypeVar("T")


class Attempts(Generic[T]):
    """Begins one after the other: the next when one is refused, cannot be sent to, or is silent for a while.

    The first that comes to something is the result, and the others are cancelled. Whatever else one fails by
    is the end of all: somebody has answered.

    Args:
        reactor: provides `IReactorTime`.
        ways: what begins each, in the order of preference.
    """

    def __init__(self, reactor: Any, ways: Iterable[Callable[[], Deferred[T]]]) -> None:
        self.opened: Deferred[T] = Deferred(lambda _: self._stop())
        """Fires with the first; fails as the last of them does. To cancel it cancels all."""
        self._reactor = reactor
        self._ways = iter(ways)
        self._under_way: list[Deferred[T]] = []
        self._call: Any = None
        self._is_over = False

    def begin(self) -> Deferred[T]:
        """Begin the first; return `opened`."""
        self._begin_next()
        return self.opened

    def _begin_next(self) -> None:
        self._call = None
        way = next(self._ways, None)
        if way is None:
            return
        attempt = maybeDeferred(way)
        self._under_way.append(attempt)
        self._call = self._reactor.callLater(DELAY, self._begin_next)
        attempt.addCallbacks(self._succeeded, self._failed, (attempt,), errbackArgs=(attempt,))

    def _succeeded(self, result: T, attempt: Deferred[T]) -> None:
        self._under_way.remove(attempt)
        self._stop()
        self.opened.callback(result)

    def _failed(self, failure: Failure, attempt: Deferred[T]) -> None:
        if self._is_over:
            return
        self._under_way.remove(attempt)
        if not failure.check(*_UNANSWERED):
            self._stop()
        elif self._call is not None:
            self._call.cancel()
            self._begin_next()
        if not self._under_way and not self.opened.called:
            self.opened.errback(failure)

    def _stop(self) -> None:
        """Begin no more, and cancel those that are under way."""
        self._is_over = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        while self._under_way:
            self._under_way.pop().cancel()


def connect_to_any(reactor: Any, route: Route, connect: Callable[[Route], Deferred[T]]) -> Deferred[T]:
    """Connect to whichever of a route's addresses answers; fails with `TimeoutError` after its timeout.

    Args:
        reactor: provides `IReactorTime`.
        route: the way to all of the addresses.
        connect: connects by the way to one of them.
    """
    routes = [dataclasses.replace(route, addresses=(address,)) for address in route.addresses]
    ways = [functools.partial(connect, one) for one in routes]
    return Attempts(reactor, ways).begin().addTimeout(route.timeout, reactor)
