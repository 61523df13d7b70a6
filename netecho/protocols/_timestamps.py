"""Times and their errors as measurement packets carry them, exact to the nanosecond.

A timestamp is 64 bits: 32 of seconds and 32 of their fraction (NTP, RFC 5905 section 6) or of nanoseconds
(PTP truncated, IEEE 1588v2). The seconds wrap round, in 2036 and 2106: a reader takes the time that is
nearest to its own clock. PTP's clocks count TAI, which is ahead of UTC by the leap seconds so far; that is
not corrected here, and shows as an offset of the clocks.
"""

from __future__ import annotations

import dataclasses
from typing import Final

SECOND: Final = 1_000_000_000
_HALF: Final = 1 << 32
_MASK: Final = _HALF - 1
_ERA_NS: Final = _HALF * SECOND
_NTP_EPOCH: Final = 2_208_988_800
"""Seconds from 1900 to 1970."""
_SCALES: Final = 64
_MULTIPLIERS: Final = 256


def ntp_from(unix_ns: int) -> int:
    """Return nanoseconds since 1970 as an NTP timestamp. `unix_ns_from` gives the same back."""
    seconds, nanoseconds = divmod(unix_ns, SECOND)
    return (seconds + _NTP_EPOCH & _MASK) << 32 | (nanoseconds << 32) // SECOND


def unix_ns_from(timestamp: int, near_ns: int, *, ptp: bool = False) -> int:
    """Return the nanoseconds since 1970 that a timestamp means.

    Args:
        timestamp: 64 bits.
        near_ns: a time within 68 years of it.
        ptp: whether it is PTP's and not NTP's.

    Raises:
        ValueError: a PTP timestamp says that a second has more nanoseconds than it has.
    """
    seconds, fraction = timestamp >> 32, timestamp & _MASK
    if not ptp:
        # A nanosecond has four units of NTP's fraction: to the nearest is exactly what was sent.
        unix_ns = (seconds - _NTP_EPOCH) * SECOND + (fraction * SECOND + _HALF // 2 >> 32)
    elif fraction < SECOND:
        unix_ns = seconds * SECOND + fraction
    else:
        raise ValueError(f"a PTP timestamp has {fraction} nanoseconds in a second")
    return unix_ns + (near_ns - unix_ns + _ERA_NS // 2) // _ERA_NS * _ERA_NS


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorEstimate:
    """How far a clock may be off, in the 16 bits of RFC 4656 section 4.1.2 and RFC 8186 section 2.3.

    The error is `multiplier` x 2^(`scale` - 32) seconds. A multiplier of 0 may not be sent, and is read
    as an error that is not known.

    Raises:
        ValueError: a number has more bits than there are.
    """

    synchronised: bool = False
    """S: the clock is set by a source outside, and so comparable with others."""
    ptp: bool = False
    """Z: timestamps are PTP's, not NTP's."""
    scale: int = 0
    multiplier: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.scale < _SCALES and 0 <= self.multiplier < _MULTIPLIERS):
            raise ValueError(f"no error estimate has scale {self.scale} and multiplier {self.multiplier}")

    @classmethod
    def of(cls, error_ns: int, *, synchronised: bool, ptp: bool = False) -> ErrorEstimate:
        """Return the smallest estimate that is not less than `error_ns`.

        Raises:
            ValueError: the error is more than 17,000 years.
        """
        units = max(1, -(-(error_ns << 32) // SECOND))
        scale = max(0, units.bit_length() - 8)
        multiplier = -(-units >> scale)
        if multiplier == _MULTIPLIERS:
            scale, multiplier = scale + 1, multiplier // 2
        return cls(synchronised, ptp, scale, multiplier)

    @property
    def error_ns(self) -> int | None:
        """The error in nanoseconds, rounded up; `None` if it is not known."""
        return -(-(self.multiplier * SECOND << self.scale) >> 32) if self.multiplier else None

    def encode(self) -> int:
        """Return the 16 bits."""
        return self.synchronised << 15 | self.ptp << 14 | self.scale << 8 | self.multiplier

    @classmethod
    def decode(cls, bits: int) -> ErrorEstimate:
        """Return what 16 bits say."""
        return cls(bool(bits & 0x8000), bool(bits & 0x4000), bits >> 8 & 0x3F, bits & 0xFF)
