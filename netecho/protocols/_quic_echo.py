"""A QUIC server that echoes: what comes on each stream goes back on it, and then its end."""

from __future__ import annotations

from typing import Final

from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import QuicEvent, StreamDataReceived, StreamReset

from netecho.plans import ReplyMode
from netecho.protocols._credit import PER_EXCHANGE, PER_FRAME
from netecho.protocols._quic_server import QUICPort
from netecho.protocols._quic_server_link import ServerLink

ALPN: Final = ("echo",)


class EchoLink(ServerLink):
    """A connection to the server."""

    def heard(self, event: QuicEvent) -> None:
        """Answer."""
        match event:
            case StreamDataReceived():
                self._echo(event.stream_id, event.data, event.end_stream)
            case StreamReset():
                if not stream_is_unidirectional(event.stream_id):
                    self.wire.reset_stream(event.stream_id, event.error_code)

    def _echo(self, stream: int, data: bytes, is_end: bool) -> None:
        if self.is_draining:
            return
        if stream_is_unidirectional(stream):
            return  # what comes on it cannot go back
        self.bytes_received += len(data)
        self.credit.earn(len(data) / PER_FRAME + is_end * PER_EXCHANGE)
        self.progressed()
        answer = data if self.port.settings.reply is ReplyMode.ECHO else b""
        if not answer and not is_end:
            return
        try:
            self.wire.send_stream_data(stream, answer, is_end)
        except (RuntimeError, ValueError):
            return  # the peer wants to hear no more on it
        self.bytes_sent += len(answer)


class EchoPort(QUICPort):
    """Its port."""

    alpn = ALPN
    link = EchoLink
