"""Every exchange is counted once, and none disappears."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netecho.measure.counts import Counts, Outcome
from netecho.measure.flow import REMEMBERED, Flow
from netecho.measure.histogram import Histogram
from netecho.measure.recorder import MANY, Recorder


def content(histogram: Histogram) -> tuple[object, ...]:
    """Return all that a histogram has counted: two are equal if this is, which is quicker to compare."""
    return histogram.minimum, histogram.maximum, histogram.encode()


def flow_of(count: int, *, closed_loop: bool = True) -> Flow:
    """Return a flow with so many exchanges in flight: each due at 100 times its number, sent 10 later."""
    flow = Flow(Recorder(closed_loop=closed_loop, size=64))
    for sequence in range(count):
        assert flow.sent(sequence * 100, sequence * 100 + 10, 64) == sequence
    return flow


SENT = 4
COMPLETED, CORRUPTED, LATE = Outcome.COMPLETED, Outcome.CORRUPTED, Outcome.LATE
DUPLICATED, STRAY = Outcome.DUPLICATED, Outcome.STRAY


@pytest.mark.parametrize(
    ("echoes", "outcomes", "expected"),
    [
        # echoes (negative: of the next one's complement, damaged), what each is, and what is counted
        ([], [], {}),
        ([0, 1], [COMPLETED, COMPLETED], {"completed": 2}),
        ([1, 0], [COMPLETED, COMPLETED], {"completed": 2, "reordered": 1}),
        ([3, 0, 1, 2], [COMPLETED] * 4, {"completed": 4, "reordered": 3}),
        ([0, 0], [COMPLETED, DUPLICATED], {"completed": 1, "duplicated": 1}),
        ([2, 0, 2], [COMPLETED, COMPLETED, DUPLICATED], {"completed": 2, "reordered": 1, "duplicated": 1}),
        ([~0], [CORRUPTED], {"completed": 1, "corrupted": 1}),
        ([~0, 0], [CORRUPTED, DUPLICATED], {"completed": 1, "corrupted": 1, "duplicated": 1}),
        ([None], [STRAY], {"corrupted": 1}),
        ([SENT], [STRAY], {"corrupted": 1}),
    ],
)
def test_echoes(echoes: list[int | None], outcomes: list[Outcome], expected: dict[str, int]) -> None:
    """Of four exchanges in flight, what becomes of echoes in this order."""
    flow = flow_of(SENT)
    found = []
    for number in echoes:
        intact = number is None or number >= 0
        sequence = number if number is None or number >= 0 else ~number
        found.append(flow.replied(sequence, 1000, 60, intact=intact))
    assert found == outcomes
    wanted = {"sent": SENT, "bytes_sent": 64 * SENT, "bytes_received": 60 * len(echoes), **expected}
    assert flow.recorder.counts == Counts(**wanted)
    assert flow.recorder.counts.in_flight == flow.in_flight == SENT - expected.get("completed", 0)
    assert not flow.recorder.errors


def test_late_of_many() -> None:
    """Of many that were given up the latest are remembered: an echo of any other is one too many."""
    flow = flow_of(REMEMBERED + 1)
    flow.give_up(1 << 40)
    assert flow.replied(0, 1 << 41, 64) is Outcome.DUPLICATED
    assert [flow.replied(1, 1 << 41, 64) for _ in range(2)] == [Outcome.LATE, Outcome.DUPLICATED]


def test_a_number_below_all() -> None:
    """No exchange has a negative number: an echo that claims one answers nothing."""
    flow = flow_of(1)
    assert flow.replied(-1, 5, 64) is Outcome.STRAY
    assert flow.recorder.counts.corrupted == 1
    assert flow.recorder.counts.duplicated == 0


def test_two_clocks() -> None:
    """Response time counts from when an exchange was due, service time from when it left."""
    flow = flow_of(2, closed_loop=False)
    flow.replied(0, 500, 64)
    flow.replied(1, 700, 64)
    assert flow.recorder.response == Histogram.of([500, 600])
    assert flow.recorder.service == Histogram.of([490, 590])


def test_lateness() -> None:
    """How late a send was counts against the instrument, unless the exchange waited for a connection."""
    flow = flow_of(2, closed_loop=False)
    flow.sent(300, 900, 64, held_back=True)
    assert flow.recorder.lateness == Histogram.of([10, 10])
    flow.sent(1000, 999, 64)
    assert flow.recorder.lateness == Histogram.of([10, 10, 0])
    assert flow.recorder.lateness_samples == []
    assert flow_of(2).recorder.lateness == Histogram()


def test_one_clock_in_a_closed_loop() -> None:
    """There the two times are one, and are recorded once."""
    flow = flow_of(1)
    flow.replied(0, 500, 64)
    assert flow.recorder.service == flow.recorder.response == Histogram.of([500])
    assert flow.recorder.service_samples == []


def test_give_up() -> None:
    """What left before a time is lost; its echo is late the first time, a duplicate the second."""
    flow = flow_of(3)  # left at 10, 110 and 210
    assert flow.oldest() == 0
    assert flow.oldest_sent_ns() == 10
    assert flow.give_up(10) == []
    assert flow.give_up(111) == [0, 1]
    assert flow.oldest() == 2
    assert flow.oldest_sent_ns() == 210
    assert flow.replied(0, 300, 64) is Outcome.LATE
    assert flow.replied(0, 300, 64) is Outcome.DUPLICATED
    assert flow.give_up(1000, "gone") == [2]
    assert flow.oldest() is None
    assert flow.oldest_sent_ns() is None
    counts = flow.recorder.counts
    assert (counts.completed, counts.lost, counts.late, counts.duplicated) == (0, 3, 1, 1)
    assert flow.recorder.errors == {"timeout": 2, "gone": 1}
    assert flow.recorder.response.count == 0


def test_end() -> None:
    """With its connection, all that was in flight is lost, by what ended it; a second end costs nothing."""
    flow = flow_of(3)
    flow.replied(1, 500, 64)
    assert flow.end("reset") == 2
    assert flow.end("reset") == 0
    assert flow.recorder.errors == {"reset": 2}
    assert flow.recorder.counts.lost == 2
    assert flow.in_flight == flow.recorder.counts.in_flight == 0


def looks(flow: Flow) -> dict[str, Callable[[int], object]]:
    """Return what else may be done with a flow, each with a number."""
    return {
        "in flight": lambda _: flow.in_flight,
        "send": lambda number: flow.sent(10_000 + number, 10_000 + number, 64),
        "oldest": lambda _: (flow.oldest(), flow.oldest_sent_ns()),
        "overdue": lambda number: flow.is_overdue(number, 10_000 + number),
        "give up": lambda number: flow.give_up(10_000 + number),
        "end": lambda _: flow.end("reset"),
        "refuse": lambda number: flow.refuse(number, 64, "status 500"),
        "phase": lambda _: flow.record_in(Recorder(closed_loop=flow.recorder.closed_loop, size=64)),
        "count": lambda _: dataclasses.replace(flow.recorder.counts),
    }


STEPS = st.lists(
    st.tuples(
        st.sampled_from([*["echo"] * 6, *["next"] * 3, *looks(flow_of(0))]),
        st.integers(-1, 12),
    ),
    max_size=40,
)


@given(st.booleans(), STEPS)
@example(True, [("echo", 0), ("next", 0), ("next", 0)])
@example(True, [("echo", 0), ("echo", 1), ("in flight", 0), ("echo", 4)])
@example(True, [("echo", 0), ("phase", 0), ("next", 0), ("count", 0)])
@example(True, [("echo", 0), ("send", 0), ("echo", 4), ("echo", 5)])
@example(False, [("echo", -1)])
def test_turn(closed_loop: bool, steps: list[tuple[str, int]]) -> None:
    """A turn is an echo and the next sending in one, or nothing: whatever comes, the counts are the same."""
    flow, other = flow_of(SENT, closed_loop=closed_loop), flow_of(SENT, closed_loop=closed_loop)
    turns = 0
    for place, (what, number) in enumerate(steps):
        now = 10_000 + place
        if what not in ("echo", "next"):
            assert looks(flow)[what](number) == looks(other)[what](number)
            continue
        echo = flow.newest if what == "next" else number
        following = flow.turn(echo, now)
        turns += following is not None
        if following is None and flow.replied(echo, now, 64) is COMPLETED:
            following = flow.sent(now, now, 64)
        expected = other.sent(now, now, 64) if other.replied(echo, now, 64) is COMPLETED else None
        assert following == expected
    assert [recorder.counts for _, recorder in flow._phases] == [one.counts for _, one in other._phases]
    for (_, ours), (_, theirs) in zip(flow._phases, other._phases, strict=True):
        assert ours.response == theirs.response
        assert ours.service == theirs.service
        assert ours.errors == theirs.errors
    assert (flow.newest, flow.highest, flow.in_flight) == (other.newest, other.highest, other.in_flight)
    assert flow.give_up(sys.maxsize) == other.give_up(sys.maxsize)
    assert closed_loop or not turns


def test_samples_do_not_pile_up() -> None:
    """A closed loop's are counted now and then, so that it is never a pause in what is measured."""
    flow = flow_of(2)
    recorder = flow.recorder
    kept = []
    for _ in range(2 * MANY):
        flow.turn(flow.newest, 1000)
        kept.append(len(recorder.turn_samples))
        oldest = flow.oldest()
        assert oldest is not None
        assert flow.replied(oldest, 1000, 64) is COMPLETED
        flow.sent(1000, 1000, 64)
        kept.append(len(recorder.response_samples))
    assert MANY - 1 <= max(kept) <= MANY
    assert recorder.response.count == recorder.counts.completed == 4 * MANY


