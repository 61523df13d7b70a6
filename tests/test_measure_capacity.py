"""The search for the highest rate: what it tries, that it ends, and that it is right, however noisy."""

from __future__ import annotations

import collections
import dataclasses
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.measure.capacity import Answer, Search, Step

Holds = Callable[[float], bool]
SEARCHES = st.builds(
    Search,
    start=st.floats(10, 10_000),
    lowest=st.floats(0.5, 10),
    highest=st.floats(10_000, 1e7),
    precision=st.floats(0.01, 0.2),
    growth=st.floats(1.5, 10),
    most_steps=st.integers(1, 60),
)


def run(search: Search, holds: Holds) -> tuple[Answer, list[Step]]:
    """Return the answer of a search, and its steps."""
    steps: list[Step] = []
    while not isinstance(then := search.next(steps), Answer):
        held = holds(then)
        steps.append(Step(then, held, "" if held else f"missed at {then:g}"))
    return then, steps


def up_to(limit: float) -> Holds:
    """Return a system that holds the objective up to a rate, always."""
    return lambda rate: rate <= limit


def test_a_search_step_by_step() -> None:
    """It doubles, makes sure of the miss, halves the gap, and runs both edges once more."""
    answer, steps = run(Search(start=1_000, precision=0.1), up_to(5_000))
    assert [(step.rate, step.held) for step in steps] == [
        (1000, True),
        (2000, True),
        (4000, True),
        (8000, False),
        (8000, False),
        (5657, False),
        (4757, True),
        (5188, False),
        (4757, True),
        (5188, False),
    ]
    assert answer == Answer(4757, True, Step(5188, False, "missed at 5188"), 10)


@pytest.mark.parametrize(
    ("outcomes", "rates", "answer"),
    [
        # A miss by chance that would end the doubling is found out at once.
        ("-+ + -- - - + -", "1000 1000 2000 4000 4000 2828 2378 2000 2378", 2000),
        # One in the gap is found out when it has become the edge: the search goes on above it.
        ("+ -- - + + + - + -", "1000 2000 2000 1414 1189 1189 1414 1682 1414 1682", 1414),
        # An answer that does not hold again is lowered, and what is below it is searched.
        ("+ + -- + - - + + -", "1000 2000 4000 4000 2828 3363 2828 2378 2378 2828", 2378),
    ],
)
def test_noise(outcomes: str, rates: str, answer: float) -> None:
    """Two runs of the rates that decide have to agree: the best of three."""
    left = iter(outcomes.replace(" ", ""))
    found, steps = run(Search(precision=0.3), lambda rate: next(left) == "+")
    assert [step.rate for step in steps] == [float(rate) for rate in rates.split()]
    assert (found.rate, found.confirmed) == (answer, True)
    assert found.missed == Step(steps[-1].rate, False, f"missed at {steps[-1].rate:g}")


@pytest.mark.parametrize(
    ("search", "holds", "rates", "answer"),
    [
        # Below its start.
        (
            Search(start=100, precision=0.5),
            up_to(30),
            [100, 100, 50, 25, 35.36, 25, 35.36],
            Answer(25, True, Step(35.36, False, "missed at 35.36"), 7),
        ),
        # Nowhere.
        (
            Search(start=3, lowest=2),
            up_to(0),
            [3, 3, 2, 2],
            Answer(None, True, Step(2, False, "missed at 2"), 4),
        ),
        # Everywhere.
        (Search(start=3, highest=7), up_to(1e9), [3, 6, 7, 7], Answer(7, True, None, 4)),
        (Search(start=7, highest=7, lowest=7), up_to(1e9), [7, 7], Answer(7, True, None, 2)),
        # For as long as it may.
        (Search(start=1, most_steps=3), up_to(1e9), [1, 2, 4], Answer(4, False, None, 3)),
        (
            Search(start=2, most_steps=1),
            up_to(0),
            [2],
            Answer(None, False, Step(2, False, "missed at 2"), 1),
        ),
    ],
)
def test_the_ends_of_a_search(search: Search, holds: Holds, rates: list[float], answer: Answer) -> None:
    """Limits are tried themselves, and no more than what was asked for."""
    found, steps = run(search, holds)
    assert [step.rate for step in steps] == rates
    assert found == answer


@given(SEARCHES, st.floats(0.1, 1e8))
def test_a_steady_limit_is_found(search: Search, limit: float) -> None:
    """To the precision that was asked for, if there are steps enough."""
    answer, steps = run(search, up_to(limit))
    assert answer.steps == len(steps) <= search.most_steps
    if answer.rate is None:
        assert not any(step.held for step in steps)
        assert not answer.confirmed or limit < search.lowest
    else:
        assert answer.rate <= limit
        if answer.confirmed and answer.missed is None:
            assert answer.rate == search.highest
        elif answer.confirmed and answer.missed is not None:
            assert limit < answer.missed.rate <= answer.rate * (1 + search.precision)
    if search.most_steps == 60 and search.growth > 2 and search.precision > 0.02:
        assert answer.confirmed


