"""A path between netecho and a server of datagrams that does to each what a seed says, and counts it all.

What a datagram's fate is depends on its place among those of its flow alone, and not on time: one that is
overtaken waits for others to pass, and one that is late for another to come once its exchange is certainly
over. A copy is delivered when the next datagram comes, so that none arrives after a run has ended. The tally
is taken where datagrams are handed to netecho, with nothing behind it that could lose any.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from tests.servers import TIMEOUT

_LARGEST: Final = 65_536


class Fate(enum.Enum):
    """What becomes of an exchange on its way."""

    PASSES = enum.auto()
    LOST_OUT = enum.auto()
    LOST_BACK = enum.auto()
    TWICE_OUT = enum.auto()
    """The server gets it twice."""
    TWICE_BACK = enum.auto()
    OVERTAKEN = enum.auto()
    """Its echo comes after one to four that were sent later."""
    LATE = enum.auto()
    CORRUPTED = enum.auto()
    """The last byte of its echo is another."""
    GARBLED = enum.auto()
    """The first is, so that it answers nothing that was sent."""


Fates = Mapping[Fate, float]
"""How likely each is; all others pass."""

ALL: Final[Fates] = {
    Fate.LOST_OUT: 0.02,
    Fate.LOST_BACK: 0.02,
    Fate.TWICE_OUT: 0.03,
    Fate.TWICE_BACK: 0.03,
    Fate.OVERTAKEN: 0.06,
    Fate.LATE: 0.02,
    Fate.CORRUPTED: 0.03,
    Fate.GARBLED: 0.02,
}


@dataclasses.dataclass
class Tally:
    """What really happened to a flow, under the names that a result has for it."""

    sent: int = 0
    completed: int = 0
    late: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    lost_out: int = 0
    in_doubt: int = 0
    """Whether these were in time, a machine that is too slow leaves open."""
    arrivals: list[int] = dataclasses.field(default_factory=list)
    """The exchanges completed, in the order of their echoes."""

    @property
    def lost(self) -> int:
        """Exchanges without an echo in time."""
        return self.sent - self.completed

    @property
    def lost_back(self) -> int:
        """Those that were lost on the way back, of which no late echo has come."""
        return self.lost - self.lost_out - self.late

    def exchanges(self) -> dict[str, int]:
        """Return what a result's `exchanges` must be, or a flow's."""
        names = ("sent", "completed", "lost", "late", "duplicated", "reordered", "corrupted")
        return {**{name: getattr(self, name) for name in names}, "in_flight": 0}


Exchange = Callable[[bytes], int | bytes]
"""Tells which exchange a datagram is of."""


def echo_of(datagram: bytes) -> bytes:
    """Return the datagram itself: no two exchanges of a flow have the same."""
    return datagram


def packet_of(datagram: bytes) -> int:
    """Return the sequence number of a sender's STAMP packet (RFC 8762 section 4.2.1)."""
    return int.from_bytes(datagram[:4])


def reflection_of(datagram: bytes) -> int:
    """Return the sender's sequence number in a reflector's packet (RFC 8762 section 4.3.1)."""
    return int.from_bytes(datagram[24:28])


