"""The machine and software that a result was made on: the `system` object of `netecho.result/1`."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessorTime:
    """What this machine's processors have done since it started, in ticks of a hundredth of a second."""

    stolen: int
    """Ticks in which something could have run, but the host ran others (`steal` in proc_stat(5))."""
    total: int

    @classmethod
    def now(cls) -> ProcessorTime | None:
        """Return it as it is; `None` if the system does not say, as only Linux does."""
        try:
            with open("/proc/stat", "rb") as lines:
                ticks = [int(word) for word in next(lines).split()[1:9]]
            return cls(stolen=ticks[7], total=sum(ticks))
        except (OSError, ValueError, IndexError, StopIteration):
            return None

    def steal_share(self) -> float | None:
        """Return the share of the time since then that the host gave to others."""
        now = ProcessorTime.now()
        if now is None or now.total <= self.total:
            return None
        return max(0, now.stolen - self.stolen) / (now.total - self.total)


def cpus() -> int | None:
    """Return how many processors this process may use; `None` if the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count()
