"""What a server tells as it goes on, to readers who do not read."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from netecho.services import event_stream
from netecho.services.event_stream import EventStream
from tests import reactors
from tests.servers import Server, receive_exactly

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
