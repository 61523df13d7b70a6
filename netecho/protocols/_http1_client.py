"""HTTP/1.1 as a client speaks it: each message in a request, and its echo in the answer's body."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from typing import Any, Final

import httptools
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from netecho.protocols._contract import Answer, OnLost, OnReply, Route
from netecho.protocols._pausable import PausableProtocol

MOST_ANSWER: Final = 64 << 20
"""Bytes by which an answer may be longer than its request: a longer one ends the connection."""
MOST_HEAD: Final = 256 << 10
"""Bytes of an answer's head, or of its trailers."""
ANSWERS: Final = {
    status: Answer(f"{status:03}", not 100 <= status < 400, redirects=300 <= status < 400)
    for status in range(1000)
}
"""The `Answer` of each status code: errors, which carry no echo, are those from 400 on, and those that there
are none of (RFC 9110 section 15)."""
INTERIM: Final = range(100, 200)
"""The status codes of what precedes an answer (RFC 9110 section 15.2)."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n|\Z)", re.IGNORECASE)


class NotHTTPError(ConnectionLost):
    """What the other end says is not HTTP"""  # noqa: D400, D415 - Twisted shows this as the error's message


def request_head(route: Route, size: int) -> bytes:
    """Return the head of a request that carries a message of `size` bytes."""
    request, target = route.request, route.target
    fields = request.fields
    lines = [
        f"{request.method} {target.resource or '/'} HTTP/1.1",
        f"Host: {request.host or target.authority}",
        *(f"{name}: {value}" for name, value in fields),
    ]
    if size or request.has_content:
        if not any(name.lower() == "content-type" for name, _ in fields):
            lines.append("Content-Type: application/octet-stream")
        lines.append(f"Content-Length: {size}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class HTTP1Exchanger(PausableProtocol):
    """Exchanges in requests; provides `netecho.protocols._contract.Exchanger`.

    The heads of a server's answers are the same byte for byte, except that the date changes once a second. A
    head that has been parsed is therefore remembered, and not parsed again when it comes again.

    Answers come in the order of the requests. If the server closes the connection after it has answered all
    requests, or with an answer that says so, the connection is not lost: it is opened again for the next
    message, and the time of that message's exchange includes this. What was sent behind the request that was
    answered so, and not dealt with (RFC 9112 section 9.6), is sent again.

    Args:
        route: says what the requests are.
        on_reply: called with each answer.
        on_lost: called when the connection is lost.
        reopen: connects this protocol again.
    """

    def __init__(
        self,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        reopen: Callable[[HTTP1Exchanger], Deferred[Any]],
    ) -> None:
        # With what Twisted sets later: see `netecho.reactor.streams.BeingMade`.
        self.transport: Any = None
        self.connected = 0
        self._route = route
        self._on_reply: OnReply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._awaited: collections.deque[tuple[int, bytes]] = collections.deque()
        """The sequence number and content of each message whose answer has not come."""
        self._reopen = reopen
        self._is_closed = False
        """The server has closed the connection in order, or will: the next message needs a new one."""
        self._is_parting = False
        """We are closing the connection, and its end has not come yet."""
        self._kept_back: list[bytes] = []
        """Requests that wait until the connection is open again."""
        self._answered = 0
        self._is_last = False
        """The next answer is the connection's last, says an interim one before it."""
        self._is_amid = False
        """Some of an answer has come, and not all of it."""
        self._known = b""
        """The head of an answer that has been parsed, and that has a Content-Length."""
        self._known_size = -1
        """Bytes of an answer with that head, its body included; -1 if no head is known."""
        self._known_answer: Answer | None = None
        self._head_for = -1
        self._head = b""
        self._parser: Any = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._unparsed: int = 0
        """Bytes given to the parser since the last content of a body, or the end of the last answer."""
        self._in_body = False
        self._bodiless = route.request.method == "HEAD"
        self._kept = b""

    def connectionMade(self) -> None:
        """Reset the state of the last connection, and turn Nagle's algorithm off: messages may be small."""
        self._parser = httptools.HttpResponseParser(self)
        self._pieces.clear()
        self._size = self._unparsed = 0
        self._in_body = self._is_amid = self._is_last = False
        self._known_size = -1
        self._kept = b""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        size = len(payload)
        if size != self._head_for:
            self._head_for, self._head = size, request_head(self._route, size)
        self._awaited.append((sequence, payload))
        if self._is_closed:
            self._open_again(self._head + payload)
        else:
            self.transport.write(self._head + payload)

    def _open_again(self, data: bytes) -> None:
        self._kept_back.append(data)
        if len(self._kept_back) == 1 and not self._is_parting:
            self._reopen(self).addCallbacks(self._reopened, self._lost)

    def _reopened(self, _: object) -> None:
        self._is_closed = False
        kept_back, self._kept_back = self._kept_back, []
        self.transport.write(b"".join(kept_back))
        if self._on_lost is None:
            self.transport.abortConnection()

    def _lost(self, reason: Failure) -> None:
        if self._on_lost is not None:
            on_lost, self._on_lost = self._on_lost, None
            on_lost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Parse answers, or a part of one."""
        was_amid, answered = self._is_amid, self._answered
        if not was_amid and len(data) == self._known_size and data.startswith(self._known) and self._awaited:
            self._answered = answered + 1
            sequence, _ = self._awaited.popleft()
            on_reply = self._on_reply
            on_reply(sequence, data[len(self._known) :], None, self._known_answer)
            return
        before = self._size
        try:
            if self._bodiless:
                self._heads(data)
            else:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(f"{NotHTTPError.__doc__} any more: it switches protocols (101) without being asked to")
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(cause, NotHTTPError):
                raise (cause or error) from None
            if self._is_parting:
                return  # what follows the last answer is none
            self._fail(f"{NotHTTPError.__doc__}: {cause or error}")
            return
        if not (was_amid or self._is_amid) and self._answered == answered + 1:
            self._learn(data)
        elif self._answered == answered:
            self._count(len(data), self._size - before)

    def _count(self, size: int, content: int) -> None:
        """Bound what comes without content, which the parser keeps until a head or trailer is complete."""
        self._unparsed = 0 if content else self._unparsed + size
        if self._unparsed > MOST_HEAD:
            self._fail(
                "the trailers of an answer have no end"
                if self._in_body
                else "the head of an answer has no end"
            )

    def _learn(self, data: bytes) -> None:
        """Remember the head of an answer that came whole and by itself, if it has a Content-Length."""
        head, end, body = data.partition(b"\r\n\r\n")
        if not self._is_closed and _LENGTH.findall(head) == [b"%d" % len(body)]:
            self._known, self._known_size = head + end, len(data)
            self._known_answer = ANSWERS[self._parser.get_status_code()]

    def _heads(self, data: bytes) -> None:
        """Take the answers to HEAD, which have no body whatever their heads say (RFC 9110 section 9.3.2).

        Each is given to a parser of its own, which would otherwise wait for the body.
        """
        self._kept += data
        while not self._is_parting and (end := self._kept.find(b"\r\n\r\n")) >= 0:
            head, self._kept = self._kept[: end + 4], self._kept[end + 4 :]
            options = _ConnectionOptions()
            self._parser = parser = httptools.HttpResponseParser(options)
            parser.feed_data(head)
            self._end(options.keep(parser.get_http_version()))

    def on_headers_complete(self) -> None:
        """Note that the body begins.

        After an interim answer there is another one (RFC 9110 section 15.2), whatever it says of the
        connection: but the parser would take nothing more then.
        """
        self._in_body = True
        is_interim = self._parser.get_status_code() in INTERIM
        self._parser.set_dangerous_leniencies(lenient_keep_alive=is_interim)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body.

        Raises:
            NotHTTPError: the body is too large.
        """
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MOST_ANSWER + (len(self._awaited[0][1]) if self._awaited else 0):
            raise NotHTTPError(f"an answer has more than {MOST_ANSWER} bytes")

    def on_message_complete(self) -> None:
        """Take the end of an answer."""
        self._in_body = self._is_amid = False
        self._end(self._parser.should_keep_alive())

    def _end(self, keep: bool) -> None:
        """Pass an answer on, unless it is an interim one.

        Args:
            keep: it does not say that the connection ends; an interim one says it of the answer that follows.
        """
        if self._is_parting:
            return  # what follows the last answer is none
        if self._parser.get_status_code() not in INTERIM:
            self._complete(keep and not self._is_last)
        elif not keep:
            self._is_last = True
            self._known_size = -1

    def _complete(self, keep: bool) -> None:
        pieces = self._pieces
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = self._unparsed = 0
        self._answered += 1
        sequence = self._awaited.popleft()[0] if self._awaited else None
        if not keep:
            self._part()
        self._on_reply(sequence, payload, None, ANSWERS[self._parser.get_status_code()])

    def _part(self) -> None:
        """Close the connection, on which nothing more is answered, and keep what was asked for the next."""
        self._is_closed = self._is_parting = True
        self._known_size = -1
        for _, payload in self._awaited:
            self._kept_back.append(request_head(self._route, len(payload)) + payload)
        if self._awaited:  # what has not gone out yet is for the next connection, and this one may take none
            self.transport.abortConnection()
        else:
            self.transport.unregisterProducer()  # whom TLS would wait for
            self.transport.loseConnection()

    def _fail(self, words: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        self._on_reply = _ignore
        self.transport.abortConnection()
        if on_lost is not None:
            on_lost(Failure(NotHTTPError(words)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell `on_lost`, unless we closed the connection.

        The end of the connection is the end of an answer without a length (RFC 9112 section 6.3).
        """
        in_order = reason.check(ConnectionDone) is not None
        if self._in_body and in_order and not self._bodiless and self._ends_so():
            self._in_body = False
            self._complete(False)
        if self._is_parting:
            self._is_parting = False
            if self._kept_back:
                self._reopen(self).addCallbacks(self._reopened, self._lost)
        elif self._answered and not self._awaited and in_order:
            self._is_closed = True
        else:
            self._lost(reason)

    def _ends_so(self) -> bool:
        return bool(self._awaited) and self._on_lost is not None and self._unbounded

    @property
    def _unbounded(self) -> bool:
        return not self._parser.should_keep_alive() and not self._bounded

    _bounded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether the head of the answer says where its body ends."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._bounded = True

    def on_message_begin(self) -> None:
        """Note that an answer has begun, of which nothing is known yet."""
        self._is_amid = True
        self._bounded = False

    def close(self) -> None:
        """See `Exchanger.close`."""
        self._on_lost = None
        self._on_reply = _ignore
        if self._is_closed:
            self._kept_back.clear()
            if self._is_parting:
                self.transport.abortConnection()
            return
        if self._awaited:
            self.transport.abortConnection()
        else:  # nothing is under way, and a server has no cause to log a reset
            self.transport.loseConnection()


class _ConnectionOptions:
    """The connection options in the head of an answer to HEAD (RFC 9110 section 7.6.1).

    The parser's own judgement also takes the body into account that the head announces, and that never comes.
    """

    def __init__(self) -> None:
        self._options: set[bytes] = set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect the options of a Connection field."""
        if name.lower() == b"connection":
            self._options.update(option.strip().lower() for option in value.split(b","))

    def keep(self, version: str) -> bool:
        """Return whether the connection persists after the answer (RFC 9112 section 9.3)."""
        return b"close" not in self._options and (version >= "1.1" or b"keep-alive" in self._options)


def _ignore(*_: object) -> None:
    """Drop an answer: nobody waits for it any more."""
