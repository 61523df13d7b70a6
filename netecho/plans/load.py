"""What `bench` runs, and how that is divided among workers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from netecho.errors import UsageError
from netecho.plans.checks import above_zero, at_least
from netecho.plans.messages import DEFAULT_SIZE, MailPlan, MultiplexPlan, ProxyPlan, RequestPlan
from netecho.plans.network import ClientTLS, SocketOptions, check_fit, check_sockets, check_tls, network_json
from netecho.plans.targets import Target
from netecho.plans.words import SECOND, Arrival, Mode, Timer, Verify

MAX_IN_FLIGHT: Final = 100_000
"""Datagrams of an open loop that may be in flight, unless the user says otherwise."""

MAX_PIPELINE: Final = 1_000_000
"""Exchanges that may be in flight on a connection: all are begun at once, in one turn of the reactor."""


def share(total: int, parts: int, index: int) -> int:
    """Return part `index` of `total` divided into `parts` that differ by at most one."""
    return total // parts + (index < total % parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a run over which a rate, or the number of connections, changes linearly."""

    duration_ns: int
    """0 changes it at once."""
    target: float
    """The value at the stage's end: exchanges per second, or connections."""

    def __post_init__(self) -> None:
        if self.duration_ns < 0 or not 0 <= self.target < math.inf:
            raise UsageError("a stage has a duration and a target that are not below 0, such as 10s:1k")

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"duration_ns": self.duration_ns, "target": self.target}


@dataclasses.dataclass(frozen=True, slots=True)
class Portion:
    """Which part of a divided plan this is, and what it has to know of the whole.

    It has the exchanges, and likewise the connections, of the numbers `index`, `index + parts`,
    `index + 2 * parts` and so on.
    """

    index: int
    parts: int
    connections: int
    """In the whole plan."""
    exchanges: int | None
    """In the whole plan."""

    def numbers(self, total: int) -> range:
        """Return the numbers, out of `total` from 0, that are this part's."""
        return range(self.index, total, self.parts)


