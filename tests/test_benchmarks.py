"""What is measured by hand still runs, measures what it says, and prints what the README shows.

Nothing here depends on how fast anything is.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.benchmarks import load, pacing, reactors, regressions, table
from tests.benchmarks.contestants import UVLOOP
from tests.servers import ROOT, TIMEOUT

SECOND = 1_000_000_000
SIZE = 16
CELL = re.compile(r"~?[\d,]+(\.\d)? \(\d+\.\d\d\)")
NAMES = [
    "`netecho serve`",
    "`netecho serve --busy-poll 0`",
    "`netecho serve --reactor epoll`",
    "a plain Twisted echo",
    *["asyncio on uvloop"][:UVLOOP],
]
COMMAND = "python -m tests.benchmarks.reactors"


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of every table in a Markdown text, without the rules below their headers."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("| "):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return found


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")
def test_whole() -> None:
    """The command measures every load on every server, and prints both tables."""
    ended = subprocess.run(
        [sys.executable, *COMMAND.split()[1:], "--rounds", "1", "--seconds", "0.05"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    titles = [workload.title for workload in reactors.WORKLOADS]
    costs, rates = tables(ended.stdout)
    for rows in costs, rates:
        assert rows[0] == ["echo server", *titles]
        assert [row[0] for row in rows[1:]] == NAMES
        assert all(CELL.fullmatch(cell) for row in rows[1:] for cell in row[1:])
        assert all(cell.endswith("(1.00)") for cell in rows[1 + NAMES.index(reactors.BASE)][1:])
    assert "Medians of 1 round, " in ended.stdout
    assert all(len(line) <= table.WIDTH for line in ended.stdout.splitlines() if not line.startswith("|"))


def test_pacing(capsys: pytest.CaptureFixture[str]) -> None:
    """How well a rate is kept to is printed for each protocol and timer, a row each."""
    pacing.main(["--rate", "100", "--seconds", "0.2", "--connections", "2", "--rounds", "1"])
    header, _, *rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    measured = [(row[0].strip(), row[1].strip()) for row in rows]
    assert measured == [("tcp", "simple"), ("tcp", "hybrid"), ("udp", "simple"), ("udp", "hybrid")]
    assert all(len(row) == len(header) and row[2].strip() == "20" for row in rows)


def test_regressions(capsys: pytest.CaptureFixture[str]) -> None:
    """Its servers keep what they are sent for as long as they are told to."""
    with regressions.serving(50.0) as url:
        port = int(url.rpartition(":")[2])
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert time.monotonic() - began >= 0.05
    regressions.main(0)
    assert capsys.readouterr().out == "0 pairs: 0 false alarms, 0 of 0 regressions found\n"


def test_readme() -> None:
    """The README gives the command, and tables that have the rows and columns which it prints."""
    readme = (ROOT / "README.md").read_text()
    assert COMMAND in readme
    shown = [rows for rows in tables(readme) if rows[0][0] == "echo server"]
    assert len(shown) == 2
    for rows in shown:
        assert rows[0][1:] == [workload.title for workload in reactors.WORKLOADS]
        assert [row[0] for row in rows[1:]][: len(NAMES)] == NAMES
        assert all(CELL.fullmatch(cell) for row in rows[1:] for cell in row[1:])


def test_titles() -> None:
    """A column says what its load is."""
    for workload in reactors.WORKLOADS:
        assert re.match(rf"{workload.scheme}, {workload.in_flight}\b", workload.title, re.IGNORECASE)


def sample(exchanges: int, cpu_ms: int, lost: int = 0) -> load.Sample:
    """Return what was done in a second."""
    return load.Sample(exchanges, SECOND, cpu_ms * 1_000_000, lost)


def test_ratios_by_round() -> None:
    """What counts is the median of each round's ratio, not the ratio of the medians."""
    rounds = {
        "base": [sample(1_000, 950), sample(4_000, 950), sample(2_000, 950)],
        "other": [sample(3_000, 950), sample(4_000, 950), sample(6_000, 950, lost=3)],
    }
    text = table.markdown([table.Column("TCP, 7", rounds)], "base", 64, "TLSv1.3")
    costs, rates = tables(text)
    assert costs == [["echo server", "TCP, 7"], ["base", "475.0 (1.00)"], ["other", "237.5 (3.00)"]]
    assert rates == [["echo server", "TCP, 7"], ["base", "2,000 (1.00)"], ["other", "4,000 (3.00)"]]
    assert "Medians of 3 rounds" in text
    assert "other lost 3 datagrams (TCP, 7)." in text.replace("\n", " ")


def test_time_to_spare() -> None:
    """A rate that the server did not set is marked, as it says nothing of the server."""
    rounds = {"base": [sample(1_000, 950)], "other": [sample(1_000, 500)]}
    _, rates = tables(table.markdown([table.Column("TCP, 7", rounds)], "base", 64, "TLSv1.3"))
    assert rates[1:] == [["base", "1,000 (1.00)"], ["other", "~1,000 (1.00)"]]


