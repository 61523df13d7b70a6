"""Standard input as a producer, standard output as a consumer, of any kind that a descriptor can be.

Each is read or written by a thread of its own, with calls that block. That serves pipes, terminals,
regular files (which epoll refuses) and devices alike, under any reactor; a slow disk delays nobody; and
no descriptor is made non-blocking, which every other program that shares it would feel.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

BLOCK: Final = 256 * 1024
"""Bytes asked of a stream at a time; large, as each block costs a turn of the reactor."""
_READ_AHEAD: Final = 2
_HIGH_WATER: Final = 1024 * 1024
_LOW_WATER: Final = 256 * 1024


@implementer(IPushProducer)
class InputProducer:
    """Reads a descriptor to its end and hands on each block in the reactor's thread.

    When paused, at most `_READ_AHEAD` blocks are held that were read already.

    Args:
        reactor: provides `IReactorFromThreads`.
        descriptor: open for reading; stays open.
        deliver: called with each block, never an empty one.
        block: the most bytes in each.
    """

    def __init__(
        self, reactor: Any, descriptor: int, deliver: Callable[[bytes], object], block: int = BLOCK
    ) -> None:
        self.ended: Deferred[None] = Deferred()
        """Fires at the input's end; fails with `OSError`. Not at all once stopped."""
        self._reactor = reactor
        self._descriptor = descriptor
        self._deliver = deliver
        self._block = block
        self._allowed = threading.Semaphore(_READ_AHEAD)
        self._owed = 0
        self._paused = False
        self._stopped = False

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    def _read(self) -> None:
        """Read, in the thread, as far ahead as allowed."""
        try:
            while True:
                self._allowed.acquire()
                if self._stopped:
                    return
                data = _read_some(self._descriptor, self._block)
                self._reactor.callFromThread(self._came, data)
                if not data:
                    return
        except OSError as error:
            self._reactor.callFromThread(self._failed, error)

    def _came(self, data: bytes) -> None:
        if self._stopped:
            return
        if not data:
            self._stopped = True
            self.ended.callback(None)
            return
        self._owed += 1
        self._deliver(data)
        if not self._paused:
            self._read_on()

    def _failed(self, error: OSError) -> None:
        if not self._stopped:
            self._stopped = True
            self.ended.errback(error)

    def _read_on(self) -> None:
        owed, self._owed = self._owed, 0
        if owed:
            self._allowed.release(owed)

    def pauseProducing(self) -> None:
        """Read no further until resumed."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        self._read_on()

    def stopProducing(self) -> None:
        """Deliver nothing more. A read under way goes on in its thread, and is forgotten."""
        self._stopped = True
        self._allowed.release()


@implementer(IConsumer)
class OutputConsumer:
    """Writes what it is given to a descriptor, in order.

    Args:
        reactor: provides `IReactorFromThreads`.
        descriptor: open for writing; stays open.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self.ended: Deferred[None] = Deferred()
        """Fires when everything is written after `finish`; fails with `OSError` as soon as a write does."""
        self._reactor = reactor
        self._descriptor = descriptor
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._pending = 0
        self._producer: Any = None
        self._paused = False
        self._over = False

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self._write, name="standard output", daemon=True).start()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause this push producer while much is waiting to be written; see `IConsumer`."""
        if not streaming:
            raise ValueError("a producer that pushes is needed")
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Pause nobody any more; see `IConsumer`."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Write this after all that was written before."""
        if self._over:
            return
        self._pending += len(data)
        self._blocks.put(data)
        if self._pending > _HIGH_WATER and not self._paused and self._producer is not None:
            self._paused = True
            self._producer.pauseProducing()

    def finish(self) -> None:
        """Say that nothing more will be written."""
        self._blocks.put(None)

    def _write(self) -> None:
        """Write, in the thread, all that waits as one block."""
        try:
            more = True
            while more:
                blocks = [self._blocks.get()]
                while blocks[-1] is not None and not self._blocks.empty():
                    blocks.append(self._blocks.get())
                more = blocks[-1] is not None
                data = b"".join(block for block in blocks if block is not None)
                _write_all(self._descriptor, data)
                self._reactor.callFromThread(self._written, len(data))
            self._reactor.callFromThread(self._ended, None)
        except OSError as error:
            self._reactor.callFromThread(self._ended, error)

    def _written(self, size: int) -> None:
        self._pending -= size
        if self._paused and self._pending < _LOW_WATER:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def _ended(self, error: OSError | None) -> None:
        self._over = True
        if error is None:
            self.ended.callback(None)
        else:
            self.ended.errback(error)


def _read_some(descriptor: int, most: int) -> bytes:
    """Read, and wait where another program has made the descriptor non-blocking."""
    while True:
        try:
            return os.read(descriptor, most)
        except BlockingIOError:
            select.select([descriptor], [], [])


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, and wait where another program has made the descriptor non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
