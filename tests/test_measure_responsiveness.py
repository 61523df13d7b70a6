"""Responsiveness: the draft's arithmetic, by hand, and what is not known left open."""

from __future__ import annotations

import dataclasses

import pytest

from netecho.measure.histogram import Histogram
from netecho.measure.responsiveness import LoadedLatency, Probed, trimmed_mean
from netecho.measure.summary import Summary
from tests import samples, schemas

MS = 1_000_000
NOTHING = Probed(0, 0, {})


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([], None),
        ([7], 7),
        # Of 20 samples the largest is left out, of 40 two are, also where they share a bucket with others.
        ([100] * 19 + [100 * MS], 100),
        ([100] * 30 + [200] * 10, (100 * 30 + 200 * 8) / 38),
        # A bucket is taken for the largest value in it, and the last one for the maximum.
        ([5_000_000] * 20, 5_000_000),
    ],
)
def test_a_trimmed_mean_is_without_the_largest_twentieth(values: list[int], mean: float | None) -> None:
    """And of few samples it is of one at least."""
    assert trimmed_mean(Histogram.of(values)) == mean


def probed(lost: int = 0, **times_ns: int) -> Probed:
    """Return twenty probes that all took as long."""
    return Probed(20, 20 - lost, {step: Histogram.of([one] * (20 - lost)) for step, one in times_ns.items()})


@pytest.mark.parametrize(
    ("loaded", "foreign"),
    [
        (probed(connect=10 * MS, handshake=20 * MS, echo=30 * MS), 60_000 / ((10 + 20 + 30) / 3)),
        (probed(connect=10 * MS, echo=30 * MS), 60_000 / ((10 + 30) / 2)),
        (probed(echo=30 * MS), 60_000 / 30),
    ],
    ids=["TLS", "TCP", "UDP"],
)
def test_the_drafts_arithmetic(loaded: Probed, foreign: float) -> None:
    """Each of what a protocol has counts as much, and both kinds of connection do."""
    latency = LoadedLatency(50 * MS, probed(echo=10 * MS), loaded, 40.0 * MS)
    assert latency.foreign_rpm == pytest.approx(foreign, rel=0.001)
    assert latency.loaded_rpm == pytest.approx(1_500)
    assert latency.rpm == pytest.approx((foreign + 1_500) / 2, rel=0.001)
    assert latency.ratio == pytest.approx(3, rel=0.001)


def test_what_was_not_measured_is_not_known() -> None:
    """Nothing is made up of half of it."""
    whole = LoadedLatency(1, probed(echo=MS), probed(echo=MS), 1.0)
    assert dataclasses.replace(whole, idle=NOTHING).ratio is None
    assert dataclasses.replace(whole, loaded=NOTHING).rpm is None
    assert dataclasses.replace(whole, load_ns=None).rpm is None
    assert dataclasses.replace(whole, loaded=NOTHING).ratio is None
    assert probed(lost=3, echo=MS).lost == 3


@pytest.mark.parametrize(
    ("idle", "loaded", "why"),
    [
        (probed(echo=MS), probed(echo=MS), None),
        (probed(echo=MS), probed(10, echo=MS), None),
        (probed(echo=MS), NOTHING, "no probe ended beside it"),
        (NOTHING, NOTHING, "no probe ended beside it"),
        (probed(echo=MS), Probed(20, 0, {}), "no echo came back of 20 probes beside it"),
        (NOTHING, probed(echo=MS), "no probe ended before it"),
        (Probed(1, 0, {}), probed(echo=MS), "no echo came back of 1 probe before it"),
    ],
)
def test_a_gap_is_told(idle: Probed, loaded: Probed, why: str | None) -> None:
    """Whoever finds no ratio is told in a line what there was not."""
    latency = LoadedLatency(1, idle, loaded, 1.0)
    assert (latency.ratio is None) == (why is not None)
    told = latency.gap
    assert told is None if why is None else told is not None and why in told and "\n" not in told


@pytest.mark.parametrize(
    "latency",
    [
        LoadedLatency(
            50 * MS, probed(connect=MS, echo=MS), probed(5, connect=2 * MS, echo=3 * MS), 4_000_000
        ),
        LoadedLatency(50 * MS, NOTHING, NOTHING, None),
    ],
    ids=["all", "nothing"],
)
def test_json_is_read_again(latency: LoadedLatency) -> None:
    """Whole, and as the schema has it."""
    result = samples.bench(loaded_latency=latency.to_json()).to_json()
    schemas.RESULT.validate(result)
    told = Summary.from_json(result).loaded_latency
    assert told is not None
    assert LoadedLatency.from_json(told) == latency


@pytest.mark.parametrize(
    "broken", [{"idle": None}, {"trimmed_mean_ns": []}, {"probe_interval_ns": -1}], ids=str
)
def test_what_is_none_of_it_is_refused(broken: dict[str, object]) -> None:
    """A file may say anything."""
    with pytest.raises(ValueError, match="not of latency under load"):
        LoadedLatency.from_json({**LoadedLatency(1, NOTHING, NOTHING, None).to_json(), **broken})
