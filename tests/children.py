"""Processes that a test did not start itself, and whose end it waits for."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Iterator

from tests.servers import TIMEOUT


@contextlib.contextmanager
def watched(pids: Iterable[int]) -> Iterator[list[int]]:
    """Return a descriptor of each process, for `ended`; it stays that process's, whoever gets its number."""
    with contextlib.ExitStack() as stack:
        descriptors = []
        for pid in pids:
            descriptors.append(os.pidfd_open(pid))
            stack.callback(os.close, descriptors[-1])
        yield descriptors


def ended(descriptors: Iterable[int]) -> bool:
    """Wait until each of these processes has ended; return whether all have."""
    return all(select.select([one], [], [], TIMEOUT)[0] for one in descriptors)
