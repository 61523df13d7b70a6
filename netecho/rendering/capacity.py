"""A search for the highest rate, as people read it: each run as it ends, and all of them with the answer."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from netecho.measure import humanise
from netecho.measure.trials import Found, Trial
from netecho.rendering.streams import escape


def trial_line(number: int, trial: Trial) -> str:
    """Return what is said of a run when it has ended: `step 3: 4k/s missed (p(99)<10ms: 23.4 ms, missed)`."""
    words = trial.observed if trial.held else trial.reasons
    outcome = "held" if trial.held else "missed"
    return f"step {number}: {humanise.rate(trial.rate)} {outcome} ({escape('; '.join(words))})"


def parts(found: Found) -> Iterator[RenderableType]:
    """Return what is shown of a search, from top to bottom."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("asked for", "left at", "", "", style="dim")
    for trial in found.trials:
        words = trial.observed if trial.held else trial.reasons
        table.add_row(
            humanise.rate(trial.rate),
            humanise.rate(trial.achieved),
            Text("held", "green") if trial.held else Text("missed", "bold red"),
            Text(escape("; ".join(words)), "dim"),
        )
    yield table
    yield ""
    held = found.rate is not None and found.confirmed
    verdict = Table.grid(padding=(0, 1, 0, 0))
    verdict.add_column(no_wrap=True)
    verdict.add_column(overflow="fold")
    verdict.add_row(Text("✔", "green") if held else Text("✘", "bold red"), Text(escape(found.words), "bold"))
    if found.limited_by == "client":
        verdict.add_row(Text("✘", "bold red"), Text("it is the limit of this client", "bold red"))
    yield verdict
