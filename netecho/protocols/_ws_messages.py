"""WebSocket messages on either side (RFC 6455): their limits, and how fragments become a message."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Frame
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from netecho.protocols._ws_reader import FrameReader

MOST_MESSAGE: Final = 16 << 20
"""Bytes of the largest message, after inflation, and of the largest frame."""
BUFFER: Final = 256 << 10
"""Bytes that are read at once, and buffered for writing before a pause. With Twisted's 64 KiB a message of
that size, which is a little more with its frame, would cost a third more."""
TURN: Final = 256
"""Frames that are taken in one turn of the reactor, which take some milliseconds even if small."""
SLICE: Final = 1024
"""Bytes of compressed frames that are parsed at a time: they inflate to a thousand times as many at most."""
_PIECE: Final = 64 << 10
"""Bytes of text that are decoded at a time."""

LOG: Final = logging.getLogger("netecho.websockets")
"""The library's logger: it logs each connection, which is dropped below the level of warnings."""
LOG.setLevel(logging.WARNING)


class _Wire(Protocol):
    """The library's protocol, except that Close may come within a message, and that text must be UTF-8.

    Args:
        arguments, options: those of the library's class.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._decoder: Any = None
        """Decodes the text message that has begun."""
        self.reader: FrameReader = FrameReader()
        self.parser = self.parse()  # again, so that it uses this reader
        next(self.parser)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame.

        Raises:
            UnicodeDecodeError: the text so far is not UTF-8; the library closes with code 1007.
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

    def forget(self) -> None:
        """Take nothing more: the connection has ended. No garbage collector need look for its core then."""
        del self.parser
        errors: tuple[BaseException | None, ...] = self.parser_exc, self.handshake_exc
        for error in errors:
            while error is not None:
                error.__traceback__ = None  # whose frames have it, and the connection
                error = error.__cause__ or error.__context__

    def _look(self, frame: Frame) -> None:
        data = memoryview(frame.data)
        for start in range(0, len(data), _PIECE):
            self._decoder.decode(data[start : start + _PIECE])
        if frame.fin:
            self._decoder.decode(b"", final=True)
            self._decoder = None


class ServerWire(_Wire, ServerProtocol):
    """The server side, which takes masked frames."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """Choose the first of several, as a browser would go on with none."""
        return subprotocols[0] if subprotocols else None


class SpoiltWire(ServerWire):
    """The server side of an impaired server, where the content of messages may be corrupted.

    Args:
        spoil: returns a content, corrupted or not.
        options: those of `ServerWire`.
    """

    def __init__(self, spoil: Callable[[bytes], bytes], **options: Any) -> None:
        super().__init__(**options)
        self._spoil = spoil

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame, and pass the first content of each message through `spoil`."""
        super().recv_frame(frame)
        if frame.opcode in (TEXT, BINARY):
            frame.data = self._spoil(bytes(frame.data))


class ClientWire(_Wire, ClientProtocol):
    """The client side, which sends masked frames."""


class Assembly:
    """Assembles messages from their fragments.

    The library bounds the size of a message (`MOST_MESSAGE`), but not the number of its fragments: so their
    bytes are kept, and not the frames.
    """

    def __init__(self) -> None:
        self._opcode = BINARY
        self._data = bytearray()
        self.is_partial = False
        """A message has begun, and its last fragment has not come."""

    def take(self, frame: Frame) -> Frame | None:
        """Take a frame; return the message that it completes, as one frame, or `None`."""
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
