"""An echo server and a load of the `websockets` package, on uvloop: peers to be measured beside ours.

Run as `python -m tests.benchmarks.ws_websockets serve`, which says where it listens as `netecho serve
--json-stream` does; and as `... load URL CONNECTIONS SECONDS SIZE`, which says how many echoes came in a
second of its processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time

import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def _echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def listen() -> None:
    """Listen on a free port, for ever."""
    async with serve(_echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"event": "listening", "url": f"ws://127.0.0.1:{port}"}), flush=True)
        await server.serve_forever()


async def _exchange(url: str, begins: float, ends: float, size: int) -> int:
    """Send and receive until it is time; return how many echoes came."""
    done = 0
    message = os.urandom(size)
    async with connect(url, compression=None) as connection:
        while (now := time.monotonic()) < ends:
            await connection.send(message)
            if await connection.recv() != message:
                raise ValueError("an echo is not what was sent")
            done += now >= begins
    return done


async def load(url: str, connections: int, seconds: float, size: int) -> None:
    """Keep a server busy for so long, after half a second that is not counted."""
    begins = time.monotonic() + 0.5
    ends = begins + seconds

    async def spent() -> float:
        await asyncio.sleep(begins - time.monotonic())
        before = time.process_time()
        await asyncio.sleep(ends - time.monotonic())
        return time.process_time() - before

    cpu = asyncio.ensure_future(spent())
    done = await asyncio.gather(*(_exchange(url, begins, ends, size) for _ in range(connections)))
    print(json.dumps({"per_cpu_second": sum(done) / await cpu}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(listen())
    else:
        uvloop.run(load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
