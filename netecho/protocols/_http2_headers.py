"""HPACK (RFC 7541) for connections on which the same heads are sent and received again and again.

What a block of header fields means, and how it is encoded, depends only on the block and the dynamic table,
and most blocks do not change the table: the result for such a block is remembered. All else is left to
`hpack`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Decoder, Encoder, HeaderTuple

MOST_KNOWN: Final = 16
"""Blocks that are remembered for each direction of a connection."""
MOST_BLOCK: Final = 512
"""Bytes of the largest block that is remembered."""


class _Table:
    """Tells whether a dynamic table has changed since it was last looked at."""

    __slots__ = ("_count", "_limits", "_newest")

    def __init__(self) -> None:
        self._newest: object = None
        self._count = 0
        self._limits: object = None

    def is_same(self, coder: Encoder | Decoder, limits: object) -> bool:
        """Return whether the table and `limits` are the same as at the last call.

        Entries are inserted at one end, each as a new object, and evicted at the other: the newest entry and
        their number tell whether anything has changed.
        """
        entries = coder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        count = len(entries)
        if newest is self._newest and count == self._count and limits == self._limits:
            return True
        self._newest, self._count, self._limits = newest, count, limits
        return False


class RememberingEncoder(Encoder):
    """Encodes header blocks, and remembers those that did not change its table."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()
        self._known: dict[Any, bytes] = {}

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """See `hpack.Encoder.encode`."""
        if isinstance(headers, dict):
            return super().encode(headers, huffman)
        fields = list(headers)
        # Fields compare equal whether or not they are of the class that is never indexed.
        key = (tuple(fields), tuple(map(type, fields)), huffman)
        resized = self.header_table.resized
        if resized or not self._table.is_same(self, None):
            self._known.clear()
        elif (known := self._known.get(key)) is not None:
            return known
        block = super().encode(fields, huffman)
        if not self._table.is_same(self, None):
            self._known.clear()
        elif not resized and len(block) <= MOST_BLOCK:
            if len(self._known) == MOST_KNOWN:
                self._known.clear()
            self._known[key] = block
        return block


class RememberingDecoder(Decoder):
    """Decodes header blocks, and remembers those that did not change its table."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()
        self._known: dict[bytes, list[HeaderTuple]] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """See `hpack.Decoder.decode`."""
        if not raw or len(data) > MOST_BLOCK:
            return super().decode(data, raw)
        if not self._table.is_same(self, self._limits()):
            self._known.clear()
        elif (known := self._known.get(data)) is not None:
            return known.copy()
        fields = list(super().decode(data, raw))
        if not self._table.is_same(self, self._limits()):
            self._known.clear()
        else:
            if len(self._known) == MOST_KNOWN:
                self._known.clear()
            self._known[data] = fields
        return fields.copy()

    def _limits(self) -> tuple[int, int, int]:
        return self.header_table.maxsize, self.max_allowed_table_size, self.max_header_list_size


class RememberingConnection(H2Connection):
    """A connection of `h2` with an encoder and a decoder that remember."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = RememberingEncoder()
        self.decoder = RememberingDecoder()
        self.decoder.max_header_list_size = self.DEFAULT_MAX_HEADER_LIST_SIZE
