"""Random conversations, on our reactor and on Twisted's: nobody at either end can tell which it was."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conversations import SMALL_BUFFERS, Outcome, Promises, Step, converse, scripts
from tests.pairs import LINKS, Link
from tests.reactors import STREAM_KINDS


def promised(promises: Promises, outcomes: tuple[Outcome, Outcome]) -> list[Outcome | None]:
    """Return as much of what became of each end as does not depend on when things happened."""
    if not promises.in_order:
        return []
    found: list[Outcome | None] = []
    for promise, other, outcome in zip(promises.ends, promises.ends[::-1], outcomes, strict=True):
        assert other.kept <= outcome.received <= other.written
        found.append(
            dataclasses.replace(
                outcome,
                received=outcome.received if other.kept == other.written else -1,
                # Whoever has closed may, or may not, have heard of the rest by then.
                told=() if promise.closed else tuple(what for what in outcome.told if what != "data"),
                pauses=outcome.pauses if all(outcome.pauses) else (),
            )
        )
    return found


@pytest.mark.parametrize("link", LINKS, ids=str)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(script=scripts, buffers=st.sampled_from([None, SMALL_BUFFERS]))
def test_conversations(link: Link, script: list[Step], buffers: tuple[int, int] | None) -> None:
    """All that is promised arrives, in order, and each end is told the same, by whichever reactor."""
    by_kind = {kind: promised(*converse(kind, link, script, buffers)) for kind in STREAM_KINDS}
    assert by_kind == dict.fromkeys(STREAM_KINDS, by_kind["epoll"])
