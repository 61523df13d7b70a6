"""A line for each probe, in the way of `ping`."""

from __future__ import annotations

import typing
from typing import IO

from netecho.measure import humanise
from netecho.measure.counts import Outcome
from netecho.measure.progress import ProbeReply
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.streams import escape, write_out

_REMARKS = {
    Outcome.COMPLETED: "",
    Outcome.CORRUPTED: " corrupted (not what was sent)",
    Outcome.LATE: " late (counted as lost)",
    Outcome.DUPLICATED: " duplicate",
    Outcome.STRAY: " stray (answers nothing that was sent)",
}


class ProbeView(typing.Protocol):
    """Shows what becomes of each probe."""

    def reply(self, reply: ProbeReply) -> bool:
        """Show one; return whether anybody is still there to read it."""


class ProbeLines:
    """Lines for a person: `64 bytes from 127.0.0.1:8000: seq=3 time=1.23 ms`.

    Args:
        stream: where to.
        source: whom the replies come from.
        timeout_ns: after which a probe is given up.
        overhead: bytes that the protocol adds to each payload.
    """

    def __init__(self, stream: IO[str] | None, source: str, timeout_ns: int, overhead: int = 0) -> None:
        self._stream = stream
        self._source = source
        self._overhead = overhead
        self._timeout = humanise.span(timeout_ns)

    def reply(self, reply: ProbeReply) -> bool:
        """Write a line."""
        return write_out(f"{self.line(reply)}\n", self._stream)

    def line(self, reply: ProbeReply) -> str:
        """Return the line for a reply."""
        if reply.outcome is None:
            reason = f"no reply within {self._timeout}" if reply.reason is None else escape(reply.reason)
            return f"seq={reply.sequence} lost ({reason})"
        size = reply.size if reply.outcome is Outcome.STRAY else reply.size + self._overhead
        words = [f"{humanise.count(size, 'byte')} from {escape(self._source)}:"]
        if reply.sequence is not None:
            words.append(f"seq={reply.sequence}")
        if reply.time_ns is not None:
            words.append(f"time={humanise.duration(reply.time_ns)}")
        return " ".join(words) + _REMARKS[reply.outcome]


class ProbeStream:
    """A JSON object on each line: `{"event": "reply", "sequence": 3, "outcome": "completed", ...}`."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = JSONStream(stream)

    def reply(self, reply: ProbeReply) -> bool:
        """Write a line. The outcome of a probe without an echo is `lost`."""
        return self._stream.event(
            "reply",
            sequence=reply.sequence,
            outcome="lost" if reply.outcome is None else reply.outcome.value,
            size=reply.size,
            time_ns=reply.time_ns,
            reason=reply.reason,
        )
