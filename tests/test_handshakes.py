"""Whose the handshakes are that are under way, and how many each may have of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.protocols._handshakes import Handshakes, network_of


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%lo", "fe80::2%lo", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_networks(one: str, other: str, alike: bool) -> None:
    """IPv4 is counted by address, also on a socket for both, and IPv6 by the /64."""
    assert (network_of(one) == network_of(other)) == alike


def test_parts() -> None:
    """Who comes later finds as much room as those before have each left."""
    under_way: Handshakes[tuple[str, int]] = Handshakes(12)
    for host, count in (("192.0.2.1", 6), ("192.0.2.2", 3), ("2001:db8::1", 2), ("192.0.2.3", 1)):
        for number in range(count):
            assert under_way.has_room(host)
            under_way.add((host, number), host)
        assert not under_way.has_room(host)
    assert under_way.left == 0
    under_way.discard(("192.0.2.1", 0))
    under_way.discard(("192.0.2.1", 0))
    assert under_way.left == 1
    assert not under_way.has_room("192.0.2.1")
    assert under_way.has_room("192.0.2.4")


def test_unproved() -> None:
    """What is of nobody's proved address takes room, and nobody's part."""
    under_way: Handshakes[int] = Handshakes(4)
    under_way.add(1, None)
    under_way.add(2, None)
    assert (len(under_way), under_way.left) == (2, 2)
    assert under_way.has_room("192.0.2.1")
    under_way.discard(1)
    assert list(under_way) == [2]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_room_for_one_more(steps: list[tuple[int, bool]]) -> None:
    """Whatever few addresses take and give back, there is never more than there may be, and nothing stays."""
    under_way: Handshakes[int] = Handshakes(8)
    theirs: dict[int, list[int]] = {}
    for party, (who, begins) in enumerate(steps):
        host, own = f"192.0.2.{who}", theirs.setdefault(who, [])
        if not begins:
            if own:
                under_way.discard(own.pop())
        elif under_way.has_room(host):
            under_way.add(party, host)
            own.append(party)
            assert len(own) <= under_way.left + 1
        assert len(under_way) == sum(map(len, theirs.values())) <= 8
    for own in theirs.values():
        for party in own:
            under_way.discard(party)
    assert under_way.left == 8
    assert not under_way._parts
