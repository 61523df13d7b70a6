"""Handshakes that are under way at a port for datagrams, and whose they are: each peer has its fair part."""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Party = TypeVar("Party", bound=Hashable)


def network_of(host: str) -> bytes:
    """Return what a peer is counted by: its address, or of IPv6 the /64, the least that one site is given."""
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.packed[:8]


class Handshakes(Generic[Party]):
    """Those under way.

    A peer may have as many as there is room left for. So one alone has half of all; of many that take
    what they get, each has as much as is left for one more (the dynamic threshold of Choudhury and Hahne,
    "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).

    Whoever has not proved its address is in nobody's part: else anybody could use up another's.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._networks: dict[Party, bytes | None] = {}
        self._parts: collections.Counter[bytes] = collections.Counter()

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[Party]:
        return iter(self._networks)

    @property
    def left(self) -> int:
        """How many more there may be."""
        return self._most - len(self._networks)

    def has_room(self, host: str) -> bool:
        """Return whether a peer that has proved this address may begin one more."""
        return self._parts[network_of(host)] < self.left

    def add(self, party: Party, host: str | None) -> None:
        """Take note of one that begins; `host` is the peer's address, if that is proved."""
        self._networks[party] = network = None if host is None else network_of(host)
        if network is not None:
            self._parts[network] += 1

    def discard(self, party: Party) -> None:
        """Take note that one is over, if it was under way."""
        network = self._networks.pop(party, None)
        if network is not None:
            self._parts[network] -= 1
            if not self._parts[network]:
                del self._parts[network]