@given(SEARCHES, st.lists(st.booleans(), min_size=60, max_size=60))
def test_it_ends_whatever_happens(search: Search, outcomes: list[bool]) -> None:
    """Within its bounds, with no rate more than three times, and by what it is told alone."""
    left = iter(outcomes)
    answer, steps = run(search, lambda rate: next(left))
    assert len(steps) <= search.most_steps
    assert all(search.lowest <= step.rate <= search.highest for step in steps)
    assert max(collections.Counter(step.rate for step in steps).values()) <= 3
    assert all(search.next(steps[:taken]) == step.rate for taken, step in enumerate(steps))
    assert search.next(steps) == answer
    if answer.rate is not None and answer.missed is not None:
        assert answer.rate < answer.missed.rate
    if answer.confirmed:
        runs = [step.held for step in steps if step.rate == answer.rate]
        assert answer.rate is None or runs.count(True) == 2


@given(SEARCHES.filter(lambda search: search.precision > 0.02), st.integers(), st.floats(0, 1))
def test_it_would_end_without_a_limit_on_its_steps(search: Search, seed: int, share: float) -> None:
    """There are only so many rates."""
    rng = random.Random(seed)  # noqa: S311
    unlimited = dataclasses.replace(search, most_steps=10**6)
    _, steps = run(unlimited, lambda rate: rng.random() < share)
    narrowest = math.log(1 + search.precision) / 2.1
    assert len(steps) <= 3 * (math.log(search.highest / search.lowest) / narrowest + 3)


def noisy(limit: float, flips: float, rng: random.Random) -> Holds:
    """Return a system that does now and then what it would not."""
    return lambda rate: (rate <= limit) != (rng.random() < flips)


def test_one_run_in_fifty_that_tells_the_contrary_is_survived() -> None:
    """In nearly every search: a hiccup while it doubles would be an answer that is too low by far."""
    good = 0
    for seed in range(100):
        rng = random.Random(seed)  # noqa: S311
        limit = 10 ** rng.uniform(1, 6)
        answer, _ = run(Search(), noisy(limit, 0.02, rng))
        good += answer.rate is not None and 0.9 * limit < answer.rate <= 1.05 * limit
    assert good >= 97


def test_an_edge_that_is_not_sharp_is_found_where_it_is() -> None:
    """A rate that holds every other time is about the answer."""
    ratios = []
    for seed in range(100):
        rng = random.Random(seed)  # noqa: S311
        limit = 10 ** rng.uniform(1, 6)

        def holds(rate: float, limit: float = limit, rng: random.Random = rng) -> bool:
            return rng.random() < 1 / (1 + (rate / limit) ** 30)

        answer, _ = run(Search(), holds)
        assert answer.rate is not None
        ratios.append(answer.rate / limit)
    ratios.sort()
    assert 0.85 < ratios[5] < ratios[94] < 1.1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start": 0.5}, "between its lowest and its highest rate"),
        ({"start": 2e7}, "between its lowest and its highest rate"),
        ({"lowest": 0}, "above 0"),
        ({"highest": math.inf}, "between its lowest and its highest rate"),
        ({"start": math.nan}, "between its lowest and its highest rate"),
        ({"precision": 0.001}, "not searched for more finely than 1%"),
        ({"precision": math.inf}, "not searched for more finely than 1%"),
        ({"growth": 1.05}, "by more than the precision"),
        ({"most_steps": 0}, "a step at least"),
    ],
)
def test_a_search_that_makes_no_sense(wrong: dict[str, float], words: str) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ValueError, match=words):
        Search(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(12_260, True, Step(12_800, False, "p(99)<10ms: 14.0 ms, missed"), 14),
            "12.3k/s held, 12.8k/s did not (p(99)<10ms: 14.0 ms, missed)",
        ),
        (Answer(12_260, True, Step(12_800, False), 14), "12.3k/s held, 12.8k/s did not"),
        (Answer(7, True, None, 4), "7/s held, the highest rate to be tried"),
        (Answer(4, False, None, 3), "4/s held; not confirmed"),
        (Answer(None, True, Step(2, False, "late"), 4), "no rate held, down to 2/s (late)"),
        (Answer(None, False, None, 0), "interrupted before the first step was over; nothing is known"),
    ],
)
def test_an_answer_in_words(answer: Answer, words: str) -> None:
    """What held, what did not, why, and whether it was confirmed."""
    assert str(answer) == words
