"""Connections that are closed at their age, and as many of them as stages say: no exchange is lost by it."""

from __future__ import annotations

import itertools
import json
import socket
from typing import Any

import pytest

from tests.benches import all_good, bench, checked, serving
from tests.servers import Server, mistaken, netecho
from tests.test_connection_cost import pieces


def nothing_lost(result: dict[str, Any]) -> None:
    """Hold that all that was sent came back, over connections none of which was lost."""
    exchanges = result["exchanges"]
    assert exchanges["sent"] == exchanges["completed"] > 0
    assert exchanges["errors"] == {}
    assert result["connections"]["lost"] == result["connections"]["failed"] == 0


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("tcp", "-z 800ms --pipeline 4"),
        ("tcp", "-n 4k -q 5k --pipeline 2"),
        ("udp", "-z 800ms -q 2k"),
        ("tls", "-z 800ms --resume"),
    ],
)
def test_lifetimes(scheme: str, words: str) -> None:
    """Each connection that was closed at its age is one more that the server had, and that was timed."""
    with Server(f"{scheme}://127.0.0.1:0") as server:
        trust = [] if server.listener.ca is None else ["--cacert", server.listener.ca]
        words_of_age = ["-c", "4", "--connections-lifetime", "100ms", *words.split(), *trust]
        result = bench(server.listener.url, *words_of_age)
        told = server.end()
    nothing_lost(result)
    connections = result["connections"]
    assert (connections["requested"], connections["opened"], connections["reopened"]) == (4, 4, 0)
    assert connections["churned"] >= 4
    counted = pieces(result)
    if scheme == "udp":
        assert "connect" not in counted
    else:
        # The last of each may have been under way when the run was over, to the server as to the client.
        assert counted["connect"] in range(connections["churned"], connections["churned"] + 5)
        assert told["connections"] in range(counted["connect"], connections["churned"] + 5)
        assert connections["churned"] <= counted["first_byte"] + 4
    if scheme == "tls":
        assert counted["handshake"] == 4
        assert counted["handshake_resumed"] == counted["connect"] - 4
    assert result["plan"]["connections_lifetime_ns"] == 100_000_000


def test_an_exact_count_with_lifetimes() -> None:
    """So many exchanges as were asked for, however many connections they took."""
    with Server("tcp://127.0.0.1:0") as server:
        words = ["-n", "3k", "-c", "3", "--connections-lifetime", "20ms"]
        result = bench(server.listener.url, *words)
        assert server.end()["bytes_received"] == 3000 * 64
    churned = result["connections"].pop("churned")
    result["connections"]["churned"] = 0
    all_good(result, 3000, connections=3)
    assert churned > 0


@pytest.mark.parametrize(
    ("words", "most", "in_the_end"),
    [
        ("-c 2 --connections-stages 200ms:12,400ms:12,0:3,1s:3", 12, 3),
        ("-c 2 --connections-stages 0:12,500ms:12,0:3,1s:3 -q 400", 12, 3),
        ("--workers 2 --connections-stages 300ms:9,1s:9", 9, 9),
        ("--mode connect --connections-stages 0:6,500ms:6,0:2,1s:2", 6, 2),
        ("--mode connect --connections-stages 0:6,500ms:6,0:2,1s:2 -q 200", 6, 2),
    ],
)
def test_stages(words: str, most: int, in_the_end: int) -> None:
    """As many connections are open as the stages say, over all processes, and nothing is lost at any step."""
    with Server("tcp://127.0.0.1:0") as server:
        done = netecho("bench", server.listener.url, *words.split(), "--quiet", "--json-stream")
        told = server.end()
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    result = checked(events[-1]["result"])
    nothing_lost(result)
    connections = result["connections"]
    assert connections["requested"] == most
    if "--mode" in words:
        assert told["connections"] == connections["opened"] == result["exchanges"]["sent"]
    else:
        assert told["connections"] == connections["opened"] == most
    # The first second is told in the last stage, however late.
    shown = [one["connections_open"] for one in events if one.get("phase") == "measuring"]
    assert shown[0] == in_the_end
    assert len(result["plan"]["connections_stages"]) == len(words.partition("stages ")[2].split(","))


def test_datagrams_of_those_that_are_no_more() -> None:
    """What flows carried that have ended is in the result, with what came after them in their place."""
    with Server("udp://127.0.0.1:0") as server:
        stages = "0:5,300ms:5,0:2,300ms:2,0:4,300ms:4"
        result = bench(server.listener.url, "--connections-stages", stages, "-q", "500")
    nothing_lost(result)
    assert [flow["number"] for flow in result["flows"]] == [0, 1, 2, 3, 4]
    assert sum(flow["completed"] for flow in result["flows"]) == result["exchanges"]["completed"]
    assert min(flow["completed"] for flow in result["flows"]) > 0


def test_those_not_wanted_any_more_are_closed() -> None:
    """And not kept until the end: the others go on for long after."""
    echoes, at_their_end = itertools.count(), []

    def count(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            next(echoes)
            connection.sendall(data)
        at_their_end.append(next(echoes))

    with serving(count) as url:
        nothing_lost(bench(url, "-c", "8", "--connections-stages", "100ms:8,0:2,400ms:2"))
    last = next(echoes)
    assert len(at_their_end) == 8
    # All that an end and a message count for is one.
    assert [last - one > 8 for one in sorted(at_their_end)] == [True] * 6 + [False] * 2


def test_stages_and_lifetimes() -> None:
    """Both at once: those that are no more wanted are not opened anew."""
    with Server("tcp://127.0.0.1:0") as server:
        words = ["-c", "8", "--connections-stages", "300ms:8,300ms:1", "--connections-lifetime", "50ms"]
        result = bench(server.listener.url, *words)
        told = server.end()
    nothing_lost(result)
    churned = result["connections"]["churned"]
    assert churned >= 8
    assert told["connections"] == pieces(result)["connect"] <= churned + 8


def test_more_workers_than_connections_ever() -> None:
    """Stages are shared out as long as each process has a connection at some time."""
    words = ["-c", "1", "--connections-stages", "1s:2,1s:1", "--workers", "3"]
    done = mistaken("bench", "tcp://127.0.0.1:1", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"netecho: --workers 3 needs as many connections (-c) and exchanges (-n), or more\n"
    )
