"""What a path does to datagrams, in words: for the results of `bench` and `client` alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from netecho.measure import humanise
from netecho.measure.datagrams import EXTENT, VARIATION
from netecho.measure.reflected import BACK, DWELL, OUT
from netecho.measure.summary import Summary

WAYS: Final = (OUT, BACK, DWELL)
"""The distributions beside latencies of an exchange with a reflector."""
_BRIEF: Final = ("p50", "p99", "max")


def rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield what there is to say, each under a name of few letters."""
    if lost := _lost(summary):
        yield "lost", lost
    extent = summary.distribution(EXTENT)
    if extent is not None:
        share = humanise.share(summary.counts.reordered, summary.counts.completed)
        datagrams = {key: f"{value:,}" for key, value in (extent.brief() or {}).items()}
        yield "reordered", f"{summary.counts.reordered:,} ({share}), by {_words(datagrams)} places"
    variation = summary.distribution(VARIATION)
    if variation is not None:
        times = {key: humanise.duration(value) for key, value in (variation.brief() or {}).items()}
        yield "variation", f"{_words(times)} between neighbours"
    if summary.jitter is not None and summary.jitter.average_ns is not None:
        words = humanise.duration(summary.jitter.average_ns)
        if len(summary.flows) != 1:
            words += f" on average, {humanise.duration(summary.jitter.largest_ns)} on the worst flow"
        yield "jitter", words


def _words(statistics: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {statistics[key]}" for key in _BRIEF)


def _lost(summary: Summary) -> str:
    """Return on which way exchanges were lost; nothing if a reflector does not say, or none was."""
    if summary.reflected is None or not summary.reflected.losses.told:
        return ""
    losses = summary.reflected.losses
    ways = (
        (losses.out, "on the way out"),
        (losses.back, "on the way back"),
        (losses.unknown, "on a way that is not known"),
    )
    return ", ".join(f"{number:,} {way}" for number, way in ways if number)
