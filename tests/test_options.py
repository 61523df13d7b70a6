"""Units, and the targets and listeners that URLs and flags together stand for."""

from __future__ import annotations

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho import protocols
from netecho.errors import UsageError
from netecho.options import (
    check_addresses,
    check_multiplex,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_size,
    flags,
    output,
    panels,
    resolve_listeners,
    resolve_target,
    units,
)
from netecho.options.checks import MOST_SIZE
from netecho.plans import Family, MultiplexPlan, ProxyPlan, ReplyMode, RequestPlan, Stage, Target
from netecho.protocols._contract import Kind

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


@dataclasses.dataclass
class Words:
    """As much of an adapter as a command line sees."""

    name: str
    default_port: int | None
    secure_scheme: str | None
    kind: Kind = Kind.STREAM
    secured: Any = None
    has_requests: bool = False
    upgrades: bool = False
    has_resources: bool = False


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some protocols: with a secure form, with a path, with no form in clear; and some that nobody knows."""
    adapters = {
        "tcp": Words("tcp", 8000, "tls"),
        "udp": Words("udp", 7000, None),
        "unix": Words("unix", None, None),
        "http": Words("http", 8000, "https", has_resources=True),
        "shy": Words("shy", 4433, "shy"),
        "mist": Words("mist", 8000, "mists", Kind.DATAGRAM),
        "pipe": Words("pipe", None, None),
    }
    monkeypatch.setattr(protocols, "names", lambda: tuple(adapters))
    monkeypatch.setattr(protocols, "load", adapters.__getitem__)


@dataclasses.dataclass
class Reflects:
    """As much of an adapter as flags for reflectors ask of it."""

    reflects: bool


@pytest.mark.parametrize(
    ("reflect", "hmac_key", "stateful", "flag"),
    [
        ([False], None, False, None),
        ([True], "key", True, None),
        ([False, True], "key", True, None),
        ([False], "key", False, "--hmac-key"),
        ([False, False], None, True, "--stateful"),
        ([False], "key", True, "--hmac-key"),
    ],
)
def test_flags_for_reflectors(
    reflect: list[bool], hmac_key: str | None, stateful: bool, flag: str | None
) -> None:
    """They are of no use to other protocols, and then the first of them is named."""
    adapters: Any = [Reflects(reflects) for reflects in reflect]
    if flag is None:
        check_reflection(adapters, hmac_key, stateful)
    else:
        with pytest.raises(UsageError, match=f"{flag} is for reflectors"):
            check_reflection(adapters, hmac_key, stateful)


def test_flags_for_proxies() -> None:
    """They are for protocols with stream connections alone, and one that has none is named."""
    streams = [protocols.load(name) for name in ("tcp", "unix", "http", "ws", "smtp")]
    check_proxy(streams, "--proxy-protocol", True)
    for name in ("udp", "stamp"):
        adapters = [*streams, protocols.load(name)]
        check_proxy(adapters, "--send-proxy", False)
        with pytest.raises(UsageError, match=f"--send-proxy is for stream connections, which {name} does"):
            check_proxy(adapters, "--send-proxy", True)


@dataclasses.dataclass
class Multiplexes:
    """As much of an adapter as flags for streams ask of it."""

    multiplexes: bool
    has_qlog: bool
    name: str = "one"
    alpn: tuple[str, ...] = ("h2",)


@pytest.mark.parametrize(
    ("adapter", "streams", "qlog", "request_", "why"),
    [
        (Multiplexes(False, False), None, None, None, None),
        (Multiplexes(True, True), 3, "here", None, None),
        (Multiplexes(True, False), 3, None, RequestPlan(http2=True), None),
        (Multiplexes(True, False), 3, None, RequestPlan(), "add --http2"),
        (Multiplexes(False, True), 3, "here", None, "one has not"),
        (Multiplexes(True, False), 3, "here", None, "--qlog is for"),
        (Multiplexes(True, True), None, "nowhere", None, "no such directory"),
    ],
)
def test_flags_for_streams(
    adapter: Any,
    streams: int | None,
    qlog: str | None,
    request_: RequestPlan | None,
    why: str | None,
    tmp_path: pathlib.Path,
) -> None:
    """They are for protocols that have streams, or write down what they do, where that can be."""
    (tmp_path / "here").mkdir()
    multiplex = MultiplexPlan(streams, None if qlog is None else str(tmp_path / qlog))
    if why is None:
        check_multiplex(adapter, multiplex, request_)
    else:
        with pytest.raises(UsageError, match=why):
            check_multiplex(adapter, multiplex, request_)


def test_retries_are_of_quic() -> None:
    """Who has no connections of QUIC has nobody retry."""
    quic, tcp = (protocols.load(name) for name in ("quic", "tcp"))
    check_retry([tcp], False)
    check_retry([tcp, quic], True)
    with pytest.raises(UsageError, match="--quic-retry is for QUIC"):
        check_retry([tcp], True)


def test_qlog_needs_a_directory_of_ours(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody may write to is told before anything is sent."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    adapters: Any = [Multiplexes(True, True)]
    with pytest.raises(UsageError, match="cannot be written to"):
        check_qlog(adapters, str(tmp_path))


TCP = Target("tcp", "tcp", False, "host", 9000)
TLS = Target("tls", "tcp", True, "host", 9000)
UNIX = Target("unix", "unix", False, path="/a b")

TARGETS = [
    (("tcp://host:9000", None, None, False), TCP),
    (("tcp://host:9000", None, "tcp", False), TCP),
    (("tcp://host:9000/", None, None, False), TCP),
    (("tcp://host", 9000, None, False), TCP),
    (("host:9000", None, None, False), TCP),
    (("host", 9000, None, False), TCP),
    (("host", 9000, "tcp", False), TCP),
    (("tls://host:9000", None, None, False), TLS),
    (("tls://host:9000", None, "tcp", True), TLS),
    (("tcp://host:9000", None, None, True), TLS),
    (("host", 9000, None, True), TLS),
    (("unix:/a b", None, None, False), UNIX),
    (("unix:///a b", None, "unix", False), UNIX),
    (("/a b", None, None, False), UNIX),
    (("/a b", None, "unix", False), UNIX),
    ((None, None, None, False), Target()),
    ((None, None, "udp", False), Target("udp", "udp", port=7000)),
    (("localhost", None, None, False), Target(host="localhost")),
    (("::1", 80, None, False), Target(host="::1", port=80)),
    (("[::1]:80", None, None, False), Target(host="::1", port=80)),
    (("udp://host", None, None, False), Target("udp", "udp", host="host", port=7000)),
    (("shy://host", None, None, False), Target("shy", "shy", True, "host", 4433)),
    (("host", None, "shy", True), Target("shy", "shy", True, "host", 4433)),
    (("mists://host", None, None, False), Target("mists", "mist", True, "host", is_dtls=True)),
    (("host", None, "mist", True), Target("mists", "mist", True, "host", is_dtls=True)),
    (("host", None, "mist", False), Target("mist", "mist", host="host")),
    (("pipe:/a b", None, None, False), Target("pipe", "pipe", path="/a b")),
    (("/a b", None, "pipe", False), Target("pipe", "pipe", path="/a b")),
]

NO_TARGETS = [
    (("udp://host", None, "tcp", False), "--proto says tcp"),
    (("tls://host", None, "udp", False), "--proto says udp"),
    (("/path", None, "tcp", False), "--proto says tcp"),
    (("tcp://host:80", 80, None, False), "given twice"),
    (("host:80", 81, None, False), "given twice"),
    (("unix:/path", 80, None, False), "no port"),
    (("udp://host", None, None, True), "no form with TLS"),
    (("unix:/path", None, None, True), "no form with TLS"),
    (("*", None, None, False), "every address"),
    (("tcp://*:80", None, None, False), "every address"),
    (("tcp://:80", None, None, False), "no host"),
    ((":80", None, None, False), "no host"),
    (("8000", None, None, False), "tcp://HOST:8000"),
    (("host", 0, None, False), "port 0"),
    (("tcp://host:0", None, None, False), "port 0"),
    (("host", 70000, None, False), "65535"),
    (
        ("foo://host", None, None, False),
        "unknown scheme 'foo': it is one of tcp, udp, unix, http, shy, mist, pipe, https, mists, tls",
    ),
    (("tcp:/path", None, None, False), "tcp://HOST:PORT"),
    (("tcp://host/path", None, None, False), "has a path"),
    (("host/path", None, None, False), "has a path"),
    (("unix://host/path", None, None, False), "unix:/path"),
    (("unix://", None, None, False), "unix:/path"),
    ((None, None, "unix", False), "unix:/path"),
    (("host", None, "unix", False), "unix:/path"),
]


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "target"), TARGETS)
def test_target(asked: tuple[str | None, int | None, str | None, bool], target: Target) -> None:
    """A URL, and its parts apart, spell the same target."""
    assert resolve_target(*asked) == target


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "reason"), NO_TARGETS)
def test_no_target(asked: tuple[str | None, int | None, str | None, bool], reason: str) -> None:
    """Contradictions and gaps are refused in one line that says which."""
    with pytest.raises(UsageError, match=reason.replace("*", r"\*")) as caught:
        resolve_target(*asked)
    assert str(caught.value).isprintable()


LOOPBACK = Target()
LISTENERS = [
    (([], None, None, None, False), [LOOPBACK]),
    (([], None, 0, None, False), [Target(port=0)]),
    (([], None, None, "udp", False), [Target("udp", "udp", port=7000)]),
    (([], "::1", 80, None, True), [Target("tls", "tcp", True, "::1", 80)]),
    (([], "[::1]", 80, None, False), [Target(host="::1", port=80)]),
    (([], "*", None, None, False), [Target(host="::")]),
    ((["tcp://:9000"], None, None, None, False), [Target(port=9000)]),
    ((["tcp://:9000"], "host", None, None, False), [Target(host="host", port=9000)]),
    ((["tcp://*:9000"], None, None, None, False), [Target(host="::", port=9000)]),
    ((["tcp://host"], None, 0, None, False), [Target(host="host", port=0)]),
    ((["tcp://:0"], None, None, None, False), [Target(port=0)]),
    ((["tls://:9000"], None, None, None, False), [Target("tls", "tcp", True, port=9000)]),
    ((["/a"], None, None, None, False), [Target("unix", "unix", path="/a")]),
    (
        (["tcp://:1", "tls://host:2", "udp://", "unix:/a"], "*", None, None, False),
        [
            Target(host="::", port=1),
            Target("tls", "tcp", True, "host", 2),
            Target("udp", "udp", host="::", port=7000),
            Target("unix", "unix", path="/a"),
        ],
    ),
]
NO_LISTENERS = [
    ((["tcp://host:1"], "other", None, None, False), "--host other is of no use"),
    ((["unix:/a"], "other", None, None, False), "--host other is of no use"),
    ((["tcp://host:1"], None, 2, None, False), "--port 2 is of no use"),
    ((["unix:/a"], None, 2, None, False), "--port 2 is of no use"),
    ((["udp://:1"], None, None, "tcp", False), "--proto says tcp"),
    ((["tcp://:1", "udp://:2"], None, None, None, True), "udp has no form with TLS"),
    (([], None, None, "unix", False), "unix:/path"),
    (([], "host:80", None, None, False), "--host host:80"),
    (([], "/path", None, None, False), "--host /path"),
    (([], "8000", None, None, False), "8000 is a number"),
    ((["8000"], None, None, None, False), "8000 is a number"),
    (([], "", None, None, False), "not a URL or host"),
]
Asked = tuple[list[str], str | None, int | None, str | None, bool]


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "listeners"), LISTENERS)
def test_listeners(asked: Asked, listeners: list[Target]) -> None:
    """Listeners are on loopback unless a URL or --host says more."""
    assert list(resolve_listeners(*asked)) == listeners


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "reason"), NO_LISTENERS)
def test_no_listeners(asked: Asked, reason: str) -> None:
    """What contradicts itself, or would be ignored, is refused."""
    with pytest.raises(UsageError, match=reason):
        resolve_listeners(*asked)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("tcp", 0, "-l: a message on tcp has at least 1 byte, not 0"),
        ("tcp", MOST_SIZE, None),
        ("tcp", 10 << 30, "-l: a message on tcp has at most 134217728 bytes, not 10737418240"),
        ("http", MOST_SIZE + 1, "-l: a message on http has at most 134217728 bytes, not 134217729"),
        ("udp", MOST_SIZE, "-l: a message on udp has at most 65507 bytes, not 134217728"),
    ],
)
def test_sizes(name: str, size: int, says: str | None) -> None:
    """A message is as long as its protocol takes, and never so long that it cannot be made."""
    adapter = protocols.load(name)
    if says is None:
        check_size(adapter, size, "-l")
        return
    with pytest.raises(UsageError) as caught:
        check_size(adapter, size, "-l")
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("urls", "clash"),
    [
        (["http://:8000", "tcp://:8000"], True),
        (["quic://:8000", "udp://:8000"], True),
        (["https://:8000", "http3://:8000", "tcp://:8001", "tcp://[::1]:8000"], False),
        (["http://:0", "tcp://:0"], False),
        (["unix:/a", "unix:/b"], False),
    ],
)
def test_addresses_of_several_protocols(urls: list[str], clash: bool) -> None:
    """Two protocols cannot have one port, unless only one of them is on UDP."""
    targets = resolve_listeners(urls, None, None, None, False)
    adapters = [protocols.for_target(target) for target in targets]
    told = pytest.raises(UsageError, match="twice") if clash else contextlib.nullcontext()
    with told:
        check_addresses(adapters, targets)


def test_replies() -> None:
    """A listener whose protocol cannot answer so is named, with what it can."""
    adapters = [protocols.load(name) for name in ("tcp", "smtp")]
    check_replies(adapters, ReplyMode.DISCARD)
    with pytest.raises(UsageError, match="smtp cannot answer with --reply chargen: it takes echo, dis"):
        check_replies(adapters, ReplyMode.CHARGEN)
    with pytest.raises(UsageError, match="tcp cannot answer with --reply reject: it takes echo, disc"):
        check_replies(adapters, ReplyMode.REJECT)
    with pytest.raises(UsageError, match="smtp cannot answer with --reply broadcast"):
        check_replies(adapters, ReplyMode.BROADCAST)
    with pytest.raises(UsageError, match="udp cannot answer with --reply info"):
        check_replies([protocols.load("udp")], ReplyMode.INFO)
