"""What protocols cannot do of what flags ask for is refused, in a line that says which can."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import typing
from typing import Any

import pytest

from netecho import protocols
from netecho.errors import UsageError
from netecho.options import (
    check_addresses,
    check_alpn,
    check_block,
    check_ciphers,
    check_connections,
    check_keylog,
    check_mode,
    check_multiplex,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_size,
    check_spreading,
    check_unprobed,
    resolve_listeners,
    serving,
)
from netecho.options.checks import MOST_SIZE
from netecho.plans import ClientTLS, Mode, MultiplexPlan, ReplyMode, RequestPlan, Target, Verify
from netecho.protocols import _dtls_server, _inherited, _quic_server, _quic_wire


@dataclasses.dataclass
class Reflects:
    """As much of an adapter as flags for reflectors ask of it."""

    reflects: bool


@pytest.mark.parametrize(
    ("reflect", "hmac_key", "stateful", "flag"),
    [
        ([False], None, False, None),
        ([True], "key", True, None),
        ([False, True], "key", True, None),
        ([False], "key", False, "--hmac-key"),
        ([False, False], None, True, "--stateful"),
        ([False], "key", True, "--hmac-key"),
    ],
)
def test_flags_for_reflectors(
    reflect: list[bool], hmac_key: str | None, stateful: bool, flag: str | None
) -> None:
    """They are of no use to other protocols, and then the first of them is named."""
    adapters: Any = [Reflects(reflects) for reflects in reflect]
    if flag is None:
        check_reflection(adapters, hmac_key, stateful)
    else:
        with pytest.raises(UsageError, match=f"{flag} is for reflectors"):
            check_reflection(adapters, hmac_key, stateful)


def test_flags_for_proxies() -> None:
    """They are for protocols with stream connections alone, and one that has none is named."""
    streams = [protocols.load(name) for name in ("tcp", "unix", "http", "ws", "smtp")]
    check_proxy(streams, "--proxy-protocol", True)
    for name in ("udp", "stamp"):
        adapters = [*streams, protocols.load(name)]
        check_proxy(adapters, "--send-proxy", False)
        with pytest.raises(UsageError, match=f"--send-proxy is for stream connections, which {name} does"):
            check_proxy(adapters, "--send-proxy", True)


@pytest.mark.parametrize(
    ("names", "alpn", "line"),
    [
        (["http"], ["h2", "http/1.1"], None),
        (["http3"], ["h3"], None),
        (["http", "http3"], ["h2", "h3"], None),
        (["tcp"], ["h2", "h3"], None),
        (["http"], ["another"], None),
        (["http"], ["h2", "h3"], "--alpn h3 is for --proto http3: http is another version of HTTP"),
        (["http3"], ["h3", "h2"], "--alpn h2 is for --proto http: http3 is another version of HTTP"),
        (["http3"], ["http/1.1"], "--alpn http/1.1 is for --proto http: http3 is another version of HTTP"),
        (["tcp", "http"], ["h3"], "--alpn h3 is for --proto http3: http is another version of HTTP"),
    ],
)
def test_alpn(names: list[str], alpn: list[str], line: str | None) -> None:
    """A version of HTTP that none of the protocols of requests can speak is not offered, nor chosen."""
    adapters = [protocols.load(name) for name in names]
    if line is None:
        check_alpn(adapters, alpn)
    else:
        with pytest.raises(UsageError) as caught:
            check_alpn(adapters, alpn)
        assert str(caught.value) == line


@dataclasses.dataclass
class Multiplexes:
    """As much of an adapter as flags for streams ask of it."""

    multiplexes: bool
    has_qlog: bool
    name: str = "one"
    alpn: tuple[str, ...] = ("h2",)


@pytest.mark.parametrize(
    ("adapter", "streams", "qlog", "request_", "why"),
    [
        (Multiplexes(False, False), None, None, None, None),
        (Multiplexes(True, True), 3, "here", None, None),
        (Multiplexes(True, False), 3, None, RequestPlan(http2=True), None),
        (Multiplexes(True, False), 3, None, RequestPlan(), "add --http2"),
        (Multiplexes(False, True), 3, "here", None, "one has not"),
        (Multiplexes(True, False), 3, "here", None, "add --proto http3 or quic"),
        (Multiplexes(True, True), None, "nowhere", None, "no such directory"),
    ],
)
def test_flags_for_streams(
    adapter: Any,
    streams: int | None,
    qlog: str | None,
    request_: RequestPlan | None,
    why: str | None,
    tmp_path: pathlib.Path,
) -> None:
    """They are for protocols that have streams, or write down what they do, where that can be."""
    (tmp_path / "here").mkdir()
    multiplex = MultiplexPlan(streams, None if qlog is None else str(tmp_path / qlog))
    if why is None:
        check_multiplex(adapter, multiplex, request_)
    else:
        with pytest.raises(UsageError, match=why):
            check_multiplex(adapter, multiplex, request_)


@pytest.mark.parametrize(
    ("scheme", "stateful", "is_refused"),
    [
        ("tcp", False, False),
        ("udp", False, False),
        ("stamp", False, False),
        ("stamp", True, True),
        ("dtls", False, True),
        ("quic", False, True),
        ("http3", False, True),
    ],
)
def test_several_processes_where_the_system_does_not_spread(
    scheme: str, stateful: bool, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps its peers cannot be served by several processes that share a socket."""
    targets = resolve_listeners(["tcp://:0", f"{scheme}://127.0.0.1:0"], None, None, None, False)
    adapters = [protocols.for_target(target) for target in targets]
    monkeypatch.setattr(_inherited, "SPREADS", True)
    check_spreading(adapters, targets, 2, stateful)
    monkeypatch.setattr(_inherited, "SPREADS", False)
    check_spreading(adapters, targets, 1, stateful)
    says = f"--workers: this system would give the datagrams of one {scheme}:// peer to several"
    with pytest.raises(UsageError, match=says) if is_refused else contextlib.nullcontext():
        check_spreading(adapters, targets, 2, stateful)


