"""`bench --baseline`: the old results that a run is compared with, and what comes of it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from netecho.commands.report import check_runs, label_of, read
from netecho.errors import NetechoError, UsageError
from netecho.measure.comparison import compare, too_short, unlike
from netecho.measure.summary import Summary
from netecho.plans import BenchPlan


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Results of runs that were made before."""

    name: str
    """Of their file."""
    summaries: Sequence[Summary]
    allowed: float | None
    """By what share a run may be slower: 0.05 is 5 %. `None` if that is no matter."""

    @classmethod
    def open(cls, name: str | None, allowed: float | None, plan: BenchPlan) -> Self | None:
        """Read a file of results; return `None` if none is named.

        Args:
            name: the file, `-` for standard input.
            allowed: by what share the run may be slower.
            plan: of the run.

        Raises:
            UsageError: there are no results in it, or none that a run of this plan could be compared with.
        """
        if name is None:
            if allowed is not None:
                raise UsageError("--fail-on-regression needs --baseline: something to be slower than")
            return None
        summaries = read(name, sys.stdin)
        if any(one.command != "bench" for one in summaries):
            raise UsageError(f"{label_of(name)} is no baseline of a bench: client wrote it")
        check_runs(name, summaries)
        with_itself = compare(summaries, summaries)
        if not with_itself.changes:
            reason = next(iter(with_itself.unknown.values()))
            raise UsageError(f"{label_of(name)} cannot be a baseline: {reason}")
        if short := too_short(summaries, plan.length_ns):
            raise UsageError(short)
        return cls(name, summaries, allowed)

    def doubts(self, plan: BenchPlan, system: Mapping[str, Any]) -> str | None:
        """Return how a run is going to be otherwise than these were, in a line; `None` if it is not."""
        planned = dataclasses.replace(
            self.summaries[0], plan=plan.to_json(), system=system, version=Summary.version
        )
        differences = unlike(self.summaries, [planned])
        if not differences:
            return None
        return f"this run is not made as {label_of(self.name)} was: {', '.join(differences)}"

    def compare(self, summary: Summary) -> Summary:
        """Return a result with its comparison with these."""
        comparison = compare(self.summaries, [summary])
        return dataclasses.replace(summary, comparison=comparison.judged(self.name, self.allowed))

    def check_compared(self, summary: Summary) -> None:
        """Check that there was something to compare.

        Raises:
            NetechoError: there was not.
        """
        comparison = summary.comparison
        if comparison is not None and not comparison["changes"]:
            reason = next(iter(comparison["unknown"].values()))
            raise NetechoError(f"the run cannot be compared with {label_of(self.name)}: {reason}")
