"""The client of HTTP/3 and servers that say that they take no more requests (RFC 9114 section 5.2)."""

from __future__ import annotations

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.python.failure import Failure

from netecho.protocols._backoff import FIRST, LONGEST
from tests.test_http3_client import TURN, Pair

GOAWAY = encode_frame(FrameType.GOAWAY, b"\x08")


def reopen(pair: Pair) -> None:
    """Have the server take no more, and a message need another connection, which is not there yet."""
    pair.turn()
    pair.line.control(GOAWAY)
    pair.turn()
    pair.client.send(0, b"message")
    pair.clock.advance(FIRST)
    assert len(pair.lines) == 2


def test_goaway() -> None:
    """What is under way is answered, and what comes next goes on another connection (RFC 9114 5.2)."""
    with Pair() as pair:
        for count in range(2):
            pair.client.send(count, b"message")
        pair.turn()
        pair.line.control(GOAWAY)
        pair.turn()
        for count in range(2, 5):
            pair.client.send(count, b"message")
        pair.turn()
        (former,) = pair.lines
        assert former.asked == [0, 4]
        former.answer(4, b"1")
        former.turn()
        assert not former.is_closed
        former.answer(0, b"0")
        former.turn()
        assert former.is_closed
        assert former.server._close_event.error_code == ErrorCode.H3_NO_ERROR
        pair.turn()
        assert len(pair.lines) == 2
        assert pair.line.asked == [0, 4, 8]
        for stream in pair.line.asked:
            pair.line.answer(stream, b"%d" % (2 + stream // 4))
        pair.turn()
        assert {sequence: payload for sequence, payload, _ in pair.heard} == {
            count: b"%d" % count for count in range(5)
        }
        assert not pair.lost


@pytest.mark.parametrize("said", [(0,), (8, 4), (1 << 61, 8, 4)], ids=str)
def test_goaway_before_what_is_under_way(said: tuple[int, ...]) -> None:
    """What a server says it has not looked at is sent again, in order, on another connection."""
    with Pair() as pair:
        for count in range(3):
            pair.client.send(count, b"%d" % count)
        pair.turn()
        former = pair.line
        for stream in said:
            for byte in encode_frame(FrameType.GOAWAY, encode_uint_var(stream)):
                former.control(bytes([byte]))
                former.turn()
        answered = said[-1] // 4
        if answered:
            assert not former.is_closed
            former.answer(0, b"0")
            former.turn()
        assert former.is_closed
        assert former.server._close_event.error_code == ErrorCode.H3_NO_ERROR
        pair.client.send(3, b"3")
        pair.clock.advance(FIRST)
        pair.turn()
        assert len(pair.lines) == 2
        assert pair.line.asked == [4 * count for count in range(4 - answered)]
        assert pair.line.bodies == [b"%d" % count for count in range(answered, 4)]
        assert not pair.lost


def test_goaway_while_nothing_is_under_way() -> None:
    """The connection is closed, which is no loss, and the next message needs another."""
    with Pair() as pair:
        pair.turn()
        pair.line.control(GOAWAY)
        pair.turn()
        assert pair.line.is_closed
        assert len(pair.lines) == 1
        pair.client.send(0, b"message")
        pair.clock.advance(FIRST)
        pair.turn()
        assert [line.asked for line in pair.lines] == [[], [0]]
        assert not pair.lost


def test_goaway_before_any_answer() -> None:
    """Such a server is left alone before there is another connection, and the longer the more often."""
    with Pair() as pair:
        pair.client.send(0, b"refused")
        for count in range(8):
            pair.turn()
            former = pair.line
            former.control(GOAWAY)
            former.turn()
            pair.client.send(count + 1, b"refused")
            former.server.reset_stream(0, ErrorCode.H3_REQUEST_REJECTED)
            former.turn()
            assert pair.line is former
            pair.clock.advance(min(FIRST * 2**count, LONGEST) - 20 * TURN)
            assert pair.line is former
            pair.clock.advance(20 * TURN)
            assert pair.line is not former
        assert [(sequence, answer and answer.status) for sequence, _, answer in pair.heard] == [
            (count, "reset H3_REQUEST_REJECTED") for count in range(8)
        ]
        assert not pair.lost


def test_goaway_and_nothing_more() -> None:
    """What was under way is lost with a connection that ends, and one that does not come to be is a loss."""
    with Pair() as pair:
        pair.client.send(0, b"message")
        pair.turn()
        pair.line.control(GOAWAY)
        pair.turn()
        pair.line.server.close(ErrorCode.H3_NO_ERROR)
        pair.turn()
        assert [reason.type for reason in pair.lost] == [ConnectionDone]
    with Pair() as pair:
        reopen(pair)
        pair.line.link.lose(Failure(ConnectionRefusedError()))
        assert [reason.type for reason in pair.lost] == [ConnectionRefusedError]
    with Pair() as pair:
        reopen(pair)
        pair.client.close()
        assert all(line.is_closed for line in pair.lines)
        assert not pair.lost