def test_turn_is_taken() -> None:
    """In a closed loop, the next echo in order makes one; one that was overtaken, or none, does not."""
    flow = flow_of(SENT)
    assert [flow.turn(sequence, 1000) for sequence in (0, 2, 1, 2, 9, None)] == [4, 5, None, None, None, None]
    assert flow.recorder.counts == Counts(sent=6, completed=2, bytes_sent=6 * 64, bytes_received=2 * 64)


def test_turn_with_a_status() -> None:
    """What the other end said is counted with it, and only then."""
    flow = flow_of(SENT)
    assert [flow.turn(sequence, 1000, "200") for sequence in (1, 0, 2)] == [4, None, 5]
    assert flow.recorder.statuses == {"200": 2}
    assert [
        flow.turn(sequence, 1000, status) for sequence, status in ((3, "201"), (4, None), (5, "200"))
    ] == [6, 7, 8]
    assert flow.recorder.statuses == {"200": 3, "201": 1}
    assert (
        len(flow.recorder.turn_samples) == flow.recorder.counts.completed == 5
    )  # and none counted by itself


def test_failures_without_exchanges() -> None:
    """A failure that costs no exchange is counted by its kind, and nothing is lost by it."""
    recorder = Recorder(closed_loop=True)
    recorder.failed("refused")
    recorder.failed("reset", 3)
    assert recorder.errors == {"refused": 1, "reset": 3}
    assert recorder.counts == Counts(lost=3)


