"""What a stateful reflector says through a path that loses packets, by both of STAMP's sides and a relay."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from netecho.measure.directions import Directions, Losses
from netecho.measure.oneway import OneWay, Reflection
from netecho.plans import Target
from netecho.protocols import load
from netecho.protocols._contract import Route
from netecho.protocols._listener import ListenSettings, Totals
from tests import reactors

SENT = 40
LOST_OUT = {3, 4, 17, 30}
LOST_BACK = {0, 9, 21, 22, 23, 31}
"""Of the exchanges; the last one is answered."""


class Relay(DatagramProtocol):
    """A path between a peer and a server that loses packets, by their place among those of a direction."""

    transport: Any
    noisy = False

    def __init__(self, server: tuple[str, int], lost_out: set[int], lost_back: set[int]) -> None:
        self._server = server
        self._lost_out, self._lost_back = lost_out, lost_back
        self._out = self._back = 0
        self._peer: tuple[str, int] | None = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Pass it on, or lose it."""
        if addr == self._server:
            if self._back not in self._lost_back:
                self.transport.write(datagram, self._peer)
            self._back += 1
        else:
            self._peer = addr
            if self._out not in self._lost_out:
                self.transport.write(datagram, self._server)
            self._out += 1


@pytest.mark.parametrize("stateful", [True, False], ids=["stateful", "stateless"])
def test_loss_by_direction(stateful: bool) -> None:
    """Each loss is found on the way on which it was, if the reflector counts; if not, none is claimed to be.

    Both ends have the same clock here, so that it is known how far apart the clocks are: not at all.
    """
    directions, one_way = Directions(), OneWay()
    answers = SENT - len(LOST_OUT) - len(LOST_BACK)
    trips: list[int] = []
    hops: list[int] = []

    async def scenario(reactor: Any) -> None:
        adapter = load("stamp")
        settings = ListenSettings(Totals(), stateful=stateful)
        target = Target("stamp", "stamp", port=0)
        listener = await adapter.listen(reactor, target, settings)
        reached = [number for number in range(SENT) if number not in LOST_OUT]
        lost_back = {place for place, number in enumerate(reached) if number in LOST_BACK}
        relay = Relay((target.host, listener.target.port), LOST_OUT, lost_back)
        port = reactor.listenUDP(0, relay, target.host)
        hops.append(port.getHandle().getsockopt(socket.IPPROTO_IP, socket.IP_TTL))
        route = Route(Target("stamp", "stamp", port=port.getHost().port), (target.host,))
        all_came: Deferred[None] = Deferred()

        def on_reply(
            sequence: int | None, _: bytes, reflection: Reflection | None = None, __: object = None, /
        ) -> None:
            assert sequence is not None
            assert reflection is not None
            directions.answered(sequence, reflection.number)
            one_way.record(reflection)
            trips.append(reflection.returned_ns - reflection.sent_ns)
            if len(trips) == answers:
                all_came.callback(None)

        exchanger = await adapter.connect(reactor, route, on_reply, all_came.errback)
        for sequence in range(SENT):
            exchanger.send(sequence, b"")
        await all_came
        exchanger.close()
        await port.stopListening()
        await listener.drain()

    reactors.run("fast", scenario)
    lost = len(LOST_OUT) + len(LOST_BACK)
    expected = Losses(len(LOST_OUT), len(LOST_BACK)) if stateful else Losses(unknown=lost)
    assert directions.losses(SENT) == expected
    assert one_way.count == answers
    offset = one_way.offset
    assert offset is not None
    assert abs(offset.estimate_ns) <= offset.uncertainty_ns
    assert one_way.ttls == {hops[0]: answers}
    longest = max(trips)
    for histogram in (one_way.out, one_way.back, one_way.dwell):
        assert histogram.count == answers
        assert histogram.maximum is not None
        assert histogram.maximum <= longest + 2 * offset.uncertainty_ns
