"""On which way exchanges were lost, by the numbers of a reflector's answers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.measure.directions import WINDOW, Directions, Losses

Answer = tuple[int, int]


def losses(answers: list[Answer], sent: int, first: int = 0) -> Losses:
    """Return what is lost of a session's exchanges, by the (exchange, number) of the answers that came."""
    directions = Directions(first)
    for sequence, number in answers:
        directions.answered(sequence, number)
    return directions.losses(sent)


@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        ([], 0, Losses()),
        ([], 3, Losses(unknown=3)),
        ([(0, 0), (1, 1), (2, 2)], 3, Losses()),
        # the reflector got 0, 2 and 3
        ([(0, 0), (2, 1), (3, 2)], 4, Losses(out=1)),
        # it got all of 0 to 3 but 1, and its answer to 2 was lost
        ([(0, 0), (3, 2)], 4, Losses(out=1, back=1)),
        # what was lost after the last answer, nobody knows where
        ([(0, 0), (3, 2)], 7, Losses(out=1, back=1, unknown=3)),
        # the same numbers: a stateless reflector, or one that got all: who can tell
        ([(0, 0), (3, 3)], 4, Losses(unknown=2)),
        # 1 came to it late: no loss
        ([(0, 0), (2, 1), (1, 2)], 3, Losses()),
        # its answers came in another order, and 1 was lost on the way out
        ([(3, 2), (0, 0), (2, 1)], 4, Losses(out=1)),
        # one answer came twice
        ([(0, 0), (2, 1), (2, 1), (3, 2)], 4, Losses(out=1)),
        # it got 1 twice
        ([(0, 0), (1, 1), (1, 2), (3, 3)], 4, Losses(out=1)),
        # it got 0 and 1 twice, or it began to count before us, and what became of 0 is not known
        ([(1, 3), (2, 4)], 3, Losses(unknown=1)),
        # it got 0 and 1 twice, and three of four answers are missing: but only one exchange is
        ([(0, 0), (1, 2), (3, 5)], 4, Losses(back=1)),
        # it began to count before us, from 100 or from before 2**32
        ([(0, 100), (2, 101), (4, 103)], 5, Losses(out=1, back=1)),
        ([(0, 2**32 - 1), (2, 0), (4, 2)], 5, Losses(out=1, back=1)),
        ([(0, 0), (3, 1), (4, 0)], 5, Losses(unknown=2)),
    ],
)
def test_table(answers: list[Answer], sent: int, expected: Losses) -> None:
    """Small sessions, whose truth is known."""
    assert losses(answers, sent) == expected


@given(st.lists(st.sampled_from(["answered", "lost out", "lost back"]), max_size=60), st.data())
def test_losses_are_exact(fates: list[str], data: st.DataObject) -> None:
    """Whatever is lost, and however the answers are doubled and mixed on their way, each loss is counted."""
    numbers = itertools.count()
    answers, truth, last = [], {"lost out": 0, "lost back": 0}, -1
    for sequence, fate in enumerate(fates):
        number = None if fate == "lost out" else next(numbers)
        if fate == "answered":
            assert number is not None
            answers.append((sequence, number))
            last = sequence
    for fate in fates[: last + 1]:
        if fate != "answered":
            truth[fate] += 1
    came = data.draw(st.permutations(answers * 2)) if answers else []
    found = losses(came, len(fates))
    later = len(fates) - (last + 1)
    total = sum(truth.values())
    if truth["lost out"]:
        assert found == Losses(truth["lost out"], truth["lost back"], later)
    else:
        assert found == Losses(unknown=total + later), "by its numbers it may be stateless"


def test_many() -> None:
    """A long session whose numbers wrap round in 32 bits, one exchange in ten lost on each way."""
    directions = Directions()
    count = 2**32 - 5000
    for sequence in range(10_000):
        if sequence % 10 == 3:
            continue
        if sequence % 10 != 7:
            directions.answered(sequence, count % 2**32)
        count += 1
    assert directions.losses(10_000) == Losses(out=1000, back=1000)


def test_wrap() -> None:
    """A stateless reflector's numbers are those of the exchanges, of which it knows 32 bits."""
    directions = Directions()
    for sequence in (2**32 - 3, 2**32 - 1, 2**32, 2**32 + 2):
        directions.answered(sequence, sequence % 2**32)
    assert directions.losses(2**32 + 3) == Losses(unknown=2**32 - 1)


def test_reflector_that_forgets() -> None:
    """One that begins its count anew in mid-session says nothing any more of which way losses went."""
    answers = [(0, 0)] + [(sequence, sequence - 1) for sequence in range(9, 2 * WINDOW)]
    assert losses(answers, 2 * WINDOW) == Losses(out=1, back=7)
    answers.append((2 * WINDOW, 0))
    assert losses(answers, 2 * WINDOW + 1) == Losses(unknown=8)


def test_late_by_a_window() -> None:
    """What comes so late is new, takes the place of nothing newer, and makes no losses negative."""
    assert losses([(WINDOW, WINDOW), (0, 0), (WINDOW, WINDOW)], WINDOW + 1) == Losses(unknown=WINDOW - 1)
    twice = [(sequence, sequence) for sequence in range(WINDOW + 1)] + [(0, 0)]
    assert losses(twice, WINDOW + 1) == Losses()


def test_more_answers_than_were_sent() -> None:
    """A reflector that got things in the opposite order numbers them so, and claims no negative losses."""
    answers = [(0, 50), (1, 49), (2, 48), (4, 47)]
    assert losses(answers, 5) == Losses(out=1)


@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        ([], 103, Losses(unknown=3)),
        ([(100, 100), (102, 102)], 103, Losses(unknown=1)),
        # before them it got 90 of 100; then 0 and 2, of three
        ([(100, 90), (102, 91)], 103, Losses(out=1)),
        # and here its answer to 1 was lost on the way back, and on which way 103 and 104 were is not known
        ([(100, 90), (102, 92), (106, 94)], 108, Losses(out=2, back=2, unknown=1)),
        # nor where those before the first answer were
        ([(102, 92), (104, 93), (103, 94)], 105, Losses(unknown=2)),
        # it got few before, and counts as if it had begun with these
        ([(103, 2), (105, 3)], 106, Losses(out=1, unknown=3)),
        # what is answered first is not always the first
        ([(102, 92), (100, 90)], 103, Losses(back=1)),
    ],
)
def test_goes_on_since_before(answers: list[Answer], sent: int, expected: Losses) -> None:
    """Of a session that has had 100 exchanges, those after."""
    assert losses(answers, sent, 100) == expected


def test_sum() -> None:
    """Sessions add up."""
    assert Losses(1, 2, 3) + Losses(10, 20, 30) == Losses(11, 22, 33)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (Losses(), {"lost_out": 0, "lost_back": 0, "lost_unknown": 0}),
        (Losses(1, 2, 3), {"lost_out": 1, "lost_back": 2, "lost_unknown": 3}),
        (Losses(unknown=3), {"lost_out": None, "lost_back": None, "lost_unknown": 3}),
    ],
)
def test_in_a_result(losses: Losses, expected: dict[str, int | None]) -> None:
    """What is not known is null, and no zero."""
    assert losses.to_json() == expected
    assert Losses.from_json(expected) == losses


def test_no_reflector() -> None:
    """A result without one says nothing of ways."""
    assert Losses.from_json({"lost": 3}) is None
