"""Plans: how URLs are taken apart, what is refused, and what a result says of a plan."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.errors import UsageError
from netecho.plans import (
    SECOND,
    Arrival,
    BenchPlan,
    ClientTLS,
    Family,
    ListenPlan,
    Location,
    MailPlan,
    Mode,
    MultiplexPlan,
    Portion,
    ProbePlan,
    ProxyPlan,
    ReplyMode,
    RequestPlan,
    ServerTLS,
    SocketOptions,
    Stage,
    TalkPlan,
    Target,
    Timer,
    TLSVersion,
)

LOCATIONS = [
    ("tcp://host:80", Location("tcp", "host", 80)),
    ("TCP://Host:80", Location("tcp", "host", 80)),
    ("tcp://host", Location("tcp", "host")),
    ("tcp://:80", Location("tcp", None, 80)),
    ("tcp://*:80", Location("tcp", "*", 80)),
    ("http://host/path", Location("http", "host", None, "/path")),
    ("http://host?query", Location("http", "host", None, None, "query")),
    ("http://host/path?a=b&c", Location("http", "host", None, "/path", "a=b&c")),
    ("//host:80", Location(None, "host", 80)),
    ("host:80", Location(None, "host", 80)),
    ("host", Location(None, "host")),
    (":80", Location(None, None, 80)),
    ("*:80", Location(None, "*", 80)),
    ("::1", Location(None, "::1")),
    ("[::1]", Location(None, "::1")),
    ("[::1]:80", Location(None, "::1", 80)),
    ("tcp://[::1]:80", Location("tcp", "::1", 80)),
    ("tcp://[fe80::1%Eth0]:80", Location("tcp", "fe80::1%Eth0", 80)),
    ("tcp://[fe80::1%25Eth0]:80", Location("tcp", "fe80::1%Eth0", 80)),
    ("[fe80::1%2525]:80", Location(None, "fe80::1%25", 80)),
    ("//[fe80::1%25]", Location(None, "fe80::1%25")),
    ("unix:/path", Location("unix", path="/path")),
    ("unix:///path", Location("unix", path="/path")),
    ("unix:./path", Location("unix", path="./path")),
    ("unix:../path", Location("unix", path="../path")),
    ("unix:/with space", Location("unix", path="/with space")),
    ("/path", Location(path="/path")),
    ("./path", Location(path="./path")),
    ("../path", Location(path="../path")),
    ("/with space", Location(path="/with space")),
]

NOT_LOCATIONS = {
    "": "is not a URL or host",
    "a b": "is not a URL or host",
    "a\nb": "is not a URL or host",
    "/a\x1b": "is not a URL or host",
    "host:port": "is not a URL or host",
    "host:70000": "port 70000",
    "host:-1": "is not a URL or host",
    "host:8_0": "is not a URL or host",
    "host:８０": "is not a URL or host",  # noqa: RUF001
    "unix:sock": "unix:/path",
    "unix:@sock": "abstract name, which is not supported: write unix:/path",
    "@sock": "abstract name",
    "[::1": "is not a URL or host",
    "[::1]80": "is not a URL or host",
    "1://host": "is not a URL or host",
    "://host": "is not a URL or host",
    "tcp://user@host": "user name or password",
    "tcp://user:word@host": "user name or password",
    "tcp://host#part": "fragment",
    "?": "is not a URL or host",
}


@pytest.mark.parametrize(("text", "location"), LOCATIONS)
def test_location(text: str, location: Location) -> None:
    """Every spelling of a place is taken apart."""
    assert Location.parse(text) == location


@pytest.mark.parametrize(("text", "reason"), NOT_LOCATIONS.items())
def test_not_a_location(text: str, reason: str) -> None:
    """What is no place is refused in one line that says why."""
    with pytest.raises(UsageError, match=reason) as caught:
        Location.parse(text)
    assert str(caught.value).isprintable()


@given(st.text(max_size=30) | st.text(alphabet="tcp:/[]*.%@?#1a \n", max_size=30))
def test_location_of_anything(text: str) -> None:
    """Any text is either a place or a usage error; nothing else happens."""
    with contextlib.suppress(UsageError):
        location = Location.parse(text)
        assert location.port is None or 0 <= location.port <= 65535


hosts = st.one_of(
    st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=20),
    st.ip_addresses().map(str),
    st.sampled_from(["fe80::1%eth0", "fe80::1%2", "fe80::1%25", "fe80::1%251"]),
)


@given(hosts, st.integers(0, 65535), st.sampled_from(["tcp", "tls", "udp"]))
def test_target_round_trip(host: str, port: int, scheme: str) -> None:
    """A target's URL is taken apart into what it was made of."""
    location = Location.parse(str(Target(scheme, "tcp", host=host, port=port)))
    assert location == Location(scheme, host, port)


