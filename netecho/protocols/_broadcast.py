"""Broadcast: each peer is sent what any of them sends. This is what becomes of a peer that does not read.

Nobody waits for a slow peer: what is sent to it is kept, up to a bound, and beyond that the peer is cut off.
To stop reading from the senders instead would let one peer silence all others.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from netecho.protocols._addresses import address_text

if TYPE_CHECKING:
    from netecho.protocols._stream_server import ReplyProtocol

MOST_WAITING: Final = 1 << 20
"""Bytes kept for a peer with which another message is still accepted for it; with more it is cut off."""
COST: Final = 128
"""Bytes of memory that keeping a message takes beside its own."""

_Message = TypeVar("_Message")


class Backlog(Generic[_Message]):
    """The messages kept for a peer until it reads."""

    __slots__ = ("_messages", "_size")

    def __init__(self) -> None:
        self._messages: collections.deque[tuple[_Message, int]] = collections.deque()
        self._size = 0

    def add(self, message: _Message, size: int) -> bool:
        """Keep a message of so many bytes; return whether there is room for it."""
        if self._size >= MOST_WAITING:
            return False
        self._messages.append((message, size + COST))
        self._size += size + COST
        return True

    def take(self) -> Iterator[_Message]:
        """Yield what is kept, the oldest first; each is no longer kept once it is yielded."""
        while self._messages:
            message, size = self._messages.popleft()
            self._size -= size
            yield message


def cut_off(connection: ReplyProtocol) -> None:
    """End the connection of a peer that does not read what is broadcast, and report it."""
    reason = f"it does not take what its peers say, of which {MOST_WAITING >> 20} MiB waits for it"
    connection.factory.tell("cut", lambda: {"peer": address_text(connection.peer), "reason": reason})
    connection.cut()
