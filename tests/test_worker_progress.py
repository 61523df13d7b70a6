"""How the progress of several workers becomes one view."""

from __future__ import annotations

from netecho.measure.counts import Connections, Counts
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import Interval
from netecho.measure.parts import Part
from netecho.measure.progress import Phase, Progress
from netecho.plans import BenchPlan, Target
from netecho.services.worker_progress import STAGES, WAITING, Board, Tick

SECOND = 1_000_000_000


def board_of(workers: int) -> tuple[Board, list[Progress]]:
    """Return a board, and the list of what it passes on."""
    shown: list[Progress] = []
    return Board(BenchPlan(Target(), connections=2 * workers), workers, shown.append), shown


def tell(
    board: Board,
    worker: int,
    number: int,
    completed: int,
    phase: Phase = "measuring",
    *,
    whole: bool = True,
) -> None:
    """Have a worker tell of an interval of a second, in which so many exchanges took a microsecond each."""
    interval = Interval(number * SECOND, SECOND, completed, 0, Histogram.of([1000] * completed))
    counts = Counts(sent=completed, completed=completed)
    warming = STAGES[phase] == STAGES["warm-up"]
    part = Part(
        Counts() if warming else counts,
        Connections(2, 2, 0),
        {"reset": 1},
        intervals=(interval,),
        warmup=counts if warming else None,
    )
    board.told(worker, Tick(phase, number, (number + 1) * SECOND, 9 * SECOND, 2, whole), part)


def test_sum() -> None:
    """When all have told of an interval, it is passed on, added up."""
    board, shown = board_of(2)
    tell(board, 0, 0, 10)
    assert not shown
    tell(board, 1, 0, 32)
    [progress] = shown
    assert progress.interval is not None
    assert (progress.interval.completed, progress.completed) == (42, 42)
    assert (progress.connections_open, progress.connections_requested) == (4, 4)
    assert progress.errors == {"reset": 2}
    assert progress.response() == {"p50": 1000, "p99": 1000, "max": 1000}


def test_warm_up_is_counted_apart() -> None:
    """In the warm-up the view counts its exchanges, and percentiles begin anew after it."""
    board, shown = board_of(1)
    tell(board, 0, 0, 5, "warm-up")
    tell(board, 0, 0, 7)
    assert [(one.phase, one.completed) for one in shown] == [("warm-up", 5), ("measuring", 7)]


def test_phases_that_overlap() -> None:
    """Of two workers one may be finishing already: the interval is the same one, and is still measured."""
    board, shown = board_of(2)
    tell(board, 0, 3, 1, "finishing")
    tell(board, 1, 3, 1, "measuring")
    assert [one.phase for one in shown] == ["measuring"]


def test_nobody_waits_for_the_dead() -> None:
    """When a worker has ended, what waited for it is passed on, with all that it did in the total."""
    board, shown = board_of(2)
    tell(board, 0, 0, 1)
    board.left(1, Part(Counts(sent=5, completed=5), Connections(2, 2, 0)))
    assert [(one.completed, one.connections_open) for one in shown] == [(6, 2)]
    tell(board, 0, 1, 1)
    assert len(shown) == 2


def test_nobody_waits_for_the_stopped() -> None:
    """A worker that has stopped holds up the view for a few intervals, and not for ever."""
    board, shown = board_of(2)
    for number in range(WAITING + 2):
        tell(board, 0, number, 1)
    assert len(shown) == 2
    tell(board, 1, 0, 5)  # it goes on: what it says late has been shown without it, and is told by itself
    assert [one.whole for one in shown] == [True, True, False]
    assert [one.interval.completed for one in shown if one.interval is not None] == [1, 1, 5]


def test_what_is_left_at_the_end() -> None:
    """It is told as all is, and is a part of an interval only if it is so of every worker."""
    board, shown = board_of(2)
    tell(board, 0, 0, 3, whole=False)
    tell(board, 1, 0, 10)
    board.left(0, Part(Counts(sent=3, completed=3), Connections(2, 2, 0)))
    tell(board, 1, 1, 2, "finishing", whole=False)
    assert [(one.whole, one.phase) for one in shown] == [(True, "measuring"), (False, "finishing")]
    assert [one.interval.completed for one in shown if one.interval is not None] == [13, 2]


def test_what_one_never_told_is_passed_on_with_the_next() -> None:
    """One may have connected a second longer than the other, which has nothing to tell of that time."""
    board, shown = board_of(2)
    tell(board, 0, 0, 0, "connecting")
    tell(board, 0, 0, 1)
    assert not shown
    tell(board, 1, 0, 1)
    assert [one.phase for one in shown] == ["connecting", "measuring"]


def test_what_is_recorded_is_passed_on_whole() -> None:
    """Each interval that is measured, of whoever tells too late as well; of a warm-up none is."""
    recorded: list[Interval] = []
    board = Board(BenchPlan(Target(), connections=2), 2, lambda _: None, recorded.append)
    for worker in range(2):
        tell(board, worker, 0, 3, "warm-up")
    assert not recorded
    for worker in range(2):
        tell(board, worker, 0, 10)
    assert [one.response.count for one in recorded] == [20]
    for number in range(1, WAITING + 2):
        tell(board, 0, number, 1)
    assert [one.response.count for one in recorded] == [20, 1]
    tell(board, 1, 1, 5)
    assert [(one.start_ns, one.response.count) for one in recorded[2:]] == [(SECOND, 5)]