@given(st.sampled_from(["/", "./", "../"]), st.text(string.ascii_letters + " :.-%", max_size=20))
def test_path_round_trip(start: str, rest: str) -> None:
    """So is the URL of a path, when it does not begin like a host's."""
    path = start + rest
    assert Location.parse(str(Target("unix", "unix", path=path))) == Location("unix", path=path)


@pytest.mark.parametrize("port", [-1, 65536])
def test_target_port(port: int) -> None:
    """A target has a port that exists."""
    with pytest.raises(UsageError, match="65535"):
        Target(port=port)


def test_key_without_certificate() -> None:
    """A key needs its certificate, on either side."""
    with pytest.raises(UsageError, match="--cert"):
        ServerTLS(key="k")
    with pytest.raises(UsageError, match="--cert"):
        ClientTLS(key="k")
    assert ServerTLS("c", "k").key == ClientTLS(None, "c", "k").key == "k"


def test_ciphers_need_the_version_that_has_them() -> None:
    """A choice of TLS 1.2's is none for a server that does not speak it."""
    with pytest.raises(UsageError, match="does not speak: leave one out"):
        ServerTLS(minimum=TLSVersion.TLS_1_3, ciphers="AES128-GCM-SHA256")
    assert ServerTLS(minimum=TLSVersion.TLS_1_2, ciphers="AES128-GCM-SHA256").ciphers


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dscp": 64}, "63"),
        ({"dscp": -1}, "63"),
        ({"ttl": 0}, "255"),
        ({"ttl": 256}, "255"),
        ({"mtu": 303}, "304"),
        ({"mtu": 65_536}, "65535"),
        ({"source": "host"}, "not an IP address"),
        ({"source": "::1", "family": Family.IPV4}, "IPv4"),
        ({"source": "127.0.0.1", "family": Family.IPV6}, "IPv6"),
        ({"source": "fe80::1"}, "goes with an interface of this machine, as in fe80::1%eth0"),
    ],
)
def test_socket_options_refused(options: dict[str, object], reason: str) -> None:
    """Options that no socket could have are refused."""
    with pytest.raises(UsageError, match=reason):
        SocketOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"dscp": 0, "ttl": 1, "mtu": 304},
        {"dscp": 63, "ttl": 255, "mtu": 65_535},
        {"source": "::1", "family": Family.IPV6},
        {"source": "fe80::1%eth0"},
    ],
)
def test_socket_options(options: dict[str, object]) -> None:
    """The limits themselves are allowed."""
    assert SocketOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"family": Family.IPV4}, "-4/--ipv4"),
        ({"family": Family.IPV6}, "-6/--ipv6"),
        ({"source": "::1"}, "--source"),
        ({"dscp": 0}, "--dscp"),
        ({"ttl": 1}, "--ttl"),
    ],
)
def test_paths_have_no_packets(options: dict[str, object], flag: str) -> None:
    """What is asked of IP is refused where a socket has a path."""
    sockets = SocketOptions(**options)  # type: ignore[arg-type]
    path = Target("unix", "unix", path="/a")
    for make in (TalkPlan, ProbePlan, BenchPlan):
        with pytest.raises(UsageError) as caught:
            make(path, sockets=sockets)
        assert str(caught.value) == f"{flag} is of IP, which unix is without: leave it out"
        assert make(Target(), sockets=sockets).sockets == sockets
        assert make(path).sockets == SocketOptions()


@pytest.mark.parametrize("make", [ProbePlan, BenchPlan])
@pytest.mark.parametrize(("name", "flag"), [("duration_ns", "-z/--duration"), ("timeout_ns", "-w/--timeout")])
def test_no_time(make: Any, name: str, flag: str) -> None:
    """No time at all is refused, in words without a unit."""
    with pytest.raises(UsageError) as caught:
        make(Target(), **{name: 0})
    assert str(caught.value) == f"{flag} must be more than 0"


def test_listen_plan_needs_listeners() -> None:
    """There is something to listen on."""
    with pytest.raises(UsageError, match="nothing to listen on"):
        ListenPlan(())


@pytest.mark.parametrize(
    "listeners",
    [
        (Target(), Target()),
        (Target(), Target(), Target(port=0)),
        (Target(), Target("tls", "tcp", True)),
        (Target("unix", "unix", path="/a"), Target("unix", "unix", path="/a")),
        (Target("unix", "unix", port=0, path="/a"), Target("unix", "unix", port=0, path="/a")),
    ],
)
def test_listen_twice(listeners: tuple[Target, ...]) -> None:
    """One address is not asked for twice, with TLS or without."""
    with pytest.raises(UsageError, match="twice"):
        ListenPlan(listeners)


