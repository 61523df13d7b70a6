"""What protocols cannot do of what flags ask for is refused, in a line that says which can."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import pytest

from netecho import protocols
from netecho.errors import UsageError
from netecho.options import (
    check_addresses,
    check_alpn,
    check_block,
    check_mode,
    check_multiplex,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_size,
    check_spreading,
    resolve_listeners,
)
from netecho.options.checks import MOST_SIZE
from netecho.plans import Mode, MultiplexPlan, ReplyMode, RequestPlan
from netecho.protocols import _inherited


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
        (Multiplexes(True, False), 3, "here", None, "--qlog is for"),
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
        ("tcp", 10 << 30, "-l: a message on tcp has at most 134217728 bytes, not 10737418240"),
        ("http", MOST_SIZE + 1, "-l: a message on http has at most 134217728 bytes, not 134217729"),
        ("udp", MOST_SIZE, "-l: a message on udp has at most 65507 bytes, not 134217728"),
    ],
)
def test_sizes(name: str, size: int, says: str | None) -> None:
    """A message is as long as its protocol takes, and never so long that it cannot be made."""
    adapter = protocols.load(name)
    if says is None:
        check_size(adapter, size, "-l")
        return
    with pytest.raises(UsageError) as caught:
        check_size(adapter, size, "-l")
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
        ("udp", 65_508, False, "-l/--size: a message on udp has at most 65507 bytes, not 65508"),
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
        check_block(adapter, size, is_conversation)
    else:
        with pytest.raises(UsageError) as caught:
            check_block(adapter, size, is_conversation)
        assert str(caught.value) == wrong


@pytest.mark.parametrize("value", [0, "", ("A: b",)])
def test_nothing_is_said_of_messages_that_are_not_sent(value: object) -> None:
    """What is said of messages is refused where connections only are opened, whatever it is."""
    http = protocols.load("http")
    check_mode(http, Mode.EXCHANGE, {"--one": value})
    check_mode(http, Mode.CONNECT, {"--one": None})
    with pytest.raises(UsageError, match="--one is of no use with --mode connect, which sends no messages"):
        check_mode(http, Mode.CONNECT, {"--one": value})
