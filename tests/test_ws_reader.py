"""Frames of WebSocket however they come: what is cut from them is what the library's own reader cuts."""

from __future__ import annotations

import random

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from netecho.protocols._ws_messages import MOST_MESSAGE, ServerWire

SIZES = [0, 1, 125, 126, 1000, 65_535, 65_536, 100_000]


def received(wire: ServerProtocol, pieces: list[bytes]) -> list[tuple[Opcode, bytes, bool]]:
    """Return the frames that come of some pieces."""
    frames: list[tuple[Opcode, bytes, bool]] = []
    for piece in pieces:
        wire.receive_data(piece)
        events: list[Frame] = wire.events_received()  # type: ignore[assignment]
        frames += [(one.opcode, bytes(one.data), one.fin) for one in events]
    return frames


@pytest.mark.parametrize("seed", range(20))
def test_cuts(seed: int) -> None:
    """In pieces of any sizes, at and beside the borders of frames, and with an end amid one."""
    chances = random.Random(seed)  # noqa: S311 - not for secrets
    frames = [Frame(Opcode.BINARY, chances.randbytes(size)) for size in chances.choices(SIZES, k=12)]
    whole = [frame.serialize(mask=True) for frame in frames]
    if seed % 3 == 0:
        pieces = whole  # as most come
    else:
        data, pieces = b"".join(whole), []
        while data:
            size = chances.choice([1, 2, 6, 14, 1000, 70_000, 1 << 18, len(whole[0])])
            pieces.append(data[:size])
            data = data[size:]
    wire = ServerWire(state=OPEN, max_size=MOST_MESSAGE)
    assert received(wire, pieces) == [(frame.opcode, frame.data, True) for frame in frames]
    assert not wire.reader.buffer
    wire.receive_data(whole[0][:1])
    assert wire.reader.buffer, "a frame that has begun is not to be seen"
    wire.receive_eof()
    assert isinstance(wire.parser_exc, EOFError)


def test_end_between_frames() -> None:
    """The end of what comes is seen as well between frames, after a Close, and nothing is kept then."""
    wire = ServerWire(state=OPEN)
    close = Frame(Opcode.CLOSE, b"").serialize(mask=True)
    assert received(wire, [Frame(Opcode.TEXT, b"x").serialize(mask=True)]) == [(Opcode.TEXT, b"x", True)]
    assert received(wire, [close + bytes(1000)]) == [(Opcode.CLOSE, b"", True)]
    assert received(wire, [bytes(1000)]) == []
    assert not wire.reader.buffer
    wire.receive_eof()
    with pytest.raises(EOFError):
        wire.reader.feed_data(b"x")
