"""Student's t distribution: how far off a mean of few values may be."""

from __future__ import annotations

import math
from typing import Final

_STEPS: Final = 60
"""Halvings of an angle below 90 degrees: what is left is less than a float can tell."""


def within(t: float, degrees: int) -> float:
    """Return the probability that Student's t lies between `-t` and `t`.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        t: not below 0.
        degrees: of freedom, 1 or more.
    """
    return _within(math.atan(t / math.sqrt(degrees)), degrees)


def quantile(confidence: float, degrees: int) -> float:
    """Return the t between whose negative and itself Student's t lies with a probability of `confidence`.

    Args:
        confidence: above 0 and below 1.
        degrees: of freedom, 1 or more.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return what `within` does, for the angle whose tangent is t over the root of the degrees."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    # Each term of the series is the last one times cos^2 and (k - 1) / k: k is even for even degrees.
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + sine * total)
