"""A result as text, for those who want one: with it comes Rich, which JSON has no need of."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from netecho.measure.summary import Summary


def result_view(stream: IO[str]) -> Callable[[Summary], bool]:
    """Return what shows a result on a stream, and returns whether anybody is still there to read it.

    It imports what it needs now: a run that is to be shown may leave no descriptor to open a file with.
    """
    from netecho.rendering.console import console_on
    from netecho.rendering.text import show

    return lambda summary: show(summary, console_on(stream))
