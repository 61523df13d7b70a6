"""`netecho serve`: flags to a `ListenPlan`, and the server run until it is told to end."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from netecho import protocols
from netecho.errors import ExitStatus, NetechoError
from netecho.impairment import Impairment
from netecho.options import (
    check_addresses,
    check_alpn,
    check_bounds,
    check_ciphers,
    check_connections,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_spreading,
    resolve_listeners,
)
from netecho.options.impairing import check_impairment
from netecho.plans import ListenPlan, ReactorName, ReplyMode, ServerTLS, Target
from netecho.rendering.server import ServerJSON, ServerText, ServerView
from netecho.rendering.streams import escape, lead_nowhere, write_out
from netecho.services import running
from netecho.services.echo_server import EchoServer
from netecho.services.event_stream import EventStream
from netecho.services.worker_serve import ServerWorkers


def run(
    *,
    urls: list[str],
    host: str | None,
    port: int | None,
    proto: str | None,
    tls: bool,
    server_tls: ServerTLS,
    reply: ReplyMode,
    reactor_name: ReactorName | None,
    busy_poll_ns: int | None,
    workers: int,
    hmac_key: str | None,
    stateful: bool,
    impairment: Impairment,
    max_message: int | None,
    proxied: bool,
    qlog: str | None,
    quic_retry: bool,
    alt_svc: int | None,
    max_connections: int | None,
    idle_timeout_ns: int | None,
    mtu: int | None,
    drain_timeout_ns: int,
    json_stream: bool,
    verbose: bool,
    exit_with_stdin: bool,
) -> int:
    """Serve until SIGINT or SIGTERM, then end in order; return the exit status."""
    busy_poll_ns = running.busy_poll_of(reactor_name, busy_poll_ns)
    # It is for those who serve, and not for a parent that would take a processor from them.
    running.install(reactor_name, busy_poll_ns if workers == 1 else 0)

    plan = ListenPlan(
        resolve_listeners(urls, host, port, proto, tls),
        reply=reply,
        tls=server_tls,
        max_connections=max_connections,
        idle_timeout_ns=idle_timeout_ns,
        drain_timeout_ns=drain_timeout_ns,
        workers=workers,
        hmac_key=hmac_key,
        stateful=stateful,
        mtu=mtu,
        max_message=max_message,
        impairment=impairment,
        proxied=proxied,
        qlog=qlog,
        quic_retry=quic_retry,
        alt_svc=alt_svc,
    )
    adapters = [protocols.for_target(one) for one in plan.listeners]
    check_addresses(adapters, plan.listeners)
    check_spreading(adapters, plan.listeners, plan.workers, stateful)
    check_reflection(adapters, hmac_key, stateful)
    check_replies(adapters, reply)
    check_impairment(adapters, impairment, reply)
    check_bounds(adapters, max_message)
    check_connections(adapters, max_connections, idle_timeout_ns)
    check_ciphers(adapters, plan.listeners, server_tls.ciphers)
    check_alpn(adapters, server_tls.alpn)
    check_proxy(adapters, "--proxy-protocol", proxied)
    check_qlog(adapters, qlog)
    check_retry(adapters, quic_retry)

    async def main(reactor: Any, signals: running.Signals) -> int:
        def view_on(events: Any) -> ServerView:
            if json_stream:
                return ServerJSON(events, verbose=verbose)
            return ServerText(sys.stdout, events, verbose=verbose)

        stream = sys.stdout if json_stream else sys.stderr
        view = at_rest = view_on(stream)
        events: EventStream | None = None

        def tell(name: str, particulars: dict[str, Any]) -> None:
            # A full disk ends the log, and no connection.
            with contextlib.suppress(NetechoError):
                view.event(name, particulars)

        def tell_of_worker(name: str, particulars: dict[str, Any]) -> None:
            with contextlib.suppress(NetechoError):
                view.worker(name, particulars)

        on_event = tell if verbose else None
        told: Deferred[None] = Deferred()
        server: EchoServer | ServerWorkers
        if plan.workers == 1:
            server = EchoServer(reactor, plan, on_event)
        else:
            server = ServerWorkers(reactor, plan, reactor_name, busy_poll_ns, tell_of_worker, on_event)
            server.failed.addErrback(lambda reason: None if told.called else told.errback(reason))
        failure: NetechoError | None = None

        def end(number: object = None) -> None:
            # Ctrl-C at a terminal reaches us as well as who started us, who will say when to end.
            if not told.called and not (exit_with_stdin and number is signal.SIGINT):
                told.callback(None)

        await server.start()
        if server.tls is not None and (lapse := server.tls.lapse(datetime.datetime.now(datetime.UTC))):
            line = f"--cert {server_tls.certificate}: it {lapse}, and clients will refuse it"
            write_out(f"netecho: {escape(line)}\n", sys.stderr)
        signals.on_first(end)  # not before: who waits for a name to be resolved is interrupted
        try:
            for listener in server.listeners:
                view.listening(str(listener.target), **_authority(server, listener.target))
            if verbose:
                events = EventStream(
                    reactor, stream, lambda number: view.dropped(number), lambda: lead_nowhere(stream)
                )
                view = view_on(events)
            if exit_with_stdin:
                StandardIO(_UntilEnd(end))
            try:
                await told
            except NetechoError as error:
                failure = error
            await server.stop()
        finally:
            server.abort()
            server.close()
        is_read = events is None or await events.finish()
        if is_read and events is not None and events.dropped:
            at_rest.dropped(events.dropped)
        if is_read or not os.path.sameopenfile(stream.fileno(), sys.stdout.fileno()):
            at_rest.stopped(server.totals)
        if failure is not None:
            raise failure
        return ExitStatus.GOOD

    return running.run(main)


def _authority(server: EchoServer | ServerWorkers, target: Target) -> dict[str, str]:
    """Return what a client needs to trust a secure listener, if we are the authority."""
    if not target.secure or server.tls is None or server.tls.authority is None:
        return {}
    return {"ca": server.tls.authority.path, "fingerprint": server.tls.authority.fingerprint}


class _UntilEnd(Protocol):
    """Reads standard input for its end alone: whoever started us has gone."""

    def __init__(self, end: Any) -> None:
        self._end = end

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self._end()
