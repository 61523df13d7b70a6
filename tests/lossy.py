"""A path to a server of datagrams that loses some, by their place among those of a flow and direction."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Address = tuple[str, int]
Loses = Callable[[int], bool]
"""Whether it loses the datagram that is so many-th of its flow, from 0, on its way."""


def nothing(_: int) -> bool:
    """Lose nothing."""
    return False


class LossyPath:
    """Carries datagrams between any number of peers and one server, in a thread of its own.

    Args:
        server: where it leads.
        out: what is lost on the way there.
        back: what is lost on the way back.
    """

    def __init__(self, server: Address, out: Loses = nothing, back: Loses = nothing) -> None:
        self._server = server
        self._out, self._back = out, back
        self._front = self._socket()
        self._front.bind(("127.0.0.1", 0))
        self._flows: dict[Address, socket.socket] = {}
        self._places: dict[tuple[bool, Address], int] = {}
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self.lost = 0
        self.sizes: list[int] = []
        """Bytes of each datagram that came, either way, lost or not."""

    @staticmethod
    def _socket() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return made

    @property
    def address(self) -> Address:
        """Where it begins."""
        host, port = self._front.getsockname()
        return host, port

    def lead_to(self, server: Address) -> None:
        """Lead to another server from now on, as if it had taken the first one's place."""
        self._server = server

    def __enter__(self) -> Self:
        """Begin to carry."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Carry no more."""
        self._stop.close()
        self._thread.join()
        for one in (self._front, self._stopped, *self._flows.values()):
            one.close()

    def _run(self) -> None:
        while True:
            homes = {one: peer for peer, one in self._flows.items()}
            readable, _, _ = select.select([self._front, self._stopped, *homes], [], [])
            if self._stopped in readable:
                return
            for one in readable:
                if one is self._front:
                    datagram, peer = one.recvfrom(65_536)
                    if self._passes(datagram, peer, outward=True):
                        self._flow(peer).sendto(datagram, self._server)
                else:
                    datagram = one.recv(65_536)
                    if self._passes(datagram, homes[one], outward=False):
                        self._front.sendto(datagram, homes[one])

    def _flow(self, peer: Address) -> socket.socket:
        if peer not in self._flows:
            self._flows[peer] = self._socket()
        return self._flows[peer]

    def _passes(self, datagram: bytes, peer: Address, *, outward: bool) -> bool:
        self.sizes.append(len(datagram))
        place = self._places.get((outward, peer), 0)
        self._places[outward, peer] = place + 1
        loses = (self._out if outward else self._back)(place)
        self.lost += loses
        return not loses
