"""`netecho bench`: flags to a `BenchPlan`, the run, and its result in the forms asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from netecho import protocols
from netecho.commands.bench_plan import PlanFlags, plan_of
from netecho.errors import ExitStatus, NetechoError
from netecho.measure.progress import Progress
from netecho.measure.summary import Summary
from netecho.options import resolve_target
from netecho.plans import BenchPlan, ReactorName
from netecho.protocols._contract import Adapter, Kind, Route
from netecho.rendering.files import SavedForms
from netecho.rendering.histogram_log import HistogramLog
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.live import ProgressView, Quiet, progress_view
from netecho.rendering.result import result_view
from netecho.rendering.server import died_line
from netecho.rendering.streams import escape, write_out
from netecho.services import files, running, system
from netecho.services.benchmark import Benchmark
from netecho.services.embedded import EmbeddedServer
from netecho.services.foreign_probes import ForeignProbes
from netecho.services.handshake import explain_refusal
from netecho.services.intervals import OnInterval, OnProgress
from netecho.services.loaded_latency import LoadedLatencyRun
from netecho.services.routing import find_route
from netecho.services.silence import unanswered, unheard
from netecho.services.worker_bench import BenchWorkers
from netecho.services.workers import OnWorker

if TYPE_CHECKING:
    from netecho.commands.baseline import Baseline
    from netecho.commands.find_max import Measure


def run(
    *,
    reactor_name: ReactorName | None,
    busy_poll_ns: int | None,
    baseline: str | None,
    fail_on_regression: float | None,
    find_max: tuple[str, ...],
    loaded_latency: bool,
    quiet: bool,
    json: str | None,
    json_stream: bool,
    csv: str | None,
    hdr_log: str | None,
    **flags: Unpack[PlanFlags],
) -> int:
    """Measure, show the result, and return the exit status; see `netecho bench --help`."""
    busy_poll_ns = running.busy_poll_of(reactor_name, busy_poll_ns)
    # A parent of workers, or of a load beside which it probes, would keep them from a processor.
    running.install(reactor_name, 0 if flags["workers"] > 1 or loaded_latency else busy_poll_ns)
    plan = plan_of(
        flags,
        find_max=find_max,
        loaded_latency=loaded_latency,
        baseline=baseline,
        hdr_log=hdr_log,
        busy_poll_ns=busy_poll_ns,
    )
    adapter = protocols.for_target(plan.target)
    old: Baseline | None = None
    if baseline is not None or fail_on_regression is not None:
        from netecho.commands.baseline import Baseline

        old = Baseline.open(baseline, fail_on_regression, plan)
    forms = SavedForms.open(json, csv, sys.stdout, json_stream=json_stream, hdr_log=hdr_log)
    stream = JSONStream(sys.stdout) if json_stream else None
    show = None if json_stream or forms.take_stdout else result_view(sys.stdout)
    view = progress_view(sys.stderr, quiet=quiet)

    async def main(reactor: Any, signals: running.Signals) -> int:
        views = [view] if stream is None else [view, stream]
        server = EmbeddedServer(reactor, plan.target, reactor_name, own) if plan.embedded else None
        deaths: list[str] = []

        def on_worker(name: str, particulars: dict[str, Any]) -> None:
            if stream is not None:
                stream.event(name, **particulars)
            if name == "worker_died":
                deaths.append(died_line(particulars))

        if old is not None and (doubts := old.doubts(plan, system.describe(reactor))):
            write_out(f"netecho: {escape(doubts)}\n", sys.stderr)
        comment = f"bench {'a server of its own' if plan.embedded else plan.target}"
        log = None if forms.log is None else HistogramLog(forms.log, comment)
        on_interval = None if log is None else log.add
        watched = any(not isinstance(view, Quiet) for view in views)
        bench = functools.partial(_bench, reactor, reactor_name, adapter, on_worker, on_interval, watched)
        measure: Measure = functools.partial(_run_once, reactor, signals, server, views, bench)
        if loaded_latency:
            beside = functools.partial(_beside_a_load, reactor, reactor_name, adapter, on_worker, on_interval)
            measure = functools.partial(_run_once, reactor, signals, server, views, beside)
        if find_max:
            from netecho.commands import find_max as searching

            trials = searching.TrialView(views, stream, quiet=quiet)
            measure = functools.partial(searching.search, measure, trials)
        try:
            summary, route = await _measure(reactor, adapter, plan, server, views, measure)
        finally:
            for line in deaths:
                write_out(f"{line}\n", sys.stderr)
        if old is not None:
            summary = old.compare(summary)
        try:
            forms.save([summary])
        finally:  # what could not be saved is to be seen all the more
            if stream is not None:
                stream.result(summary)
            elif show is not None:
                show(summary)
        if log is not None:
            log.close()
        for kind in summary.errors:
            if (refused := explain_refusal(kind, plan.target)) is not None:
                write_out(f"netecho: {refused}\n", sys.stderr)
        if not plan.embedded and (nobody := unheard(route, summary)) is not None:
            write_out(f"netecho: {nobody}\n", sys.stderr)
        elif [*summary.errors] == ["timeout"] and (silence := unanswered(plan.target, summary)) is not None:
            write_out(f"netecho: {silence}\n", sys.stderr)
        status = exit_status(summary, adapter.kind)
        if server is not None and server.death is not None:
            write_out(f"netecho: {server.death}\n", sys.stderr)
            if signals.received is None:  # else it is the person who interrupted us
                status = ExitStatus.CORRUPTED if summary.counts.corrupted else ExitStatus.FAILED
        if old is not None and status is ExitStatus.GOOD:
            old.check_compared(summary)
        return status

    with _own_flags(plan, adapter) as own:
        return running.run(main)


@contextlib.contextmanager
def _own_flags(plan: BenchPlan, adapter: Adapter) -> Iterator[list[str]]:
    """Have the flags for a server of our own; it lives no longer than the files that they name."""
    flags = ["--stateful"] if adapter.reflects else []
    if plan.proxy is not None:
        flags += ["--proxy-protocol"]
    if not plan.embedded or plan.hmac_key is None:
        yield flags
        return
    with files.readable(plan.hmac_key, "--hmac-key") as key:
        yield [*flags, "--hmac-key", key]


async def _measure(
    reactor: Any,
    adapter: Adapter,
    plan: BenchPlan,
    server: EmbeddedServer | None,
    views: Sequence[ProgressView],
    measure: Measure,
) -> tuple[Summary, Route]:
    """Carry out the plan, with a server of our own around it if there is one; return the way there, too.

    Raises:
        NetechoError: it did not come so far as to measure anything.
    """
    try:
        try:
            if server is not None:
                url, authority = await server.start()
                plan = _aimed(plan, url, authority)
            route = await find_route(reactor, adapter, plan)
            summary = await measure(plan, route)
        finally:
            for view in views:
                view.finish()
            if server is not None:
                await server.stop()
    except NetechoError:
        if server is None or server.death is None:
            raise
        raise server.death from None  # it is the reason of whatever else was found wrong
    if server is None or server.death is None:
        return summary, route
    caveats = (str(server.death), *summary.caveats)
    return dataclasses.replace(summary, trustworthy=False, caveats=caveats), route


async def _run_once(
    reactor: Any,
    signals: running.Signals,
    server: EmbeddedServer | None,
    views: Sequence[ProgressView],
    bench: Callable[[BenchPlan, Route, OnProgress], Benchmark | BenchWorkers | LoadedLatencyRun],
    plan: BenchPlan,
    route: Route,
) -> Summary:
    def show(progress: Progress) -> None:
        for view in views:
            view.update(progress)

    benchmark = bench(plan, route, show)
    if server is not None:
        server.on_death(benchmark.interrupt)
    signals.on_first(lambda _: benchmark.interrupt())
    started = datetime.datetime.now(datetime.UTC).isoformat()
    try:
        await benchmark.run()
    except NetechoError:
        death = None if server is None else await server.dying()
        if death is None:
            raise
        raise death from None
    return benchmark.summary(started, system.describe(reactor))


def _bench(
    reactor: Any,
    reactor_name: ReactorName | None,
    adapter: Adapter,
    on_worker: OnWorker,
    on_interval: OnInterval | None,
    watched: bool,
    plan: BenchPlan,
    route: Route,
    on_progress: OnProgress,
) -> Benchmark | BenchWorkers:
    """Return what runs the plan: this process, or as many as it says."""
    if plan.workers == 1:
        key, told = secrets.randbits(32), on_progress if watched else None  # to tell nobody takes time too
        return Benchmark(reactor, plan, adapter, route, key, told, on_interval=on_interval)
    return BenchWorkers(reactor, plan, reactor_name, adapter, route, on_progress, on_worker, on_interval)


def _beside_a_load(
    reactor: Any,
    reactor_name: ReactorName | None,
    adapter: Adapter,
    on_worker: OnWorker,
    on_interval: OnInterval | None,
    plan: BenchPlan,
    route: Route,
    on_progress: OnProgress,
) -> LoadedLatencyRun:
    """Return what probes the target before and while the plan is run, by other processes than this one."""

    def load(told: OnProgress) -> BenchWorkers:
        return BenchWorkers(reactor, plan, reactor_name, adapter, route, told, on_worker, on_interval)

    def probes() -> ForeignProbes:
        return ForeignProbes(reactor, adapter, route, plan.size)

    return LoadedLatencyRun(reactor, probes, load, plan.length_ns, on_progress)


def _aimed(plan: BenchPlan, url: str, authority: str | None) -> BenchPlan:
    """Return the plan with the server that has been started for it as its target."""
    tls = plan.tls
    if authority is not None and tls.authorities is None and not tls.insecure:
        tls = dataclasses.replace(tls, authorities=authority)
    return dataclasses.replace(plan, target=resolve_target(url, None, None, False), tls=tls)


def exit_status(summary: Summary, kind: Kind) -> ExitStatus:
    """Return how the process ends, by what is worst in a result.

    Whoever sets objectives says by them what is a failure; that all are met does not excuse the others.
    Likewise with what is allowed to be slower than a baseline.
    Datagrams that are lost are a measurement; on a stream every failed exchange or connection is a failure.
    """
    if summary.interrupted:
        return ExitStatus.INTERRUPTED
    if summary.counts.corrupted:
        return ExitStatus.CORRUPTED
    missed = summary.search is not None and summary.search["rate_per_s"] is None
    regressed = summary.comparison is not None and summary.comparison["regressions"]
    if missed or regressed or not all(objective["passed"] for objective in summary.slo):
        return ExitStatus.SLO_MISSED
    failed = summary.partial or summary.connections.failed or (kind is not Kind.DATAGRAM and summary.errors)
    return ExitStatus.FAILED if failed or not summary.counts.completed else ExitStatus.GOOD