@pytest.mark.parametrize(
    "listeners",
    [
        (Target(port=0), Target(port=0)),
        (Target(), Target("udp", "udp")),
        (Target(), Target(host="::1")),
        (Target("unix", "unix", path="/a"), Target("unix", "unix", path="/b")),
    ],
)
def test_listen_on_several(listeners: tuple[Target, ...]) -> None:
    """Free ports, other protocols, other addresses and other paths stand beside each other."""
    assert ListenPlan(listeners).listeners == listeners


def test_limits_of_listen_plan() -> None:
    """A server serves somebody."""
    with pytest.raises(UsageError, match="--max-connections"):
        ListenPlan((Target(),), max_connections=0)
    assert ListenPlan((Target(),), max_connections=1).max_connections == 1
    with pytest.raises(UsageError, match="--idle-timeout must be more than 0"):
        ListenPlan((Target(),), idle_timeout_ns=0)


def test_where_http3_is() -> None:
    """Who answers in https says it, of a port that there is."""
    https = Target("https", "http", True)
    assert ListenPlan((Target(port=1), https), alt_svc=8443).alt_svc == 8443
    with pytest.raises(UsageError, match="which no listener speaks: add https://"):
        ListenPlan((Target("http", "http"),), alt_svc=8443)
    with pytest.raises(UsageError, match="--alt-svc"):
        ListenPlan((https,), alt_svc=0)


def test_several_servers_share_out_the_connections() -> None:
    """Each has every listener and its share of the connections; there are enough for each, or no limit."""
    listeners = (Target(), Target(port=1))
    shares = ListenPlan(listeners, max_connections=5, workers=3).split()
    assert [one.max_connections for one in shares] == [2, 2, 1]
    assert {(one.listeners, one.workers) for one in shares} == {(listeners, 1)}
    assert [one.max_connections for one in ListenPlan(listeners, workers=2).split()] == [None, None]
    with pytest.raises(UsageError, match="at least as many as --workers"):
        ListenPlan(listeners, max_connections=2, workers=3)
    with pytest.raises(UsageError, match="--workers"):
        ListenPlan(listeners, workers=0)
    with pytest.raises(UsageError, match="broadcast is for one process"):
        ListenPlan(listeners, ReplyMode.BROADCAST, workers=2)


@pytest.mark.parametrize(("duration", "target"), [(-1, 0), (0, -1), (0, math.inf), (0, math.nan)])
def test_stages_refused(duration: int, target: float) -> None:
    """A stage takes its time, and leads somewhere."""
    with pytest.raises(UsageError, match="a stage has"):
        Stage(duration, target)


def test_stage_json() -> None:
    """A result tells a stage by its keys."""
    assert Stage(SECOND, 5.0).to_json() == {"duration_ns": SECOND, "target": 5.0}


@pytest.mark.parametrize(
    ("plan", "options", "flag"),
    [
        (TalkPlan, {"timeout_ns": 0}, "--timeout"),
        (ProbePlan, {"count": 0}, "--count"),
        (ProbePlan, {"interval_ns": -1}, "--interval"),
        (ProbePlan, {"duration_ns": 0}, "--duration"),
        (ProbePlan, {"size": -1}, "--size"),
        (ProbePlan, {"timeout_ns": 0}, "--timeout"),
        (BenchPlan, {"connections": 0}, "--connections"),
        (BenchPlan, {"exchanges": 0}, "--exchanges"),
        (BenchPlan, {"duration_ns": 0}, "--duration"),
        (BenchPlan, {"size": -1}, "--size"),
        (BenchPlan, {"pipeline": 0}, "--pipeline"),
        (BenchPlan, {"warmup_ns": -1}, "--warmup"),
        (BenchPlan, {"timeout_ns": 0}, "--timeout"),
        (BenchPlan, {"connect_rate": 0.0}, "--connect-rate"),
        (BenchPlan, {"connect_rate": math.nan}, "--connect-rate"),
        (BenchPlan, {"duration_ns": None}, "needs an end"),
    ],
)
def test_refused(plan: type, options: dict[str, object], flag: str) -> None:
    """What cannot be done is refused by the flag's name."""
    with pytest.raises(UsageError, match=flag):
        plan(Target(), **options)


