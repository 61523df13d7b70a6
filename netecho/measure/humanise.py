"""Numbers as people read them: three significant digits and a unit.

What is measured says in words what it means, and renderers show it, in the same ones. Machine formats
never use these; there a time is an integer of nanoseconds and a size of bytes.
"""

from __future__ import annotations

from typing import Final

_TIME_UNITS: Final = ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms"), (60_000_000_000, "s"))
_SIZE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_RATE_UNITS: Final = ("", "k", "M", "G")


def duration(nanoseconds: float) -> str:
    """Return `842 ns`, `12.3 µs`, `1.24 ms`, `2.51 s`, `3 min 20 s` or `2 h 5 min`."""
    divisor = 1
    for limit, unit in _TIME_UNITS:
        # What would round to the next unit's 1 is shown as that: 1.00 ms, not 1000 µs.
        if abs(nanoseconds) < limit * 0.9995:
            return f"{_three_digits(nanoseconds / divisor, whole=divisor == 1)} {unit}"
        divisor = limit
    seconds = round(nanoseconds / 1e9)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def span(nanoseconds: int) -> str:
    """Return a duration that a person chose, without digits that say nothing: `10 s`, `500 ms`, `1 min`."""
    text = duration(nanoseconds).removesuffix(" 0 s").removesuffix(" 0 min")
    number, space, unit = text.partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + unit


def size(count: float) -> str:
    """Return an amount of bytes: `64 B`, `12.5 KiB`, `1.21 GiB`."""
    return _scaled(count, 1024, _SIZE_UNITS, " ")


def size_exactly(count: int) -> str:
    """Return `64 B`, `64 KiB`: in a larger unit only where it loses nothing."""
    unit = 0
    while count and count % 1024 == 0 and unit < len(_SIZE_UNITS) - 1:
        count, unit = count // 1024, unit + 1
    return f"{count:,} {_SIZE_UNITS[unit]}"


def rate(per_second: float) -> str:
    """Return `842/s`, `12.3k/s`, `1.21M/s`."""
    return _scaled(per_second, 1000, _RATE_UNITS, "") + "/s"


def count(number: int, noun: str = "", plural: str | None = None) -> str:
    """Return `12,345`, or with a noun `1 connection`, `2 connections`."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share(part: float, whole: float) -> str:
    """Return a percentage that is `0%` and `100%` only when it is exactly that, and may be more."""
    percent = 100 * part / whole if whole else 0.0
    if percent > 100:
        return f"{percent:,.1f}%"
    if part in (0, whole):
        return f"{percent:.0f}%"
    if percent < 0.001:
        return "<0.001%"
    if percent >= 99.95:
        return ">99.9%" if percent < 99.9995 else ">99.999%"
    return f"{percent:.1f}%" if percent >= 1 else f"{percent:.2g}%"


def _scaled(number: float, base: int, units: tuple[str, ...], gap: str) -> str:
    unit = 0
    while abs(number) >= base * 0.9995 and unit < len(units) - 1:
        number, unit = number / base, unit + 1
    return f"{_three_digits(number, whole=unit == 0 and float(number).is_integer())}{gap}{units[unit]}"


def _three_digits(number: float, *, whole: bool = False) -> str:
    if whole or abs(number) >= 99.95:
        return f"{number:.0f}"
    if abs(number) < 0.0995:  # two decimals would leave one digit of it, or none
        return f"{number:.3g}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"
