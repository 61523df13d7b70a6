"""The flags of `netecho bench` as a `BenchPlan`, once it has been found that they go together."""

from __future__ import annotations

import dataclasses

from netecho import protocols
from netecho.errors import UsageError
from netecho.options import (
    MessageFlags,
    check_keylog,
    check_mode,
    check_size,
    resolve_messages,
    resolve_own_server,
    resolve_target,
    size_of,
)
from netecho.options.checks import names_of
from netecho.plans import (
    MAX_IN_FLIGHT,
    Arrival,
    BenchPlan,
    ClientTLS,
    Mode,
    SocketOptions,
    Stage,
    Timer,
    Verify,
)
from netecho.protocols._contract import Kind
from netecho.services import system
from netecho.services.keys import read_key


class PlanFlags(MessageFlags):
    """The flags that say what to run. Those that were not given are `None`."""

    target: str | None
    port: int | None
    proto: str | None
    tls: bool
    workers: int
    connections: int
    exchanges: int | None
    duration_ns: int | None
    size: int | None
    pipeline: int | None
    warmup_ns: int
    timeout_ns: int
    connect_rate: float | None
    verify: Verify
    reconnect: bool
    rate: float | None
    rate_per_connection: float | None
    arrival: Arrival
    seed: int
    timer: Timer | None
    stages: tuple[Stage, ...]
    max_in_flight: int
    mode: Mode
    resume: bool
    connections_lifetime_ns: int | None
    connections_stages: tuple[Stage, ...]
    slo: tuple[str, ...]
    abort_on_fail: bool
    sockets: SocketOptions
    client_tls: ClientTLS


def plan_of(
    flags: PlanFlags,
    *,
    find_max: tuple[str, ...],
    loaded_latency: bool,
    baseline: str | None,
    hdr_log: str | None,
    busy_poll_ns: int,
) -> BenchPlan:
    """Return what the flags ask for.

    Args:
        flags: those that are of the plan.
        find_max: the objectives of a search, of which this is the first run; empty if there is none.
        loaded_latency: whether there are probes beside the load.
        baseline: the file to compare with.
        hdr_log: the file for a histogram log.
        busy_poll_ns: for how long its reactor waits awake.

    Raises:
        UsageError: they do not go together, or the protocol has no use for them.
    """
    embedded = flags["target"] is None and flags["port"] is None
    if embedded:
        goal = resolve_own_server(flags["proto"], flags["tls"])
    else:
        goal = resolve_target(flags["target"], flags["port"], flags["proto"], flags["tls"])
    adapter = protocols.for_target(goal)
    check_keylog(flags["client_tls"], goal)
    request, mail = resolve_messages(adapter, flags, flags["client_tls"])
    hmac_key, multiplex, mode = flags["hmac_key"], flags["multiplex"], flags["mode"]
    if hmac_key is not None:
        read_key(hmac_key)  # so that a wrong file is found before a server of our own is started with it
    check_mode(
        adapter,
        mode,
        {
            "-l/--size": flags["size"],
            "--method": flags["method"],
            "--header": flags["headers"] or None,
            "--body": flags["body"],
            "--from": flags["sender"],
            "--to": flags["recipient"],
            "--ehlo": flags["ehlo"],
            "--starttls": flags["client_tls"].starttls or None,
            "--http2": (flags["http2"] and mode is Mode.CONNECT) or None,  # else it is told in the handshake
        },
    )
    if embedded and flags["client_tls"].starttls:
        raise UsageError("--starttls takes a target: a server of its own has no certificate for it")
    size, verify = size_of(request, adapter, flags["size"]), flags["verify"]
    if mode is not Mode.EXCHANGE:  # nothing is sent, and nothing compared
        if loaded_latency:
            raise UsageError("--loaded-latency is of exchanges: it does not go with --mode")
        size, verify = 0, Verify.NONE
    elif request is not None and not request.is_echoed(size):
        verify = Verify.NONE
    rate, slo, abort_on_fail = flags["rate"], flags["slo"], flags["abort_on_fail"]
    if find_max:
        from netecho.commands import find_max as searching

        searching.check_alone(
            {
                "-n": flags["exchanges"],
                "--rate-per-connection": flags["rate_per_connection"],
                "--stages": flags["stages"],
                "--connections-stages": flags["connections_stages"],
                "--slo": slo,
                "--abort-on-fail": abort_on_fail,
                "--baseline": baseline,
                "--loaded-latency": loaded_latency,
                "--hdr-log": hdr_log,
            }
        )
        rate, slo, abort_on_fail = searching.FIRST_RATE if rate is None else rate, find_max, True
    plan = BenchPlan(
        goal,
        embedded=embedded,
        connections=flags["connections"],
        exchanges=flags["exchanges"],
        duration_ns=flags["duration_ns"],
        size=size,
        pipeline=(multiplex.streams or 1) if flags["pipeline"] is None else flags["pipeline"],
        warmup_ns=flags["warmup_ns"],
        timeout_ns=flags["timeout_ns"],
        connect_rate=flags["connect_rate"],
        verify=verify,
        reconnect=flags["reconnect"],
        sockets=flags["sockets"],
        tls=flags["client_tls"],
        rate=rate,
        rate_per_connection=flags["rate_per_connection"],
        arrival=flags["arrival"],
        seed=flags["seed"],
        stages=flags["stages"],
        connections_stages=flags["connections_stages"],
        max_in_flight=flags["max_in_flight"],
        workers=flags["workers"],
        slo=slo,
        abort_on_fail=abort_on_fail,
        hmac_key=hmac_key,
        timer=flags["timer"] or Timer.SIMPLE,
        busy_poll_ns=busy_poll_ns,
        request=request,
        receipts=adapter.has_receipts,
        mail=mail,
        proxy=flags["send_proxy"],
        multiplex=multiplex,
        mode=mode,
        resume=flags["resume"],
        connections_lifetime_ns=flags["connections_lifetime_ns"],
    )
    if len(plan.split(plan.workers)) < plan.workers:
        raise UsageError(
            f"--workers {plan.workers} needs as many connections (-c) and exchanges (-n), or more"
        )
    if plan.seed and plan.arrival is Arrival.CONSTANT:
        raise UsageError("--seed draws random arrivals: add --arrival poisson or uniform")
    is_held_back = plan.open_loop and adapter.kind is Kind.DATAGRAM
    if plan.max_in_flight != MAX_IN_FLIGHT and not is_held_back:
        words = names_of(lambda one: one.kind is Kind.DATAGRAM)
        raise UsageError(f"--max-in-flight is for datagrams at a rate: add -q/--rate, on --proto {words}")
    if flags["pipeline"] is not None and is_held_back:
        raise UsageError("--pipeline is of no use with datagrams at a rate: --max-in-flight limits those")
    if flags["timer"] is not None and not plan.open_loop:
        raise UsageError("--timer is how the exchanges of a rate are waited for: add -q/--rate")
    if flags["timer"] is None:
        plan = dataclasses.replace(plan, timer=_timer_for(plan, system.cpus()))
    if mode is Mode.EXCHANGE:
        check_size(adapter, goal.scheme, plan.size, "-l/--size")
    return plan


def _timer_for(plan: BenchPlan, cpus: int | None) -> Timer:
    """Return how a plan waits unless the user says: awake if that takes no processor from anyone else.

    The other end may be on this machine too.
    """
    return Timer.HYBRID if plan.open_loop and (cpus or 1) > plan.workers else Timer.SIMPLE
