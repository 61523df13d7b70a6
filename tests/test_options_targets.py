"""The targets and listeners that URLs and flags together stand for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netecho import protocols
from netecho.errors import UsageError
from netecho.options import resolve_listeners, resolve_target
from netecho.plans import Target
from netecho.protocols._contract import Kind


@dataclasses.dataclass
class Words:
    """As much of an adapter as a command line sees."""

    name: str
    default_port: int | None
    secure_scheme: str | None
    kind: Kind = Kind.STREAM
    secured: Any = None
    has_requests: bool = False
    upgrades: bool = False
    has_resources: bool = False


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some protocols: with a secure form, with a path, with no form in clear; and some that nobody knows."""
    adapters = {
        "tcp": Words("tcp", 8000, "tls"),
        "udp": Words("udp", 7000, None),
        "unix": Words("unix", None, None),
        "http": Words("http", 8000, "https", has_resources=True),
        "shy": Words("shy", 4433, "shy"),
        "mist": Words("mist", 8000, "mists", Kind.DATAGRAM),
        "pipe": Words("pipe", None, None),
    }
    monkeypatch.setattr(protocols, "names", lambda: tuple(adapters))
    monkeypatch.setattr(protocols, "load", adapters.__getitem__)


TCP = Target("tcp", "tcp", False, "host", 9000)
TLS = Target("tls", "tcp", True, "host", 9000)
UNIX = Target("unix", "unix", False, path="/a b")

TARGETS = [
    (("tcp://host:9000", None, None, False), TCP),
    (("tcp://host:9000", None, "tcp", False), TCP),
    (("tcp://host:9000/", None, None, False), TCP),
    (("tcp://host", 9000, None, False), TCP),
    (("host:9000", None, None, False), TCP),
    (("host", 9000, None, False), TCP),
    (("host", 9000, "tcp", False), TCP),
    (("tls://host:9000", None, None, False), TLS),
    (("tls://host:9000", None, "tcp", True), TLS),
    (("tcp://host:9000", None, None, True), TLS),
    (("host", 9000, None, True), TLS),
    (("unix:/a b", None, None, False), UNIX),
    (("unix:///a b", None, "unix", False), UNIX),
    (("/a b", None, None, False), UNIX),
    (("/a b", None, "unix", False), UNIX),
    ((None, None, None, False), Target()),
    ((None, None, "udp", False), Target("udp", "udp", port=7000)),
    (("localhost", None, None, False), Target(host="localhost")),
    (("::1", 80, None, False), Target(host="::1", port=80)),
    (("[::1]:80", None, None, False), Target(host="::1", port=80)),
    (("udp://host", None, None, False), Target("udp", "udp", host="host", port=7000)),
    (("shy://host", None, None, False), Target("shy", "shy", True, "host", 4433)),
    (("host", None, "shy", True), Target("shy", "shy", True, "host", 4433)),
    (("mists://host", None, None, False), Target("mists", "mist", True, "host", is_dtls=True)),
    (("host", None, "mist", True), Target("mists", "mist", True, "host", is_dtls=True)),
    (("host", None, "mist", False), Target("mist", "mist", host="host")),
    (
        ("http://host/\xe9/%20?\u20ac=\xe9", None, None, False),
        Target("http", "http", host="host", resource="/%C3%A9/%20?%E2%82%AC=%C3%A9"),
    ),
    (("pipe:/a b", None, None, False), Target("pipe", "pipe", path="/a b")),
    (("/a b", None, "pipe", False), Target("pipe", "pipe", path="/a b")),
]