@contextlib.contextmanager
def answering(peer: socket.socket, answer: Callable[[bytes], list[bytes]]) -> Iterator[None]:
    """Send, in a thread and for each message that comes to a socket, what `answer` makes of it."""
    peer.settimeout(TIMEOUT)

    def serve() -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            while message := peer.recv(1024):
                for piece in answer(message):
                    peer.send(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        peer.close()


def ticking() -> Callable[[], int]:
    """Return a processor clock that is 1 s further on whenever it is read."""
    times = iter(range(0, 10**15, SECOND))
    return lambda: next(times)


@contextlib.contextmanager
def stream_load(answer: Callable[[bytes], list[bytes]], connections: int = 1) -> Iterator[load.StreamLoad]:
    """A load on sockets that keep the boundaries of what is sent, and with them the pieces of an echo."""
    with contextlib.ExitStack() as stack:
        near = []
        for _ in range(connections):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(answering(theirs, answer))
            near.append(ours)
        yield stack.enter_context(contextlib.closing(load.StreamLoad(near, SIZE)))


class AnsweredPoll:
    """Stands in for a poll object: has the peer answer all that it has received, and waits for no clock.

    What no answer has been sent to by then is lost.
    """

    def __init__(
        self, ours: socket.socket, peer: socket.socket, answer: Callable[[bytes], list[bytes]]
    ) -> None:
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._peer = peer
        self._answer = answer

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Return whether something has come."""
        assert timeout > 0
        with contextlib.suppress(BlockingIOError):
            while True:
                for reply in self._answer(self._peer.recv(1024)):
                    self._peer.send(reply)
        return self._poll.poll(0)


@contextlib.contextmanager
def datagram_load(answer: Callable[[bytes], list[bytes]], window: int) -> Iterator[load.DatagramLoad]:
    """A load on datagrams that are answered so."""
    ours, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in ours, peer:
        one.bind(("127.0.0.1", 0))
    ours.connect(peer.getsockname())
    peer.connect(ours.getsockname())
    peer.setblocking(False)
    with peer, contextlib.closing(load.DatagramLoad(ours, SIZE, window)) as datagrams:
        datagrams._poller = AnsweredPoll(ours, peer, answer)  # type: ignore[assignment]
        yield datagrams


def test_stream() -> None:
    """Every echo is counted once, on every connection, and the server's clock is read around them."""
    seen: list[bytes] = []

    def answer(message: bytes) -> list[bytes]:
        seen.append(message)
        return [message]

    with stream_load(answer, 3) as streams:
        clock = ticking()
        first, second = (streams.run(0.02, clock) for _ in range(2))
    assert first.cpu_ns == second.cpu_ns == SECOND
    # What was in flight at the end came back too, uncounted.
    assert first.exchanges + second.exchanges + 2 * 3 == len(seen)
    assert all(len(message) == SIZE for message in seen)
    assert len(set(seen[:100])) == len(seen[:100])


def test_stream_in_pieces() -> None:
    """An echo in pieces is an echo."""
    with stream_load(lambda message: [message[:5], message[5:6], message[6:]]) as streams:
        assert streams.run(0.02, ticking()).exchanges > 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda message: [message[:-1] + b"!"],
        lambda message: [message[:3], b"!" + message[4:]],
        lambda message: [bytes(SIZE)],
    ],
)
def test_stream_differs(answer: Callable[[bytes], list[bytes]]) -> None:
    """An echo that differs in a byte ends the measurement."""
    with stream_load(answer) as streams, pytest.raises(load.BrokenEchoError, match="came back"):
        streams.run(0.02, ticking())


def test_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a connection on which no echo comes, whether it ends or not."""
    monkeypatch.setattr(load, "PATIENCE", 0.05)
    with stream_load(lambda _: []) as streams, pytest.raises(load.BrokenEchoError, match="no echo"):
        streams.run(0.02, ticking())
    ours, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)
    streams = load.StreamLoad([ours], SIZE)
    with theirs, contextlib.closing(streams), pytest.raises(load.BrokenEchoError, match="b'' came back"):
        streams.run(0.02, ticking())


def test_datagrams() -> None:
    """Every datagram that comes back is counted once, in whatever order."""
    held: list[bytes] = []
    seen = 0

    def answer(message: bytes) -> list[bytes]:
        nonlocal seen
        seen += 1
        held.append(message)
        return [held.pop(), held.pop()] if len(held) == 2 else []

    with datagram_load(answer, 8) as datagrams:
        result = datagrams.run(0.02, ticking())
    # At the end, all that were in flight came back uncounted, or all but one.
    assert result.exchanges + 8 == seen
    assert (result.cpu_ns, result.lost) == (SECOND, len(held))


def test_datagrams_are_lost() -> None:
    """Those that do not come back are counted, and others sent when nothing is in flight any more."""
    dropped = came = 0
    clock = ticking()

    def answer(message: bytes) -> list[bytes]:
        nonlocal dropped, came
        came += 1
        if came % 2:
            dropped += 1
            return []
        return [message]

    with datagram_load(answer, 4) as datagrams:
        lost = 0
        while came < 100:  # without others, it would be over with seven
            result = datagrams.run(0.02, clock)
            assert result.cpu_ns == SECOND
            lost += result.lost
    assert lost == dropped


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: [b"!"], "not in flight"),
        (lambda message: [message, message], "not in flight"),
        (lambda message: [message + b"!"], "not in flight"),
        (lambda _: [], "no echo"),
    ],
)
def test_datagrams_differ(answer: Callable[[bytes], list[bytes]], words: str) -> None:
    """A datagram that was not sent, or comes twice, ends the measurement; so does none at all."""
    with datagram_load(answer, 2) as datagrams, pytest.raises(load.BrokenEchoError, match=words):
        datagrams.run(0.02, ticking())
