"""Times and their errors, between nanoseconds and what packets carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.protocols._timestamps import ErrorEstimate, ntp_from, unix_ns_from

SECOND = 10**9
ERA = 2**32 * SECOND
WRAPS_NTP = 2_085_978_496 * SECOND
"""7 February 2036, 06:28:16 UTC: NTP's seconds begin anew (RFC 5905 figure 4)."""
WRAPS_PTP = 2**32 * SECOND
"""Of PTP's, in 2106."""

times = st.integers(-(2**63), 2**63)

NTP = [
    # Unix time in nanoseconds, its NTP timestamp; the first ones are from RFC 5905 figure 4
    (-2_208_988_800 * SECOND, 0x00000000_00000000),
    (0, 0x83AA7E80_00000000),
    (63_072_000 * SECOND, 2_272_060_800 << 32),
    (WRAPS_NTP - 1, 0xFFFFFFFF_FFFFFFFB),
    (WRAPS_NTP, 0x00000000_00000000),
    (WRAPS_NTP + SECOND // 2, 0x00000000_80000000),
    (1, 0x83AA7E80_00000004),
    (2, 0x83AA7E80_00000008),
    (SECOND // 4, 0x83AA7E80_40000000),
    (-1, 0x83AA7E7F_FFFFFFFB),
]
PTP = [
    (0, 0),
    (1, 1),
    (1_583_020_800 * SECOND + 500_000_000, 0x5E5AFB00_1DCD6500),
    (WRAPS_PTP - 1, 0xFFFFFFFF_3B9AC9FF),
    (WRAPS_PTP, 0),
]


def ptp_from(unix_ns: int) -> int:
    """Return nanoseconds since 1970 as a truncated PTP timestamp, as only reflectors send it."""
    seconds, nanoseconds = divmod(unix_ns, SECOND)
    return seconds % 2**32 << 32 | nanoseconds


@pytest.mark.parametrize(("unix_ns", "timestamp"), NTP)
def test_ntp(unix_ns: int, timestamp: int) -> None:
    """Seconds since 1900 and their fraction, which wrap round in 2036."""
    assert ntp_from(unix_ns) == timestamp
    assert unix_ns_from(timestamp, unix_ns) == unix_ns


@pytest.mark.parametrize(("unix_ns", "timestamp"), PTP)
def test_ptp(unix_ns: int, timestamp: int) -> None:
    """Seconds since 1970 and nanoseconds, which wrap round in 2106."""
    assert ptp_from(unix_ns) == timestamp
    assert unix_ns_from(timestamp, unix_ns, ptp=True) == unix_ns


@given(times, st.integers(-(ERA // 2) + 1, ERA // 2 - 1), st.booleans())
def test_round_trip(unix_ns: int, apart: int, ptp: bool) -> None:
    """Any time is read back to the nanosecond by whoever's clock is within half an era of it."""
    timestamp = (ptp_from if ptp else ntp_from)(unix_ns)
    assert 0 <= timestamp < 2**64
    assert unix_ns_from(timestamp, unix_ns + apart, ptp=ptp) == unix_ns


@given(st.integers(0, 2**64 - 1), times)
def test_every_ntp_timestamp_is_a_time(timestamp: int, near: int) -> None:
    """Any 64 bits mean a time, the one in half an era of the reader's."""
    assert abs(unix_ns_from(timestamp, near) - near) <= ERA // 2


def test_no_ptp_timestamp() -> None:
    """A second has no more nanoseconds than it has."""
    assert unix_ns_from(SECOND - 1, 0, ptp=True) == SECOND - 1
    with pytest.raises(ValueError, match="1000000000 nanoseconds in a second"):
        unix_ns_from(SECOND, 0, ptp=True)


@pytest.mark.parametrize(
    ("error_ns", "bits", "shown_ns"),
    [
        # RFC 4656 section 4.1.2: Multiplier x 2^(Scale - 32) seconds; a nanosecond is 4.29 x 2^-32
        (0, 0x0001, 1),
        (1, 0x0005, 2),
        (59, 0x00FE, 60),
        (60, 0x0181, 61),
        (953, 0x0580, 954),
        (SECOND, 0x1980, SECOND),
        (16 * SECOND, 0x1D80, 16 * SECOND),
    ],
)
def test_error_estimate(error_ns: int, bits: int, shown_ns: int) -> None:
    """The smallest estimate that is not less, and what it says in whole nanoseconds."""
    estimate = ErrorEstimate.of(error_ns, synchronised=False)
    assert estimate.encode() == bits
    assert estimate.error_ns == shown_ns
    assert ErrorEstimate.of(error_ns, synchronised=True, ptp=True).encode() == bits | 0xC000


@given(st.integers(0, 2**68))
def test_no_error_is_understated(error_ns: int) -> None:
    """An estimate is never below the error, nor above it by more than its 8 bits cost."""
    shown = ErrorEstimate.of(error_ns, synchronised=False).error_ns
    assert shown is not None
    assert error_ns <= shown <= error_ns + error_ns // 127 + 2


@given(st.integers(0, 0xFFFF))
def test_error_estimate_round_trip(bits: int) -> None:
    """All 16 bits are read and written as they are."""
    estimate = ErrorEstimate.decode(bits)
    assert estimate.encode() == bits
    assert (estimate.error_ns is None) == (bits & 0xFF == 0)


@pytest.mark.parametrize(("scale", "multiplier"), [(64, 1), (-1, 1), (0, 256), (0, -1)])
def test_no_error_estimate(scale: int, multiplier: int) -> None:
    """A number that has more bits than there are is refused."""
    with pytest.raises(ValueError, match="no error estimate"):
        ErrorEstimate(scale=scale, multiplier=multiplier)
