"""The flags of `netecho bench`."""

from __future__ import annotations

import typer

from netecho.cli.command import Command
from netecho.options import flags, load, mailing, output, security
from netecho.plans import MAX_IN_FLIGHT, SECOND, Arrival, Mode, MultiplexPlan, Verify

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
def bench(
    target: flags.BenchTargetText = None,
    port: flags.TargetPort = None,
    proto: flags.Proto = None,
    tls: flags.Secure = False,
    reactor: flags.Reactor = None,
    busy_poll: flags.BusyPoll = None,
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
    max_in_flight: load.MaxInFlight = MAX_IN_FLIGHT,
    slo: load.Slo = None,
    abort_on_fail: load.AbortOnFail = False,
    baseline: load.Baseline = None,
    fail_on_regression: output.FailOnRegression = None,
    find_max: load.FindMax = None,
    loaded_latency: load.LoadedLatency = False,
    ipv4: flags.IPv4 = False,
    ipv6: flags.IPv6 = False,
    source: flags.Source = None,
    dscp: flags.Dscp = None,
    ttl: flags.Ttl = None,
    mtu: flags.Mtu = None,
    cacert: security.CACert = None,
    cert: security.Cert = None,
    key: security.Key = None,
    insecure: security.Insecure = False,
    sni: security.Sni = None,
    alpn: security.Alpn = None,
    keylog: security.Keylog = None,
    starttls: security.Starttls = False,
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
    quiet: output.Quiet = False,
    json: output.Json = None,
    json_stream: output.JsonStream = False,
    csv: output.Csv = None,
    hdr_log: output.HdrLog = None,
) -> int:
    """Measure an echo server under load, for 10 seconds unless -n, -z or --stages say otherwise.

    Each connection sends when its last echo has come; with -q, messages leave at that rate whatever comes.

    With --mode connect or handshake it opens connections and closes them again, -c at a time.

    Without a target it measures a server of its own, in a child process on this machine.

    [bold]Examples[/bold]

      netecho bench -c 500
      netecho bench localhost 8000 -c 50 -n 100k
      netecho bench tls://host:8443 -c 50 -q 20k -z 30s --slo 'p(99)<5ms'
      netecho bench udp://host:8000 --stages 10s:1k,30s:5k,10s:0 --json result.json
    """
    from netecho.commands import bench as command

    output.check_outputs(json=json, csv=csv, json_stream=json_stream, hdr_log=hdr_log)
    if exchanges is None and duration is None and not (stages or connections_stages):
        duration = (5 if find_max else 10) * SECOND
    return command.run(
        target=target,
        port=port,
        proto=proto,
        tls=tls,
        reactor_name=reactor,
        busy_poll_ns=busy_poll,
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
        client_tls=security.client_tls(cacert, cert, key, insecure, sni, alpn, keylog, starttls),
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
