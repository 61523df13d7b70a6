"""Results as people read them: everything of note is said, nothing else, on any terminal."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from netecho.errors import OutputError
from netecho.measure.counts import Counts
from netecho.measure.directions import Losses
from netecho.measure.flows import Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.intervals import IntervalSummary
from netecho.measure.oneway import Offset
from netecho.measure.reflected import Reflected
from netecho.measure.results import merge_results
from netecho.measure.sending import Sending
from netecho.measure.summary import Summary
from netecho.plans import SECOND, Arrival, BenchPlan, Stage, Target
from netecho.rendering import bars
from netecho.rendering.console import console_on
from netecho.rendering.text import show
from tests import samples

DUE = samples.bench().counts.sent
SCHEDULE = Sending(DUE, DUE, 10 * SECOND, 10 * SECOND)


def text_of(summary: Summary, width: int = 80, name: str | None = None) -> str:
    """Return what is written to a pipe."""
    stream = io.StringIO()
    assert show(summary, console_on(stream, width=width), name=name)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize(
    "summary", [samples.bench(), samples.troubled(), samples.probes(), samples.probes(200)]
)
def test_lines_fit_and_have_no_control_codes(summary: Summary, width: int) -> None:
    """Through a pipe there are plain lines, at any width a terminal has."""
    text = text_of(summary, width)
    assert "\x1b" not in text
    assert all(cell_len(line) <= width and line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_good_run_at_a_glance(width: int) -> None:
    """What was run, how fast, how late, and whether to believe it."""
    text = " ".join(text_of(samples.bench(), width).split())
    for words in (
        "tcp://127.0.0.1:40213 a server of its own",
        "closed loop, 500 connections, 64 B messages, 10 s, every byte compared",
        "45,123 exchanges/s, 2.75 MiB/s each way",
        "451,234 sent, 451,234 completed",
        "500 opened",
        "✔ trustworthy: the client used 43% of a processor",
        "closed loop: an exchange waits",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("size", "overhead", "messages", "rate"),
    [
        (0, 44, "44 B messages, 10 s", "4.30 KiB/s out, 3.87 KiB/s back"),
        (64, 116, "180 B messages with 64 B of payload, 10 s", "17.6 KiB/s out, 15.8 KiB/s back"),
    ],
)
def test_what_the_protocol_adds_is_shown(size: int, overhead: int, messages: str, rate: str) -> None:
    """Packets without a payload are something on the wire; an answer that came late or twice is too."""
    plan = {**samples.bench().plan, "size": size, "overhead": overhead}
    counts = Counts(1000, 870, 130, 20, 10, bytes_sent=1000 * size, bytes_received=900 * size)
    text = " ".join(text_of(samples.bench(plan=plan, counts=counts), 120).split())
    assert messages in text
    assert rate in text


@pytest.mark.parametrize(
    ("length_ns", "words"), [(99_999_999, "  45.0k/s to 46.8k/s"), (10**8, "  0/s to 46.8k/s")]
)
def test_a_sliver_of_time_is_no_rate(length_ns: int, words: str) -> None:
    """What is left after the last full second tells of a few echoes, or none: not of the rate."""
    summary = samples.bench()
    sliver = IntervalSummary(10 * SECOND, length_ns, 0, 0, None)
    elapsed_ns = 10 * SECOND + length_ns
    intervals = (*summary.intervals, sliver)
    assert words in text_of(dataclasses.replace(summary, elapsed_ns=elapsed_ns, intervals=intervals))


@pytest.mark.parametrize("took", [10 * SECOND, 13 * SECOND])
def test_the_wait_for_what_is_lost_is_no_rate(took: int) -> None:
    """After a schedule nothing is due, so few echoes say nothing; what leaves late is still part of it."""
    summary = dataclasses.replace(samples.bench(), sending=dataclasses.replace(SCHEDULE, took_ns=took))
    waiting = [IntervalSummary(second * SECOND, SECOND, 0, 0, None) for second in range(10, 15)]
    text = text_of(dataclasses.replace(summary, intervals=(*summary.intervals, *waiting)))
    assert ("  45.0k/s to 46.8k/s" in text) == (took == 10 * SECOND)
    assert ("  0/s to 46.8k/s" in text) == (took == 13 * SECOND)


def test_the_wait_for_what_a_closed_loop_lost_is_no_rate() -> None:
    """It sends nothing while it waits for what is in flight at its end to time out."""
    summary = samples.bench()
    waiting = [IntervalSummary(second * SECOND, SECOND, 0, 1, None) for second in range(10, 15)]
    text = text_of(dataclasses.replace(summary, intervals=(*summary.intervals, *waiting)))
    assert "  45.0k/s to 46.8k/s" in text


def load(hour: int, rates: list[int], sending: Sending | None) -> Summary:
    """Return the result of a run that began at that hour, with these rates in its seconds."""
    return samples.bench(
        started=f"2026-03-01T{hour}:00:00+00:00",
        elapsed_ns=len(rates) * SECOND,
        sending=sending,
        intervals=tuple(IntervalSummary(n * SECOND, SECOND, rate, 0, None) for n, rate in enumerate(rates)),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [(SCHEDULE, SCHEDULE), (SCHEDULE, None), (None, SCHEDULE)],
    ids=["open, open", "open, closed", "closed, open"],
)
def test_the_rates_of_runs_that_were_added_up(first: Sending | None, second: Sending | None) -> None:
    """All of them are shown, with a schedule and without, however long they paused and waited."""
    runs = [
        load(12, [45_000] * 10 + [50_000] * 3, first),
        load(13, [60_000] * 9 + [70_000] + [50_000] * 3, second),
    ]
    assert "  45.0k/s to 70.0k/s" in text_of(merge_results(runs))


def test_the_rates_of_a_closed_loop_beside_a_schedule() -> None:
    """It goes on after the schedule's end."""
    runs = [load(12, [5_000] * 10, SCHEDULE), load(12, [45_000] * 20, None)]
    assert "  45.0k/s to 50.0k/s" in text_of(merge_results(runs))


