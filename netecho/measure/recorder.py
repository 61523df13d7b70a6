"""What happened: every exchange is counted once, and none disappears.

A `Flow` follows the exchanges of one connection, and a `Recorder` adds up the flows of a run. At any
moment, for both: sent = completed + lost + in flight. An echo that comes after its exchange was given
up is `late`, and its exchange stays lost; one that comes twice is `duplicated`; one overtaken by a later
one is `reordered` (RFC 4737 section 3); one that differs from what was sent is `corrupted`, and counts as
completed if it can be told which exchange it answers.

Times are integers of nanoseconds on one monotonic clock, which is the caller's.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Iterator
from typing import Final

from netecho.measure.histogram import Histogram
from netecho.measure.oneway import OneWay
from netecho.measure.setup import Setup

MANY: Final = 256
"""Samples of a closed loop that are counted together, in about a tenth of a millisecond."""
_BUCKETS: Final = 64
"""Of a histogram, that are added to another one in one step."""


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


_COMPLETED: Final = Outcome.COMPLETED
"""What nearly every echo is: to look it up in its class takes a third of what it takes to count it."""


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
class Interval:
    """What happened in one stretch of a run. Times in nanoseconds from the run's start."""

    start_ns: int
    length_ns: int
    completed: int
    errors: int
    response: Histogram
    service: Histogram | None = None
    """`None` in a closed loop, where it is the response time."""


