"""Heads that are remembered: they are written and read as `hpack` alone would."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple
from hypothesis import example, given
from hypothesis import strategies as st

from netecho.protocols._http2_headers import MOST_BLOCK, MOST_KNOWN, RememberingDecoder, RememberingEncoder

HEADS = [
    [kind(name, value)]
    for name, value in [(b":status", b"200"), (b"date", b"1"), (b"date", b"2"), (b"x", b"3" * 40)]
    for kind in (HeaderTuple, NeverIndexedHeaderTuple, lambda *field: field)
]
HEADS += [HEADS[0] + HEADS[3], HEADS[6] + HEADS[9]]
STEPS = st.lists(st.sampled_from([*HEADS, 0, 64, 100, 4096]), max_size=40)


@given(STEPS)
@example([64, HEADS[3], HEADS[3], HEADS[6], HEADS[3]])
def test_the_same_as_hpack(steps: list[Any]) -> None:
    """Whatever heads come in whatever order, and whenever the table changes its size."""
    plain, remembering = Encoder(), RememberingEncoder()
    reads, remembers = Decoder(), RememberingDecoder()
    for step in steps:
        if isinstance(step, int):
            plain.header_table_size = remembering.header_table_size = step
            continue
        block = plain.encode(step)
        assert remembering.encode(iter(step)) == block
        fields = reads.decode(block, raw=True)
        read = remembers.decode(block, raw=True)
        assert read == fields
        assert list(map(type, read)) == list(map(type, fields))
        assert remembers.header_table.dynamic_entries == reads.header_table.dynamic_entries
        assert remembers.header_table_size == reads.header_table_size


def test_what_is_remembered_is_bounded_and_not_shared() -> None:
    """As many heads as a peer likes cost no memory, and what is done to a list is not seen again."""
    encoder, decoder = RememberingEncoder(), RememberingDecoder()
    secrets = [[NeverIndexedHeaderTuple(b"x", b"%d" % number)] for number in range(3 * MOST_KNOWN)]
    for secret in secrets:
        block = encoder.encode(secret)
        assert encoder.encode(secret) == block
        read: Any = decoder.decode(block, raw=True)
        read.clear()
        assert decoder.decode(block, raw=True) == secret
    long = [NeverIndexedHeaderTuple(b"x", b"y" * 10 * MOST_BLOCK)]
    assert decoder.decode(encoder.encode(long), raw=True) == long
    text: Any = decoder.decode(encoder.encode({b"x": b"y"}))
    assert text == [("x", "y")]
    assert len(encoder._known) <= MOST_KNOWN
    assert len(decoder._known) <= MOST_KNOWN
    assert max(map(len, [*encoder._known.values(), *decoder._known])) <= MOST_BLOCK


def test_a_limit_holds_for_what_is_known() -> None:
    """A block that was small enough is refused when that has changed."""
    decoder = RememberingDecoder()
    block = Encoder().encode([NeverIndexedHeaderTuple(b"name", b"value")])
    assert decoder.decode(block, raw=True) == [(b"name", b"value")]
    decoder.max_header_list_size = 10
    with pytest.raises(HPACKError):
        decoder.decode(block, raw=True)
    decoder.max_header_list_size = 1000
    decoder.max_allowed_table_size = 100
    with pytest.raises(HPACKError):
        decoder.decode(block, raw=True)


def test_a_peer_that_means_what_is_gone() -> None:
    """A block that was known is refused when what it means has been dropped, though the newest has not."""
    encoder, decoder = Encoder(), RememberingDecoder()
    for name in b"x", b"y":
        decoder.decode(encoder.encode([(name, b"1" * 20)]), raw=True)
    block = encoder.encode([(b"x", b"1" * 20)])
    assert decoder.decode(block, raw=True) == decoder.decode(block, raw=True)
    encoder.header_table_size = 64
    encoder.header_table_size = 4096
    assert decoder.decode(encoder.encode([]), raw=True) == []
    assert len(decoder.header_table.dynamic_entries) == 1
    with pytest.raises(HPACKError):
        decoder.decode(block, raw=True)
