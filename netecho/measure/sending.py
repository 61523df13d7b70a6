"""How well the instrument kept to the schedule of an open loop: what was due, what left, and by when."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from netecho.measure.holdback import HeldBack
from netecho.measure.reading import natural


@dataclasses.dataclass(frozen=True, slots=True)
class Sending:
    """What was to leave and what left, over a run or a worker's share of it. The shares add up."""

    due: int
    """Exchanges that became due."""
    sent: int
    """Those of them that left."""
    planned_ns: int
    """How long the schedule was, or as much of it as was run."""
    took_ns: int
    """From its beginning until the last exchange left."""
    held_back: HeldBack = dataclasses.field(default_factory=HeldBack)

    def __add__(self, other: Sending) -> Sending:
        return Sending(
            self.due + other.due,
            self.sent + other.sent,
            max(self.planned_ns, other.planned_ns),
            max(self.took_ns, other.took_ns),
            self.held_back + other.held_back,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a result's `instrument` says of it; `sent` is among its exchanges already."""
        return {
            "asked_rate_per_s": round(self.asked_per_s, 3),
            "achieved_rate_per_s": round(self.achieved_per_s, 3),
            "due": self.due,
            "planned_ns": self.planned_ns,
            "took_ns": self.took_ns,
            "held_back": self.held_back.count,
            "unsent": self.held_back.unsent,
            "longest_hold_ns": self.held_back.longest_ns,
        }

    @classmethod
    def from_json(cls, instrument: Mapping[str, Any], sent: int) -> Sending | None:
        """Read back what `to_json` gave; `None` if it says nothing. Raises whatever a wrong shape raises."""
        if instrument.get("due") is None:
            return None
        held_back = HeldBack(
            *(natural(instrument, key) for key in ("held_back", "unsent", "longest_hold_ns"))
        )
        due, planned_ns, took_ns = (natural(instrument, key) for key in ("due", "planned_ns", "took_ns"))
        return cls(due, sent, planned_ns, took_ns, held_back)

    @property
    def asked_per_s(self) -> float:
        """The rate of the schedule, on average."""
        return self.due * 1e9 / self.planned_ns if self.planned_ns else 0.0

    @property
    def achieved_per_s(self) -> float:
        """The rate at which exchanges left: what left late makes it less, if the last of it did."""
        longest_ns = max(self.planned_ns, self.took_ns)
        return self.sent * 1e9 / longest_ns if longest_ns else 0.0
