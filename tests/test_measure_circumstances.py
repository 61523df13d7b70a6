"""What differs between results is said in the words of the command line, without a dump of anything."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho.measure import circumstances
from netecho.plans import (
    SECOND,
    BenchPlan,
    ClientTLS,
    MailPlan,
    MultiplexPlan,
    ProbePlan,
    ProxyPlan,
    RequestPlan,
    SocketOptions,
    Stage,
    Target,
)
from tests import samples

PLAIN = BenchPlan(Target(), duration_ns=SECOND)
SECURE = BenchPlan(Target("tls", secure=True), duration_ns=SECOND)


def apart(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    """Return in what two plans differ."""
    return circumstances.differences([[circumstances.of_plan(one)], [circumstances.of_plan(other)]])


def test_a_protocol_and_its_secure_form() -> None:
    """What goes without saying in the one and is not in the other is no difference."""
    assert apart(PLAIN.to_json(), SECURE.to_json()) == ("protocol tcp and tls",)
    resumed = dataclasses.replace(SECURE, resume=True)
    assert apart(SECURE.to_json(), resumed.to_json()) == ("--resume no and yes",)


def test_a_closed_and_an_open_loop() -> None:
    """What a schedule has by itself, a closed loop has not."""
    scheduled = dataclasses.replace(PLAIN, rate=1000.0)
    assert apart(PLAIN.to_json(), scheduled.to_json()) == ("loop closed and open", "--rate none and 1000")


def test_flags_of_a_load() -> None:
    """As they are written on the command line."""
    one = dataclasses.replace(
        PLAIN,
        duration_ns=None,
        rate=1000.0,
        connections_stages=(Stage(2 * SECOND, 10.0),),
        proxy=ProxyPlan(2, "2001:db8::1", 4711),
        sockets=SocketOptions(dscp=46),
        multiplex=MultiplexPlan(streams=3),
    )
    other = dataclasses.replace(
        PLAIN,
        duration_ns=None,
        rate=0.5,
        connections_stages=(Stage(0, 3.0), Stage(90_000 * 1_000_000, 10.0)),
        proxy=ProxyPlan(1, "192.0.2.1"),
        reconnect=False,
        connections_lifetime_ns=2_500_000,
        embedded=True,
    )
    assert sorted(apart(one.to_json(), other.to_json())) == [
        "--connections-lifetime none and 2500us",
        "--connections-stages 2s:10 and 0:3,90s:10",
        "--dscp 46 and none",
        "--no-reconnect no and yes",
        "--rate 1000 and 0.5",
        "--send-proxy v2:[2001:db8::1]:4711 and v1:192.0.2.1",
        "--streams 3 and none",
        "server another and of its own",
    ]


def test_flags_of_tls_requests_and_mails() -> None:
    """Each by itself, and not the object that they are in."""
    one = dataclasses.replace(SECURE, tls=ClientTLS(insecure=True, server_name="a", alpn=("h2", "x")))
    assert apart(one.to_json(), SECURE.to_json()) == (
        "--insecure yes and no",
        "--sni a and none",
        "--alpn h2,x and none",
    )
    get = dataclasses.replace(PLAIN, request=RequestPlan("GET", ("Accept: a",)))
    post = dataclasses.replace(PLAIN, request=RequestPlan("POST"))
    assert apart(get.to_json(), post.to_json()) == ("--method GET and POST", "--header Accept and none")
    mail = dataclasses.replace(PLAIN, mail=MailPlan(sender="a@b.c"))
    default = dataclasses.replace(PLAIN, mail=MailPlan())
    assert apart(mail.to_json(), default.to_json()) == ("--from a@b.c and netecho@netecho.invalid",)
    upgraded = {**PLAIN.to_json(), "tls": {**SECURE.to_json()["tls"], "starttls": True}}
    assert apart(upgraded, PLAIN.to_json()) == ("--starttls yes and no",)


def test_datagrams_in_packets_of_their_own_size() -> None:
    """A result has the size only where it was given."""
    target = Target("dtls", "udp", secure=True, is_dtls=True)
    plan = BenchPlan(target, duration_ns=SECOND, sockets=SocketOptions(mtu=1280))
    default = dataclasses.replace(plan, sockets=SocketOptions())
    assert apart(plan.to_json(), default.to_json()) == ("--mtu 1280 and none",)


def test_a_client_and_a_bench() -> None:
    """That they are two commands comes first; what only one of them has is no difference."""
    probes, load = samples.probes(), samples.bench()
    plan = ProbePlan(load_target := Target(), interval_ns=10_000_000, size=64)
    faster = dataclasses.replace(plan, interval_ns=5_000_000)
    assert apart(plan.to_json(), faster.to_json()) == ("--interval 10ms and 5ms",)
    sides = [
        [circumstances.of_result(dataclasses.replace(one, plan=made.to_json()))]
        for one, made in ((probes, plan), (load, BenchPlan(load_target, duration_ns=SECOND)))
    ]
    assert circumstances.differences(sides) == ("command client and bench", "loop open and closed")


def test_several_results_on_a_side() -> None:
    """All values of it are named; the same ones on both sides once."""
    small, large = {"--size": "64"}, {"--size": "128"}
    assert circumstances.differences([[small, large], [small]]) == ("--size 64 or 128 and 64",)
    assert circumstances.differences([[small, large], [small, large]]) == ("--size 64 or 128",)
    assert circumstances.differences([[small], [{}]]) == ()


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"stages": "10s"}, "--stages 10s"),
        ({"stages": ["10s"]}, "--stages 10s"),
        ({"stages": [{}]}, "--stages none:none"),
        ({"send_proxy": "v2"}, "--send-proxy v2"),
        ({"tls": "yes"}, "--insecure no"),
        ({"interval_ns": "a while"}, "--interval a while"),
        ({"of tomorrow": 1}, "of tomorrow 1"),
    ],
)
def test_plans_that_say_anything(entry: dict[str, Any], word: str) -> None:
    """What came from elsewhere is said as it is."""
    said = circumstances.of_plan({"target": "tcp://a:1", **entry})
    assert word in [f"{key} {value}" for key, value in said.items()]


def test_every_entry_of_a_plan_has_a_word() -> None:
    """What is added to plans is added here."""
    for plan in (PLAIN.to_json(), ProbePlan(Target(), count=1).to_json()):
        assert not circumstances.of_plan(plan).keys() & plan.keys()
