"""The exchanges of one connection, from when each is sent to what becomes of it.

Times are integers of nanoseconds on one monotonic clock, which is the caller's.
"""

from __future__ import annotations

import collections
from typing import Final

from netecho.measure.counts import Outcome
from netecho.measure.recorder import MANY, Recorder

REMEMBERED: Final = 1 << 14
"""Exchanges that have been given up whose echoes still count as late. Those of others count as duplicated."""
_COMPLETED: Final = Outcome.COMPLETED
"""What nearly every echo is: to look it up in its class takes a third of what it takes to count it."""


class Flow:
    """The exchanges of one connection.

    A flow may outlive a recorder: what was sent in the warm-up is counted there, whatever becomes of it
    and whenever.
    """

    __slots__ = (
        "_given_up",
        "_outstanding",
        "_phases",
        "_since",
        "_turned",
        "_turned_ns",
        "highest",
        "newest",
        "recorder",
    )

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.newest = -1
        """The last sequence number sent; -1 before the first."""
        self.highest = -1
        """The highest sequence number whose echo has come."""
        self._turned: int | None = None
        """The newest exchange, if `turn` has sent it and it is in flight."""
        self._turned_ns = 0
        """When that one left."""
        self._outstanding: dict[int, tuple[int, int]] = {}
        """All others in flight, in the order of sending: when they were due, and when they left."""
        self._given_up: collections.OrderedDict[int, None] = collections.OrderedDict()
        """The last `REMEMBERED` that were, in order."""
        self._phases = [(0, recorder)]
        self._since = 0

    @property
    def in_flight(self) -> int:
        """Exchanges whose end is not known yet."""
        return len(self._outstanding) + (self._turned is not None)

    def _settle(self) -> None:
        """Have the one that was turned among the others."""
        if self._turned is not None:
            self._outstanding[self._turned] = (self._turned_ns, self._turned_ns)
            self._turned = None

    def record_in(self, recorder: Recorder) -> None:
        """Count exchanges sent from now on in another recorder."""
        self._settle()
        self.recorder, self._since = recorder, self.newest + 1
        self._phases.append((self._since, recorder))

    def _recorder_of(self, sequence: int) -> Recorder:
        """Return where an exchange was counted when it was sent."""
        return next(recorder for since, recorder in reversed(self._phases) if sequence >= since)

    def sent(self, due_ns: int, now_ns: int, size: int, *, held_back: bool = False) -> int:
        """Count an exchange that leaves now and was due at `due_ns`; return its sequence number.

        Args:
            due_ns: when it was due.
            now_ns: when it leaves.
            size: its payload in bytes.
            held_back: it had to wait for a connection: that it leaves late is not the instrument's doing.
        """
        if self._turned is not None:
            self._settle()
        self.newest = sequence = self.newest + 1
        self._outstanding[sequence] = (due_ns, now_ns)
        recorder = self.recorder
        recorder.booked.sent += 1
        recorder.booked.bytes_sent += size
        if not (held_back or recorder.closed_loop):
            recorder.lateness_samples.append(now_ns - due_ns)
        return sequence

    def turn(self, sequence: int | None, now_ns: int, status: str | None = None) -> int | None:
        """Count an intact echo, and the next exchange as sent at that moment; return that one's number.

        What a closed loop does nearly always, in one step: the same as `answered`, `replied` and `sent`, of
        payloads as large as the recorder was told. `None`: this is not that, and nothing has been counted.
        """
        if sequence is None:
            return None
        recorder = self.recorder
        if sequence == self._turned:
            left_ns = self._turned_ns
        elif self.highest < sequence >= self._since and recorder.closed_loop:
            times = self._outstanding.pop(sequence, None)
            if times is None:
                return None
            left_ns = times[0]
            self._settle()
        else:
            return None
        self.highest = sequence
        self.newest = self._turned = following = self.newest + 1
        self._turned_ns = now_ns
        samples = recorder.turn_samples
        if status is not recorder.turned_with:
            recorder.book_turns()
            recorder.turned_with = status
        if len(samples) >= MANY:
            recorder.count_turns()
        samples.append(now_ns - left_ns)
        return following

    def replied(self, sequence: int | None, now_ns: int, size: int, *, intact: bool = True) -> Outcome:
        """Count an echo of `size` bytes that came now, and say what it was.

        Args:
            sequence: the exchange it answers; `None` if it answers none.
            now_ns: when it came.
            size: its payload in bytes.
            intact: whether every byte is as it was sent.
        """
        if self._turned is not None:
            self._settle()
        times = None if sequence is None else self._outstanding.pop(sequence, None)
        if times is None or sequence is None:
            return self._unexpected(sequence, size)
        recorder = self.recorder if sequence >= self._since else self._recorder_of(sequence)
        counts = recorder.booked
        counts.bytes_received += size
        if sequence > self.highest:
            self.highest = sequence
        else:
            counts.reordered += 1
        counts.completed += 1
        samples = recorder.response_samples
        samples.append(now_ns - times[0])
        if not recorder.closed_loop:
            recorder.service_samples.append(now_ns - times[1])
        elif len(samples) >= MANY:
            recorder.count_responses()
        if intact:
            return _COMPLETED
        counts.corrupted += 1
        return Outcome.CORRUPTED

    def _unexpected(self, sequence: int | None, size: int) -> Outcome:
        """Count an echo that no exchange in flight waits for."""
        if sequence is None or not 0 <= sequence <= self.newest:
            self.recorder.booked.corrupted += 1
            self.recorder.booked.bytes_received += size
            return Outcome.STRAY
        counts = self._recorder_of(sequence).booked
        counts.bytes_received += size
        if sequence in self._given_up:
            del self._given_up[sequence]
            counts.late += 1
            return Outcome.LATE
        counts.duplicated += 1
        return Outcome.DUPLICATED

    def answered(self, sequence: int | None, status: str, *, untold: bool = False) -> None:
        """Count what the other end said of an exchange, beside the echo that may come with it.

        Args:
            sequence: the exchange.
            status: what it said.
            untold: it did not say what it received, nor sends it back.
        """
        known = sequence is None or sequence >= self._since
        recorder = self.recorder if known else self._recorder_of(sequence or 0)
        recorder.booked_statuses[status] += 1
        recorder.booked.untold += untold

    def refuse(self, sequence: int | None, size: int, kind: str) -> bool:
        """Count an exchange as lost, by `kind`: an answer of `size` bytes says that it has no echo.

        Return whether that ends one: nothing is said twice, or of what was never sent.
        """
        self._settle()
        if sequence is None or sequence not in self._outstanding:
            self._unexpected(sequence, size)
            return False
        del self._outstanding[sequence]
        recorder = self._recorder_of(sequence)
        recorder.booked.bytes_received += size
        recorder.failed(kind, 1)
        return True

    def is_overdue(self, sequence: int | None, sent_by_ns: int) -> bool:
        """Return whether an exchange is in flight that left by that time."""
        self._settle()
        times = None if sequence is None else self._outstanding.get(sequence)
        return times is not None and times[1] <= sent_by_ns

    def oldest(self) -> int | None:
        """Return the exchange that has waited longest; `None` if none is in flight."""
        self._settle()
        return next(iter(self._outstanding), None)

    def oldest_sent_ns(self) -> int | None:
        """Return when the exchange left that has waited longest; `None` if none is in flight."""
        self._settle()
        for _, sent_ns in self._outstanding.values():
            return sent_ns
        return None

    def give_up(self, sent_before_ns: int, kind: str = "timeout") -> list[int]:
        """Count as lost, by `kind`, what left before that time and has not come; return the numbers."""
        self._settle()
        expired = []
        for sequence, (_, sent_ns) in self._outstanding.items():
            if sent_ns >= sent_before_ns:
                break
            expired.append(sequence)
        for sequence in expired:
            self._lose(sequence, kind)
        return expired

    def end(self, kind: str) -> int:
        """Count as lost, by `kind`, everything in flight: its connection is gone. Return how many."""
        self._settle()
        sequences = list(self._outstanding)
        for sequence in sequences:
            self._lose(sequence, kind)
        return len(sequences)

    def _lose(self, sequence: int, kind: str) -> None:
        del self._outstanding[sequence]
        self._given_up[sequence] = None
        if len(self._given_up) > REMEMBERED:
            self._given_up.popitem(last=False)
        self._recorder_of(sequence).failed(kind, 1)
