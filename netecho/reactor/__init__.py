"""Twisted at the speed that the system allows: a drop-in reactor for any Twisted program, on Linux.

Two lines, before anything imports `twisted.internet.reactor`:

    from netecho.reactor import install

    install()

Nothing above it changes: it is Twisted's epoll reactor with its hot paths replaced, and everything else
(endpoints, producers, half-close, abort, TLS, processes, threads) is Twisted's own code. What is replaced:

- `fast.py`: how an event gets from epoll to its transport, and how the reactor waits;
- `streams.py`: how TCP transports send (`unixstreams.py`: UNIX ones), and `outgoing.py`: what they send
  together;
- `datagrams.py`: UDP in batches, which a protocol may take as they are (`batches.py`);
- `tls.py`: TLS without a timer for each write;
- `timers.py`: delayed calls to the microsecond; `waiting.py`: waiting awake, for those who ask for it.
"""

from __future__ import annotations

import select
from typing import Any

__all__ = ["install"]


def install(*, busy_poll: float = 0.0) -> Any:
    """Install the fast reactor as the global one, and return it.

    Where the system has no epoll, Twisted's default reactor for it is installed instead, which runs the
    same programs.

    Args:
        busy_poll: for how many seconds the reactor waits awake before it sleeps, where that helps: answers
            come sooner, and it takes processor time. 0.00005 is a good measure.

    Raises:
        ReactorAlreadyInstalledError: something has imported `twisted.internet.reactor` already.
    """
    if not hasattr(select, "epoll"):  # macOS, the BSDs, Windows
        from twisted.internet import default

        default.install()
        from twisted.internet import reactor

        return reactor
    from netecho.reactor import fast

    return fast.install(busy_poll=busy_poll)
