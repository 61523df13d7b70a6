"""The rules that decide whether a result can be trusted, from recorded cases."""

from __future__ import annotations

import dataclasses

import pytest

from netecho.measure.quality import Observed, judge
from netecho.measure.recorder import Counts

GOOD = Observed(
    counts=Counts(sent=10, completed=10),
    closed_loop=False,
    verified=True,
    cpu_share=0.5,
    connections_requested=2,
    connections_opened=2,
)


def test_a_good_run_needs_no_remark() -> None:
    """Nothing to say is said by nothing."""
    judgement = judge(GOOD)
    assert judgement.trustworthy
    assert judgement.caveats == ()


@pytest.mark.parametrize(
    ("change", "trustworthy", "words"),
    [
        ({"counts": Counts(sent=10, lost=10)}, False, "no echo came back"),
        ({"cpu_share": 0.95}, False, "95% of a processor"),
        ({"cpu_share": None}, True, None),
        ({"connections_opened": 1}, False, "only 1 of 2 connections"),
        ({"closed_loop": True}, True, "closed loop"),
        ({"verified": False}, True, "--verify none"),
        ({"unnumbered": True}, True, "carry no number"),
        ({"interrupted": True}, True, "results so far"),
    ],
)
def test_each_rule(change: dict[str, object], trustworthy: bool, words: str | None) -> None:
    """Each departure from a good run has its own words, and some cost it its trust."""
    judgement = judge(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert judgement.trustworthy is trustworthy
    if words is None:
        assert judgement.caveats == ()
    else:
        assert len(judgement.caveats) == 1
        assert words in judgement.caveats[0]


def test_reasons_for_distrust_come_first() -> None:
    """What spoils a result is read before what qualifies it."""
    judgement = judge(dataclasses.replace(GOOD, closed_loop=True, cpu_share=1.0))
    assert "processor" in judgement.caveats[0]
    assert "closed loop" in judgement.caveats[1]
