"""The result object: what is written can be read back, and is what the schema says."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netecho.measure.counts import Connections, Counts
from netecho.measure.flows import FlowSummary, Jitter
from netecho.measure.histogram import Histogram
from netecho.measure.holdback import HeldBack
from netecho.measure.intervals import Interval, IntervalSummary
from netecho.measure.segments import Segment
from netecho.measure.sending import Sending
from netecho.measure.stalls import Stalls
from netecho.measure.summary import LATENCIES, Summary
from netecho.plans import SECOND, Arrival, BenchPlan, ClientTLS, ProbePlan, Stage, Target
from netecho.rendering.schema import comparison_schema, result_schema
from tests import samples, schemas

naturals = st.integers(0, 10**15)
histograms = st.lists(st.integers(1, 10**12), min_size=1, max_size=20).map(Histogram.of)
briefs = st.one_of(st.none(), st.fixed_dictionaries({"p50": naturals, "p99": naturals, "max": naturals}))
plans = st.one_of(
    st.builds(
        BenchPlan,
        target=st.just(Target()),
        connections=st.integers(1, 1000),
        exchanges=st.one_of(st.none(), st.integers(1, 10**9)),
        size=st.integers(0, 65507),
        warmup_ns=naturals,
        connect_rate=st.one_of(st.none(), st.floats(0.1, 1e6)),
        rate=st.one_of(st.none(), st.floats(0.1, 1e6)),
        workers=st.integers(1, 64),
        slo=st.just(("p(99)<5ms",)),
    ),
    st.builds(
        BenchPlan,
        target=st.just(Target()),
        duration_ns=st.none(),
        stages=st.just((Stage(SECOND, 5.0), Stage(0, 0.0))),
        connections_stages=st.just((Stage(SECOND, 5.0),)),
        arrival=st.sampled_from(Arrival),
        seed=naturals,
    ),
    st.builds(
        ProbePlan,
        target=st.just(Target("tls", "tcp", True)),
        count=st.one_of(st.none(), st.integers(1, 10**9)),
        interval_ns=naturals,
        tls=st.just(ClientTLS(alpn=("h2",), insecure=True)),
    ),
)
counts = st.builds(Counts, *[naturals] * 9)
summaries = st.builds(
    Summary,
    command=st.sampled_from(["bench", "client"]),
    started=st.just(samples.STARTED),
    elapsed_ns=naturals,
    interrupted=st.booleans(),
    system=st.just(samples.SYSTEM),
    plan=plans.map(lambda plan: plan.to_json()),
    connections=st.builds(Connections, *[naturals] * 5),
    counts=st.builds(
        lambda done, lost, late: Counts(done + lost + late, done, lost, late, bytes_sent=done),
        naturals,
        naturals,
        naturals,
    ),
    errors=st.dictionaries(st.text(min_size=1), st.integers(1, 10**9), max_size=3),
    latencies=st.dictionaries(
        st.sampled_from(["response", "service", "connect", "handshake"]), histograms, max_size=4
    ),
    intervals=st.lists(
        st.builds(IntervalSummary, naturals, naturals, naturals, naturals, briefs), max_size=3
    ).map(tuple),
    warmup=st.one_of(st.none(), st.builds(Counts, sent=naturals)),
    cpu_share=st.one_of(st.none(), st.integers(0, 40_000).map(lambda n: n / 10_000)),
    steal_share=st.one_of(st.none(), st.integers(0, 10_000).map(lambda n: n / 10_000)),
    stalls=st.one_of(st.none(), st.builds(Stalls, *[naturals] * 4)),
    trustworthy=st.booleans(),
    caveats=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    lateness=briefs,
    slo=st.just(({"expression": "p(99)<5ms", "observed": 1, "passed": True},)),
    workers=st.integers(1, 100),
    workers_died=st.integers(0, 3),
    segments=st.lists(st.builds(Segment, naturals, naturals, histograms), max_size=2).map(tuple),
    version=st.just("9.9"),
    extra=st.just({"added_later": {"by": "a newer netecho"}}),
)


def in_an_open_loop(
    summary: Summary, lateness: Histogram, numbers: tuple[int, int, int], held_back: HeldBack
) -> Summary:
    """Return a summary with all that an open loop adds to it."""
    return dataclasses.replace(
        summary,
        lateness=lateness.to_json(),
        distributions={"lateness": lateness},
        sending=Sending(numbers[0], summary.counts.sent, numbers[1], numbers[2], held_back),
    )


def of_datagrams(summary: Summary, variation: Histogram, jitter: Jitter, flow: FlowSummary) -> Summary:
    """Return a summary with all that datagrams add to it."""
    return dataclasses.replace(
        summary,
        distributions={"variation": variation, "extent": variation, "out": variation},
        jitter=jitter,
        flows=(flow,),
    )


summaries = st.one_of(
    summaries,
    st.builds(
        of_datagrams,
        summaries,
        histograms,
        st.builds(Jitter, naturals, naturals, naturals),
        st.builds(
            FlowSummary,
            naturals,
            st.builds(lambda done, lost: Counts(done + lost, done, lost), naturals, naturals),
            naturals,
            briefs,
            briefs,
        ),
    ),
    st.builds(
        in_an_open_loop,
        summaries,
        histograms,
        st.tuples(naturals, naturals, naturals),
        st.builds(HeldBack, naturals, naturals, naturals),
    ),
)


@settings(deadline=None, max_examples=40)
@given(summaries)
def test_from_json_reverses_to_json(summary: Summary) -> None:
    """Through the text of a file, nothing is lost, keys of a newer version included."""
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


@settings(deadline=None, max_examples=40)
@given(summaries.filter(lambda summary: summary.warmup is None or summary.warmup.in_flight >= 0))
def test_every_result_satisfies_the_schema(summary: Summary) -> None:
    """Whatever a run comes to."""
    schemas.RESULT.validate(summary.to_json())


@pytest.mark.parametrize("summary", [samples.bench(), samples.troubled(), samples.probes()])
def test_the_samples_satisfy_the_schema_and_come_back(summary: Summary) -> None:
    """The results that the other tests show are real ones."""
    result = summary.to_json()
    schemas.RESULT.validate(result)
    assert Summary.from_json(result) == summary


def test_rate_and_loss() -> None:
    """Rates count what completed; a share of nothing is not a number."""
    assert samples.bench().exchanges_per_s == pytest.approx(45_123.4)
    assert samples.bench(elapsed_ns=0).exchanges_per_s == 0
    assert samples.bench(elapsed_ns=0).to_json()["instrument"]["achieved_rate_per_s"] is None
    assert samples.bench(counts=Counts(sent=4, lost=1)).loss == 0.25
    assert samples.bench(counts=Counts()).loss is None


def test_empty_parts_are_null_and_not_zeros() -> None:
    """A key with nothing to say is left out or null."""
    result = samples.bench(latencies={}, cpu_share=None).to_json()
    assert result["latency_ns"] == dict.fromkeys(LATENCIES)
    assert result["histograms"] == {}
    assert result["instrument"]["cpu_share"] is None
    assert result["warmup"] is None
    assert (result["delay_ns"], result["reordering"], result["flows"]) == (None, None, [])


def test_an_older_file_without_the_added_keys_is_read() -> None:
    """What was added since has its default."""
    result = samples.bench().to_json()
    for key in ("slo", "intervals", *ADDED):
        del result[key]
    for key in ("workers", "workers_died"):
        del result["instrument"][key]
    del result["connections"]["lost"], result["connections"]["reopened"]
    del result["instrument"]["lateness_ns"]
    summary = Summary.from_json(result)
    assert summary.connections == Connections(500, 500, 0)
    assert (summary.warmup, summary.slo, summary.intervals, summary.lateness) == (None, (), (), None)
    assert (summary.segments, summary.sending, summary.workers, summary.partial) == ((), None, 1, False)
    assert (summary.jitter, summary.flows, summary.distributions) == (None, (), {})


def test_a_newer_file_with_more_in_its_objects_is_read() -> None:
    """Keys are added at any depth without older versions stumbling."""
    result = samples.bench().to_json()
    result["intervals"][0]["more"] = 1
    result["connections"]["more"] = 1
    result["exchanges"]["more"] = "words"
    result["histograms"]["delay"] = "d2hhdGV2ZXI="
    result["latency_ns"]["response"]["p99.999"] = 1.5
    schemas.RESULT.validate(result)
    assert Summary.from_json(result) == samples.bench()


def _spoilt(path: str, value: object) -> dict[str, Any]:
    result = copy.deepcopy(samples.troubled().to_json())
    *parents, key = path.split(".")
    inner: Any = result
    for name in parents:
        inner = inner[int(name) if name.isdigit() else name]
    inner[key] = value
    return result


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "netecho.result/2"),
        ("elapsed_ns", "long"),
        ("elapsed_ns", 1.5),
        ("elapsed_ns", -1),
        ("elapsed_ns", 10**400),
        ("elapsed_ns", True),
        ("interrupted", "no"),
        ("plan", []),
        ("exchanges", None),
        ("exchanges.sent", "many"),
        ("exchanges.errors", {"timeout": "often"}),
        ("connections", []),
        ("connections", 7),
        ("instrument.cpu_share", 10**400),
        ("instrument.cpu_share", "half"),
        ("instrument.steal_share", "half"),
        ("instrument.stalls", 3),
        ("latency_ns.response", None),
        ("histograms.response", "garbage"),
        ("intervals.0.response", 3),
        ("intervals", 3),
        ("caveats", "all well"),
        ("slo", [1]),
        ("warmup", 4),
        ("flows", [{"number": 0}]),
        ("delay_ns", {"jitter_arrivals": 5}),
        ("histograms.extent", Histogram.of([1]).encode()),
        ("segments", [{}]),
        ("segments", [{"start_ns": 0, "length_ns": 1.5, "min": 1, "max": 1, "response": ""}]),
        ("instrument.due", 3),
        ("instrument.workers", "two"),
        ("histograms.lateness", "garbage"),
        ("instrument.lateness_ns", {"p50": 1, "max": 2}),
    ],
)
def test_a_spoilt_object_is_refused(path: str, value: object) -> None:
    """A file can hold anything: it is one kind of error, never a crash."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Summary.from_json(_spoilt(path, value))


