"""A conversation in HTTP that is paused, on whichever connection it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hyperframe.frame import GoAwayFrame, SettingsFrame
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol
from twisted.python.failure import Failure

from netecho.plans import RequestPlan, Target
from netecho.protocols._backoff import FIRST
from netecho.protocols._contract import OnLost, OnReply, Route
from netecho.protocols._http1_client import HTTP1Exchanger
from netecho.protocols._http2_client import HTTP2Exchanger
from netecho.protocols._message_conversation import MessageConversation
from tests.test_http2_client import Wire

LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def http1(clock: Clock, route: Route, on_reply: OnReply, on_lost: OnLost, reopen: Any) -> HTTP1Exchanger:
    """Return the client of HTTP/1.1."""
    return HTTP1Exchanger(route, on_reply, on_lost, reopen)


@pytest.mark.parametrize(
    ("exchanger_of", "last"),
    [(http1, LAST), (HTTP2Exchanger, SettingsFrame(0).serialize() + GoAwayFrame(0).serialize())],
    ids=["http1", "http2"],
)
def test_pauses_on_another_connection(exchanger_of: Callable[..., Any], last: bytes) -> None:
    """One that takes the place of another is paused as that was, and paused and resumed itself."""
    clock = Clock()
    transports: list[Any] = []
    exchangers: list[Any] = []

    def opened(exchanger: Any) -> Deferred[Any]:
        transports.append(Wire())  # type: ignore[no-untyped-call]
        exchanger.makeConnection(transports[-1])
        return succeed(exchanger)

    def connect(_: object, route: Route, on_reply: OnReply, on_lost: OnLost, __: object) -> Deferred[Any]:
        exchangers.append(exchanger_of(clock, route, on_reply, on_lost, opened))
        return opened(exchangers[0])

    route = Route(Target("http", "http", port=1), request=RequestPlan(http2=exchanger_of is HTTP2Exchanger))
    conversation = MessageConversation(AccumulatingProtocol())
    conversation.begin(connect, clock, route, None)
    [exchanger] = exchangers

    def states() -> list[str]:
        return [transport.producerState for transport in transports]

    def go_on_elsewhere() -> None:
        if exchanger_of is http1:
            conversation.write(b"message")
        exchanger.dataReceived(last)
        exchanger.connectionLost(Failure(ConnectionDone()))
        conversation.write(b"message")
        clock.advance(2 * FIRST)

    conversation.pauseProducing()
    assert states() == ["paused"]
    go_on_elsewhere()
    assert states() == ["paused", "paused"]
    conversation.resumeProducing()
    assert states() == ["paused", "producing"]
    conversation.pauseProducing()
    assert states() == ["paused", "paused"]
    conversation.loseConnection()
    conversation.pauseProducing()
    conversation.resumeProducing()
    assert states() == ["paused", "paused"]
