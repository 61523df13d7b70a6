"""`bench --baseline`: a run is compared with what was measured before, and that is its verdict."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from typing import Any

import pytest

from netecho.commands.baseline import Baseline
from netecho.errors import NetechoError, UsageError
from netecho.measure.histogram import Histogram
from netecho.measure.summary import Summary
from netecho.plans import SECOND, BenchPlan, Target
from tests import samples, schemas
from tests.benches import bench, echo, serving
from tests.servers import netecho

WORDS = ("-q", "1k", "-n", "300")


def remade(result: dict[str, Any], nanoseconds: int, path: pathlib.Path) -> str:
    """Write four results like one, but of another response time; return the file's name."""
    one = Summary.from_json(result)
    lines = []
    for number in range(4):
        steady = Histogram.of([nanoseconds + nanoseconds * number // 200] * one.counts.completed)
        again = dataclasses.replace(one, latencies={**one.latencies, "response": steady})
        lines.append(json.dumps(again.to_json()) + "\n")
    path.write_text("".join(lines))
    return str(path)


def test_verdicts(tmp_path: pathlib.Path) -> None:
    """Slower than it was allowed to be is 99; faster is 0, and so is slower if nobody minds."""
    with serving(echo) as url:
        before = bench(url, *WORDS)
        quick = remade(before, 1000, tmp_path / "quick.json")
        slow = remade(before, 3600 * SECOND, tmp_path / "slow.json")
        worse = bench(url, *WORDS, "--baseline", quick, "--fail-on-regression", "5%", status=99)
        better = bench(url, *WORDS, "--baseline", slow, "--fail-on-regression", "5%")
        shown = netecho("bench", url, *WORDS, "--baseline", quick)
    schemas.COMPARISON.validate(worse["comparison"])
    assert worse["comparison"]["baseline"] == quick
    assert worse["comparison"]["allowed"] == 0.05
    assert {"p10", "p50"} <= set(worse["comparison"]["regressions"])
    assert better["comparison"]["regressions"] == []
    assert {one["metric"]: one["verdict"] for one in better["comparison"]["changes"]}["p50"] == "faster"
    assert shown.returncode == 0
    text = shown.stdout.decode()
    assert "this run" in text
    assert "slower" in text


def test_report_shows_it_again(tmp_path: pathlib.Path) -> None:
    """The table is part of the result; one that makes no sense is left out."""
    path = tmp_path / "a.json"
    result = made_of(samples.bench(), 4).to_json()
    schemas.RESULT.validate(result)
    path.write_text(json.dumps(result))
    shown = netecho("report", str(path)).stdout.decode()
    assert "before      old.json" in shown
    assert "nothing is slower by more than 5%" in shown
    path.write_text(json.dumps({**result, "comparison": {"changes": [{}]}}))
    done = netecho("report", str(path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert "old.json" not in done.stdout.decode()


def made_of(summary: Summary, runs: int) -> Summary:
    """Return a result with its comparison with itself, made so many times."""
    return Baseline("old.json", [summary] * runs, 0.05).compare(summary)


def test_mistakes(tmp_path: pathlib.Path) -> None:
    """They are found before anything is sent, each in a line."""
    short = tmp_path / "short.json"
    short.write_text(json.dumps(samples.bench(intervals=(), latencies={}).to_json()))
    good = tmp_path / "good.json"
    runs = [json.dumps(samples.bench(elapsed_ns=10 * SECOND + number).to_json()) for number in range(4)]
    good.write_text("\n".join(runs[:2]))
    twice = tmp_path / "twice.json"
    twice.write_text("\n".join(runs + runs))
    probes = tmp_path / "probes.json"
    probes.write_text(json.dumps(samples.probes().to_json()))
    for name, length_ns, says in (
        (None, SECOND, "--fail-on-regression needs --baseline: something to be slower than"),
        ("nowhere", SECOND, "'nowhere' cannot be read: no such file or directory"),
        (str(probes), SECOND, f"{str(probes)!r} is no baseline of a bench: client wrote it"),
        (str(short), 9 * SECOND, f"{str(short)!r} cannot be a baseline: "),
        (str(twice), 9 * SECOND, f"{str(twice)!r} has the same run twice"),
        (str(good), 3 * SECOND, "3 s is too short to be compared: measure for 4 s or more"),
    ):
        with pytest.raises(UsageError, match=re.escape(says)):
            Baseline.open(name, 0.05, BenchPlan(Target(), duration_ns=length_ns))
    assert Baseline.open(None, None, BenchPlan(Target())) is None
    done = netecho("bench", "127.0.0.1", "1", "--baseline", "nowhere")  # where nobody listens
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"netecho: 'nowhere' cannot be read: no such file or directory\n"


def test_another_plan_is_said_before(tmp_path: pathlib.Path) -> None:
    """And before it is found that nobody listens."""
    path = tmp_path / "good.json"
    plan = {**samples.bench().plan, "verify": "\x1b[2J"}
    runs = [samples.bench(elapsed_ns=10**10 + by, plan=plan) for by in range(4)]
    path.write_text("".join(json.dumps(one.to_json()) + "\n" for one in runs))
    done = netecho("bench", "127.0.0.1", "1", "-l", "512", "--baseline", str(path), "--quiet")
    assert done.returncode == 1
    doubts, failure = done.stderr.decode().splitlines()
    assert doubts.startswith(f"netecho: this run is not made as {str(path)!r} was: ")
    assert "--size 64 and 512" in doubts
    assert doubts.isprintable()  # whatever the file says
    assert "refused" in failure


def test_a_run_that_is_alike_is_not_doubted() -> None:
    """Where it goes, how long it takes and what it is to meet are no matter."""
    old = samples.bench()
    plan = BenchPlan(Target(port=1), embedded=True, connections=500, duration_ns=SECOND, slo=("errors==0",))
    baseline = Baseline("old.json", [old], None)
    assert baseline.doubts(plan, old.system) is None
    assert "protocol tcp and udp" in str(
        baseline.doubts(dataclasses.replace(plan, target=Target("udp", "udp")), old.system)
    )


def test_what_could_not_be_compared_is_no_success() -> None:
    """A gate that was asked for is not passed because there is nothing to see."""
    baseline = Baseline("old.json", [samples.bench()], 0.05)
    empty = baseline.compare(samples.bench(intervals=(), latencies={}))
    assert empty.comparison is not None
    assert empty.comparison["changes"] == []
    with pytest.raises(NetechoError, match="the run cannot be compared with"):
        baseline.check_compared(empty)
    compared = made_of(samples.bench(), 4)
    baseline.check_compared(compared)
