"""The machine and software that a result was made on: the `system` object of `netecho.result/1`."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import socket
from typing import Any, Final

import twisted

_CGROUPS: Final = pathlib.Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = pathlib.Path("/proc/self/cgroup")


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
    """Return how many processors this process may use; `None` if the system does not say.

    Of a quota it is the whole ones: who has one and a half, and is awake on one of them for the sake of
    exactness, leaves nobody else a whole one.
    """
    try:
        allowed: int | None = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        allowed = os.cpu_count()
    quota = cpu_quota()
    return allowed if allowed is None or quota is None else min(allowed, max(1, int(quota)))


def cpu_quota(root: pathlib.Path = _CGROUPS, own: pathlib.Path = _OWN_CGROUPS) -> float | None:
    """Return how many processors' time the control groups of this process leave it; `None`: all there is.

    That is what `docker --cpus` sets, and `CPUQuota` of systemd, in a group or in one around it. A container
    may know its groups by names that are the host's: what it has of them is at the root then.

    Args:
        root: where the groups are (`cpu.max` of cgroup v2, `cpu.cfs_quota_us` of v1).
        own: where this process's are named, as in cgroups(7).
    """
    shares = []
    for line in filter(None, _text(own).split("\n")):  # the one byte that is in no name of theirs
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            if controllers:
                words = [_text(folder / f"cpu.cfs_{one}_us").strip() for one in ("quota", "period")]
            else:
                words = _text(folder / "cpu.max").split()
            if len(words) == 2 and all(map(str.isdecimal, words)):  # neither `max`, nor -1, nor no file
                shares.append(int(words[0]) / int(words[1]))
            if folder == top:
                break
    return min(shares, default=None)


def _text(file: pathlib.Path) -> str:
    try:
        return os.fsdecode(file.read_bytes())
    except OSError:
        return ""
