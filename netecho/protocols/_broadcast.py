"""A room of peers, each of whom hears what any of them says, and what becomes of one who does not listen.

Nobody waits for who takes what is said too slowly: it is kept for that peer, up to a bound, and beyond that
the peer is cut off. To hold back who speaks in its place would have one peer silence all others.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from netecho.protocols._seen import address_text

if TYPE_CHECKING:
    from netecho.protocols._stream_server import ReplyProtocol

MOST_WAITING: Final = 1 << 20
"""Bytes that may be kept for a peer when another message comes for it."""
COST: Final = 128
"""Bytes that keeping a message takes beside its own."""

_Message = TypeVar("_Message")


class Backlog(Generic[_Message]):
    """What is kept for a peer until it takes it."""

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
        """Give what is kept, the oldest first, for as long as somebody asks for more."""
        while self._messages:
            message, size = self._messages.popleft()
            self._size -= size
            yield message


def cut_off(connection: ReplyProtocol) -> None:
    """End the connection of a peer that does not take what is said, and say so."""
    reason = f"it does not take what its peers say, of which {MOST_WAITING >> 20} MiB waits for it"
    connection.factory.tell("cut", lambda: {"peer": address_text(connection.peer), "reason": reason})
    connection.cut()
