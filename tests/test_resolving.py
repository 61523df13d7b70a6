"""What a resolved name leaves behind."""

from __future__ import annotations

import threading
from typing import Any

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
