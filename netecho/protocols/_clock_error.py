"""How far this machine's clock may be off, as far as its kernel was told by what sets it (NTP, say)."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Final

from netecho.protocols._timestamps import ErrorEstimate

UNKNOWN: Final = ErrorEstimate.of(16_000_000_000, synchronised=False)
"""Of a clock that nobody is known to set: 16 seconds, which is also what Linux says then."""
LASTING: Final = 10.0
"""Seconds after which the kernel is asked anew."""
_NOT_SYNCHRONISED: Final = 5
"""`TIME_ERROR`."""


class _Timex(ctypes.Structure):
    """The beginning of Linux's `struct timex` (adjtimex(2)), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("most_error_us", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def clock_error() -> ErrorEstimate:
    """Return how far the clock may be off at most, as the kernel knows it (adjtimex(2): maxerror)."""
    if sys.platform != "linux":
        return UNKNOWN
    timex = _Timex()  # modes are 0: to read and not to set
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except AttributeError:
        return UNKNOWN
    if state < 0:
        return UNKNOWN
    return ErrorEstimate.of(timex.most_error_us * 1000, synchronised=state != _NOT_SYNCHRONISED)


class ClockError:
    """`clock_error`, asked of the kernel only now and then, as it is needed for each packet.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._estimate = UNKNOWN
        self._until = -LASTING

    def __call__(self) -> ErrorEstimate:
        """Return what was true at most `LASTING` seconds ago."""
        now = self._clock()
        if now >= self._until:
            self._until = now + LASTING
            self._estimate = clock_error()
        return self._estimate