def test_tls_in_vain() -> None:
    """A flag for TLS where none is spoken is a mistake; a key log, which the environment asks for, is not."""
    with pytest.raises(UsageError, match="no listener speaks it"):
        ListenPlan((Target(),), tls=ServerTLS("c"))
    assert ListenPlan((Target(), Target("tls", "tcp", True, port=1)), tls=ServerTLS("c")).tls.certificate
    for plan in (TalkPlan, ProbePlan, BenchPlan):
        with pytest.raises(UsageError, match="does not speak it: add --tls"):
            plan(Target(), tls=ClientTLS(insecure=True))
        assert plan(Target(), tls=ClientTLS(keylog="k")).tls.keylog
        assert plan(Target("tls", "tcp", True), tls=ClientTLS(insecure=True)).tls.insecure


def test_probe_payload() -> None:
    """A probe's size is its message's, when it has one."""
    assert ProbePlan(Target(), size=10).payload_size == 10
    assert ProbePlan(Target(), message=b"abc").payload_size == 3
    assert ProbePlan(Target(), message=b"").payload_size == 0


def test_probe_json() -> None:
    """A result tells the pace of a probe, and keeps quiet on TLS where there is none."""
    told = ProbePlan(Target(), count=3, interval_ns=SECOND // 4).to_json()
    assert told["target"] == "tcp://127.0.0.1:8000"
    assert told["rate_per_s"] == 4.0
    assert told["tls"] is None
    assert ProbePlan(Target(), interval_ns=0).to_json()["rate_per_s"] is None


def test_bench_json() -> None:
    """A result tells how TLS was spoken, but not where a key lies."""
    tls = ClientTLS(None, "secret.pem", "secret.key", True, "name", ("h2",), "secret.log")
    told = BenchPlan(Target("tls", "tcp", True), tls=tls, connect_rate=5.0).to_json()
    assert told["tls"] == {
        "insecure": True,
        "server_name": "name",
        "alpn": ["h2"],
        "client_certificate": True,
    }
    assert told["connect_rate_per_s"] == 5.0
    assert "secret" not in json.dumps(told)


@given(
    st.integers(1, 10_000),
    st.none() | st.integers(1, 10_000),
    st.none() | st.floats(0.01, 1e9),
    st.integers(-1, 100),
    st.integers(1, 1000),
    st.booleans(),
)
def test_split(
    connections: int,
    exchanges: int | None,
    rate: float | None,
    parts: int,
    in_flight: int,
    per_connection: bool,
) -> None:
    """The parts of a plan add up to it, differ by at most one, and none has nothing to do."""
    plan = BenchPlan(
        Target(),
        connections=connections,
        exchanges=exchanges,
        connect_rate=rate,
        max_in_flight=in_flight,
        rate_per_connection=5.0 if per_connection else None,
        workers=7,
    )
    split = plan.split(parts)
    assert 1 <= len(split) <= max(1, parts)
    shares = [part.connections for part in split]
    assert sum(shares) == connections
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= 1
    assert sum(part.max_in_flight for part in split) == in_flight
    assert min(part.max_in_flight for part in split) >= 1
    assert all(part.workers == 1 for part in split)
    if exchanges is None:
        assert all(part.exchanges is None for part in split)
    else:
        each = [part.exchanges or 0 for part in split]
        assert sum(each) == exchanges
        assert min(each) >= 1
        assert per_connection or max(each) - min(each) <= 1
    if rate is None:
        assert all(part.connect_rate is None for part in split)
    else:
        assert math.isclose(sum(part.connect_rate or 0 for part in split), rate)


@given(st.integers(1, 40), st.none() | st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
def test_split_again(connections: int, exchanges: int | None, parts: int, again: int) -> None:
    """Parts of parts are parts of the whole: each number is in one of them."""
    plan = BenchPlan(Target(), connections=connections, exchanges=exchanges)
    split = [part for half in plan.split(parts) for part in half.split(again)]
    portions = [part.portion or Portion(0, 1, connections, exchanges) for part in split]
    for total, shares in (
        (connections, [part.connections for part in split]),
        (exchanges, [part.exchanges for part in split]),
    ):
        if total is not None:
            assert sorted(number for one in portions for number in one.numbers(total)) == list(range(total))
            assert [len(one.numbers(total)) for one in portions] == shares


OPEN: dict[str, Any] = {"rate": 100.0}
SECURE = Target("tls", "tcp", True)
RAMP: dict[str, Any] = {"stages": (Stage(SECOND, 100.0), Stage(2 * SECOND, 0.0)), "duration_ns": None}
CROWD: dict[str, Any] = {"connections_stages": (Stage(4 * SECOND, 50.0),), "duration_ns": None}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rate": 0.0}, "-q/--rate must be more than 0"),
        ({"rate": math.inf}, "-q/--rate must be more than 0"),
        ({"rate_per_connection": -1.0}, "--rate-per-connection must be more than 0"),
        ({"rate": 1.0, "rate_per_connection": 1.0}, "leave out --rate-per-connection"),
        ({"rate_per_connection": 1.0, **CROWD}, "give it as -q/--rate"),
        ({"arrival": Arrival.POISSON}, "add -q/--rate"),
        ({"timer": Timer.HYBRID}, "--timer is how the exchanges of a rate are waited for: add -q/--rate"),
        ({"max_in_flight": 0}, "--max-in-flight must be at least 1"),
        ({"pipeline": 1_000_001}, "--pipeline must be at most 1000000"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"abort_on_fail": True}, "--abort-on-fail needs an objective"),
        ({**RAMP, "duration_ns": SECOND}, "leave out -z"),
        ({**CROWD, "duration_ns": SECOND}, "leave out -z"),
        ({"stages": (Stage(0, 5.0),), "duration_ns": None}, "without any duration"),
        ({"stages": (Stage(SECOND, 0.0),), "duration_ns": None}, "never lead to a rate"),
        ({**RAMP, "warmup_ns": 1}, "--warmup needs a rate"),
        ({"connections_stages": (Stage(SECOND, 1.5),), "duration_ns": None}, "whole numbers of connections"),
        ({"connections": 0, **CROWD}, "-c/--connections must be at least 1"),
        ({"connections_lifetime_ns": 0}, "--connections-lifetime must be more than 0"),
        ({"mode": Mode.HANDSHAKE}, "tcp://127.0.0.1:8000 does not speak: add --tls"),
        ({"resume": True}, "--resume is for TLS"),
        ({"resume": True, "mode": Mode.CONNECT, "target": SECURE}, "--resume is for TLS"),
        ({"mode": Mode.CONNECT, "multiplex": MultiplexPlan(2)}, "--streams is for connections that stay"),
        ({"mode": Mode.CONNECT, "pipeline": 2}, "--pipeline is for connections that stay"),
        ({"mode": Mode.CONNECT, "reconnect": False}, "--no-reconnect is for connections that stay"),
        ({"mode": Mode.CONNECT, "connect_rate": 5.0}, "-q how many are opened a second"),
        ({"mode": Mode.CONNECT, "rate_per_connection": 5.0}, "--rate-per-connection is for"),
        ({"mode": Mode.CONNECT, "connections_lifetime_ns": SECOND}, "those of --mode connect do not"),
    ],
)
def test_load_refused(options: dict[str, Any], reason: str) -> None:
    """A load that contradicts itself is refused, in words that say what to do."""
    with pytest.raises(UsageError, match=reason):
        BenchPlan(**{"target": Target(), **options})