NO_TARGETS = [
    (("udp://host", None, "tcp", False), "--proto says tcp"),
    (("tls://host", None, "udp", False), "--proto says udp"),
    (("/path", None, "tcp", False), "--proto says tcp"),
    (("tcp://host:80", 80, None, False), "given twice"),
    (("host:80", 81, None, False), "given twice"),
    (("unix:/path", 80, None, False), "no port"),
    (("udp://host", None, None, True), "no form with TLS"),
    (("unix:/path", None, None, True), "no form with TLS"),
    (("*", None, None, False), "every address"),
    (("tcp://*:80", None, None, False), "every address"),
    (("tcp://:80", None, None, False), "no host"),
    ((":80", None, None, False), "no host"),
    (("8000", None, None, False), "tcp://HOST:8000"),
    (("host", 0, None, False), "port 0"),
    (("tcp://host:0", None, None, False), "port 0"),
    (("host", 70000, None, False), "65535"),
    (
        ("foo://host", None, None, False),
        "unknown scheme 'foo': it is one of tcp, udp, unix, http, shy, mist, pipe, https, mists, tls",
    ),
    (("tcp:/path", None, None, False), "tcp://HOST:PORT"),
    (("tcp://host/path", None, None, False), "has a path"),
    (("host/path", None, None, False), "has a path"),
    (("unix://host/path", None, None, False), "unix:/path"),
    (("unix://", None, None, False), "unix:/path"),
    ((None, None, "unix", False), "unix:/path"),
    (("host", None, "unix", False), "unix:/path"),
]


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "target"), TARGETS)
def test_target(asked: tuple[str | None, int | None, str | None, bool], target: Target) -> None:
    """A URL, and its parts apart, spell the same target."""
    assert resolve_target(*asked) == target


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "reason"), NO_TARGETS)
def test_no_target(asked: tuple[str | None, int | None, str | None, bool], reason: str) -> None:
    """Contradictions and gaps are refused in one line that says which."""
    with pytest.raises(UsageError, match=reason.replace("*", r"\*")) as caught:
        resolve_target(*asked)
    assert str(caught.value).isprintable()


LOOPBACK = Target()
LISTENERS = [
    (([], None, None, None, False), [LOOPBACK]),
    (([], None, 0, None, False), [Target(port=0)]),
    (([], None, None, "udp", False), [Target("udp", "udp", port=7000)]),
    (([], "::1", 80, None, True), [Target("tls", "tcp", True, "::1", 80)]),
    (([], "[::1]", 80, None, False), [Target(host="::1", port=80)]),
    (([], "*", None, None, False), [Target(host="::")]),
    ((["tcp://:9000"], None, None, None, False), [Target(port=9000)]),
    ((["tcp://:9000"], "host", None, None, False), [Target(host="host", port=9000)]),
    ((["tcp://*:9000"], None, None, None, False), [Target(host="::", port=9000)]),
    ((["tcp://host"], None, 0, None, False), [Target(host="host", port=0)]),
    ((["tcp://:0"], None, None, None, False), [Target(port=0)]),
    ((["tls://:9000"], None, None, None, False), [Target("tls", "tcp", True, port=9000)]),
    ((["/a"], None, None, None, False), [Target("unix", "unix", path="/a")]),
    (
        (["tcp://:1", "tls://host:2", "udp://", "unix:/a"], "*", None, None, False),
        [
            Target(host="::", port=1),
            Target("tls", "tcp", True, "host", 2),
            Target("udp", "udp", host="::", port=7000),
            Target("unix", "unix", path="/a"),
        ],
    ),
]
NO_LISTENERS = [
    ((["tcp://host:1"], "other", None, None, False), "--host other is of no use"),
    ((["unix:/a"], "other", None, None, False), "--host other is of no use"),
    ((["tcp://host:1"], None, 2, None, False), "--port 2 is of no use"),
    ((["unix:/a"], None, 2, None, False), "--port 2 is of no use"),
    ((["udp://:1"], None, None, "tcp", False), "--proto says tcp"),
    ((["tcp://:1", "udp://:2"], None, None, None, True), "udp has no form with TLS"),
    (([], None, None, "unix", False), "unix:/path"),
    (([], "host:80", None, None, False), "--host host:80"),
    (([], "/path", None, None, False), "--host /path"),
    (([], "8000", None, None, False), "8000 is a number"),
    ((["8000"], None, None, None, False), "8000 is a number"),
    (([], "", None, None, False), "not a URL or host"),
]
Asked = tuple[list[str], str | None, int | None, str | None, bool]


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "listeners"), LISTENERS)
def test_listeners(asked: Asked, listeners: list[Target]) -> None:
    """Listeners are on loopback unless a URL or --host says more."""
    assert list(resolve_listeners(*asked)) == listeners


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(("asked", "reason"), NO_LISTENERS)
def test_no_listeners(asked: Asked, reason: str) -> None:
    """What contradicts itself, or would be ignored, is refused."""
    with pytest.raises(UsageError, match=reason):
        resolve_listeners(*asked)
