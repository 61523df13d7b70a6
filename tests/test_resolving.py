"""How a name is resolved in threads: what that leaves behind, and what if there can be none."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from netecho.errors import ResolveError
from netecho.plans import SocketOptions
from netecho.services.resolving import resolve
from tests import reactors


def test_no_thread_is_left() -> None:
    """The threads in which a name was resolved end, and another name is resolved in new ones."""
    seen: list[threading.Thread] = []

    async def resolve_twice(reactor: Any) -> list[tuple[str, ...]]:
        pool = reactor.getThreadPool()
        original = pool.threadFactory

        def make(*arguments: Any, **options: Any) -> threading.Thread:
            thread: threading.Thread = original(*arguments, **options)
            seen.append(thread)
            return thread

        pool.threadFactory = make
        found = []
        for _ in range(2):
            found.append(await resolve(reactor, "localhost", 80, SocketOptions()))
            for thread in seen:
                thread.join(reactors.TIMEOUT)
                assert not thread.is_alive()
        return found

    first, second = reactors.run("fast", resolve_twice)
    assert "127.0.0.1" in first
    assert second == first
    assert len(seen) == 2


def test_no_room_for_a_thread() -> None:
    """That is an error, of which Twisted's resolver says nothing: it would be waited for without end."""

    def refuse(*_: Any, **__: Any) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    async def resolve_without_threads(reactor: Any) -> tuple[str, ...]:
        reactor.getThreadPool().threadFactory = refuse
        try:
            return await resolve(reactor, "localhost", 80, SocketOptions())
        finally:
            gc.collect()  # Twisted logs the refusal when it forgets the resolution
            assert len(reactors.flush_errors(reactor, RuntimeError)) == 1

    with pytest.raises(ResolveError, match="localhost cannot be resolved: the system has no room"):
        reactors.run("fast", resolve_without_threads)