def test_streams() -> None:
    """A plan says how many there may be at once on a connection, and that there may not be none."""
    plan = BenchPlan(Target(), multiplex=MultiplexPlan(3, "directory"))
    assert plan.to_json()["streams"] == 3
    assert BenchPlan(Target()).to_json()["streams"] is None
    with pytest.raises(UsageError, match="--streams must be at least 1"):
        MultiplexPlan(0)


@pytest.mark.parametrize(
    ("options", "open_loop", "length"),
    [
        ({}, False, 10 * SECOND),
        ({"exchanges": 5, "duration_ns": None}, False, None),
        (OPEN, True, 10 * SECOND),
        ({"rate_per_connection": 2.0, "exchanges": 5, "duration_ns": None}, True, None),
        (RAMP, True, 3 * SECOND),
        ({**RAMP, "rate": 5.0, "warmup_ns": SECOND}, True, 3 * SECOND),
        ({**RAMP, "exchanges": 5}, True, 3 * SECOND),
        (CROWD, False, 4 * SECOND),
        ({**RAMP, **CROWD}, True, 4 * SECOND),
        ({"stages": (Stage(SECOND, 0.0),), "rate": 5.0, "duration_ns": None}, True, SECOND),
        ({"slo": ("p(99)<1ms",), "abort_on_fail": True, **OPEN}, True, 10 * SECOND),
    ],
)
def test_loads(options: dict[str, Any], open_loop: bool, length: int | None) -> None:
    """A rate makes an open loop; stages of whatever kind say how long it is."""
    plan = BenchPlan(Target(), **options)
    assert plan.open_loop is open_loop
    assert plan.length_ns == length


