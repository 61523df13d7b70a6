"""What is seen while a run goes on, and what `serve` and the probes say as they go."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import os

import pytest

from netecho.measure.counts import Counts, Outcome
from netecho.measure.intervals import IntervalSummary
from netecho.measure.progress import Phase, ProbeReply, Progress
from netecho.plans import SECOND
from netecho.protocols._listener import Totals
from netecho.rendering.console import console_on
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.live import PlainProgress, Quiet, progress_view
from netecho.rendering.probes import ProbeLines, ProbeStream
from netecho.rendering.server import ServerJSON, ServerText
from netecho.rendering.terminal import LiveView
from tests import samples
from tests.test_rendering_text import Terminal

INTERVAL = IntervalSummary(
    2 * SECOND, SECOND, 45_100, 2, {"p50": 1_020_000, "p99": 4_100_000, "max": 9_800_000}
)


def at(
    phase: Phase, second: float, interval: IntervalSummary | None = None, *, opened: int = 500
) -> Progress:
    """Return a moment of a run of ten seconds."""
    return Progress(
        phase=phase,
        elapsed_ns=int(second * SECOND),
        total_ns=None if phase == "connecting" else 10 * SECOND,
        completed=100_000,
        total=None,
        interval=interval,
        counts=Counts(sent=100_500, completed=100_000),
        connections_open=opened,
        errors={"timeout": 2} if interval else {},
        connections_requested=500,
    )


def test_plain_lines_for_a_pipe() -> None:
    """A line for each phase and interval, not for the redrawing in between; what is open if that changes."""
    stream = io.StringIO()
    view = PlainProgress(stream)
    for progress in (
        at("connecting", 0, opened=0),
        at("connecting", 0.1, opened=20),
        at("connecting", 1.2, opened=300),
        at("warm-up", 0),
        at("warm-up", 1, INTERVAL),
        at("measuring", 0),
        at("measuring", 0.1),
        at("measuring", 3, INTERVAL),
        at("measuring", 4, INTERVAL, opened=480),
        at("measuring", 5, INTERVAL, opened=480),
    ):
        view.update(progress)
    view.finish()
    line = "45.1k/s  p50 1.02 ms  p99 4.10 ms  max 9.80 ms  errors 2"
    assert stream.getvalue().splitlines() == [
        "connecting: 0 of 500 open",
        "connecting: 300 of 500 open",
        "warm-up",
        f"  1.0s  {line}  (warm-up)",
        "measuring",
        f"  3.0s  {line}",
        f"  4.0s  {line}  480 open",
        f"  5.0s  {line}",
    ]


def test_plain_lines_of_an_interval_in_which_nothing_came() -> None:
    """There are no percentiles of nothing."""
    stream = io.StringIO()
    PlainProgress(stream).update(at("measuring", 1, IntervalSummary(0, SECOND, 0, 0, None)))
    assert stream.getvalue().split() == ["1.0s", "0/s", "errors", "0"]


def test_what_is_left_at_the_end_is_for_machines() -> None:
    """It has no line, and no rate on a terminal; the stream of events has it, so that they add up."""
    left = dataclasses.replace(at("finishing", 3.1, INTERVAL), whole=False)
    plain, events, terminal = io.StringIO(), io.StringIO(), Terminal()
    for view in (PlainProgress(plain), JSONStream(events), LiveView(console_on(terminal, width=80))):
        view.update(left)
    assert (plain.getvalue(), terminal.getvalue()) == ("", "")
    (event,) = lines_of(events)
    assert (event["phase"], event["completed"]) == ("finishing", 45_100)


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    writes = 0

    def write(self, text: str) -> int:
        """Fail as the system does."""
        self.writes += 1
        raise BrokenPipeError


def test_a_reader_who_has_gone_is_not_written_to_again() -> None:
    """Quietly: the run goes on."""
    stream = Gone()
    view = PlainProgress(stream)
    view.update(at("measuring", 1, INTERVAL))
    view.update(at("measuring", 2, INTERVAL))
    assert stream.writes == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no disk that is always full")
def test_progress_that_cannot_be_written_ends_no_run() -> None:
    """The run goes on to its result, in which all is that its progress would have told."""
    with open("/dev/full", "w") as full:
        view = PlainProgress(full)
        view.update(at("measuring", 3, INTERVAL))
        view.update(at("measuring", 4, INTERVAL))
        view.finish()


def test_the_view_suits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn again only where the cursor moves: screen readers and pipes get lines."""
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_view(Terminal()), LiveView)
    assert isinstance(progress_view(io.StringIO()), PlainProgress)
    assert isinstance(progress_view(Terminal(), quiet=True), Quiet)
    assert isinstance(progress_view(None), Quiet)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(progress_view(io.StringIO()), PlainProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_view(Terminal()), PlainProgress)


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither on a stream of its own nor on the process's."""
    view = Quiet()
    view.update(at("measuring", 1, INTERVAL))
    view.finish()
    assert capfd.readouterr() == ("", "")


