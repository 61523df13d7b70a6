"""What has come and is not taken yet, for the library that reads frames of WebSocket."""

from __future__ import annotations

from collections.abc import Generator

from websockets.streams import StreamReader


class FrameReader(StreamReader):
    """The library's, but that frames which come whole are cut from what they came in, without a buffer.

    That saves two copies of each, and of an echo of 64 KiB half of what it costs beside the system's part.
    `buffer` has what waits for the rest of a frame.

    It gives so many frames as `left` says, and lays aside in `rest` what has come behind them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._came: bytes | bytearray = b""
        self._taken = 0
        """Bytes of it."""
        self._is_between = False
        """All is taken, and what comes next begins a frame."""
        self.left = -1
        """Frames that may still be taken; below 0, any number."""
        self.rest = b""

    def feed_data(self, data: bytes | bytearray) -> None:
        """Take what has come."""
        if self._is_between:
            self._is_between = False
            self._came = data
            self._taken = 0
        else:
            super().feed_data(data)

    def read_exact(self, n: int) -> Generator[None, None, bytes | bytearray]:  # type: ignore[override]
        """Give `n` bytes; see `StreamReader.read_exact`."""
        start = self._taken
        end = start + n
        came = self._came
        if end <= len(came):
            self._taken = end
            return came[start:end]
        if came:
            self.buffer += memoryview(came)[start:]
            self._came = b""
            self._taken = 0
        return (yield from super().read_exact(n))

    def at_eof(self) -> Generator[None, None, bool]:
        """Tell whether nothing more will come; see `StreamReader.at_eof`."""
        while True:
            if self._taken < len(self._came) or self.buffer:
                if self.left:
                    self.left -= 1
                    return False
                self.rest = bytes(self._came[self._taken :] or self.buffer)
                self.buffer.clear()
            if self.eof:
                return True
            self._came = b""
            self._taken = 0
            self._is_between = True
            yield
            self._is_between = False

    def discard(self) -> None:
        """Forget what has come."""
        self._came = b""
        self._taken = 0
        super().discard()
