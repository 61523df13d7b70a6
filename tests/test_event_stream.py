"""What a server tells as it goes on, to readers who do not read."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from netecho.services import event_stream
from netecho.services.event_stream import EventStream
from tests import reactors
from tests.servers import ROOT, TIMEOUT, Server, receive_exactly

fcntl = pytest.importorskip("fcntl")
LINE = f"{'x' * 999}\n"


def test_a_reader_that_comes_late() -> None:
    """What has no room is dropped and counted, and said so once there is room; the rest is in order."""
    read, write = os.pipe()
    counts: list[int] = []

    async def scenario(reactor: Any) -> None:
        told: Deferred[None] = Deferred()

        def dropped(number: int) -> None:
            counts.append(number)
            stream.write("dropped\n")
            told.callback(None)

        with open(write, "w") as pipe, open(read, "rb") as reader:
            stream = EventStream(reactor, pipe, dropped, lambda: None)
            written = 0
            while stream.dropped < 7:
                stream.write(LINE)
                written += 1
            reading = deferToThread(reader.read)
            await told
            stream.write("after\n")
            assert await stream.finish()
            pipe.close()
            lines = (await reading).splitlines()
        assert counts == [7]
        assert stream.dropped == 0
        assert lines == [LINE.strip().encode()] * (written - 7) + [b"dropped", b"after"]

    reactors.run("fast", scenario)


def test_a_reader_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for, not even at the end, longer than a while."""
    monkeypatch.setattr(event_stream, "LAST_LINES_TIMEOUT", 0.01)
    read, write = os.pipe()

    async def scenario(reactor: Any) -> None:
        with open(write, "w") as pipe, open(read, "rb") as reader:
            stream = EventStream(reactor, pipe, lambda _: None, lambda: None)
            [writing] = [one for one in threading.enumerate() if one.name == "standard output"]
            written = 0
            while not stream.dropped:
                written += stream.write(LINE)
            assert not await stream.finish()
            assert stream.dropped == 1
            await deferToThread(reader.read, written - len(LINE))
            await deferToThread(writing.join)

    reactors.run("fast", scenario)


def test_a_reader_that_has_gone() -> None:
    """That is the end of the log, and of nothing else."""
    read, write = os.pipe()
    os.close(read)
    failures: list[object] = []

    async def scenario(reactor: Any) -> None:
        with open(write, "w") as pipe:
            stream = EventStream(reactor, pipe, lambda _: None, lambda: failures.append(pipe))
            stream.write(LINE)
            assert await stream.finish()
            assert failures == [pipe]

    reactors.run("fast", scenario)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes are of one size here")
def test_no_peer_waits_for_the_log() -> None:
    """Events that nobody reads delay no echo, and are all there for whoever reads them at last."""
    with Server("--port", "0", "-v") as server:
        fcntl.fcntl(server.out, fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(50):
            with server.listener.connect() as peer:
                peer.sendall(b"hello")
                assert receive_exactly(peer, 5) == b"hello"
        server.end()
        names = [event["event"] for event in server.events]
    assert names.count("connected") == names.count("disconnected") == 50


@pytest.mark.parametrize("is_log_alone", [True, False])
def test_totals_where_somebody_reads(is_log_alone: bool) -> None:
    """They are said although nobody reads the log; where that goes too, they wait for nobody either."""
    read, write = os.pipe()
    brief = "from netecho.services import event_stream; event_stream.LAST_LINES_TIMEOUT = 0.01; "
    command = [sys.executable, "-c", f"{brief}from netecho.__main__ import main; main()"]
    with (
        open(read, "rb", buffering=0) as log,
        subprocess.Popen(
            [*command, "serve", "--port", "0", "-v"],
            stdout=subprocess.PIPE if is_log_alone else write,
            stderr=write,
            cwd=ROOT,
        ) as server,
    ):
        out: Any = server.stdout or log
        port = int(out.readline().rpartition(b":")[2])
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, bytes(1 << 20))
        os.set_blocking(write, True)
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(b"hello")
            assert receive_exactly(peer, 5) == b"hello"
        server.terminate()
        try:
            if is_log_alone:
                assert out.read() == b"served 1 connection, 5 B in, 5 B out\n"
            assert server.wait(TIMEOUT) == 0
        finally:
            server.kill()
            os.close(write)


def test_letters_that_the_stream_has_not() -> None:
    """They are written as the stream itself would write them."""
    read, write = os.pipe()

    async def scenario(reactor: Any) -> None:
        with open(write, "w", encoding="ascii", errors="replace") as pipe, open(read, "rb") as reader:
            stream = EventStream(reactor, pipe, lambda _: None, lambda: None)
            stream.write("unix:/\u00e9cho\n")
            assert await stream.finish()
            pipe.close()
            assert reader.read() == b"unix:/?cho\n"

    reactors.run("fast", scenario)
