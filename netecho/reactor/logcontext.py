"""Whose turn it is, for the log: Twisted's log context, made only when something is logged.

Twisted calls each transport inside a log context of its own (`twisted.python.log.callWithLogger`), so
that `log.msg` can say who logged. Making one costs more than receiving a message does. One `TurnContext`
serves all the events of a turn of the reactor, and works out the prefix when it is asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from twisted.python import context, log


class TurnContext(dict[str, Any]):
    """A log context whose `system` is the log prefix of `current`, as long as there is one.

    Attributes:
        current: the transport being called, with a `logPrefix` method.
        entered: whether this is the log context at present.
    """

    __slots__ = ("_outer", "_thread", "current", "entered")

    def __init__(self) -> None:
        super().__init__(system="-")  # never empty: `log.msg` takes an empty context for none
        self.current: Any = None
        self.entered = False
        self._outer: dict[str, Any] = {}
        self._thread = 0

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call `function` with this as its log context."""
        before = self.current, self._outer, self.entered
        self.entered = True
        self._thread = get_ident()
        self._outer = {} if before[0] is not None else context.get(log.ILogContext) or {}
        try:
            context.call({log.ILogContext: self}, function, *arguments)
        finally:
            self.current, self._outer, self.entered = before

    def _prefix(self) -> str:
        try:
            return str(self.current.logPrefix())
        except Exception:
            return "(buggy logPrefix method)"

    def copy(self) -> dict[str, Any]:
        """Return an ordinary context with what this one says now.

        In another thread, which may have been given this context, and when no transport is being called,
        it is the context outside with `system` as there, or `-`.
        """
        if self.current is None or self._thread != get_ident():
            return {"system": "-", **self._outer}
        return {**self._outer, "system": self._prefix()}

    def __getitem__(self, key: str) -> Any:
        return self.copy()[key]

    def keys(self) -> Any:
        """Return the keys of what the context says now; `dict(context)` goes by them."""
        return self.copy().keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def get(self, key: str, default: Any = None) -> Any:
        """Return what the context says of `key`."""
        return self.copy().get(key, default)


def with_present_context(function: Callable[..., None], *arguments: Any, **more: Any) -> None:
    """Call `function`, which keeps the present log context for later, with a copy that will not change."""
    present = context.get(log.ILogContext)
    context.call({log.ILogContext: present and present.copy()}, function, *arguments, **more)
