"""`netecho worker`: one process of several that share a `serve` or a `bench`, which start it.

It is no command for people: what it is to do comes from its parent, see `netecho.services.workers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from netecho.errors import ExitStatus
from netecho.plans import ReactorName
from netecho.services import running, workers

_Work = Callable[[Any, workers.Parent, Mapping[str, Any]], Awaitable[None]]


def run() -> int:
    """Do what the parent orders; return the exit status."""
    workers.ignore_signals()
    order = workers.read_order()
    name = order["reactor"]
    running.install(None if name is None else ReactorName(name), order.get("busy_poll_ns", 0))
    work = _work(order["work"])

    async def main(reactor: Any, _: running.Signals) -> int:
        workers.ignore_signals()  # Twisted has just taken SIGTERM
        parent = workers.Parent(reactor)
        try:
            await work(reactor, parent, order)
        finally:
            await parent.finish()
        return ExitStatus.GOOD

    return running.run(main)


def _work(name: str) -> _Work:
    """Return what carries out an order. The other kind is not imported: workers are to start fast."""
    if name == "serve":
        from netecho.services.worker_serve import serve_share

        return serve_share
    from netecho.services.worker_bench import bench_share

    return bench_share
