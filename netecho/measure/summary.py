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
from netecho.measure.counts import Connections, Counts
from netecho.measure.datagrams import EXTENT, VARIATION, from_minimum
from netecho.measure.flows import FlowSummary, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.intervals import IntervalSummary
from netecho.measure.reading import checked, natural, naturals
from netecho.measure.reflected import BACK, DWELL, OUT, Reflected
from netecho.measure.reflected_flow import VARIATION_BACK, VARIATION_OUT
from netecho.measure.segments import Segment
from netecho.measure.sending import Sending
from netecho.measure.setup import PIECES
from netecho.measure.stalls import Stalls

SCHEMA: Final = "netecho.result/1"
LATENCIES: Final = ("response", "service", *PIECES)
LATENESS: Final = "lateness"
DELAYS: Final = (VARIATION, OUT, BACK, DWELL, VARIATION_OUT, VARIATION_BACK)
"""Delay variation; and by a reflector's stamps the delay each way, its own dwell time, and the variation
each way."""
_ADDITIONS: Final = ("comparison", "search", "loaded_latency", "transport")
"""Keys of a result that are there only if there is anything to say."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a run; the fields are the keys of `netecho.result/1`."""

    command: str
    started: str
    """When, in ISO 8601 with the offset from UTC."""
    elapsed_ns: int
    """From the first exchange that is measured to the last echo, or until nothing more was sent: not to when
    the last of those that are lost were given up, which rates would be too low by."""
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
    lateness: Mapping[str, int] | None = None
    """By how much the instrument's own sends were late: at least `p50`, `p99` and `max`, and more if it is
    among the `distributions`; `None` in a closed loop."""
    slo: tuple[Mapping[str, Any], ...] = ()
    """Each objective as it was asked for, what was observed, and whether it passed."""
    distributions: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    """Of what is no latency: `lateness`, those in `DELAYS`, and `extent`."""
    jitter: Jitter | None = None
    """Interarrival jitter of datagrams."""
    flows: tuple[FlowSummary, ...] = ()
    """Each flow of datagrams, if there are not too many."""
    reflected: Reflected | None = None
    """What a reflector has told beside delays; `None`: the other end is none."""
    sending: Sending | None = None
    """How well the schedule was kept to; `None` in a closed loop."""
    segments: tuple[Segment, ...] = ()
    """The response times over the run, in few stretches: what a comparison with another run needs."""
    workers: int = 1
    workers_died: int = 0
    """Of what those did after they last told, nothing is known."""
    cpu_shares: tuple[float, ...] = ()
    """Of one processor, used by each of several workers while it measured, the idlest first."""
    steal_share: float | None = None
    """Of all processors' time, what the host of a virtual machine took; `None`: the system does not say."""
    stalls: Stalls | None = None
    """When the instrument itself stood still; `None` in an open loop, whose lateness has it."""
    statuses: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """How often the other end said what of an exchange: its status codes, of HTTP."""
    comparison: Mapping[str, Any] | None = None
    """With its baseline: a `Comparison` as JSON, with `baseline`, where that was read from; `allowed`, by
    what share it may be slower; and `regressions`, what is shown to be slower by more."""
    search: Mapping[str, Any] | None = None
    """For the highest rate that holds: what was tried and found, a `measure.trials.Found` as JSON."""
    loaded_latency: Mapping[str, Any] | None = None
    """What probes came to alone and beside the load: a `measure.responsiveness.LoadedLatency` as JSON."""
    transport: Mapping[str, Any] | None = None
    """What TLS came to on the first connection: its `version`, `cipher`, `alpn` and the like."""
    version: str = __version__
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of a file by a newer netecho, kept as they are."""

    def __post_init__(self) -> None:
        """Hold what every result promises: sent = completed + lost + in flight.

        Raises:
            ValueError: more exchanges have ended than were sent.
        """
        for counts in (self.counts, self.warmup, *(flow.counts for flow in self.flows)):
            if counts is not None and counts.in_flight < 0:
                raise ValueError(f"{-counts.in_flight} more exchanges have ended than the {counts.sent} sent")

    @property
    def exchanges_per_s(self) -> float:
        """Completed exchanges a second."""
        return self.counts.completed * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0

    @property
    def partial(self) -> bool:
        """Whether a part of it is missing, as a worker died."""
        return self.workers_died > 0

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
            "exchanges": {
                **counts.to_json(),
                **self._lost_by_way(),
                "errors": dict(self.errors),
                **self._statuses(),
            },
            "throughput": {
                "exchanges_per_s": round(self.exchanges_per_s, 3),
                "bytes_sent": counts.bytes_sent,
                "bytes_received": counts.bytes_received,
            },
            "latency_ns": {
                name: self.latencies[name].to_json() if name in self.latencies else None for name in LATENCIES
            },
            "delay_ns": self._delays(),
            "reordering": self._reordering(),
            "flows": [flow.to_json() for flow in self.flows],
            "reflector": None if self.reflected is None else self.reflected.to_json(),
            "histograms": {
                name: histogram.encode()
                for name, histogram in {**self.latencies, **self.distributions}.items()
            },
            "intervals": [interval.to_json() for interval in self.intervals],
            "segments": [segment.to_json() for segment in self.segments],
            "partial": self.partial,
            "warmup": None if self.warmup is None else self.warmup.to_json(),
            "instrument": self._instrument(),
            "trustworthy": self.trustworthy,
            "caveats": list(self.caveats),
            "slo": [dict(one) for one in self.slo],
            **{key: dict(value) for key in _ADDITIONS if (value := getattr(self, key)) is not None},
            **self.extra,
        }

    def distribution(self, name: str) -> Histogram | None:
        """Return the distribution of that name, of latencies or others; `None` if it has no samples."""
        histogram = {**self.distributions, **self.latencies}.get(name)
        return histogram if histogram is not None and histogram.count else None

    def _statuses(self) -> dict[str, Any]:
        return {"statuses": dict(self.statuses)} if self.statuses else {}

    def _lost_by_way(self) -> dict[str, int | None]:
        return {} if self.reflected is None else self.reflected.losses.to_json()

    def _delays(self) -> dict[str, Any] | None:
        delays: dict[str, Any] = {
            name: self.distributions[name].to_json() for name in DELAYS if name in self.distributions
        }
        if self.jitter is not None:
            service = self.latencies.get("service")
            delays["from_minimum"] = None if service is None else from_minimum(service)
            delays |= self.jitter.to_json()
        return delays or None

    def _reordering(self) -> dict[str, Any] | None:
        extent = self.distributions.get(EXTENT)
        return None if extent is None else {EXTENT: extent.to_json()}

    def _instrument(self) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "cpu_share": None if self.cpu_share is None else round(self.cpu_share, 4),
            "lateness_ns": None if self.lateness is None else dict(self.lateness),
            "achieved_rate_per_s": round(self.exchanges_per_s, 3) if self.elapsed_ns else None,
            "workers": self.workers,
            "workers_died": self.workers_died,
        }
        if self.cpu_shares:
            answer["cpu_share_per_worker"] = [round(share, 4) for share in self.cpu_shares]
        if self.steal_share is not None:
            answer["steal_share"] = round(self.steal_share, 4)
        if self.stalls is not None:
            answer["stalls"] = self.stalls.to_json()
        return answer if self.sending is None else {**answer, **self.sending.to_json()}

    @classmethod
    def from_json(cls, result: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` gave.

        Raises:
            ValueError: it is no such object, or of a schema that this version does not know.
        """
        schema = result.get("schema") if isinstance(result, Mapping) else None
        if schema != SCHEMA:
            raise ValueError(f"its schema is {schema!r}, not {SCHEMA!r}")
        try:
            return cls._from_json(result)
        except KeyError as error:
            raise ValueError(f"it has no {error}") from error
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"it is not of the right shape: {error}") from error

    @classmethod
    def _from_json(cls, result: Mapping[str, Any]) -> Summary:
        exchanges, throughput, latencies = result["exchanges"], result["throughput"], result["latency_ns"]
        warmup, instrument = result.get("warmup"), result["instrument"]
        lateness, cpu_share = instrument.get("lateness_ns"), instrument["cpu_share"]
        steal_share = instrument.get("steal_share")
        histograms = result["histograms"]
        for name in LATENCIES:
            if latencies.get(name) is not None and name not in histograms:
                raise KeyError(f"histograms.{name}")
        counts = Counts(**naturals({**exchanges, **throughput}, Counts))
        delays, reordering = result.get("delay_ns") or {}, result.get("reordering") or {}
        reflector = result.get("reflector")
        statistics = {LATENESS: lateness, EXTENT: reordering.get(EXTENT), **delays}
        return cls(
            command=checked(result, "command", str),
            started=checked(result, "started", str),
            elapsed_ns=natural(result, "elapsed_ns"),
            interrupted=checked(result, "interrupted", bool),
            system=checked(result, "system", dict),
            plan=checked(result, "plan", dict),
            connections=Connections(**naturals(result["connections"], Connections)),
            counts=counts,
            errors=naturals(exchanges["errors"]),
            statuses=naturals(exchanges.get("statuses", {})),
            latencies={
                name: _histogram(encoded, latencies[name])
                for name, encoded in histograms.items()
                if name in LATENCIES
            },
            intervals=tuple(map(IntervalSummary.from_json, result.get("intervals", []))),
            warmup=None if warmup is None else Counts(**naturals(warmup, Counts)),
            cpu_share=None if cpu_share is None else float(cpu_share),
            trustworthy=checked(result, "trustworthy", bool),
            caveats=tuple(map(str, checked(result, "caveats", list))),
            lateness=None if lateness is None else _lateness(lateness),
            slo=tuple(map(dict, result.get("slo", []))),
            distributions={
                name: _histogram(encoded, statistics[name])
                for name, encoded in histograms.items()
                if name in (LATENESS, EXTENT, *DELAYS)
            },
            jitter=Jitter.from_json(delays),
            flows=tuple(map(FlowSummary.from_json, result.get("flows", []))),
            reflected=None if reflector is None else Reflected.from_json(reflector, exchanges),
            sending=Sending.from_json(instrument, counts.sent),
            segments=tuple(map(Segment.from_json, result.get("segments", []))),
            workers=natural({"workers": 1, **instrument}, "workers"),
            workers_died=natural({"workers_died": 0, **instrument}, "workers_died"),
            steal_share=None if steal_share is None else float(steal_share),
            stalls=Stalls.from_json(instrument),
            cpu_shares=tuple(map(float, instrument.get("cpu_share_per_worker", ()))),
            **{key: checked(result, key, dict) for key in _ADDITIONS if key in result},
            version=checked(result, "netecho", str),
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
        "delay_ns",
        "reordering",
        "flows",
        "reflector",
        "histograms",
        "intervals",
        "segments",
        "partial",
        "warmup",
        "instrument",
        "trustworthy",
        "caveats",
        "slo",
        *_ADDITIONS,
    ]
)


def _histogram(encoded: str, statistics: Mapping[str, Any]) -> Histogram:
    return Histogram.decode(encoded, {key: natural(statistics, key) for key in ("min", "max")})


def _lateness(statistics: Mapping[str, Any]) -> dict[str, int]:
    for key in ("p50", "p99", "max"):
        if key not in statistics:
            raise KeyError(f"instrument.lateness_ns.{key}")
    return naturals(statistics)
