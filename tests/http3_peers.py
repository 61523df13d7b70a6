"""HTTP/3 as aioquic itself has it: a client in memory, that a test turns by hand, and programs on sockets."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any, Self

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset
from twisted.internet.task import Clock

from netecho.plans import ServerTLS
from netecho.protocols._http3_server import HTTP3Port
from netecho.protocols._listener import ListenSettings, Totals
from netecho.services import tls
from tests.test_quic_attacks import Wires

SERVER = ("127.0.0.1", 8443)
CLIENT = ("192.0.2.1", 5000)
Fields = list[tuple[bytes, bytes]]


def head(method: bytes, path: bytes, *more: tuple[bytes, bytes]) -> Fields:
    """Return the fields of a request."""
    return [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", path),
        *more,
    ]


class Answer:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.heads: list[Fields] = []
        self.body = b""
        self.ended = False

    @property
    def status(self) -> int:
        """Return the last one that was told."""
        return int(dict(self.heads[-1])[b":status"])


class Pair:
    """A server's port in memory, a client of aioquic's, and a clock to be turned by hand."""

    def __init__(self, *, options: dict[str, Any] | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.totals = Totals()
        self._context = tls.for_server(ServerTLS(), {"localhost"})
        listen = ListenSettings(self.totals, tls=self._context.offering(("h3",), datagrams=True), **settings)
        self.port = HTTP3Port(self.clock, listen)
        self._wires = Wires()
        transport: Any = self._wires
        self.port.makeConnection(transport)
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=["h3"],
            server_name="localhost",
            verify_mode=ssl.CERT_NONE,
            **(options or {}),
        )
        self.quic = QuicConnection(configuration=configuration)
        self.reads = True
        """Whether the server may send more than a first window."""
        self.answers: dict[int, Answer] = {}
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        """Those of whose requests no more is taken."""
        self.http: Any = H3Connection(self.quic)
        self.quic.connect(SERVER, self.clock.seconds())
        self.turn()

    def __enter__(self) -> Self:
        """Be used."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the authority."""
        self.port.abort()
        self._context.close()

    @property
    def end(self) -> ConnectionTerminated | None:
        """How the connection ended; aioquic's own event comes when no packet can be under way any more."""
        return self.quic._close_event

    def stop_reading(self) -> None:
        """Open no window any more."""
        quic: Any = self.quic
        quic._write_connection_limits = quic._write_stream_limits = lambda *_, **__: None

    def turn(self, seconds: float = 0.0) -> None:
        """Have so much time pass, in steps, and all that is sent arrive."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            self._exchange()
        self._exchange()

    def _exchange(self) -> None:
        idle = 0
        while idle < 5:  # what is paced leaves a little later
            now = self.clock.seconds()
            timer = self.quic.get_timer()
            if timer is not None and now >= timer:
                self.quic.handle_timer(now)
            out = self.quic.datagrams_to_send(now)
            for datagram, _address in out:
                self.port.datagramReceived(datagram, CLIENT)
            self.clock.advance(0.001)
            back = self._wires.sent.pop(CLIENT, [])
            for datagram in back:
                self.quic.receive_datagram(datagram, SERVER, now)
            while (event := self.quic.next_event()) is not None:
                self._take(event)
            idle = 0 if out or back else idle + 1

    def _take(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        for one in self.http.handle_event(event):
            self._hear(one)

    def _hear(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived | DataReceived):
            answer = self.answers.setdefault(event.stream_id, Answer())
            if isinstance(event, HeadersReceived):
                answer.heads.append(event.headers)
            else:
                answer.body += event.data
            answer.ended = event.stream_ended

    def ask(self, fields: Fields, body: bytes = b"", *, ended: bool = True) -> int:
        """Send a request; return its stream."""
        stream = self.quic.get_next_available_stream_id()
        self.http.send_headers(stream, fields, ended and not body)
        if body:
            self.http.send_data(stream, body, ended)
        return stream

    def answer(self, fields: Fields, body: bytes = b"") -> Answer:
        """Return the answer to a request."""
        stream = self.ask(fields, body)
        self.turn()
        while not (stream in self.answers and self.answers[stream].ended):
            assert self.end is None
            assert self.clock.seconds() < 600, "no answer came"
            self.turn(0.25)
        return self.answers[stream]


class _Client(QuicConnectionProtocol):
    """A connection to a server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http = H3Connection(self._quic)
        self._answers: dict[int, tuple[Answer, asyncio.Future[Answer]]] = {}

    async def ask(self, fields: Fields, body: bytes) -> Answer:
        """Send a request, and wait for its answer."""
        stream = self._quic.get_next_available_stream_id()
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[stream] = Answer(), done
        self._http.send_headers(stream, fields, not body)
        if body:
            self._http.send_data(stream, body, True)
        self.transmit()
        return await done

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take answers, or some of one."""
        for one in self._http.handle_event(event):
            if isinstance(one, HeadersReceived | DataReceived):
                answer, done = self._answers[one.stream_id]
                if isinstance(one, HeadersReceived):
                    answer.heads.append(one.headers)
                else:
                    answer.body += one.data
                if one.stream_ended:
                    done.set_result(answer)


async def ask(port: int, ca: str, requests: list[tuple[Fields, bytes]]) -> list[Answer]:
    """Send requests to a server, all at once over one connection, and return its answers."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(ca)
    connecting = connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client)
    async with connecting as client:
        assert isinstance(client, _Client)
        return await asyncio.gather(*(client.ask(fields, body) for fields, body in requests))


class _Echo(QuicConnectionProtocol):
    """A connection to an echo server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Send back what comes."""
        for one in self._http.handle_event(event):
            if isinstance(one, HeadersReceived):
                status = b"404" if dict(one.headers)[b":path"] == b"/none" else b"200"
                self._http.send_headers(one.stream_id, [(b":status", status)])
            if isinstance(one, HeadersReceived | DataReceived):
                data = one.data if isinstance(one, DataReceived) else b""
                if data or one.stream_ended:
                    self._http.send_data(one.stream_id, data, one.stream_ended)
        self.transmit()


async def main(certificate: str) -> None:
    """Serve, and say where."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(certificate, certificate)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=_Echo)
    assert server._transport is not None
    print("listening on", server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
