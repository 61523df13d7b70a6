"""Compression of messages (permessage-deflate, RFC 7692) on the server side."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

_SETTINGS: Final = {"memLevel": 5}
_MOST_STREAMS: Final = 16
"""The most DEFLATE streams in one frame: for each, the rest of the frame is copied."""
_WINDOW: Final = 12
"""Bits of the windows, of 4 KiB: a connection takes 64 KiB of memory instead of 300 KiB."""


class _Inflater:
    """Like `zlib.decompressobj()`, except that more data may follow the final block of a stream.

    A peer may end a message with a final block (RFC 7692 section 7.2.3.4), after which `zlib` would return
    nothing more. Here a new stream begins then, with an empty window, as in the peer's compressor.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._stream = zlib.decompressobj(-bits)
        self.unconsumed_tail = b""

    def decompress(self, data: Any, most: int) -> bytes:
        """Inflate `data` to at most `most` bytes; if there is more, `unconsumed_tail` is not empty.

        Raises:
            zlib.error: the data is malformed, or has too many streams.
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
    """The library's extension with an `_Inflater`, which also suits peers without context takeover."""

    decoder: Any

    def __init__(self, agreed: PerMessageDeflate) -> None:
        super().__init__(
            False,  # with True the library would make a new decoder for each message
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            _SETTINGS,
        )
        self.decoder = _Inflater(self.remote_max_window_bits)


class DeflateFactory(ServerPerMessageDeflateFactory):
    """Accepts the extension from every client that offers it."""

    def __init__(self) -> None:
        super().__init__(
            server_max_window_bits=_WINDOW, client_max_window_bits=_WINDOW, compress_settings=_SETTINGS
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Return the parameters of the answer to an offer, and the extension that was agreed on."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, _Deflate(agreed)