def test_stages_of_connections_are_divided() -> None:
    """There may be as many parts as there are ever to be connections, though some have none at first."""
    stages = (Stage(SECOND, 5.0), Stage(SECOND, 0.0))
    plan = BenchPlan(Target(), connections=1, connections_stages=stages, duration_ns=None)
    assert plan.most_connections == 5
    assert [part.connections for part in plan.split(3)] == [1, 0, 0]
    assert len(plan.split(9)) == 5
    assert len(BenchPlan(Target(), connections=2).split(9)) == 2


def test_mode_json() -> None:
    """A result says what was repeated, and of TLS whether sessions were resumed."""
    told = BenchPlan(SECURE, mode=Mode.HANDSHAKE, resume=True).to_json()
    assert (told["mode"], told["resume"], told["connections_lifetime_ns"]) == ("handshake", True, None)
    told = BenchPlan(Target(), connections_lifetime_ns=SECOND).to_json()
    assert (told["mode"], told["resume"], told["connections_lifetime_ns"]) == ("exchange", None, SECOND)


def test_load_json() -> None:
    """A result tells all that it takes to make the run again, and nothing of what was not asked for."""
    told = BenchPlan(
        Target(), rate=100.0, arrival=Arrival.POISSON, seed=7, slo=("loss<1%",), workers=2, **CROWD
    ).to_json()
    assert told["model"] == "open"
    assert told["rate_per_s"] == 100.0
    assert (told["arrival"], told["seed"], told["workers"], told["slo"]) == ("poisson", 7, 2, ["loss<1%"])
    assert told["connections_stages"] == [{"duration_ns": 4 * SECOND, "target": 50.0}]
    assert told["stages"] is None
    assert told["max_in_flight"] == 100_000
    closed = BenchPlan(Target()).to_json()
    assert closed["model"] == "closed"
    absent = ("rate_per_s", "rate_per_connection_per_s", "arrival", "seed", "stages", "max_in_flight")
    assert [closed[key] for key in absent] == [None] * len(absent)
    assert BenchPlan(Target(), **RAMP).to_json()["seed"] is None


def test_request() -> None:
    """How messages travel in requests: what is sent, what is told of it, and when it is echoed."""
    usual = RequestPlan()
    assert usual.message is None
    assert usual.alpn == ("http/1.1",)
    assert usual.has_content
    assert usual.is_echoed(0)
    other = RequestPlan("GET", ("Authorization: secret", "X:"), "\xff", http2=True)
    assert other.message == b"\xff"
    assert other.alpn == ("h2",)
    assert not other.has_content
    assert other.is_echoed(1)
    assert not other.is_echoed(0)
    assert not RequestPlan("HEAD").is_echoed(1)
    assert other.to_json() == {"method": "GET", "headers": ["Authorization", "X"], "http2": True}
    target = Target("http", "http", resource="/a?b")
    assert str(target) == "http://127.0.0.1:8000/a?b"
    assert BenchPlan(target, request=other).to_json()["request"] == other.to_json()
    assert BenchPlan(target).to_json()["request"] is None


def test_host_of_a_request() -> None:
    """A host that is named takes the place of the target's, and is none of the other fields."""
    assert RequestPlan(headers=("X: y",)).host is None
    request = RequestPlan(headers=("X:y ", "host: [2001:db8::7]:81"))
    assert request.host == "[2001:db8::7]:81"
    assert request.fields == (("X", "y"),)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (("Host: a", "host:b"), "a request is for one host"),
        (("Host: a/b",), "'a/b' is not a host, or a host and port"),
        (("Host:",), "'' is not a host"),
    ],
)
def test_no_host_of_a_request(headers: tuple[str, ...], reason: str) -> None:
    """It is one, and is a host."""
    with pytest.raises(UsageError, match=f"--header Host: {reason}"):
        RequestPlan(headers=headers)


def test_request_to_upgrade() -> None:
    """What a connection begins with carries no message: those that come then are echoed, whatever it is."""
    request = RequestPlan("GET", ("Sec-WebSocket-Protocol: chat", "Origin: x"), upgrades=True)
    assert request.has_content
    assert request.is_echoed(0)
    assert RequestPlan("GET", ("Sec-WebSocket-Key: x",)).headers
    with pytest.raises(UsageError, match="Sec-WebSocket-Key is for netecho itself"):
        RequestPlan("GET", ("Sec-WebSocket-Key: x",), upgrades=True)


