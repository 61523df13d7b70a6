"""Keys that two ends share: read from a file, so that they are on no command line and in no log."""

from __future__ import annotations

import pathlib

from netecho.errors import UsageError


def read_key(path: str) -> bytes:
    """Return the key in a file: its bytes, but for one line's end behind them, which editors put there.

    Raises:
        UsageError: the file cannot be read, or has no key in it.
    """
    try:
        key = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"--hmac-key {path}: {error.strerror or error}") from None
    key = key.removesuffix(b"\r\n" if key.endswith(b"\r\n") else b"\n")
    if not key:
        raise UsageError(f"--hmac-key {path}: the file is empty")
    return key
