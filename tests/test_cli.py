"""The command line: what each command is given, and how mistakes end."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from typing import IO, Any

import pytest

from netecho import program, protocols
from netecho.errors import (
    DEBUG_VARIABLE,
    ExitStatus,
    NetechoError,
    RefusedError,
    UsageError,
    UserInterruptError,
)
from netecho.impairment import Delay, Impairment
from netecho.plans import (
    Arrival,
    ClientTLS,
    Family,
    Mode,
    MultiplexPlan,
    ProxyPlan,
    ReactorName,
    ReplyMode,
    ServerTLS,
    SocketOptions,
    Stage,
    Timer,
    TLSVersion,
    Verify,
)
from netecho.rendering.machine import to_json_text
from tests import samples

SECOND = 1_000_000_000
ROOT = pathlib.Path(program.__file__).parent.parent

SERVE: dict[str, Any] = {
    "urls": [],
    "host": None,
    "port": None,
    "proto": None,
    "tls": False,
    "server_tls": ServerTLS(),
    "reply": ReplyMode.ECHO,
    "reactor_name": None,
    "busy_poll_ns": None,
    "workers": 1,
    "hmac_key": None,
    "stateful": False,
    "impairment": Impairment(),
    "max_message": None,
    "proxied": False,
    "qlog": None,
    "quic_retry": False,
    "alt_svc": None,
    "max_connections": None,
    "idle_timeout_ns": None,
    "mtu": None,
    "drain_timeout_ns": 10 * SECOND,
    "json_stream": False,
    "verbose": False,
    "exit_with_stdin": False,
}
CLIENT: dict[str, Any] = {
    "target": None,
    "port": None,
    "proto": None,
    "tls": False,
    "reactor_name": None,
    "count": None,
    "interval_ns": None,
    "duration_ns": None,
    "size": None,
    "message": None,
    "timeout_ns": 5 * SECOND,
    "sockets": SocketOptions(),
    "client_tls": ClientTLS(),
    "hmac_key": None,
    "send_proxy": None,
    "method": None,
    "headers": (),
    "body": None,
    "http2": False,
    "sender": None,
    "recipient": None,
    "ehlo": None,
    "multiplex": MultiplexPlan(),
    "verify": Verify.FULL,
    "verbose": False,
    "quiet": False,
    "json": None,
    "json_stream": False,
    "csv": None,
    "hdr_log": None,
}
BENCH: dict[str, Any] = {
    "target": None,
    "port": None,
    "proto": None,
    "tls": False,
    "reactor_name": None,
    "busy_poll_ns": None,
    "workers": 1,
    "connections": 1,
    "exchanges": None,
    "duration_ns": 10 * SECOND,
    "size": None,
    "pipeline": None,
    "warmup_ns": 0,
    "timeout_ns": 5 * SECOND,
    "connect_rate": None,
    "verify": Verify.FULL,
    "reconnect": True,
    "rate": None,
    "rate_per_connection": None,
    "arrival": Arrival.CONSTANT,
    "seed": 0,
    "timer": None,
    "stages": (),
    "max_in_flight": 100_000,
    "mode": Mode.EXCHANGE,
    "resume": False,
    "connections_lifetime_ns": None,
    "connections_stages": (),
    "slo": (),
    "abort_on_fail": False,
    "baseline": None,
    "fail_on_regression": None,
    "find_max": (),
    "loaded_latency": False,
    "sockets": SocketOptions(),
    "client_tls": ClientTLS(),
    "hmac_key": None,
    "send_proxy": None,
    "method": None,
    "headers": (),
    "body": None,
    "http2": False,
    "sender": None,
    "recipient": None,
    "ehlo": None,
    "multiplex": MultiplexPlan(),
    "quiet": False,
    "json": None,
    "json_stream": False,
    "csv": None,
    "hdr_log": None,
}
REPORT: dict[str, Any] = {
    "files": ["a.json"],
    "compare": False,
    "fail_on_regression": None,
    "merge": False,
    "json": None,
    "csv": None,
    "json_stream": False,
}

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("serve", SERVE),
    ("serve tcp://:1 udp://:2", {**SERVE, "urls": ["tcp://:1", "udp://:2"]}),
    ("serve --host * --port 0", {**SERVE, "host": "*", "port": 0}),
    ("serve --proto udp --tls", {**SERVE, "proto": "udp", "tls": True}),
    ("serve --reply CHARGEN", {**SERVE, "reply": ReplyMode.CHARGEN}),
    ("serve --reactor fast", {**SERVE, "reactor_name": ReactorName.FAST}),
    ("serve --busy-poll 20us", {**SERVE, "busy_poll_ns": 20_000}),
    (
        "serve --cert c --key k --client-ca a --alpn h2,x --alpn y --tls-min 1.2 --ciphers z --keylog l",
        {**SERVE, "server_tls": ServerTLS("c", "k", "a", ("h2", "x", "y"), TLSVersion.TLS_1_2, "z", "l")},
    ),
    ("serve --tls-min 1.3", {**SERVE, "server_tls": ServerTLS(minimum=TLSVersion.TLS_1_3)}),
    ("serve --mtu 1280", {**SERVE, "mtu": 1280}),
    ("serve --workers 4", {**SERVE, "workers": 4}),
    (
        "serve --max-message 1MiB",
        {**SERVE, "max_message": 1 << 20},
    ),
    (
        "client --from a@b --to c@d --ehlo e",
        {**CLIENT, "sender": "a@b", "recipient": "c@d", "ehlo": "e"},
    ),
    (
        "bench --from <> --to c@d --ehlo e",
        {**BENCH, "sender": "<>", "recipient": "c@d", "ehlo": "e"},
    ),
    (
        "serve --max-connections 2k --idle-timeout 1m --drain-timeout 250ms",
        {**SERVE, "max_connections": 2000, "idle_timeout_ns": 60 * SECOND, "drain_timeout_ns": SECOND // 4},
    ),
    (
        "serve --json-stream -v --exit-with-stdin",
        {**SERVE, "json_stream": True, "verbose": True, "exit_with_stdin": True},
    ),
    (
        "serve --delay 5ms~2ms:10% --loss 1% --duplicate 2% --reorder 3% --corrupt 4% --truncate 5%",
        {**SERVE, "impairment": Impairment(Delay(5_000_000, 2_000_000, 0.1), 0.01, 0.02, 0.03, 0.04, 0.05)},
    ),
    (
        "serve --delay 1s~1s --close-after 2k --seed 7",
        {**SERVE, "impairment": Impairment(Delay(SECOND, SECOND), close_after=2000, seed=7)},
    ),
    ("serve --delay 3ms:50%", {**SERVE, "impairment": Impairment(Delay(3_000_000, 0, 0.5))}),
    (
        "serve --stateful --hmac-key k",
        {**SERVE, "stateful": True, "hmac_key": "k"},
    ),
    ("serve --proxy-protocol --reply info", {**SERVE, "proxied": True, "reply": ReplyMode.INFO}),
    ("client", CLIENT),
    ("client localhost 8000", {**CLIENT, "target": "localhost", "port": 8000}),
    (
        "client -n 100 -i 10ms udp://host:8000",
        {**CLIENT, "target": "udp://host:8000", "count": 100, "interval_ns": SECOND // 100},
    ),
    (
        "client host -z 1m30s -l 64KiB -w 0.5 --verify none",
        {
            **CLIENT,
            "target": "host",
            "duration_ns": 90 * SECOND,
            "size": 65536,
            "timeout_ns": SECOND // 2,
            "verify": Verify.NONE,
        },
    ),
    ("client -m h\udcffé", {**CLIENT, "message": b"h\xff\xc3\xa9"}),
    (
        "client -4 --source 127.0.0.1 --dscp ef --ttl 3",
        {**CLIENT, "sockets": SocketOptions(Family.IPV4, "127.0.0.1", 46, 3)},
    ),
    ("client --mtu 1280", {**CLIENT, "sockets": SocketOptions(mtu=1280)}),
    ("bench --mtu 1.5k", {**BENCH, "sockets": SocketOptions(mtu=1500)}),
    ("client --send-proxy v1", {**CLIENT, "send_proxy": ProxyPlan(1)}),
    ("client --send-proxy v2:::1", {**CLIENT, "send_proxy": ProxyPlan(2, "::1")}),
    ("bench --send-proxy v2:[::1]:80", {**BENCH, "send_proxy": ProxyPlan(2, "::1", 80)}),
    ("client --hmac-key k", {**CLIENT, "hmac_key": "k"}),
    ("client --reactor EPOLL", {**CLIENT, "reactor_name": ReactorName.EPOLL}),
    ("client -6", {**CLIENT, "sockets": SocketOptions(Family.IPV6)}),
    (
        "client --tls --cacert a --cert c --key k -k --sni n --alpn h2 --keylog l",
        {**CLIENT, "tls": True, "client_tls": ClientTLS("a", "c", "k", True, "n", ("h2",), "l")},
    ),
    ("client --starttls -k", {**CLIENT, "client_tls": ClientTLS(insecure=True, starttls=True)}),
    (
        "client -v --quiet --json - --csv f --hdr-log g",
        {**CLIENT, "verbose": True, "quiet": True, "json": "-", "csv": "f", "hdr_log": "g"},
    ),
    ("bench", BENCH),
    ("bench -c 500", {**BENCH, "connections": 500}),
    ("bench --workers 2 -c 500", {**BENCH, "workers": 2, "connections": 500}),
    ("bench -n 100k", {**BENCH, "exchanges": 100_000, "duration_ns": None}),
    ("bench -n 9 -z 3s", {**BENCH, "exchanges": 9, "duration_ns": 3 * SECOND}),
    (
        "bench h 80 --size 1k --pipeline 8 --warmup 1s -w 2s --connect-rate 1.5k --no-reconnect",
        {
            **BENCH,
            "target": "h",
            "port": 80,
            "size": 1000,
            "pipeline": 8,
            "warmup_ns": SECOND,
            "timeout_ns": 2 * SECOND,
            "connect_rate": 1500.0,
            "reconnect": False,
        },
    ),
    ("bench -l 64 --hmac-key k", {**BENCH, "size": 64, "hmac_key": "k"}),
    (
        "bench --method PUT --header A:b --header C:d --body \xe9 --http2",
        {**BENCH, "method": "PUT", "headers": ("A:b", "C:d"), "body": "\xc3\xa9", "http2": True},
    ),
    ("client --method GET", {**CLIENT, "method": "GET"}),
    ("serve --qlog d", {**SERVE, "qlog": "d"}),
    ("serve --quic-retry --alt-svc 8443", {**SERVE, "quic_retry": True, "alt_svc": 8443}),
    ("client --streams 3 --qlog d", {**CLIENT, "multiplex": MultiplexPlan(3, "d")}),
    ("bench --streams 1k --qlog d", {**BENCH, "multiplex": MultiplexPlan(1000, "d")}),
    ("bench --reactor asyncio", {**BENCH, "reactor_name": ReactorName.ASYNCIO}),
    ("bench --json-stream --quiet", {**BENCH, "json_stream": True, "quiet": True}),
    ("bench --hdr-log -", {**BENCH, "hdr_log": "-"}),
    (
        "bench -q 20k --arrival poisson --seed 7 --max-in-flight 2k",
        {**BENCH, "rate": 20_000.0, "arrival": Arrival.POISSON, "seed": 7, "max_in_flight": 2000},
    ),
    ("bench -q 5 --timer Hybrid", {**BENCH, "rate": 5.0, "timer": Timer.HYBRID}),
    ("bench --rate-per-connection 0.5", {**BENCH, "rate_per_connection": 0.5}),
    (
        "bench --stages 10s:1k,0:0",
        {**BENCH, "stages": (Stage(10 * SECOND, 1000.0), Stage(0, 0.0)), "duration_ns": None},
    ),
    ("bench --mode Connect", {**BENCH, "mode": Mode.CONNECT}),
    ("bench --mode handshake --resume", {**BENCH, "mode": Mode.HANDSHAKE, "resume": True}),
    ("bench --no-resume", BENCH),
    ("bench --connections-lifetime 5s", {**BENCH, "connections_lifetime_ns": 5 * SECOND}),
    (
        "bench --connections-stages 10s:100,10s:0",
        {
            **BENCH,
            "connections_stages": (Stage(10 * SECOND, 100.0), Stage(10 * SECOND, 0.0)),
            "duration_ns": None,
        },
    ),
    (
        "bench --slo p(99)<20ms --slo loss<0.1% --abort-on-fail",
        {**BENCH, "slo": ("p(99)<20ms", "loss<0.1%"), "abort_on_fail": True},
    ),
    (
        "bench --baseline a.json --fail-on-regression 5%",
        {**BENCH, "baseline": "a.json", "fail_on_regression": 0.05},
    ),
    (
        "bench --find-max p(99)<10ms --find-max loss<1%",
        {**BENCH, "find_max": ("p(99)<10ms", "loss<1%"), "duration_ns": 5 * SECOND},
    ),
    ("bench --loaded-latency", {**BENCH, "loaded_latency": True}),
    ("report a.json", REPORT),
    ("report a.json b --csv c", {**REPORT, "files": ["a.json", "b"], "csv": "c"}),
    (
        "report --compare a.json b --fail-on-regression 2.5%",
        {**REPORT, "files": ["a.json", "b"], "compare": True, "fail_on_regression": 0.025},
    ),
    ("report --merge a.json b", {**REPORT, "files": ["a.json", "b"], "merge": True}),
]

MISTAKES = {
    "serve --prot x": "netecho serve: no such option: --prot (did you mean --proto?)",
    "bench --conn 5": "netecho bench: no such option: --conn (did you mean --connections?)",
    "serve --port http": "netecho serve: --port: 'http' is not a port: it is a number from 0 to 65535",
    "serve --reply what": "netecho serve: --reply: 'what' is not one of "
    "'echo', 'discard', 'chargen', 'reject', 'tempfail', 'info', 'broadcast'",
    "serve --reactor iocp": "netecho serve: --reactor: 'iocp' is not one of "
    "'fast', 'epoll', 'poll', 'select', 'asyncio'",
    "serve --key k": "netecho: --key needs --cert: a key alone does not say who the server is",
    "serve --tls-min 1.3 --ciphers z": "netecho: --ciphers are of TLS 1.2, "
    "which --tls-min 1.3 does not speak: leave one out",
    "serve --delay 2ms~3ms": "netecho serve: --delay: its spread is at most the delay itself, as in 5ms~5ms: "
    "nothing leaves early",
    "serve --delay ~3ms": "netecho serve: --delay: '' is not a duration: write 10ms, 1m30s, or 2 for seconds",
    "serve --delay 5ms:": "netecho serve: --delay: '' is not a share: write 5% or 0.5%",
    "serve --loss 101%": "netecho: --loss is for a share of the answers: that is between 0% and 100%",
    "serve --seed 7": "netecho: --seed is of impairments: add --delay, --loss or another one",
    "serve --proto what": "netecho serve: --proto: unknown protocol 'what': it is one of tcp, udp",
    "client -i 10x": "netecho client: -i/--interval: '10x' is not a duration: "
    "write 10ms, 1m30s, or 2 for seconds",
    "client -4 -6": "netecho: -4 and -6 exclude each other: leave both out to use either",
    "client --send-proxy v3": "netecho client: --send-proxy: 'v3' is not a PROXY header: "
    "write v1, v2, v2:192.0.2.1:4711 or v2:[2001:db8::1]:4711",
    "client h 1 2": "netecho client: got unexpected extra argument(s) (2)",
    "client -m x -l 3": "netecho: -m/--message and -l/--size exclude each other: a message has its own size",
    "client -m x --body y": "netecho: -m/--message and --body exclude each other: each says what is sent",
    "client --json - --csv -": "netecho: only one of --json -, --csv -, --hdr-log - and --json-stream "
    "can have standard output",
    "bench -n": "netecho: option '-n' requires an argument",
    "bench --body @/none": "netecho: --body @/none: No such file or directory",
    "bench --body @/dev/zero": "netecho: --body @/dev/zero: this is more than 128 MiB, "
    "the largest message that there is",
    "bench -x 5": "netecho bench: no such option: -x",
    "bench -q 0": "netecho bench: -q/--rate: '0' is not a rate: write 200, 20k or 1.5M, per second",
    "bench --arrival late": "netecho bench: --arrival: 'late' is not one of 'constant', 'poisson', 'uniform'",
    "bench --timer busy": "netecho bench: --timer: 'busy' is not one of 'simple', 'hybrid'",
    "bench --stages 10s": "netecho bench: --stages: '10s' is not a stage: "
    "write a time and what to reach by then, as 10s:1k",
    "bench --mode tls": "netecho bench: --mode: 'tls' is not one of 'exchange', 'connect', 'handshake'",
    "bench --connections-stages 5": "netecho bench: --connections-stages: '5' is not a stage: "
    "write a time and what to reach by then, as 10s:1k",
    "bench --slo p(99)<20": "netecho bench: --slo: objective 'p(99)<20': '20' is not a time: "
    "write 20ms, 250us or 1s",
    "report": "netecho report: FILE is missing",
    "report a b --fail-on-regression 5": "netecho report: --fail-on-regression: '5' is not a share: "
    "write 5% or 0.5%",
    "serv": "netecho: no such command 'serv'. Did you mean 'serve'?",
    "serve --\x1b[31m": "netecho serve: no such option: --\\x1b[31m",
    "serve --proto \x1b]0;x\x07": "netecho serve: --proto: unknown protocol '\\x1b]0;x\\x07': "
    "it is one of tcp, udp",
}

Install = Callable[[str, Callable[..., int]], None]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two protocols, and nothing from the environment."""
    monkeypatch.setattr(protocols, "names", lambda: ("tcp", "udp"))
    for name in ("SSLKEYLOGFILE", DEBUG_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a function in the place of a command."""

    def put(name: str, run: Callable[..., int]) -> None:
        command = types.ModuleType(f"netecho.commands.{name}")
        command.run = run  # type: ignore[attr-defined]
        package = sys.modules.get("netecho.commands") or types.ModuleType("netecho.commands")
        monkeypatch.setattr(package, name, command, raising=False)
        monkeypatch.setitem(sys.modules, "netecho.commands", package)
        monkeypatch.setitem(sys.modules, f"netecho.commands.{name}", command)

    return put


def fail_with(error: BaseException) -> Callable[..., int]:
    """Return a command that raises."""

    def run(**_: Any) -> int:
        raise error

    return run


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which this netecho runs, with its output buffered as usual."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def start(
    *arguments: str, stdout: int | IO[str] = subprocess.PIPE, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run netecho in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "netecho", *arguments],
        env=environment(**more),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("line", "expected"), ASKED, ids=lambda value: ascii(value)[:60])
def test_asked(line: str, expected: dict[str, Any], install: Install) -> None:
    """Every flag reaches its command, in the units of plans, and has its default."""
    seen: list[dict[str, Any]] = []

    def run(*files: list[str], **asked: Any) -> int:
        seen.append({"files": files[0], **asked} if files else asked)
        return 7

    install(line.split(" ")[0], run)
    assert program.run(line.split(" ")) == 7
    assert seen == [expected]


def test_keylog_from_the_environment(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE is honoured, and the flag goes before it."""
    seen: list[ClientTLS] = []

    def run(*, client_tls: ClientTLS, **_: Any) -> int:
        seen.append(client_tls)
        return 0

    install("client", run)
    monkeypatch.setenv("SSLKEYLOGFILE", "from-environment")
    assert program.run(["client"]) == 0
    assert program.run(["client", "--keylog", "from-flag"]) == 0
    assert [tls.keylog for tls in seen] == ["from-environment", "from-flag"]


@pytest.mark.parametrize(("line", "expected"), MISTAKES.items(), ids=lambda text: ascii(text))
def test_mistakes(line: str, expected: str, install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line on standard error that names it, and status 2."""
    for name in ("serve", "client", "bench", "report"):
        install(name, fail_with(AssertionError("started")))
    assert program.run(line.split(" ")) == ExitStatus.USAGE
    assert capsys.readouterr() == ("", expected + "\n")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RefusedError("no"), 1, "netecho: no\n"),
        (UsageError("two\nlines\x1b"), 2, "netecho: two\\nlines\\x1b\n"),
        (UserInterruptError("stopped"), 130, "netecho: stopped\n"),
        (NetechoError("one\u2028more \udcff"), 1, "netecho: one\\u2028more \\udcff\n"),
        (FileNotFoundError(2, "No such file", "a\tb"), 1, "netecho: a\\tb: No such file\n"),
        (OSError("odd"), 1, "netecho: odd\n"),
        (BrokenPipeError(), 1, ""),
        (MemoryError(), 1, "netecho: out of memory\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(4), 4, ""),
        (SystemExit(), 0, ""),
    ],
    ids=repr,
)
def test_errors(
    error: BaseException, status: int, line: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every way to fail ends in at most one line, which cannot move the cursor, and its status."""
    install("serve", fail_with(error))
    assert program.run(["serve"]) == status
    assert capsys.readouterr().err == line


def test_defect(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect asks for a report in one line; its traceback is shown to who asks for it."""
    install("serve", fail_with(ZeroDivisionError("oops")))
    assert program.run(["serve"]) == ExitStatus.FAILED
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("netecho: ZeroDivisionError: oops")
    assert "report it" in said
    for anything_else in ("0", "", "yes"):  # which has no log either
        monkeypatch.setenv(DEBUG_VARIABLE, anything_else)
        assert program.run(["serve"]) == ExitStatus.FAILED
        assert capsys.readouterr().err == said
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert program.run(["serve"]) == ExitStatus.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_status_of_a_command(install: Install) -> None:
    """What a command returns is what the process ends with."""
    install("report", lambda files, **_: ExitStatus.SLO_MISSED)
    assert program.run(["report", "a"]) == 99


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help lists the commands; so does netecho alone."""
    assert program.run(arguments) == ExitStatus.GOOD
    said = capsys.readouterr().out
    for word in ("serve", "client", "bench", "report", "--version", "--install-completion"):
        assert word in said


@pytest.mark.parametrize("command", ["serve", "client", "bench", "report"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_commands(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command's help has examples, and no flag that is not for people."""
    assert program.run([command, flag]) == ExitStatus.GOOD
    said = capsys.readouterr().out
    assert f"netecho {command} " in said.partition("Examples")[2]
    assert "--exit-with-stdin" not in said
    assert "\x1b" not in said


@pytest.mark.parametrize("command", ["serve", "client", "bench", "report"])
def test_help_breaks_no_word(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words that a flag takes are whole at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert program.run([command, "--help"]) == ExitStatus.GOOD
    said = capsys.readouterr().out
    assert re.findall(r"<[a-z0-9.]+\|[a-z0-9.|]*+(?!>).*", said) == []
    assert max(map(len, said.splitlines())) == 80


@pytest.mark.parametrize(("encoding", "locale"), [("ascii", "C.UTF-8"), ("", "C")])
def test_help_in_ascii(encoding: str, locale: str) -> None:
    """Help is whole where there is only ASCII, and abridges nothing at 80 columns."""

    def told(columns: str) -> str:
        ended = start(
            *("bench", "--help"),
            COLUMNS=columns,
            LC_ALL=locale,
            PYTHONIOENCODING=encoding,
            PYTHONUTF8="0",
            PYTHONCOERCECLOCALE="0",
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "--baseline" in ended.stdout
        assert ended.stdout.isascii()
        return ended.stdout

    assert "?" in told("50")
    assert "?" not in told("80")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version says what netecho runs on, too."""
    import netecho

    assert program.run(["--version"]) == ExitStatus.GOOD
    said = capsys.readouterr().out
    assert said.startswith(f"netecho {netecho.__version__} (Twisted ")
    assert said.count("\n") == 1


def imported_by(arguments: list[str]) -> set[str]:
    """Return the packages that a run of netecho has imported."""
    script = (
        f"import sys; from netecho import program; program.run({arguments!r}); "
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(ended.stderr.split())


def test_help_is_light() -> None:
    """Help imports neither Twisted, nor Rich, nor pydantic, which cost more than all the rest."""
    imported = imported_by(["--help"])
    assert "typer" in imported
    assert imported.isdisjoint({"twisted", "zope", "rich", "pydantic", "hdrh", "asyncio", "ssl"})


@pytest.mark.parametrize(
    "arguments", [["serve", "--help"], ["bench", "--proto", "what"], ["client", "--nothing"]]
)
def test_parsing_needs_no_twisted(arguments: list[str]) -> None:
    """Neither a command's help nor a mistake imports Twisted, nor anything of networks."""
    assert imported_by(arguments).isdisjoint({"twisted", "zope", "hdrh", "socket"})


def test_flags_are_read_lightly() -> None:
    """A run whose result is JSON imports neither pydantic, to read its flags with, nor Rich."""
    flags = ["--proto", "tcp", "--verify", "none", "--slo", "p(99)<1s", "--sni", "it", "-n", "1"]
    imported = imported_by(["bench", "127.0.0.1", "1", *flags, "--json", "/dev/null", "--csv", "-"])
    assert "twisted" in imported
    assert imported.isdisjoint({"pydantic", "rich"})


def test_a_server_needs_no_histogram() -> None:
    """One that serves imports nothing of what results are made of, as it has none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        imported = imported_by(["serve", "--port", str(taken.getsockname()[1])])
    assert "twisted" in imported
    assert "hdrh" not in imported


def test_probes_need_no_prompt() -> None:
    """A client that nobody types to does not import what a prompt is made with."""
    imported = imported_by(["client", "127.0.0.1", "1", "-n", "1"])
    assert "twisted" in imported
    assert "prompt_toolkit" not in imported


def test_choices_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    """A choice that is written otherwise than it is listed is read, too: what is wrong here comes after."""
    choices = ["--verify", "NONE", "--arrival", "Poisson", "--mode", "exchange"]
    assert program.run(["bench", *choices, "--proto", "what"]) == ExitStatus.USAGE
    assert capsys.readouterr().err.startswith("netecho bench: --proto: unknown protocol 'what'")


def test_help_imports_little() -> None:
    """Help imports hardly more than Typer itself does, which is what its time goes into."""

    def modules(*command: str) -> set[str]:
        told = subprocess.run(
            [sys.executable, "-X", "importtime", *command],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stderr
        return {line.rpartition("|")[2].strip() for line in told.splitlines() if "import time:" in line}

    typer_alone = modules("-c", "import typer")
    with_help = modules("-m", "netecho", "--help")
    assert "netecho.cli" in with_help
    assert not {name for name in with_help if name.partition(".")[0] in ("rich", "twisted", "pydantic")}
    assert len(with_help) < 1.25 * len(typer_alone)


def test_process_status() -> None:
    """The process ends with the status, and `python -m netecho` calls itself netecho."""
    ended = start("serv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "netecho: no such command 'serv'. Did you mean 'serve'?\n"


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "status"), [("--version", 0), ("serv", 2)])
def test_closed_streams(closed: str, arguments: str, status: int) -> None:
    """A standard stream that was closed before the start changes nothing else."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m netecho {arguments} {closed}', sys.executable],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr
    assert bool(ended.stdout) == (status == 0 and ">&-" not in closed.replace("2>&-", ""))


def test_closed_streams_are_not_taken() -> None:
    """A file that is opened later does not become standard output."""
    script = (
        "import sys; from netecho import program; program._open_closed_streams(); "
        "opened = open('/dev/null'); sys.exit(0 if opened.fileno() > 2 else 1)"
    )
    ended = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" 0<&- >&- 2>&-', sys.executable, script],
        env=environment(),
        timeout=60,
    )
    assert ended.returncode == 0


@pytest.mark.parametrize("settings", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["at the end", "at once"])
def test_full_disk(tmp_path: pathlib.Path, settings: dict[str, str]) -> None:
    """Standard output that cannot be written is said in the same line, whoever notices it, and when."""
    result = tmp_path / "result.json"
    result.write_text(to_json_text(samples.bench()))
    with open("/dev/full", "w") as full:
        for arguments in (["--version"], ["report", str(result)], ["report", str(result), "--json", "-"]):
            done = start(*arguments, stdout=full, **settings)
            assert done.returncode == 1
            assert done.stderr == "netecho: standard output cannot be written: no space left on device\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["client", "--help"]])
def test_reader_gone(arguments: list[str]) -> None:
    """A reader that has left is not worth a line, and no failure: it has all that it wanted."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = start(*arguments, stdout=write)
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_interrupted_while_it_loads() -> None:
    """Ctrl-C before there is a command is one like any other, without a traceback."""
    program = (
        "import runpy, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "runpy.run_module('netecho', run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


@pytest.mark.parametrize(("arguments", "status", "lines"), [(["--version"], 0, 0), (["nothing"], 2, 1)])
def test_interrupted_at_the_end(arguments: list[str], status: int, lines: int) -> None:
    """Ctrl-C when a command has ended changes nothing any more."""
    program = (
        "import atexit, os\n"
        "atexit.register(os.kill, os.getpid(), 2)\n"
        "from netecho.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr.count(b"\n")) == (status, lines)


def test_garbage_is_looked_for_once_all_is_loaded() -> None:
    """What runs has its garbage collected, and none is looked for among what was loaded before."""
    script = (
        "import gc, sys\n"
        "gc.disable()\n"
        "from netecho.services import running\n"
        "async def main(reactor, signals):\n"
        "    return 42 if gc.isenabled() and gc.get_freeze_count() > len(gc.get_objects()) else 1\n"
        "sys.exit(running.run(main))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (42, b"", b"")
