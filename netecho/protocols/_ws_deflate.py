"""Compression of messages (permessage-deflate, RFC 7692) as a server agrees on it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

_SETTINGS: Final = {"memLevel": 5}
_MOST_STREAMS: Final = 16
"""In a frame: each has the rest of it copied."""
_WINDOW: Final = 12
"""Of 4 KiB either way: 64 KiB of memory for a connection in place of 300."""


class _Inflater:
    """What `zlib.decompressobj` makes, but that more may follow the last block of a stream.

    A peer may end a message so (RFC 7692 section 7.2.3.4); all that comes after it would inflate to nothing.
    This begins again as who has ended a stream does, with no window from before.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._stream = zlib.decompressobj(-bits)
        self.unconsumed_tail = b""

    def decompress(self, data: Any, most: int) -> bytes:
        """Return what comes of `data`, up to `most` bytes; if there is more, there is an `unconsumed_tail`.

        Raises:
            zlib.error: it is not compressed, or in very many streams, to cost us time.
        """
        out = self._stream.decompress(data, most)
        self.unconsumed_tail = self._stream.unconsumed_tail
        for _ in range(_MOST_STREAMS):
            if not self._stream.eof:
                return out
            rest = self._stream.unused_data
            self._stream = zlib.decompressobj(-self._bits)
            out += self._stream.decompress(rest, most - len(out) + 1)
            self.unconsumed_tail = rest if len(out) > most else b""
        raise zlib.error("too many streams")


class _Deflate(PerMessageDeflate):
    """The library's, with another decoder: also for who uses no window twice, which does no harm."""

    decoder: Any

    def __init__(self, agreed: PerMessageDeflate) -> None:
        super().__init__(
            False,  # else the library makes decoders of its own
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            _SETTINGS,
        )
        self.decoder = _Inflater(self.remote_max_window_bits)


class DeflateFactory(ServerPerMessageDeflateFactory):
    """Agrees on it with whoever offers it."""

    def __init__(self) -> None:
        super().__init__(
            server_max_window_bits=_WINDOW, client_max_window_bits=_WINDOW, compress_settings=_SETTINGS
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Return what to answer to an offer, and what then reads and writes frames."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, _Deflate(agreed)
