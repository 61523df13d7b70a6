"""Units, as people write them, and flags that stand for something together."""

from __future__ import annotations

import contextlib
import fractions
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.errors import UsageError
from netecho.options import flags, output, panels, units
from netecho.plans import Family, ProxyPlan, Stage

SECOND = 1_000_000_000

DURATIONS = {
    "10ms": 10_000_000,
    "1m30s": 90 * SECOND,
    "250us": 250_000,
    "250µs": 250_000,
    "250μs": 250_000,
    "7ns": 7,
    "2": 2 * SECOND,
    "0.5": SECOND // 2,
    "0.000000001": 1,
    "1.5s": 3 * SECOND // 2,
    "1h1m1s1ms1us1ns": 3661 * SECOND + 1_001_001,
    "1d": 86_400 * SECOND,
    "0": 0,
}
NOT_DURATIONS = [
    "",
    "s",
    "10x",
    "-1s",
    "+1",
    "1 s",
    "1s 2",
    "1m30",
    "30s1m",
    "1s1s",
    "1S",
    "1e3",
    "0.1ns",
    ".5",
    "5.",
    "\u0661s",  # a digit, but not of ours
    "1s\n",
]
SIZES = {
    "64": 64,
    "64B": 64,
    "64KiB": 65536,
    "64Ki": 65536,
    "10k": 10_000,
    "10K": 10_000,
    "10kB": 10_000,
    "1MB": 1_000_000,
    "1mib": 1_048_576,
    "1.5Mi": 1_572_864,
    "1GiB": 1 << 30,
    "2G": 2_000_000_000,
    "0.5k": 500,
    "0": 0,
}
NOT_SIZES = ["", "k", "-1", "1.5", "0.0001k", "1T", "1 k", "1iB", "1kk", "0x10", "1e3"]
RATES = {"200": 200.0, "20k": 20_000.0, "1.5M": 1_500_000.0, "0.5": 0.5, "20k/s": 20_000.0, "1G": 1e9}
NOT_RATES = ["", "0", "0.0", "-1", "k", "1m", "1/m", "inf", "nan", "1e3"]
COUNTS = {"1": 1, "500": 500, "20k": 20_000, "1.5M": 1_500_000, "0": 0}
NOT_COUNTS = ["", "1.5", "-1", "1/s", "1.2345k", "x"]
SHARES = {"5%": 0.05, "0.5%": 0.005, "12.25%": 0.1225, "0%": 0.0, "150%": 1.5}
NOT_SHARES = ["", "5", "%", "-5%", "5 %", "0.05", "5%%", "1e1%"]
CODE_POINTS = {
    "0": 0,
    "63": 63,
    "ef": 46,
    "EF": 46,
    "af41": 34,
    "cs1": 8,
    "cs7": 56,
    "va": 44,
    "le": 1,
    "df": 0,
}
NOT_CODE_POINTS = ["", "64", "-1", "af44", "af51", "cs8", "x"]
HEADERS = {
    "v1": ProxyPlan(1),
    "v2": ProxyPlan(2),
    "v1:192.0.2.1": ProxyPlan(1, "192.0.2.1"),
    "v2:192.0.2.1:0": ProxyPlan(2, "192.0.2.1", 0),
    "v2:2001:db8::": ProxyPlan(2, "2001:db8::"),
    "v2:[2001:db8::1]": ProxyPlan(2, "2001:db8::1"),
    "v2:[2001:db8::1]:65535": ProxyPlan(2, "2001:db8::1", 65535),
}
NOT_HEADERS = [
    "",
    "1",
    "v",
    "v3",
    "v1:",
    "v2:host",
    "v2::80",
    "v2:1.2.3.4:65536",
    "v2:[::1",
    "v2:fe80::1%lo:80",
    "v2:/path",
    "v2:tcp://1.2.3.4",
    "v2:1.2.3.4/a",
]

