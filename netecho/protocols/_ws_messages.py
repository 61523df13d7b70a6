"""Messages on a WebSocket, on either side: what they may measure, and how frames make one (RFC 6455)."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Frame
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from netecho.protocols._ws_reader import FrameReader

MOST_MESSAGE: Final = 16 << 20
"""Bytes of a message, inflated if it was compressed; and of a frame."""
BUFFER: Final = 256 << 10
"""Bytes that are read at once, and written without a pause: a message of Twisted's 64 KiB and its frame are a
little more, and cost a third more then."""
SLICE: Final = 1024
"""Bytes of compressed frames that are taken at a time: no more than a thousand times as many come of them."""
_PIECE: Final = 64 << 10
"""Bytes of text that are looked at together."""

LOG: Final = logging.getLogger("netecho.websockets")
"""For the library, which has a word for each connection: below warnings it says nothing."""
LOG.setLevel(logging.WARNING)


class _Wire(Protocol):
    """The library's, but that a peer may close before a message is complete, and that text is text.

    Args:
        options: of the library's.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._decoder: Any = None
        """Of the text that has begun."""
        self.reader: FrameReader = FrameReader()
        self.parser = self.parse()  # which reads from that one
        next(self.parser)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame.

        Raises:
            UnicodeDecodeError: text is not in UTF-8, as far as it has come: the library tells the peer.
        """
        opcode = frame.opcode
        if opcode is CLOSE:
            # Control frames may come between fragments (RFC 6455 section 5.4).
            self.current_size = None
        elif opcode is TEXT and self.current_size is None:
            if frame.fin and len(frame.data) <= _PIECE:
                bytes(frame.data).decode()
            else:
                self._decoder = codecs.getincrementaldecoder("utf-8")()
                self._look(frame)
        elif opcode is CONT and self._decoder is not None:
            self._look(frame)
        super().recv_frame(frame)

    def _look(self, frame: Frame) -> None:
        data = memoryview(frame.data)
        for start in range(0, len(data), _PIECE):
            self._decoder.decode(data[start : start + _PIECE])
        if frame.fin:
            self._decoder.decode(b"", final=True)
            self._decoder = None


class ServerWire(_Wire, ServerProtocol):
    """Frames as a server reads them."""


class SpoiltWire(ServerWire):
    """The same, with content that is another than came, if it is to be so.

    Args:
        spoil: returns what stands for a content.
        options: of `ServerWire`.
    """

    def __init__(self, spoil: Callable[[bytes], bytes], **options: Any) -> None:
        super().__init__(**options)
        self._spoil = spoil

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame: each message begins with one of text or bytes."""
        super().recv_frame(frame)
        if frame.opcode in (TEXT, BINARY):
            frame.data = self._spoil(bytes(frame.data))


class ClientWire(_Wire, ClientProtocol):
    """Frames as a client reads and writes them."""


class Assembly:
    """Puts the fragments of messages together.

    The library beneath has bounded what they amount to (`MOST_MESSAGE`), but not how many they are: they are
    kept as the bytes that they add up to.
    """

    def __init__(self) -> None:
        self._opcode = BINARY
        self._data = bytearray()
        self.is_partial = False
        """A fragment has come whose message has not ended."""

    def take(self, frame: Frame) -> Frame | None:
        """Take a frame; return the message that it completes, in a frame, if it does."""
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                return frame
            self._opcode = opcode
            self.is_partial = True
        elif opcode is not CONT:
            return None
        self._data += frame.data
        if not frame.fin:
            return None
        data, self._data = self._data, bytearray()
        self.is_partial = False
        return Frame(self._opcode, bytes(data))
