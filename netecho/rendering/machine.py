"""Results for machines: JSON as `netecho.result/1`, and CSV with a row for each.

CSV columns are named after the JSON keys that lead to them, joined by dots. Their order is fixed, and
new ones are only added at the end. An empty cell is JSON's null or a key that is not there; true and
false are spelt as in JSON; a list or object (`exchanges.errors`, `caveats`) is JSON text in its cell. Text
has its control characters as escapes, as it may have come from anywhere and go to a terminal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from netecho.measure.comparison import Comparison
from netecho.measure.histogram import PERCENTILES, percentile_key
from netecho.measure.responsiveness import STEPS
from netecho.measure.summary import DELAYS, LATENCIES, Summary
from netecho.rendering.streams import escape

_FIRST_LATENCIES: Final = ("response", "service", "connect", "handshake")
"""Those whose columns are not at the end."""
_STATISTICS: Final = ("count", "min", "mean", "stddev", "max", *map(percentile_key, PERCENTILES))


def _under(prefix: str, names: str) -> list[str]:
    return [f"{prefix}.{name}" for name in names.split()]


CSV_COLUMNS: Final = (
    *("netecho", "command", "started", "elapsed_ns", "interrupted"),
    *_under("system", "host os python twisted cpus reactor"),
    *_under("plan", "target embedded model connections rate_per_s count exchanges interval_ns"),
    *_under("plan", "duration_ns size pipeline warmup_ns timeout_ns connect_rate_per_s verify reconnect"),
    *_under("plan", "family source dscp ttl"),
    *_under("connections", "requested opened failed lost reopened"),
    *_under("exchanges", "sent completed lost late in_flight duplicated reordered corrupted errors"),
    *_under("throughput", "exchanges_per_s bytes_sent bytes_received"),
    *(f"latency_ns.{name}.{statistic}" for name in _FIRST_LATENCIES for statistic in _STATISTICS),
    *_under("instrument", "cpu_share achieved_rate_per_s"),
    *("trustworthy", "caveats"),
    *_under(
        "plan",
        "rate_per_connection_per_s arrival seed timer stages connections_stages max_in_flight workers slo",
    ),
    *_under("instrument", "asked_rate_per_s due held_back unsent longest_hold_ns workers workers_died"),
    *("partial", "slo"),
    *_under("delay_ns", "jitter jitter_max"),
    *_under("plan", "hmac"),
    *_under("exchanges", "lost_out lost_back lost_unknown"),
    *(f"delay_ns.{name}.{statistic}" for name in DELAYS for statistic in _STATISTICS),
    *(f"reordering.extent.{statistic}" for statistic in _STATISTICS),
    *_under("reflector", "clock_offset_ns clock_uncertainty_ns clocks_agree clock_error_ns implausible"),
    *_under("plan", "mode resume connections_lifetime_ns"),
    "connections.churned",
    "plan.request",
    "exchanges.statuses",
    "plan.receipts",
    "exchanges.untold",
    *(
        f"latency_ns.{name}.{statistic}"
        for name in LATENCIES
        if name not in _FIRST_LATENCIES
        for statistic in _STATISTICS
    ),
    "plan.overhead",
    "plan.mtu",
    "plan.mail",
    "plan.send_proxy",
    "plan.streams",
    *_under("search", "objectives rate_per_s confirmed limited_by answer steps"),
    *_under("loaded_latency", "probe_interval_ns ratio responsiveness_rpm foreign_rpm loaded_rpm"),
    *_under("loaded_latency.trimmed_mean_ns", "connect handshake echo load"),
    *_under("loaded_latency.idle", "sent completed lost"),
    *_under("loaded_latency.loaded", "sent completed lost"),
    *(
        f"loaded_latency.{part}.latency_ns.{step}.{statistic}"
        for part in ("idle", "loaded")
        for step in STEPS
        for statistic in _STATISTICS
    ),
    "instrument.steal_share",
    *_under("instrument.stalls", "count total_ns longest_ns watched_ns"),
    "plan.busy_poll_ns",
    *_under("warmup", "sent completed lost late in_flight duplicated reordered corrupted"),
    *_under("warmup", "lost_out lost_back lost_unknown"),
    *(f"instrument.lateness_ns.{statistic}" for statistic in _STATISTICS),
    *_under("instrument", "planned_ns took_ns cpu_share_per_worker"),
    *(f"delay_ns.from_minimum.{statistic}" for statistic in (*map(percentile_key, PERCENTILES), "max")),
    "reflector.ttl",
    *_under("transport", "version cipher bits group alpn server_name verified"),
)
CHANGE_COLUMNS: Final = ("metric", "unit", "old", "new", "ratio", "low", "high", "confidence", "verdict")
"""Of a comparison's CSV: the keys of its `changes`."""


def to_json_text(summary: Summary) -> str:
    """Return the result object, indented, with a line end after it."""
    return json.dumps(summary.to_json(), indent=2, allow_nan=False) + "\n"


def to_json_lines(summaries: Iterable[Summary]) -> str:
    """Return the result objects, one on each line."""
    return "".join(json.dumps(one.to_json(), allow_nan=False) + "\n" for one in summaries)


def to_csv(summaries: Sequence[Summary]) -> str:
    """Return a line of column names and one for each result."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for summary in summaries:
        result = summary.to_json()
        writer.writerow([_cell(_at(result, column)) for column in CSV_COLUMNS])
    return text.getvalue()


def comparison_to_json_text(comparison: Mapping[str, Any]) -> str:
    """Return the object `netecho.comparison/1`, indented, with a line end after it."""
    return json.dumps(comparison, indent=2, allow_nan=False) + "\n"


def comparison_to_csv(comparison: Comparison) -> str:
    """Return a line of column names and one for each number that was compared."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CHANGE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(change.to_json() for change in comparison.changes)
    return text.getvalue()


def _at(result: dict[str, Any], column: str) -> object:
    """Return what stands in a result under the keys that a column's name joins."""
    value: Any = result
    while isinstance(value, dict) and column not in value:
        # A percentile's own name may have a dot in it: latency_ns.response.p99.9.
        key, _, column = column.partition(".")
        value = value.get(key)
    return value[column] if isinstance(value, dict) else None


def _cell(value: object) -> object:
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value)
    return escape(value) if isinstance(value, str) else value
