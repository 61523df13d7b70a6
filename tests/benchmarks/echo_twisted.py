"""The echo server of Twisted's own documentation, on its default reactor: a peer to be measured beside ours.

Run as `python -m tests.benchmarks.echo_twisted CERTIFICATE KEY PATH`; it says where it listens as
`netecho serve --json-stream` does.
"""

from __future__ import annotations

import json
import pathlib
import socket
import sys
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.ssl import PrivateCertificate

HOST = "127.0.0.1"
BACKLOG = 1024


class Echo(Protocol):
    """RFC 862 on a stream."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        """Send back what came."""
        self.transport.write(data)


class EchoDatagrams(DatagramProtocol):
    """RFC 862 on datagrams."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send back what came."""
        self.transport.write(datagram, addr)


def main(certificate: str, key: str, path: str) -> None:
    """Listen on free ports and at a path, for ever."""
    reactor: Any = default_reactor
    both = pathlib.Path(certificate).read_text() + pathlib.Path(key).read_text()
    options = PrivateCertificate.loadPEM(both).options()
    factory = Factory.forProtocol(Echo)
    plain = reactor.listenTCP(0, factory, BACKLOG, HOST)
    secure = reactor.listenSSL(0, factory, options, BACKLOG, HOST)
    datagrams = reactor.listenUDP(0, EchoDatagrams(), HOST)
    # As much as netecho asks for: by default, the system drops datagrams before 512 are waiting.
    datagrams.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    reactor.listenUNIX(path, factory, BACKLOG)
    for scheme, port in ("tcp", plain), ("tls", secure), ("udp", datagrams):
        print(json.dumps({"event": "listening", "url": f"{scheme}://{HOST}:{port.getHost().port}"}))
    print(json.dumps({"event": "listening", "url": f"unix:{path}"}), flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
