"""Waking up on time: a timer in the epoll set, for what is nearer than epoll's milliseconds can serve.

`epoll_wait` counts whole milliseconds, and the kernel lets it oversleep by the process's timer slack (50
microseconds). A `timerfd` has neither. See timerfd_create(2).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import weakref
from collections.abc import Callable
from typing import Final

NEAR: Final = 0.0015
"""Seconds before the due time from which on the timer is used. Until then epoll's own timeout is, shortened
by as much: Python rounds it up to a millisecond, and it may come late."""
_TOLERANCE: Final = 0.000_005
"""Seconds by which an alarm that is set already may be late and still be left as it is: what passes between
two looks at the clock."""
_NANOSECONDS: Final = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


def _open() -> tuple[int, Callable[[float], object]]:
    """Return a new timer's descriptor, and what sets it off once, some seconds from now."""
    if sys.version_info >= (3, 13):
        fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def set_off(seconds: float) -> object:
            return os.timerfd_settime_ns(fd, initial=int(seconds * _NANOSECONDS) + 1)

        return fd, set_off
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    spec = _TimerSpec()
    value, reference = spec.value, ctypes.byref(spec)
    settime = libc.timerfd_settime

    def set_off_by_libc(seconds: float) -> object:
        value.nanoseconds = int(seconds * _NANOSECONDS) + 1
        return settime(fd, 0, reference, None)

    return fd, set_off_by_libc


class Alarm:
    """A timer for the next thing to be done. Its descriptor is given back when nothing refers to it.

    It is watched edge-triggered, so that it need not be read.

    Raises:
        OSError: the system has no such timer to give.
    """

    def __init__(self) -> None:
        self._fd, self.set_off = _open()
        """`set_off(seconds)`: go off once, so long from now; less than a second."""
        weakref.finalize(self, os.close, self._fd)
        self._set_for = 0.0

    def fileno(self) -> int:
        """Return the descriptor to be watched."""
        return self._fd

    def timeout(self, seconds: float) -> float:
        """Return for how long to wait in `epoll.poll` so as to be awake in `seconds`; -1 for no limit.

        An alarm that is set already and goes off in time is left as it is.

        Args:
            seconds: more than 0.
        """
        if seconds > NEAR:
            return seconds - NEAR
        now = time.monotonic()
        if not now < self._set_for <= now + seconds + _TOLERANCE:
            self.set_off(seconds)
            self._set_for = now + seconds
        return -1
