"""What a protocol that takes datagrams in batches is given, and what it has to have.

A `DatagramProtocol` with one more method, `datagramsReceived`, is called with all that came together where
the reactor receives so, and with `datagramReceived` for each datagram elsewhere. It must not depend on which.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator, Mapping, Sequence

Address = tuple[str, int]
"""Host and port, as `DatagramProtocol.datagramReceived` is given them: without flow. Where the reactor
receives so, the host of a link-local address has the number of its zone behind it (`fe80::1%2`)."""


class Batch(typing.Protocol):
    """Datagrams that came together, oldest first. It is valid only during the call that it is passed to."""

    @property
    def sizes(self) -> Sequence[int]:
        """How many bytes each has."""

    @property
    def sources(self) -> Mapping[Address, Sequence[int]]:
        """Where they came from: each address once, with the indices of the datagrams from there."""

    def __len__(self) -> int:
        """Return how many there are: at least one."""

    def __iter__(self) -> Iterator[tuple[bytes, Address]]:
        """Yield each, and where it came from. Only now are its bytes copied."""

    def address(self, index: int) -> Address:
        """Return where one came from."""

    def head(self, index: int, size: int) -> bytes:
        """Return the first `size` bytes of one, or all if it has no more."""

    def send_back(
        self, payload: bytes | None = None, *, without: Collection[int] = ()
    ) -> Sequence[tuple[int, OSError]]:
        """Send each back to where it came from, but for those whose indices are in `without`.

        Args:
            payload: what to send in place of what was received, cut to the size of each.
            without: in any order.

        Returns:
            The index of each that was not sent, and why: `BlockingIOError` if the system has no room for it.
        """


class BatchProtocol(typing.Protocol):
    """A `DatagramProtocol` that takes datagrams in batches where it can have them so."""

    def datagramsReceived(self, batch: Batch) -> None:
        """Take a batch. A reactor passes at most one to each port in each of its turns.

        An exception is logged, and the port goes on. A batch may have more bytes than the `maxThroughput`
        of its port; only 0 or less there ends reading.
        """

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Take one datagram, as `DatagramProtocol.datagramReceived` has it."""
