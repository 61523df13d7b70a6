"""Checks of numbers that flags give."""

from __future__ import annotations

import math

from netecho.errors import UsageError


def at_least(minimum: int, flag: str, value: int | None) -> None:
    """Raise `UsageError` if a flag's value is less than `minimum`."""
    if value is not None and value < minimum:
        raise UsageError(f"{flag} must be at least {minimum}")


def above_zero(flag: str, value: float | None) -> None:
    """Raise `UsageError` if a flag's value is not more than 0, or is infinite."""
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{flag} must be more than 0")
