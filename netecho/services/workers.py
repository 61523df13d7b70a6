"""Processes of our own that share a piece of work, as a reactor can run once and on one processor.

A worker is `netecho worker`, a child. What it is to do is the first line on its standard input; after
that both sides say what they have to say in JSON objects, one a line. Its standard input is a pipe from
us alone: when that closes, it ends, and so it does when we do, however we do. Signals are for the parent,
which tells its workers: Ctrl-C at a terminal, or a supervisor that signals a whole group, reaches them too.
"""

from __future__ import annotations

import collections
import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import UsageError, is_debugging
from netecho.services import again, system

START_TIMEOUT: Final = 30.0
"""Seconds that a worker may take from its start until it has something to say."""
STOP_TIMEOUT: Final = 5.0
"""Seconds that a worker may take to end, beyond what its work takes, before it is killed."""
LISTEN_INTERVAL: Final = 5.0
"""Seconds between two looks at whether a worker has said something: each does, every second."""
SILENT_LOOKS: Final = 6
"""Looks in a row that find it silent, after which it is killed. They are counted, and not the time, as a
machine that stands still stops us together, and it is we who go on first."""
FIRST_DESCRIPTOR: Final = 3
"""Where the descriptors that a worker inherits begin, in the order in which they are given."""
ENDED_WELL: Final = "ended with status 0"
"""How a worker ends that has done what it was to do, in words; what it complained of may follow."""
_COMPLAINT: Final = 4096
"""Bytes that are kept of what a worker writes to standard error."""

T = TypeVar("T")

OnMessage = Callable[[dict[str, Any]], object]
OnWorker = Callable[[str, dict[str, Any]], object]
"""Called with `worker_started` or `worker_died`, and the particulars."""
OnEnd = Callable[[str], object]
"""Called when a worker's process has ended, with how it did, in words."""


def check_supported() -> None:
    """Check that this system can give descriptors to children.

    Raises:
        UsageError: it cannot.
    """
    if os.name != "posix":
        raise UsageError("--workers needs a system with POSIX processes: leave it out")


async def start_each(workers: Iterable[T], start: Callable[[T], Deferred[None]]) -> None:
    """Start workers, no more of them at once than there are processors, and wait until all are up.

    To start takes a worker a processor: the more do so at once, the longer each takes, until it is taken for
    one that does not come up. And between two we hear whoever would have us end.

    Args:
        workers: in the order in which they are to start.
        start: starts one; what it returns fires when that is up, or will not be, and fails to end this.
    """
    at_once = system.cpus() or 1
    coming: collections.deque[Deferred[None]] = collections.deque()
    for worker in workers:
        if len(coming) == at_once:
            await coming.popleft()
        coming.append(start(worker))
    for one in coming:
        await one


