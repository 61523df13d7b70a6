"""What a stamping reflector adds to a flow of datagrams: what happens to them on each way."""

from __future__ import annotations

from typing import Final

from netecho.measure.counts import Outcome
from netecho.measure.datagrams import DatagramFlow, Path
from netecho.measure.directions import Directions, Losses
from netecho.measure.histogram import Histogram
from netecho.measure.oneway import Reflection

VARIATION_OUT: Final = "variation_out"
VARIATION_BACK: Final = "variation_back"
_FIRST: Final = (Outcome.COMPLETED, Outcome.CORRUPTED)
"""The answers to exchanges that had none yet, and were waited for."""


class ReflectedFlow(DatagramFlow):
    """The exchanges of one session with a reflector.

    What it says of times goes to the recorder's `one_way`, which all flows share.
    """

    __slots__ = ("_back", "_directions", "_out")

    def _begin(self) -> None:
        super()._begin()
        self._directions = Directions(self._since)
        self._out, self._back = Path(), Path()

    def reflected(self, sequence: int, outcome: Outcome, reflection: Reflection) -> None:
        """Take what an answer says, once `replied` has said what the answer is.

        Args:
            sequence: the exchange that it answers.
            outcome: what it turned out to be.
            reflection: what it says.
        """
        if outcome is Outcome.STRAY or sequence < self._since:
            return
        self._directions.answered(sequence, reflection.number)
        if outcome in _FIRST and self.recorder.one_way.record(reflection):
            self._walk(self._out, sequence, reflection.sent_ns, reflection.received_ns)
            self._walk(self._back, sequence, reflection.answered_ns, reflection.returned_ns)

    @property
    def distributions(self) -> dict[str, Histogram]:
        """See `DatagramFlow.distributions`."""
        return {
            **super().distributions,
            VARIATION_OUT: self._out.variation,
            VARIATION_BACK: self._back.variation,
        }

    @property
    def losses(self) -> Losses:
        """On which way exchanges were lost: those that had no answer, not even a late one."""
        counts = self.counts
        found = self._directions.losses(self.newest + 1)
        unanswered = counts.lost - counts.late
        unknown = found.unknown - counts.in_flight
        # They differ where an answer said nothing of itself, or what is in flight has been overtaken.
        if unknown < 0 or found.out + found.back + unknown != unanswered:
            return Losses(unknown=unanswered)
        return Losses(found.out, found.back, unknown)
