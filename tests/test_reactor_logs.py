"""What is logged in an event, and by whom: the same on our reactor as on Twisted's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol
from twisted.python import context, log
from twisted.python.threadpool import ThreadPool

from tests import reactors
from tests.pairs import LINKS, TCP, Link, Listening, Recorder
from tests.reactors import flush_errors, turn


@pytest.fixture(params=reactors.KINDS)
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make each reactor in turn."""
    with reactors.fresh(request.param) as made:
        yield made


@pytest.fixture
def systems() -> Iterator[list[str]]:
    """Keep who has logged something."""
    logged: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        logged.append(event["system"])

    log.addObserver(observe)
    yield logged
    log.removeObserver(observe)


def fail(_: object) -> None:
    """Do what protocols should not."""
    raise ZeroDivisionError


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("told", ["data", "lost"])
def test_failure_of_a_protocol(reactor: Any, link: Link, told: str, systems: list[str]) -> None:
    """An exception is logged with the transport's prefix, and is none for whoever turns the reactor."""
    client, server = Recorder(), Recorder({told: fail})
    Listening(reactor, link).connect(client, server)
    prefix = _prefix(server)
    systems.clear()
    client.transport.write(b"x")
    turn(reactor, lambda: server.received)
    client.transport.loseConnection()
    turn(reactor, lambda: server.lost and client.lost)
    assert len(flush_errors(reactor, ZeroDivisionError)) == 1
    assert systems == [prefix]


def test_failures_in_one_turn(reactor: Any) -> None:
    """What fails keeps no other event of the same turn from its transport."""
    listening = Listening(reactor, TCP)
    pairs = [(Recorder(), Recorder({"lost": fail})) for _ in range(3)]
    for client, server in pairs:
        listening.connect(client, server)
    for client, _ in pairs:
        client.transport.abortConnection()
    turn(reactor, lambda: all(client.lost for client, _ in pairs))
    reactor.iterate(0)
    assert all(server.lost for _, server in pairs)
    assert len(flush_errors(reactor, ZeroDivisionError)) == 3


def test_failure_of_a_datagram_protocol(reactor: Any, systems: list[str]) -> None:
    """The prefix is that of the port."""

    class Failing(DatagramProtocol):
        noisy = False

        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            raise ZeroDivisionError

    port = reactor.listenUDP(0, Failing(), "127.0.0.1")
    systems.clear()  # that it began to listen
    port.write(b"to itself", ("127.0.0.1", port.getHost().port))
    turn(reactor, lambda: systems)
    assert len(flush_errors(reactor, ZeroDivisionError)) == 1
    assert systems == [port.logPrefix()]


def test_log_of_a_thread(reactor: Any, systems: list[str]) -> None:
    """What is logged in a thread has the prefix of the transport that was called when it was asked for."""
    done: list[None] = []
    asked = threading.Event()

    def work() -> None:
        asked.wait(reactors.TIMEOUT)
        log.msg("from a thread")
        reactor.callFromThread(done.append, None)

    client, server = Recorder(), Recorder({"data": lambda _: reactor.callInThread(work)})
    Listening(reactor, TCP).connect(client, server)
    prefix = _prefix(server)
    reactor.callWhenRunning(reactor.getThreadPool().start)
    reactor.startRunning(installSignalHandlers=False)
    client.transport.write(b"x")
    turn(reactor, lambda: server.received)
    systems.clear()
    asked.set()
    turn(reactor, lambda: done)
    reactor.getThreadPool().stop()
    assert systems == [prefix]


def test_thread_of_another_pool_is_nobody_else(systems: list[str]) -> None:
    """A thread that has taken our context along does not log as whoever has been called since."""
    asked, logged = threading.Event(), threading.Event()

    def work() -> None:
        asked.wait(reactors.TIMEOUT)
        log.msg("from a thread")
        logged.set()

    def meanwhile(_: Recorder) -> None:
        asked.set()
        assert logged.wait(reactors.TIMEOUT)

    pool = ThreadPool(1, 1)
    pool.start()
    try:
        with reactors.fresh("fast") as reactor:
            listening = Listening(reactor, TCP)
            first = Recorder({"data": lambda _: pool.callInThread(work)})
            client, other, second = Recorder(), Recorder(), Recorder({"data": meanwhile})
            listening.connect(client, first)
            listening.connect(other, second)
            client.transport.write(b"x")
            turn(reactor, lambda: first.received)
            systems.clear()
            other.transport.write(b"x")
            turn(reactor, lambda: second.received)
            assert systems == ["-"]
    finally:
        pool.stop()


def test_context_after_an_event(reactor: Any) -> None:
    """What a program had for a log context when it turned the reactor, it has again then."""
    seen: list[Any] = []
    client = Recorder()
    server = Recorder({"data": lambda _: seen.append(context.get(log.ILogContext).copy())})
    Listening(reactor, TCP).connect(client, server)

    def receive() -> None:
        client.transport.write(b"x")
        turn(reactor, lambda: server.received)
        seen.append(context.get(log.ILogContext))

    context.call({log.ILogContext: {"system": "outer", "more": 1}}, receive)
    assert seen == [{"system": _prefix(server), "more": 1}, {"system": "outer", "more": 1}]


def test_context_as_a_dict(reactor: Any) -> None:
    """Who keeps the log context by making a dict of it has what it says, as with Twisted's own."""
    seen: list[str] = []

    def keep(_: Any) -> None:
        present = context.get(log.ILogContext)
        seen.extend(one["system"] for one in (dict(present), {**present}))

    client, server = Recorder(), Recorder({"data": keep})
    Listening(reactor, TCP).connect(client, server)
    client.transport.write(b"x")
    turn(reactor, lambda: seen)
    assert seen == [_prefix(server)] * 2


def test_who_logs_while_it_runs(reactor: Any, systems: list[str]) -> None:
    """An event's transport, also when another's event came within it; and of what is due, who ran it all."""

    def received(_: Recorder) -> None:
        log.msg("before")
        other_client.transport.write(b"x")
        turn(reactor, lambda: other.received)
        log.msg("after")
        reactor.callLater(0, fall_due)

    def fall_due() -> None:
        log.msg("due")
        reactor.stop()

    def run() -> None:
        client.transport.write(b"x")
        reactor.run(installSignalHandlers=False)

    client, other_client = Recorder(), Recorder()
    server, other = Recorder({"data": received}), Recorder({"data": lambda _: log.msg("within")})
    listening = Listening(reactor, TCP)
    listening.connect(client, server)
    listening.connect(other_client, other)
    mine, its = _prefix(server), _prefix(other)
    systems.clear()
    context.call({log.ILogContext: {"system": "outer"}}, run)
    assert systems[:4] == [mine, its, mine, "outer"]


def _prefix(protocol: Recorder) -> str:
    """Return the log prefix of the transport that has the socket."""
    transport: Any = protocol.transport
    while not hasattr(transport, "logPrefix") or hasattr(transport, "wrappedProtocol"):
        transport = transport.transport
    return str(transport.logPrefix())