def test_several_workers_at_a_glance() -> None:
    """What the share of a processor is of, is said."""
    text = " ".join(text_of(samples.bench(workers=4, cpu_shares=(0.2, 0.2, 0.3, 0.43)), 120).split())
    assert "✔ trustworthy: the busiest of 4 workers used 43% of a processor" in text


def test_what_has_nothing_to_say_is_not_there() -> None:
    """No zeros in rows of their own."""
    text = text_of(samples.bench())
    for word in (
        "errors",
        "lost",
        "late",
        "warm-up",
        "reordered",
        "failed",
        "service",
        "handshake",
        "in flight",
    ):
        assert not re.search(rf"\b{word}\b", text)


def test_everything_that_went_wrong_is_said() -> None:
    """Each count that is not zero, and each kind of error, the most frequent first."""
    text = " ".join(text_of(samples.troubled()).split())
    for words in (
        "interrupted",
        "4 in flight on each",
        "after 1 s of warm-up",
        "2.75 MiB/s out, 2.67 MiB/s back",
        "40 lost (0.0089%)",
        "4 in flight at the end",
        "3 late, 2 duplicated, 11 reordered, 1 corrupted",
        "33 timeout, 20 refused, 7 lost",
        "480 of 500 opened, 20 failed, 7 lost, 6 opened again",
        "44,000 exchanges, not counted above",
        "✘ not trustworthy",
        "only 480 of 500 connections opened",
        "p(99)<5ms",
    ):
        assert words in text


def test_the_latency_table_shows_each_distribution() -> None:
    """Response, service when it differs, connect and handshake, each percentile humanised."""
    lines = text_of(samples.troubled(), 60).splitlines()
    assert any(line.split() == ["latency", "response", "service", "connect", "handshake"] for line in lines)
    p99 = next(line for line in lines if line.startswith("p99 "))
    assert p99.count("ms") + p99.count("µs") == 4
    assert next(line for line in lines if line.startswith("max")).split()[1:3] == ["5.00", "s"]


