"""A conversation at a terminal, on a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import stat
import subprocess
import termios
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.clients import process, socat
from tests.servers import COMMAND, TIMEOUT

CTRL_C, CTRL_D, UP = b"\x03", b"\x04", b"\x1b[A"


class Person:
    """Someone at a terminal, who types and reads."""

    def __init__(self, descriptor: int, child: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._unread = ""
        self.child = child
        self.seen = ""

    def types(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    def sees(self, pattern: str) -> re.Match[str]:
        """Read until the pattern has been shown since the last one."""
        while (match := re.search(pattern, self._unread)) is None:
            assert select.select([self._descriptor], [], [], TIMEOUT)[0], (
                f"no {pattern!r} in {self._unread!r}"
            )
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                data = b""
            assert data, f"no {pattern!r} before the end of {self._unread!r}"
            if b"\x1b[6n" in data:  # the prompt asks where the cursor is, as a terminal would say
                os.write(self._descriptor, b"\x1b[1;1R")
            self.seen += data.decode(errors="replace")
            self._unread += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        self._unread = self._unread[match.end() :]
        return match


@contextlib.contextmanager
def at_terminal(*arguments: str, home: Path, term: str = "xterm") -> Iterator[Person]:
    """Run the client on a new terminal; at the end, its settings are as they were."""
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    environment = {**os.environ, "TERM": term, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    try:
        with process(
            [*COMMAND, "client", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        ) as child:
            yield Person(ours, child)
            child.wait(TIMEOUT)
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_narrow_terminal() -> None:
    """Sentences end their lines between words where the terminal is narrow."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 40))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    try:
        with process(
            [*COMMAND, "client", "127.0.0.1", str(port)], stdin=theirs, stdout=theirs, stderr=theirs
        ) as child:
            person = Person(ours, child)
            told = person.sees(r"(?s)netecho: .*--port\s+\d+\r\n")
            assert child.wait(TIMEOUT) == 1
    finally:
        os.close(ours)
        os.close(theirs)
    assert told[0].splitlines() == textwrap.wrap(
        f"netecho: connection to tcp://127.0.0.1:{port} refused: nothing listens there; start one with: "
        f"netecho serve --port {port}",
        40,
    )


def test_conversation(tmp_path: Path) -> None:
    """Lines are echoed with their times, Ctrl-C clears a line, Up brings one back, Ctrl-D sums up."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        at_terminal("127.0.0.1", str(port), home=tmp_path) as person,
    ):
        person.sees("Ctrl-D ends")
        person.sees(">")
        person.types(b"hello\r")
        person.sees(r"hello  \([0-9.]+ (ns|µs|ms)\)")
        person.sees(">")
        person.types(b"not this" + CTRL_C)
        person.sees(r"\(Ctrl-D ends\)")
        person.sees(">")
        person.types(UP + b" again\r")
        person.sees(r"hello again  \([0-9.]+ (ns|µs|ms)\)")
        person.sees(">")
        person.types(CTRL_D)
        person.sees("2 lines sent, 2 echoed; 18 B sent, 18 B received")
        person.sees("rtt min/avg/max = ")
        assert person.child.wait(TIMEOUT) == 0
    history = tmp_path / "state/netecho/history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+hello again" in history.read_text()


def test_datagrams(tmp_path: Path) -> None:
    """Over UDP a line is a datagram, without a line end."""
    with (
        socat("UDP-LISTEN:0,bind=127.0.0.1") as port,
        at_terminal(f"udp://127.0.0.1:{port}", home=tmp_path) as person,
    ):
        person.sees(">")
        person.types(b"hello\r")
        person.sees(r"hello  \([0-9.]+ (ns|µs|ms)\)")
        person.sees(">")
        person.types(CTRL_D)
        person.sees("1 line sent, 1 echoed; 5 B sent, 5 B received")
        assert person.child.wait(TIMEOUT) == 0


def test_peer_closes(tmp_path: Path) -> None:
    """What comes unasked is shown with its control characters escaped, and the peer's end is the end."""
    script = "printf '220 \\033[31mready\\n'; read line; printf 'bye\\n'"
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1", f"SYSTEM:{_escaped(script)}") as port,
        at_terminal("127.0.0.1", str(port), home=tmp_path) as person,
    ):
        person.sees(r"220 \\x1b\[31mready  \(not an echo\)")
        person.types(b"quit\r")
        person.sees(r"bye  \(not an echo\)")
        person.sees("1 line sent, 0 echoed")
        person.sees("netecho: the other end closed the connection and left lines without an echo")
        assert person.child.wait(TIMEOUT) == 1


def _escaped(script: str) -> str:
    return re.sub(r"([:,!\\\"'])", r"\\\1", script)


def test_killed(tmp_path: Path) -> None:
    """SIGTERM ends it with the summary, and the terminal is as it was."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        at_terminal("127.0.0.1", str(port), home=tmp_path) as person,
    ):
        person.sees(">")
        person.types(b"hello\r")
        person.sees(r"hello  \(")
        person.child.send_signal(signal.SIGTERM)
        person.sees("1 line sent, 1 echoed")
        assert person.child.wait(TIMEOUT) == 130


def test_dumb_terminal(tmp_path: Path) -> None:
    """A terminal that can do nothing is sent no control codes."""
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        at_terminal("127.0.0.1", str(port), home=tmp_path, term="dumb") as person,
    ):
        person.sees("Ctrl-D ends")
        person.types(b"hello\n")
        person.sees(r"hello  \([0-9.]+ (ns|µs|ms)\)")
        person.types(CTRL_D)
        person.sees("1 line sent, 1 echoed")
        assert person.child.wait(TIMEOUT) == 0
        assert "\x1b" not in person.seen


def test_output_elsewhere() -> None:
    """When standard output is no terminal, what comes is written there byte for byte."""
    ours, theirs = os.openpty()
    with (
        socat("TCP-LISTEN:0,fork,bind=127.0.0.1") as port,
        process([*COMMAND, "client", "127.0.0.1", str(port)], stdin=theirs, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        os.write(ours, b"hello\n")
        assert child.stdout.readline() == b"hello\n"
        os.write(ours, CTRL_D)
        assert child.stdout.read() == b""
        assert child.wait(TIMEOUT) == 0
    os.close(ours)
    os.close(theirs)
