"""Payloads that say which exchange they belong to."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from netecho.measure.payload import HEADER, PERIOD, Payload

keys = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 200)
sequences = st.integers(0, 2**40)


@pytest.mark.parametrize(
    ("size", "apart"),
    # how many exchanges before a payload comes again
    [(0, 1), (1, 1 << 8), (2, 1 << 16), (3, 1 << 24), (4, 1 << 32), (8, 1 << 32), (100, 1 << 32)],
)
def test_how_long_payloads_differ(size: int, apart: int) -> None:
    """A payload carries as much of its number as it has room for, up to 32 bits."""
    payload = Payload(size, key=1)
    assert payload.size == size == len(payload.make(7))
    assert payload.numbered == (size > 0)
    assert payload.make(7) == payload.make(7 + apart)
    assert apart == 1 or payload.make(7) != payload.make(7 + apart - 1)


@pytest.mark.parametrize(("size", "period"), [(0, 1), (4, PERIOD), (4096, PERIOD), (4097, None)])
def test_repeating(size: int, period: int | None) -> None:
    """Small payloads may come again after a while, never sooner; large ones do not."""
    payload = Payload(size, key=1, repeating=True)
    numbered = Payload(size, key=1)
    for sequence in (0, 1, PERIOD - 1, PERIOD, 3 * PERIOD + 7):
        again = sequence if period is None else sequence % period
        assert payload.make(sequence) == numbered.make(again)
        assert payload.intact(sequence, payload.make(sequence))
    made = {payload.make(sequence) for sequence in range(PERIOD)}
    assert len(made) == (PERIOD if period is None else period)


def test_repeating_a_message() -> None:
    """A message of one's own is every payload, as ever."""
    assert Payload(0, key=1, message=b"hello", repeating=True).make(300) == b"hello"


@given(sizes, keys, sequences)
def test_makes_what_it_recognises(size: int, key: int, sequence: int) -> None:
    """Each payload has the size asked for, is intact, and is told by its number."""
    payload = Payload(size, key)
    made = payload.make(sequence)
    assert len(made) == size
    assert payload.intact(sequence, made)
    assert payload.sequence_of(made, newest=sequence) == (sequence if size else None)


@given(st.integers(1, 200), keys, sequences, st.integers(0, 2**33))
def test_nearest_below_the_newest(size: int, key: int, newest: int, age: int) -> None:
    """Of the numbers that agree with what a payload carries, the latest one sent is meant."""
    assume(age <= newest)
    payload = Payload(size, key)
    wrap = 1 << 8 * min(size, 4)
    assert payload.sequence_of(payload.make(newest - age), newest) == newest - age % wrap


@given(st.integers(1, 200), keys, st.integers(-1, 1000), st.integers(1, 1000))
def test_numbers_not_sent_yet(size: int, key: int, newest: int, ahead: int) -> None:
    """What was never sent belongs to no exchange."""
    payload = Payload(size, key)
    wrap = 1 << 8 * min(size, 4)
    assume(newest + ahead - wrap < 0)
    assert payload.sequence_of(payload.make(newest + ahead), newest) is None


@given(st.integers(HEADER.size, 200), keys, keys, sequences)
def test_other_runs(size: int, key: int, other: int, sequence: int) -> None:
    """What another run sent is not taken for this one's."""
    assume(key != other)
    assert Payload(size, key).sequence_of(Payload(size, other).make(sequence), sequence) is None


@given(st.integers(1, 200), keys, sequences, st.data())
def test_every_byte_counts(size: int, key: int, sequence: int, data: st.DataObject) -> None:
    """One changed bit, wherever it is, is noticed; in a header it leaves the exchange unknown."""
    payload = Payload(size, key)
    damaged = bytearray(payload.make(sequence))
    at = data.draw(st.integers(0, size - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    assert not payload.intact(sequence, bytes(damaged))
    if size >= HEADER.size:
        found = payload.sequence_of(bytes(damaged), sequence)
        assert found == (None if at < HEADER.size else sequence)


@given(st.integers(1, 200), keys, sequences, st.data())
def test_cut_short_or_too_long(size: int, key: int, sequence: int, data: st.DataObject) -> None:
    """An echo of another length is never intact, and belongs to an exchange only if its header is whole."""
    payload = Payload(size, key)
    made = payload.make(sequence)
    short = made[: data.draw(st.integers(0, size - 1))]
    needed = HEADER.size if size >= HEADER.size else min(size, 4)
    assert not payload.intact(sequence, short)
    assert payload.sequence_of(short, sequence) == (sequence if len(short) >= needed else None)
    longer = made + b"\0"
    assert not payload.intact(sequence, longer)
    assert payload.sequence_of(longer, sequence) == sequence


@pytest.mark.parametrize("message", [b"", b"hello", b"x" * 1000])
def test_message(message: bytes) -> None:
    """A message given is sent as it is every time, and no echo of it can be told from another."""
    payload = Payload(64, key=1, message=message)
    assert payload.size == len(message)
    assert not payload.numbered
    assert payload.make(0) == payload.make(1) == message
    assert payload.sequence_of(message, newest=3) is None
    assert payload.intact(5, message)
    assert not payload.intact(5, message + b"!")


def test_does_not_compress() -> None:
    """The rest of a payload has no pattern that a compressing link could take out."""
    made = Payload(100_000, key=3).make(0)
    assert len(zlib.compress(made)) > len(made) * 0.99


@pytest.mark.parametrize("size", [3, 8, 64])
@pytest.mark.parametrize("cut", range(8))
def test_too_short_to_say(size: int, cut: int) -> None:
    """What has lost a part of its number, or of the check of it, answers nothing."""
    made = Payload(size, key=1).make(5)[:cut]
    whole = cut >= min(size, HEADER.size)
    assert Payload(size, key=1).sequence_of(made, newest=5) == (5 if whole else None)


@given(st.integers(0, 500), keys, sequences)
@example(158, 0, 0)
@example(79, 1, 0)  # a byte more than a line
@example(80, 1, 0)  # as much more as a line's end
def test_text(size: int, key: int, sequence: int) -> None:
    """Payloads of text have the size asked for, in lines as long as mail has them, and differ by number."""
    payload = Payload(size, key, text=True)
    made = payload.make(sequence)
    assert len(made) == size
    assert payload.intact(sequence, made)
    assert not payload.numbered
    assert payload.sequence_of(made, newest=sequence) is None
    if size < 2:
        assert made.isalnum() or size == 0
        return
    *lines, rest = made.split(b"\r\n")
    assert rest == b""
    assert all(len(line) <= 76 and (line.isalnum() or size == 2) for line in lines)
    assert size < 18 or made != payload.make(sequence + 1)


def test_text_repeating() -> None:
    """Text comes again after a while as bytes do."""
    payload = Payload(100, key=1, text=True, repeating=True)
    assert payload.make(3) == payload.make(3 + PERIOD) == Payload(100, key=1, text=True).make(3)
