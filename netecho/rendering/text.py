"""A result as a person reads it on a terminal: what was run, what came of it, and how far to trust it.

Rows that have nothing to say are not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.comparison import Comparison
from netecho.measure.pauses import Pauses
from netecho.measure.responsiveness import LoadedLatency
from netecho.measure.sending import Sending
from netecho.measure.setup import PIECES
from netecho.measure.summary import Summary
from netecho.measure.trials import Found
from netecho.rendering import bars, capacity, comparison, datagrams, latencies, loaded_latency, verdict
from netecho.rendering.console import print_to
from netecho.rendering.plan import opened, what_was_run, whole_number
from netecho.rendering.streams import escape, speaks_unicode

_LABEL_WIDTH: Final = 11
_SERIES_WIDTH: Final = 30
_FEWEST_INTERVALS: Final = 4
_SLIVER_SHARE: Final = 0.1
"""Below this share of an interval, what is left after the last whole one says nothing of the rate."""


def show(summary: Summary, console: Console, *, name: str | None = None) -> bool:
    """Print a result; return whether anybody was still there to read it.

    Args:
        summary: the result.
        console: where to; its width, its colours and its stream's encoding are kept to.
        name: the file it was read from, which stands above it.
    """
    parts: list[RenderableType] = [] if name is None else [Text(f"{escape(name)}:", style="bold"), ""]
    parts += client_parts(summary, console) if summary.command == "client" else bench_parts(summary, console)
    return print_to(console, *parts)


def bench_parts(summary: Summary, console: Console) -> Iterator[RenderableType]:
    """Return what is shown of a load test, from top to bottom."""
    yield _headline(summary)
    yield Text(what_was_run(summary.plan), style="dim")
    yield ""
    yield _facts(summary, console)
    if summary.latencies:
        yield ""
        yield latencies.statistics_and_histogram(summary, console)
    yield ""
    yield verdict.marks(summary)
    yield from _search(summary)
    yield from _loaded_latency(summary)
    yield from _comparison(summary)


def client_parts(summary: Summary, console: Console) -> Iterator[RenderableType]:
    """Return what is shown after a series of probes: first the lines that `ping` has taught everyone."""
    counts = summary.counts
    yield Text(f"--- {_target(summary)} echo statistics ---", style="bold")
    words = [f"{counts.sent:,} sent", f"{counts.completed:,} received"]
    words += _irregularities(summary)
    words += [f"{humanise.share(counts.lost, counts.sent)} loss"] if counts.sent else []
    yield Text(", ".join([*words, f"time {humanise.duration(summary.elapsed_ns)}"]))
    response = summary.latencies.get("response")
    statistics = response.to_json() if response is not None else None
    if response is not None and statistics is not None:
        milliseconds = "/".join(f"{statistics[key] / 1e6:.3f}" for key in ("min", "mean", "max", "stddev"))
        yield Text(f"rtt min/avg/max/stddev = {milliseconds} ms")
        meaningful = [key for key in latencies.meaningful(response) if key.startswith("p")]
        if meaningful:
            yield Text("  ".join(f"{key} {humanise.duration(statistics[key])}" for key in meaningful))
    set_up = [
        f"{name.replace('_', ' ')} {humanise.duration(one.at_percentile(50))}"
        for name, one in summary.latencies.items()
        if name in PIECES
    ]
    if set_up:
        yield Text(", ".join(set_up), style="dim")
    if summary.statuses:
        yield Text(f"statuses: {_words(summary.statuses)}", style="dim")
    for name, said in datagrams.rows(summary):
        yield Text(f"{name} {said}")
    if summary.reflected is not None:
        yield from _ways(summary)
    if summary.errors:
        yield Text(f"errors: {_words(summary.errors)}", style="red")
    if response is not None:
        yield from latencies.histogram_below(response, console)
    if summary.caveats or summary.slo:
        yield ""
        yield verdict.marks(summary)


def _ways(summary: Summary) -> Iterator[Text]:
    """Return the medians of the delay each way, and of the reflector's own time."""
    medians = [
        f"{name} {humanise.duration(one.at_percentile(50))}"
        for name in latencies.WAYS
        if (one := summary.distribution(name)) is not None
    ]
    if medians:
        yield Text(f"p50 of {', '.join(medians)}")