class _Flow:
    """What passes between one of netecho's ports and the server."""

    def __init__(self, relay: Relay, peer: tuple[str, int], ordinal: int) -> None:
        self._relay = relay
        self._peer = peer
        # Two, as what is drawn for echoes, whenever they come, must change nothing for what is sent after.
        self._fated = random.Random(f"{relay.seed}/{ordinal}")  # noqa: S311 - to be the same again
        self._passed = random.Random(f"{relay.seed}/{ordinal}/passed")  # noqa: S311 - as above
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.connect(relay.server)
        self.tally = Tally()
        self._fates: list[Fate] = []
        self._came: list[float] = []
        self._indices: dict[int | bytes, int] = {}
        self._answered: set[int] = set()
        self._delivered: set[int] = set()
        self._behind: list[tuple[int, bytes]] = []
        self._late: list[tuple[int, bytes]] = []
        self._overtaken: tuple[int, bytes] | None = None
        self._to_pass = 0
        self._highest = -1

    def out(self, datagram: bytes) -> None:
        """Take a datagram of netecho's."""
        now = time.monotonic()
        for index, copy in self._behind:
            self._deliver(index, copy)
        self._behind.clear()
        over = [one for one in self._late if now - self._came[one[0]] > self._relay.timeout]
        for one in over:
            self._late.remove(one)
            self._deliver(*one)
        self._release()
        index = len(self._fates)
        self._indices[self._relay.sent_of(datagram)] = index
        fate = self._draw() if index < self._relay.faults else Fate.PASSES
        self._fates.append(fate)
        self._came.append(now)
        self.tally.sent += 1
        if fate is Fate.LOST_OUT:
            self.tally.lost_out += 1
            return
        for _ in range(1 + (fate is Fate.TWICE_OUT)):
            self.server.send(datagram)

    def _draw(self) -> Fate:
        kinds = list(self._relay.fates)
        rest = 1 - sum(self._relay.fates.values())
        return self._fated.choices([*kinds, Fate.PASSES], [*self._relay.fates.values(), rest])[0]

    def back(self, echo: bytes) -> None:
        """Take a datagram of the server's."""
        index = self._indices[self._relay.returned_of(echo)]
        fate = self._fates[index]
        if index in self._answered:
            self._behind.append((index, echo))
            return
        self._answered.add(index)
        if fate is Fate.LATE:
            self._late.append((index, echo))
        elif fate is Fate.OVERTAKEN and self._overtaken is None:
            self._overtaken = index, echo
            self._to_pass = self._passed.randint(1, 4)
        elif fate is not Fate.LOST_BACK:
            self._deliver(index, echo)
            if fate is Fate.TWICE_BACK:
                self._behind.append((index, echo))

    def _release(self) -> None:
        """Deliver what has been overtaken by enough, if it is certain whether it is in time."""
        if self._overtaken is None or self._to_pass > 0:
            return
        age = time.monotonic() - self._came[self._overtaken[0]]
        if not self._relay.timeout / 2 < age <= self._relay.timeout:
            held, self._overtaken = self._overtaken, None
            self._deliver(*held)

    def _deliver(self, index: int, echo: bytes) -> None:
        """Hand an echo to netecho, and count it for what it is."""
        tally, fate = self.tally, self._fates[index]
        if fate is Fate.GARBLED:
            echo = bytes([echo[0] ^ 1]) + echo[1:]
        elif fate is Fate.CORRUPTED:
            echo = echo[:-1] + bytes([echo[-1] ^ 1])
        age = time.monotonic() - self._came[index]
        self._relay.front.sendto(echo, self._peer)
        if fate is Fate.GARBLED:
            tally.corrupted += 1
            return
        if index in self._delivered:
            tally.duplicated += 1
            return
        self._delivered.add(index)
        if age > self._relay.timeout:
            tally.late += 1
            return
        tally.in_doubt += age > self._relay.timeout / 2
        tally.completed += 1
        tally.corrupted += fate is Fate.CORRUPTED
        tally.arrivals.append(index)
        if index < self._highest:
            tally.reordered += 1
        else:
            self._highest = index
        if self._overtaken is not None and index > self._overtaken[0]:
            self._to_pass -= 1
            self._release()


class Relay:
    """A path to a server, until the block is left.

    Args:
        server: the server's address.
        timeout: seconds after which netecho gives an exchange up.
        fates: what may become of an exchange.
        faults: so many exchanges at the beginning of each flow may have a fate; all that follow pass.
        seed: makes other draws of fates.
        stamp: exchanges are STAMP packets; else they are echoes.
    """

    def __init__(
        self,
        server: tuple[str, int],
        timeout: float,
        *,
        fates: Fates = ALL,
        faults: int,
        seed: int = 1,
        stamp: bool = False,
    ) -> None:
        self.server = server
        self.timeout = timeout
        self.fates = fates
        self.faults = faults
        self.seed = seed
        self.sent_of: Exchange = packet_of if stamp else echo_of
        self.returned_of: Exchange = reflection_of if stamp else echo_of
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.url = f"{'stamp' if stamp else 'udp'}://127.0.0.1:{self.front.getsockname()[1]}"
        self._flows: dict[tuple[str, int], _Flow] = {}
        self._stop, self._stopping = socket.socketpair()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; it must not have failed."""
        self._stop.close()
        self._thread.join(TIMEOUT)
        self.front.close()
        self._stopping.close()
        for flow in self._flows.values():
            flow.server.close()
        if kind is None and self._failure is not None:
            raise self._failure

    @property
    def tallies(self) -> list[Tally]:
        """Return what happened to each flow, once the run is over."""
        return [flow.tally for flow in self._flows.values()]

    @property
    def tally(self) -> Tally:
        """Return what happened to all of them, once the run is over."""
        total = Tally()
        for tally in self.tallies:
            for name, number in dataclasses.asdict(tally).items():
                setattr(total, name, getattr(total, name) + number)
        return total

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as failure:
            self._failure = failure

    def _turn(self) -> bool:
        """Pass on what has come; return whether to go on."""
        servers = {flow.server: flow for flow in self._flows.values()}
        readable, _, _ = select.select([self._stopping, self.front, *servers], [], [])
        if self._stopping in readable:
            return False
        for ready in readable:
            if ready is self.front:
                datagram, peer = self.front.recvfrom(_LARGEST)
                if peer not in self._flows:
                    self._flows[peer] = _Flow(self, peer, len(self._flows))
                self._flows[peer].out(datagram)
            else:
                servers[ready].back(ready.recv(_LARGEST))
        return True