class Lines:
    """Takes bytes in any pieces, and passes on the JSON object in each line."""

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            ValueError: a line is not a JSON object.
        """
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, self._pieces = b"".join((*self._pieces, line)), []
            message = json.loads(whole)
            if not isinstance(message, dict):
                raise ValueError("a message is an object")
            self._on_message(message)
        if rest:
            self._pieces.append(rest)


def to_line(message: Mapping[str, Any]) -> bytes:
    """Return a message as it goes through a pipe."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Worker(ProcessProtocol):
    """A worker, seen by its parent.

    Args:
        reactor: runs us.
        on_message: called with each message that it sends.
        on_end: called once, when it has ended and all that it sent has been passed on.
    """

    transport: Any = None

    def __init__(self, reactor: Any, on_message: OnMessage, on_end: OnEnd) -> None:
        self._reactor = reactor
        self._lines = Lines(on_message)
        self._on_end = on_end
        self._complaint = b""
        self._kill: Any = None
        self._killed_for = ""
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor
        self._silent_looks = 0
        self.pid = 0
        """Its process; 0 before it has one."""

    def start(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Start it.

        Args:
            order: what it is to do.
            descriptors: what it inherits, from `FIRST_DESCRIPTOR` on.

        Raises:
            OSError: the system has no room for another process.
        """
        files: dict[int, Any] = {0: "w", 1: "r", 2: 2 if is_debugging() else "r"}
        files.update(enumerate(descriptors, FIRST_DESCRIPTOR))
        command = again.command("worker")
        self._reactor.spawnProcess(self, command[0], command, os.environ, childFDs=files)
        self.pid = self.transport.pid
        self.tell(order)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send it a message; if it has ended or its pipe has closed, nobody hears it."""
        if self.transport is not None and 0 in self.transport.pipes:
            self.transport.writeToChild(0, to_line(message))

    def let_go(self) -> None:
        """Close its standard input, at which it ends."""
        if self.transport is not None and 0 in self.transport.pipes:
            self.transport.closeStdin()

    def kill_after(self, seconds: float, why: str) -> None:
        """Kill it unless it has ended by itself in so many seconds, or `spare` is called."""
        self.spare()
        self._kill = self._reactor.callLater(seconds, self.kill, f"{why} in {seconds:g} s")

    def spare(self) -> None:
        """Kill it no more."""
        kill, self._kill = self._kill, None
        if kill is not None and kill.active():
            kill.cancel()

    def expect_news(self) -> None:
        """From now on, kill it if it has nothing to say any more: it has stopped for good."""
        self._looks.start(LISTEN_INTERVAL, now=False)

    def _look(self) -> None:
        self._silent_looks += 1
        if self._silent_looks > SILENT_LOOKS:
            self.kill(f"it said nothing in {SILENT_LOOKS * LISTEN_INTERVAL:g} s")

    def kill(self, why: str = "") -> None:
        """End it at once; `why`, what it has done, is said of how it ended."""
        if self.transport is not None:
            self._killed_for = self._killed_for or why
            try:
                self.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                return

    def outReceived(self, data: bytes) -> None:
        """Take what it sends."""
        self._silent_looks = 0
        try:
            self._lines.feed(data)
        except ValueError:
            self.kill("it sent what is no message")

    def errReceived(self, data: bytes) -> None:
        """Keep the end of what it complains of."""
        self._complaint = (self._complaint + data)[-_COMPLAINT:]

    def processEnded(self, reason: Failure) -> None:
        """Say how it ended."""
        self.spare()
        if self._looks.running:
            self._looks.stop()
        self._on_end(how_it_ended(reason, self._complaint, self._killed_for))


def how_it_ended(reason: Failure, complaint: bytes, killed_for: str = "") -> str:
    """Return how a child of ours ended, in words that follow its name.

    Args:
        reason: what its protocol's `processEnded` got.
        complaint: the end of what it wrote to standard error.
        killed_for: why we killed it, if we did.
    """
    ended: Any = reason.value
    number = getattr(ended, "signal", None)
    if isinstance(ended, ProcessTerminated) and number is not None:
        return f"was killed by {_signal_name(number)}{killed_for and f': {killed_for}'}"
    last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    words = last.removeprefix("netecho: ").removeprefix("netecho worker: ")
    return f"ended with status {getattr(ended, 'exitCode', 0)}{words and f': {words}'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the most of those for real time have none
        return f"signal {number}"


@implementer(IHalfCloseableProtocol)
class Parent(Protocol):
    """The process that started us, seen by a worker.

    Args:
        reactor: runs us.
    """

    def __init__(self, reactor: Any) -> None:
        self._lines = Lines(self._heard)
        self._on_message: OnMessage | None = None
        self._early: list[dict[str, Any]] = []
        self._finished: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        """Fires when it has let us go, or has ended."""
        StandardIO(self, reactor=reactor)

    def hear(self, on_message: OnMessage) -> None:
        """Have every message passed on, those that have come already too."""
        self._on_message = on_message
        early, self._early = self._early, []
        for message in early:
            on_message(message)

    def _heard(self, message: dict[str, Any]) -> None:
        if self._on_message is None:
            self._early.append(message)
        else:
            self._on_message(message)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send it a message."""
        transport: Any = self.transport
        if transport is not None:
            transport.write(to_line(message))

    async def finish(self) -> None:
        """Wait until it has taken all that we told it, or has gone."""
        transport: Any = self.transport
        if self._finished.called:
            return
        transport.loseWriteConnection()
        await self._finished

    def dataReceived(self, data: bytes) -> None:
        """Take what it sends."""
        self._lines.feed(data)

    def readConnectionLost(self) -> None:
        """It has let us go."""
        if not self.gone.called:
            self.gone.callback(None)

    def writeConnectionLost(self) -> None:
        """It has taken everything, or will take no more."""
        if not self._finished.called:
            self._finished.callback(None)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """It has gone."""
        self.readConnectionLost()
        self.writeConnectionLost()


def read_order() -> dict[str, Any]:
    """Return what this process, a worker, is to do: it is waited for, and no more of the input is taken.

    Raises:
        UsageError: no parent of ours is at the other end.
    """
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    try:
        order = json.loads(line)
    except ValueError:
        order = None
    if not isinstance(order, dict):
        raise UsageError("netecho starts its workers itself: see --workers")
    return order


def ignore_signals() -> None:
    """Leave signals to our parent, which tells us what to do about them."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
