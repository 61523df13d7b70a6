"""`bench --find-max`: the highest rate that holds, of servers whose highest rate is known."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netecho.commands.bench import exit_status
from netecho.errors import ConnectError, ExitStatus, NetechoError, NoReplyError, ServerDiedError
from netecho.measure.capacity import Search
from netecho.measure.counts import Counts
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary
from netecho.measure.trials import Trial
from netecho.plans import SECOND, Target
from netecho.protocols._contract import Kind, Route
from netecho.services.capacity import CapacitySearch
from tests.benches import checked, echo, ignore, running, serving
from tests.servers import mistaken, netecho
from tests.test_measure_trials import UNDER_10_MS, run

TARGET = Target("udp", "udp")
ROUTE = Route(TARGET, ("127.0.0.1",))
PAUSE = 0.005
"""Seconds that a server takes for each message, so that it has no more than 200 a second."""


def slowly(connection: socket.socket) -> None:
    """Send each message back after a pause in which nothing else is done."""
    pause = threading.Event()
    while data := connection.recv(64):
        pause.wait(PAUSE)
        connection.sendall(data)


def search(
    outcomes: Callable[[float], Summary | NetechoError], objectives: Sequence[Objective] = UNDER_10_MS
) -> tuple[Summary, list[Trial]]:
    """Search among made-up runs."""
    trials: list[Trial] = []
    results: list[Summary] = []

    async def run_at(rate: float) -> Summary:
        outcome = outcomes(rate)
        if isinstance(outcome, NetechoError):
            raise outcome
        return outcome

    searching = CapacitySearch(run_at, objectives, Search(1000), trials.append, ROUTE)
    Deferred.fromCoroutine(searching.run()).addCallback(results.append)
    return results[0], trials


def limit_of(rate: float) -> Callable[[float], Summary]:
    """Return runs of a target that can do so much."""
    return lambda asked: run(2_000_000 if asked <= rate else 20_000_000)


def test_the_result_is_that_of_the_highest_rate_that_held() -> None:
    """With all the runs; each was told of as it ended."""
    result, trials = search(limit_of(5_000))
    assert result.search is not None
    assert 5_000 / 1.05 < result.search["rate_per_s"] <= 5_000
    assert result.search["confirmed"]
    assert result.search["steps"] == [one.to_json() for one in trials]
    assert result.latencies["response"].maximum == 2_000_000
    assert not result.interrupted


def test_if_none_held_it_is_the_last_one() -> None:
    """And there is no rate."""
    result, _ = search(limit_of(0))
    assert result.search is not None
    assert result.search["rate_per_s"] is None
    assert result.latencies["response"].maximum == 20_000_000


def test_a_limit_of_the_client_is_not_to_be_trusted() -> None:
    """The result says first what it is."""
    result, _ = search(lambda rate: run(cpu_share=0.5) if rate < 5_000 else run(20_000_000, cpu_share=0.99))
    assert result.search is not None
    assert result.search["limited_by"] == "client"
    assert not result.trustworthy
    assert result.caveats[0].startswith("the highest rate is the limit of this client")


def test_an_interrupted_run_ends_it_with_the_best_so_far() -> None:
    """The run itself is no step: it was not whole."""
    result, trials = search(lambda rate: run(interrupted=rate > 2_000))
    assert [one.rate for one in trials] == [1_000, 2_000]
    assert result.interrupted
    assert result.search is not None
    assert (result.search["rate_per_s"], result.search["confirmed"]) == (2_000, False)
    assert result.caveats[-1] == "the search was interrupted: this is the best of what was tried"


def test_an_interrupted_first_run_is_the_result() -> None:
    """There is nothing else."""
    result, trials = search(lambda _: run(interrupted=True))
    assert (result.interrupted, trials) == (True, [])
    assert result.search is not None
    answer = "interrupted before the first step was over; nothing is known"
    assert (result.search["rate_per_s"], result.search["answer"]) == (None, answer)
    assert result.caveats[-1] == "the search was interrupted: this is what there is of its first step"


def test_a_server_that_died_ends_it() -> None:
    """That it is not there says nothing of a rate."""
    result, trials = search(lambda rate: run() if rate < 2_000 else ServerDiedError("it was killed"))
    assert [one.rate for one in trials] == [1_000]
    assert result.interrupted
    assert result.search is not None
    assert (result.search["rate_per_s"], result.search["confirmed"]) == (1_000, False)


def test_a_run_that_cannot_be_made_is_a_miss() -> None:
    """A server that a rate was too much for holds none above it; but at first it is an error."""
    result, _ = search(lambda rate: run() if rate < 5_000 else ConnectError("refused"))
    assert result.search is not None
    assert result.search["steps"][-1]["reasons"] in ([], ["refused"])
    assert 5_000 / 1.05 / 1.05 < result.search["rate_per_s"] < 5_000
    caught: list[Any] = []

    async def refused(_: float) -> Summary:
        raise ConnectError("refused")

    searching = CapacitySearch(refused, UNDER_10_MS, Search(1000), lambda _: None, ROUTE)
    Deferred.fromCoroutine(searching.run()).addErrback(caught.append)
    assert caught[0].check(ConnectError)


def test_nothing_listens() -> None:
    """It is said at once: no lower rate would make a difference, whether it connects first or not."""
    for url in ("tcp://127.0.0.1:1", "udp://127.0.0.1:1"):
        done = netecho("bench", url, "-z", "200ms", "-w", "300ms", "--find-max", "p(50)<10s", "--quiet")
        said = done.stderr.decode()
        assert (done.returncode, done.stdout, said.count("\n")) == (1, b"", 1)
        assert "refused: nothing listens" in said


def test_nothing_answers() -> None:
    """Nor does a lower rate make a difference where all that is sent vanishes: one step, and one line."""
    for scheme in ("tcp", "udp"):
        with serving(ignore, scheme) as url:
            words = (url, "-q", "20", "-z", "200ms", "-w", "300ms", "--find-max", "p(50)<10s")
            done = netecho("bench", *words, "--json-stream", "--quiet")
        said = done.stderr.decode()
        assert (done.returncode, said.count("\n")) == (1, 1)
        assert said.startswith(f"netecho: no reply from {url}: ")
        assert b'"step"' not in done.stdout


LOST = Counts(sent=1000, lost=1000)
SILENCE = run(counts=LOST, errors={"timeout": 1000}, latencies={})


@pytest.mark.parametrize(
    "first",
    [
        dataclasses.replace(SILENCE, warmup=Counts(sent=10, completed=10)),
        dataclasses.replace(SILENCE, statuses={"503": 1000}),
        dataclasses.replace(SILENCE, counts=Counts(sent=1000, completed=1, lost=999)),
        dataclasses.replace(SILENCE, counts=dataclasses.replace(LOST, late=1)),
        dataclasses.replace(SILENCE, counts=dataclasses.replace(LOST, duplicated=1)),
        dataclasses.replace(SILENCE, counts=dataclasses.replace(LOST, corrupted=1)),
        dataclasses.replace(SILENCE, counts=Counts(), errors={}),
    ],
)
def test_what_answers_at_all_may_do_better_at_a_lower_rate(first: Summary) -> None:
    """Whatever it was that came, so that the search goes on; so it does if nothing has left."""
    result, _ = search(lambda rate: run() if rate < 600 else first)
    assert result.search is not None
    assert result.search["rate_per_s"] == pytest.approx(600, rel=0.1)


def test_silence_is_no_answer() -> None:
    """As the cases above were, but for what had come."""
    caught: list[Any] = []

    async def silent(_: float) -> Summary:
        return SILENCE

    searching = CapacitySearch(silent, UNDER_10_MS, Search(1000), lambda _: None, ROUTE)
    Deferred.fromCoroutine(searching.run()).addErrback(caught.append)
    assert str(caught[0].check(NoReplyError) and caught[0].value) == (
        "no reply from udp://127.0.0.1:8000: 1,000 exchanges came to nothing (timeout); does an echo server "
        "listen there? (-w waits longer)"
    )


def test_refusals_of_a_target_that_has_answered_are_misses() -> None:
    """It was there at a lower rate; and what is refused to some connections is not refused to all."""
    refused = run(counts=Counts(sent=10, lost=10), errors={"refused": 10})
    some = run(20_000_000, errors={"refused": 10})
    result, _ = search(lambda rate: run() if rate < 5_000 else refused)
    assert result.search is not None
    assert 5_000 / 1.05 / 1.05 < result.search["rate_per_s"] < 5_000
    result, _ = search(lambda _: some)
    assert result.search is not None
    assert result.search["rate_per_s"] is None


def test_a_server_of_known_capacity() -> None:
    """What is found is no more than it has; each step is said as it ends, and the answer last."""
    with serving(slowly) as url:
        done = netecho("bench", url, "-q", "50", "-z", "250ms", "--find-max", "p(50)<100ms", "--json-stream")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [one for one in events if one["event"] == "step"]
    result = checked(events[-1]["result"])
    found = result["search"]
    assert 50 <= found["rate_per_s"] <= 1.1 / PAUSE
    assert [one["number"] for one in steps] == list(range(1, len(steps) + 1))
    assert [one["rate_per_s"] for one in steps] == [one["rate_per_s"] for one in found["steps"]]
    assert result["plan"]["rate_per_s"] == found["rate_per_s"]
    assert all(one["passed"] for one in result["slo"])
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("step ")]
    assert len(said) == len(steps)
    assert said[0].startswith("step 1: 50/s held (p(50)<100ms: ")


def test_no_rate_holds() -> None:
    """The exit status is that of an objective which was missed, and the text says so."""
    with serving(echo) as url:
        done = netecho("bench", url, "-q", "5", "-z", "200ms", "--find-max", "p(50)<1ns", "--quiet")
    assert (done.returncode, done.stderr) == (99, b"")
    assert "no rate held, down to 1/s" in done.stdout.decode()


def test_no_rate_is_an_objective_that_was_missed() -> None:
    """Also where the run itself met it, at another rate than was asked for."""
    found, _ = search(limit_of(5_000))
    assert exit_status(found, Kind.STREAM) is ExitStatus.GOOD
    none, _ = search(lambda _: run(took_ns=2 * SECOND))
    assert all(one["passed"] for one in none.slo)
    assert exit_status(none, Kind.STREAM) is ExitStatus.SLO_MISSED
    assert exit_status(dataclasses.replace(none, interrupted=True), Kind.STREAM) is ExitStatus.INTERRUPTED


def test_interrupted() -> None:
    """Ctrl-C ends it with what is known."""
    with serving(echo) as url:
        words = (url, "-q", "20", "-z", "300ms", "--find-max", "p(50)<10s", "--json", "-")
        with running(*words) as process:
            assert process.stderr is not None
            while not process.stderr.readline().startswith(b"step 2"):
                pass
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate()
            assert process.returncode == 130
    result = checked(json.loads(out))
    assert result["interrupted"]
    assert len(result["search"]["steps"]) >= 2
    assert not result["search"]["confirmed"]


def test_mistakes() -> None:
    """What makes no sense with many runs is not taken."""
    for words in (["-n", "10"], ["--slo", "errors==0"], ["--connections-stages", "1s:2"]):
        done = mistaken("bench", "127.0.0.1", "1", "--find-max", "p(50)<1s", *words)
        assert done.returncode == 2
        assert done.stderr.decode() == (
            f"netecho: --find-max makes runs of its own, of -z each, from -q on: leave out {words[0]}\n"
        )
