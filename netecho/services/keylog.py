"""The secrets of TLS sessions, in a file for those who capture and decrypt them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from typing import Any, TypeVar

from netecho.errors import UsageError
from netecho.plans import ClientTLS, ServerTLS

_TLS = TypeVar("_TLS", ServerTLS, ClientTLS)
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
"""Windows has no O_NONBLOCK, and no pipes by name that are opened so."""


class KeyLog:
    """A file that only its owner can read, to which the secrets of connections are appended.

    If it is a pipe, its reader must be there first, and keep up: nobody waits for it.

    The lines are as in <https://www.ietf.org/archive/id/draft-ietf-tls-keylogfile-02.html>.

    Args:
        path: the file.
        flag: what named it, as a message says it.

    Raises:
        UsageError: it cannot be written.
    """

    def __init__(self, path: str, flag: str) -> None:
        try:
            descriptor = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            reason = error.strerror or error
            if error.errno == errno.ENXIO:
                reason = "nobody reads the pipe: start what does first"
            raise UsageError(f"{flag}: {reason}") from None
        self._file = os.fdopen(descriptor, "ab", buffering=0)

    @property
    def pipe(self) -> int | None:
        """The descriptor, if it is a pipe's."""
        descriptor = self._file.fileno()
        return descriptor if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None

    def write(self, line: bytes) -> None:
        """Append a line, given without its end."""
        # A full disk or pipe is no reason to fail in the middle of OpenSSL, and a closed log none either.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line + b"\n")

    def attach(self, context: Any) -> None:
        """Have an OpenSSL context tell of the secrets of its connections."""
        context.set_keylog_callback(lambda _, line: self.write(line))

    def close(self) -> None:
        """Take nothing more."""
        self._file.close()


def lend(plan: _TLS, log: KeyLog | None, number: int) -> tuple[_TLS, list[int]]:
    """Return a plan for another process of ours, and the descriptors that it needs for the key log.

    A pipe of a shell's process substitution is this process's alone: others inherit it.

    Args:
        plan: this process's own.
        log: what it has open.
        number: what the descriptor is to be there.
    """
    if log is None or log.pipe is None:
        return plan, []
    return dataclasses.replace(plan, keylog=f"/dev/fd/{number}"), [log.pipe]
