"""The search for the highest rate that holds: it finds it, doubts it, and ends."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.capacity import Answer, Purpose, Search, Trial, Try, next_step
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.recorder import Counts
from netecho.measure.sending import Sending
from netecho.measure.slo import Objective
from netecho.plans import SECOND
from tests import samples

GROWING, FALLING, NARROWING = Purpose.GROWING, Purpose.FALLING, Purpose.NARROWING
CONFIRMING, DOUBTING = Purpose.CONFIRMING, Purpose.DOUBTING


def searched(search: Search, holds: Callable[[float], bool]) -> tuple[list[tuple[Try, bool]], Answer]:
    """Return each step and whether it held, and the answer."""
    trials: list[Trial] = []
    steps = []
    while isinstance(step := next_step(search, trials), Try):
        trials.append(Trial(step.rate, holds(step.rate)))
        steps.append((step, trials[-1].passed))
    return steps, step


def test_a_search() -> None:
    """It doubles, halves between, runs the answer again, and what is above it too."""
    steps, answer = searched(Search(start=100, precision=0.1), lambda rate: rate <= 700)
    assert [(step.rate, step.purpose, held) for step, held in steps] == [
        (100, GROWING, True),
        (200, GROWING, True),
        (400, GROWING, True),
        (800, GROWING, False),
        (566, NARROWING, True),
        (673, NARROWING, True),
        (734, NARROWING, False),
        (673, CONFIRMING, True),
        (734, DOUBTING, False),
    ]
    assert answer == Answer(673, True, 734)
    assert str(answer) == "673/s holds, confirmed; 734/s does not"
    assert str(steps[4][0]) == "narrowing: 566/s"


@pytest.mark.parametrize(
    ("results", "step"),
    [
        # what came of which rates, in order, and what comes next
        ([], Try(100, GROWING)),
        ([(100, False)], Try(50, FALLING)),
        ([(100, False), (50, False), (25, True)], Try(35.4, NARROWING)),
        ([(100, True), (200, False), (141, True)], Try(168, NARROWING)),
        # near enough: it is run again
        ([(100, True), (110, False)], Try(100, CONFIRMING)),
        # it fails: what is below it is looked for
        ([(80, True), (100, True), (110, False), (100, False)], Try(89.4, NARROWING)),
        ([(100, True), (110, False), (100, False)], Try(50, FALLING)),
        # it holds, and what failed is run again
        ([(100, True), (110, False), (100, True)], Try(110, DOUBTING)),
        # that holds: a third run decides
        ([(100, True), (110, False), (100, True), (110, True)], Try(110, DOUBTING)),
        ([(100, True), (110, False), (100, True), (110, True), (110, True)], Try(220, GROWING)),
        ([(100, True), (110, False), (100, True), (110, True), (110, False)], Answer(100, True, 110)),
        ([(100, True), (110, False), (100, True), (110, False)], Answer(100, True, 110)),
        # what held above a rate that fails was luck
        ([(400, True), (200, True), (200, False)], Try(100, FALLING)),
        # there are ends in both directions
        ([(1000, True)], Try(1000, CONFIRMING)),
        ([(1000, True), (1000, True)], Answer(1000, True, None)),
        ([(600, True)], Try(1000, GROWING)),
        ([(3, False)], Try(2, FALLING)),
        ([(2, False)], Answer(None, False, 2)),
    ],
)
def test_steps(results: list[tuple[float, bool]], step: Try | Answer) -> None:
    """What is next depends on what was found so far, and on nothing else."""
    search = Search(start=100, lowest=2, highest=1000, precision=0.1)
    assert next_step(search, [Trial(rate, passed) for rate, passed in results]) == step


@settings(deadline=None)
@given(st.floats(3, 5_000_000), st.sampled_from([1.0, 100.0, 20_000.0]), st.sampled_from([0.01, 0.05, 0.2]))
def test_what_is_found_is_the_limit(limit: float, start: float, precision: float) -> None:
    """Where a rate holds or does not, the answer holds, twice, and a little more does not, twice."""
    steps, answer = searched(Search(start=start, precision=precision), lambda rate: rate <= limit)
    assert answer.rate is not None
    assert answer.failed_rate is not None
    assert answer.confirmed
    assert answer.rate <= limit < answer.failed_rate
    # Rates of three digits are no nearer each other than a hundredth.
    assert answer.failed_rate <= answer.rate * (1.011 + precision)
    assert len(steps) <= 38
    assert [step.rate for step, _ in steps].count(answer.rate) == 2


def test_closer_than_rates_are_told_apart() -> None:
    """Of two neighbours in three digits there is nothing between."""
    steps, answer = searched(Search(precision=1e-6), lambda rate: rate <= 700.5)
    assert answer == Answer(700, True, 701)
    assert [step.rate for step, _ in steps].count(700) == 2


@pytest.mark.parametrize(
    ("by_client", "expected"), [([True, True], True), ([True, False], False), ([False, False], False)]
)
def test_the_client_is_to_blame(by_client: list[bool], expected: bool) -> None:
    """If it may have been the client each time, the server may hold more."""
    trials = [Trial(100, True), Trial(104, False, by_client[0]), Trial(100, True)]
    trials.append(Trial(104, False, by_client[1]))
    assert next_step(Search(), trials) == Answer(100, True, 104, by_client=expected)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_it_ends_whatever_happens(seed: int, likely: float) -> None:
    """With results out of a hat, no rate is run more than three times, and what is confirmed held twice."""
    rng = random.Random(seed)  # noqa: S311
    search = Search(most_trials=60)
    steps, answer = searched(search, lambda _: rng.random() < likely)
    runs: dict[float, list[bool]] = {}
    for step, held in steps:
        runs.setdefault(step.rate, []).append(held)
    assert all(len(mine) <= 3 for mine in runs.values())
    assert len(steps) <= search.most_trials
    if answer.rate is not None:
        assert runs[answer.rate][-1]
        assert answer.confirmed is (len(runs[answer.rate]) > 1)
        assert answer.failed_rate is None or answer.failed_rate > answer.rate


@pytest.mark.parametrize("wrong", [[True, False], [False, True]])
def test_noise_at_the_limit(wrong: list[bool]) -> None:
    """One run that goes well, or badly, for no reason does not make the answer."""
    for at, limit in itertools.product((400, 566, 673, 734), (500, 700, 1000)):
        runs = 0

        def holds(rate: float, at: float = at, limit: float = limit) -> bool:
            nonlocal runs
            if rate == at:
                runs += 1
                if runs == 1:
                    return wrong[rate <= limit]
            return rate <= limit

        _, answer = searched(Search(start=100, precision=0.1), holds)
        assert answer.confirmed
        assert answer.rate is not None
        assert answer.rate <= limit


def test_a_bad_run_is_not_believed() -> None:
    """A rate that fails once for no reason is run again when all else is known, and the search goes on."""
    failed_at: set[float] = set()

    def holds(rate: float) -> bool:
        if rate == 400 and not failed_at:
            failed_at.add(rate)
            return False
        return rate <= 5000

    _, answer = searched(Search(start=100, precision=0.1), holds)
    assert answer.rate is not None
    assert 4500 < answer.rate <= 5000


def test_too_many_trials() -> None:
    """When it has tried enough, it says what it has, and that it is not confirmed."""
    search = Search(start=100, most_trials=6)
    steps, answer = searched(search, lambda rate: rate <= 700)
    assert len(steps) == 6
    assert answer == Answer(673, False, 800)
    assert str(answer) == "673/s holds, unconfirmed; 800/s does not"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(None, False, 1.0), "not even 1/s holds"),
        (Answer(1000, True, None), "1.00k/s holds, confirmed; more was not asked for"),
        (
            Answer(1000, True, 1050, by_client=True),
            "1.00k/s holds, confirmed; 1.05k/s does not; but that may be the client's limit",
        ),
    ],
)
def test_words(answer: Answer, words: str) -> None:
    """An answer says what does not hold either."""
    assert str(answer) == words


SLOW = [Objective.parse("p(99)<1ms"), Objective.parse("loss==0")]


@pytest.mark.parametrize(
    ("response_ns", "lost", "sent", "held_back", "cpu_share", "trial"),
    [
        (900_000, 0, 1000, 0, 0.5, Trial(100.0, True)),
        (900_000, 0, 1000, 0, 0.97, Trial(100.0, True)),
        (2_000_000, 0, 1000, 0, 0.5, Trial(100.0, False)),
        (900_000, 1, 1000, 0, 0.5, Trial(100.0, False)),
        (2_000_000, 0, 1000, 0, 0.97, Trial(100.0, False, by_client=True)),
        # it did not send what it was to, and nothing held it back
        (900_000, 0, 900, 0, 0.5, Trial(100.0, False, by_client=True)),
        (900_000, 0, 900, 100, 0.5, Trial(100.0, False)),
    ],
)
def test_a_trial(
    response_ns: int, lost: int, sent: int, held_back: int, cpu_share: float, trial: Trial
) -> None:
    """A run holds if it meets each objective at the rate asked for; if not, it is said who is to blame."""
    summary = samples.bench(
        counts=Counts(sent, sent - lost, lost),
        latencies={"response": Histogram.of([response_ns])},
        sending=Sending(1000, sent, 10 * SECOND, 10 * SECOND, HeldBack(held_back, held_back, 0)),
        cpu_share=cpu_share,
    )
    assert Trial.of(100.0, summary, SLOW) == trial


def test_a_closed_loop_is_no_trial() -> None:
    """It has no rate to hold."""
    summary = samples.bench(latencies={"response": Histogram.of([5])}, counts=Counts(1, 1), cpu_share=None)
    assert Trial.of(100.0, summary, SLOW) == Trial(100.0, False, by_client=True)
