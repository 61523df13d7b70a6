"""Small files that flags name: certificates and keys, read whole."""

from __future__ import annotations

import os
import stat
from typing import Final

from netecho.errors import UsageError

LARGEST: Final = 1 << 20
"""Bytes of the largest that is read: the certificates of all public authorities together are a quarter."""


def read(path: str, flag: str) -> bytes:
    """Return what is in a file, or comes out of a pipe, as of a shell's process substitution.

    Raises:
        UsageError: it cannot be read, has no end in sight, or is neither; the message names `flag`.
    """
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
    return data
