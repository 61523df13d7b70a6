"""What passes between a parent and its workers: lines, plans, credentials, sockets."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

from netecho import protocols
from netecho.errors import ListenError, UsageError
from netecho.plans import (
    BenchPlan,
    ClientTLS,
    Family,
    ListenPlan,
    ReplyMode,
    ServerTLS,
    SocketOptions,
    Stage,
    Target,
    TLSVersion,
    Verify,
)
from netecho.services import plan_json
from netecho.services.certificates import Credentials, make_credentials
from netecho.services.workers import Lines, Worker, to_line
from tests.test_worker_serve import Spawning

PLANS = [
    BenchPlan(Target()),
    *BenchPlan(
        Target("tls", "tcp", True, "example", 1),
        connections=5,
        exchanges=7,
        verify=Verify.NONE,
        sockets=SocketOptions(Family.IPV6, dscp=3),
        tls=ClientTLS(authorities="ca.pem", alpn=("a", "b")),
        rate=10.5,
        slo=("p(99)<1ms",),
    ).split(2),
    BenchPlan(Target(), duration_ns=None, stages=(Stage(1, 2.0), Stage(3, 0.0))),
    ListenPlan(
        (Target(), Target("unix", "unix", path="/x"), Target("tls", "tcp", True, port=1)),
        ReplyMode.CHARGEN,
        ServerTLS("cert", "key", minimum=TLSVersion.TLS_1_3),
        max_connections=3,
    ),
]


@pytest.mark.parametrize("plan", PLANS)
def test_plans(plan: Any) -> None:
    """A plan comes out of JSON as it went in, to the kind of each value."""
    back = plan_json.from_json(type(plan), json.loads(json.dumps(plan_json.to_json(plan))))
    assert back == plan
    assert repr(back) == repr(plan)


def test_a_plan_is_checked() -> None:
    """What makes no sense does not become a plan."""
    with pytest.raises(UsageError):
        plan_json.from_json(BenchPlan, {**plan_json.to_json(BenchPlan(Target())), "connections": 0})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines(size: int) -> None:
    """Messages come out whole, however their bytes are cut."""
    messages: list[dict[str, Any]] = [{"number": 1}, {"text": "two\nlines"}, {}]
    data = b"".join(to_line(message) for message in messages)
    heard: list[dict[str, Any]] = []
    lines = Lines(heard.append)
    for start in range(0, len(data), size):
        lines.feed(data[start : start + size])
    assert heard == messages


@pytest.mark.parametrize("rubbish", [b"Traceback", b"5", b"null", b'["part"]', b"\xff"])
def test_rubbish(rubbish: bytes) -> None:
    """A worker that sends what is no message, as when something in it prints, is ended, and why is said."""
    clock = Spawning()
    heard: list[dict[str, Any]] = []
    ways: list[str] = []
    worker = Worker(clock, heard.append, ways.append)
    worker.start({})
    worker.outReceived(b"{}\n" + rubbish + b"\n")
    worker.outReceived(rubbish + b"\n")
    assert heard == [{}]
    assert "KILL" in worker.transport.signals
    worker.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
    assert ways == ["was killed by SIGKILL: it sent what is no message"]


def test_listen_plan_split() -> None:
    """Every worker has all the listeners; the connections of all together are as many as were allowed."""
    plan = ListenPlan((Target(), Target(port=1)), max_connections=8, workers=3)
    shares = plan.split()
    assert [share.max_connections for share in shares] == [3, 3, 2]
    assert all(share.listeners == plan.listeners and share.workers == 1 for share in shares)
    assert [share.max_connections for share in ListenPlan((Target(),), workers=2).split()] == [None, None]


def test_credentials() -> None:
    """A key and its certificates come out of JSON as they went in."""
    credentials, authority = make_credentials(["localhost"], "here")
    authority.remove()
    back = Credentials.from_json(json.loads(json.dumps(credentials.to_json())))
    assert back.chain == list(credentials.chain)
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    assert back.key.public_key().public_bytes(*form) == credentials.chain[0].public_key().public_bytes(*form)


def place_for(name: str, folder: pathlib.Path) -> Target:
    """Return where a protocol can listen."""
    if protocols.load(name).default_port is None:
        return Target(name, name, path=str(folder / "echo"))
    return Target(name, name, port=0)


@pytest.mark.parametrize("name", protocols.names())
def test_sockets_for_several(name: str, tmp_path: pathlib.Path) -> None:
    """A protocol opens a socket for each process, all on one address, which nobody else can then have."""
    adapter = protocols.load(name)
    opened = adapter.open(place_for(name, tmp_path), 3)
    try:
        assert len(opened.sockets) == 3
        [address] = {one.getsockname() for one in opened.sockets}
        if opened.target.path is None:
            assert address == (opened.target.host, opened.target.port)
            assert opened.target.port
        assert not any(one.getblocking() for one in opened.sockets)
        for count in (1, 2):
            with pytest.raises(ListenError, match="in use"):
                adapter.open(opened.target, count)
    finally:
        opened.close()
    adapter.open(opened.target, 1).close()  # it is free again
    assert os.listdir(tmp_path) == []


def test_somebody_elses_socket_is_left_alone(tmp_path: pathlib.Path) -> None:
    """What has taken the place of our socket in the file system is not removed with it."""
    opened = protocols.load("unix").open(place_for("unix", tmp_path), 2)
    (path,) = tmp_path.iterdir()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        opened.close()
        assert path.exists()


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGSEGV, "was killed by SIGSEGV"),
        (signal.SIGRTMIN + 6, f"was killed by signal {signal.SIGRTMIN + 6}"),
    ],
)
def test_killed_by_a_signal(number: int, how: str) -> None:
    """Its end is told also if the signal has no name."""
    ways: list[str] = []
    worker = Worker(Spawning(), lambda _: None, ways.append)
    worker.processEnded(Failure(ProcessTerminated(signal=number)))
    assert ways == [how]
