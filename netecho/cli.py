"""The command line: what may be asked.

This module parses, and no more: each command's body imports the module that does its work, so that
--help and completion need neither Twisted nor Rich's terminal.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import netecho
from netecho.errors import UsageError
from netecho.impairment import Impairment
from netecho.options import flags, impairing, load, mailing, serving
from netecho.plans import SECOND, Arrival, Mode, MultiplexPlan, ReplyMode, ServerTLS, TLSVersion, Verify


class _Front(TyperGroup):
    """The list of commands, in plain text: Rich takes longer to import than all else that it needs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "rich_markup_mode": None})


app = typer.Typer(
    cls=_Front,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Every command has its own --help, with examples.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata
        import platform

        twisted = importlib.metadata.version("twisted")
        print(f"netecho {netecho.__version__} (Twisted {twisted}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def front(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, metavar="", help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Echo endpoints on any protocol, a client for them, and an honest measurement of the path."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Start echo servers.")
def serve(
    urls: serving.Urls = None,
    host: serving.Host = None,
    port: serving.Port = None,
    proto: flags.Proto = None,
    tls: flags.Secure = False,
    reply: serving.Reply = ReplyMode.ECHO,
    reactor: flags.Reactor = None,
    workers: flags.Workers = 1,
    cert: flags.Cert = None,
    key: flags.Key = None,
    client_ca: serving.ClientCA = None,
    alpn: flags.Alpn = None,
    tls_min: serving.TLSMin = TLSVersion.TLS_1_2,
    ciphers: serving.Ciphers = None,
    hmac_key: flags.HmacKey = None,
    stateful: serving.Stateful = False,
    proxy_protocol: serving.ProxyProtocol = False,
    qlog: flags.Qlog = None,
    quic_retry: serving.QuicRetry = False,
    alt_svc: serving.AltSvc = None,
    max_connections: serving.MaxConnections = None,
    max_message: serving.MaxMessage = None,
    idle_timeout: serving.IdleTimeout = None,
    mtu: flags.Mtu = None,
    drain_timeout: serving.DrainTimeout = 10 * SECOND,
    delay: impairing.DelayFlag = None,
    loss: impairing.Loss = 0.0,
    duplicate: impairing.Duplicate = 0.0,
    reorder: impairing.Reorder = 0.0,
    corrupt: impairing.Corrupt = 0.0,
    truncate: impairing.Truncate = 0.0,
    close_after: impairing.CloseAfter = None,
    seed: impairing.Seed = 0,
    json_stream: flags.JsonStream = False,
    verbose: flags.Verbose = False,
    exit_with_stdin: serving.ExitWithStdin = False,
) -> int:
    """Start echo servers; Ctrl-C stops them when all that was received is echoed.

    [bold]Examples[/bold]

      netecho serve
      netecho serve --proto udp --port 7000
      netecho serve tcp://:8000 tls://:8443 udp://:8000 unix:/tmp/echo
      netecho serve --tls --cert server.pem --key server.key --host '*'
      netecho serve --proto udp --loss 1% --delay 5ms~2ms:10% --seed 7
    """
    from netecho.commands import serve as command

    return command.run(
        urls=list(urls or ()),
        host=host,
        port=port,
        proto=proto,
        tls=tls,
        server_tls=ServerTLS(cert, key, client_ca, flags.split_words(alpn), tls_min, ciphers),
        reply=reply,
        reactor_name=reactor,
        workers=workers,
        hmac_key=hmac_key,
        stateful=stateful,
        impairment=Impairment(delay, loss, duplicate, reorder, corrupt, truncate, close_after, seed),
        max_message=max_message,
        proxied=proxy_protocol,
        qlog=qlog,
        quic_retry=quic_retry,
        alt_svc=alt_svc,
        max_connections=max_connections,
        idle_timeout_ns=idle_timeout,
        mtu=mtu,
        drain_timeout_ns=drain_timeout,
        json_stream=json_stream,
        verbose=verbose,
        exit_with_stdin=exit_with_stdin,
    )


@app.command(short_help="Talk to an echo server, or ping it.")
def client(
    target: flags.TargetText = None,
    port: flags.TargetPort = None,
    proto: flags.Proto = None,
    tls: flags.Secure = False,
    reactor: flags.Reactor = None,
    count: load.Count = None,
    interval: load.Interval = None,
    duration: load.Duration = None,
    size: load.Size = None,
    message: load.Message = None,
    timeout: load.Timeout = 5 * SECOND,
    verify: load.VerifyEcho = Verify.FULL,
    ipv4: flags.IPv4 = False,
    ipv6: flags.IPv6 = False,
    source: flags.Source = None,
    dscp: flags.Dscp = None,
    ttl: flags.Ttl = None,
    mtu: flags.Mtu = None,
    cacert: flags.CACert = None,
    cert: flags.Cert = None,
    key: flags.Key = None,
    insecure: flags.Insecure = False,
    sni: flags.Sni = None,
    alpn: flags.Alpn = None,
    keylog: flags.Keylog = None,
    starttls: flags.Starttls = False,
    hmac_key: flags.HmacKey = None,
    send_proxy: flags.SendProxy = None,
    method: flags.Method = None,
    header: flags.Header = None,
    body: flags.Body = None,
    http2: flags.HTTP2 = False,
    sender: mailing.Sender = None,
    recipient: mailing.Recipient = None,
    ehlo: mailing.Ehlo = None,
    streams: flags.Streams = None,
    qlog: flags.Qlog = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    json: flags.Json = None,
    json_stream: flags.JsonStream = False,
    csv: flags.Csv = None,
    hdr_log: flags.HdrLog = None,
) -> int:
    """Talk to an echo server: line by line in a terminal, as a pipe, or as a ping with -n, -i or -z.

    [bold]Examples[/bold]

      netecho client localhost 8000
      netecho client tls://host:8443 -v --cacert ca.pem
      netecho client unix:/tmp/echo < in > out
      netecho client -n 100 -i 10ms udp://host:8000
    """
    from netecho.commands import client as command

    flags.check_outputs(json=json, csv=csv, json_stream=json_stream, hdr_log=hdr_log)
    if message is not None and size is not None:
        raise UsageError("-m/--message and -l/--size exclude each other: a message has its own size")
    return command.run(
        target=target,
        port=port,
        proto=proto,
        tls=tls,
        reactor_name=reactor,
        count=count,
        interval_ns=interval,
        duration_ns=duration,
        size=size,
        message=None if message is None else os.fsencode(message),
        timeout_ns=timeout,
        sockets=flags.socket_options(ipv4, ipv6, source, dscp, ttl, mtu),
        client_tls=flags.client_tls(cacert, cert, key, insecure, sni, alpn, keylog, starttls),
        hmac_key=hmac_key,
        send_proxy=send_proxy,
        method=method,
        headers=tuple(header or ()),
        body=flags.read_body(body),
        http2=http2,
        sender=sender,
        recipient=recipient,
        ehlo=ehlo,
        multiplex=MultiplexPlan(streams, qlog),
        verify=verify,
        verbose=verbose,
        quiet=quiet,
        json=json,
        json_stream=json_stream,
        csv=csv,
        hdr_log=hdr_log,
    )


@app.command(short_help="Measure an echo server under load.")
def bench(
    target: flags.BenchTargetText = None,
    port: flags.TargetPort = None,
    proto: flags.Proto = None,
    tls: flags.Secure = False,
    reactor: flags.Reactor = None,
    workers: flags.Workers = 1,
    connections: load.Connections = 1,
    exchanges: load.Exchanges = None,
    duration: load.Duration = None,
    mode: load.ModeWord = Mode.EXCHANGE,
    size: load.Size = None,
    pipeline: load.Pipeline = None,
    warmup: load.Warmup = 0,
    timeout: load.Timeout = 5 * SECOND,
    connect_rate: load.ConnectRate = None,
    verify: load.VerifyEcho = Verify.FULL,
    no_reconnect: load.NoReconnect = False,
    connections_lifetime: load.ConnectionsLifetime = None,
    connections_stages: load.ConnectionsStages = None,
    resume: load.Resume = False,
    rate: load.Rate = None,
    rate_per_connection: load.RatePerConnection = None,
    arrival: load.ArrivalOrder = Arrival.CONSTANT,
    seed: load.Seed = 0,
    timer: load.TimerWord = None,
    stages: load.Stages = None,
    max_in_flight: load.MaxInFlight = load.MAX_IN_FLIGHT,
    slo: load.Slo = None,
    abort_on_fail: load.AbortOnFail = False,
    baseline: load.Baseline = None,
    fail_on_regression: flags.FailOnRegression = None,
    find_max: load.FindMax = None,
    loaded_latency: load.LoadedLatency = False,
    ipv4: flags.IPv4 = False,
    ipv6: flags.IPv6 = False,
    source: flags.Source = None,
    dscp: flags.Dscp = None,
    ttl: flags.Ttl = None,
    mtu: flags.Mtu = None,
    cacert: flags.CACert = None,
    cert: flags.Cert = None,
    key: flags.Key = None,
    insecure: flags.Insecure = False,
    sni: flags.Sni = None,
    alpn: flags.Alpn = None,
    keylog: flags.Keylog = None,
    starttls: flags.Starttls = False,
    hmac_key: flags.HmacKey = None,
    send_proxy: flags.SendProxy = None,
    method: flags.Method = None,
    header: flags.Header = None,
    body: flags.Body = None,
    http2: flags.HTTP2 = False,
    sender: mailing.Sender = None,
    recipient: mailing.Recipient = None,
    ehlo: mailing.Ehlo = None,
    streams: flags.Streams = None,
    qlog: flags.Qlog = None,
    quiet: flags.Quiet = False,
    json: flags.Json = None,
    json_stream: flags.JsonStream = False,
    csv: flags.Csv = None,
    hdr_log: flags.HdrLog = None,
) -> int:
    """Measure an echo server under load, for 10 seconds unless -n, -z or --stages say otherwise.

    Each connection sends when its last echo has come. With -q messages leave at that rate, whatever comes
    back. With --mode connect or handshake it opens connections and closes them again, -c at a time.

    Without a target it measures a server of its own, in a child process on this machine.

    [bold]Examples[/bold]

      netecho bench -c 500
      netecho bench localhost 8000 -c 50 -n 100k
      netecho bench tls://host:8443 -c 50 -q 20k -z 30s --slo 'p(99)<5ms'
      netecho bench udp://host:8000 --stages 10s:1k,30s:5k,10s:0 --json result.json
    """
    from netecho.commands import bench as command

    flags.check_outputs(json=json, csv=csv, json_stream=json_stream, hdr_log=hdr_log)
    if exchanges is None and duration is None and not (stages or connections_stages):
        duration = (5 if find_max else 10) * SECOND
    return command.run(
        target=target,
        port=port,
        proto=proto,
        tls=tls,
        reactor_name=reactor,
        workers=workers,
        connections=connections,
        exchanges=exchanges,
        duration_ns=duration,
        size=size,
        pipeline=pipeline,
        warmup_ns=warmup,
        timeout_ns=timeout,
        connect_rate=connect_rate,
        verify=verify,
        reconnect=not no_reconnect,
        rate=rate,
        rate_per_connection=rate_per_connection,
        arrival=arrival,
        seed=seed,
        timer=timer,
        stages=stages or (),
        max_in_flight=max_in_flight,
        mode=mode,
        resume=resume,
        connections_lifetime_ns=connections_lifetime,
        connections_stages=connections_stages or (),
        slo=tuple(slo or ()),
        abort_on_fail=abort_on_fail,
        baseline=baseline,
        fail_on_regression=fail_on_regression,
        find_max=tuple(find_max or ()),
        loaded_latency=loaded_latency,
        sockets=flags.socket_options(ipv4, ipv6, source, dscp, ttl, mtu),
        client_tls=flags.client_tls(cacert, cert, key, insecure, sni, alpn, keylog, starttls),
        hmac_key=hmac_key,
        send_proxy=send_proxy,
        method=method,
        headers=tuple(header or ()),
        body=flags.read_body(body),
        http2=http2,
        sender=sender,
        recipient=recipient,
        ehlo=ehlo,
        multiplex=MultiplexPlan(streams, qlog),
        quiet=quiet,
        json=json,
        json_stream=json_stream,
        csv=csv,
        hdr_log=hdr_log,
    )


@app.command(short_help="Show saved results again, or compare them.")
def report(
    files: flags.Files,
    compare: flags.Compare = False,
    fail_on_regression: flags.FailOnRegression = None,
    merge: flags.Merge = False,
    json: flags.Json = None,
    csv: flags.Csv = None,
    json_stream: flags.JsonStream = False,
) -> int:
    """Show saved results again, compare them, or add them up.

    [bold]Examples[/bold]

      netecho report before.json after.json
      netecho report result.json --csv result.csv
      netecho report --compare before.json after.json --fail-on-regression 5%
      netecho report --merge a.json b.json c.hlog --json all.json
    """
    from netecho.commands import report as command

    flags.check_outputs(json=json, csv=csv, json_stream=json_stream)
    return command.run(
        files,
        compare=compare,
        fail_on_regression=fail_on_regression,
        merge=merge,
        json=json,
        csv=csv,
        json_stream=json_stream,
    )


@app.command(hidden=True)
def worker() -> int:
    """Be one of the processes that --workers asks for; they are started by the one that was asked."""
    from netecho.commands import worker as command

    return command.run()