def _headline(summary: Summary) -> Text:
    text = Text.assemble(
        (f"netecho {escape(summary.command)}", "bold"), "  ", (_target(summary), "bold cyan")
    )
    if summary.plan.get("embedded") is True:
        text.append("  a server of its own", style="dim")
    if summary.interrupted:
        text.append("  interrupted", style="bold yellow")
    return text


def _target(summary: Summary) -> str:
    return escape(summary.plan.get("target", "?"))


def _facts(summary: Summary, console: Console) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("rate", _rate(summary))
    series = _rates_over_time(summary)
    if len(series) >= _FEWEST_INTERVALS:
        drawn = bars.sparkline(
            bars.condense(series, _SERIES_WIDTH), ascii_only=not speaks_unicode(console.file)
        )
        text = Text.assemble(
            (drawn, "cyan"), f"  {humanise.rate(min(series))} to {humanise.rate(max(series))}"
        )
        grid.add_row("over time", text)
    grid.add_row("exchanges", _exchanges(summary))
    if summary.statuses:
        grid.add_row("statuses", Text(_words(summary.statuses)))
    if summary.errors:
        grid.add_row("errors", Text(_words(summary.errors), style="red"))
    if summary.sending is not None:
        grid.add_row("schedule", _schedule(summary.sending))
        if summary.lateness is not None:
            grid.add_row("lateness", _lateness(summary.lateness))
    for name, words in datagrams.rows(summary):
        grid.add_row(name, words)
    grid.add_row("connections", _connections(summary))
    if summary.warmup is not None and summary.warmup.sent:
        grid.add_row("warm-up", f"{humanise.count(summary.warmup.sent, 'exchange')}, not counted above")
    return grid


def _rates_over_time(summary: Summary) -> list[float]:
    """Return the rate of each interval that says something of it.

    The wait for the last echoes does not: nothing was due in it.
    """
    longest_ns = max((interval.length_ns for interval in summary.intervals), default=0)
    end_ns = _end_ns(summary)
    return [
        interval.exchanges_per_s
        for interval in summary.intervals
        if interval.length_ns >= longest_ns * _SLIVER_SHARE
        and interval.start_ns + interval.length_ns / 2 <= end_ns
    ]


def _end_ns(summary: Summary) -> float:
    """Return when nothing was due any more; infinity if there is no such time.

    A closed loop, alone or beside a schedule, goes on for as long as its rate counts. What was added up of
    runs one after the other has no one end, and nothing of the wait after each.
    """
    if Pauses(summary.intervals).total_ns:
        return math.inf
    sending = summary.sending
    if sending is None or summary.counts.sent > sending.due:
        return summary.elapsed_ns
    return max(sending.planned_ns, sending.took_ns)


def _rate(summary: Summary) -> Text:
    rate = summary.exchanges_per_s
    shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
    kind = opened(summary.plan)
    text = Text.assemble((shown, "bold green" if rate else "bold red"), f" {kind or 'exchanges'}/s")
    if summary.elapsed_ns and kind is None:
        out, back = (f"{humanise.size(each * 1e9 / summary.elapsed_ns)}/s" for each in _bytes(summary))
        text.append(f", {out} each way" if out == back else f", {out} out, {back} back", style="dim")
    return text


def _bytes(summary: Summary) -> tuple[int, int]:
    """Return how many bytes went out and came back, with what the protocol adds to each payload."""
    counts = summary.counts
    overhead = whole_number(summary.plan, "overhead") or 0
    answers = counts.completed + counts.late + counts.duplicated
    return counts.bytes_sent + overhead * counts.sent, counts.bytes_received + overhead * answers


