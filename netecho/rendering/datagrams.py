"""What a path does to datagrams, in words: for the results of `bench` and `client` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netecho.measure import humanise
from netecho.measure.datagrams import EXTENT, VARIATION
from netecho.measure.histogram import Histogram
from netecho.measure.summary import Summary
from netecho.rendering.latencies import meaningful


def rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield what there is to say, each under a name of few letters."""
    if lost := _lost(summary):
        yield "lost", lost
    extent = summary.distribution(EXTENT)
    if extent is not None:
        share = humanise.share(summary.counts.reordered, summary.counts.completed)
        places = _brief(extent, humanise.count)
        yield "reordered", f"{summary.counts.reordered:,} ({share}), by {places} places"
    variation = summary.distribution(VARIATION)
    if variation is not None:
        yield "variation", f"{_brief(variation, humanise.duration)} between neighbours"
    if summary.jitter is not None and summary.jitter.average_ns is not None:
        words = humanise.duration(summary.jitter.average_ns)
        if len(summary.flows) != 1:
            words += f" on average, {humanise.duration(summary.jitter.largest_ns)} on the worst flow"
        yield "jitter", words


def _brief(histogram: Histogram, in_words: Callable[[int], str]) -> str:
    """Return what of `p50`, `p99` and `max` says something of so many samples."""
    known = meaningful(histogram)
    statistics = histogram.brief() or {}
    return ", ".join(f"{key} {in_words(value)}" for key, value in statistics.items() if key in known)


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