def test_intervals() -> None:
    """Each stretch has what happened since the last, and what it counted does not come again."""
    flow = flow_of(4)
    recorder = flow.recorder
    flow.replied(0, 500, 64)
    flow.replied(1, 600, 64)
    first = recorder.end_interval(0, 1000)
    recorder.failed("refused")
    flow.replied(2, 1700, 64)
    second = recorder.end_interval(1000, 1800)
    third = recorder.end_interval(1800, 2800)
    assert [(one.start_ns, one.length_ns, one.completed, one.errors) for one in recorder.intervals] == [
        (0, 1000, 2, 0),
        (1000, 800, 1, 1),
        (1800, 1000, 0, 0),
    ]
    assert [one.response for one in (first, second, third)] == [
        Histogram.of([500, 500]),
        Histogram.of([1500]),
        Histogram(),
    ]
    assert recorder.response == Histogram.of([500, 500, 1500])


def test_settling_in_steps() -> None:
    """What intervals came to is added up in steps, and is all there whoever looks in between."""
    recorder = Recorder(closed_loop=False)
    samples = [1000 * number for number in range(1, 200)]
    recorder.response_samples += samples
    recorder.service_samples += samples
    recorder.end_interval(0, 1000)
    steps = recorder.settle()
    next(steps)
    assert recorder.response == recorder.service == Histogram.of(samples)
    assert list(steps) == []


