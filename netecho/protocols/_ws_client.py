"""The client side of WebSocket (RFC 6455): messages out and their echoes back, on one connection."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, Final

from OpenSSL.SSL import Error
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.extensions.base import ClientExtensionFactory
from websockets.frames import BINARY, OK_CLOSE_CODES, TEXT, CloseCode, Frame
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from netecho.errors import ConnectError
from netecho.plans import Target
from netecho.protocols._contract import OnLost, OnReply
from netecho.protocols._message_conversation import MessageConversation
from netecho.protocols._sockets import unsent
from netecho.protocols._ws_answer import Answer, NoAnswerError, refusal
from netecho.protocols._ws_messages import BUFFER, LOG, MOST_MESSAGE, TURN, Assembly, ClientWire

LINGER: Final = 1.0
"""Seconds that the other end has to close the connection after a Close frame."""
MOST_PONGS: Final = 64 << 10
"""Bytes of pongs that are written before it is checked whether the other end takes them."""

_SUBPROTOCOL: Final = "sec-websocket-protocol"


class ClosedError(ConnectionLost):
    """The other end closed the WebSocket"""  # noqa: D400, D415 - Twisted shows this as the error's message


class NotWebSocketError(ConnectionLost):
    """What the other end says is not WebSocket"""  # noqa: D400, D415 - as above


class WebSocketExchanger(Protocol):
    """Exchanges in messages; provides `netecho.protocols._contract.Exchanger`.

    Echoes come in the order of the messages. Each frame is masked with a fresh, unpredictable key (RFC 6455
    section 5.3).

    Args:
        reactor: provides `IReactorTime`.
        target: the server and the resource on it.
        on_reply: called with each message that comes.
        on_lost: called when the connection is lost.
        extensions: the extensions to offer.
        fields: the names and values of more fields of the request.
        host: what the request says it is for, if not the target's host and port.
    """

    transport: Any

    def __init__(
        self,
        reactor: Any,
        target: Target,
        on_reply: OnReply,
        on_lost: OnLost,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        host: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._on_reply: OnReply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._awaited: collections.deque[int] = collections.deque()
        """The sequence number of each message whose echo has not come."""
        self._fields = [(name, value) for name, value in fields if name.lower() != _SUBPROTOCOL]
        self._host = host
        self._protocol = ClientWire(
            parse_uri(target.remote_url),
            extensions=extensions,
            subprotocols=[
                Subprotocol(word.strip())
                for name, value in fields
                if name.lower() == _SUBPROTOCOL
                for word in value.split(",")
            ]
            or None,
            max_size=MOST_MESSAGE,
            logger=LOG,
        )
        self._assembly = Assembly()
        self._rest = b""
        """Bytes that wait for the next turn of the reactor."""
        self._turn: Any = None
        """The delayed call for it."""
        self._is_paused = False
        """Whoever takes the messages wants none for now."""
        self._is_asking = True
        """Our request has not been answered yet."""
        self._answer = Answer()
        self._ponged = 0
        """Bytes of pongs written since the other end was last seen to take what it is sent."""
        self._last_call: Any = None
        self._parted: Deferred[None] = Deferred()
        """Fires when the connection is closed."""
        self.opened: Deferred[WebSocketExchanger] = Deferred(lambda _: self.transport.abortConnection())
        """Fires when messages can be sent; fails with `ConnectError`."""

    def connectionMade(self) -> None:
        """Send the request to upgrade."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.bufferSize = BUFFER
        request = self._protocol.connect()
        if self._host is not None:
            del request.headers["Host"]
            request.headers["Host"] = self._host
        for name, value in self._fields:
            request.headers[name] = value.encode().decode("latin-1")  # the library encodes it back
        self._protocol.send_request(request)
        self._flush()

    def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self.transport.write(data)

    # Messages out.

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        self._send(sequence, Frame(BINARY, payload))

    def say(self, sequence: int, words: bytes) -> None:
        """Send a message as text, if it is in UTF-8."""
        try:
            words.decode()
        except UnicodeDecodeError:
            self.send(sequence, words)
        else:
            self._send(sequence, Frame(TEXT, words))

    def _send(self, sequence: int, frame: Frame) -> None:
        self._awaited.append(sequence)
        protocol = self._protocol
        if protocol.state is OPEN:  # else a Close frame has just come
            self.transport.write(frame.serialize(mask=True, extensions=protocol.extensions))

    # Messages in.

    def dataReceived(self, data: bytes) -> None:
        """Parse as many frames as a turn has time for; before the upgrade, the answer to our request."""
        if self._rest:
            self._rest += data
            return
        self._protocol.reader.left = TURN
        self._take(data)
        if self._rest:
            self._wait_for_turn()

    def _take(self, data: bytes) -> None:
        protocol = self._protocol
        if not self._is_asking:
            protocol.receive_data(data)
        elif not self._is_let_in(data):
            return
        reader = protocol.reader
        self._rest, reader.rest = reader.rest, b""
        frames: list[Any] = protocol.events_received()
        if protocol.writes:
            self._answer_pings()
        for frame in frames:
            whole = frame.fin and frame.opcode is BINARY  # the commonest needs no look
            message = frame if whole else self._assembly.take(frame)
            if message is not None:
                self.message_came(message)
        if protocol.state is not OPEN and self._last_call is None:
            self._part()
            self._lose(connectionDone)  # no message comes after a Close frame, whenever TCP is closed

    def _wait_for_turn(self) -> None:
        self.transport.pauseProducing()
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        if self._is_paused:
            return
        rest, self._rest = self._rest, b""
        self.dataReceived(rest)
        if not (self._rest or self._is_paused):
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Pass on no messages for now."""
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Pass on messages again."""
        self._is_paused = False
        if self._rest:
            self._wait_for_turn()
        else:
            self.transport.resumeProducing()

    def message_came(self, message: Frame) -> None:
        """Pass on a message."""
        sequence = self._awaited.popleft() if self._awaited else None
        self._on_reply(sequence, bytes(message.data))

    def _answer_pings(self) -> None:
        """Send pongs; to a peer that does not read them, only the last (RFC 6455 section 5.5.3)."""
        protocol = self._protocol
        self._ponged += sum(map(len, protocol.writes))
        if protocol.state is OPEN and self._ponged > MOST_PONGS:
            if unsent(self.transport.fileno()) > MOST_PONGS // 4:
                del protocol.writes[:-1]
                return
            self._ponged = 0
        self._flush()

    # The answer to our request.

    def _is_let_in(self, data: bytes) -> bool:
        """Parse the answer to our request; return whether the connection has been upgraded."""
        protocol = self._protocol
        try:
            answered = self._answer.take(data)
        except NoAnswerError as error:
            self._is_refused(str(error))
            return False
        if answered is None:
            return False
        response, came = answered
        if (why := refusal(response)) is not None:
            self._is_refused(why)
            return False
        protocol.receive_data(came)
        if (wrong := protocol.handshake_exc) is not None:
            self._is_refused(f"the server speaks no WebSocket: {wrong.__cause__ or wrong}")
            return False
        del protocol.events[0]  # the answer itself
        self._is_asking = False  # a Close frame may have come with the answer all the same
        self.opened.callback(self)
        return True

    def _is_refused(self, words: str) -> None:
        self._on_lost = None
        self.transport.abortConnection()
        self._fail_to_open(words)

    def _fail_to_open(self, words: str) -> None:
        if not self.opened.called:
            words = f"connection to {self._target} failed: {words}"
            self.opened.errback(ConnectError(words.replace("\n", " ")))

    # The end.

    def _part(self) -> None:
        """Wait `LINGER` seconds for the other end to close, now that a Close frame was sent or received."""
        if self._protocol.parser_exc is not None:
            self.transport.loseConnection()  # nothing more that comes counts
        self._last_call = self._reactor.callLater(LINGER, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell `opened` or `on_lost`, unless that was done, and whoever waits for the end."""
        if self._turn is not None:
            self._turn.cancel()
        if self._rest:  # it came before the end
            self._protocol.reader.left = -1
            self._take(self._rest)
        if self._last_call is not None and self._last_call.active():
            self._last_call.cancel()
        if self._is_asking:
            self._on_lost = None
            if reason.check(Error) and not self.opened.called:  # it is the TLS failure
                self.opened.errback(reason)
            self._fail_to_open("the server closed the connection in place of an answer")
        self._lose(reason)
        self._parted.callback(None)

    def _lose(self, reason: Failure) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(self._why(reason))

    def _why(self, reason: Failure) -> Failure:
        protocol = self._protocol
        if (wrong := protocol.parser_exc) is not None:
            words = "its text is not in UTF-8" if isinstance(wrong, UnicodeDecodeError) else wrong
            return Failure(NotWebSocketError(f"{NotWebSocketError.__doc__}: {words}"))
        if protocol.close_rcvd is None:
            return reason
        if protocol.close_rcvd.code in OK_CLOSE_CODES:
            return Failure(ConnectionDone())
        return Failure(ClosedError(f"{ClosedError.__doc__}: {protocol.close_rcvd}"))

    def close(self) -> Deferred[None] | None:
        """See `Exchanger.close`: the server should be the one that closes TCP (RFC 6455 section 7.1.1)."""
        self._on_lost = None
        self._on_reply = _ignore
        if self._is_paused:
            self.resumeProducing()  # or the end would not be seen
        if self._awaited or self._protocol.state is not OPEN:
            self.transport.abortConnection()
            return None
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._flush()
        self._part()
        return self._parted


class WebSocketConversation(MessageConversation):
    """The transport of a protocol each of whose writes is a message: text, if it is in UTF-8."""

    def send(self, sequence: int, data: bytes) -> None:
        """Send a message."""
        self._exchanger.say(sequence, data)


def _ignore(*_: object) -> None:
    """Drop a message: nobody waits for it any more."""
