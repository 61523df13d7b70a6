"""Tells when the first byte comes from the other end of a stream, at no cost for any byte after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure


class _FirstByte(Protocol):
    """Stands between a transport and its protocol until something arrives."""

    def __init__(self, transport: Any, place: str, on_first_byte: Callable[[], object]) -> None:
        self._transport = transport
        self._place = place
        self._behind: Protocol = getattr(transport, place)
        self._on_first_byte = on_first_byte

    def dataReceived(self, data: bytes) -> None:
        setattr(self._transport, self._place, self._behind)
        self._on_first_byte()
        self._behind.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._behind.connectionLost(reason)


def tell_first_byte(transport: Any, on_first_byte: Callable[[], object]) -> None:
    """Call `on_first_byte` when the first byte arrives, just before the transport's protocol has it.

    Args:
        transport: a connected stream's, which has delivered nothing yet.
        on_first_byte: is called once, or never if nothing comes.
    """
    place = "wrappedProtocol" if isinstance(transport, TLSMemoryBIOProtocol) else "protocol"
    setattr(transport, place, _FirstByte(transport, place, on_first_byte))