def test_samples_are_counted_kind_by_kind() -> None:
    """Of the kinds of samples, one is counted at a time, if there are enough of it."""
    recorder = Recorder(closed_loop=False)
    every = recorder.response_samples, recorder.service_samples, recorder.lateness_samples
    for samples in every:
        samples += [5, 6, 7]
    recorder.flush_one(3)
    assert [len(samples) for samples in every] == [3, 3, 3]
    for left in ([0, 3, 3], [0, 0, 3], [0, 0, 0]):
        recorder.flush_one(2)
        assert [len(samples) for samples in every] == left
    assert recorder.response == recorder.service == recorder.lateness == Histogram.of([5, 6, 7])


@pytest.mark.parametrize("closed_loop", [True, False])
def test_looking_takes_nothing_away(closed_loop: bool) -> None:
    """A distribution that is looked at in mid-interval leaves its samples to the interval."""
    flow = flow_of(2, closed_loop=closed_loop)
    flow.replied(0, 500, 64)
    assert flow.recorder.response.count == flow.recorder.service.count == 1
    flow.replied(1, 800, 64)
    interval = flow.recorder.end_interval(0, 1000)
    assert interval.response == Histogram.of([500, 700])
    assert interval.service == (None if closed_loop else Histogram.of([490, 690]))
    assert flow.recorder.response.count == flow.recorder.service.count == 2


def test_phases() -> None:
    """Whatever becomes of an exchange is counted in the phase in which it was sent, however late."""
    phases = [Recorder(closed_loop=True) for _ in range(3)]
    flow = Flow(phases[0])
    for phase in phases:
        flow.record_in(phase)
        for _ in range(4):
            flow.sent(0, 0, 1)
    for first in (0, 4, 8):
        flow.replied(first, 10, 1)
        flow.replied(first, 10, 1)
        flow.replied(first + 1, 10, 1, intact=False)
    flow.replied(None, 10, 1)
    assert flow.end("closed") == 6
    flow.replied(2, 10, 1)
    each = Counts(sent=4, completed=2, lost=2, corrupted=1, duplicated=1, bytes_sent=4, bytes_received=3)
    assert phases[0].counts == dataclasses.replace(each, late=1, bytes_received=4)
    assert phases[1].counts == each
    assert phases[2].counts == dataclasses.replace(each, corrupted=2, bytes_received=4)
    assert [phase.errors for phase in phases] == [{"closed": 2}] * 3


@pytest.mark.parametrize("name", ["completed", "late", "duplicated", "corrupted"])
def test_an_echo_of_any_kind_is_an_answer(name: str) -> None:
    """What has left, and what came to nothing, is none."""
    silent = Counts(sent=3, lost=3)
    assert not silent.is_answered
    assert dataclasses.replace(silent, **{name: 1}).is_answered


