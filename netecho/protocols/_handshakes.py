"""Handshakes under way at a port for datagrams, shared fairly between the addresses that begin them."""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Party = TypeVar("Party", bound=Hashable)


def network_of(host: str) -> bytes:
    """Return what a peer is counted by: its IPv4 address, or its IPv6 /64, the least that a site is given."""
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.packed[:8]


class Handshakes(Generic[Party]):
    """Handshakes under way, at most so many from one network.

    A network may have as many as there is room left for. So one alone gets half of the room; when many take
    all they can get, each has as much as remains free for a newcomer (the dynamic threshold of Choudhury and
    Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).

    A peer that has not proved its address is counted for no network: else anybody could use up another's
    part.

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
        """Count one that begins; `host` is the peer's address if that is proved, else `None`."""
        self._networks[party] = network = None if host is None else network_of(host)
        if network is not None:
            self._parts[network] += 1

    def discard(self, party: Party) -> None:
        """Count one no more that is over; one that was not under way makes no difference."""
        network = self._networks.pop(party, None)
        if network is not None:
            self._parts[network] -= 1
            if not self._parts[network]:
                del self._parts[network]
