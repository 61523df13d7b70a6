"""WebSocket as Autobahn's cases have it, which kosoku runs against a server and a client.

All 517 pass, on either side: of the client's 11 as NON-STRICT, since it answers a mistake before it passes on
what came together with it, and looks at text when its frame is whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import subprocess
from typing import Any

import kosoku
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame

from netecho.plans import Target
from netecho.protocols._contract import Route
from netecho.protocols._sockets import tcp_endpoint
from netecho.protocols._stream_client import connect_protocol
from netecho.protocols._ws_client import WebSocketExchanger
from tests import reactors
from tests.peers import need
from tests.servers import TIMEOUT, Server

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
WHOLE = "NETECHO_WHOLE_SUITES" in os.environ
"""Run all 517 cases, which takes minutes: those left out repeat others with more or larger messages."""
COMPRESSED = [f"12.{kind}.1" for kind in range(1, 6)] + [f"13.{kind}.1" for kind in range(1, 8)]
CASES = ["*"] if WHOLE else [*(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)), *COMPRESSED]
OFFERS = [
    # Of which the cases do not see how hard it tries: but most of their time goes into that.
    ClientPerMessageDeflateFactory(client_no_context_takeover=forgets, compress_settings={"level": 1})
    for forgets in (False, True)
]
AT_ONCE = 4
"""Cases that go on together: some only wait, for a second or two, and each must end within a minute."""
LIMIT = 1800.0 if WHOLE else reactors.TIMEOUT
"""Seconds for all cases of the client's."""
FEWEST = 517 if WHOLE else 313


def test_server() -> None:
    """The server does with each case what it must."""
    with Server("ws://127.0.0.1:0") as server:
        results = asyncio.run(kosoku.run_fuzzingclient(server.listener.url, CASES, concurrency=AT_ONCE))
    assert len(results) >= FEWEST
    assert {result.behavior.value for result in results} <= GOOD


class Echo(WebSocketExchanger):
    """A client that sends back what it gets, as Autobahn's cases want it."""

    def __init__(self, reactor: Any, target: Target) -> None:
        self.done: Deferred[None] = Deferred()
        super().__init__(reactor, target, self._none, self._ended, OFFERS)

    def _none(self, *_: object) -> None:
        raise AssertionError("nothing was asked")

    def _ended(self, reason: Any) -> None:
        self.done.callback(None)

    def message_came(self, message: Frame) -> None:
        """Send it back."""
        self.transport.write(message.serialize(mask=True, extensions=self._protocol.extensions))


class Counter(Echo):
    """A client that is told how many cases there are."""

    count = 0

    def message_came(self, message: Frame) -> None:
        """Note it."""
        self.count = int(message.data)


def test_client(tmp_path: pathlib.Path) -> None:
    """So does the client, which echoes for once; it has no need to agree on compression else."""
    words = [need("kosoku"), "-m", "fuzzingserver", "-o", str(tmp_path), "127.0.0.1:0"]
    for case in CASES:
        words += ["-i", case]

    async def ask(reactor: Any, port: int, resource: str, kind: type[Echo] = Echo) -> Any:
        target = Target("ws", "ws", port=port, resource=resource)
        route = Route(target, (target.host,), timeout=TIMEOUT)
        echo = kind(reactor, target)
        await connect_protocol(reactor, tcp_endpoint(reactor, route), route, echo)
        await echo.opened
        await echo.done
        return echo

    def run(reactor: Any, port: int, number: int) -> Deferred[Any]:
        path = f"/runCase?case={number}&agent=netecho"
        return Deferred.fromCoroutine(ask(reactor, port, path))

    async def scenario(reactor: Any, port: int) -> int:
        count = int((await ask(reactor, port, "/getCaseCount", Counter)).count)
        lanes = DeferredSemaphore(AT_ONCE)
        await gatherResults([lanes.run(run, reactor, port, number) for number in range(1, count + 1)])
        await ask(reactor, port, "/updateReports?agent=netecho")
        return count

    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = int(process.stderr.readline().rpartition(":")[2])
            count = reactors.run("fast", lambda reactor: scenario(reactor, port), LIMIT)
            out, complaints = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 0, complaints
    results = json.loads((tmp_path / "index.json").read_text())["netecho"]
    assert len(results) == count >= FEWEST
    assert {result["behavior"] for result in results.values()} <= GOOD, out
