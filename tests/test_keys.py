"""Keys that two ends share, in files."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator

import pytest

from netecho.errors import UsageError
from netecho.services.certificates import make_credentials, read_credentials
from netecho.services.files import LARGEST
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


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_device(device: str) -> None:
    """What is no file is not even opened: it may have no end."""
    for flag, read in (("--hmac-key", read_key), ("--cert", lambda path: read_credentials(path, None))):
        with pytest.raises(UsageError, match=f"^{flag} {device}: this is neither a regular file nor a pipe$"):
            read(device)


def test_largest(tmp_path: pathlib.Path) -> None:
    """A file may be as large as all authorities there are, and no larger."""
    path = tmp_path / "key"
    path.write_bytes(bytes(LARGEST))
    assert len(read_key(str(path))) == LARGEST
    path.write_bytes(bytes(LARGEST + 1))
    with pytest.raises(UsageError, match="this is more than 1 MiB, which no certificate and no key is"):
        read_key(str(path))


@contextlib.contextmanager
def piped(path: pathlib.Path, content: bytes) -> Iterator[str]:
    """Write into a pipe beside the block."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    yield str(path)
    writer.join()


def test_pipe(tmp_path: pathlib.Path) -> None:
    """A certificate and its key may come out of one pipe, or of two: they are read once."""
    made, authority = make_credentials([], "localhost")
    authority.remove()
    parts = made.to_json()
    chain, private = parts["chain"].encode(), parts["key"].encode()
    with piped(tmp_path / "both", chain + private) as path:
        assert read_credentials(path, None).to_json() == parts
    with piped(tmp_path / "chain", chain) as certificate, piped(tmp_path / "private", private) as key:
        assert read_credentials(certificate, key).to_json() == parts
