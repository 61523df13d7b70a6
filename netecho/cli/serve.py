"""The flags of `netecho serve`."""

from __future__ import annotations

import typer

from netecho.cli.command import Command
from netecho.impairment import Impairment
from netecho.options import flags, impairing, output, panels, security, serving
from netecho.plans import SECOND, ReplyMode, ServerTLS, TLSVersion

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(cls=Command)
def serve(
    urls: serving.Urls = None,
    host: serving.Host = None,
    port: serving.Port = None,
    proto: flags.Proto = None,
    tls: flags.Secure = False,
    reply: serving.Reply = ReplyMode.ECHO,
    reactor: flags.Reactor = None,
    workers: flags.Workers = 1,
    busy_poll: flags.BusyPoll = None,
    cert: security.Cert = None,
    key: security.Key = None,
    client_ca: serving.ClientCA = None,
    alpn: security.Alpn = None,
    tls_min: serving.TLSMin = TLSVersion.TLS_1_2,
    ciphers: serving.Ciphers = None,
    keylog: serving.Keylog = None,
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
    json_stream: output.JsonStream = False,
    verbose: output.Verbose = False,
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
        server_tls=ServerTLS(
            certificate=cert,
            key=key,
            client_ca=client_ca,
            alpn=panels.split_words(alpn),
            minimum=tls_min,
            ciphers=ciphers,
            keylog=keylog,
        ),
        reply=reply,
        reactor_name=reactor,
        busy_poll_ns=busy_poll,
        workers=workers,
        hmac_key=hmac_key,
        stateful=stateful,
        impairment=Impairment(
            delay=delay,
            loss=loss,
            duplicate=duplicate,
            reorder=reorder,
            corrupt=corrupt,
            truncate=truncate,
            close_after=close_after,
            seed=seed,
        ),
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
