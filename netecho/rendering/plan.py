"""The plan of a result in words: what was run. It may have come from a file that says anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from netecho.measure import humanise
from netecho.plans import Arrival, Mode, Verify
from netecho.rendering.streams import escape

_OPENED: Final[Mapping[str, str]] = {Mode.CONNECT: "connections", Mode.HANDSHAKE: "handshakes"}
"""What exchanges are, where they are no messages."""

_FASTEST: Final = 1e12
"""Rates in a file that nothing comes near to are not believed."""


def whole_number(values: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number from a plan; `None` if it has no such number there."""
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63 else None


def _rate(plan: Mapping[str, Any], key: str) -> float | None:
    """Return a rate from a plan; `None` if there is none there that is."""
    value = plan.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if 0 < value < _FASTEST else None


def opened(plan: Mapping[str, Any]) -> str | None:
    """Return what was opened and closed in place of messages; `None` if those were sent."""
    mode = plan.get("mode")
    return _OPENED.get(mode) if isinstance(mode, str) else None


def what_was_run(plan: Mapping[str, Any]) -> str:
    """Return a plan in words, on one line."""
    words = [f"{escape(plan.get('model', 'closed'))} loop"]
    for key, more in (("rate_per_s", ""), ("rate_per_connection_per_s", " on each connection")):
        if (rate := _rate(plan, key)) is not None:
            words[0] += f" at {humanise.rate(rate)}{more}"
    kind = opened(plan)
    if (connections := whole_number(plan, "connections")) is not None:
        words.append(humanise.count(connections, "connection") + (" at a time" if kind else ""))
    if isinstance(stages := plan.get("connections_stages"), list) and stages:
        words.append(f"and then in {humanise.count(len(stages), 'stage')}")
    if (lifetime := whole_number(plan, "connections_lifetime_ns")) is not None:
        words.append(f"each for {humanise.span(lifetime)}")
    if (arrival := plan.get("arrival")) in (Arrival.POISSON, Arrival.UNIFORM):
        words.append(f"{arrival} arrivals")
    if isinstance(stages := plan.get("stages"), list) and stages:
        words.append(f"in {humanise.count(len(stages), 'stage')}")
    if kind is None:
        size, overhead = (whole_number(plan, key) or 0 for key in ("size", "overhead"))
        words.append(f"{humanise.size_exactly(size + overhead)} messages")
        if size and overhead:
            words[-1] += f" with {humanise.size_exactly(size)} of payload"
    else:
        words.append(f"opened and closed in order{' with TLS' if kind == 'handshakes' else ''}")
    if plan.get("resume") is True:
        words.append("sessions resumed")
    if (pipeline := whole_number(plan, "pipeline")) is not None and pipeline > 1:
        words.append(f"{pipeline:,} in flight on each")
    for key in ("exchanges", "count"):
        if (exchanges := whole_number(plan, key)) is not None:
            words.append(humanise.count(exchanges, "exchange"))
    if (length := whole_number(plan, "duration_ns")) is not None:
        words.append(humanise.span(length))
    if (warmup := whole_number(plan, "warmup_ns")) is not None:
        words.append(f"after {humanise.span(warmup)} of warm-up")
    if plan.get("verify") == Verify.FULL:
        words.append("every receipt compared" if plan.get("receipts") is True else "every byte compared")
    return ", ".join(words)
