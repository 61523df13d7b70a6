"""What a run means: the result object `netecho.result/1`, whose keys are never renamed, only added.

A `Summary` is that object in Python. It is made from what a run recorded, or read back from a file, and
every form that a result is shown in (text, JSON, CSV) is made from it alone. All times are integers of
nanoseconds. A part with nothing to say is `None` or empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from netecho import __version__
from netecho.measure.histogram import Histogram, percentile_key
from netecho.measure.recorder import Counts, Interval, Recorder

SCHEMA: Final = "netecho.result/1"
LATENCIES: Final = ("response", "service", "connect", "handshake")
_INTERVAL_PERCENTILES: Final = (50.0, 99.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Connections:
    """How many connections were asked for and what became of them."""

    requested: int
    opened: int
    failed: int
    """Attempts at the start that did not connect."""
    lost: int = 0
    """Ended in mid-run by the other end or the network."""
    reopened: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class IntervalSummary:
    """One stretch of a run. Times in nanoseconds from the start of what is measured."""

    start_ns: int
    length_ns: int
    completed: int
    errors: int
    response: Mapping[str, int] | None
    """`p50`, `p99` and `max` of response time; `None` if nothing completed."""

    @classmethod
    def of(cls, interval: Interval) -> IntervalSummary:
        """Summarise what a recorder closed."""
        response: dict[str, int] | None = None
        if interval.response.maximum is not None:
            response = {
                percentile_key(percentile): interval.response.at_percentile(percentile)
                for percentile in _INTERVAL_PERCENTILES
            }
            response["max"] = interval.response.maximum
        return cls(interval.start_ns, interval.length_ns, interval.completed, interval.errors, response)

    def to_json(self) -> dict[str, Any]:
        """Return the object in `intervals`."""
        answer = dataclasses.asdict(self)
        answer["response"] = None if self.response is None else dict(self.response)
        return answer


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a run; the fields are the keys of `netecho.result/1`."""

    command: str
    started: str
    """When, in ISO 8601 with the offset from UTC."""
    elapsed_ns: int
    """From the first exchange that is measured to the end of the last."""
    interrupted: bool
    system: Mapping[str, Any]
    plan: Mapping[str, Any]
    connections: Connections
    counts: Counts
    errors: Mapping[str, int]
    latencies: Mapping[str, Histogram]
    """By the names in `LATENCIES`; empty distributions are left out."""
    intervals: tuple[IntervalSummary, ...] = ()
    warmup: Counts | None = None
    cpu_share: float | None = None
    """Of one processor, used by the instrument while it measured."""
    trustworthy: bool = True
    caveats: tuple[str, ...] = ()
    version: str = __version__
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of a file by a newer netecho, kept as they are."""

    @property
    def exchanges_per_s(self) -> float:
        """Completed exchanges a second."""
        return self.counts.completed * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0

    @property
    def loss(self) -> float | None:
        """Share of the exchanges sent that are lost; `None` if nothing was sent."""
        return self.counts.lost / self.counts.sent if self.counts.sent else None

    def to_json(self) -> dict[str, Any]:
        """Return the result object, ready for `json.dumps`."""
        counts = self.counts
        return {
            "schema": SCHEMA,
            "netecho": self.version,
            "command": self.command,
            "started": self.started,
            "elapsed_ns": self.elapsed_ns,
            "interrupted": self.interrupted,
            "system": dict(self.system),
            "plan": dict(self.plan),
            "connections": dataclasses.asdict(self.connections),
            "exchanges": {**_exchanges(counts), "errors": dict(self.errors)},
            "throughput": {
                "exchanges_per_s": round(self.exchanges_per_s, 3),
                "bytes_sent": counts.bytes_sent,
                "bytes_received": counts.bytes_received,
            },
            "latency_ns": {
                name: self.latencies[name].to_json() if name in self.latencies else None for name in LATENCIES
            },
            "histograms": {name: histogram.encode() for name, histogram in self.latencies.items()},
            "intervals": [interval.to_json() for interval in self.intervals],
            "warmup": None if self.warmup is None else _exchanges(self.warmup),
            "instrument": {
                "cpu_share": None if self.cpu_share is None else round(self.cpu_share, 4),
                "lateness_ns": None,
                "achieved_rate_per_s": round(self.exchanges_per_s, 3) if self.elapsed_ns else None,
            },
            "trustworthy": self.trustworthy,
            "caveats": list(self.caveats),
            "slo": [],
            **self.extra,
        }

    @classmethod
    def from_json(cls, result: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` gave.

        Raises:
            ValueError: it is no such object, or of a schema that this version does not know.
        """
        if result.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {result.get('schema')!r}, not {SCHEMA!r}")
        try:
            return cls._from_json(result)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its object is not complete: {error}") from error

    @classmethod
    def _from_json(cls, result: Mapping[str, Any]) -> Summary:
        warmup = result.get("warmup")
        return cls(
            command=result["command"],
            started=result["started"],
            elapsed_ns=result["elapsed_ns"],
            interrupted=result["interrupted"],
            system=result["system"],
            plan=result["plan"],
            connections=Connections(
                **{
                    field.name: result["connections"].get(field.name, 0)
                    for field in dataclasses.fields(Connections)
                }
            ),
            counts=_counts(
                {
                    **result["exchanges"],
                    "bytes_sent": result["throughput"]["bytes_sent"],
                    "bytes_received": result["throughput"]["bytes_received"],
                }
            ),
            errors=result["exchanges"]["errors"],
            latencies={
                name: Histogram.decode(encoded, result["latency_ns"][name])
                for name, encoded in result.get("histograms", {}).items()
            },
            intervals=tuple(IntervalSummary(**one) for one in result.get("intervals", [])),
            warmup=None if warmup is None else _counts(warmup),
            cpu_share=result["instrument"]["cpu_share"],
            trustworthy=result["trustworthy"],
            caveats=tuple(result["caveats"]),
            version=result["netecho"],
            extra={key: value for key, value in result.items() if key not in _KEYS},
        )


_KEYS: Final = frozenset(
    [
        "schema",
        "netecho",
        "command",
        "started",
        "elapsed_ns",
        "interrupted",
        "system",
        "plan",
        "connections",
        "exchanges",
        "throughput",
        "latency_ns",
        "histograms",
        "intervals",
        "warmup",
        "instrument",
        "trustworthy",
        "caveats",
        "slo",
    ]
)
_COUNTED_BYTES: Final = ("bytes_sent", "bytes_received")


def _exchanges(counts: Counts) -> dict[str, int]:
    answer = {name: value for name, value in dataclasses.asdict(counts).items() if name not in _COUNTED_BYTES}
    answer["in_flight"] = counts.in_flight
    return answer


def _counts(values: Mapping[str, Any]) -> Counts:
    return Counts(**{field.name: values.get(field.name, 0) for field in dataclasses.fields(Counts)})


def latencies_of(recorder: Recorder, connects: list[int], handshakes: list[int]) -> dict[str, Histogram]:
    """Return the distributions that have any samples, by name. Samples in nanoseconds."""
    distributions = {
        "response": recorder.response,
        "service": recorder.service,
        "connect": Histogram.of(connects),
        "handshake": Histogram.of(handshakes),
    }
    return {name: one for name, one in distributions.items() if one.minimum is not None}
