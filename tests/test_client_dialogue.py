"""Which of what comes back is the echo of a line."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netecho.errors import LostError
from netecho.rendering.dialogue import heard_line, summary
from netecho.services.dialogue import Dialogue, EchoMatcher, Heard


@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=8), st.data())
def test_any_segments(lines: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut, each line's echo is heard once, in order, with its time."""
    matcher = EchoMatcher(stream=True)
    for number, line in enumerate(lines):
        matcher.sent(line + b"\n", number)
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    heard: list[Heard] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += matcher.heard(stream[start:end], 100)
    assert heard == [Heard(line + b"\n", 100 - number) for number, line in enumerate(lines)]
    assert matcher.awaited == 0


def test_what_was_not_asked_for() -> None:
    """A greeting comes as it is, and the echo after it is still recognised."""
    matcher = EchoMatcher(stream=True)
    assert list(matcher.heard(b"220 hello\r\npar", 1)) == [Heard(b"220 hello\r\n", None), Heard(b"par", None)]
    matcher.sent(b"a line\n", 10)
    assert list(matcher.heard(b"tial\na li", 15)) == [Heard(b"tial\n", None)]
    assert list(matcher.heard(b"ne\n", 17)) == [Heard(b"a line\n", 7)]


def test_rest_of_an_echo() -> None:
    """Part of an echo is waited for, and shown at the end if the rest never comes."""
    matcher = EchoMatcher(stream=True)
    matcher.sent(b"a line\n", 0)
    assert list(matcher.heard(b"a li", 1)) == []
    assert list(matcher.end()) == [Heard(b"a li", None)]
    assert matcher.awaited == 1


def test_datagrams_may_overtake() -> None:
    """Each datagram is one message, empty ones too, whatever the order they come in."""
    matcher = EchoMatcher(stream=False)
    for number, message in enumerate([b"one", b"", b"three"]):
        matcher.sent(message, number)
    assert list(matcher.heard(b"three", 10)) == [Heard(b"three", 8)]
    assert list(matcher.heard(b"", 10)) == [Heard(b"", 9)]
    assert list(matcher.heard(b"four", 10)) == [Heard(b"four", None)]
    assert list(matcher.heard(b"one", 10)) == [Heard(b"one", 10)]


class HalfCloseable(StringTransport):
    """A transport in memory whose write side can be closed."""

    write_closed = False

    def loseWriteConnection(self) -> None:
        """Note it."""
        self.write_closed = True


def conversation(**attributes: Any) -> tuple[Dialogue, Any, list[Heard]]:
    """Return a connected dialogue, with a clock that adds 5 ns whenever it is read."""
    heard: list[Heard] = []
    ticks = iter(range(0, 1000, 5))
    dialogue = Dialogue(stream=True, on_heard=heard.append, clock=lambda: next(ticks), **attributes)
    transport: Any = HalfCloseable()  # type: ignore[no-untyped-call]
    connected: Any = dialogue
    connected.makeConnection(transport)
    return dialogue, transport, heard


def test_finish_waits_for_echoes() -> None:
    """After the last line, the conversation is over when all echoes have come."""
    dialogue, transport, heard = conversation()
    dialogue.say(b"hello")
    assert transport.value() == b"hello\n"
    finished = dialogue.finish()
    assert transport.write_closed
    assert not finished.called
    dialogue.dataReceived(b"hello\n")
    assert finished.called
    assert heard == [Heard(b"hello\n", 5)]
    assert summary(dialogue.tally) == (
        "1 line sent, 1 echoed; 6 B sent, 6 B received\nrtt min/avg/max = 0.000/0.000/0.000 ms"
    )


def test_peer_ends() -> None:
    """An end in order is no error, a reset is one; either is said once."""
    dialogue, _, _ = conversation()
    dialogue.connectionLost(Failure(ConnectionDone()))
    assert dialogue.over
    assert dialogue.error is None
    dialogue, _, _ = conversation()
    dialogue.connectionLost(Failure(ConnectionLost("reset")))
    assert dialogue.over
    assert isinstance(dialogue.error, LostError)


def test_control_characters_are_shown() -> None:
    """What comes from elsewhere cannot move the cursor or set a window's title."""
    line = heard_line(Heard(b"\x1b]0;title\x07 caf\xc3\xa9 \xff\r\n", 1_500_000))
    assert line == "\\x1b]0;title\\x07 caf\xe9 \\xff  (1.50 ms)"
    assert heard_line(Heard(b"220 ready\r\n", None)) == "220 ready  (not an echo)"


def test_receipts() -> None:
    """Where receipts come back, each is for the oldest line, whatever it says; if there is none, for none."""
    matcher = EchoMatcher(stream=False, receipts=True)
    matcher.sent(b"one", 0)
    matcher.sent(b"two", 1)
    assert list(matcher.heard(b"250 Ok", 10)) == [Heard(b"250 Ok", 10)]
    assert list(matcher.heard(b"250 Ok", 10)) == [Heard(b"250 Ok", 9)]
    assert list(matcher.heard(b"421 bye", 10)) == [Heard(b"421 bye", None)]