@pytest.mark.parametrize("other", [None, [], 3, "text", {}])
def test_what_is_no_object_of_ours_is_refused(other: Any) -> None:
    """The schema's name comes first."""
    with pytest.raises(ValueError, match="schema"):
        Summary.from_json(other)


def test_a_missing_key_is_named() -> None:
    """The message says what is missing."""
    result = samples.bench().to_json()
    del result["plan"]
    with pytest.raises(ValueError, match="it has no 'plan'"):
        Summary.from_json(result)


@pytest.mark.parametrize("missing", ["histograms", "histograms.connect"])
def test_latencies_without_their_histogram_are_refused(missing: str) -> None:
    """They would be left out in silence, as all that is shown of them comes from it."""
    result = samples.troubled().to_json()
    holder, _, name = missing.partition(".")
    del (result[holder] if name else result)[name or holder]
    with pytest.raises(ValueError, match=f"it has no '{missing}'"):
        Summary.from_json(result)


@pytest.mark.parametrize(
    ("path", "value"),
    [("elapsed_ns", 1.5), ("exchanges.sent", -1), ("plan.model", "ajar"), ("intervals.0.response", {})],
)
def test_the_schema_is_strict_about_types(path: str, value: object) -> None:
    """A schema that accepts everything would prove nothing."""
    assert not schemas.RESULT.is_valid(_spoilt(path, value))


