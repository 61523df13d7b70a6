"""Keys that two ends share: read from a file, so that they are on no command line and in no log."""

from __future__ import annotations

from netecho.errors import UsageError
from netecho.services import files


def read_key(path: str) -> bytes:
    """Return the key in a file: its bytes, but for one line's end behind them, which editors put there.

    Raises:
        UsageError: the file cannot be read, or has no key in it.
    """
    key = files.read(path, "--hmac-key")
    key = key.removesuffix(b"\r\n" if key.endswith(b"\r\n") else b"\n")
    if not key:
        raise UsageError(f"--hmac-key {path}: the file is empty")
    return key
