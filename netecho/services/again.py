"""How netecho starts itself once more, as a worker or as a server of its own."""

from __future__ import annotations

import os
import sys


def command(*arguments: str) -> list[str]:
    """Return the command line of a child that runs this very netecho.

    `-m` alone would have Python look for all modules in the current directory first, and find a `random.py`
    that somebody keeps there. So it may look there only if this process does.
    """
    return [sys.executable, *([] if _looks_here() else ["-P"]), "-m", "netecho", *arguments]


def _looks_here() -> bool:
    try:
        return not {"", os.getcwd()}.isdisjoint(sys.path)
    except FileNotFoundError:  # the directory has been removed
        return "" in sys.path
