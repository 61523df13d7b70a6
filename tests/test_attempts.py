"""Several addresses of one target, of which some do not answer: which is tried when, and what comes of it."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netecho import protocols
from netecho.plans import SECOND, ClientTLS, ProbePlan, Target
from netecho.protocols._attempts import DELAY, Attempts
from netecho.services.routing import route_by
from tests import reactors
from tests.servers import Server


class Ways:
    """Attempts that become what a test makes of them."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[str]] = []
        self.cancelled: list[int] = []
        self.opened = Attempts(self.clock, [self._begin] * count).begin()

    def _begin(self) -> Deferred[str]:
        number = len(self.begun)
        self.begun.append(Deferred(lambda _: self.cancelled.append(number)))
        return self.begun[number]

    def failure(self) -> BaseException:
        """Return by what all of it has failed, once it has."""
        failures: list[Failure] = []
        self.opened.addErrback(failures.append)
        [failure] = failures
        assert failure.value is not None
        assert not self.clock.getDelayedCalls()
        return failure.value


def test_silence() -> None:
    """The next is begun beside it after a while; the first that is there ends the others."""
    ways = Ways(4)
    ways.clock.advance(DELAY / 2)
    assert len(ways.begun) == 1
    ways.clock.pump([DELAY / 2, DELAY])
    assert len(ways.begun) == 3
    ways.begun[1].callback("second")
    assert ways.opened.result == "second"
    assert sorted(ways.cancelled) == [0, 2]
    assert not ways.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError(), OSError("no route"), CannotListenError("::", 0, OSError("no IPv6"))],
    ids=lambda error: type(error).__name__,
)
def test_refusal(error: Exception) -> None:
    """The next is begun at once; when the last fails, and none is under way, so does all of it."""
    ways = Ways(2)
    ways.begun[0].errback(error)
    assert len(ways.begun) == 2
    last = ConnectionRefusedError()
    ways.begun[1].errback(last)
    assert ways.failure() is last


def test_refusal_beside_silence() -> None:
    """As long as one may still answer, nothing has failed."""
    ways = Ways(2)
    ways.clock.pump([DELAY, DELAY])
    ways.begun[1].errback(ConnectionRefusedError())
    assert not ways.opened.called
    ways.begun[0].callback("first")
    assert ways.opened.result == "first"


def test_an_answer_that_is_no_good() -> None:
    """Another address would only hide it."""
    ways = Ways(3)
    ways.clock.advance(DELAY)
    error = ConnectionLost()
    ways.begun[1].errback(error)
    assert ways.failure() is error
    assert (len(ways.begun), ways.cancelled) == (2, [0])


def test_cancelled() -> None:
    """With all of it each ends that is under way."""
    ways = Ways(3)
    ways.clock.advance(DELAY)
    ways.opened.cancel()
    assert isinstance(ways.failure(), CancelledError)
    assert sorted(ways.cancelled) == [0, 1]


@pytest.mark.parametrize(
    "target",
    [
        Target("quic", "quic", True),
        Target("http3", "http3", True),
        Target("dtls", "udp", True, is_dtls=True),
    ],
    ids=lambda target: str(target.scheme),
)
def test_datagrams_beside_an_address_that_is_silent(target: Target) -> None:
    """A connection is there long before its time is over, and the other attempt ends with that."""
    with (
        Server(f"{target.scheme}://127.0.0.1:0") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole,
        reactors.fresh("fast") as reactor,
    ):
        _, port = server.listener.address
        hole.bind(("127.0.0.2", port))
        plan = ProbePlan(
            dataclasses.replace(target, port=port), timeout_ns=3600 * SECOND, tls=ClientTLS(insecure=True)
        )
        talker: Any = Protocol()
        adapter = protocols.for_target(plan.target)
        adapter.converse(reactor, route_by(("127.0.0.2", "127.0.0.1"), plan), talker)
        reactors.turn(reactor, lambda: talker.connected)
        assert talker.transport.getPeer() == IPv4Address("UDP", "127.0.0.1", port)
        talker.transport.abortConnection()
        assert hole.recv(2048)
        reactors.turn(reactor, lambda: not reactor.getDelayedCalls())
