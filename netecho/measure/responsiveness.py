"""Latency under load beside latency without, and responsiveness in round trips per minute.

Probes have a connection of their own each: it is opened, carries one exchange, and is closed. First they are
alone, then beside a load. Responsiveness is what draft-ietf-ippm-responsiveness-08, section "Aggregating the
Measurements", makes of them, with an exchange in place of its request for an object of one byte:

    foreign = 60 s / ((TM(connect) + TM(handshake) + TM(echo)) / 3)        of the probes under load
    loaded  = 60 s / TM(response)                                          of the load's own exchanges
    responsiveness = (foreign + loaded) / 2

TM is the mean of the samples without the largest 5 %. What a protocol does not have (a handshake without
TLS, a connection of datagrams) is left out of the sum, and of what it is divided by, as the draft has it
without TLS. What differs from the draft: the load is what was asked for, and not raised until the path is
full; and all of its time is counted, where the draft takes the last four seconds, after it has found them to
be stable.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any, Final, Self

from netecho.measure import humanise
from netecho.measure.histogram import Histogram
from netecho.measure.reading import checked, natural

TRIMMED_SHARE: Final = 0.95
"""Of the samples, from the least on, whose mean a trimmed mean is: TMP in the draft."""
CONNECT, HANDSHAKE, ECHO = "connect", "handshake", "echo"
STEPS: Final = (CONNECT, HANDSHAKE, ECHO)
"""What a probe goes through, in order."""
_MINUTE_NS: Final = 60_000_000_000


def trimmed_mean(histogram: Histogram, share: float = TRIMMED_SHARE) -> float | None:
    """Return the mean of the smaller samples, to the histogram's resolution; `None` if there are none.

    Args:
        histogram: of all of them.
        share: which part of them, above 0; one sample at least.
    """
    if histogram.maximum is None:
        return None
    wanted = left = max(1, round(histogram.count * share))
    total = 0
    for value, count in histogram.buckets():
        taken = min(count, left)
        total += min(value, histogram.maximum) * taken
        left -= taken
    return total / wanted


@dataclasses.dataclass(frozen=True)
class Probed:
    """What became of a series of probes."""

    sent: int
    completed: int
    times: Mapping[str, Histogram]
    """How long each of `STEPS` took, in nanoseconds; those that there are."""

    @property
    def lost(self) -> int:
        """Those without a whole echo in time, whether they had a connection or not."""
        return self.sent - self.completed

    def trimmed_means(self) -> dict[str, float]:
        """Return the trimmed mean of each step that there is."""
        means = {step: trimmed_mean(histogram) for step, histogram in self.times.items()}
        return {step: mean for step, mean in means.items() if mean is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the objects `idle` and `loaded`."""
        return {
            "sent": self.sent,
            "completed": self.completed,
            "lost": self.lost,
            "latency_ns": {step: histogram.to_json() for step, histogram in self.times.items()},
            "histograms": {step: histogram.encode() for step, histogram in self.times.items()},
        }

    @classmethod
    def from_json(cls, probed: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave. Raises whatever a wrong shape raises."""
        times = {}
        for step, encoded in checked(probed, "histograms", dict).items():
            ends = probed["latency_ns"][step]
            times[str(step)] = Histogram.decode(encoded, {key: natural(ends, key) for key in ("min", "max")})
        return cls(natural(probed, "sent"), natural(probed, "completed"), times)


@dataclasses.dataclass(frozen=True)
class LoadedLatency:
    """What probes came to, alone and beside a load."""

    interval_ns: int
    """Between probes."""
    idle: Probed
    loaded: Probed
    load_ns: float | None
    """The trimmed mean of the load's own response times."""

    @property
    def ratio(self) -> float | None:
        """How many times the median echo takes longer under load; `None` if one of them is not known."""
        idle, loaded = (one.times.get(ECHO, Histogram()) for one in (self.idle, self.loaded))
        if not idle.count or not loaded.count:
            return None
        return loaded.at_percentile(50) / max(1, idle.at_percentile(50))

    @property
    def gap(self) -> str | None:
        """Why the ratio is not known, in a line; `None` if it is."""
        if self.ratio is not None:
            return None
        if not self.loaded.sent:
            why = "no probe ended beside it, as there are none in its first second; measure for longer (-z)"
        elif not self.loaded.completed:
            why = f"no echo came back of {humanise.count(self.loaded.sent, 'probe')} beside it"
        elif not self.idle.sent:
            why = "no probe ended before it; measure for longer (-z)"
        else:
            why = f"no echo came back of {humanise.count(self.idle.sent, 'probe')} before it"
        return f"how much longer an echo takes under load is not known: {why}"

    @property
    def foreign_rpm(self) -> float | None:
        """Round trips a minute of the probes under load."""
        means = self.loaded.trimmed_means()
        return _MINUTE_NS / max(1, statistics.fmean(means.values())) if ECHO in means else None

    @property
    def loaded_rpm(self) -> float | None:
        """Round trips a minute on the connections of the load."""
        return None if self.load_ns is None else _MINUTE_NS / max(1, self.load_ns)

    @property
    def rpm(self) -> float | None:
        """Responsiveness, in round trips a minute; `None` if it is not known."""
        foreign, loaded = self.foreign_rpm, self.loaded_rpm
        return None if foreign is None or loaded is None else (foreign + loaded) / 2

    def to_json(self) -> dict[str, Any]:
        """Return the object `loaded_latency` of `netecho.result/1`."""
        means = self.loaded.trimmed_means() | ({} if self.load_ns is None else {"load": self.load_ns})
        return {
            "probe_interval_ns": self.interval_ns,
            "idle": self.idle.to_json(),
            "loaded": self.loaded.to_json(),
            "ratio": _rounded(self.ratio),
            "responsiveness_rpm": _rounded(self.rpm),
            "foreign_rpm": _rounded(self.foreign_rpm),
            "loaded_rpm": _rounded(self.loaded_rpm),
            "trimmed_mean_ns": {step: round(mean) for step, mean in means.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave; the load's trimmed mean is in whole nanoseconds.

        Raises:
            ValueError: it is no such object.
        """
        try:
            means = checked(told, "trimmed_mean_ns", dict)
            return cls(
                natural(told, "probe_interval_ns"),
                Probed.from_json(told["idle"]),
                Probed.from_json(told["loaded"]),
                natural(means, "load") if "load" in means else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not of latency under load: {error!r}") from error


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