Parser = Callable[[str], Any]
TABLES: list[tuple[Parser, dict[str, Any], list[str]]] = [
    (units.parse_duration, DURATIONS, NOT_DURATIONS),
    (units.parse_size, SIZES, NOT_SIZES),
    (units.parse_rate, RATES, NOT_RATES),
    (units.parse_count, COUNTS, NOT_COUNTS),
    (units.parse_share, SHARES, NOT_SHARES),
    (units.parse_dscp, CODE_POINTS, NOT_CODE_POINTS),
    (units.parse_port, {"0": 0, "8000": 8000, "65535": 65535}, ["", "65536", "-1", "http", "1.0", "123456"]),
    (units.parse_send_proxy, HEADERS, NOT_HEADERS),
    (units.parse_ttl, {"1": 1, "255": 255}, ["", "0", "256", "-1", "x"]),
]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [(parse, text, value) for parse, good, _ in TABLES for text, value in good.items()],
)
def test_units(parse: Parser, text: str, value: float) -> None:
    """Every way of writing a quantity gives its exact value, as the type that plans have."""
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, _, bad in TABLES for text in bad])
def test_not_units(parse: Parser, text: str) -> None:
    """What is no quantity, or would have to be rounded, is refused in a line that quotes it."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("10s:1k", [(10 * SECOND, 1000)]),
        ("10s:1k,30s:5k,10s:0", [(10 * SECOND, 1000), (30 * SECOND, 5000), (10 * SECOND, 0)]),
        ("0:20/s,1m30s:1.5M", [(0, 20), (90 * SECOND, 1_500_000)]),
        ("2:0.5", [(2 * SECOND, 0.5)]),
    ],
)
def test_stages(text: str, stages: list[tuple[int, float]]) -> None:
    """Each stage is a duration and what is reached by then; the first may be a step."""
    assert units.parse_stages(text) == tuple(Stage(duration, target) for duration, target in stages)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "'' is not a stage"),
        ("10s", "'10s' is not a stage"),
        ("10s:", "'10s:' is not a stage"),
        ("10s:1k,", "'', in '10s:1k,' is not a stage"),
        ("10s:1k 20s:2k", "is not a stage"),
        ("10s:-1", "'10s:-1' is not a stage"),
        ("10s:1k:5", "'10s:1k:5' is not a stage"),
        ("1k:10s", "'1k:10s' is not a stage"),
        ("10x:5,1s:1", "'10x' is not a duration"),
        (":5", "'' is not a duration"),
    ],
)
def test_not_stages(text: str, wrong: str) -> None:
    """The stage that is wrong is quoted."""
    with pytest.raises(UsageError) as caught:
        units.parse_stages(text)
    assert wrong in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=12) | st.text("0123456789.kKmMgGiBhdsunµ/", max_size=12))
def test_units_of_anything(text: str) -> None:
    """Any text is a quantity that is not negative, or a usage error."""
    for parse, _, _ in TABLES:
        with contextlib.suppress(UsageError):
            assert parse(text) >= 0


@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=8))
def test_duration_of_parts(numbers: list[int]) -> None:
    """A duration is the sum of its parts."""
    words = ["d", "h", "m", "s", "ms", "us", "ns"]
    text = "".join(f"{number}{word}" for number, word in zip(numbers, words, strict=False))
    nanoseconds = [86_400 * SECOND, 3600 * SECOND, 60 * SECOND, SECOND, 1_000_000, 1000, 1]
    total = sum(number * unit for number, unit in zip(numbers, nanoseconds, strict=False))
    assert units.parse_duration(text) == total


@given(st.integers(0, 10**17))
def test_seconds_to_the_nanosecond(nanoseconds: int) -> None:
    """Nine decimals of a second lose nothing, where a float would."""
    text = f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09}"
    assert units.parse_duration(text) == units.parse_duration(f"{text}s") == nanoseconds


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(["k", "M", "G", "Ki", "Mi", "Gi"]))
def test_size_is_exact(whole: int, thousandths: int, word: str) -> None:
    """A size is exact, or refused when it is not a whole number of bytes."""
    unit = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[word]
    exact = (whole + fractions.Fraction(thousandths, 1000)) * unit
    text = f"{whole}.{thousandths:03}{word}"
    if exact.denominator == 1:
        assert units.parse_size(text) == units.parse_size(f"{text}B") == exact
    else:
        with pytest.raises(UsageError):
            units.parse_size(text)


def test_dscp_names() -> None:
    """The names are those of the registry of code points."""
    assert len(units.DSCP_NAMES) == 8 + 12 + 4
    assert units.DSCP_NAMES["af11"] == 10
    assert units.DSCP_NAMES["af43"] == 38
    assert all(0 <= code <= 63 for code in units.DSCP_NAMES.values())


def test_family() -> None:
    """-4 and -6 choose a family, and exclude each other."""
    assert flags.family(False, False) is Family.ANY
    assert flags.family(True, False) is Family.IPV4
    assert flags.family(False, True) is Family.IPV6
    with pytest.raises(UsageError, match="-4 and -6"):
        flags.family(True, True)


def test_split_words() -> None:
    """A flag may be repeated, or hold several words."""
    assert panels.split_words(None) == ()
    assert panels.split_words(["h2,http/1.1", "echo", ","]) == ("h2", "http/1.1", "echo")


@pytest.mark.parametrize(
    ("json", "csv", "stream"), [("-", "-", False), ("-", None, True), (None, "-", True), ("a", "a", False)]
)
def test_outputs_in_one_place(json: str | None, csv: str | None, stream: bool) -> None:
    """Two machine formats are never mixed in one stream or file."""
    with pytest.raises(UsageError):
        output.check_outputs(json=json, csv=csv, json_stream=stream)


@pytest.mark.parametrize(
    ("json", "csv", "stream"), [(None, None, True), ("-", "a", False), ("a", "b", True), ("a", "-", False)]
)
def test_outputs_apart(json: str | None, csv: str | None, stream: bool) -> None:
    """One each is fine."""
    output.check_outputs(json=json, csv=csv, json_stream=stream)