def test_retries_are_of_quic() -> None:
    """Who has no connections of QUIC has nobody retry."""
    quic, tcp = (protocols.load(name) for name in ("quic", "tcp"))
    check_retry([tcp], False)
    check_retry([tcp, quic], True)
    with pytest.raises(UsageError, match="--quic-retry is for QUIC"):
        check_retry([tcp], True)


def test_qlog_needs_a_directory_of_ours(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody may write to is told before anything is sent."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    adapters: Any = [Multiplexes(True, True)]
    with pytest.raises(UsageError, match="cannot be written to"):
        check_qlog(adapters, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("tcp", 0, "-l: a message on tcp has at least 1 byte, not 0"),
        ("tcp", MOST_SIZE, None),
        ("tcp", 10 << 30, "-l: a message on tcp has at most 134,217,728 bytes, not 10,737,418,240"),
        ("http", MOST_SIZE + 1, "-l: a message on http has at most 134,217,728 bytes, not 134,217,729"),
        ("udp", MOST_SIZE, "-l: a message on udp has at most 65,507 bytes, not 134,217,728"),
        ("dtls", 20_000, "-l: a message on dtls has at most 16,384 bytes, not 20,000"),
    ],
)
def test_sizes(name: str, size: int, says: str | None) -> None:
    """A message is as long as its protocol takes, and never so long that it cannot be made."""
    adapter, _ = protocols.for_scheme(name)
    if says is None:
        check_size(adapter, name, size, "-l")
        return
    with pytest.raises(UsageError) as caught:
        check_size(adapter, name, size, "-l")
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("urls", "clash"),
    [
        (["http://:8000", "tcp://:8000"], True),
        (["quic://:8000", "udp://:8000"], True),
        (["https://:8000", "http3://:8000", "tcp://:8001", "tcp://[::1]:8000"], False),
        (["http://:0", "tcp://:0"], False),
        (["unix:/a", "unix:/b"], False),
    ],
)
def test_addresses_of_several_protocols(urls: list[str], clash: bool) -> None:
    """Two protocols cannot have one port, unless only one of them is on UDP."""
    targets = resolve_listeners(urls, None, None, None, False)
    adapters = [protocols.for_target(target) for target in targets]
    told = pytest.raises(UsageError, match="twice") if clash else contextlib.nullcontext()
    with told:
        check_addresses(adapters, targets)


def test_replies() -> None:
    """A listener whose protocol cannot answer so is named, with what it can."""
    adapters = [protocols.load(name) for name in ("tcp", "smtp")]
    check_replies(adapters, ReplyMode.DISCARD)
    with pytest.raises(UsageError, match="smtp cannot answer with --reply chargen: it takes echo, dis"):
        check_replies(adapters, ReplyMode.CHARGEN)
    with pytest.raises(UsageError, match="tcp cannot answer with --reply reject: it takes echo, disc"):
        check_replies(adapters, ReplyMode.REJECT)
    with pytest.raises(UsageError, match="smtp cannot answer with --reply broadcast"):
        check_replies(adapters, ReplyMode.BROADCAST)
    with pytest.raises(UsageError, match="udp cannot answer with --reply info"):
        check_replies([protocols.load("udp")], ReplyMode.INFO)


@pytest.mark.parametrize(
    ("name", "size", "is_conversation", "wrong"),
    [
        ("udp", None, False, None),
        ("tcp", None, True, None),
        ("udp", 1, False, None),
        ("ws", 16 << 20, False, None),
        ("udp", 0, False, "-l/--size: messages of 0 bytes carry nothing of standard input: write 1 or more"),
        ("udp", 65_508, False, "-l/--size: a message on udp has at most 65,507 bytes, not 65,508"),
        (
            "quic",
            64,
            False,
            "-l/--size is of probes, and quic carries a pipe as a stream: add -n, -i or -z",
        ),
        ("udp", 64, True, "-l/--size is of probes, and a line has its own size: add -n, -i or -z"),
    ],
)
def test_sizes_of_what_is_said(name: str, size: int | None, is_conversation: bool, wrong: str | None) -> None:
    """Where messages have the size that is asked for it is one; elsewhere it is refused, not ignored."""
    adapter = protocols.load(name)
    if wrong is None:
        check_block(adapter, name, size, is_conversation)
    else:
        with pytest.raises(UsageError) as caught:
            check_block(adapter, name, size, is_conversation)
        assert str(caught.value) == wrong


