"""Numbers as people read them."""

from __future__ import annotations

import pytest

from netecho.measure import humanise


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (842, "842 ns"),
        (999.7, "1.00 µs"),
        (12_340, "12.3 µs"),
        (999_949, "1.00 ms"),
        (1_240_000, "1.24 ms"),
        (2_510_000_000, "2.51 s"),
        (59_960_000_000, "60.0 s"),
        (59_990_000_000, "1 min 0 s"),
        (60_000_000_000, "1 min 0 s"),
        (200_000_000_000, "3 min 20 s"),
        (7_500_000_000_000, "2 h 5 min"),
    ],
)
def test_durations(nanoseconds: float, text: str) -> None:
    """Three digits and the unit that needs no zeros."""
    assert humanise.duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (humanise.span(10_000_000_000), "10 s"),
        (humanise.span(1_500_000), "1.5 ms"),
        (humanise.span(60_000_000_000), "1 min"),
        (humanise.span(3_600_000_000_000), "1 h"),
        (humanise.size(0), "0 B"),
        (humanise.size(1023), "1023 B"),
        (humanise.size(1024), "1.00 KiB"),
        (humanise.size(1_300_000_000), "1.21 GiB"),
        (humanise.size(10**20), "88818 PiB"),
        (humanise.size_exactly(0), "0 B"),
        (humanise.size_exactly(65_536), "64 KiB"),
        (humanise.size_exactly(1500), "1,500 B"),
        (humanise.rate(842), "842/s"),
        (humanise.rate(12_345), "12.3k/s"),
        (humanise.rate(1_210_000), "1.21M/s"),
        (humanise.rate(0.5), "0.50/s"),
        (humanise.rate(0.0527), "0.0527/s"),
        (humanise.rate(0.001), "0.001/s"),
        (humanise.rate(0), "0/s"),
        (humanise.count(12_345), "12,345"),
        (humanise.count(1, "byte"), "1 byte"),
        (humanise.count(2000, "byte"), "2,000 bytes"),
        (humanise.count(2, "echo", "echoes"), "2 echoes"),
        (humanise.share(0, 0), "0%"),
        (humanise.share(1, 3), "33.3%"),
        (humanise.share(1, 10**7), "<0.001%"),
        (humanise.share(9_999, 10_000), ">99.9%"),
        (humanise.share(10**7 - 1, 10**7), ">99.999%"),
        (humanise.share(3, 3), "100%"),
        (humanise.share(3, 2), "150.0%"),
        (humanise.share(3000, 2), "150,000.0%"),
    ],
)
def test_numbers_with_units(text: str, expected: str) -> None:
    """One way of writing each, and no share rounds to all or nothing."""
    assert text == expected
