"""Keys that two ends share, in files."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator

import pytest

from netecho.errors import UsageError
from netecho.plans import ClientTLS, ServerTLS
from netecho.services import files
from netecho.services.certificates import make_credentials, read_credentials
from netecho.services.files import LARGEST
from netecho.services.keys import read_key
from netecho.services.tls import for_client, for_server


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


@contextlib.contextmanager
def substituted(content: bytes) -> Iterator[str]:
    """Have a path from which something can be read once, as a shell's process substitution makes them."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    yield f"/dev/fd/{reading}"
    os.close(reading)


def test_pipe_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came out of a pipe is there for who reads it again, by OpenSSL and in other processes too."""
    made, authority = make_credentials([], "localhost")
    authority.remove()
    chain = made.to_json()["chain"].encode()
    monkeypatch.setattr(files, "_KEPT", {})
    with substituted(chain) as path:
        for_client(ClientTLS(authorities=path), "localhost")
        for_server(ServerTLS(client_ca=path), made=made)
    monkeypatch.setattr(files, "_KEPT", {})
    with substituted(b"\xffsecret\n") as path:
        assert read_key(path) == read_key(path) == b"\xffsecret"
        told = json.loads(json.dumps(files.kept()))
    monkeypatch.setattr(files, "_KEPT", {})
    files.keep(told)
    assert read_key(path) == b"\xffsecret"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    message = rf"^--cacert {path}: cannot keep what came out of it: No such file"
    with pytest.raises(UsageError, match=message), files.readable(path, "--cacert"):
        pass
