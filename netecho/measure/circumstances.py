"""How results came about, in the words of the command line, so that what differs between them can be said.

Of a plan these are its flags, `--size 64`, and what else a person would say of it; of the machine, the words
of `system`. A flag that was not given is `none`, or `no` if it takes no value. What a result does not say,
or what has no meaning in its plan, is left out: it differs from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from netecho.measure.summary import Summary

UNCOMPARED: Final = frozenset(
    (
        *("target", "duration_ns", "exchanges", "count", "warmup_ns", "timeout_ns", "connect_rate_per_s"),
        *("seed", "slo", "overhead", "receipts"),
    )
)
"""What of a plan may differ between results that are alike: where, for how long, and to what end. (The last
two come with the protocol.)"""
_MEANINGLESS: Final = frozenset(
    ("arrival", "timer", "max_in_flight", "pipeline", "resume", "request", "mail", "mode")
)
"""What of a plan has no meaning where it is null, as the schedule of a closed loop."""
_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))
_TLS: Final = {
    "insecure": "--insecure",
    "server_name": "--sni",
    "alpn": "--alpn",
    "client_certificate": "--cert",
    "starttls": "--starttls",
}
_PLAIN_TLS: Final[Mapping[str, Any]] = {"insecure": False, "client_certificate": False, "starttls": False}
"""What a plan that says nothing of TLS says of it."""
_PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "tls": _TLS,
    "request": {"method": "--method", "headers": "--header", "http2": "--http2"},
    "mail": {"sender": "--from", "recipient": "--to", "ehlo": "--ehlo"},
}
"""The flags that are together in an object of a plan."""


def of_result(summary: Summary) -> dict[str, str]:
    """Return how a result came about: each flag or other word with its value."""
    system = {str(key): _value(value) for key, value in summary.system.items()}
    return {"command": summary.command, **of_plan(summary.plan), **system, "netecho": str(summary.version)}


def of_plan(plan: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, str]:
    """Return what was run: each flag or other word with its value.

    Args:
        plan: of a result; it may have come from a file that says anything.
        without: keys of it to leave out, beside those in `UNCOMPARED`.
    """
    said = {"protocol": protocol_of(plan)}
    for key, value in plan.items():
        if key not in UNCOMPARED and key not in without and not (value is None and key in _MEANINGLESS):
            said.update(_words(key, value))
    if "family" in plan:  # and the others that are of sockets, of which it is there only if it was given
        said.setdefault("--mtu", _value(None))
    if "--interval" in said:  # its rate is the same in other words
        said.pop("--rate", None)
    return said


def protocol_of(plan: Mapping[str, Any]) -> str:
    """Return the scheme of a plan's target: `tcp`, `https`."""
    return str(plan.get("target")).partition(":")[0]


def differences(sides: Sequence[Sequence[Mapping[str, str]]]) -> tuple[str, ...]:
    """Return in what circumstances differ, with the values of each side: `--size 64 and 512`."""
    found = []
    for word in dict.fromkeys(word for side in sides for one in side for word in one):
        values = [dict.fromkeys(one[word] for one in side if word in one) for side in sides]
        if len({value for side in values for value in side}) > 1:
            texts = dict.fromkeys(" or ".join(side) for side in values if side)
            found.append(f"{word} {' and '.join(texts)}")
    return tuple(found)


def _words(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield what one entry of a plan is called, with its value."""
    if key in _PARTS:
        parts = value if isinstance(value, dict) else {}
        if key == "tls":
            parts = {**_PLAIN_TLS, **parts}
        for part, flag in _PARTS[key].items():
            yield flag, _value(parts.get(part))
        return
    word, text = _WORDS.get(key, (key, _value))
    yield word, text(value)


def _value(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return str(value)


def _time(value: Any) -> str:
    if not isinstance(value, int) or value <= 0:
        return _value(value)
    return next(f"{value // size}{unit}" for size, unit in _UNITS if value % size == 0)


def _stages(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return _value(value)
    return _value([f"{_time(one.get('duration_ns'))}:{_value(one.get('target'))}" for one in value])


def _proxy(value: Any) -> str:
    if not isinstance(value, dict):
        return _value(value)
    source = str(value.get("source") or "")
    words = (f"v{value.get('version')}", f"[{source}]" if ":" in source else source, value.get("port"))
    return ":".join(str(word) for word in words if word)


def _opposite(value: Any) -> str:
    return _value(not value)


def _server(value: Any) -> str:
    return "of its own" if value else "another"


_WORDS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "embedded": ("server", _server),
    "model": ("loop", _value),
    "connections": ("--connections", _value),
    "rate_per_s": ("--rate", _value),
    "rate_per_connection_per_s": ("--rate-per-connection", _value),
    "interval_ns": ("--interval", _time),
    "arrival": ("--arrival", _value),
    "timer": ("--timer", _value),
    "busy_poll_ns": ("--busy-poll", _time),
    "stages": ("--stages", _stages),
    "connections_stages": ("--connections-stages", _stages),
    "max_in_flight": ("--max-in-flight", _value),
    "workers": ("--workers", _value),
    "size": ("--size", _value),
    "pipeline": ("--pipeline", _value),
    "verify": ("--verify", _value),
    "reconnect": ("--no-reconnect", _opposite),
    "hmac": ("--hmac-key", _value),
    "send_proxy": ("--send-proxy", _proxy),
    "streams": ("--streams", _value),
    "mode": ("--mode", _value),
    "resume": ("--resume", _value),
    "connections_lifetime_ns": ("--connections-lifetime", _time),
    "family": ("address family", _value),
    "source": ("--source", _value),
    "dscp": ("--dscp", _value),
    "ttl": ("--ttl", _value),
    "mtu": ("--mtu", _value),
}
"""What an entry of a plan is called on the command line, and how its value is written there."""
