"""QUIC as aioquic itself has it: a client that a test turns by hand, and, as a program, an echo server."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived
from aioquic.tls import SessionTicket

from tests.servers import TIMEOUT


class Peer:
    """A client on a socket of its own, that reads as long as it is told to.

    Args:
        address: the server's.
        ca: the file of the authority to trust.
        reads: whether the server may send more than a first window.
        host: its own address.
        options: of the configuration.
    """

    def __init__(
        self, address: tuple[str, int], ca: str | None, *, reads: bool = True, host: str = "", **options: Any
    ) -> None:
        configuration = QuicConfiguration(
            is_client=True, server_name="localhost", **{"alpn_protocols": ["echo"], **options}
        )
        if ca is not None:
            configuration.load_verify_locations(ca)
        self.address = address
        self.tickets: list[SessionTicket] = []
        """Of the sessions that can be resumed."""
        self.core = QuicConnection(configuration=configuration, session_ticket_handler=self.tickets.append)
        if not reads:
            self.core._write_connection_limits = lambda *_, **__: None  # type: ignore[method-assign]
            self.core._write_stream_limits = lambda *_, **__: None  # type: ignore[method-assign]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.echoes: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        """The streams that the server has ended."""
        self.events: list[QuicEvent] = []
        self.core.connect(address, time.monotonic())

    def rebind(self) -> None:
        """Go on from another port, and by another of the connection's IDs."""
        self.core.change_connection_id()
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def pump(self, until: Callable[[], object], patience: float = TIMEOUT) -> bool:
        """Send and receive until something is so; return whether it came to that."""
        deadline = time.monotonic() + patience
        while not until():
            now = time.monotonic()
            if now >= deadline:
                return False
            for datagram, _ in self.core.datagrams_to_send(now):
                self.socket.sendto(datagram, self.address)
            timer = self.core.get_timer()
            wait = max(0.0, min(deadline, now + 0.5 if timer is None else timer) - now)
            if select.select([self.socket], [], [], wait)[0]:
                self.core.receive_datagram(self.socket.recv(65_536), self.address, time.monotonic())
            elif timer is not None and time.monotonic() >= timer:
                self.core.handle_timer(time.monotonic())
            while (event := self.core.next_event()) is not None:
                self._take(event)
        for datagram, _ in self.core.datagrams_to_send(time.monotonic()):
            self.socket.sendto(datagram, self.address)
        return True

    def _take(self, event: QuicEvent) -> None:
        self.events.append(event)
        if isinstance(event, StreamDataReceived):
            self.echoes.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream:
                self.ended.add(event.stream_id)

    def happened(self, kind: type[QuicEvent]) -> bool:
        """Return whether there was such an event."""
        return any(isinstance(one, kind) for one in self.events)

    @property
    def end(self) -> ConnectionTerminated:
        """How the connection ended."""
        return next(one for one in self.events if isinstance(one, ConnectionTerminated))

    def exchange(self, message: bytes) -> bytes:
        """Send a message on a stream of its own, and return what comes back until that ends."""
        stream = self.core.get_next_available_stream_id()
        self.core.send_stream_data(stream, message, end_stream=True)
        assert self.pump(lambda: stream in self.ended), "no echo came"
        return bytes(self.echoes[stream])

    def close(self) -> None:
        """End the connection."""
        self.core.close()
        for datagram, _ in self.core.datagrams_to_send(time.monotonic()):
            self.socket.sendto(datagram, self.address)
        self.socket.close()


class _Echo(QuicConnectionProtocol):
    """A connection to an echo server."""

    def quic_event_received(self, event: QuicEvent) -> None:
        """Send back what comes."""
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()


async def main(certificate: str, retry: bool) -> None:
    """Serve, and say where."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    configuration.load_cert_chain(certificate, certificate)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=_Echo, retry=retry)
    assert server._transport is not None
    print("listening on", server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "retry" in sys.argv))
