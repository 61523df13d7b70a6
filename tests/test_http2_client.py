"""The client of HTTP/2 and a server in memory."""

from __future__ import annotations

from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from netecho.plans import RequestPlan, Target
from netecho.protocols._backoff import FIRST, LONGEST
from netecho.protocols._contract import Answer, Route
from netecho.protocols._credit import CREDIT
from netecho.protocols._http2_client import HTTP2Exchanger

LARGE = bytes(200_000)
"""More than a window."""


class Wire(StringTransport):
    """A transport that takes it that nobody produces for it, as others do."""

    def unregisterProducer(self) -> None:
        """Pause nobody any more."""
        self.producer = None


class Pair:
    """A client, and a server that a test plays with `h2`, which takes one stream at a time unless told."""

    def __init__(self, *headers: str, streams: int = 1) -> None:
        self._streams = streams
        self.heard: list[tuple[int | None, bytes, str]] = []
        self.lost: list[Any] = []
        route = Route(Target("http", "http", port=1), request=RequestPlan(http2=True, headers=headers))
        self.reopened: Deferred[Any] | None = None
        """What fires when the connection is there that was asked for last."""
        self.clock = Clock()
        self.client: Any = HTTP2Exchanger(self.clock, route, self._reply, self.lost.append, self._reopen)
        self.connect()

    def connect(self) -> list[Any]:
        """Have a connection, the first or another; return what the client says at once."""
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        wanted = {SettingCodes.MAX_CONCURRENT_STREAMS: self._streams}
        self.server.local_settings = Settings(client=False, initial_values=wanted)
        self.server.initiate_connection()
        self.transport: Any = Wire()  # type: ignore[no-untyped-call]
        client: Any = self.client
        client.makeConnection(self.transport)
        return [*self.turn(), *self.turn()]

    def _reopen(self, _: HTTP2Exchanger) -> Deferred[Any]:
        self.reopened = Deferred()
        return self.reopened

    def _reply(
        self, sequence: int | None, payload: bytes, _: object = None, answer: Answer | None = None, /
    ) -> None:
        assert answer is not None
        self.heard.append((sequence, payload, answer.status))

    def turn(self) -> list[Any]:
        """Have the server take what the client has written, and the client what the server has to say."""
        data = self.transport.value()
        self.transport.clear()
        events = self.server.receive_data(data)
        said = self.server.data_to_send()
        if said:
            self.client.dataReceived(said)
        return events


@pytest.mark.parametrize("resets", [False, True], ids=["ends", "ends and resets"])
def test_an_answer_before_the_end_of_its_request(resets: bool) -> None:
    """Nobody waits for the rest: its stream is given up, and there is room for the next (section 8.1)."""
    pair = Pair()
    pair.client.send(0, LARGE)
    pair.client.send(1, b"next")
    pair.turn()
    pair.server.send_headers(1, [(b":status", b"413")], end_stream=True)
    if resets:
        pair.server.reset_stream(1, ErrorCodes.NO_ERROR)
    pair.turn()
    assert pair.heard == [(0, b"", "413")]
    events = pair.turn()
    assert [type(one) for one in events if isinstance(one, StreamReset)] == [StreamReset] * (not resets)
    assert [one.stream_id for one in events if isinstance(one, RequestReceived)] == [3]
    assert not pair.lost


@pytest.mark.parametrize("status", [b"ok", b"2000", b"9" * 5000])
def test_status_that_is_none(status: bytes) -> None:
    """An answer with such a one is malformed (section 8.3.2), and nothing after it is believed."""
    pair = Pair()
    pair.client.send(0, b"message")
    pair.turn()
    pair.server.send_headers(1, [(b":status", status)])
    pair.server.send_data(1, b"message", end_stream=True)
    pair.turn()
    assert pair.heard == []
    (reason,) = pair.lost
    assert f"not HTTP/2: there is no status {status[:10]!r}" in str(reason.value)


def test_what_may_be_guessed_is_in_no_table() -> None:
    """Credentials and short cookies are written as fields that are never indexed, in every request."""
    pair = Pair("Authorization: Basic YTpi", "Cookie: a=b", "X-Name: value")
    for number in range(3):
        pair.client.send(number, b"message")
        (request,) = [one for one in pair.turn() if isinstance(one, RequestReceived)]
        kinds = {bytes(field[0]): type(field) for field in request.headers or ()}
        assert kinds[b"authorization"] is kinds[b"cookie"] is NeverIndexedHeaderTuple
        assert kinds[b"x-name"] is kinds[b":path"] is HeaderTuple
        stream = request.stream_id
        assert stream is not None
        pair.server.send_headers(stream, [(b":status", b"200")])
        pair.server.send_data(stream, b"message", end_stream=True)
        pair.turn()
    assert pair.heard == [(number, b"message", "200") for number in range(3)]


def test_windows_are_opened_again() -> None:
    """An answer of many windows comes whole, whatever the sizes of its frames."""
    pair = Pair()
    pair.client.send(0, b"?")
    pair.turn()
    pair.server.send_headers(1, [(b":status", b"200")])
    block, left, updates = bytes(1 << 14), 40 << 20, 0
    while left:
        while left and pair.server.local_flow_control_window(1) >= len(block):
            left -= len(block)
            pair.server.send_data(1, block, end_stream=not left)
        pair.turn()
        updates += len(pair.turn())
        assert left == 0 or pair.server.local_flow_control_window(1) >= len(block)
    assert [(sequence, len(payload)) for sequence, payload, _ in pair.heard] == [(0, 40 << 20)]
    assert updates < 20


