"""A part of a run's result: what one process recorded, or several together, and how it is told to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from netecho.measure.counts import Connections, Counts
from netecho.measure.flows import FlowSummary, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.intervals import Interval
from netecho.measure.oneway import OneWay
from netecho.measure.reading import checked, natural, naturals
from netecho.measure.recorder import Recorder
from netecho.measure.reflected import delays_of
from netecho.measure.sending import Sending
from netecho.measure.stalls import Stalls
from netecho.measure.summary import LATENESS


@dataclasses.dataclass(frozen=True)
class Part:
    """What one worker recorded, or several together. Parts add up, in any order."""

    counts: Counts
    connections: Connections
    errors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    distributions: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    """By name: those in `LATENCIES`, and what `Summary.distributions` holds. While a worker goes on, it
    leaves out those in `LATENCIES`, which can be had from the intervals, and `LATENESS`."""
    intervals: tuple[Interval, ...] = ()
    warmup: Counts | None = None
    elapsed_ns: int = 0
    interrupted: bool = False
    cpu_shares: tuple[float, ...] = ()
    """Of one processor, by each worker that knows."""
    steal_share: float | None = None
    """Of the time of all processors of the worker's machine, what its host took: the most, of several."""
    sending: Sending | None = None
    jitter: Jitter | None = None
    """Of datagrams; what else `datagrams_of` tells is among the distributions, and here:"""
    flows: tuple[FlowSummary, ...] = ()
    workers: int = 1
    died: int = 0
    """How many of the workers."""
    whole: bool = False
    """Nothing comes after it."""
    one_way: OneWay | None = None
    """What a reflector has told, with what is lost by direction; `None`: the other end is none."""
    statuses: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """How often the other end said what of an exchange."""
    transport: Mapping[str, Any] | None = None
    """As in `Summary`."""
    stalls: Stalls | None = None
    """`None` in an open loop."""

    def distribution(self, name: str) -> Histogram | None:
        """Return the distribution of that name; `None` if it has no samples, or is not told yet."""
        histogram = self.distributions.get(name)
        if histogram is None and self.one_way is not None:
            histogram = delays_of(self.one_way).get(name)
        return histogram if histogram is not None and histogram.count else None

    def to_json(self) -> dict[str, Any]:
        """Return it for another process, whole and unrounded."""
        return {
            "counts": dataclasses.asdict(self.counts),
            "connections": dataclasses.asdict(self.connections),
            "errors": dict(self.errors),
            "distributions": {name: one.pack() for name, one in self.distributions.items()},
            "intervals": [_interval_to_json(one) for one in self.intervals],
            "warmup": None if self.warmup is None else dataclasses.asdict(self.warmup),
            "elapsed_ns": self.elapsed_ns,
            "interrupted": self.interrupted,
            "cpu_shares": list(self.cpu_shares),
            "steal_share": self.steal_share,
            "sending": None if self.sending is None else dataclasses.asdict(self.sending),
            "jitter": None if self.jitter is None else self.jitter.to_json(),
            "flows": [flow.to_json() for flow in self.flows],
            "one_way": None if self.one_way is None else self.one_way.pack(),
            "workers": self.workers,
            "died": self.died,
            "whole": self.whole,
            "statuses": dict(self.statuses),
            "transport": None if self.transport is None else dict(self.transport),
            "stalls": None if self.stalls is None else self.stalls.to_json(),
        }

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> Part:
        """Read back what `to_json` gave.

        Raises:
            ValueError: it is no such object.
        """
        try:
            warmup, sending, one_way = part["warmup"], part["sending"], part["one_way"]
            return cls(
                Counts(**naturals(part["counts"], Counts)),
                Connections(**naturals(part["connections"], Connections)),
                naturals(part["errors"]),
                {name: Histogram.unpack(packed) for name, packed in part["distributions"].items()},
                tuple(map(_interval_from_json, part["intervals"])),
                None if warmup is None else Counts(**naturals(warmup, Counts)),
                natural(part, "elapsed_ns"),
                checked(part, "interrupted", bool),
                tuple(map(float, part["cpu_shares"])),
                None if part["steal_share"] is None else float(part["steal_share"]),
                None if sending is None else _sending_from_json(sending),
                Jitter.from_json(part["jitter"] or {}),
                tuple(map(FlowSummary.from_json, part["flows"])),
                natural(part, "workers"),
                natural(part, "died"),
                checked(part, "whole", bool),
                None if one_way is None else OneWay.unpack(one_way),
                naturals(part["statuses"]),
                None if part["transport"] is None else checked(part, "transport", dict),
                Stalls.from_json(part),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a worker's part of a result: {error!r}") from error


def _interval_to_json(interval: Interval) -> dict[str, Any]:
    return {
        "start_ns": interval.start_ns,
        "length_ns": interval.length_ns,
        "completed": interval.completed,
        "errors": interval.errors,
        "response": interval.response.pack(),
        "service": None if interval.service is None else interval.service.pack(),
    }


def _interval_from_json(one: Mapping[str, Any]) -> Interval:
    service = one["service"]
    return Interval(
        **{key: natural(one, key) for key in ("start_ns", "length_ns", "completed", "errors")},
        response=Histogram.unpack(one["response"]),
        service=None if service is None else Histogram.unpack(service),
    )


def _sending_from_json(sending: Mapping[str, Any]) -> Sending:
    plain = {key: natural(sending, key) for key in ("due", "sent", "planned_ns", "took_ns")}
    return Sending(**plain, held_back=HeldBack(**naturals(sending["held_back"], HeldBack)))


def distributions_of(recorder: Recorder) -> dict[str, Histogram]:
    """Return all the distributions of a run that have any samples, by name."""
    lateness = recorder.lateness
    latencies = recorder.latencies()
    return {**latencies, LATENESS: lateness} if lateness.count else latencies
