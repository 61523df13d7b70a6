"""`netecho bench`: flags to a `BenchPlan`, the run, and its result in the forms asked for."""

from __future__ import annotations

import dataclasses
import datetime
import secrets
import sys
from typing import Any

from netecho import protocols
from netecho.errors import ExitStatus, UsageError
from netecho.measure.summary import Summary
from netecho.options.targets import resolve_target
from netecho.plans import SECOND, BenchPlan, ClientTLS, SocketOptions, Target, Verify
from netecho.protocols._contract import Adapter, Kind, Route
from netecho.services import system, tls
from netecho.services.benchmark import Benchmark
from netecho.services.embedded import EmbeddedServer
from netecho.services.resolving import resolve
from netecho.services.running import Signals
from netecho.services.running import run as run_reactor
from netecho.rendering.text import show
from netecho.rendering.streams import console_on


def run(
    *,
    target: str | None,
    port: int | None,
    proto: str | None,
    tls: bool,
    connections: int,
    exchanges: int | None,
    duration_ns: int | None,
    size: int,
    pipeline: int,
    warmup_ns: int,
    timeout_ns: int,
    connect_rate: float | None,
    verify: Verify,
    reconnect: bool,
    sockets: SocketOptions,
    client_tls: ClientTLS,
    quiet: bool,
    json: str | None,
    json_stream: bool,
    csv: str | None,
) -> int:
    """Measure, show the result, and return the exit status."""

    async def main(reactor: Any, signals: Signals) -> int:
        plan = BenchPlan(
            target=resolve_target(target, port, proto, tls),
            embedded=target is None and port is None,
            connections=connections,
            exchanges=exchanges,
            duration_ns=duration_ns,
            size=size,
            pipeline=pipeline,
            warmup_ns=warmup_ns,
            timeout_ns=timeout_ns,
            connect_rate=connect_rate,
            verify=verify,
            reconnect=reconnect,
            sockets=sockets,
            tls=client_tls,
        )
        summary = await _measure(reactor, signals, plan)
        show(summary, console_on(sys.stdout))
        import json as j
        if json == "-": print(j.dumps(summary.to_json()))
        return exit_status(summary, protocols.load(plan.target.protocol))

    return run_reactor(main)


async def _measure(reactor: Any, signals: Signals, plan: BenchPlan) -> Summary:
    adapter = protocols.load(plan.target.protocol)
    server = None
    if plan.embedded:
        server = EmbeddedServer(reactor, plan.target)
        url, ca = await server.start()
        plan = _aimed(plan, url, ca)
    try:
        benchmark = Benchmark(reactor, plan, adapter, await _route(reactor, plan, adapter), secrets.randbits(32))
        signals.on_first(lambda _: benchmark.interrupt())
        started = datetime.datetime.now(datetime.UTC).isoformat()
        await benchmark.run()
    finally:
        if server is not None:
            await server.stop()
    return benchmark.summary(started, system.describe(reactor))


def _aimed(plan: BenchPlan, url: str, ca: str | None) -> BenchPlan:
    client_tls = plan.tls
    if ca is not None and client_tls.authorities is None:
        client_tls = dataclasses.replace(client_tls, authorities=ca)
    target = resolve_target(url, None, None, False)
    return dataclasses.replace(plan, target=target, tls=client_tls)


async def _route(reactor: Any, plan: BenchPlan, adapter: Adapter) -> Route:
    target = plan.target
    addresses: tuple[str, ...] = ()
    if target.path is None:
        addresses = await resolve(reactor, target.host, target.port, plan.sockets, adapter.kind)
    creator = tls.for_client(plan.tls, target.host) if target.secure else None
    return Route(target, addresses, plan.sockets, creator, plan.timeout_ns / SECOND)


def exit_status(summary: Summary, adapter: Adapter) -> ExitStatus:
    """Return how the process ends: by what is worst in a result."""
    if summary.interrupted:
        return ExitStatus.INTERRUPTED
    if summary.counts.corrupted:
        return ExitStatus.CORRUPTED
    lossless = adapter.kind is not Kind.DATAGRAM
    if not summary.counts.completed or summary.connections.failed or (lossless and summary.errors):
        return ExitStatus.FAILED
    return ExitStatus.GOOD