@pytest.mark.parametrize(("width", "columns"), [(60, 4), (50, 3), (40, 2), (30, 1), (20, 1)])
def test_distributions_without_room_for_a_column_are_below(width: int, columns: int) -> None:
    """A time on a narrow terminal is not cut: `3.25 …` might be of any unit."""
    summary = samples.troubled()
    lines = text_of(summary, width).splitlines()
    heads = [line.split()[1:] for line in lines if line.startswith("latency ")]
    assert [name for head in heads for name in head] == ["response", "service", "connect", "handshake"]
    assert max(map(len, heads)) == columns
    cells = [re.split(r"  +", line) for line in lines if re.match(r"(min|mean|p[0-9.]+|max)  ", line)]
    assert all(re.fullmatch(r"[0-9.]+ (ns|µs|ms|s)", value) for _, *values in cells for value in values)
    assert sum(len(values) for name, *values in cells if name == "max") == 4


@pytest.mark.parametrize("seconds", [100, 3599])
def test_long_times_stand_apart(seconds: int) -> None:
    """Whoever asks for far more than there is waits for minutes."""
    long, longer, short = (
        Histogram.of([one, SECOND]) for one in (seconds * SECOND, seconds * SECOND - 1, SECOND)
    )
    latencies = {"connect": short, "response": long, "service": longer}
    lines = text_of(samples.bench(latencies=latencies)).splitlines()
    (most,) = (line for line in lines if line.startswith("max "))
    shown = f"{seconds // 60} min {seconds % 60} s"
    assert re.split(r"  +|(?<=s) ", most) == ["max", shown, shown, "1.00 s"]


def test_percentiles_that_so_few_samples_cannot_have_are_left_out() -> None:
    """The p99.9 of 500 connects is only their maximum."""
    lines = text_of(samples.bench(latencies={"connect": samples.latencies(500)})).splitlines()
    assert any(line.startswith("p99 ") for line in lines)
    assert not any(line.startswith("p99.9") for line in lines)


def test_the_histogram_adds_up() -> None:
    """Its counts are all echoes, and its shares all of them."""
    rows = re.findall(r"(<?[\d.]+%)\s+([\d,]+)$", text_of(samples.bench(), 100), re.MULTILINE)
    assert sum(int(count.replace(",", "")) for _, count in rows) == 20_000
    assert sum(float(share.strip("<%")) for share, _ in rows) == pytest.approx(100, abs=0.5)


def test_a_run_without_a_single_echo() -> None:
    """Nothing came back: there is no latency to show and no division by it."""
    text = text_of(
        samples.bench(
            counts=Counts(sent=3, lost=3),
            latencies={},
            intervals=(),
            elapsed_ns=0,
            errors={"timeout": 3},
            trustworthy=False,
            caveats=("no echo came back: there is nothing to measure",),
        )
    )
    assert "3 lost (100%)" in text
    assert "no echo came back" in text
    assert "latency" not in text


def test_probes_end_as_ping_does() -> None:
    """The three lines that everybody knows."""
    text = text_of(samples.probes())
    assert "--- tcp://localhost:8000 echo statistics ---\n5 sent, 5 received, 0% loss, time 4.00 s\n" in text
    assert re.search(r"^rtt min/avg/max/stddev = 0\.\d{3}/0\.\d{3}/0\.\d{3}/0\.\d{3} ms$", text, re.MULTILINE)
    assert "connect 250 µs" in text
    assert "trustworthy" not in text


def test_probes_that_were_lost_doubled_or_overtaken() -> None:
    """Loss is a share of what was sent; the rest are counts."""
    text = text_of(
        samples.probes(
            200,
            counts=Counts(200, 198, 2, 1, 3, 4, 0, 12_800, 12_672),
            errors={"timeout": 2},
            caveats=("messages carry no number",),
        )
    )
    assert "200 sent, 198 received, 1 late, 3 duplicated, 4 reordered, 1.0% loss" in text
    assert "errors: 2 timeout" in text
    assert "messages carry no number" in text
    assert "response time" in text


