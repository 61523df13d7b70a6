"""The flags of `netecho client`."""

from __future__ import annotations

import os

import typer

from netecho.cli.command import Command
from netecho.errors import UsageError
from netecho.options import flags, load, mailing, output, security
from netecho.plans import SECOND, MultiplexPlan, Verify

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
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
    verbose: output.Verbose = False,
    quiet: output.Quiet = False,
    json: output.Json = None,
    json_stream: output.JsonStream = False,
    csv: output.Csv = None,
    hdr_log: output.HdrLog = None,
) -> int:
    """Talk to an echo server: line by line in a terminal, as a pipe, or as a ping with -n, -i or -z.

    [bold]Examples[/bold]

      netecho client localhost 8000
      netecho client tls://host:8443 -v --cacert ca.pem
      netecho client unix:/tmp/echo < in > out
      netecho client -n 100 -i 10ms udp://host:8000
    """
    from netecho.commands import client as command

    output.check_outputs(json=json, csv=csv, json_stream=json_stream, hdr_log=hdr_log)
    if message is not None and size is not None:
        raise UsageError("-m/--message and -l/--size exclude each other: a message has its own size")
    if message is not None and body is not None:
        raise UsageError("-m/--message and --body exclude each other: each says what is sent")
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
        verify=verify,
        verbose=verbose,
        quiet=quiet,
        json=json,
        json_stream=json_stream,
        csv=csv,
        hdr_log=hdr_log,
    )
