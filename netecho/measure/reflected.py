"""What a reflector has told, in a result: how far apart the clocks are, and on which way exchanges were lost.

The delays themselves are among a result's distributions: `out`, `back` and `dwell`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from netecho.measure import humanise
from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import Offset, OneWay
from netecho.measure.reading import checked, natural, naturals

OUT: Final = "out"
BACK: Final = "back"
DWELL: Final = "dwell"


@dataclasses.dataclass(frozen=True, slots=True)
class Reflected:
    """What a result says of a reflector beside distributions. Results add up."""

    losses: Losses
    offset: Offset | None
    """How far its clock is ahead of ours; `None` if it told no times. Of several: as the fastest has it."""
    clocks_agree: bool
    """Whether the delays each way are what the clocks show; else the estimate was taken out of them."""
    error_ns: int | None
    """By how much the clocks may be off, as they say; `None` if one does not."""
    implausible: int
    """Exchanges that a clock makes last less than no time."""
    ttls: Mapping[int, int]
    """Hops that packets had left at the reflector, and how many had so many."""

    @classmethod
    def of(cls, one_way: OneWay) -> Reflected:
        """Return what is to be said of what was recorded."""
        return cls(
            one_way.losses,
            one_way.offset,
            one_way.clocks_agree,
            one_way.error_ns if one_way.count else None,
            one_way.implausible,
            dict(one_way.ttls),
        )

    def __add__(self, other: Reflected) -> Reflected:
        offsets = [one for one in (self.offset, other.offset) if one is not None]
        errors = [one for one in (self.error_ns, other.error_ns) if one is not None]
        return Reflected(
            self.losses + other.losses,
            min(offsets, key=lambda one: one.uncertainty_ns, default=None),
            self.clocks_agree and other.clocks_agree,
            max(errors) if len(errors) == 2 else None,
            self.implausible + other.implausible,
            {
                ttl: self.ttls.get(ttl, 0) + other.ttls.get(ttl, 0)
                for ttl in sorted(self.ttls.keys() | other.ttls.keys())
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object `reflector`; losses are among the exchanges."""
        offset = self.offset
        return {
            "clock_offset_ns": None if offset is None else offset.estimate_ns,
            "clock_uncertainty_ns": None if offset is None else offset.uncertainty_ns,
            "clocks_agree": self.clocks_agree,
            "clock_error_ns": self.error_ns,
            "implausible": self.implausible,
            "ttl": {str(ttl): count for ttl, count in sorted(self.ttls.items())},
        }

    @classmethod
    def from_json(cls, reflector: Mapping[str, Any], exchanges: Mapping[str, Any]) -> Reflected:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        offset = None
        if reflector["clock_offset_ns"] is not None:
            estimate = checked(reflector, "clock_offset_ns", int)
            offset = Offset(estimate, natural(reflector, "clock_uncertainty_ns"))
        error = reflector["clock_error_ns"]
        return cls(
            Losses.from_json(exchanges) or Losses(),
            offset,
            checked(reflector, "clocks_agree", bool),
            None if error is None else natural(reflector, "clock_error_ns"),
            natural(reflector, "implausible"),
            {int(ttl): count for ttl, count in naturals(reflector["ttl"]).items()},
        )

    def remarks(self) -> Iterator[str]:
        """Yield what a reader must know of the delays each way, and of the losses."""
        offset = self.offset
        if offset is not None and self.clocks_agree:
            yield (
                "delays out and back are what two clocks show that say they are synchronised, to within "
                f"{humanise.duration(self.error_ns or 0)}"
            )
        elif offset is not None:
            ahead = "ahead of" if offset.estimate_ns >= 0 else "behind"
            yield (
                f"delays out and back rest on an estimate: that the reflector's clock is "
                f"{humanise.duration(abs(offset.estimate_ns))} {ahead} ours, as if the fastest exchange had "
                f"taken as long out as back; it may be wrong by {humanise.duration(offset.uncertainty_ns)}, "
                "and by more if a clock drifts"
            )
        if self.implausible:
            yield (
                f"{humanise.count(self.implausible, 'exchange')} took less than no time by the clocks, one "
                "of which was set meanwhile: they are in no delay out, back or dwell"
            )
        if not self.losses.told:
            lost = humanise.count(self.losses.unknown, "exchange")
            were = "was" if self.losses.unknown == 1 else "were"
            yield (
                f"on which way {lost} {were} lost is not known: the reflector keeps no count of its "
                "answers (serve --stateful), or lost none on the way out "
                "that would show it"
            )


def delays_of(one_way: OneWay) -> dict[str, Histogram]:
    """Return the distributions that have any samples, by name."""
    every = {OUT: one_way.out, BACK: one_way.back, DWELL: one_way.dwell}
    return {name: one for name, one in every.items() if one.count}