def test_mail() -> None:
    """Mails are from nobody and for nobody unless it is said, and the result says it."""
    usual = MailPlan()
    assert usual.to_json() == {
        "sender": "netecho@netecho.invalid",
        "recipient": "echo@netecho.invalid",
        "ehlo": None,
    }
    other = MailPlan("", "\xfc@example.org", "[192.0.2.1]")
    for plan in (ProbePlan, BenchPlan):
        assert plan(MAIL, mail=other).to_json()["mail"] == other.to_json()
        assert plan(Target()).to_json()["mail"] is None


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"sender": "a b"}, "--from"),
        ({"sender": "a\r\nRCPT TO:<b>"}, "--from"),
        ({"sender": "a\udcff@b"}, "--from"),
        ({"recipient": ""}, "--to"),
        ({"recipient": "<a@b>"}, "--to"),
        ({"ehlo": "a b"}, "--ehlo"),
        ({"ehlo": "\xfc"}, "--ehlo"),
    ],
)
def test_no_mail(fields: dict[str, str], flag: str) -> None:
    """What is no address, and what would end a command, is refused."""
    with pytest.raises(UsageError, match=flag):
        MailPlan(**fields)


@pytest.mark.parametrize(
    ("method", "header", "reason"),
    [
        ("G T", "a: b", "--method"),
        ("", "a: b", "--method"),
        ("CONNECT", "a: b", "--method"),
        ("GET", "a", "--header"),
        ("GET", "a b: c", "--header"),
        ("GET", ": c", "--header"),
        ("GET", "a: b\r\nc: d", "--header"),
        ("GET", "Content-Length: 3", "leave it out"),
    ],
)
def test_no_request(method: str, header: str, reason: str) -> None:
    """What HTTP cannot carry, and what would change where a message ends, is refused."""
    with pytest.raises(UsageError, match=reason):
        RequestPlan(method, (header,))


MAIL = Target("smtp", "smtp", upgrades=True)


@pytest.mark.parametrize("plan", [TalkPlan, ProbePlan, BenchPlan])
def test_starttls(plan: type[TalkPlan | ProbePlan | BenchPlan]) -> None:
    """TLS comes later, or at once, and not at all on protocols that begin in clear and stay so."""
    tls = ClientTLS(authorities="a", starttls=True)
    assert plan(MAIL, tls=tls).tls == tls
    with pytest.raises(UsageError, match="add --proto smtp"):
        plan(Target(), tls=tls)
    with pytest.raises(UsageError, match="exclude each other"):
        plan(dataclasses.replace(MAIL, secure=True), tls=tls)


def test_starttls_in_a_result() -> None:
    """A result says that TLS came later, and nothing of it where it did not."""
    assert ProbePlan(MAIL, tls=ClientTLS(starttls=True)).to_json()["tls"]["starttls"] is True
    assert "starttls" not in ProbePlan(dataclasses.replace(MAIL, secure=True)).to_json()["tls"]
    assert ProbePlan(MAIL).to_json()["tls"] is None


def test_where_tls_is_spoken() -> None:
    """On secure listeners, and where there is a certificate on those that can turn to TLS."""
    clear, secure = Target(), Target("tls", "tcp", True, port=8443)
    certified = ServerTLS(certificate="c")
    assert ListenPlan((clear, MAIL)).tls_hosts == frozenset()
    assert ListenPlan((MAIL,), tls=certified).tls_hosts == {MAIL.host}
    mail = dataclasses.replace(MAIL, host="::1")
    assert ListenPlan((clear, mail, secure)).tls_hosts == {secure.host, "::1"}
    for tls in (certified, ServerTLS(alpn=("h2",))):
        with pytest.raises(UsageError, match="no listener speaks it"):
            ListenPlan((clear,) if tls is certified else (MAIL,), tls=tls)


DTLS = Target("dtls", "udp", True, is_dtls=True)


def test_dtls_listeners() -> None:
    """A listener of DTLS may be told how large packets are, and none other; DTLS 1.3 there is not."""
    plain = Target("udp", "udp", port=1)
    assert ListenPlan((plain, DTLS), mtu=576).mtu == 576
    with pytest.raises(UsageError, match="--mtu is of DTLS"):
        ListenPlan((plain,), mtu=576)
    with pytest.raises(UsageError, match="not between"):
        ListenPlan((DTLS,), mtu=100)
    newest = ServerTLS(minimum=TLSVersion.TLS_1_3)
    with pytest.raises(UsageError, match="--tls-min"):
        ListenPlan((DTLS,), tls=newest)
    assert ListenPlan((Target("tls", "tcp", True),), tls=newest).tls is newest


