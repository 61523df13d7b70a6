"""Student's t distribution against published tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.measure import student


@pytest.mark.parametrize(
    ("confidence", "degrees", "t"),
    [
        # Abramowitz and Stegun, table 26.10.
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 10, 2.228),
        (0.95, 11, 2.201),
        (0.99, 1, 63.657),
        (0.99, 2, 9.925),
        (0.99, 4, 4.604),
        (0.99, 5, 4.032),
        (0.99, 30, 2.750),
        (0.5, 7, 0.711),
    ],
)
def test_quantiles_are_those_of_the_tables(confidence: float, degrees: int, t: float) -> None:
    """For odd and even degrees of freedom, whose series differ."""
    assert student.quantile(confidence, degrees) == pytest.approx(t, abs=0.0006)


@given(st.floats(0.01, 0.999), st.integers(1, 60))
def test_a_quantile_is_where_the_probability_is_reached(confidence: float, degrees: int) -> None:
    """The one is the other's inverse."""
    assert student.within(student.quantile(confidence, degrees), degrees) == pytest.approx(confidence)


def test_many_degrees_are_the_normal_distribution() -> None:
    """Which is known without a series."""
    assert student.within(1.96, 10_000) == pytest.approx(math.erf(1.96 / math.sqrt(2)), abs=1e-4)
    assert student.within(0, 3) == 0
