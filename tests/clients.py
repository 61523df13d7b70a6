"""Echo servers that nobody here wrote, on real sockets, and netecho's client as a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.peers import need
from tests.servers import COMMAND, TIMEOUT


@contextlib.contextmanager
def process(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own, and end it and all its children."""
    with subprocess.Popen(arguments, start_new_session=True, **options) as child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def line_with(stream: IO[bytes], pattern: str) -> re.Match[bytes]:
    """Read lines until one matches."""
    seen = b""
    for line in stream:
        seen += line
        if match := re.search(pattern.encode(), line):
            return match
    raise AssertionError(f"no line like {pattern!r} in {seen!r}")


DATAGRAMS = "EXEC:cat,socktype=5"
"""What `socat` echoes each datagram by, as it came: SOCK_SEQPACKET. Those that wait in a pipe become one."""


@contextlib.contextmanager
def socat(listener: str, echo: str = "PIPE") -> Iterator[int]:
    """Run a socat that listens, and wait until it does; gives its port (0 if it has none)."""
    # A block of more than PIPE_BUF may fill socat's own pipe, which it then waits for itself to read.
    arguments = [need("socat"), "-d", "-d", "-b", "4096", listener, echo]
    with process(arguments, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stderr is not None
        match = line_with(child.stderr, r"(?:listening on|receiving on) .*?(?::(\d+))?$")
        yield int(match[1] or 0)


@contextlib.contextmanager
def ncat(*arguments: str) -> Iterator[int]:
    """Run an ncat that echoes on a TCP port, and wait until it listens.

    It pumps with calls that block, and so stalls, whoever the client is, when more is under way than the
    pipes of its child hold: give it no more than 40 KiB at a time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with process(
        [need("ncat"), "-v", "-l", "-k", "-e", "/bin/cat", *arguments, "127.0.0.1", str(port)],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as child:
        assert child.stderr is not None
        line_with(child.stderr, r"Listening on 127\.0\.0\.1")
        yield port


def client(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `netecho client` to its end."""
    options = {"stdin": subprocess.DEVNULL} | options if "input" not in options else options
    result: subprocess.CompletedProcess[Any] = subprocess.run(
        [*COMMAND, "client", *arguments], capture_output=True, timeout=TIMEOUT, check=False, **options
    )
    return result


def errors(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a process said on standard error, which is never a traceback."""
    text = result.stderr.decode()
    assert "Traceback" not in text
    return text


def certificate(directory: Path) -> Path:
    """Make a certificate for localhost with its key, in one PEM file, and `ca.pem` beside it."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    both = directory / "server.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(both))
    return both
