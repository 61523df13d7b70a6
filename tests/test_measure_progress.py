"""What is told of a run while it goes on."""

from __future__ import annotations

from netecho.measure.counts import Counts
from netecho.measure.progress import Phase, ProbeReply, Progress


def test_little_is_known_at_first() -> None:
    """Of a run that has just begun there are no errors, and no response time to be asked for."""
    phase: Phase = "connecting"
    told = Progress(phase, 0, None, 0, None, None, Counts(), 0)
    assert (told.errors, told.connections_requested, told.response()) == ({}, None, None)


def test_probe_without_an_echo() -> None:
    """It is lost for no other reason than that its time was over."""
    lost = ProbeReply(3, None, 64, None)
    assert (lost.sequence, lost.size, lost.reason) == (3, 64, None)