def test_probes_none_of_which_came_back() -> None:
    """No rtt line is made up, and one before anything was sent has no loss."""
    text = text_of(samples.probes(counts=Counts(5, 0, 5), latencies={}))
    assert "5 sent, 0 received, 100% loss" in text
    assert "rtt" not in text
    assert "loss" not in text_of(samples.probes(counts=Counts(), latencies={}))


@pytest.mark.parametrize("summary", [samples.bench(), samples.troubled(), samples.probes(200)])
def test_a_terminal_without_unicode(summary: Summary) -> None:
    """Bars are number signs and microseconds `us`; nothing fails to encode."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    assert show(summary, console_on(stream, width=80))
    text = raw.getvalue().decode("ascii")
    assert "####" in text
    assert " us" in text
    assert "\\u" not in text


def test_text_from_a_file_cannot_command_the_terminal() -> None:
    """Escape sequences in a result are shown, not obeyed."""
    plan = {**samples.bench().plan, "target": "tcp://\x1b[2Jevil", "size": "large", "connections": 10**400}
    text = text_of(samples.bench(plan=plan, errors={"\x1b]0;x\x07": 1}, caveats=("a\nb\r",)), name="\x1b[1m")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[2Jevil" in text


@pytest.mark.parametrize("rate", [10**400, 1e300, -5, 0, True, "1k"], ids=lambda rate: str(rate)[:9])
def test_a_rate_from_a_file_that_is_none_is_left_out(rate: object) -> None:
    """The number of no run."""
    plan = {**samples.bench().plan, "rate_per_s": rate}
    assert "closed loop, 500 connections" in text_of(samples.bench(plan=plan))


def with_comparison(**changes: object) -> Summary:
    """Return a result that was compared with a baseline, as a file has it."""
    change = {"metric": "p50", "old": 100, "new": 120, "low": 1.1, "high": 1.3, "confidence": 0.99}
    told = {"changes": [change], "unknown": {}, "method": "Student's t of runs", "caveats": []}
    return samples.bench(comparison={**told, "baseline": "old.json", "allowed": 0.05, **changes})


def test_a_saved_comparison_says_what_was_allowed() -> None:
    """Other programs write 0.0 as 0."""
    assert "✘ p50 slower by more than 5%" in text_of(with_comparison())
    assert "✘ p50 slower by more than 0%" in text_of(with_comparison(allowed=0))
    assert "by more than" not in text_of(with_comparison(allowed=None))


@pytest.mark.parametrize("allowed", [0.05, None])
def test_a_comparison_of_nothing_says_why(allowed: float | None) -> None:
    """Whoever compares with a baseline is told if nothing could be, whatever else went wrong in the run."""
    reason = "nothing came back in a quarter of a run"
    summary = with_comparison(changes=[], unknown={"p50": reason}, allowed=allowed)
    lines = text_of(summary).splitlines()
    assert lines[-6:] == [
        "before      old.json",
        "now         this run",
        "",
        f"p50         not compared: {reason}",
        "",
        "· nothing could be compared",
    ]


@pytest.mark.parametrize("allowed", [[], 10**400, "much"], ids=["list", "huge", "word"])
def test_a_saved_comparison_that_says_anything_is_left_out(allowed: object) -> None:
    """As is one that is none."""
    assert text_of(with_comparison(allowed=allowed)) == text_of(samples.bench())


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def open_loop() -> Summary:
    """Return the result of an open loop with two objectives, and one by a newer netecho."""
    return samples.bench(
        plan=BenchPlan(
            Target(port=40213),
            connections=50,
            rate_per_connection=1000.0,
            arrival=Arrival.POISSON,
            stages=(Stage(SECOND, 5.0), Stage(9 * SECOND, 5.0)),
            duration_ns=None,
        ).to_json(),
        latencies={"response": samples.latencies(20_000), "service": samples.latencies(20_000, 900_000)},
        lateness={"p50": 40_000, "p99": 200_000, "max": 3_000_000},
        sending=Sending(451_300, 451_234, 10 * SECOND, 10 * SECOND, HeldBack(1_000, 66, 80_000_000)),
        slo=(
            {"expression": "p(99)<20ms", "observed": 2_300_000, "passed": True, "unit": "ns"},
            {"expression": "loss<0.1%", "observed": 0.25, "passed": False, "unit": "share"},
            {"expression": "handshake.max<1s", "observed": None, "passed": False, "unit": "ns"},
            {"expression": "calm>3", "observed": 2, "passed": False, "unit": "furlongs"},
        ),
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_an_open_loop(width: int) -> None:
    """The schedule, what became of it, both times, and each objective with what was observed."""
    text = " ".join(text_of(open_loop(), width).split())
    for words in (
        "open loop at 1.00k/s on each connection, 50 connections,",
        "poisson arrivals, in 2 stages,",
        "schedule 451,300 due at 45,130/s, left at 45,123/s, 1,000 held back (0.22%), up to 80.0 ms, "
        "66 never left",
        "lateness p50 40.0 µs, p99 200 µs, max 3.00 ms",
        "latency response service",
        "✔ p(99)<20ms: 2.30 ms, met",
        "✘ loss<0.1%: 25.0%, missed",
        "✘ handshake.max<1s: not measured, missed",
        "✘ calm>3: observed 2",
    ):
        assert words in text


def test_a_schedule_of_less_than_one_a_second() -> None:
    """Its rates keep their digits: a twentieth is not shown as a tenth, nor a thousandth as nothing."""
    for rate in ("0.05/s", "0.001/s", "0.527/s"):
        per_s = float(rate.removesuffix("/s"))
        sending = Sending(10, 10, round(10 * SECOND / per_s), SECOND)
        assert f"10 due at {rate}, left at {rate}" in text_of(samples.bench(sending=sending), 200)


@pytest.mark.parametrize("width", [26, 39, 40])
@pytest.mark.parametrize(
    "summary", [samples.bench(), samples.troubled(), open_loop()], ids=["good", "bad", "open"]
)
def test_nothing_is_cut_where_there_is_little_room(summary: Summary, width: int) -> None:
    """A word too long for its line goes on in the next, and a histogram without room is not there."""
    text = text_of(summary, width)
    assert "…" not in text
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert ("from response time" in text) is (width >= 40)


def test_a_width_of_nothing_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 0 columns is one that has not told its size."""
    as_ever = io.StringIO()
    show(samples.bench(), console_on(as_ever, width=80))
    monkeypatch.setenv("COLUMNS", "0")
    unknown = io.StringIO()
    show(samples.bench(), console_on(unknown))
    assert unknown.getvalue() == as_ever.getvalue()


