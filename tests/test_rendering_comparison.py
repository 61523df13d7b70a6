"""Comparisons as people read them: every number with its bounds, and what is not known in words."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from netecho.measure.comparison import Change, Comparison, Method
from netecho.rendering.comparison import show_comparison
from netecho.rendering.console import console_on

CHANGES = (
    Change("p10", 4_290_000, 4_730_000, 1.071, 1.134, 0.99),
    Change("p50", 5_100_000, 5_120_000, 0.97, 1.04, 0.99),
    Change("throughput", 19_100, 21_000, 1.02, 12.4, 0.99),
)
FOUND = Comparison(
    CHANGES,
    {"p99": "a quarter of a run has 966 echoes and 1,000 are needed: measure for longer"},
    Method.STRETCHES,
    ("not made alike: --size 64 and 128",),
)


def text_of(
    comparison: Comparison = FOUND,
    width: int = 80,
    allowed: float | None = None,
    names: tuple[str, str] = ("a.json", "b.json"),
) -> str:
    """Return what is written to a pipe."""
    stream = io.StringIO()
    assert show_comparison(comparison, console_on(stream, width=width), names, allowed)
    return stream.getvalue()


def test_what_was_what_is_and_how_far_apart() -> None:
    """A line for each number; a file's name is shown and not obeyed."""
    lines = text_of(names=("old\x1b[2J", "new.json: 3 results")).splitlines()
    assert lines[:2] == [r"before      old\x1b[2J", "now         new.json: 3 results"]
    head, p10, p50, throughput = (line.split() for line in lines[3:7])
    assert head == ["before", "now", "change", "99%", "interval"]
    assert p10 == ["p10", "4.29", "ms", "4.73", "ms", "+10.3%", "+7.1%", "to", "+13.4%", "slower"]
    assert " ".join(p50) == "p50 5.10 ms 5.12 ms +0.4% -3.0% to +4.0% no difference shown"
    assert " ".join(throughput) == "throughput 19.1k/s 21.0k/s +9.9% +2.0% to 12 times faster"


def test_what_a_file_says_is_shown_and_not_obeyed() -> None:
    """A comparison is in results, which may have come from anywhere."""
    metric = "p50\x1b[2J"
    found = Comparison(
        (Change(metric, 100, 200, 1.9, 2.1, 0.99), Change("\x9b", 100, 101, 0.9, 1.2, 0.99)),
        {metric: "\x07why"},
        Method.RUNS,
        ("\x1b[2J",),
    )
    for allowed, words in ((0.05, r"p50\x1b[2J slower by more"), (2.0, r"nothing is slower")):
        text = text_of(found, width=100, allowed=allowed)
        assert text.replace("\n", "").isprintable()
        assert words in text
    (apart,) = (line for line in text_of(found, width=100, allowed=1.05).splitlines() if "may be" in line)
    assert r"p50\x1b[2J may be" in apart


def test_what_is_not_known_is_said() -> None:
    """And what to do; and by what method the rest is."""
    text = " ".join(text_of().split())
    assert "p99 not compared: a quarter of a run has 966 echoes" in text
    assert "· intervals: Allan variance of stretches of the runs · not made alike: --size 64" in text
    runs = Comparison(CHANGES, {}, Method.RUNS, ())
    assert text_of(runs).endswith("\n· intervals: Student's t of runs\n")
    assert "not compared" not in text_of(runs)


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        (0.05, "✘ p10 slower by more than 5%\n"),
        (0.125, "· nothing is shown to be slower by more than 12.5%, and p10 may be all the same\n"),
        (0.2, "✔ nothing is slower by more than 20%\n"),
    ],
)
def test_whether_it_is_slower_than_it_may_be(allowed: float, words: str) -> None:
    """When somebody asked."""
    assert words in text_of(allowed=allowed)
    assert "by more than" not in text_of()


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_and_have_no_control_codes(width: int) -> None:
    """Through a pipe."""
    text = text_of(width=width, allowed=0.05, names=("b" * 200, "new.json"))
    assert "\x1b" not in text
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_verdicts_are_not_cut_off() -> None:
    """Where bounds are far apart there is less room beside them."""
    apart = Change("throughput", 1_040_000, 4_080_000, 0.01, 1620.0, 0.99)
    text = text_of(Comparison((apart,), {}, Method.STRETCHES, ()))
    assert "…" not in text
    assert "no difference" in text
    assert "shown" in text


def test_nothing_is_faster_by_all_of_it() -> None:
    """A bound is not rounded to no time at all."""
    apart = Change("p99", 1_000_000, 380_000, 0.0004, 357.0, 0.99)
    assert "<-99.9% to 357 times" in text_of(Comparison((apart,), {}, Method.STRETCHES, ()))


@pytest.mark.parametrize("width", [50, 40, 30])
def test_no_number_is_cut_where_a_table_has_no_room(width: int) -> None:
    """It is said in sentences then."""
    text = " ".join(text_of(width=width).split())
    for words in (
        "p10 4.29 ms before, 4.73 ms now, +10.3% (99% interval +7.1% to +13.4%): slower",
        "p50 5.10 ms before, 5.12 ms now, +0.4% (99% interval -3.0% to +4.0%): no difference shown",
        "throughput 19.1k/s before, 21.0k/s now, +9.9% (99% interval +2.0% to 12 times): faster",
    ):
        assert words in text
    assert "…" not in text