ADDED = {"warmup", "segments", "partial", "delay_ns", "reordering", "flows", "reflector"}


@pytest.mark.parametrize("key", [key for key in samples.bench().to_json() if key not in ADDED])
def test_the_schema_requires_every_key_but_those_added(key: str) -> None:
    """`netecho.result/1` promises its keys."""
    result = samples.bench().to_json()
    del result[key]
    assert not schemas.RESULT.is_valid(result)


@pytest.mark.parametrize("schema", [result_schema(), comparison_schema()])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    """They follow JSON Schema 2020-12 themselves."""
    jsonschema.Draft202012Validator.check_schema(schema)


def test_an_interval_is_summarised() -> None:
    """With response times where anything completed, without where nothing did."""
    busy = IntervalSummary.of(Interval(5, 2 * SECOND, 3, 1, Histogram.of([1, 2, 3])))
    assert busy.to_json() == {
        "start_ns": 5,
        "length_ns": 2 * SECOND,
        "completed": 3,
        "errors": 1,
        "response": {"p50": 2, "p99": 3, "max": 3},
    }
    assert busy.exchanges_per_s == 1.5
    idle = IntervalSummary.of(Interval(0, 0, 0, 0, Histogram()))
    assert idle.to_json()["response"] is None
    assert idle.exchanges_per_s == 0


def test_more_have_ended_than_were_sent() -> None:
    """There is no such result: none is made, written or read."""
    result = samples.bench().to_json()
    result["exchanges"]["lost"] += 1
    with pytest.raises(ValueError, match="1 more exchanges have ended"):
        Summary.from_json(result)
    with pytest.raises(ValueError, match="5 more exchanges have ended"):
        samples.bench(warmup=Counts(sent=5, completed=8, lost=2))
