"""`netecho client`: talk to an echo server, as a ping, as a pipe, or line by line at a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from netecho import protocols
from netecho.errors import ExitStatus, LostError, NetechoError, RefusedError, UsageError
from netecho.measure.histogram import Histogram
from netecho.measure.progress import ProbeReply
from netecho.measure.setup import CONNECT, HANDSHAKE, RESOLVE, Setup
from netecho.measure.summary import Summary
from netecho.options import (
    MessageFlags,
    check_block,
    check_keylog,
    check_size,
    check_unprobed,
    resolve_messages,
    resolve_target,
    size_of,
)
from netecho.plans import (
    SECOND,
    ClientTLS,
    ProbePlan,
    ReactorName,
    SocketOptions,
    TalkPlan,
    Verify,
)
from netecho.plans.network import check_fit
from netecho.protocols._contract import Adapter, Kind, Route
from netecho.rendering import connection
from netecho.rendering import dialogue as rendered
from netecho.rendering.files import SavedForms
from netecho.rendering.histogram_log import HistogramLog
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.probes import ProbeLines, ProbeStream, ProbeView
from netecho.rendering.result import result_view
from netecho.rendering.streams import escape, wrapped, write_out
from netecho.services import running
from netecho.services.dialogue import Dialogue, Heard
from netecho.services.opening import Opening
from netecho.services.probing import ProbeRun
from netecho.services.resolving import connect_failure, untried
from netecho.services.routing import find_route
from netecho.services.silence import DATAGRAM_SIZE
from netecho.services.standardio import BLOCK
from netecho.services.talking import DatagramPipe, StreamPipe

LAST_ECHOES_NS = SECOND
"""How long a conversation that was ended waits for the echoes that are still to come."""


def run(
    *,
    target: str | None,
    port: int | None,
    proto: str | None,
    tls: bool,
    reactor_name: ReactorName | None,
    count: int | None,
    interval_ns: int | None,
    duration_ns: int | None,
    size: int | None,
    message: bytes | None,
    timeout_ns: int,
    sockets: SocketOptions,
    client_tls: ClientTLS,
    verify: Verify,
    verbose: bool,
    quiet: bool,
    json: str | None,
    json_stream: bool,
    csv: str | None,
    hdr_log: str | None,
    **flags: Unpack[MessageFlags],
) -> int:
    """Run the command; see `netecho client --help`. Flags that were not given are `None`.

    It probes if -n, -i, -z or a form of result was given; a message alone is sent once. Else it is a
    conversation at a terminal, and a pipe where standard input or output is anything else.
    """
    running.install(reactor_name)
    goal = resolve_target(target, port, proto, tls)
    adapter = protocols.for_target(goal)
    check_keylog(client_tls, goal)
    request, mail = resolve_messages(adapter, flags, client_tls)
    payload = request.message if request is not None and message is None else message
    asked = (count, interval_ns, duration_ns, json, csv, hdr_log, payload)
    if any(flag is not None for flag in asked) or json_stream:
        if payload is not None and count is None and interval_ns is None and duration_ns is None:
            count = 1
        if interval_ns == 0:
            raise UsageError("-i/--interval 0 leaves no time between probes: for a load, use netecho bench")
        size = len(message) if message is not None else size_of(request, adapter, size)
        plan = ProbePlan(
            goal,
            count=count,
            interval_ns=SECOND if interval_ns is None else interval_ns,
            duration_ns=duration_ns,
            size=size,
            message=payload,
            timeout_ns=timeout_ns,
            verify=verify if request is None or request.is_echoed(size) else Verify.NONE,
            sockets=sockets,
            tls=client_tls,
            hmac_key=flags["hmac_key"],
            request=request,
            receipts=adapter.has_receipts,
            mail=mail,
            proxy=flags["send_proxy"],
            multiplex=flags["multiplex"],
        )
        check_size(
            adapter, goal.scheme, plan.payload_size, "-l/--size" if message is None else "-m/--message"
        )
        saved = SavedForms.open(json, csv, sys.stdout, json_stream=json_stream, hdr_log=hdr_log)
        text = None if json_stream or saved.take_stdout else result_view(sys.stdout)
        forms = _Forms(saved, verbose, quiet, json_stream, text)
        return running.run(lambda reactor, signals: _probe(reactor, signals, adapter, plan, forms))
    talk = TalkPlan(
        goal,
        sockets=sockets,
        tls=client_tls,
        timeout_ns=timeout_ns,
        hmac_key=flags["hmac_key"],
        request=request,
        mail=mail,
        proxy=flags["send_proxy"],
        multiplex=flags["multiplex"],
    )
    is_conversation = sys.stdin.isatty() and sys.stdout.isatty()
    check_block(adapter, goal.scheme, size, is_conversation)
    check_unprobed(adapter, flags["multiplex"].streams, verify)
    if is_conversation:
        return running.run(lambda reactor, signals: _converse(reactor, signals, adapter, talk, verbose))
    block = DATAGRAM_SIZE if adapter.kind is Kind.DATAGRAM else BLOCK
    if sockets.mtu is not None:
        block = min(block, goal.room(sockets.mtu))
    if size is not None:
        block = size
        check_fit(sockets.mtu, goal, size)
    return running.run(lambda reactor, _: _pipe(reactor, adapter, talk, block, verbose))


@dataclasses.dataclass(frozen=True, slots=True)
class _Forms:
    """In which forms probes and their result are shown."""

    saved: SavedForms
    verbose: bool
    quiet: bool
    json_stream: bool
    text: Callable[[Summary], bool] | None
    """Shows the result on standard output, if that is not taken."""

    def view(self, source: str, timeout_ns: int, overhead: int) -> ProbeView | None:
        """Return what shows each probe; `None` if nothing does."""
        if self.json_stream:
            return ProbeStream(sys.stdout)
        if self.quiet:
            return None
        stream = sys.stderr if self.saved.take_stdout else sys.stdout
        return ProbeLines(stream, source, timeout_ns, overhead)

    def show(self, summary: Summary) -> bool:
        """Show the result and save it; return whether anybody is still there to read standard output."""
        try:
            self.saved.save([summary])
        finally:  # what could not be saved is to be seen all the more
            if self.json_stream:
                is_read = JSONStream(sys.stdout).event("result", result=summary.to_json())
            else:
                is_read = self.text is None or self.text(summary)
        return is_read


async def _probe(
    reactor: Any, signals: running.Signals, adapter: Adapter, plan: ProbePlan, forms: _Forms
) -> int:
    view: ProbeView | None = None
    is_read = True
    unwritable: NetechoError | None = None

    def on_probe(reply: ProbeReply) -> None:
        nonlocal is_read, unwritable
        try:
            if view is None or view.reply(reply):
                return
        except NetechoError as error:  # not the connection's fault, which would be lost by it
            unwritable = error
        is_read = False
        probes.interrupt()

    route = await find_route(reactor, adapter, plan)
    log = None if forms.saved.log is None else HistogramLog(forms.saved.log, f"client {plan.target}")
    probes = ProbeRun(reactor, plan, adapter, route, on_probe, on_interval=None if log is None else log.add)
    signals.on_first(lambda _: probes.interrupt())
    await probes.connect()
    if probes.transport is not None:  # it was not interrupted before
        overhead = adapter.overhead(plan.payload_size, authenticated=plan.hmac_key is not None)
        view = forms.view(connection.peer(probes.transport, route), plan.timeout_ns, overhead)
        if forms.verbose:
            _describe(probes.transport, route, probes.setup)
    summary = await probes.run()
    is_read = forms.show(summary) and is_read
    if log is not None:
        log.close()
    if unwritable is not None:
        raise unwritable
    if not is_read:
        raise BrokenPipeError
    if probes.failure is not None:
        _note(f"netecho: {escape(probes.failure)}")
    return probes.exit_status


def _note(line: str) -> None:
    write_out(f"{wrapped(line, sys.stderr)}\n", sys.stderr)


def _describe(transport: Any, route: Route, setup: Mapping[str, Histogram]) -> None:
    for line in connection.lines(transport, route, setup):
        _note(line)


async def _talk(reactor: Any, adapter: Adapter, plan: TalkPlan, protocol: Any, verbose: bool) -> Route:
    """Connect a protocol to the plan's target; return the way there."""
    route = await find_route(reactor, adapter, plan)
    # That a connection which fell silent has been opened again goes without saying: what it lost is missing.
    route = dataclasses.replace(route, on_reopened=lambda: None, keep_alive=True)
    setup = Setup()
    opening = Opening(time.monotonic_ns)
    try:
        await adapter.converse(reactor, route, protocol, opening.on_connected)
    except Exception:
        raise connect_failure(Failure(), plan.target, opening) from None
    if route.resolve_ns is not None:
        setup.took(RESOLVE, route.resolve_ns)
    if opening.connect_ns is not None:
        setup.took(CONNECT, opening.connect_ns)
    if plan.target.secure:
        setup.took(HANDSHAKE, opening.handshake_ns(time.monotonic_ns()))
    if verbose:
        _describe(protocol.transport, route, setup.distributions())
    return route


