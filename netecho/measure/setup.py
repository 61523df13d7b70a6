"""What it costs to have a connection, piece by piece: the times of many connections, as distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from netecho.measure.histogram import Histogram

RESOLVE: Final = "resolve"
"""From a host's name to its addresses."""
CONNECT: Final = "connect"
"""Until the transport beneath is connected: of TCP, its handshake."""
HANDSHAKE: Final = "handshake"
"""Of TLS, in full, from when the transport was connected until we may send."""
HANDSHAKE_RESUMED: Final = "handshake_resumed"
"""The same, where an earlier connection's session was resumed."""
FIRST_BYTE: Final = "first_byte"
"""From a connection's beginning, its name resolved, to the first byte of its first echo; what it waited
for its turn to send is left out."""
PIECES: Final = (RESOLVE, CONNECT, HANDSHAKE, HANDSHAKE_RESUMED, FIRST_BYTE)
_MOST: Final = 1024
"""Samples kept before they are counted."""


class Setup:
    """Adds up how long the pieces of connections took."""

    def __init__(self) -> None:
        self._samples: dict[str, list[int]] = {name: [] for name in PIECES}
        self._histograms = {name: Histogram() for name in PIECES}

    def took(self, piece: str, time_ns: int) -> None:
        """Count the time of one of `PIECES`."""
        samples = self._samples[piece]
        samples.append(time_ns)
        if len(samples) >= _MOST:
            self._flush(piece)

    def _flush(self, piece: str) -> None:
        self._histograms[piece].record(self._samples[piece])
        self._samples[piece].clear()

    def distributions(self) -> Mapping[str, Histogram]:
        """Return the times of each piece that has any, in nanoseconds."""
        for piece in PIECES:
            self._flush(piece)
        return {name: one for name, one in self._histograms.items() if one.count}