@pytest.mark.parametrize("queued", [False, True], ids=["alone", "with one that waits"])
def test_server_that_ends(queued: bool) -> None:
    """What is under way when a server says that it ends is answered; the next message needs a connection."""
    pair = Pair()
    pair.client.send(0, b"before")
    if queued:
        pair.client.send(1, b"after")
    pair.turn()
    pair.client.dataReceived(GoAwayFrame(last_stream_id=1).serialize())
    if not queued:
        pair.client.send(1, b"after")
    pair.server.send_headers(1, [(b":status", b"200")])
    pair.server.send_data(1, b"answer", end_stream=True)
    assert not pair.transport.disconnecting
    assert not any(isinstance(event, RequestReceived) for event in pair.turn())
    assert pair.heard == [(0, b"answer", "200")]
    assert pair.transport.disconnecting
    pair.client.connectionLost()
    assert pair.reopened is None
    pair.clock.advance(0)
    assert pair.reopened is not None
    assert not pair.lost


def test_server_that_ends_and_has_not_answered() -> None:
    """It is left alone for a while before there is another connection, and the longer the more often."""
    pair = Pair()
    pair.client.send(0, b"refused")
    for count in range(8):
        pair.turn()
        pair.client.send(count + 1, b"refused")
        ends = GoAwayFrame(last_stream_id=1).serialize()
        pair.client.dataReceived(ends + RstStreamFrame(1, ErrorCodes.REFUSED_STREAM).serialize())
        pair.client.connectionLost()
        pause = min(FIRST * 2**count, LONGEST)
        pair.clock.advance(0.99 * pause)
        assert pair.reopened is None
        pair.clock.advance(0.01 * pause)
        assert pair.reopened is not None
        pair.reopened = None
        pair.connect()
    assert pair.heard == [(count, b"", "reset REFUSED_STREAM") for count in range(8)]
    assert not pair.lost


@pytest.mark.parametrize("when", ["before", "pausing", "while"])
def test_closed_as_a_connection_takes_the_place_of_another(when: str) -> None:
    """No message is left to open one for, and one that is being opened is given up."""
    pair = Pair()
    pair.client.dataReceived(GoAwayFrame(last_stream_id=0).serialize())
    pair.client.send(0, b"after")
    if when != "before":
        pair.client.connectionLost()
    if when == "while":
        pair.clock.advance(LONGEST)
        assert pair.reopened is not None
    pair.client.close()
    if when == "while":
        assert pair.reopened is not None
        assert pair.reopened.called  # it has been cancelled
    else:
        if when == "before":
            assert pair.transport.disconnected
            pair.client.connectionLost()
        pair.clock.advance(LONGEST)
        assert pair.reopened is None
    assert not pair.clock.getDelayedCalls()
    assert not pair.lost


def test_server_that_ends_and_does_not_answer() -> None:
    """What it says it has not looked at is sent again, in order; if it breaks its word, all is lost."""
    pair = Pair(streams=4)
    for count in range(4):
        pair.client.send(count, b"%d" % count)
    pair.turn()
    pair.client.dataReceived(GoAwayFrame(last_stream_id=5).serialize())
    pair.client.dataReceived(GoAwayFrame(last_stream_id=3).serialize())  # the server may name fewer later
    for number in (3, 1):
        assert not pair.transport.disconnecting
        pair.server.send_headers(number, [(b":status", b"200")], end_stream=True)
        pair.turn()
    assert pair.transport.disconnecting
    pair.client.send(4, b"4")
    pair.client.connectionLost()
    pair.clock.advance(0)
    asked = pair.connect()
    assert [bytes(event.data) for event in asked if isinstance(event, DataReceived)] == [b"2", b"3", b"4"]
    assert [sequence for sequence, _, _ in pair.heard] == [1, 0]
    assert not pair.lost
    pair.client.dataReceived(GoAwayFrame(last_stream_id=5).serialize())
    pair.client.connectionLost()
    assert len(pair.lost) == 1


def test_server_that_ends_amid_a_message() -> None:
    """What of it has been sent is sent again."""
    pair = Pair()
    pair.client.send(0, LARGE)
    pair.turn()
    pair.client.dataReceived(GoAwayFrame(last_stream_id=0).serialize())
    pair.client.connectionLost()
    pair.clock.advance(FIRST)
    asked = pair.connect()
    assert b"".join(event.data for event in asked if isinstance(event, DataReceived)) == LARGE[:65_535]
    assert not pair.lost


@pytest.mark.parametrize("frame", [PingFrame(0), SettingsFrame(0)], ids=lambda frame: type(frame).__name__)
def test_a_flood_of_what_must_be_acknowledged(frame: Frame) -> None:
    """It ends the connection, as a server that reads nothing would have the acknowledgements pile up."""
    pair = Pair()
    pair.client.dataReceived(frame.serialize() * 2 * int(CREDIT))
    (reason,) = pair.lost
    assert "a flood of frames that serve nothing, such as PING or SETTINGS" in str(reason.value)
    assert pair.transport.disconnecting
    assert not pair.transport.value()


def test_pings_of_a_server_that_answers() -> None:
    """Any number is acknowledged, in the course of exchanges as of hours."""
    pair = Pair()
    for number in range(100):
        pair.client.send(number, b"")
        (request,) = [one for one in pair.turn() if isinstance(one, RequestReceived)]
        pair.server.send_headers(request.stream_id or 0, [(b":status", b"200")], end_stream=True)
        pair.turn()
        pair.client.dataReceived(PingFrame(0).serialize() * 4)
    for _ in range(100):
        pair.clock.advance(1)
        pair.client.dataReceived(PingFrame(0).serialize() * 10)
    assert not pair.lost
    acknowledged = [one for one in pair.turn() if isinstance(one, PingAckReceived)]
    assert len(acknowledged) == 100 * 10 + 4