def test_colour_on_a_terminal_and_none_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://no-color.org: the words are the same."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Terminal()
    show(samples.bench(), Console(file=coloured, width=80))
    assert "\x1b[1;32m" in coloured.getvalue() or "\x1b[32m" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    show(samples.bench(), Console(file=plain, width=80))
    assert not re.search(r"\x1b\[[\d;]*3\d[;m]", plain.getvalue())


@given(st.lists(st.one_of(st.integers(1, 10**12), st.integers(10**6, 10**6 + 99)), min_size=1, max_size=300))
def test_histogram_rows_hold_every_sample_in_few_rows(values: list[int]) -> None:
    """Rows rise, are few, and add up, whatever the shape."""
    rows = bars.rows(Histogram.of(values))
    starts = [row.start_ns for row in rows if row.start_ns is not None]
    assert starts == sorted(set(starts))
    assert sum(row.count for row in rows) == len(values)
    assert len(rows) <= bars.MOST_ROWS + 2


def test_an_outlier_does_not_squeeze_the_rest() -> None:
    """The body keeps its rows; what lies beyond has one."""
    histogram = Histogram.of([*range(1_000_000, 1_999_000, 100), 5_000_000_000, 3])
    rows = bars.rows(histogram)
    assert len(rows) > 6
    assert (rows[0].start_ns, rows[0].count) == (None, 1)
    assert (rows[-1].open_ended, rows[-1].count) == (True, 1)


