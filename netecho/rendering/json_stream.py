"""Events as lines of JSON, of a run or of a server.

A server has neither progress nor a result: it does not load what they are made of.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

from netecho.rendering.streams import write_out

if TYPE_CHECKING:
    from netecho.measure.progress import Progress
    from netecho.measure.summary import Summary


class JSONStream:
    """One JSON object on each line: every interval as it ends, and the result at last."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def update(self, progress: Progress) -> None:
        """Write an `interval` event, if one has ended."""
        if progress.interval is not None:
            self.event(
                "interval",
                phase=progress.phase,
                **progress.interval.to_json(),
                connections_open=progress.connections_open,
            )

    def finish(self) -> None:
        """Do nothing: every line is whole."""

    def result(self, summary: Summary) -> None:
        """Write the `result` event."""
        self.event("result", result=summary.to_json())

    def event(self, name: str, /, **particulars: Any) -> bool:
        """Write any event; return whether anybody is still there to read it."""
        line = json.dumps({"event": name, **particulars}, allow_nan=False)
        return write_out(f"{line}\n", self._stream)
