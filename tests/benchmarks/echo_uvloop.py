"""An echo server of asyncio's protocols, on uvloop: a peer to be measured beside ours.

Run as `python -m tests.benchmarks.echo_uvloop CERTIFICATE KEY PATH`; it says where it listens as
`netecho serve --json-stream` does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from typing import Any

import uvloop

HOST = "127.0.0.1"
BACKLOG = 1024


class Echo(asyncio.Protocol):
    """RFC 862 on a stream."""

    def connection_made(self, transport: Any) -> None:
        """Keep what is written to."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Send back what came."""
        self._transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    """RFC 862 on datagrams."""

    def connection_made(self, transport: Any) -> None:
        """Keep what is written to."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send back what came."""
        self._transport.sendto(data, addr)


async def main(certificate: str, key: str, path: str) -> None:
    """Listen on free ports and at a path, for ever."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    plain = await loop.create_server(Echo, HOST, 0, backlog=BACKLOG)
    secure = await loop.create_server(Echo, HOST, 0, backlog=BACKLOG, ssl=context)
    datagrams, _ = await loop.create_datagram_endpoint(EchoDatagrams, (HOST, 0))
    # As much as netecho asks for: by default, the system drops datagrams before 512 are waiting.
    udp = datagrams.get_extra_info("socket")
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    local = await loop.create_unix_server(Echo, path, backlog=BACKLOG)
    for scheme, one in ("tcp", plain.sockets[0]), ("tls", secure.sockets[0]), ("udp", udp):
        print(json.dumps({"event": "listening", "url": f"{scheme}://{HOST}:{one.getsockname()[1]}"}))
    print(json.dumps({"event": "listening", "url": f"unix:{path}"}), flush=True)
    await local.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