@pytest.mark.parametrize(("host", "room"), [("127.0.0.1", 1215), ("::1", 1195), ("localhost", 1195)])
def test_messages_fit_into_packets(host: str, room: int) -> None:
    """With --mtu a message must fit, whatever the name of a host stands for; and there must be DTLS."""
    target, sockets = dataclasses.replace(DTLS, host=host), SocketOptions(mtu=1280)
    assert target.room(1280) == room
    assert BenchPlan(target, size=room, sockets=sockets).to_json()["mtu"] == 1280
    assert ProbePlan(target, size=room, sockets=sockets).to_json()["mtu"] == 1280
    assert "mtu" not in BenchPlan(target).to_json()
    for wrong in (
        lambda: BenchPlan(target, size=room + 1, sockets=sockets),
        lambda: ProbePlan(target, message=bytes(room + 1), sockets=sockets),
    ):
        with pytest.raises(UsageError, match=f"does not fit into --mtu 1280: {room} do"):
            wrong()
    assert TalkPlan(target, sockets).sockets.mtu == 1280
    with pytest.raises(UsageError, match="add --proto udp --tls"):
        TalkPlan(Target(), sockets)


def test_proxy() -> None:
    """A result says which PROXY header connections began with, and where it said they come from."""
    plan = ProxyPlan(1, "2001:db8::1", 65535)
    told = {"version": 1, "source": "2001:db8::1", "port": 65535}
    assert BenchPlan(Target(), proxy=plan).to_json()["send_proxy"] == told
    assert ProbePlan(Target(), proxy=plan).to_json()["send_proxy"] == told
    assert ProbePlan(Target()).to_json()["send_proxy"] is None
    assert BenchPlan(Target()).to_json()["send_proxy"] is None


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ((3,), "versions of the PROXY protocol"),
        ((2, "host"), "'host' is not an IP address"),
        ((2, "fe80::1%lo"), "is not an IP address"),
        ((2, "192.0.2.1", 65536), "a number from 0 to 65535"),
        ((2, None, 80), "a port follows an address"),
    ],
)
def test_no_proxy(plan: tuple[Any, ...], reason: str) -> None:
    """What no header can say is refused."""
    with pytest.raises(UsageError, match=reason):
        ProxyPlan(*plan)


@pytest.mark.parametrize("parts", [1, 3])
def test_exchanges_without_end(parts: int) -> None:
    """A count that no run ever comes to is divided like any other."""
    plan = BenchPlan(Target(), connections=3, exchanges=10**27, duration_ns=SECOND)
    shares = [part.exchanges for part in plan.split(parts)]
    assert len(shares) == parts
    assert sum(one or 0 for one in shares) == 10**27


@pytest.mark.parametrize(
    ("request_plan", "alpn", "wrong"),
    [
        (RequestPlan(), ("h2",), "--alpn h2 offers HTTP/2"),
        (RequestPlan(), ("h2", "http/1.1"), "add --http2"),
        (RequestPlan(), ("http/1.0",), None),
        (RequestPlan(), ("h3",), None),
        (RequestPlan(http2=True), ("http/1.1",), "--http2 and --alpn http/1.1 exclude each other"),
        (RequestPlan(http2=True), ("h2",), None),
        (RequestPlan(http2=True), (), None),
        (RequestPlan("GET", upgrades=True), ("h2",), None),
        (None, ("h2",), None),
    ],
)
def test_version_offered(request_plan: RequestPlan | None, alpn: tuple[str, ...], wrong: str | None) -> None:
    """The version of HTTP that is offered in the handshake is the one that is spoken then."""
    tls = ClientTLS(alpn=alpn)
    for make in (TalkPlan, ProbePlan, BenchPlan):
        if wrong is None:
            assert make(SECURE, tls=tls, request=request_plan).tls.alpn == alpn
        else:
            with pytest.raises(UsageError, match=wrong):
                make(SECURE, tls=tls, request=request_plan)


def test_no_name_is_no_sni() -> None:
    """An empty name, as of a variable that is not set, is not taken for none."""
    with pytest.raises(UsageError, match="--sni '' is no name"):
        ClientTLS(server_name="")


@pytest.mark.parametrize(
    ("host", "authority", "url"),
    [
        ("echo.example", "echo.example:80", "ws://echo.example:80/a"),
        ("fe80::1", "[fe80::1]:80", "ws://[fe80::1]:80/a"),
        ("fe80::1%eth0", "[fe80::1]:80", "ws://[fe80::1%eth0]:80/a"),
    ],
)
def test_zone(host: str, authority: str, url: str) -> None:
    """The zone of an address is shown, as it must be given, and never sent (RFC 6874 section 4)."""
    target = Target("ws", "ws", host=host, port=80, resource="/a")
    assert (target.authority, target.remote_url) == (authority, f"ws://{authority}/a")
    assert str(target) == url
