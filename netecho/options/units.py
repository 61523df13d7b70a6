"""Durations, sizes, rates and the like, as people write them.

They are read exactly, without floating point: a text that is not a whole number of the smallest unit
is refused rather than rounded.
"""

from __future__ import annotations

import fractions
import re

from netecho.errors import UsageError
from netecho.plans import Location, ProxyPlan, Stage

_DURATION_UNITS = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,  # MICRO SIGN
    "μs": 1_000,  # GREEK SMALL LETTER MU
    "ns": 1,
}
_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
# The limit on digits is far above any use, and keeps the arithmetic on a hostile text cheap.
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_DURATION_PART = re.compile(rf"({_NUMBER})([a-zµμ]+)")
_SIZE = re.compile(rf"({_NUMBER})([kmg]i?)?b?", re.IGNORECASE)
_RATE = re.compile(rf"({_NUMBER})([kKMG])?(?:/s)?")
_SHARE = re.compile(rf"({_NUMBER})%")
DSCP_NAMES = {
    "df": 0,
    "le": 1,
    "va": 44,
    "ef": 46,
    **{f"cs{precedence}": 8 * precedence for precedence in range(8)},
    **{f"af{group}{drop}": 8 * group + 2 * drop for group in range(1, 5) for drop in range(1, 4)},
}


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds: `10ms`, `1m30s`, `1.5s`, `250us`, or a bare number of seconds.

    The units are d, h, m, s, ms, us and ns, each at most once, the largest first.

    Raises:
        UsageError: the text is not a duration, or is finer than a nanosecond.
    """
    wrong = UsageError(f"{text!r} is not a duration: write 10ms, 1m30s, or 2 for seconds")
    if re.fullmatch(_NUMBER, text):
        return _whole(fractions.Fraction(text) * _DURATION_UNITS["s"], wrong)
    if not text or _DURATION_PART.sub("", text):
        raise wrong
    total = fractions.Fraction(0)
    last = None
    for number, word in _DURATION_PART.findall(text):
        unit = _DURATION_UNITS.get(word)
        if unit is None or (last is not None and unit >= last):
            raise wrong
        total += fractions.Fraction(number) * unit
        last = unit
    return _whole(total, wrong)


def parse_size(text: str) -> int:
    """Return a size in bytes: `64`, `64KiB`, `1MB`, `10k`, `1.5Mi`, in upper or lower case.

    k, M and G are powers of 1000, Ki, Mi and Gi powers of 1024; a final B changes nothing.

    Raises:
        UsageError: the text is not a size, or not a whole number of bytes.
    """
    wrong = UsageError(f"{text!r} is not a size: write 64, 10k (10,000 bytes) or 64KiB (65,536 bytes)")
    match = _SIZE.fullmatch(text)
    if match is None:
        raise wrong
    return _whole(fractions.Fraction(match[1]) * _MULTIPLES[(match[2] or "").lower()], wrong)


def parse_rate(text: str) -> float:
    """Return a rate per second, above 0: `200`, `20k`, `1.5M`, `0.5`, `20k/s`. k, M and G are powers of 1000.

    Raises:
        UsageError: the text is not a rate.
    """
    match = _RATE.fullmatch(text)
    if match is None or not (rate := fractions.Fraction(match[1]) * _MULTIPLES[(match[2] or "").lower()]):
        raise UsageError(f"{text!r} is not a rate: write 200, 20k or 1.5M, per second")
    return float(rate)


def parse_count(text: str) -> int:
    """Return a whole number: `500`, `20k`, `1.5M`. k, M and G are powers of 1000.

    Raises:
        UsageError: the text is not a whole number.
    """
    wrong = UsageError(f"{text!r} is not a count: write 500, 20k or 1M")
    match = _RATE.fullmatch(text)
    if match is None or text.endswith("/s"):
        raise wrong
    return _whole(fractions.Fraction(match[1]) * _MULTIPLES[(match[2] or "").lower()], wrong)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Return stages, each a duration and what is reached at its end: `10s:1k,30s:5k,10s:0`.

    Raises:
        UsageError: the text is not stages; the message quotes the one that is not.
    """
    return tuple(_parse_stage(text, one) for one in text.split(","))


def _parse_stage(text: str, one: str) -> Stage:
    duration, colon, target = one.partition(":")
    match = _RATE.fullmatch(target)
    if not colon or match is None:
        where = "" if one == text else f", in {text!r}"
        raise UsageError(f"{one!r}{where} is not a stage: write a time and what to reach by then, as 10s:1k")
    reached = fractions.Fraction(match[1]) * _MULTIPLES[(match[2] or "").lower()]
    return Stage(parse_duration(duration), float(reached))


def parse_share(text: str) -> float:
    """Return a share: `5%`, `0.5%` are 0.05 and 0.005.

    Raises:
        UsageError: the text is not a share, or has no %.
    """
    match = _SHARE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a share: write 5% or 0.5%")
    return float(fractions.Fraction(match[1]) / 100)


def parse_port(text: str) -> int:
    """Return a port number.

    Raises:
        UsageError: the text is not a number from 0 to 65535.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise UsageError(f"{text!r} is not a port: it is a number from 0 to 65535")
    return int(text)


def parse_dscp(text: str) -> int:
    """Return a differentiated services code point: 0 to 63, or its name (RFC 2474, 2597, 3246, 5865, 8622).

    Raises:
        UsageError: the text is neither.
    """
    if text.lower() in DSCP_NAMES:
        return DSCP_NAMES[text.lower()]
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > 63:
        raise UsageError(f"{text!r} is not a code point: write 0 to 63, or a name such as ef, af41, cs1")
    return int(text)


def parse_send_proxy(text: str) -> ProxyPlan:
    """Return the plan for `v1`, `v2`, or either with a source: `v2:ADDRESS`, `v2:ADDRESS:PORT`.

    Raises:
        UsageError: the text is none of these.
    """
    version, _, source = text.partition(":")
    wrong = UsageError(
        f"{text!r} is not a PROXY header: write v1, v2, v2:192.0.2.1:4711 or v2:[2001:db8::1]:4711"
    )
    if version not in ("v1", "v2") or text == f"{version}:":
        raise wrong
    number = int(version[1])
    if not source:
        return ProxyPlan(number)
    try:
        location = Location.parse(source)
        plan = ProxyPlan(number, location.host, location.port)
    except UsageError:
        raise wrong from None
    if plan.host is None or location != Location(host=plan.host, port=plan.port):
        raise wrong
    return plan


def parse_ttl(text: str) -> int:
    """Return a time to live.

    Raises:
        UsageError: the text is not a number from 1 to 255.
    """
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 255:
        raise UsageError(f"{text!r} is not a time to live: it is a number from 1 to 255")
    return int(text)


def _whole(value: fractions.Fraction, wrong: UsageError) -> int:
    if value.denominator != 1:
        raise wrong
    return value.numerator
