"""Probes with a connection of their own each: opened, used for one exchange, closed.

They are what draft-ietf-ippm-responsiveness calls probes on foreign connections: those of the load are not
used.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from netecho.measure.histogram import Histogram
from netecho.measure.payload import Payload
from netecho.measure.responsiveness import CONNECT, ECHO, HANDSHAKE, STEPS, Probed
from netecho.plans import SECOND
from netecho.protocols._contract import Adapter, Answer, Exchanger, Receipt, Route
from netecho.services.opening import Opening

LARGEST: Final = 64
"""Bytes in a probe's message at most: by larger ones a narrow path would not be idle when they are alone."""


class ForeignProbes:
    """Sends one probe after each interval, whatever has become of those before, until it is stopped.

    Args:
        reactor: runs us.
        adapter: the target's protocol.
        route: the way to the target.
        size: bytes in a message of the load; a probe's is as small, and no larger than `LARGEST`.
        clock: monotonic time in nanoseconds.
    """

    def __init__(
        self,
        reactor: Any,
        adapter: Adapter,
        route: Route,
        size: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._reactor = reactor
        self._adapter = adapter
        self._route = route
        self._payload = Payload(min(size, LARGEST), secrets.randbits(32), text=adapter.is_text).make(0)
        self._clock = clock
        self._loop = LoopingCall(self._send)
        self._loop.clock = reactor
        self._samples: dict[str, list[int]] = {step: [] for step in STEPS}
        self._under_way: set[Deferred[None]] = set()
        self._sent = 0

    def start(self, interval_ns: int) -> None:
        """Begin, with a probe at once."""
        self._loop.start(interval_ns / SECOND)

    def stop(self) -> Probed:
        """End; return what became of the probes. Those that are under way are left out: nobody knows."""
        if self._loop.running:
            self._loop.stop()
        self._sent -= len(self._under_way)
        for probe in list(self._under_way):
            probe.cancel()
        times = {step: Histogram.of(samples) for step, samples in self._samples.items() if samples}
        return Probed(self._sent, len(self._samples[ECHO]), times)

    def _send(self) -> None:
        self._sent += 1
        probe = Deferred.fromCoroutine(self._probe())
        if not probe.called:
            self._under_way.add(probe)
            probe.addBoth(lambda _: self._under_way.discard(probe))

    async def _probe(self) -> None:
        """Make one; what fails is a probe without an echo."""
        ended: Deferred[bool] = Deferred()
        opening = Opening(self._clock)

        def on_reply(_: int | None, payload: bytes, __: object = None, answer: Answer | None = None) -> None:
            if not ended.called:
                ended.callback(self._is_echo(payload, answer))

        def on_lost(reason: Failure) -> None:
            if not ended.called:
                ended.errback(reason)

        exchanger: Exchanger | None = None
        with contextlib.suppress(Exception):
            try:
                exchanger = await self._adapter.connect(
                    self._reactor, self._route, on_reply, on_lost, opening.on_connected
                )
                ready = self._clock()
                exchanger.send(0, self._payload)
                if await ended.addTimeout(self._route.timeout, self._reactor):
                    self._record(opening, ready, self._clock())
            finally:
                if exchanger is not None:
                    exchanger.close()

    def _is_echo(self, payload: bytes, answer: Answer | None) -> bool:
        if answer is None or (answer.receipt is None and not answer.refused):
            return payload == self._payload
        return not answer.refused and answer.receipt is not Receipt.DIFFERS

    def _record(self, opening: Opening, ready: int, ended: int) -> None:
        if opening.connect_ns is not None:
            self._samples[CONNECT].append(opening.connect_ns)
        if self._route.target.secure:
            self._samples[HANDSHAKE].append(opening.handshake_ns(ready))
        self._samples[ECHO].append(ended - ready)