class Recorder:
    """Adds up what happens in one phase of a run (its warm-up, or what is measured).

    Response time counts from when an exchange was due, service time from when it left. In a closed loop
    the two coincide, and with `closed_loop` they are recorded once; in an open loop lateness is recorded
    too, by how much an exchange left after it was due, or was held back after that.

    Samples are kept in lists until they are counted, by `flush` or whatever looks at a distribution. In a
    closed loop that is done whenever there are `MANY`; in an open loop, which has idle moments, a run that
    has many calls `flush_one` in those, or `flush` every thousand or so. So counting them never takes long,
    and for the same reason a run calls `settle` after each interval.

    Args:
        closed_loop: whether an exchange leaves when the one before it has ended, and is due then.
        size: bytes in each payload of exchanges that a flow turns (see `Flow.turn`).
    """

    def __init__(self, *, closed_loop: bool, size: int = 0) -> None:
        self.closed_loop = closed_loop
        self._size = size
        self._counts = Counts()
        self.errors: collections.Counter[str] = collections.Counter()
        self._statuses: collections.Counter[str] = collections.Counter()
        self.intervals: list[Interval] = []
        self.setup = Setup()
        """What connections took that were opened in this phase; before the first, in what is measured."""
        self.turned_with: str | None = None
        """What the other end says of each of these, from the first on that is not booked yet:"""
        self.turn_samples: list[int] = []
        """Response times in a closed loop of echoes that each were followed by an exchange at once."""
        self._booked = 0
        """How many of those are in the counts already."""
        self.response_samples: list[int] = []
        """All other response times."""
        self.service_samples: list[int] = []
        self.lateness_samples: list[int] = []
        self.one_way = OneWay()
        """What a reflector's times add, where the other end is one."""
        # Of the intervals that have ended, and of the one that goes on: each sample is counted once, and
        # once an interval what it came to is added up, of those that are `_unsettled` later.
        self._response, self._interval_response = Histogram(), Histogram()
        self._service, self._interval_service = Histogram(), Histogram()
        self._lateness = Histogram()
        self._unsettled: collections.deque[tuple[Histogram, Iterator[Histogram]]] = collections.deque()
        self._completed_before = 0
        self._errors_before = 0

    @property
    def counts(self) -> Counts:
        """The exchanges of this phase, up to now."""
        self.book_turns()
        return self._counts

    @property
    def statuses(self) -> collections.Counter[str]:
        """How often the other end said what of an exchange, on protocols that have a word for it."""
        self.book_turns()
        return self._statuses

    def book_turns(self) -> None:
        """Count the exchanges that have been turned since the last time, but not their samples."""
        if turned := len(self.turn_samples) - self._booked:
            self._booked += turned
            counts = self._counts
            counts.sent += turned
            counts.completed += turned
            counts.bytes_sent += turned * self._size
            counts.bytes_received += turned * self._size
            if self.turned_with is not None:
                self._statuses[self.turned_with] += turned

    def count_turns(self) -> None:
        """Count the exchanges that have been turned, and their samples."""
        self.book_turns()
        self._interval_response.record(self.turn_samples)
        self.turn_samples.clear()
        self._booked = 0

    def count_responses(self) -> None:
        """Count the other response times."""
        self._interval_response.record(self.response_samples)
        self.response_samples.clear()

    def failed(self, kind: str, exchanges: int = 0) -> None:
        """Count a failure of `kind`, which cost the exchanges given: those are lost."""
        self.errors[kind] += max(1, exchanges)
        self._counts.lost += exchanges

    def end_interval(self, start_ns: int, end_ns: int) -> Interval:
        """Close the stretch of time since the last one and return what happened in it."""
        self.flush()
        response, self._interval_response = self._interval_response, Histogram()
        service, self._interval_service = self._interval_service, Histogram()
        for total, part in (self._response, response), (self._service, service):
            self._unsettled.append((total, part.in_parts(_BUCKETS)))
        errors = self.errors.total()
        interval = Interval(
            start_ns,
            end_ns - start_ns,
            self.counts.completed - self._completed_before,
            errors - self._errors_before,
            response,
            None if self.closed_loop else service,
        )
        self._completed_before = self.counts.completed
        self._errors_before = errors
        self.intervals.append(interval)
        return interval

    def settle(self) -> Iterator[None]:
        """Add up what ended intervals came to, in steps of less than a tenth of a millisecond."""
        while self._unsettled:
            total, parts = self._unsettled[0]
            if (part := next(parts, None)) is None:
                self._unsettled.popleft()
            else:
                total.add(part)
                yield

    def flush(self) -> None:
        """Count the samples that are kept, about a third of a microsecond for each."""
        self.count_turns()
        for samples, histogram in self._kept():
            histogram.record(samples)
            samples.clear()

    def flush_one(self, beyond: int) -> None:
        """Count the samples of one kind, of which more than so many are kept, if there is any."""
        for samples, histogram in self._kept():
            if len(samples) > beyond:
                histogram.record(samples)
                samples.clear()
                return

    def _kept(self) -> tuple[tuple[list[int], Histogram], ...]:
        """Return the samples that are kept of each kind, and where they are counted."""
        return (
            (self.response_samples, self._interval_response),
            (self.service_samples, self._interval_service),
            (self.lateness_samples, self._lateness),
        )

    def _whole(self, ended: Histogram, present: Histogram) -> Histogram:
        """Return all that intervals have counted: of those that have ended, and the present one."""
        self.flush()
        for _ in self.settle():
            pass
        return Histogram.sum([ended, present]) if present.minimum is not None else ended

    @property
    def response(self) -> Histogram:
        """Time from when each exchange was due until its echo. Count nothing in it."""
        return self._whole(self._response, self._interval_response)

    @property
    def service(self) -> Histogram:
        """Time from when each exchange left until its echo."""
        if self.closed_loop:
            return self.response
        return self._whole(self._service, self._interval_service)

    @property
    def lateness(self) -> Histogram:
        """How long after it was due each exchange left, or was held back; empty in a closed loop."""
        self.flush()
        return self._lateness


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
        self._given_up: set[int] = set()
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
        recorder._counts.sent += 1
        recorder._counts.bytes_sent += size
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
        counts = recorder._counts
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
            self.recorder._counts.corrupted += 1
            self.recorder._counts.bytes_received += size
            return Outcome.STRAY
        counts = self._recorder_of(sequence)._counts
        counts.bytes_received += size
        if sequence in self._given_up:
            self._given_up.remove(sequence)
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
        recorder._statuses[status] += 1
        recorder._counts.untold += untold

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
        recorder._counts.bytes_received += size
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
        self._given_up.add(sequence)
        self._recorder_of(sequence).failed(kind, 1)
