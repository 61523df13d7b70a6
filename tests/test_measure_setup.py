"""What connections took, piece by piece."""

from __future__ import annotations

import pytest

from netecho.measure.histogram import Histogram
from netecho.measure.setup import CONNECT, FIRST_BYTE, PIECES, Setup


def test_pieces_apart() -> None:
    """Each piece has its own distribution, and one that was never there has none."""
    setup = Setup()
    setup.took(CONNECT, 5)
    setup.took(FIRST_BYTE, 9)
    setup.took(CONNECT, 7)
    assert setup.distributions() == {CONNECT: Histogram.of([5, 7]), FIRST_BYTE: Histogram.of([9])}
    setup.took(CONNECT, 6)
    assert setup.distributions()[CONNECT] == Histogram.of([5, 6, 7])
    assert list(setup.distributions()) == [name for name in PIECES if name in (CONNECT, FIRST_BYTE)]


def test_many_connections() -> None:
    """However many there are, each is counted once."""
    setup = Setup()
    for number in range(5000):
        setup.took(CONNECT, number)
    assert setup.distributions()[CONNECT] == Histogram.of(range(5000))


def test_unknown_piece() -> None:
    """What is no piece of a connection is a defect."""
    with pytest.raises(KeyError):
        Setup().took("banner", 1)
