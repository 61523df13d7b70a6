"""A server of our own in a child process, for a bench without a target."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from netecho.errors import NetechoError, ServerDiedError
from netecho.plans import ReactorName, Target
from netecho.services import again
from netecho.services.workers import ENDED_WELL, how_it_ended

START_TIMEOUT: Final = 15.0
"""Seconds that the child may take until it listens."""
STOP_TIMEOUT: Final = 5.0
"""Seconds that the child may take to end before it is killed."""
DEATH_TIMEOUT: Final = 0.5
"""Seconds from when the child's sockets close until it must have ended, if that is why."""


class EmbeddedServer(ProcessProtocol):
    """`netecho serve` on a free port of this machine; it ends when we do, however we do.

    Its standard input is a pipe from us: when that closes, it ends.

    Args:
        reactor: runs us.
        target: says what it speaks.
        reactor_name: what it runs on; its default if `None`.
        flags: what else it is told.
    """

    transport: Any = None

    def __init__(
        self,
        reactor: Any,
        target: Target,
        reactor_name: ReactorName | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._reactor_name = reactor_name
        self._flags = flags
        self._output = b""
        self._complaint = b""
        self._told_to_end = self._killed = False
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._listening: Deferred[dict[str, Any]] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self._on_death: Callable[[], object] | None = None
        self.death: ServerDiedError | None = None
        """Why it is not there any more; `None` while it is, and when it ended as it was told to."""

    async def start(self) -> tuple[str, str | None]:
        """Start the child; return the URL it listens on and, if it speaks TLS, its CA certificate's path.

        Raises:
            NetechoError: it did not start.
        """
        target = self._target
        words = ["--port", "0", "--proto", target.protocol]
        if target.path is not None:
            self._directory = tempfile.TemporaryDirectory(prefix="netecho-")
            words = [f"{target.scheme}:{self._directory.name}/echo"]
        if target.secure:
            words.append("--tls")
        if self._reactor_name is not None:
            words += ["--reactor", self._reactor_name]
        words += self._flags
        command = again.command("serve", "--exit-with-stdin", "--json-stream", *words)
        try:
            self._reactor.spawnProcess(self, command[0], command, os.environ)
        except OSError as error:
            raise NetechoError(
                f"the server of our own did not start: it was refused by the system: {error.strerror}"
            ) from None
        self._listening.addTimeout(START_TIMEOUT, self._reactor)
        try:
            event = await self._listening
        except TimeoutError:
            raise NetechoError(
                f"the server of our own did not start: it did not listen in {START_TIMEOUT:g} s"
            ) from None
        return event["url"], event.get("ca")

    def on_death(self, callback: Callable[[], object]) -> None:
        """Have `callback` called, in place of an earlier one, when the child dies.

        Raises:
            ServerDiedError: it has.
        """
        if self.death is not None:
            raise self.death
        self._on_death = callback

    async def dying(self) -> ServerDiedError | None:
        """Return why the child dies now, or has died: it is known a moment after its sockets have closed."""
        if self.death is None:
            died: Deferred[None] = Deferred()
            self._on_death = lambda: died.callback(None)
            died.addTimeout(DEATH_TIMEOUT, self._reactor)
            with contextlib.suppress(TimeoutError):
                await died
        return self.death

    async def stop(self) -> None:
        """End the child if there is one, and wait until it has ended. More than once does no harm."""
        self._told_to_end = True
        if self.transport is not None:
            self.transport.closeStdin()
            kill = self._reactor.callLater(STOP_TIMEOUT, self._kill)
            await self._ended
            if kill.active():
                kill.cancel()
        if self._directory is not None:
            self._directory.cleanup()

    def _kill(self) -> None:
        self._killed = True
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return

    def _event(self, event: dict[str, Any]) -> None:
        """Take an event that the child reports."""
        if event.get("event") == "listening" and not self._listening.called:
            self._listening.callback(event)

    def outReceived(self, data: bytes) -> None:
        """Take the child's standard output."""
        *lines, self._output = (self._output + data).split(b"\n")
        for line in lines:
            self._event(json.loads(line))

    def errReceived(self, data: bytes) -> None:
        """Keep the end of what the child complains of."""
        self._complaint = (self._complaint + data)[-4096:]

    def processEnded(self, reason: Failure) -> None:
        """Note that the child has ended, and how."""
        how = how_it_ended(reason, self._complaint)
        if not self._listening.called:
            self._listening.errback(NetechoError(f"the server of our own did not start: it {how}"))
        elif not (self._killed or (self._told_to_end and how.startswith(ENDED_WELL))):
            self.death = ServerDiedError(f"the server of our own {how}")
            if self._on_death is not None and not self._told_to_end:
                self._on_death()
        self._ended.callback(None)