def test_bars_and_sparklines() -> None:
    """What is not nothing shows, and the largest is full."""
    assert bars.bar(0, 8, ascii_only=False) == ""
    assert bars.bar(1, 8, ascii_only=False) == "████████"
    assert bars.bar(1e-9, 8, ascii_only=False) == "▏"
    assert bars.bar(1e-9, 8, ascii_only=True) == "#"
    assert bars.sparkline([0, 50, 100], ascii_only=False) == "▁▅█"
    assert bars.sparkline([0, 100], ascii_only=True) == "_#"
    assert bars.sparkline([0, 0], ascii_only=True) == "__"
    assert bars.condense([1, 3, 5, 7, 9], 3) == [2, 6, 9]
    assert bars.condense([], 3) == []


JITTER = Jitter(20_000 * 40_000, 20_000, 90_000)
DATAGRAMS: dict[str, Any] = {
    "counts": Counts(20_100, 20_000, 100, 10, 3, 20, 1),
    "errors": {"timeout": 100},
    "jitter": JITTER,
    "distributions": {
        "extent": Histogram.of([1] * 19 + [1234]),
        "variation": Histogram.of([5000] * 99 + [7_000_000]),
    },
}
REFLECTED: dict[str, Any] = {
    **DATAGRAMS,
    "distributions": {
        **DATAGRAMS["distributions"],
        **{name: Histogram.of([time] * 50) for name, time in (("out", 30), ("back", 20), ("dwell", 10))},
    },
    "reflected": Reflected(Losses(60, 29, 1), Offset(-2000, 500), False, None, 0, {64: 20_000}),
}


@pytest.mark.parametrize("sample", [samples.bench, samples.probes])
def test_what_a_path_does_to_datagrams(sample: Any) -> None:
    """How far they were reordered, how their delays vary, and the jitter: of a load and of probes."""
    text = " ".join(text_of(sample(**DATAGRAMS), 120).split())
    assert "10 late, 3 duplicated, 20 reordered, 1 corrupted" in text
    assert "reordered 20 (0.1%), by p50 1, max 1,234 places" in text
    assert "variation p50 5.00 µs, p99 5.00 µs, max 7.00 ms between neighbours" in text
    assert "jitter 40.0 µs on average, 90.0 µs on the worst flow" in text
    assert "on the way" not in text
    few = {**DATAGRAMS, "distributions": {"variation": Histogram.of([1_000, 2_000])}}
    assert " p50 1.00 µs, max 2.00 µs between neighbours" in text_of(sample(**few), 120)


@pytest.mark.parametrize("sample", [samples.bench, samples.probes])
def test_what_a_reflector_tells(sample: Any) -> None:
    """On which way exchanges were lost, where it is known; and the delay each way."""
    text = " ".join(text_of(sample(**REFLECTED), 120).split())
    assert "lost 60 on the way out, 29 on the way back, 1 on a way that is not known" in text
    if sample is samples.probes:
        assert "p50 of out 30 ns, back 20 ns, dwell 10 ns" in text
    else:
        assert re.search(r"latency response connect out back dwell", text)
    unknown = {**REFLECTED, "reflected": Reflected(Losses(unknown=90), None, False, None, 0, {})}
    assert "on the way" not in text_of(sample(**unknown), 120)


def test_a_stream_that_takes_nothing() -> None:
    """Rich writes to it even what is captured; the error is the one that any output has."""

    class Full(io.StringIO):
        name = "<stdout>"

        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"^standard output cannot be written: no space left on device$"):
        show(samples.bench(), console_on(Full()))
