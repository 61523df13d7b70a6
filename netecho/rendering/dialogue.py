"""A conversation at a terminal, line by line, and its summary."""

from __future__ import annotations

from netecho.measure import humanise
from netecho.rendering.streams import escape
from netecho.services.dialogue import Heard, Tally


def heard_line(heard: Heard) -> str:
    """Return what came as one line: the text and, of an echo, its round-trip time."""
    text = escape(heard.data.decode("utf-8", "backslashreplace").removesuffix("\n").removesuffix("\r"))
    if heard.time_ns is None:
        return f"{text}  (not an echo)"
    return f"{text}  ({humanise.duration(heard.time_ns)})"


def summary(tally: Tally) -> str:
    """Return what was said and heard in all, as `ping` ends."""
    lines = [
        f"{humanise.count(tally.sent, 'line')} sent, {tally.received:,} echoed; "
        f"{humanise.size(tally.bytes_sent)} sent, {humanise.size(tally.bytes_received)} received"
    ]
    if tally.least_ns is not None and tally.most_ns is not None:
        times = (tally.least_ns, tally.total_ns / tally.received, tally.most_ns)
        lines.append(f"rtt min/avg/max = {'/'.join(f'{time / 1e6:.3f}' for time in times)} ms")
    return "\n".join(lines)
