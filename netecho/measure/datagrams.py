"""What a path does to datagrams beyond losing them: reorders them, and delays each differently.

What is lost, late, duplicated, reordered or corrupted a `Flow` counts. A `DatagramFlow` counts it for each
flow too, and measures of the echoes that its recorder counts as completed, so that nothing that came twice
or too late is in it:

- `extent`: how far each reordered one came after its place, in datagrams (RFC 4737 section 4.2: the
  arrivals since the first one that had a higher number, by Type-P-Reordered of section 3.3).
- `variation`: by how much the delays of two datagrams sent one after the other differ, without sign (RFC
  3393 with consecutive datagrams as the selection; IPDV in RFC 5481 section 3.1). Both must have come.
- `from_minimum`: by how much delays exceed the smallest (PDV in RFC 5481 section 3.2).
- jitter: the smoothed difference of two delays in the order of arrival (RFC 3550 section 6.4.1).

Delay is the time from a datagram's leaving to its echo. A `Path` takes any two times, so that those of a
stamping reflector make one for each direction: how far apart the two clocks are makes no difference to it.
"""

from __future__ import annotations

import bisect
from typing import Final

from netecho.measure.counts import Counts, Outcome
from netecho.measure.directions import Losses
from netecho.measure.flow import Flow
from netecho.measure.histogram import PERCENTILES, Histogram, percentile_key
from netecho.measure.recorder import Recorder

VARIATION: Final = "variation"
EXTENT: Final = "extent"
_BATCH: Final = 32
"""Arrivals that are looked at together."""
_ROOM: Final = 1024
"""About as many gaps in the numbers are kept before those are forgotten that are of no more use."""


class Path:
    """What a way does to the datagrams of one flow. Times in nanoseconds.

    Arrivals are kept for a while and looked at together, which takes a fraction of the time.
    """

    __slots__ = (
        "_arrivals",
        "_beyond",
        "_beyond_arrivals",
        "_extent",
        "_highest",
        "_highest_transit",
        "_jitter",
        "_last_transit",
        "_limit",
        "_pending",
        "_room",
        "_transits",
        "_variation",
    )

    def __init__(self) -> None:
        self._pending: list[tuple[int, int]] = []
        self._room = 1
        self._arrivals = 0
        self._extent, self._variation = Histogram(), Histogram()
        self._jitter = self._last_transit = 0
        self._highest = self._highest_transit = -1
        # Delays of those who may yet have a neighbour who has not come.
        self._transits: dict[int, int] = {}
        # The first to come beyond each gap in the numbers, and which arrival it was.
        self._beyond: list[int] = []
        self._beyond_arrivals: list[int] = []
        self._limit = _ROOM

    def arrived(self, sequence: int, left_ns: int, came_ns: int) -> bool:
        """Take a datagram that came for the first time, and in time; return whether to `forget` now.

        Args:
            sequence: its number, in the order of sending.
            left_ns: when it left.
            came_ns: when it came, on that clock or another.
        """
        self._pending.append((sequence, came_ns - left_ns))
        if len(self._pending) < self._room:
            return False
        self._look()
        return len(self._transits) + len(self._beyond) > self._limit

    def _look(self) -> None:
        """Look at the arrivals that are kept."""
        arrival, jitter, last = self._arrivals, self._jitter, self._last_transit
        highest, highest_transit = self._highest, self._highest_transit
        transits = self._transits
        extents: list[int] = []
        variations: list[int] = []
        for sequence, transit in self._pending:
            arrival += 1
            if arrival > 1:
                # RFC 3550 appendix A.8: kept in sixteenths, and rounded.
                jitter += abs(transit - last) - ((jitter + 8) >> 4)
            last = transit
            if sequence == highest + 1 and arrival > 1:
                variations.append(abs(transit - highest_transit))
                highest, highest_transit = sequence, transit
            elif sequence > highest:
                if arrival > 1:
                    transits[highest] = highest_transit
                transits[sequence] = transit
                self._beyond.append(sequence)
                self._beyond_arrivals.append(arrival)
                highest, highest_transit = sequence, transit
            else:
                neighbours = transits.get(sequence - 1), transits.get(sequence + 1)
                variations += [abs(transit - other) for other in neighbours if other is not None]
                transits[sequence] = transit
                extents.append(arrival - self._beyond_arrivals[bisect.bisect_right(self._beyond, sequence)])
        self._arrivals, self._jitter, self._last_transit = arrival, jitter, last
        self._highest, self._highest_transit = highest, highest_transit
        self._variation.record(variations)
        self._extent.record(extents)
        self._pending.clear()
        # After the first, a number of them that is another one for each path: those that began together
        # would all look at theirs at once for ever, which would be a pause in what is measured.
        self._room = _BATCH if arrival > 1 else 1 + last % _BATCH

    def forget(self, before: int) -> None:
        """Keep nothing that only an arrival with a number below this one would need: none comes."""
        self._look()
        self._transits = {number: one for number, one in self._transits.items() if number >= before - 1}
        done = bisect.bisect_right(self._beyond, before)
        del self._beyond[:done], self._beyond_arrivals[:done]
        self._limit = _ROOM + 2 * (len(self._transits) + len(self._beyond))

    @property
    def arrivals(self) -> int:
        """How many came."""
        return self._arrivals + len(self._pending)

    @property
    def jitter_ns(self) -> int:
        """The interarrival jitter as it is now (RFC 3550), rounded down."""
        self._look()
        return self._jitter >> 4

    @property
    def variation(self) -> Histogram:
        """By how much the delays of neighbours differ, in nanoseconds."""
        self._look()
        return self._variation

    @property
    def extent(self) -> Histogram:
        """How far those came after their places that were reordered, in datagrams."""
        self._look()
        return self._extent


