"""What a result says of a reflector beside its delays."""

from __future__ import annotations

import dataclasses
import json

import pytest

from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import Offset, OneWay, Reflection
from netecho.measure.reflected import Reflected, delays_of
from netecho.plans import MILLISECOND, SECOND

SET_APART = Reflected(Losses(1, 2, 3), Offset(37 * SECOND, MILLISECOND), False, None, 0, {63: 5, 64: 5})


def through_json(reflected: Reflected) -> Reflected:
    """Return it as it comes from a file."""
    told = json.loads(json.dumps([reflected.to_json(), reflected.losses.to_json()]))
    return Reflected.from_json(*told)


def test_of_one_way() -> None:
    """It is what was recorded; without any exchange nothing is said of clocks."""
    one_way = OneWay()
    nothing = Reflected.of(one_way)
    assert nothing == Reflected(Losses(), None, False, None, 0, {})
    assert delays_of(one_way) == {}
    one_way.record(Reflection(0, 1040, 1045, 65, 0, 64, synchronised=True, error_ns=2000))
    one_way.record(Reflection(0, 1030, 1020, 65, 0, 64))
    one_way.losses = Losses(out=1)
    assert Reflected.of(one_way) == Reflected(Losses(out=1), Offset(1010, 30), True, 2000, 1, {64: 1})
    assert delays_of(one_way) == {name: getattr(one_way, name) for name in ("out", "back", "dwell")}
    assert delays_of(one_way)["dwell"] == Histogram.of([5])


@pytest.mark.parametrize(
    "reflected",
    [
        SET_APART,
        Reflected(Losses(unknown=4), Offset(-5, 0), True, 1000, 1, {}),
        Reflected(Losses(), None, False, None, 0, {}),
    ],
)
def test_comes_back(reflected: Reflected) -> None:
    """From a file it is the same."""
    assert through_json(reflected) == reflected


def test_several() -> None:
    """Losses and counts add up; the fastest exchange has the best estimate, and all must agree."""
    synchronised = Reflected(Losses(10), Offset(3, 10), True, 2000, 1, {64: 1})
    nothing = Reflected(Losses(unknown=1), None, False, None, 0, {})
    assert SET_APART + synchronised == Reflected(
        Losses(11, 2, 3), Offset(3, 10), False, None, 1, {63: 5, 64: 6}
    )
    assert (synchronised + synchronised).error_ns == 2000
    assert (nothing + synchronised).offset == synchronised.offset
    assert (nothing + nothing).offset is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["estimate", "37.0 s ahead of ours", "wrong by 1.00 ms"]),
        ({"offset": Offset(-5 * MILLISECOND, 1)}, ["5.00 ms behind ours"]),
        ({"offset": None, "losses": Losses(unknown=2)}, ["2 exchanges were lost is not known"]),
        ({"clocks_agree": True, "error_ns": 2000}, ["synchronised, to within 2.00 µs"]),
        ({"offset": None, "implausible": 3}, ["3 exchanges took less than no time"]),
    ],
)
def test_remarks(changes: dict[str, object], words: list[str]) -> None:
    """The reader is told what delays each way rest on, and what is not known of losses."""
    (remark,) = dataclasses.replace(SET_APART, **changes).remarks()  # type: ignore[arg-type]
    assert all(word in remark for word in words)


def test_nothing_to_remark() -> None:
    """A reflector that told nothing and lost nothing."""
    assert list(Reflected(Losses(), None, False, None, 0, {}).remarks()) == []
