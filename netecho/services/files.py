"""Small files that flags name: certificates and keys, read whole.

What comes out of a pipe, as of a shell's process substitution, comes once: so it is kept, for whoever reads
it again, and for workers, who do not have the pipe.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final

from netecho.errors import UsageError

LARGEST: Final = 1 << 20
"""Bytes of the largest that is read: the certificates of all public authorities together are a quarter."""

_KEPT: Final[dict[str, bytes]] = {}
"""What came out of pipes, by their paths."""


def read(path: str, flag: str) -> bytes:
    """Return what is in a file, or came out of a pipe.

    Raises:
        UsageError: it cannot be read, has no end in sight, or is neither; the message names `flag`.
    """
    if path in _KEPT:
        return _KEPT[path]
    try:
        mode = os.stat(path).st_mode  # before it is opened, which does something to some devices
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISDIR(mode)):
            raise UsageError(f"{flag} {path}: this is neither a regular file nor a pipe")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror or error}") from None
    if len(data) > LARGEST:
        raise UsageError(f"{flag} {path}: this is more than 1 MiB, which no certificate and no key is")
    if stat.S_ISFIFO(mode):
        _KEPT[path] = data
    return data


@contextlib.contextmanager
def readable(path: str, flag: str) -> Iterator[str]:
    """Have the path of a file that has the same in it, for those who read by path, more than once perhaps.

    Raises:
        UsageError: as of `read`, or there is nowhere to write what came out of a pipe.
    """
    data = read(path, flag)
    if path not in _KEPT:
        yield path
        return
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="netecho-"))
            copy.write(data)
            copy.flush()
        except OSError as error:
            raise UsageError(f"{flag} {path}: cannot keep what came out of it: {error.strerror}") from None
        yield copy.name


def kept() -> dict[str, str]:
    """Return what came out of pipes so far, ready for JSON: for another process of ours and nobody else."""
    return {path: base64.b64encode(data).decode() for path, data in _KEPT.items()}


def keep(pipes: Mapping[str, str]) -> None:
    """Take what another process got out of pipes: see `kept`."""
    _KEPT.update({path: base64.b64decode(data) for path, data in pipes.items()})
