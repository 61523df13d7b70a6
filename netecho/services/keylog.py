"""The secrets of TLS sessions, in a file for those who capture and decrypt them."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from netecho.errors import UsageError


class KeyLog:
    """A file that only its owner can read, to which the secrets of connections are appended.

    The lines are as in <https://www.ietf.org/archive/id/draft-ietf-tls-keylogfile-02.html>.

    Args:
        path: the file.
        flag: what named it, as a message says it.

    Raises:
        UsageError: it cannot be written.
    """

    def __init__(self, path: str, flag: str) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"{flag}: {error.strerror or error}") from None
        self._file = os.fdopen(descriptor, "ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append a line, given without its end."""
        # A full disk is no reason to fail in the middle of OpenSSL, and a closed log none either.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line + b"\n")

    def attach(self, context: Any) -> None:
        """Have an OpenSSL context tell of the secrets of its connections."""
        context.set_keylog_callback(lambda _, line: self.write(line))

    def close(self) -> None:
        """Take nothing more."""
        self._file.close()
