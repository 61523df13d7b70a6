"""What becomes of answers on purpose: which of them, how often, and always the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.errors import UsageError
from netecho.impairment import OF_CONNECTIONS, OF_DATAGRAMS, Delay, Fates, Harm, Impairment
from netecho.plans import ListenPlan, Target

MS = 1_000_000
ALL = Impairment(Delay(5 * MS, 2 * MS, 0.3), 0.1, 0.2, 0.3, 0.4, 0.5)


def drawn(fates: Fates, count: int = 500) -> dict[str, list[Any]]:
    """Return what becomes of so many answers, kind by kind."""
    return {
        "lost": [fates.is_lost() for _ in range(count)],
        "doubled": [fates.is_doubled() for _ in range(count)],
        "overtaken": [fates.is_overtaken() for _ in range(count)],
        "delays": [fates.delay_ns() for _ in range(count)],
        "corrupted": [fates.corrupted(b"payload") for _ in range(count)],
        "truncated": [fates.truncated(b"payload") for _ in range(count)],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": 1.5}, "--loss is for a share"),
        ({"duplicate": -0.1}, "--duplicate is for a share"),
        ({"reorder": float("nan")}, "--reorder is for a share"),
        ({"close_after": 0}, "--close-after must be at least 1"),
        ({"seed": 7}, "--seed is of impairments"),
    ],
)
def test_no_impairment(fields: dict[str, Any], message: str) -> None:
    """What cannot be done is refused, with the flag's name."""
    with pytest.raises(UsageError, match=message):
        Impairment(**fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [((0,), "more than 0"), ((2, 3), "at most"), ((2, -1), "at most"), ((2, 1, 1.1), "share")],
)
def test_no_delay(values: tuple[Any, ...], message: str) -> None:
    """A delay is one, never below 0 however it varies, and of no more than all."""
    with pytest.raises(UsageError, match=message):
        Delay(*values)


def test_what_is_asked_for() -> None:
    """It is known which kinds of harm are to be done, in the order of their flags."""
    assert Impairment().harms == ()
    assert ALL.harms == tuple(harm for harm in Harm if harm is not Harm.CLOSE_AFTER)
    assert Impairment(close_after=1).harms == (Harm.CLOSE_AFTER,)
    assert frozenset(Harm) == OF_DATAGRAMS | OF_CONNECTIONS


def test_nothing_is_done_unasked() -> None:
    """Without an impairment nothing becomes of any answer."""
    none = drawn(Fates(Impairment()))
    assert not any(any(kind) for kind in none.values())


def test_all_of_them() -> None:
    """A share of 100% is each one."""
    all_of_them = drawn(Fates(Impairment(Delay(5), 1.0, 1.0, 1.0, 1.0, 1.0)), 50)
    assert all_of_them["delays"] == [5] * 50
    for name in ("lost", "doubled", "overtaken"):
        assert all(all_of_them[name])
    assert None not in all_of_them["corrupted"] + all_of_them["truncated"]


def test_shares() -> None:
    """Of many, each kind is done to about its share, and delays are spread evenly around their mean."""
    many = drawn(Fates(ALL), 20_000)
    for name, share in (("lost", 0.1), ("doubled", 0.2), ("overtaken", 0.3)):
        assert abs(sum(many[name]) / 20_000 - share) < 0.02
    for name, share in (("corrupted", 0.4), ("truncated", 0.5)):
        assert abs(1 - many[name].count(None) / 20_000 - share) < 0.02
    delays = [delay for delay in many["delays"] if delay]
    assert abs(len(delays) / 20_000 - 0.3) < 0.02
    assert 3 * MS <= min(delays) < 3.1 * MS
    assert 6.9 * MS < max(delays) <= 7 * MS
    assert abs(sum(delays) / len(delays) - 5 * MS) < 0.1 * MS


def test_the_same_again() -> None:
    """The same seed, stream and connection have the same fates; another of each has others."""
    one = drawn(Fates(ALL))
    assert drawn(Fates(ALL)) == one
    for other in (
        Fates(ALL, 1),
        Fates(ALL.part(0)),
        Fates(Impairment(ALL.delay, 0.1, 0.2, 0.3, 0.4, 0.5, seed=1)),
    ):
        for name, fates in drawn(other).items():
            assert fates != one[name], name
    assert drawn(Fates(ALL.part(1).part(2))) != drawn(Fates(ALL.part(2).part(1)))


def test_kinds_are_apart() -> None:
    """That one more kind of harm is asked for changes nothing of the others."""
    alone = drawn(Fates(Impairment(loss=0.1)))["lost"]
    assert drawn(Fates(ALL))["lost"] == alone
    halves = drawn(Fates(Impairment(None, 0.5, 0.5, 0.5)))
    assert halves["lost"] != halves["doubled"] != halves["overtaken"] != halves["lost"]


def test_workers_have_their_own() -> None:
    """Each worker's share of a plan has fates of its own; without any there is nothing to tell apart."""
    target = Target()
    shares = ListenPlan((target,), workers=2, impairment=ALL).split()
    assert [share.impairment.stream for share in shares] == [(0,), (1,)]
    assert ListenPlan((target,), workers=2).split()[1].impairment == Impairment()


@given(st.binary(max_size=40), st.integers(0, 1000))
def test_corruption(payload: bytes, number: int) -> None:
    """One bit is changed, of whatever there is."""
    corrupted = Fates(Impairment(corrupt=1.0), number).corrupted(payload)
    if not payload:
        assert corrupted is None
    else:
        assert corrupted is not None
        assert len(corrupted) == len(payload)
        [difference] = [one ^ other for one, other in zip(payload, corrupted, strict=True) if one != other]
        assert difference == 1


def test_corruption_without_choice() -> None:
    """Where all bytes are firsts of characters, which no text is, it is one of those."""
    assert Fates(Impairment(corrupt=1.0)).corrupted(b"\xff") == b"\xfe"


@given(st.text(min_size=1, max_size=40), st.integers(0, 1000))
def test_corrupted_text_is_text(text: str, number: int) -> None:
    """Text is other text then, which shows to whoever compares it, not to whoever decodes it."""
    corrupted = Fates(Impairment(corrupt=1.0), number).corrupted(text.encode())
    assert corrupted is not None
    assert corrupted.decode() != text


@given(st.binary(max_size=40), st.integers(0, 1000))
def test_truncation(payload: bytes, number: int) -> None:
    """Something is missing at the end."""
    truncated = Fates(Impairment(truncate=1.0), number).truncated(payload)
    if not payload:
        assert truncated is None
    else:
        assert truncated is not None
        assert len(truncated) < len(payload)
        assert payload.startswith(truncated)