def test_counts_add_up() -> None:
    """Counts of parts make the count of the whole."""
    names = [field.name for field in dataclasses.fields(Counts)]
    one = Counts(**{name: 10 + index for index, name in enumerate(names)})
    other = Counts(**{name: 100 * index for index, name in enumerate(names)})
    one.add(other)
    assert one == Counts(**{name: 10 + 101 * index for index, name in enumerate(names)})


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 3), st.sampled_from(["", "look", "end"]))))
def test_any_split_merges_to_the_same(samples: list[tuple[int, int, str]]) -> None:
    """However samples are spread over connections and intervals, and read between, the sum is the same."""
    recorders = [Recorder(closed_loop=False) for _ in range(4)]
    flows = [Flow(recorder) for recorder in recorders]
    for value, which, then in samples:
        flow, recorder = flows[which], recorders[which]
        flow.replied(flow.sent(0, 0, 1), value, 1)
        if then == "look":
            assert recorder.response.count == recorder.counts.completed
        elif then == "end":
            recorder.end_interval(0, 1)
    whole = Histogram.of(value for value, _, _ in samples)
    by_response, by_service, by_intervals = Histogram(), Histogram(), Histogram()
    by_service_of_intervals = Histogram()
    for recorder in recorders:
        recorder.end_interval(0, 1)
        by_response.add(recorder.response)
        by_service.add(recorder.service)
        for interval in recorder.intervals:
            by_intervals.add(interval.response)
            by_service_of_intervals.add(interval.service or Histogram())
    assert content(by_response) == content(by_service) == content(whole)
    assert content(by_intervals) == content(by_service_of_intervals) == content(whole)


State = Literal["in flight", "completed", "lost"]


@dataclasses.dataclass
class Exchange:
    """All that the model keeps of an exchange."""

    phase: int
    due_ns: int
    sent_ns: int
    state: State = "in flight"
    late: bool = False
    """Its echo came after it was given up."""