@pytest.mark.parametrize("value", [0, "", ("A: b",)])
def test_nothing_is_said_of_messages_that_are_not_sent(value: object) -> None:
    """What is said of messages is refused where connections only are opened, whatever it is."""
    http = protocols.load("http")
    check_mode(http, Mode.EXCHANGE, {"--one": value})
    check_mode(http, Mode.CONNECT, {"--one": None})
    with pytest.raises(UsageError, match="--one is of no use with --mode connect, which sends no messages"):
        check_mode(http, Mode.CONNECT, {"--one": value})


@pytest.mark.parametrize(
    ("urls", "limit", "idle_ns", "wrong"),
    [
        (["udp://:1", "stamp://:2"], None, None, None),
        (["udp://:1", "tcp://:2"], 5, 5, None),
        (["dtls://:1"], 5, 5, None),
        (["quic://:1"], 5, 5, None),
        (
            ["stamp://:1", "udp://:2"],
            5,
            None,
            "--max-connections is of connections, which stamp does not have",
        ),
        (["udp://:1"], None, 5, "--idle-timeout is of connections, which udp does not have"),
    ],
)
def test_limits_of_connections(
    urls: list[str], limit: int | None, idle_ns: int | None, wrong: str | None
) -> None:
    """They bound nothing where no listener keeps anything of a peer."""
    adapters = [protocols.for_target(one) for one in resolve_listeners(urls, None, None, None, False)]
    told = contextlib.nullcontext() if wrong is None else pytest.raises(UsageError, match=wrong)
    with told:
        check_connections(adapters, limit, idle_ns)


@pytest.mark.parametrize(
    ("urls", "wrong"),
    [
        (["tls://:1"], None),
        (["dtls://:1"], None),
        (["quic://:1", "smtp://:2"], None),
        (["tcp://:1", "http3://:2"], "--ciphers are of TLS 1.2, and http3 speaks TLS 1.3: leave it out"),
        (["quic://:1"], "--ciphers are of TLS 1.2, and quic speaks TLS 1.3: leave it out"),
    ],
)
def test_ciphers(urls: list[str], wrong: str | None) -> None:
    """They are those of TLS 1.2, and choose nothing where all TLS that is spoken is QUIC's."""
    targets = resolve_listeners(urls, None, None, None, False)
    adapters = [protocols.for_target(one) for one in targets]
    check_ciphers(adapters, targets, None)
    told = contextlib.nullcontext() if wrong is None else pytest.raises(UsageError, match=wrong)
    with told:
        check_ciphers(adapters, targets, "ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize(
    ("name", "streams", "verify", "wrong"),
    [
        ("quic", None, Verify.FULL, None),
        ("http3", 2, Verify.FULL, None),
        ("quic", 2, Verify.FULL, "--streams is of probes, and a conversation is one stream"),
        ("tcp", None, Verify.NONE, "--verify is of probes"),
    ],
)
def test_what_is_of_probes(name: str, streams: int | None, verify: Verify, wrong: str | None) -> None:
    """What says how probes are sent and compared is refused where none are sent."""
    told = contextlib.nullcontext() if wrong is None else pytest.raises(UsageError, match=wrong)
    with told:
        check_unprobed(protocols.load(name), streams, verify)


def test_a_log_of_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key log is refused where there is no TLS, unless it is the environment that asks for it."""
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    check_keylog(ClientTLS(keylog="log"), Target(scheme="tls", secure=True))
    check_keylog(ClientTLS(keylog="log", starttls=True), Target(scheme="smtp"))
    check_keylog(ClientTLS(), Target())
    with pytest.raises(UsageError, match="--keylog is for TLS, which tcp://"):
        check_keylog(ClientTLS(keylog="log"), Target())
    monkeypatch.setenv("SSLKEYLOGFILE", "log")
    check_keylog(ClientTLS(keylog="log"), Target())


def test_limits_are_as_help_says() -> None:
    """What help says of a limit that depends on the protocol is what the protocol has."""
    idle = typing.get_args(serving.IdleTimeout)[1].show_default
    assert f"{_dtls_server.IDLE_TIMEOUT / 60:.0f}m of DTLS, {_quic_wire.IDLE / 60:.0f}m of QUIC" in idle
    most = typing.get_args(serving.MaxConnections)[1].show_default
    assert _dtls_server.MOST_PEERS == _quic_server.MOST_CONNECTIONS
    assert f"{_quic_server.MOST_CONNECTIONS} of DTLS and of QUIC" in most
