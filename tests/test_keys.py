"""Keys that two ends share, in files."""

from __future__ import annotations

import pathlib

import pytest

from netecho.errors import UsageError
from netecho.services.keys import read_key


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b" two\nlines\n\n", b" two\nlines\n"),
        (b"\0\xff", b"\0\xff"),
        (b"\0\r", b"\0\r"),
    ],
)
def test_key(content: bytes, key: bytes, tmp_path: pathlib.Path) -> None:
    """A key is the bytes of its file, but for the end of the line."""
    path = tmp_path / "key"
    path.write_bytes(content)
    assert read_key(str(path)) == key


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_empty(content: bytes, tmp_path: pathlib.Path) -> None:
    """Nothing is no key."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="the file is empty"):
        read_key(str(path))


def test_unreadable(tmp_path: pathlib.Path) -> None:
    """Why a file cannot be read is said in words."""
    with pytest.raises(UsageError, match=r"--hmac-key .*/none: No such file or directory"):
        read_key(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="Is a directory"):
        read_key(str(tmp_path))
