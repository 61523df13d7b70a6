"""The README has a row for each event that `--json-stream` tells of, those of peers apart."""

from __future__ import annotations

import re

from tests.servers import ROOT

TELLS = re.compile(r'(?:\.event|_on_worker)\(\s*"(\w+)"')
"""How an event is written out, or how it is told of a worker."""


def test_events_are_documented() -> None:
    """Whoever reads the stream by a program is told of what may come, and of nothing else."""
    written = {
        name for file in (ROOT / "netecho").rglob("*.py") for name in TELLS.findall(file.read_text("utf-8"))
    }
    _, _, rest = (ROOT / "README.md").read_text("utf-8").partition("| event | of | says |\n")
    table, _, _ = rest.partition("\n\n")
    rows = [line.split(" | ")[0] for line in table.splitlines()[1:]]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == written
