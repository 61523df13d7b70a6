"""How far to trust a result, and what became of its objectives, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from netecho.measure.slo import Unit, Verdict
from netecho.measure.summary import Summary
from netecho.rendering.streams import escape


def marks(summary: Summary) -> RenderableType:
    """Return a line for each objective, for whether to trust the result, and for each caveat."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for objective in summary.slo:
        passed = objective.get("passed") is True
        grid.add_row(
            Text("✔", "green") if passed else Text("✘", "bold red"),
            Text(_objective(objective)),
        )
    if summary.trustworthy:
        text = Text("trustworthy", "green")
        if summary.cpu_share is not None:
            who = "the client" if summary.workers == 1 else f"the busiest of {summary.workers} workers"
            text.append(f": {who} used {summary.cpu_share:.0%} of a processor", style="default")
        grid.add_row(Text("✔", "green"), text)
    else:
        grid.add_row(Text("✘", "bold red"), Text("not trustworthy", "bold red"))
    for caveat in summary.caveats:
        grid.add_row(Text("·", "yellow"), Text(escape(caveat)))
    return grid


def _objective(objective: Mapping[str, Any]) -> str:
    """Return an objective and what became of it, which may have come from a file that says anything."""
    try:
        verdict = Verdict(**{**objective, "unit": Unit(objective["unit"])})
        return escape(str(verdict))
    except (KeyError, TypeError, ValueError, OverflowError):
        return f"{escape(objective.get('expression'))}: observed {escape(objective.get('observed'))}"
