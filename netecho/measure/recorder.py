"""What happened: every exchange is counted once, and none disappears.

A `Recorder` adds up the `netecho.measure.flow.Flow`s of a run, each of which follows the exchanges of one
connection. Times are integers of nanoseconds on one monotonic clock, which is the caller's.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Final

from netecho.measure.counts import Counts
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.oneway import OneWay
from netecho.measure.setup import Setup

MANY: Final = 256
"""Samples of a closed loop that are counted together, in about a tenth of a millisecond."""
_BUCKETS: Final = 64
"""Of a histogram, that are added to another one in one step."""


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
        self.booked = Counts()
        """The exchanges of this phase, for flows to count in: those turned since `book_turns` are missing."""
        self.booked_statuses: collections.Counter[str] = collections.Counter()
        """What the other end said of those."""
        self.errors: collections.Counter[str] = collections.Counter()
        self.intervals: list[Interval] = []
        self.setup = Setup()
        """What connections took that were opened in this phase; before the first, in what is measured."""
        self.turned_with: str | None = None
        """What the other end says of each of these, from the first on that is not booked yet:"""
        self.turn_samples: list[int] = []
        """Response times in a closed loop of echoes that each were followed by an exchange at once."""
        self._booked = 0
        """How many of those are in `booked`."""
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
        return self.booked

    @property
    def statuses(self) -> collections.Counter[str]:
        """How often the other end said what of an exchange, on protocols that have a word for it."""
        self.book_turns()
        return self.booked_statuses

    def book_turns(self) -> None:
        """Count the exchanges that have been turned since the last time, but not their samples."""
        if turned := len(self.turn_samples) - self._booked:
            self._booked += turned
            counts = self.booked
            counts.sent += turned
            counts.completed += turned
            counts.bytes_sent += turned * self._size
            counts.bytes_received += turned * self._size
            if self.turned_with is not None:
                self.booked_statuses[self.turned_with] += turned

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
        self.booked.lost += exchanges

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

    def latencies(self) -> dict[str, Histogram]:
        """Return the distributions that have any samples, by name: of exchanges, and of connections."""
        distributions = {
            "response": self.response,
            "service": self.service,
            **self.setup.distributions(),
        }
        return {name: one for name, one in distributions.items() if one.minimum is not None}
