"""The flows of a run in its result: each by itself, and what all of them come to.

A flow is a connection's: if that is opened again, what it carries is added to what it carried before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from netecho.measure.counts import Counts
from netecho.measure.datagrams import EXTENT, VARIATION, DatagramFlow
from netecho.measure.directions import Losses
from netecho.measure.histogram import Histogram
from netecho.measure.reading import natural, naturals
from netecho.measure.reflected_flow import VARIATION_BACK, VARIATION_OUT

OF_FLOWS: Final = (VARIATION, EXTENT, VARIATION_OUT, VARIATION_BACK)
"""The distributions that flows have."""
MOST_FLOWS: Final = 256
"""More flows than these are told of in total only."""


@dataclasses.dataclass(frozen=True, slots=True)
class Jitter:
    """The interarrival jitter of several flows, which add up.

    RFC 3550 defines it for one flow. That of several is here their average, each weighing as much as
    datagrams came on it; beside it is the largest.
    """

    weighted_ns: int = 0
    """The sum of each flow's jitter times its arrivals."""
    arrivals: int = 0
    largest_ns: int = 0

    def __add__(self, other: Jitter) -> Jitter:
        return Jitter(
            self.weighted_ns + other.weighted_ns,
            self.arrivals + other.arrivals,
            max(self.largest_ns, other.largest_ns),
        )

    @property
    def average_ns(self) -> int | None:
        """The average over all arrivals; `None` if there were none."""
        return self.weighted_ns // self.arrivals if self.arrivals else None

    def to_json(self) -> dict[str, int | None]:
        """Return what `delay_ns` says of it."""
        return {
            "jitter": self.average_ns,
            "jitter_max": self.largest_ns,
            "jitter_arrivals": self.arrivals,
            "jitter_weighted": self.weighted_ns,
        }

    @classmethod
    def from_json(cls, delay: Mapping[str, Any]) -> Jitter | None:
        """Read back what `to_json` gave; `None` if it says nothing. Raises whatever a wrong shape raises."""
        if delay.get("jitter_arrivals") is None:
            return None
        return cls(*(natural(delay, key) for key in ("jitter_weighted", "jitter_arrivals", "jitter_max")))


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSummary:
    """One flow, in a result."""

    number: int
    """The connection's, of all workers' connections."""
    counts: Counts
    jitter_ns: int
    variation: Mapping[str, int] | None
    """`p50`, `p99` and `max`, in nanoseconds; `None` if no two neighbours came."""
    extent: Mapping[str, int] | None
    """`p50`, `p99` and `max`, in datagrams; `None` if none was reordered."""
    losses: Losses | None = None
    """On which way they were lost, where a reflector may tell."""

    def to_json(self) -> dict[str, Any]:
        """Return the object in `flows`."""
        return {
            "number": self.number,
            **self.counts.to_json(),
            "jitter_ns": self.jitter_ns,
            "variation_ns": None if self.variation is None else dict(self.variation),
            "extent": None if self.extent is None else dict(self.extent),
            **({} if self.losses is None else self.losses.to_json()),
        }

    @classmethod
    def from_json(cls, flow: Mapping[str, Any]) -> FlowSummary:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        variation, extent = flow["variation_ns"], flow["extent"]
        return cls(
            natural(flow, "number"),
            Counts(**naturals(flow, Counts)),
            natural(flow, "jitter_ns"),
            None if variation is None else naturals(variation),
            None if extent is None else naturals(extent),
            Losses.from_json(flow),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FlowTotal:
    """What a connection's flows came to, one after the other."""

    number: int
    """The connection's, of all workers' connections."""
    counts: Counts
    jitter: Jitter
    distributions: Mapping[str, Histogram]
    losses: Losses | None

    @classmethod
    def of(cls, number: int, flow: DatagramFlow) -> FlowTotal:
        """Return what one flow has come to."""
        path = flow.path
        return cls(
            number,
            flow.counts,
            Jitter(path.jitter_ns * path.arrivals, path.arrivals, path.jitter_ns)
            if path.arrivals > 1  # it is of differences
            else Jitter(),
            flow.distributions,
            flow.losses,
        )

    def __add__(self, other: FlowTotal) -> FlowTotal:
        """Return this, with what another flow of the same connection has come to."""
        counts = Counts()
        counts.add(self.counts)
        counts.add(other.counts)
        return FlowTotal(
            self.number,
            counts,
            self.jitter + other.jitter,
            _sum([self.distributions, other.distributions]),
            _losses([self.losses, other.losses]),
        )

    def summary(self) -> FlowSummary:
        """Return it as a result has it."""
        return FlowSummary(
            self.number,
            self.counts,
            self.jitter.average_ns or 0,
            self.distributions[VARIATION].brief(),
            self.distributions[EXTENT].brief(),
            self.losses,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Datagrams:
    """What a run's flows came to, for a `Part` of a result."""

    distributions: dict[str, Histogram]
    """Of all flows; what has no samples is left out."""
    jitter: Jitter | None
    """`None` if no two came on a flow."""
    losses: Losses | None
    flows: tuple[FlowSummary, ...]
    """Each of them; none if they are more than `MOST_FLOWS`."""


def datagrams_of(flows: Iterable[FlowTotal]) -> Datagrams:
    """Return what flows came to, each of another connection."""
    every = list(flows)
    jitter = sum((flow.jitter for flow in every), Jitter())
    return Datagrams(
        {name: one for name, one in _sum(flow.distributions for flow in every).items() if one.count},
        jitter if jitter.arrivals else None,
        _losses(flow.losses for flow in every),
        tuple(flow.summary() for flow in every) if len(every) <= MOST_FLOWS else (),
    )


def _sum(every: Iterable[Mapping[str, Histogram]]) -> dict[str, Histogram]:
    total: dict[str, Histogram] = {}
    for one in every:
        for name, distribution in one.items():
            total.setdefault(name, Histogram()).add(distribution)
    return total


def _losses(every: Iterable[Losses | None]) -> Losses | None:
    told = [one for one in every if one is not None]
    return sum(told, Losses()) if told else None
