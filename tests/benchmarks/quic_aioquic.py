"""Echo servers and a load of aioquic's own asyncio, on uvloop: peers to be measured beside ours.

Run as `python -m tests.benchmarks.quic_aioquic serve quic|http3`, which says where it listens as `netecho
serve --json-stream` does; and as `... load URL CONNECTIONS SECONDS SIZE`, which says how many echoes came in
a second of its processor time. They are as aioquic's examples are: a protocol to each connection, that is
told of events, and transmits at the end of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import ssl
import sys
import tempfile
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

from tests.benchmarks.contestants import certificate

ALPN = {"quic": ["echo"], "http3": ["h3"]}
REQUEST = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]


class _Echo(QuicConnectionProtocol):
    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()


class _HTTPEcho(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        for one in self._http.handle_event(event):
            if isinstance(one, HeadersReceived):
                length = [pair for pair in one.headers if pair[0] == b"content-length"]
                self._http.send_headers(one.stream_id, [(b":status", b"200"), *length], one.stream_ended)
            elif isinstance(one, DataReceived):
                self._http.send_data(one.stream_id, one.data, one.stream_ended)
        self.transmit()


async def listen(protocol: str) -> None:
    """Listen on a free port, for ever."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=ALPN[protocol])
    with tempfile.TemporaryDirectory() as directory:
        chain, key, _ = certificate(pathlib.Path(directory))
        configuration.load_cert_chain(chain, key)
    connection = _Echo if protocol == "quic" else _HTTPEcho
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=connection)
    assert server._transport is not None
    port = server._transport.get_extra_info("sockname")[1]
    print(json.dumps({"event": "listening", "url": f"{protocol}://127.0.0.1:{port}"}), flush=True)
    await asyncio.Event().wait()


class _Client(QuicConnectionProtocol):
    """A connection with one message under way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http: H3Connection | None = None
        self._echo = b""
        self._came: asyncio.Future[bytes] | None = None

    def speak_http(self) -> None:
        """Have messages go in requests."""
        self._http = H3Connection(self._quic)

    async def exchange(self, message: bytes) -> bytes:
        """Send a message; return its echo."""
        self._echo, self._came = b"", asyncio.get_running_loop().create_future()
        stream = self._quic.get_next_available_stream_id()
        if self._http is None:
            self._quic.send_stream_data(stream, message, True)
        else:
            self._http.send_headers(stream, [*REQUEST, (b"content-length", b"%d" % len(message))])
            self._http.send_data(stream, message, True)
        self.transmit()
        return await self._came

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take some of an echo."""
        if self._http is None:
            if isinstance(event, StreamDataReceived):
                self._take(event.data, event.end_stream)
            return
        for one in self._http.handle_event(event):
            if isinstance(one, HeadersReceived | DataReceived):
                self._take(one.data if isinstance(one, DataReceived) else b"", one.stream_ended)

    def _take(self, data: bytes, ended: bool) -> None:
        self._echo += data
        if ended and self._came is not None:
            self._came.set_result(self._echo)


async def load(url: str, connections: int, seconds: float, size: int) -> None:
    """Keep a server busy for so long, after half a second that is not counted."""
    parts = urlsplit(url)
    message = os.urandom(size)
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(connections):
            configuration = QuicConfiguration(
                is_client=True, alpn_protocols=ALPN[parts.scheme], verify_mode=ssl.CERT_NONE
            )
            connecting = connect(
                parts.hostname or "", parts.port or 0, configuration=configuration, create_protocol=_Client
            )
            client = await stack.enter_async_context(connecting)
            assert isinstance(client, _Client)
            if parts.scheme == "http3":
                client.speak_http()
            clients.append(client)
        begins = time.monotonic() + 0.5
        ends = begins + seconds

        async def work(client: _Client) -> int:
            done = 0
            while (now := time.monotonic()) < ends:
                if await client.exchange(message) != message:
                    raise ValueError("an echo is not what was sent")
                done += now >= begins
            return done

        async def spent() -> float:
            await asyncio.sleep(begins - time.monotonic())
            before = time.process_time()
            await asyncio.sleep(ends - time.monotonic())
            return time.process_time() - before

        cpu = asyncio.ensure_future(spent())
        done = await asyncio.gather(*map(work, clients))
        print(json.dumps({"per_cpu_second": sum(done) / await cpu}))
        for client in clients:  # each closes for a second, and one after the other if it is left to `connect`
            client.close()
        await asyncio.gather(*(client.wait_closed() for client in clients))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(listen(sys.argv[2]))
    else:
        uvloop.run(load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
