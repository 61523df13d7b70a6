"""The server side of WebSocket (RFC 6455): a request to upgrade, then messages in and echoes out, in order.

Every path echoes. Compression (permessage-deflate, RFC 7692) is accepted if the peer offers it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import InvalidHeader, InvalidUpgrade
from websockets.frames import BINARY, PING, TEXT, CloseCode, Frame
from websockets.http11 import Response
from websockets.protocol import OPEN

from netecho.plans import ReplyMode
from netecho.protocols._broadcast import Backlog, cut_off
from netecho.protocols._http_limits import MOST_HEAD, is_host
from netecho.protocols._stream_server import LINGER
from netecho.protocols._watched import Patience, Progress
from netecho.protocols._ws_deflate import DeflateFactory
from netecho.protocols._ws_messages import (
    BUFFER,
    LOG,
    MOST_MESSAGE,
    SLICE,
    TURN,
    Assembly,
    ServerWire,
    SpoiltWire,
)

if TYPE_CHECKING:
    from netecho.protocols._http_server import HTTPConnection

_DEFLATE: Final = [DeflateFactory()]
_INFO_SLICE: Final = 64
"""Bytes of frames that are parsed at a time in mode `info`, whose answers are large."""
_CONTENT: Final = 1 << 20
"""Bytes to which compressed frames are inflated in one turn; the last frame may exceed it."""
_VERSION: Final = "Sec-WebSocket-Version"
_HEAD_ENDS: Final = re.compile(rb"\n\r?\n")


class WebSocketServer:
    """The state of a WebSocket connection; the `wire` of an `HTTPConnection`."""

    def __init__(self, connection: HTTPConnection) -> None:
        connection.transport.bufferSize = BUFFER
        self._connection: Any = connection
        self._is_echo = connection.reply is ReplyMode.ECHO
        self._spoil: Callable[[bytes], bytes] | None = connection.spoil
        wire: Callable[..., ServerWire] = ServerWire
        if self._spoil is not None and self._is_echo:
            wire = functools.partial(SpoiltWire, self._spoil)
        self._protocol = wire(
            extensions=_DEFLATE,
            max_size=connection.factory.settings.max_message or MOST_MESSAGE,
            logger=LOG,
        )
        others: dict[ReplyMode, Callable[[Frame], None]] = {
            ReplyMode.INFO: self._inform,
            ReplyMode.BROADCAST: self._broadcast,
        }
        self._answer = others.get(connection.reply)
        """Answers a message in modes other than echo and discard; `None` in those."""
        self._backlog: Backlog[Frame] = Backlog()
        self._asked: dict[str, Any] = {}
        """The path and fields of the request, in mode `info`."""
        self._info = b""
        """The answer in mode `info`, once it has been made."""
        self._head = bytearray()
        """The request, as far as it has come."""
        self._is_asked = False
        """The request has been answered."""
        self._assembly = Assembly()
        self._rest = b""
        """Bytes that wait until the peer takes what it is sent, or for the next turn of the reactor."""
        self._call: Any = None
        """The delayed call for the next turn."""
        self._protocol.reader.left = TURN
        self._room = _CONTENT
        """Bytes that may still be inflated in this turn, in which several TLS records may come."""
        self._taken = 0
        """Messages that have come."""
        self.exchanges = 0
        """Messages that have been sent to the peer: answers, or in mode `broadcast` messages of any peer."""
        self._has_parted = False
        """We have sent a Close frame of our own accord: what comes now is not answered."""
        self._is_over = False
        """Nothing more is sent."""
        self._progress = Progress(connection.now())

    @property
    def begun(self) -> int:
        """How many answers have been begun: as many as have been given."""
        return self.exchanges

    given = begun

    @property
    def holds(self) -> bool:
        """Whether some of what has come is still to be answered."""
        return bool(self._rest)

    is_full = holds

    @property
    def is_idle(self) -> bool:
        """Whether all messages that have come whole are answered."""
        return not self._rest

    def received(self, data: bytes) -> None:
        """Parse what has come, or keep it until what came before has been dealt with."""
        if self._rest:
            self._rest += data
        elif self._is_asked:
            self._take(data)
        else:
            self._begin(data)

    def proceed(self) -> None:
        """Go on with what had to wait, as the peer takes what it is sent."""
        connection = self._connection
        if connection.is_paused:
            return
        for message in self._backlog.take():
            self._say(message)
            if connection.is_paused:
                return
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)

    # The request.

    def _begin(self, data: bytes) -> None:
        head = self._head
        looked_at = max(0, len(head) - 2)
        head += data
        end = _HEAD_ENDS.search(head, looked_at)
        size = len(head) if end is None else end.end()
        if size > MOST_HEAD:
            self._refuse(431, f"A request's head has at most {MOST_HEAD} bytes.")
            return
        if end is None:
            return
        protocol = self._protocol
        protocol.receive_data(head[:size])
        self._is_asked = True
        requests: list[Any] = protocol.events_received()
        for request in requests:
            hosts = request.headers.get_all("Host")
            if self._connection.reply is ReplyMode.INFO:
                headers = [list(field) for field in request.headers.raw_items()]
                self._asked = {"path": request.path, "headers": headers}
            if len(hosts) == 1 and is_host(hosts[0].encode("latin-1", "replace")):
                protocol.send_response(self._complete(protocol.accept(request)))
            else:
                protocol.send_response(protocol.reject(400, "A request has one Host.\n"))
        if protocol.state is not OPEN and not (answer := protocol.data_to_send())[0]:
            self._refuse(400, "This is no request to upgrade to WebSocket.")
        elif protocol.state is not OPEN:
            self._write(answer)
        else:
            self._write(protocol.data_to_send())
            rest = bytes(head[size:])
            head.clear()
            if rest:
                self._take(rest)

    def _complete(self, response: Response) -> Response:
        """Give the library's answer the fields that such a one must have, and that it lacks."""
        wrong = self._protocol.handshake_exc
        if isinstance(wrong, InvalidUpgrade):  # whose field is for this connection (RFC 9110 section 7.8)
            response.headers["Connection"] = "Upgrade"
        elif isinstance(wrong, InvalidHeader) and wrong.name == _VERSION:  # RFC 6455 section 4.4
            response.headers[_VERSION] = "13"
        return response

    def _refuse(self, status: int, words: str) -> None:
        self._is_asked = True
        self._write([self._protocol.reject(status, f"{words}\n").serialize(), b""])

    # Messages.

    def _take(self, data: bytes) -> None:
        reader = self._protocol.reader
        if not (self._protocol.extensions or self._answer):
            self._exchange(data)
            if reader.rest:
                self._put_off(b"")
        elif self._room <= 0:
            self._put_off(data)
        else:
            self._take_slices(data)
        # A turn is ended when half of its room is used: peers with few messages never wait for the next.
        if reader.left < TURN // 2 or self._room < _CONTENT // 2:
            self._wait_for_turn()

    def _take_slices(self, data: bytes) -> None:
        reader = self._protocol.reader
        size = _INFO_SLICE if self._asked else SLICE
        for start in range(0, len(data), size):
            for frame in self._exchange(data[start : start + size]):
                self._room -= len(frame.data)
            if self._is_over:
                return
            if reader.rest or self._room <= 0 or self._connection.is_paused:
                self._put_off(data[start + size :])
                return

    def _put_off(self, data: bytes) -> None:
        """Keep what there is no time for in this turn, with `data`, which came after it."""
        reader = self._protocol.reader
        rest, reader.rest = reader.rest, b""
        if not self._is_over:
            self._rest = rest + data
        if self._rest and not self._connection.is_paused:
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if self._call is None and not self._is_over:
            self._call = self._connection.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._call = None
        self._protocol.reader.left = TURN
        self._room = _CONTENT
        self._connection.proceed()

    def _exchange(self, data: bytes) -> list[Any]:
        """Parse bytes, and answer the messages in them; return the frames."""
        if self._is_over:
            return []
        protocol, extensions = self._protocol, self._protocol.extensions
        protocol.receive_data(data)
        frames: list[Any] = protocol.events_received()
        said = protocol.data_to_send()
        out: list[bytes] = []
        answers = self._is_echo and not self._has_parted
        for frame in frames:
            if frame.fin and frame.opcode is BINARY:  # the most common case, which needs no assembly
                message = frame
            elif frame.opcode is PING:
                out.append(said.pop(0))
                continue
            else:
                message = self._assembly.take(frame)
                if message is None:
                    continue
            self._taken += 1
            if answers:
                self.exchanges += 1
                # Not by the library: it may have answered a Close frame that came later, and would refuse.
                out.append(message.serialize(mask=False, extensions=extensions))
                if self._spoil is not None:
                    self._write(out)
                    out = []
            elif self._answer is not None and not self._has_parted:
                self._answer(message)
        if protocol.state is not OPEN:
            self._say_what_is_kept()
        out += said
        if out:
            self._write(out)
        return frames

    def _inform(self, _: Frame) -> None:
        """Answer a message with what the server knows of its connection."""
        if not self._info:
            self._info = json.dumps({**self._connection.seen(), **self._asked}).encode()
        self._say(Frame(TEXT, self._info))

    def _broadcast(self, message: Frame) -> None:
        """Send a message to every peer of the listener."""
        for connection in list(self._connection.factory.connections):
            connection.wire.hear(message)

    def hear(self, message: Frame) -> None:
        """Send the peer a message that came from one of the peers; keep it if the peer is slow."""
        # Even if the library has seen a Close frame: messages that came before it are sent before it.
        if not self._is_asked or self._has_parted or self._is_over:
            return
        if not self._connection.is_paused:
            self._say(message)
        elif not self._backlog.add(message, len(message.data)):
            self._is_over = True
            cut_off(self._connection)

    def _say(self, message: Frame) -> None:
        connection = self._connection
        if self._spoil is not None:
            message = Frame(message.opcode, self._spoil(bytes(message.data)))
        self.exchanges += 1
        connection.write(message.serialize(mask=False, extensions=self._protocol.extensions))
        if connection.timeOut is not None:
            connection.progressed()

    def _say_what_is_kept(self) -> None:
        for message in self._backlog.take():
            self._say(message)

    def _write(self, out: list[bytes]) -> None:
        """Send what the library has to send; an empty last piece means the end of the connection."""
        data = out[0] if len(out) == 1 else b"".join(out)
        if data:
            self._connection.write(data)
        if not out[-1]:
            self._is_over = True
            self._rest = b""
            self._connection.finish()

    # The end.

    def part(self) -> bool:
        """Send a Close frame (1001); return whether the peer gets time to answer it."""
        if self._has_parted or self._protocol.state is not OPEN or self._is_over:
            return False
        self._has_parted = True
        self._say_what_is_kept()
        self._protocol.send_close(CloseCode.GOING_AWAY)
        self._write(self._protocol.data_to_send())
        self._connection.setTimeout(LINGER)
        return True

    def drain(self) -> None:
        """Do nothing: all that has come is answered anyhow."""

    def look(self, now: float, waiting: int, patience: Patience) -> None:
        """End the connection if the peer takes too long; see `HTTPConnection.look`.

        There is no limit between messages, nor while the peer does not take what it is sent: `--idle-timeout`
        limits those.
        """
        connection = self._connection
        is_partial = self._assembly.is_partial or bool(self._protocol.reader.buffer)
        is_waiting = self._is_asked and not self._has_parted and (connection.is_paused or not is_partial)
        moved = connection.received if is_partial and not self._has_parted else 0
        stage = (self._is_asked, self._taken, is_waiting, self._has_parted)
        is_overdue = self._progress.is_overdue(now, stage, moved, patience, idle=False)
        if not is_overdue or is_waiting:
            return
        if not self._is_asked:
            self._refuse(408, "The request took too long.")
        elif self._has_parted:
            connection.cut()
        else:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, "the message took too long")
            self._write(self._protocol.data_to_send())

    def close(self) -> None:
        """Forget everything: the connection has ended."""
        self._is_over = True
        self._rest = b""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._protocol.forget()
        del self._connection, self._answer  # and so itself, without the garbage collector
