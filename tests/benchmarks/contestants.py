"""The servers that are measured side by side, each a process that listens in every way."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from tests.servers import ROOT, TIMEOUT, Listening

LISTENERS: Final = 4
UVLOOP: Final = importlib.util.find_spec("uvloop") is not None
"""Whether it is installed: `pip install -e '.[benchmarks]'`."""


def commands(certificate: str, key: str, path: str) -> dict[str, list[str]]:
    """Return how each contestant is started, by its name in the table; the first is ours.

    Args:
        certificate: a PEM file for localhost.
        key: its private key's.
        path: a UNIX socket's, without its ending.
    """
    tls = ["--cert", certificate, "--key", key]
    serve = ["netecho", "serve", "--json-stream", *tls, "tcp://:0", "tls://:0", "udp://:0"]
    started = {
        "`netecho serve`": [*serve, f"unix:{path}.fast", "--reactor", "fast"],
        "`netecho serve --busy-poll 0`": [*serve, f"unix:{path}.asleep", "--busy-poll", "0"],
        "`netecho serve --reactor epoll`": [*serve, f"unix:{path}.epoll", "--reactor", "epoll"],
        "a plain Twisted echo": ["tests.benchmarks.echo_twisted", certificate, key, f"{path}.twisted"],
    }
    if UVLOOP:
        started["asyncio on uvloop"] = ["tests.benchmarks.echo_uvloop", certificate, key, f"{path}.uvloop"]
    return started


class Contestant:
    """A running server.

    Args:
        process: the server; its standard output says where it listens.
        authority: PEM file of who signed its certificate.
    """

    def __init__(self, process: subprocess.Popen[str], authority: str) -> None:
        assert process.stdout is not None
        self._clock_id = processor_clock(process.pid)
        self.listeners: dict[str, Listening] = {}
        """By scheme."""
        for _ in range(LISTENERS):
            event = json.loads(process.stdout.readline())
            listener = Listening(event["url"], authority)
            self.listeners[listener.scheme] = listener

    def cpu_ns(self) -> int:
        """Return the processor time that it has taken, in nanoseconds."""
        return time.clock_gettime_ns(self._clock_id)

    def tls(self) -> str:
        """Return the version and the cipher that it speaks with our load."""
        with self.listeners["tls"].connect() as connection:
            assert isinstance(connection, ssl.SSLSocket)
            cipher = connection.cipher()
            assert cipher is not None
            return f"{connection.version()} with {cipher[0]}"


def processor_clock(pid: int) -> int:
    """Return the clock of a process's processor time, as `/proc/PID/stat` counts it but to the nanosecond.

    See clock_getcpuclockid(3).
    """
    clock = ctypes.c_int()
    number = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if number:
        raise OSError(number, os.strerror(number))
    return clock.value


@contextlib.contextmanager
def running(command: list[str], authority: str, processor: int | None) -> Iterator[Contestant]:
    """Run a server on one processor, if told which, and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            if processor is not None:
                os.sched_setaffinity(process.pid, {processor})
            yield Contestant(process, authority)
        finally:
            process.terminate()
            process.wait(TIMEOUT)


def certificate(directory: pathlib.Path) -> tuple[str, str, str]:
    """Make a certificate for localhost; return the files of it, its key, and its authority."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    names = "server.pem", "server.key", "ca.pem"
    blobs = issued.cert_chain_pems[0], issued.private_key_pem, authority.cert_pem
    for name, blob in zip(names, blobs, strict=True):
        blob.write_to_path(str(directory / name))
    return str(directory / names[0]), str(directory / names[1]), str(directory / names[2])