class DatagramFlow(Flow):
    """The exchanges of one flow of datagrams, which are counted for it too, and what its path does.

    `counts` and `path` are of what was sent since it was last told where to record.
    """

    __slots__ = ("_corrupted", "_duplicated", "_late", "_lost", "path")

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._begin()

    def _begin(self) -> None:
        self._corrupted = self._duplicated = self._late = self._lost = 0
        self.path = Path()

    def record_in(self, recorder: Recorder) -> None:
        """Count exchanges sent from now on in another recorder, and anew here."""
        super().record_in(recorder)
        self._begin()

    @property
    def counts(self) -> Counts:
        """What became of the flow's exchanges, in numbers; of bytes it keeps none."""
        sent = self.newest + 1 - self._since
        in_flight = sum(sequence >= self._since for sequence in self._outstanding)
        return Counts(
            sent,
            sent - in_flight - self._lost,
            self._lost,
            self._late,
            self._duplicated,
            self.path.extent.count,
            self._corrupted,
        )

    @property
    def distributions(self) -> dict[str, Histogram]:
        """What the path does, by the names that a result has for it."""
        return {VARIATION: self.path.variation, EXTENT: self.path.extent}

    @property
    def losses(self) -> Losses | None:
        """On which way exchanges were lost; `None`: nobody tells."""
        return None

    def turn(self, sequence: int | None, now_ns: int, status: str | None = None) -> int | None:
        """Leave it to `replied` and `sent`; see `Flow.turn`."""
        return None

    def replied(self, sequence: int | None, now_ns: int, size: int, *, intact: bool = True) -> Outcome:
        """Count an echo that came now, as `Flow.replied`."""
        times = None if sequence is None else self._outstanding.get(sequence)
        outcome = super().replied(sequence, now_ns, size, intact=intact)
        if sequence is None or outcome is Outcome.STRAY:
            self._corrupted += 1
        elif sequence >= self._since:  # what was sent in another phase is counted there
            if times is None:
                self._late += outcome is Outcome.LATE
                self._duplicated += outcome is Outcome.DUPLICATED
                return outcome
            self._corrupted += not intact
            self._walk(self.path, sequence, times[1], now_ns)
        return outcome

    def _walk(self, path: Path, sequence: int, left_ns: int, came_ns: int) -> None:
        """Note what a path has done to a datagram."""
        if path.arrived(sequence, left_ns, came_ns):
            oldest = self.oldest()
            path.forget(self.newest + 1 if oldest is None else oldest)

    def _lose(self, sequence: int, kind: str) -> None:
        super()._lose(sequence, kind)
        self._lost += sequence >= self._since


def from_minimum(delays: Histogram) -> dict[str, int] | None:
    """Return by how much delays exceed the smallest of them, in nanoseconds; `None` if there are none.

    It takes no samples of its own: a percentile of what exceeds the minimum is the percentile less it.
    """
    if delays.minimum is None or delays.maximum is None:
        return None
    exceeding = {percentile_key(one): delays.at_percentile(one) - delays.minimum for one in PERCENTILES}
    return {**exceeding, "max": delays.maximum - delays.minimum}