async def _pipe(reactor: Any, adapter: Adapter, plan: TalkPlan, block: int, verbose: bool) -> int:
    timeout = plan.timeout_ns / SECOND
    pipe: StreamPipe | DatagramPipe
    if adapter.kind is Kind.STREAM:
        pipe = StreamPipe(reactor, 0, 1, block)
    else:
        pipe = DatagramPipe(reactor, 0, 1, block, timeout, of_datagrams=adapter.kind is Kind.DATAGRAM)
    route = await _talk(reactor, adapter, plan, pipe, verbose)
    try:
        await pipe.ended
    except RefusedError as error:
        raise RefusedError(f"{error}{untried(route)}") from None
    finally:
        if verbose:
            _note(f"{pipe.sent:,} bytes sent, {pipe.received:,} received")
    return ExitStatus.GOOD


async def _converse(
    reactor: Any, signals: running.Signals, adapter: Adapter, plan: TalkPlan, verbose: bool
) -> int:
    from netecho.services.terminal import Terminal  # here, as a prompt is long to import, and seldom there

    over: Deferred[None] = Deferred()

    def end(_: object = None) -> None:
        if not over.called:
            over.callback(None)

    def show(heard: Heard) -> None:
        terminal.show(rendered.heard_line(heard))

    dialogue = Dialogue(stream=adapter.kind is Kind.STREAM, receipts=adapter.has_receipts, on_heard=show)
    terminal = Terminal(reactor, lambda line: dialogue.say(line.encode("utf-8", "surrogateescape")))
    route = await _talk(reactor, adapter, plan, dialogue, verbose)
    dialogue.ended.addCallback(end)
    signals.on_first(end)
    _note(f"connected to {plan.target}: type a line to send it; Ctrl-D ends")
    with terminal.open():
        terminal.ended.addCallbacks(end, over.errback)
        await over
    patience = min(LAST_ECHOES_NS, plan.timeout_ns) / SECOND
    by_peer = dialogue.over
    with contextlib.suppress(TimeoutError):
        await dialogue.finish().addTimeout(patience, reactor)
    print(rendered.summary(dialogue.tally), flush=True)
    await dialogue.part()
    if isinstance(dialogue.error, RefusedError):
        raise RefusedError(f"{dialogue.error}{untried(route)}")
    if dialogue.error is not None:
        raise dialogue.error
    if by_peer and dialogue.awaited:
        raise LostError("the other end closed the connection and left lines without an echo")
    if by_peer:
        _note("the other end closed the connection")
    return ExitStatus.GOOD if signals.received is None else ExitStatus.INTERRUPTED