def _exchanges(summary: Summary) -> Text:
    counts = summary.counts
    text = Text(f"{counts.sent:,} sent, {counts.completed:,} completed")
    if counts.lost:
        share = humanise.share(counts.lost, counts.sent)
        text.append(", ").append(f"{counts.lost:,} lost ({share})", style="bold red")
    if counts.in_flight > 0:
        text.append(f", {counts.in_flight:,} in flight at the end")
    for words in _irregularities(summary):
        text.append(", ").append(words, style="yellow")
    return text.append(f" in {humanise.duration(summary.elapsed_ns)}", style="dim")


def _schedule(sending: Sending) -> Text:
    """Return what was due, and what became of it."""
    text = Text(f"{sending.due:,} due at {_exactly(sending.asked_per_s)}, left at ")
    text.append(_exactly(sending.achieved_per_s))
    held_back = sending.held_back
    if held_back.count:
        share, longest = humanise.share(held_back.count, sending.due), humanise.duration(held_back.longest_ns)
        text.append(", ").append(f"{held_back.count:,} held back ({share}), up to {longest}", style="yellow")
    if held_back.unsent:
        text.append(", ").append(f"{held_back.unsent:,} never left", style="bold red")
    return text


def _exactly(per_second: float) -> str:
    """Return a rate with the digits that tell one that was kept from one that was nearly kept."""
    if per_second < 1:
        return f"{per_second:.3g}/s"
    return f"{per_second:,.1f}/s" if per_second < 1000 else f"{per_second:,.0f}/s"


def _lateness(lateness: Mapping[str, int]) -> str:
    """Return by how much exchanges left after they were due that were not held back."""
    return ", ".join(f"{key} {humanise.duration(lateness[key])}" for key in ("p50", "p99", "max"))


def _irregularities(summary: Summary) -> list[str]:
    counts = summary.counts
    kinds = ("late", "duplicated", "reordered", "corrupted")
    return [f"{number:,} {kind}" for kind in kinds if (number := getattr(counts, kind))]


def _words(counted: Mapping[str, int]) -> str:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {escape(kind)}" for kind, number in ordered)


def _connections(summary: Summary) -> Text:
    connections = summary.connections
    text = Text(f"{connections.opened:,} opened")
    if connections.opened != connections.requested and opened(summary.plan) is None:
        text = Text(f"{connections.opened:,} of {connections.requested:,} opened", style="bold red")
    for number, word in ((connections.failed, "failed"), (connections.lost, "lost")):
        if number:
            text.append(", ", style="default").append(f"{number:,} {word}", style="bold red")
    if connections.reopened:
        text.append(f", {connections.reopened:,} opened again", style="default")
    if connections.churned:
        text.append(f", {connections.churned:,} closed at their age and opened anew", style="default")
    return text


def _search(summary: Summary) -> Iterator[RenderableType]:
    """Yield the search for the highest rate, if there is one that can be read."""
    try:
        found = None if summary.search is None else Found.from_json(summary.search)
    except ValueError:  # it has come from a file that says anything
        return
    if found is not None:
        yield ""
        yield from capacity.parts(found)


def _loaded_latency(summary: Summary) -> Iterator[RenderableType]:
    """Yield what probes came to under load, if there were any and it can be read."""
    told = summary.loaded_latency
    try:
        latency = None if told is None else LoadedLatency.from_json(told)
    except ValueError:  # it has come from a file that says anything
        return
    if latency is not None:
        yield ""
        yield from loaded_latency.parts(latency)


def _comparison(summary: Summary) -> Iterator[RenderableType]:
    """Yield the comparison with a baseline, if there is one that can be read."""
    told = summary.comparison
    if told is None:
        return
    try:
        read, allowed = Comparison.from_json(told), told.get("allowed")
        share = None if allowed is None else float(allowed)
    except (ValueError, TypeError, OverflowError):  # it has come from a file that says anything
        return
    yield ""
    yield from comparison.parts(read, (str(told.get("baseline")), "this run"), share)
