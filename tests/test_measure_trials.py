"""Runs at one rate after the other: which held, which the client could not do, and what they came to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho.measure.capacity import Search
from netecho.measure.counts import Counts
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.sending import Sending
from netecho.measure.slo import Objective
from netecho.measure.summary import LATENESS, Summary
from netecho.measure.trials import Found, Trial, failed, try_rate
from netecho.plans import SECOND
from tests import samples, schemas

NONE = HeldBack()
UNDER_10_MS = (Objective.parse("p(99)<10ms"),)


def run(
    response_ns: int = 2_000_000, *, took_ns: int = SECOND, held_back: HeldBack = NONE, **changes: Any
) -> Summary:
    """Return the result of a second at 1,000 exchanges a second."""
    sent = 1000 - held_back.unsent
    response = Histogram.of([response_ns] * sent)
    summary = samples.bench(
        elapsed_ns=max(SECOND, took_ns),
        counts=Counts(sent=sent, completed=sent),
        latencies={"response": response, "service": response},
        sending=Sending(1000, sent, SECOND, took_ns, held_back),
        cpu_share=0.3,
    )
    return dataclasses.replace(summary, **changes)


def test_what_meets_its_objectives_at_its_rate_held() -> None:
    """And what became of them is said."""
    trial = try_rate(1000, run(), UNDER_10_MS)
    assert trial == Trial(1000, 1000, True, ("p(99)<10ms: 2.00 ms, met",))
    assert (trial.step.rate, trial.step.held, trial.step.reason) == (1000, True, "")


def test_what_left_is_told_of_the_rate_that_was_asked_for() -> None:
    """A schedule is of whole exchanges: a short one comes to a little more or less."""
    summary = run(sending=Sending(309, 309, SECOND, SECOND * 5 // 4, NONE))
    assert try_rate(308.4, summary, UNDER_10_MS).reasons[0] == "247/s of 308/s left"


LATE = Histogram.of([30_000_000] * 1000)
REASONS: list[tuple[Summary, list[str]]] = [
    (run(20_000_000), ["p(99)<10ms: 20.0 ms, missed"]),
    # It took longer than it was to: less than was asked for.
    (run(took_ns=SECOND * 5 // 4), ["800/s of 1.00k/s left", "it was the client that was too slow"]),
    (
        run(20_000_000, held_back=HeldBack(200, 0, 40_000_000)),
        ["p(99)<10ms: 20.0 ms, missed", "20.0% of what was due found no connection free (-c)"],
    ),
    (
        run(held_back=HeldBack(200, 100, 40_000_000)),
        ["900/s of 1.00k/s left", "10.0% of what was due never left"],
    ),
    (
        run(counts=Counts(sent=1000, completed=980, lost=20)),
        ["2.0% of what left was lost, and is in no percentile"],
    ),
    (
        run(40_000_000, distributions={LATENESS: LATE}),
        ["p(99)<10ms: 40.0 ms, missed", "it was the client that was too slow"],
    ),
    (
        run(40_000_000, distributions={LATENESS: LATE}, held_back=HeldBack(200, 0, 40_000_000)),
        ["p(99)<10ms: 40.0 ms, missed", "it was the client that was too slow"],
    ),
    (
        run(40_000_000, cpu_share=0.99),
        ["p(99)<10ms: 40.0 ms, missed", "it was the client that was too slow"],
    ),
    (run(latencies={}), ["p(99)<10ms: not measured, missed"]),
]


@pytest.mark.parametrize(("summary", "reasons"), REASONS)
def test_why_a_rate_did_not_hold(summary: Summary, reasons: list[str]) -> None:
    """Objectives first; then what kept it from being that rate; then whose fault it is."""
    trial = try_rate(1000, summary, UNDER_10_MS)
    assert not trial.held
    assert [*trial.reasons] == reasons
    assert bool(trial.limits) == ("it was the client that was too slow" in reasons)
    assert trial.step.reason == "; ".join(reasons)


def test_waiting_for_a_connection_is_no_miss() -> None:
    """It is in the response time, which is what the objective is of."""
    assert try_rate(1000, run(held_back=HeldBack(200, 0, 5_000_000)), UNDER_10_MS).held


def test_a_busy_client_that_keeps_up_is_no_miss() -> None:
    """It is said all the same."""
    trial = try_rate(1000, run(cpu_share=0.99), UNDER_10_MS)
    assert trial.held
    assert "99% of a processor" in trial.limits[0]


def test_workers_in_each_others_way_are_a_busy_client() -> None:
    """However little each of them used."""
    shares: dict[str, Any] = {"cpu_share": 0.25, "cpu_shares": (0.2, *[0.25] * 7), "workers": 8}
    plan = samples.bench().plan
    for embedded, limits in ((True, 1), (False, 0)):
        summary = run(**shares, plan={**plan, "embedded": embedded}, system={**samples.SYSTEM, "cpus": 3})
        assert len(try_rate(1000, summary, UNDER_10_MS).limits) == limits


def test_loss_that_an_objective_allows_is_no_miss() -> None:
    """Who says how much may be lost has said that some may."""
    lossy = run(counts=Counts(sent=1000, completed=980, lost=20))
    assert try_rate(1000, lossy, (*UNDER_10_MS, Objective.parse("loss<5%"))).held
    assert not try_rate(1000, lossy, (*UNDER_10_MS, Objective.parse("loss<1%"))).held


def test_a_result_without_a_schedule_left_at_no_rate() -> None:
    """As nothing is known of it."""
    assert try_rate(1000, run(sending=None), UNDER_10_MS).achieved == 0


def search(*trials: Trial) -> Found:
    """Return what a search came to that made these runs."""
    return Found.of(UNDER_10_MS, Search().so_far([one.step for one in trials]), trials)


def held(rate: float) -> Trial:
    """Return a run that held."""
    return try_rate(rate, run(), UNDER_10_MS)


def missed(rate: float, **changes: Any) -> Trial:
    """Return one that did not."""
    return try_rate(rate, run(20_000_000, **changes), UNDER_10_MS)


def test_the_limit_is_the_targets_unless_it_is_the_clients() -> None:
    """By the runs at the lowest rate that missed."""
    nothing = search(held(1000))
    assert (nothing.limited_by, nothing.caveat, nothing.rate) == (None, None, 1000)
    target = search(held(1000), missed(2000), missed(4000, cpu_share=0.99))
    assert (target.limited_by, target.caveat) == ("target", None)
    client = search(held(1000), missed(2000), missed(2000, cpu_share=0.99))
    assert client.limited_by == "client"
    assert str(client.caveat).startswith(
        "the highest rate is the limit of this client, and not of what it measured: this client used 99%"
    )
    none = search(missed(1000), missed(1000), missed(1), failed(1, "refused"))
    assert (none.rate, none.limited_by, none.confirmed) == (None, "target", True)
    assert none.words == "no rate held, down to 1/s (refused)"


def test_json_is_read_again() -> None:
    """Whole, and as the schema has it."""
    for found in (search(held(1000), missed(2000, cpu_share=0.99)), search(failed(1, "x"))):
        result = dataclasses.replace(samples.bench(), search=found.to_json()).to_json()
        schemas.RESULT.validate(result)
        assert Summary.from_json(result).search == found.to_json()
        assert Found.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "broken",
    [
        {"rate_per_s": []},
        {"limited_by": 3},
        {"steps": [{}]},
        {"steps": None},
        {"objectives": None},
        {"rate_per_s": 10**400},
    ],
    ids=lambda broken: str(broken)[:40],
)
def test_what_is_no_search_is_refused(broken: dict[str, object]) -> None:
    """A file may say anything."""
    with pytest.raises(ValueError, match="not a search"):
        Found.from_json({**search(held(1000)).to_json(), **broken})