class Bookkeeping(RuleBasedStateMachine):
    """A flow through any number of phases, against a list of exchanges that is counted anew each time."""

    @initialize(closed_loop=st.booleans())
    def begin(self, closed_loop: bool) -> None:
        """Open a connection."""
        self.closed_loop = closed_loop
        self.now = 0
        self.recorders = [Recorder(closed_loop=closed_loop)]
        self.errors: list[collections.Counter[str]] = [collections.Counter()]
        self.tallies: list[collections.Counter[str]] = [collections.Counter()]
        self.responses: list[list[int]] = [[]]
        self.services: list[list[int]] = [[]]
        self.flow = Flow(self.recorders[0])
        self.exchanges: list[Exchange] = []

    def number_in(self, state: State, choice: int) -> int:
        """Return one of the exchanges in a state."""
        numbers = [number for number, one in enumerate(self.exchanges) if one.state == state]
        return numbers[choice % len(numbers)]

    def any_in(self, state: State) -> bool:
        """Return whether there is an exchange in a state."""
        return any(one.state == state for one in self.exchanges)

    @rule(time=st.integers(0, 1000))
    def wait(self, time: int) -> None:
        """Let time pass."""
        self.now += time

    @rule(waited=st.integers(0, 50), size=st.integers(0, 100))
    def send(self, waited: int, size: int) -> None:
        """An exchange leaves that was due a while ago."""
        due = self.now if self.closed_loop else self.now - waited
        assert self.flow.sent(due, self.now, size) == len(self.exchanges)
        self.exchanges.append(Exchange(len(self.recorders) - 1, due, self.now))
        self.tallies[-1]["bytes_sent"] += size

    @precondition(lambda self: self.any_in("in flight"))
    @rule(choice=st.integers(0, 1000), size=st.integers(0, 100), intact=st.booleans())
    def reply(self, choice: int, size: int, intact: bool) -> None:
        """An echo comes that was waited for, in whatever order."""
        number = self.number_in("in flight", choice)
        one = self.exchanges[number]
        outcome = self.flow.replied(number, self.now, size, intact=intact)
        assert outcome is (Outcome.COMPLETED if intact else Outcome.CORRUPTED)
        one.state = "completed"
        self.responses[one.phase].append(self.now - one.due_ns)
        self.services[one.phase].append(self.now - one.sent_ns)
        tally = self.tallies[one.phase]
        tally["bytes_received"] += size
        tally["corrupted"] += not intact
        tally["reordered"] += any(later.state == "completed" for later in self.exchanges[number + 1 :])

    @precondition(lambda self: self.any_in("completed"))
    @rule(choice=st.integers(0, 1000), intact=st.booleans())
    def reply_again(self, choice: int, intact: bool) -> None:
        """An echo comes twice."""
        number = self.number_in("completed", choice)
        assert self.flow.replied(number, self.now, 7, intact=intact) is Outcome.DUPLICATED
        tally = self.tallies[self.exchanges[number].phase]
        tally["bytes_received"] += 7
        tally["duplicated"] += 1

    @precondition(lambda self: self.any_in("lost"))
    @rule(choice=st.integers(0, 1000))
    def reply_late(self, choice: int) -> None:
        """An echo comes of what had been given up, once or more than once."""
        number = self.number_in("lost", choice)
        one = self.exchanges[number]
        expected = Outcome.DUPLICATED if one.late else Outcome.LATE
        assert self.flow.replied(number, self.now, 9) is expected
        tally = self.tallies[one.phase]
        tally["bytes_received"] += 9
        tally[expected.value] += 1
        one.late = True

    @rule(ahead=st.one_of(st.none(), st.integers(1, 5)))
    def reply_to_nothing(self, ahead: int | None) -> None:
        """Something comes that answers nothing."""
        number = None if ahead is None else len(self.exchanges) - 1 + ahead
        assert self.flow.replied(number, self.now, 3) is Outcome.STRAY
        self.tallies[-1]["bytes_received"] += 3
        self.tallies[-1]["corrupted"] += 1

    @rule(age=st.integers(0, 500), kind=st.sampled_from(["timeout", "other"]))
    def give_up(self, age: int, kind: str) -> None:
        """What has waited too long is given up."""
        before = self.now - age
        expected = [
            number
            for number, one in enumerate(self.exchanges)
            if one.state == "in flight" and one.sent_ns < before
        ]
        assert self.flow.give_up(before, kind) == expected
        self.lose(expected, kind)

    @rule()
    def end(self) -> None:
        """The connection is gone."""
        expected = [number for number, one in enumerate(self.exchanges) if one.state == "in flight"]
        assert self.flow.end("closed") == len(expected)
        self.lose(expected, "closed")

    def lose(self, numbers: list[int], kind: str) -> None:
        """Enter exchanges as lost."""
        for number in numbers:
            self.exchanges[number].state = "lost"
            self.errors[self.exchanges[number].phase][kind] += 1

    @rule()
    def next_phase(self) -> None:
        """What is sent from now on is recorded elsewhere."""
        self.recorders.append(Recorder(closed_loop=self.closed_loop))
        self.errors.append(collections.Counter())
        self.tallies.append(collections.Counter())
        self.responses.append([])
        self.services.append([])
        self.flow.record_in(self.recorders[-1])

    @rule(choice=st.integers(0, 1000))
    def end_interval(self, choice: int) -> None:
        """A stretch of time ends in one of the phases."""
        self.recorders[choice % len(self.recorders)].end_interval(0, 1)

    @invariant()
    def nothing_disappears(self) -> None:
        """In every phase each exchange is in one state, and what was counted is what happened."""
        for phase, recorder in enumerate(self.recorders):
            mine = collections.Counter(one.state for one in self.exchanges if one.phase == phase)
            expected = Counts(
                sent=mine.total(),
                completed=mine["completed"],
                lost=mine["lost"],
                **{
                    name: self.tallies[phase][name]
                    for name in (
                        "late",
                        "duplicated",
                        "reordered",
                        "corrupted",
                        "bytes_sent",
                        "bytes_received",
                    )
                },
            )
            assert recorder.counts == expected
            assert recorder.counts.in_flight == mine["in flight"]
            assert recorder.errors == self.errors[phase]

    @invariant()
    def waits_for_what_is_in_flight(self) -> None:
        """The flow waits for what was sent and has not ended, the oldest first."""
        waiting = [number for number, one in enumerate(self.exchanges) if one.state == "in flight"]
        assert self.flow.in_flight == len(waiting)
        assert self.flow.newest == len(self.exchanges) - 1
        assert self.flow.oldest() == (waiting[0] if waiting else None)
        assert self.flow.oldest_sent_ns() == (self.exchanges[waiting[0]].sent_ns if waiting else None)

    def teardown(self) -> None:
        """At the end there is one sample for each exchange that completed, in its own phase."""
        for phase, recorder in enumerate(getattr(self, "recorders", [])):
            assert recorder.response.count == recorder.counts.completed
            assert content(recorder.response) == content(Histogram.of(self.responses[phase]))
            assert content(recorder.service) == content(Histogram.of(self.services[phase]))


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=60, deadline=None)


