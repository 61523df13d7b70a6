"""Ground truth: what `bench` and `client` count of datagrams is what a path has really done to them."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from netecho.measure.histogram import Histogram
from netecho.plans import SECOND
from tests.benches import SIZE, bench, checked, serving
from tests.clients import client
from tests.relay import ALL, Fate, Fates, Relay, Tally
from tests.servers import Server
from tests.test_measure_datagrams import extents

TIMEOUT = "1s"
STAMP: Fates = {fate: share for fate, share in ALL.items() if fate is not Fate.GARBLED}


def counted(exchanges: dict[str, Any]) -> dict[str, int]:
    """Return the counts of a result's exchanges, or a flow's."""
    return {name: exchanges[name] for name in Tally().exchanges()}


def agrees(result: dict[str, Any], relay: Relay) -> None:
    """Hold that a result has all that the path has counted, for each flow and in all."""
    total, tallies = relay.tally, relay.tallies
    assert not total.in_doubt, "this machine stood still for too long to tell what is late"
    assert counted(result["exchanges"]) == total.exchanges()
    assert result["exchanges"]["errors"] == {"timeout": total.lost}
    order = sorted(range(len(tallies)), key=lambda number: sorted(tallies[number].exchanges().items()))
    flows = sorted(result["flows"], key=lambda flow: sorted(counted(flow).items()))
    assert [counted(flow) for flow in flows] == [tallies[number].exchanges() for number in order]
    assert sorted(flow["number"] for flow in flows) == list(range(len(tallies)))
    extent = Histogram.of([one for tally in tallies for one in extents(tally.arrivals)])
    assert result["reordering"] == {"extent": extent.to_json()}
    neighbours = [
        sum(index + 1 in arrived for index in arrived) for arrived in (set(one.arrivals) for one in tallies)
    ]
    assert result["delay_ns"]["variation"]["count"] == sum(neighbours)
    assert result["delay_ns"]["jitter_arrivals"] == total.completed


def all_happened(tally: Tally) -> None:
    """Hold that a path has done everything to some, so that there was something to count."""
    for name in ("lost_out", "lost_back", "late", "duplicated", "reordered", "corrupted"):
        assert getattr(tally, name) > 0, name


@pytest.mark.parametrize(
    "words",
    [
        ["-q", "500", "-n", "900"],
        ["-n", "900", "--pipeline", "8"],
    ],
    ids=["open", "closed"],
)
def test_bench(words: list[str]) -> None:
    """Every count is exact, whether the load waits for echoes or not, and nothing is counted twice."""
    with (
        Server("udp://127.0.0.1:0") as server,
        Relay(server.listener.address, 1.0, faults=170) as relay,
    ):
        result = bench(relay.url, *words, "-c", "2", "-w", TIMEOUT, status=3)
    all_happened(relay.tally)
    agrees(result, relay)


def test_late_by_little() -> None:
    """What comes after its timeout is late, also if it comes before anybody has looked for what is."""
    pause = threading.Event()

    def slow_at_first(port: socket.socket) -> None:
        for wait in (1.02, 0):
            message, peer = port.recvfrom(SIZE)
            pause.wait(wait)  # how long it takes is what is tested
            port.sendto(message, peer)

    with serving(slow_at_first, "udp") as url:
        result = bench(url, "-n", "2", "-w", TIMEOUT)
    expected = Tally(sent=2, completed=1, late=1)
    assert counted(result["exchanges"]) == expected.exchanges()
    assert result["latency_ns"]["response"]["max"] < SECOND


def test_client() -> None:
    """So it is of probes."""
    with (
        Server("udp://127.0.0.1:0") as server,
        Relay(server.listener.address, 1.0, faults=200, seed=2) as relay,
    ):
        done = client(relay.url, "-n", "450", "-i", "4ms", "-w", TIMEOUT, "--json", "-")
    assert done.returncode == 3
    all_happened(relay.tally)
    agrees(checked(json.loads(done.stdout)), relay)


def ways(exchanges: dict[str, Any]) -> list[int | None]:
    """Return how many were lost out, back, and on a way that is not known."""
    return [exchanges[f"lost_{way}"] for way in ("out", "back", "unknown")]


def test_objectives() -> None:
    """What was found of datagrams can be asked for."""
    asked = ["jitter<1h", "variation.p(99)<1h", "extent.max<1", "extent.max>0", "lost>0", "loss<1%"]
    passed = [True, True, False, True, True, False]
    with (
        Server("udp://127.0.0.1:0") as server,
        Relay(
            server.listener.address, 0.3, fates={Fate.OVERTAKEN: 0.2, Fate.LOST_OUT: 0.2}, faults=90
        ) as relay,
    ):
        words = [word for objective in asked for word in ("--slo", objective)]
        result = bench(relay.url, "-q", "500", "-n", "100", "-w", "500ms", *words, status=99)
    assert [one["passed"] for one in result["slo"]] == passed
    assert all(one["observed"] is not None for one in result["slo"])


@pytest.mark.parametrize("command", ["bench", "client"])
def test_a_reflector_that_counts(command: str) -> None:
    """With it each loss is known to be one out or back, and that is where the path has lost it."""
    with (
        Server("stamp://127.0.0.1:0", "--stateful") as server,
        Relay(server.listener.address, 1.0, fates=STAMP, faults=200, stamp=True) as relay,
    ):
        words = [relay.url, "-l", "32", "-w", TIMEOUT]
        if command == "client":
            done = client(*words, "-n", "450", "-i", "4ms", "--json", "-")
            result = checked(json.loads(done.stdout))
        else:
            result = bench(*words, "-q", "500", "-n", "900", "-c", "2", "--workers", "2", status=3)
    all_happened(relay.tally)
    agrees(result, relay)
    total = relay.tally
    assert ways(result["exchanges"]) == [total.lost_out, total.lost_back, 0]
    assert sorted(map(str, map(ways, result["flows"]))) == sorted(
        str([one.lost_out, one.lost_back, 0]) for one in relay.tallies
    )
    for name in ("out", "back", "dwell"):
        assert result["delay_ns"][name]["count"] == total.completed
    neighbours = result["delay_ns"]["variation"]["count"]
    assert result["delay_ns"]["variation_out"]["count"] == neighbours
    assert result["delay_ns"]["variation_back"]["count"] == neighbours
    # Both ends have one clock here, of which the fastest exchange has told within its own time.
    reflector = result["reflector"]
    assert abs(reflector["clock_offset_ns"]) <= reflector["clock_uncertainty_ns"]
    assert sum(reflector["ttl"].values()) == total.completed
    assert any("rest on an estimate" in caveat for caveat in result["caveats"])


def test_a_reflector_that_does_not() -> None:
    """Without its count nobody knows where what is lost was lost, and nothing is made up."""
    with (
        Server("stamp://127.0.0.1:0") as server,
        Relay(server.listener.address, 1.0, fates=STAMP, faults=60, stamp=True) as relay,
    ):
        result = bench(relay.url, "-l", "32", "-w", TIMEOUT, "-q", "200", "-n", "280", status=3)
    agrees(result, relay)
    total = relay.tally
    assert total.lost_out > 0
    assert total.lost_back > 0
    assert ways(result["exchanges"]) == [None, None, total.lost_out + total.lost_back]
    assert any("is not known" in caveat for caveat in result["caveats"])
