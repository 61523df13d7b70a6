"""How long the steps take by which a connection is opened."""

from __future__ import annotations

from netecho.services.opening import Opening


def test_steps() -> None:
    """Connecting ends where the handshake begins."""
    now = 100
    opening = Opening(lambda: now)
    assert opening.connect_ns is None
    now = 130
    opening.on_connected()
    assert opening.connect_ns == 30
    assert opening.handshake_ns(200) == 70


def test_handshake_alone() -> None:
    """Where it is the handshake that connects, that is all there is."""
    opening = Opening(lambda: 100)
    assert opening.connect_ns is None
    assert opening.handshake_ns(200) == 100
