"""On which way exchanges were lost: what the numbers say that a reflector gives its answers.

A stateful reflector (RFC 8762 section 4) numbers the answers that it sends to us from 0, whatever the
numbers of what it answers. An answer says so how many of our packets have got there: those that did not
were lost on the way out, and answers whose numbers never came on the way back.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Mapping
from typing import Any, Final

from netecho.measure.reading import natural

WINDOW: Final = 1024
"""How far back a number is known to have come before; one that comes twice, and later, counts as two."""
_WRAP: Final = 1 << 32


@dataclasses.dataclass(frozen=True, slots=True)
class Losses:
    """Exchanges without an answer, by the way on which they were lost."""

    out: int = 0
    back: int = 0
    unknown: int = 0
    """On one of them: the reflector keeps no count, or no later answer has come that would tell."""

    def __add__(self, other: Losses) -> Losses:
        return Losses(self.out + other.out, self.back + other.back, self.unknown + other.unknown)

    @property
    def told(self) -> bool:
        """Whether of any it is known, or there are none."""
        return bool(self.out or self.back or not self.unknown)

    def to_json(self) -> dict[str, int | None]:
        """Return what a result says beside what it says of exchanges: nothing of what is not known."""
        told = self.told
        return {
            "lost_out": self.out if told else None,
            "lost_back": self.back if told else None,
            "lost_unknown": self.unknown,
        }

    @classmethod
    def from_json(cls, exchanges: Mapping[str, Any]) -> Losses | None:
        """Read back what `to_json` gave; `None` if it says nothing. Raises whatever a wrong shape raises."""
        if exchanges.get("lost_unknown") is None:
            return None
        unknown = natural(exchanges, "lost_unknown")
        if exchanges["lost_out"] is None:
            return cls(unknown=unknown)
        return cls(natural(exchanges, "lost_out"), natural(exchanges, "lost_back"), unknown)


class Directions:
    """The exchanges of one session, which is from one port to one reflector.

    Whether the reflector is stateful shows when its numbers are not those of the exchanges. While they are
    the same it is not known, and neither is on which way any was lost.

    Args:
        first: the number of the first exchange that is counted here. Of a session that goes on since before,
            what is lost before the first answer may have been lost on either way.
    """

    __slots__ = (
        "_answers",
        "_consistent",
        "_counted",
        "_first",
        "_highest",
        "_least",
        "_lowest",
        "_numbers",
        "_own",
        "_replies",
        "_sequences",
    )

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._lowest = 0
        self._highest = -1
        """Of the exchanges answered."""
        self._least = 0
        self._counted = -1
        """Of the answers' numbers, counted on beyond 32 bits; the lowest are those that it is known to have
        begun with, or the first of which anything is known."""
        self._replies = self._answers = 0
        """Exchanges that were answered, and answers that came."""
        self._sequences, self._numbers = _Recent(), _Recent()
        self._own = False
        self._consistent = True

    def answered(self, sequence: int, number: int) -> None:
        """Count an answer, the first or another, to an exchange.

        Args:
            sequence: the exchange's number, which is not below the first.
            number: the answer's own, the lower 32 bits of it.
        """
        if self._highest < 0:
            number = self._counted = _nearest(number, sequence)
            self._lowest, self._least = sequence, number
            # A count that began with this session cannot be ahead of it.
            if self._first == 0 <= number <= sequence:
                self._lowest = self._least = 0
        else:
            number = _nearest(number, self._counted)
            self._lowest, self._least = min(self._lowest, sequence), min(self._least, number)
        self._own = self._own or number != sequence
        new_sequence, new_number = self._sequences.add(sequence), self._numbers.add(number)
        if (new_sequence and not new_number) or number <= self._counted - WINDOW:
            self._consistent = False  # it has begun to count anew
        self._replies += new_sequence
        self._answers += new_number
        self._highest = max(self._highest, sequence)
        self._counted = max(self._counted, number)

    def losses(self, sent: int) -> Losses:
        """Return what has become of the exchanges that were not answered, of those below `sent`."""
        if self._highest < 0:
            return Losses(unknown=sent - self._first)
        total = max(0, self._highest + 1 - self._lowest - self._replies)
        around = self._lowest - self._first + sent - (self._highest + 1)
        back = self._counted + 1 - self._least - self._answers
        if total == 0 or not self._own or not self._consistent or back < 0:
            return Losses(unknown=total + around)
        # More are missing than exchanges if it got some of our packets twice.
        back = min(back, total)
        return Losses(total - back, back, around)


def _nearest(number: int, near: int) -> int:
    """Return the number that is nearest to another, of those with the same lower 32 bits."""
    return number + (near - number + _WRAP // 2) // _WRAP * _WRAP


class _Recent:
    """The last numbers of a sequence, of which some are missing and some come twice or late."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("q", [-(1 << 63)]) * WINDOW

    def add(self, number: int) -> bool:
        """Take note of a number; return whether it is new."""
        place = number % WINDOW
        before = self._numbers[place]
        if number > before:
            self._numbers[place] = number
        return number != before
