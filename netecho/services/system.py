"""The machine and software that a result was made on: the `system` object of `netecho.result/1`."""

from __future__ import annotations

import os
import platform
import socket
from typing import Any

import twisted


def describe(reactor: Any) -> dict[str, Any]:
    """Return the object, for a run under this reactor."""
    return {
        "host": socket.gethostname(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "cpus": cpus(),
        "reactor": type(reactor).__name__,
    }


def cpus() -> int | None:
    """Return how many processors this process may use; `None` if the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count()