@dataclasses.dataclass(frozen=True, slots=True)
class BenchPlan:
    """What `bench` runs over its connections, until a count or a time is reached.

    With a rate, or stages of one, it is an open loop: exchanges leave when they are due, whatever has come
    back. Without, it is a closed one: each connection sends when its last echo has come.
    """

    target: Target
    embedded: bool = False
    """The target is a server of our own, started for this run."""
    connections: int = 1
    exchanges: int | None = None
    """Stop after this many, over all connections."""
    duration_ns: int | None = 10 * SECOND
    size: int = DEFAULT_SIZE
    pipeline: int = 1
    """Exchanges in flight on each connection at most."""
    warmup_ns: int = 0
    timeout_ns: int = 5 * SECOND
    connect_rate: float | None = None
    """Connections opened a second, at most."""
    verify: Verify = Verify.FULL
    reconnect: bool = True
    sockets: SocketOptions = SocketOptions()
    tls: ClientTLS = ClientTLS()
    rate: float | None = None
    """Exchanges due a second, over all connections; with stages, the rate at which they begin."""
    rate_per_connection: float | None = None
    """Exchanges due a second on each connection; the rates of stages are then each connection's too."""
    arrival: Arrival = Arrival.CONSTANT
    seed: int = 0
    """The same seed makes the same random arrivals."""
    stages: tuple[Stage, ...] = ()
    """How the rate changes, from `rate` or from 0. They say how long the run is."""
    connections_stages: tuple[Stage, ...] = ()
    """How the number of connections changes, from `connections`. They say how long the run is."""
    max_in_flight: int = MAX_IN_FLIGHT
    """Datagrams of an open loop in flight, over all connections; what is due beyond that is held back."""
    workers: int = 1
    slo: tuple[str, ...] = ()
    """Objectives, as `measure.slo.Objective.parse` takes them. They are not checked here but where flags are
    read: plans do not know `measure`."""
    abort_on_fail: bool = False
    """End as soon as an objective is out of reach."""
    portion: Portion | None = None
    """Which part of a divided plan this is; `None`: the whole."""
    hmac_key: str | None = None
    """As in `TalkPlan`."""
    mode: Mode = Mode.EXCHANGE
    """In the other modes, `connections` is how many there are at a time."""
    resume: bool = False
    """Each connection resumes the TLS session of the one before it, of which it takes the place."""
    connections_lifetime_ns: int | None = None
    """Connections are closed in order at this age, and opened anew."""
    request: RequestPlan | None = None
    """As in `TalkPlan`."""
    receipts: bool = False
    """Receipts stand for echoes."""
    mail: MailPlan | None = None
    """As in `TalkPlan`."""
    proxy: ProxyPlan | None = None
    """As in `TalkPlan`."""
    multiplex: MultiplexPlan = MultiplexPlan()
    """As in `TalkPlan`."""
    timer: Timer = Timer.SIMPLE
    busy_poll_ns: int = 0
    """How long it looks for events before it sleeps. That is its reactor's, which is told when it is made."""

    def __post_init__(self) -> None:
        # With stages, a part of a plan may have no connection at first.
        least = 0 if self.portion is not None and self.connections_stages else 1
        at_least(least, "-c/--connections", self.connections)
        at_least(1, "-n/--exchanges", self.exchanges)
        above_zero("-z/--duration", self.duration_ns)
        at_least(0, "-l/--size", self.size)
        at_least(1, "--pipeline", self.pipeline)
        if self.pipeline > MAX_PIPELINE:
            raise UsageError(f"--pipeline must be at most {MAX_PIPELINE}")
        at_least(0, "--warmup", self.warmup_ns)
        above_zero("-w/--timeout", self.timeout_ns)
        at_least(1, "--max-in-flight", self.max_in_flight)
        at_least(1, "--workers", self.workers)
        above_zero("--connections-lifetime", self.connections_lifetime_ns)
        above_zero("--connect-rate", self.connect_rate)
        self._check_end()
        self._check_rate()
        self._check_mode()
        if self.abort_on_fail and not self.slo:
            raise UsageError("--abort-on-fail needs an objective to fail: --slo")
        check_tls(self.tls, self.target, self.request)
        check_sockets(self.sockets, self.target)
        check_fit(self.sockets.mtu, self.target, self.size)

    def _check_end(self) -> None:
        if self.stages or self.connections_stages:
            if self.duration_ns is not None:
                raise UsageError("stages say how long a run is: leave out -z")
            if not self.length_ns:
                raise UsageError("stages without any duration end a run before it begins")
        elif self.exchanges is None and self.duration_ns is None:
            raise UsageError("a run needs an end: -n or -z")
        if any(not one.target.is_integer() for one in self.connections_stages):
            raise UsageError("--connections-stages lead to whole numbers of connections")

    def _check_rate(self) -> None:
        above_zero("-q/--rate", self.rate)
        above_zero("--rate-per-connection", self.rate_per_connection)
        if self.rate is not None and self.rate_per_connection is not None:
            raise UsageError("-q/--rate is for all connections together: leave out --rate-per-connection")
        if self.rate_per_connection is not None and self.connections_stages:
            raise UsageError("--connections-stages change how many share a rate: give it as -q/--rate")
        if not self.open_loop:
            if self.arrival is not Arrival.CONSTANT:
                raise UsageError("--arrival is how the exchanges of a rate follow each other: add -q/--rate")
            if self.timer is not Timer.SIMPLE:
                raise UsageError("--timer is how the exchanges of a rate are waited for: add -q/--rate")
            return
        start = self.rate or self.rate_per_connection
        if start is None and not any(one.target for one in self.stages):
            raise UsageError("--stages never lead to a rate above 0")
        if start is None and self.warmup_ns:
            raise UsageError("--warmup needs a rate to warm up at: add -q/--rate, where --stages begin")

    def _check_mode(self) -> None:
        if self.resume and (not self.target.secure or self.mode is Mode.CONNECT):
            raise UsageError("--resume is for TLS sessions: add --tls, with --mode handshake or exchange")
        if self.mode is Mode.EXCHANGE:
            return
        if self.mode is Mode.HANDSHAKE and not self.target.secure:
            raise UsageError(f"--mode handshake is for TLS, which {self.target} does not speak: add --tls")
        for flag, given in (
            ("--streams", self.multiplex.streams is not None),
            ("--pipeline", self.pipeline > 1),
            ("--connect-rate", self.connect_rate is not None),
            ("--rate-per-connection", self.rate_per_connection is not None),
            ("--connections-lifetime", self.connections_lifetime_ns is not None),
            ("--no-reconnect", not self.reconnect),
        ):
            if given:
                raise UsageError(
                    f"{flag} is for connections that stay, which those of --mode {self.mode} do not: "
                    "-c says how many are open at a time, and -q how many are opened a second"
                )

    @property
    def open_loop(self) -> bool:
        """Whether exchanges leave by a schedule, and not as echoes come back."""
        return self.rate is not None or self.rate_per_connection is not None or bool(self.stages)

    @property
    def length_ns(self) -> int | None:
        """How long the run is if nothing ends it early; `None`: until all exchanges have been sent."""
        if not self.stages and not self.connections_stages:
            return self.duration_ns
        return max(sum(one.duration_ns for one in each) for each in (self.stages, self.connections_stages))

    @property
    def most_connections(self) -> int:
        """The largest number of connections at any time of the run."""
        return max([self.connections, *(int(one.target) for one in self.connections_stages)])

    def split(self, parts: int) -> tuple[BenchPlan, ...]:
        """Divide the plan among `parts` workers so that the parts add up to it exactly.

        Connections, exchanges, the connect rate and what may be in flight are divided. A schedule is
        interleaved (`measure.pacing.lanes_of`), as are stages of connections. All else is the same in every
        part. There are never more parts than connections or exchanges, so that each has something to do.
        """
        most = self.most_connections
        parts = max(1, min(parts, most, self.exchanges or most, self.max_in_flight))
        whole = self.portion or Portion(0, 1, self.connections, self.exchanges)
        portions = [
            dataclasses.replace(whole, index=whole.index + whole.parts * index, parts=whole.parts * parts)
            for index in range(parts)
        ]
        return tuple(
            dataclasses.replace(
                self,
                connections=share(self.connections, parts, index),
                exchanges=self._exchanges_of(portion),
                connect_rate=None if self.connect_rate is None else self.connect_rate / parts,
                max_in_flight=share(self.max_in_flight, parts, index),
                workers=1,
                portion=portion,
            )
            for index, portion in enumerate(portions)
        )

    def _exchanges_of(self, portion: Portion) -> int | None:
        if portion.exchanges is None:
            return None
        if self.rate_per_connection is None:
            return share(portion.exchanges, portion.parts, portion.index)
        # Each connection has its share of the exchanges, and the portion has those of its connections.
        return sum(
            share(portion.exchanges, portion.connections, number)
            for number in portion.numbers(portion.connections)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the `plan` object of `netecho.result/1`."""
        return {
            "target": str(self.target),
            "embedded": self.embedded,
            "model": "open" if self.open_loop else "closed",
            "connections": self.connections,
            "rate_per_s": self.rate,
            "rate_per_connection_per_s": self.rate_per_connection,
            "arrival": self.arrival.value if self.open_loop else None,
            "seed": self.seed if self.open_loop and self.arrival is not Arrival.CONSTANT else None,
            "timer": self.timer.value if self.open_loop else None,
            "busy_poll_ns": self.busy_poll_ns,
            "stages": [one.to_json() for one in self.stages] or None,
            "connections_stages": [one.to_json() for one in self.connections_stages] or None,
            "max_in_flight": self.max_in_flight if self.open_loop else None,
            "workers": self.workers,
            "slo": list(self.slo),
            "exchanges": self.exchanges,
            "duration_ns": self.duration_ns,
            "size": self.size,
            "pipeline": self.pipeline,
            "warmup_ns": self.warmup_ns,
            "timeout_ns": self.timeout_ns,
            "connect_rate_per_s": self.connect_rate,
            "verify": self.verify.value,
            "reconnect": self.reconnect,
            "hmac": self.hmac_key is not None,
            "request": None if self.request is None else self.request.to_json(),
            "receipts": self.receipts,
            "mail": None if self.mail is None else self.mail.to_json(),
            "send_proxy": None if self.proxy is None else self.proxy.to_json(),
            "streams": self.multiplex.streams,
            "mode": self.mode.value,
            "resume": self.resume if self.target.secure else None,
            "connections_lifetime_ns": self.connections_lifetime_ns,
            **network_json(self.sockets, self.tls if self.target.secure or self.tls.starttls else None),
        }
