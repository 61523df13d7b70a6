"""What a reflector's times add to a round trip: the delay each way, and how long the reflector took.

An exchange has four times (RFC 8762 section 4): T1 when it left us, T2 when it came to the reflector, T3 when
the answer left there, T4 when that came to us. T2 and T3 are of another clock than T1 and T4. What does not
depend on that is the reflector's dwell time T3 - T2, and the way's share of the round trip. The delays out
and back depend on how far the clocks are apart, which can only be estimated: as NTP does (RFC 5905 section
8), from the exchange that was fastest on its way, as if it had taken as long out as back. The estimate is
wrong by half of that exchange's time at most, if it went all one way.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from netecho.measure.differences import Differences
from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram

MANY: Final = 256
"""Samples that are counted together, in a few tenths of a millisecond."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reflection:
    """What a reflector's answer says of an exchange. Times are in nanoseconds since 1970."""

    sent_ns: int
    """T1, on our clock."""
    received_ns: int
    """T2, on the reflector's."""
    answered_ns: int
    """T3, on the reflector's."""
    returned_ns: int
    """T4, on ours."""
    number: int
    """The answer's own number, 32 bits: see `netecho.measure.directions`."""
    ttl: int
    """Hops that our packet had left when it came to the reflector."""
    synchronised: bool = False
    """Whether both clocks say that they are set by a source outside."""
    error_ns: int | None = None
    """How far both together may be off by what they say; `None` if one does not say."""


@dataclasses.dataclass(frozen=True, slots=True)
class Offset:
    """By how much the reflector's clock is ahead of ours, in nanoseconds."""

    estimate_ns: int
    uncertainty_ns: int
    """The true value is not further from the estimate than this, if the clocks are steady."""


class OneWay:
    """Adds up the reflections of any number of exchanges and flows with one reflector.

    It is the same in whatever order, and however split, they are recorded and added.
    """

    def __init__(self) -> None:
        self.implausible = 0
        """Exchanges that a clock makes last less than no time, as it was set meanwhile; in nothing else."""
        self.ttls: collections.Counter[int] = collections.Counter()
        """Hops that packets had left at the reflector, and how many had so many."""
        self.losses = Losses()
        """The sum of what each session's `Directions` has found."""
        self.synchronised = True
        """Whether both clocks have said so every time."""
        self.error_ns: int | None = 0
        """The most by which they said to be off; `None` if one did not say."""
        self._dwell = Histogram()
        self._out, self._back = Differences(), Differences()
        self._samples: list[tuple[int, int, int]] = []
        self._fastest: tuple[int, int] | None = None
        """Nanoseconds on the way, and how many more they were out than back."""

    def record(self, one: Reflection) -> bool:
        """Count an exchange: a first answer in time, and no other. Return whether its times are plausible."""
        out, back = one.received_ns - one.sent_ns, one.returned_ns - one.answered_ns
        dwell = one.answered_ns - one.received_ns
        if dwell < 0 or out + back < 0:
            self.implausible += 1
            return False
        self._samples.append((out, back, dwell))
        self._hasten((out + back, out - back))
        self.ttls[one.ttl] += 1
        self._trust(one.synchronised, one.error_ns)
        if len(self._samples) >= MANY:
            self.flush()
        return True

    def flush(self) -> None:
        """Count the samples that are kept, which whatever looks at a distribution does as well."""
        if self._samples:
            outs, backs, dwells = zip(*self._samples, strict=True)
            self._samples.clear()
            self._out.record(list(outs))
            self._back.record(list(backs))
            self._dwell.record(list(dwells))

    def add(self, other: OneWay) -> None:
        """Count all that `other` has counted."""
        self.flush()
        other.flush()
        self._out.add(other._out)
        self._back.add(other._back)
        self._dwell.add(other._dwell)
        if other._fastest is not None:
            self._hasten(other._fastest)
        self.implausible += other.implausible
        self.ttls.update(other.ttls)
        self.losses += other.losses
        self._trust(other.synchronised, other.error_ns)

    @property
    def count(self) -> int:
        """Exchanges in the distributions."""
        return self.ttls.total()

    @property
    def offset(self) -> Offset | None:
        """How far the clocks are apart; `None` if there was no exchange."""
        if self._fastest is None:
            return None
        trip, difference = self._fastest
        return Offset(difference // 2, trip - trip // 2)

    @property
    def clocks_agree(self) -> bool:
        """Whether the delays are what the clocks show, since both are synchronised.

        They say so, and the exchanges do not contradict them: the offset estimated is within what they say
        to be off, and what the estimate may be off. Else the offset estimated is taken out of the delays.
        """
        offset = self.offset
        return (
            offset is not None
            and self.synchronised
            and self.error_ns is not None
            and abs(offset.estimate_ns) <= offset.uncertainty_ns + self.error_ns
        )

    @property
    def out(self) -> Histogram:
        """One-way delay from us to the reflector."""
        return self._way(self._out, 1)

    @property
    def back(self) -> Histogram:
        """One-way delay from the reflector to us."""
        return self._way(self._back, -1)

    @property
    def dwell(self) -> Histogram:
        """Time from when the reflector received a packet until its answer left."""
        self.flush()
        return self._dwell

    def pack(self) -> dict[str, Any]:
        """Return everything, for JSON: what a worker tells of its exchanges."""
        self.flush()
        return {
            "out": self._out.pack(),
            "back": self._back.pack(),
            "dwell": self._dwell.pack(),
            "fastest": None if self._fastest is None else list(self._fastest),
            "ttls": [list(self.ttls), list(self.ttls.values())],
            "losses": dataclasses.asdict(self.losses),
            "implausible": self.implausible,
            "synchronised": self.synchronised,
            "error_ns": self.error_ns,
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> OneWay:
        """Return what `pack` was asked of. Raises whatever a wrong shape raises."""
        one_way = cls()
        one_way._out, one_way._back = Differences.unpack(packed["out"]), Differences.unpack(packed["back"])
        one_way._dwell = Histogram.unpack(packed["dwell"])
        if packed["fastest"] is not None:
            trip, difference = packed["fastest"]
            one_way._fastest = trip, difference
        one_way.ttls.update(dict(zip(*packed["ttls"], strict=True)))
        one_way.losses = Losses(**packed["losses"])
        one_way.implausible = packed["implausible"]
        one_way.synchronised, one_way.error_ns = packed["synchronised"], packed["error_ns"]
        return one_way

    def _way(self, shown: Differences, sign: int) -> Histogram:
        self.flush()
        offset = self.offset
        return shown.over(0 if offset is None or self.clocks_agree else sign * offset.estimate_ns)

    def _hasten(self, exchange: tuple[int, int]) -> None:
        if self._fastest is None or exchange < self._fastest:
            self._fastest = exchange

    def _trust(self, synchronised: bool, error_ns: int | None) -> None:
        self.synchronised = self.synchronised and synchronised
        if self.error_ns is not None:
            self.error_ns = None if error_ns is None else max(self.error_ns, error_ns)