def test_overdue() -> None:
    """What is in flight is overdue by when it left, and nothing else is."""
    flow = Flow(Recorder(closed_loop=False))
    for left in (10, 20, 30):
        flow.sent(0, left, 1)
    flow.replied(0, 40, 1)
    assert [flow.is_overdue(sequence, 20) for sequence in (None, 0, 1, 2, 3)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_statuses() -> None:
    """What the other end says is counted where its exchange is, or where it is heard if it has none."""
    flow = flow_of(2)
    first = flow.recorder
    flow.record_in(Recorder(closed_loop=True))
    assert flow.sent(300, 300, 64) == 2
    for sequence in (0, 2, None):
        flow.answered(sequence, "200")
    assert first.statuses == {"200": 1}
    assert flow.recorder.statuses == {"200": 2}


def test_refused() -> None:
    """An exchange that has an answer and no echo is lost, by its kind, once; what answers none is a stray."""
    flow = flow_of(2)
    recorder = flow.recorder
    assert flow.refuse(1, 10, "status 503")
    assert not flow.refuse(1, 10, "status 503")
    assert not flow.refuse(None, 5, "status 503")
    assert recorder.errors == {"status 503": 1}
    counts = recorder.counts
    assert (counts.sent, counts.lost, counts.in_flight, counts.duplicated, counts.corrupted) == (
        2,
        1,
        1,
        1,
        1,
    )
    assert counts.bytes_received == 25


def test_untold() -> None:
    """How often an answer did not tell what had been received is counted, and said only if it was."""
    recorder = Recorder(closed_loop=True)
    flow = Flow(recorder)
    for untold in (True, False, True):
        sequence = flow.sent(0, 0, 10)
        flow.answered(sequence, "250", untold=untold)
        flow.replied(sequence, 1, 10)
    assert recorder.counts.untold == recorder.counts.to_json()["untold"] == 2
    assert "untold" not in Counts(sent=1, completed=1).to_json()


@pytest.mark.parametrize("closed_loop", [True, False])
def test_interval_kept_for_long(closed_loop: bool) -> None:
    """An interval says the same when it is kept in less memory."""
    intervals = []
    for _ in range(2):
        recorder = Recorder(closed_loop=closed_loop)
        flow = Flow(recorder)
        for now in range(0, 5000, 1000):
            flow.replied(flow.sent(now, now + 10, 1), now + 500, 1)
        intervals.append(recorder.end_interval(0, 5000))
    intervals[0].compact()
    assert intervals[0] == intervals[1]


def test_latencies_have_no_empty_distributions() -> None:
    """A connection in clear has no handshake to speak of."""
    recorder = Recorder(closed_loop=False)
    flow = Flow(recorder)
    flow.replied(flow.sent(0, 10, 64), 30, 64)
    recorder.setup.took("connect", 7)
    named = recorder.latencies()
    assert set(named) == {"response", "service", "connect"}
    assert (named["response"].maximum, named["service"].maximum) == (30, 20)