def test_the_live_view_on_a_terminal_without_unicode() -> None:
    """Microseconds are `us`, as in the result."""
    console = console_on(io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)
    progress = dataclasses.replace(at("measuring", 3), response=lambda: {"p50": 89_200})
    drawing = LiveView(console).drawing(progress)
    assert "p50 89.2 us" in "".join(segment.text for segment in console.render(drawing))


def test_the_live_view_draws_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress, rate, percentiles and errors; at the end the cursor is back and the lines are gone."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    view = LiveView(console_on(stream, width=80))
    view.update(at("connecting", 0.5, opened=120))
    assert "120 of 500" in stream.getvalue()
    view.update(at("measuring", 3, INTERVAL))
    drawn = stream.getvalue()
    for words in ("measuring", "3.0 of 10 s", "45.1k/s", "500 open", "2 timeout", "1.02 ms", "9.80 ms"):
        assert words in drawn
    view.finish()
    view.finish()
    assert stream.getvalue().endswith("\x1b[1A\x1b[2K") or "\x1b[?25h" in stream.getvalue()[len(drawn) :]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress("measuring", SECOND, None, 40, 100, None, Counts(), 1), "40 of 100"),
        (Progress("finishing", SECOND, None, 40, None, None, Counts(), 1), "1.0 s"),
        (
            Progress(
                "measuring",
                SECOND,
                None,
                4,
                None,
                None,
                Counts(),
                1,
                response=lambda: {"p50": 7, "p99": 8, "max": 9},
            ),
            "p99 8 ns",
        ),
    ],
)
def test_the_live_view_of_a_run_with_another_end(progress: Progress, words: str) -> None:
    """Runs end by a count, by time, or when the last exchange has come back."""
    console = console_on(io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(LiveView(console).drawing(progress))
    assert words in captured.get()


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    """Return the objects that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_json_stream_is_an_object_for_each_line() -> None:
    """Intervals as they end, then the result; nothing between intervals."""
    stream = io.StringIO()
    view = JSONStream(stream)
    view.update(at("measuring", 2.5))
    view.update(at("measuring", 3, INTERVAL))
    view.finish()
    view.result(samples.bench())
    interval, result = lines_of(stream)
    assert interval == {
        "event": "interval",
        "phase": "measuring",
        **INTERVAL.to_json(),
        "connections_open": 500,
    }
    assert result == {"event": "result", "result": samples.bench().to_json()}


TOTALS = Totals(
    connections=3,
    open=1,
    refused=2,
    cut=1,
    bytes_received=2048,
    bytes_sent=1024,
    datagrams_received=5,
    datagrams_sent=4,
    dropped=collections.Counter({"low port": 1}),
)


def test_what_serve_says() -> None:
    """Where it listens and what it did on stdout; comings and goings on stderr, if asked for."""
    stdout, stderr = io.StringIO(), io.StringIO()
    view = ServerText(stdout, stderr, verbose=True)
    view.listening("tcp://127.0.0.1:8000")
    view.listening("tls://127.0.0.1:8443", ca="/tmp/ca.pem", fingerprint="AB:CD")
    view.event("connected", {"peer": "127.0.0.1:5\x1b[2J", "tls": None})
    view.event(
        "disconnected", {"length_ns": 1_240_000, "bytes_sent": 2048, "reason": "it left", "clean": True}
    )
    view.dropped(1)
    view.dropped(1234)
    view.stopped(TOTALS)
    assert stdout.getvalue().splitlines() == [
        "listening on tcp://127.0.0.1:8000",
        "listening on tls://127.0.0.1:8443",
        "  CA certificate /tmp/ca.pem",
        "  SHA-256 AB:CD",
        "served 3 connections, 2 refused, 1 cut off, 5 datagrams received, 4 answered, "
        "1 dropped (low port), 2.00 KiB in, 1.00 KiB out",
    ]
    assert stderr.getvalue().splitlines() == [
        "connected peer=127.0.0.1:5\\x1b[2J",
        'disconnected length=1.24ms bytes_sent=2.00KiB reason="it left" clean=True',
        "1 line dropped: what was written before was not read in time",
        "1,234 lines dropped: what was written before was not read in time",
    ]


def test_serve_without_verbose_has_no_events_and_only_totals_that_speak() -> None:
    """A stream server does not talk of datagrams."""
    stdout, stderr = io.StringIO(), io.StringIO()
    view = ServerText(stdout, stderr)
    view.event("connected", {})
    view.stopped(Totals(connections=1))
    assert (stdout.getvalue(), stderr.getvalue()) == ("served 1 connection, 0 B in, 0 B out\n", "")


def test_what_serve_says_to_a_machine() -> None:
    """The same as JSON; scripts wait for `listening`."""
    stream = io.StringIO()
    for verbose in (True, False):
        view = ServerJSON(stream, verbose=verbose)
        view.event("connected", {"peer": "[::1]:5"})
    view.listening("tcp://127.0.0.1:8000")
    view.dropped(7)
    view.stopped(TOTALS)
    connected, listening, dropped, stopped = lines_of(stream)
    assert dropped == {"event": "events_dropped", "events": 7}
    assert connected == {"event": "connected", "peer": "[::1]:5"}
    assert listening == {"event": "listening", "url": "tcp://127.0.0.1:8000", "ca": None, "fingerprint": None}
    assert (stopped["event"], stopped["connections"], stopped["dropped"]) == ("stopped", 3, {"low port": 1})


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (
            ProbeReply(3, Outcome.COMPLETED, 64, 1_230_000),
            "64 bytes from 127.0.0.1:8000: seq=3 time=1.23 ms",
        ),
        (ProbeReply(4, None, 64, None), "seq=4 lost (no reply within 5 s)"),
        (ProbeReply(4, None, 64, None, "connection lost"), "seq=4 lost (connection lost)"),
        (
            ProbeReply(4, Outcome.LATE, 1, 6_000_000_000),
            "1 byte from 127.0.0.1:8000: seq=4 time=6.00 s late (counted as lost)",
        ),
        (ProbeReply(3, Outcome.DUPLICATED, 64, None), "64 bytes from 127.0.0.1:8000: seq=3 duplicate"),
        (
            ProbeReply(3, Outcome.CORRUPTED, 64, 900),
            "64 bytes from 127.0.0.1:8000: seq=3 time=900 ns corrupted (not what was sent)",
        ),
        (
            ProbeReply(None, Outcome.STRAY, 9, None),
            "9 bytes from 127.0.0.1:8000: stray (answers nothing that was sent)",
        ),
    ],
)
def test_a_line_for_each_probe(reply: ProbeReply, line: str) -> None:
    """Every outcome has its words, in ping's manner."""
    stream = io.StringIO()
    assert ProbeLines(stream, "127.0.0.1:8000", 5 * SECOND).reply(reply)
    assert stream.getvalue() == f"{line}\n"


@pytest.mark.parametrize(("outcome", "size"), [(Outcome.COMPLETED, "108 bytes"), (Outcome.STRAY, "64 bytes")])
def test_what_the_protocol_adds_is_in_a_line(outcome: Outcome, size: str) -> None:
    """As `ping` has it; of what is no answer, all of it is said already."""
    lines = ProbeLines(None, "127.0.0.1:862", 5 * SECOND, overhead=44)
    assert lines.line(ProbeReply(3, outcome, 64, 9)).startswith(f"{size} from 127.0.0.1:862: seq=3")


def test_probes_for_a_machine() -> None:
    """A lost probe is an event like the others."""
    stream = io.StringIO()
    view = ProbeStream(stream)
    assert view.reply(ProbeReply(3, Outcome.COMPLETED, 64, 1_230_000))
    assert view.reply(ProbeReply(4, None, 64, None))
    assert lines_of(stream) == [
        {
            "event": "reply",
            "sequence": 3,
            "outcome": "completed",
            "size": 64,
            "time_ns": 1_230_000,
            "reason": None,
        },
        {"event": "reply", "sequence": 4, "outcome": "lost", "size": 64, "time_ns": None, "reason": None},
    ]
