"""What there is to be counted: exchanges and connections, and what becomes of them.

Of exchanges, at any moment: sent = completed + lost + in flight. An echo that comes after its exchange was
given up is `late`, and its exchange stays lost; one that comes twice is `duplicated`; one overtaken by a
later one is `reordered` (RFC 4737 section 3); one that differs from what was sent is `corrupted`, and counts
as completed if it can be told which exchange it answers.
"""

from __future__ import annotations

import dataclasses
import enum


class Outcome(enum.Enum):
    """What an echo turned out to be."""

    COMPLETED = "completed"
    CORRUPTED = "corrupted"
    """It answers an exchange, but differs from what was sent."""
    LATE = "late"
    """Its exchange had been given up."""
    DUPLICATED = "duplicated"
    """Its exchange had its echo already."""
    STRAY = "stray"
    """It answers nothing that was sent; counted as corrupted."""


@dataclasses.dataclass(slots=True)
class Counts:
    """The exchanges of a run, a flow or an interval."""

    sent: int = 0
    completed: int = 0
    lost: int = 0
    late: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    untold: int = 0
    """Completed, by an answer that does not tell what was received."""

    @property
    def in_flight(self) -> int:
        """Exchanges whose end is not known yet."""
        return self.sent - self.completed - self.lost

    @property
    def is_answered(self) -> bool:
        """Whether any echo came, whatever it turned out to be."""
        return any((self.completed, self.late, self.duplicated, self.corrupted))

    def to_json(self) -> dict[str, int]:
        """Return what a result says of exchanges. How many bytes they had it says elsewhere."""
        answer = dataclasses.asdict(self)
        del answer["bytes_sent"], answer["bytes_received"]
        if not self.untold:
            del answer["untold"]
        return {**answer, "in_flight": self.in_flight}

    def add(self, other: Counts) -> None:
        """Count all that `other` has counted."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass(frozen=True, slots=True)
class Connections:
    """How many connections were asked for and what became of them, in what is measured."""

    requested: int
    opened: int
    failed: int
    """Attempts at the start that did not connect."""
    lost: int = 0
    """Ended in mid-run by the other end or the network."""
    reopened: int = 0
    """After they were lost."""
    churned: int = 0
    """Closed in order at the end of their lifetime, and opened anew."""
