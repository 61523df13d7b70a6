"""The client side of SMTP (RFC 5321): each message is in a mail, and its receipt in the reply to it."""

from __future__ import annotations

import collections
import functools
import secrets
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho.errors import ConnectError, LostError, TLSError
from netecho.protocols._addresses import address_literal
from netecho.protocols._contract import Answer, OnLost, OnReply, Receipt, Route
from netecho.protocols._pausable import PausableProtocol
from netecho.protocols._smtp_mail import Mail, mail_of
from netecho.protocols._smtp_replies import Replies, ReplyError
from netecho.protocols._starttls import begin_tls

LINGER: Final = 1.0
"""Seconds that a server has to answer QUIT."""
_ACCEPTED: Final = range(200, 300)
_INTERMEDIATE: Final = range(300, 400)
"""Codes of replies. One that RFC 5321 does not name is taken by its first digit (section 4.2)."""


class NotSMTPError(ConnectionLost):
    """What the other end says is not SMTP"""  # noqa: D400, D415 - Twisted shows this as the error's message


class SessionEndedError(LostError):
    """The server has said that it ends the session, whatever it was asked (RFC 5321 section 3.8)."""

    kind = "status 421"


class _Sending:
    """A mail that is being sent."""

    __slots__ = ("is_accepted", "mail", "refusal", "sequence")

    def __init__(self, sequence: int, mail: Mail) -> None:
        self.sequence = sequence
        self.mail = mail
        self.is_accepted = False
        """The server has accepted its sender, and so has begun a mail."""
        self.refusal: tuple[int, bytes] | None = None
        """The first reply that refuses it: its code and text."""


Expect = Callable[[int, bytes], None]


@implementer(IHandshakeListener)
class SMTPExchanger(PausableProtocol):
    """Exchanges in mails; provides `netecho.protocols._contract.Exchanger`.

    If the server offers PIPELINING (RFC 2920), the commands of a mail are sent together; with several mails
    in flight, those of the next mail follow the content of the last.

    Args:
        reactor: the clock for TLS and for the farewell.
        route: the way to the server.
        on_reply: called with the reply to each mail.
        on_lost: called when the connection is lost.
        on_secured: called when TLS begins in mid-connection, and when it is established.
    """

    transport: Any

    def __init__(
        self,
        reactor: Any,
        route: Route,
        on_reply: OnReply,
        on_lost: OnLost,
        on_secured: Callable[[], object] | None = None,
    ) -> None:
        self._reactor = reactor
        self._route = route
        self._on_reply: OnReply = on_reply
        self._on_lost: OnLost | None = on_lost
        self._on_secured = on_secured
        self.ready: Deferred[SMTPExchanger] = Deferred(self._give_up)
        """Fires when mails can be sent."""
        self._replies = Replies()
        self._are_more = False
        """Several replies have come together."""
        self._expected: collections.deque[Expect] = collections.deque([self._greeted])
        self._waiting: collections.deque[_Sending] = collections.deque()
        self._offers: dict[str, str] = {}
        self._key = secrets.token_hex(4)
        self._addresses = route.mail.sender, route.mail.recipient
        self._is_international = not "".join(self._addresses).isascii()
        self._has_begun = False
        """The server has begun a mail that was refused at a later step: RSET has to come before the next."""
        self._is_starting_tls = False
        self._parted: Deferred[None] | None = None
        """Fires when the server has answered QUIT, or will not."""
        self._last_call: Any = None

    def connectionMade(self) -> None:
        """Turn Nagle's algorithm off: messages may be small."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    # The beginning.

    def _give_up(self, _: object) -> None:
        self._on_lost = None  # the failure of `ready` says it
        self.transport.abortConnection()

    def _greeted(self, code: int, text: bytes) -> None:
        if code not in _ACCEPTED:
            self._refuse(f"it greets with {_words(code, text)}")
            return
        self._say(f"EHLO {self._name()}", self._extended)

    def _name(self) -> str:
        if self._route.mail.ehlo is not None:
            return self._route.mail.ehlo
        return address_literal(self.transport.getHost())

    def _extended(self, code: int, text: bytes) -> None:
        if code in _ACCEPTED:
            lines = [line.decode("ascii", "replace").upper().partition(" ") for line in text.split(b"\n")[1:]]
            self._offers = {word: value for word, _, value in lines}
            self._secure_or_begin()
        elif code >= 500 and not self._route.starttls:
            self._say(f"HELO {self._name()}", self._known)
        else:
            self._refuse(f"it answers EHLO with {_words(code, text)}")

    def _known(self, code: int, text: bytes) -> None:
        if code in _ACCEPTED:
            self._begin_mails()
        else:
            self._refuse(f"it answers HELO with {_words(code, text)}")

    def _secure_or_begin(self) -> None:
        if not self._route.starttls or self._is_starting_tls:
            self._begin_mails()
        elif "STARTTLS" in self._offers:
            self._say("STARTTLS", self._begin_tls)
        else:
            self._refuse("it offers no STARTTLS", TLSError)

    def _begin_mails(self) -> None:
        if self._is_international and "SMTPUTF8" not in self._offers:  # RFC 6531 section 3.1
            self._refuse("it offers no SMTPUTF8, which an address beyond ASCII needs")
        else:
            self.ready.callback(self)

    def _begin_tls(self, code: int, text: bytes) -> None:
        if code not in _ACCEPTED:
            self._refuse(f"it answers STARTTLS with {_words(code, text)}", TLSError)
            return
        if self._are_more or self._replies.has_rest:  # it may have been injected (CVE-2011-0411)
            self._refuse("it goes on in clear behind STARTTLS", TLSError)
            return
        self._is_starting_tls = True
        self._secured()
        begin_tls(self.transport, self, self._route.tls, self._reactor, is_client=True)

    def handshakeCompleted(self) -> None:
        """Ask again what the server offers, if its first answer came in clear (RFC 3207 section 4.2)."""
        if self._is_starting_tls:
            self._secured()
            self._say(f"EHLO {self._name()}", self._extended)

    def _secured(self) -> None:
        """Tell `on_secured` of a step of TLS."""
        if self._on_secured is not None:
            self._on_secured()

    def _refuse(self, words: str, kind: type[ConnectError] = ConnectError) -> None:
        self._fail(Failure(kind(f"{self._route.target} takes no mail: {words}")))

    def _say(self, line: str, expect: Expect) -> None:
        self._expected.append(expect)
        self.transport.write(line.encode("ascii") + b"\r\n")

    # The mails.

    def send(self, sequence: int, payload: bytes) -> None:
        """See `Exchanger.send`."""
        mail = mail_of(
            sequence,
            self._key,
            payload,
            takes_8bit="8BITMIME" in self._offers,
            addresses=self._addresses,
        )
        self._waiting.append(_Sending(sequence, mail))
        if not self._expected:
            self.transport.write(self._envelope())

    def _envelope(self) -> bytes:
        """Begin the next mail; return its commands, or only the first; empty if no mail waits."""
        if not self._waiting:
            return b""
        sending = self._waiting.popleft()
        expected, offers = self._expected, self._offers
        words = b""
        if self._has_begun:
            self._has_begun = False
            words = b"RSET\r\n"
            expected.append(self._forgotten)
        sender, recipient = self._addresses
        words += b"MAIL FROM:<%s>" % sender.encode()
        if "SIZE" in offers:
            words += b" SIZE=%d" % sending.mail.size
        if sending.mail.is_8bit:
            words += b" BODY=8BITMIME"
        if self._is_international:
            words += b" SMTPUTF8"
        words += b"\r\n"
        expected.append(lambda code, text: self._sender_answered(sending, code, text))
        if "PIPELINING" in offers:
            words += b"RCPT TO:<%s>\r\nDATA\r\n" % recipient.encode()
            expected.append(lambda code, text: self._recipient_answered(sending, code, text))
            expected.append(lambda code, text: self._data_answered(sending, code, text))
        return words

    @property
    def _is_stepwise(self) -> bool:
        return "PIPELINING" not in self._offers

    def _forgotten(self, code: int, text: bytes) -> None:
        """Ignore the reply to RSET, which is always 250 (RFC 5321 section 4.1.1.5)."""

    def _sender_answered(self, sending: _Sending, code: int, text: bytes) -> None:
        if code in _ACCEPTED:
            sending.is_accepted = True
        else:
            sending.refusal = code, text
        if self._is_stepwise:
            if sending.refusal is None:
                recipient = self._addresses[1]
                self._expected.append(lambda code, text: self._recipient_answered(sending, code, text))
                self.transport.write(b"RCPT TO:<%s>\r\n" % recipient.encode())
            else:
                self._ended(sending, *sending.refusal)

    def _recipient_answered(self, sending: _Sending, code: int, text: bytes) -> None:
        if code not in _ACCEPTED and sending.refusal is None:
            sending.refusal = code, text
        if self._is_stepwise:
            if sending.refusal is None:
                self._expected.append(lambda code, text: self._data_answered(sending, code, text))
                self.transport.write(b"DATA\r\n")
            else:
                self._ended(sending, *sending.refusal)

    def _data_answered(self, sending: _Sending, code: int, text: bytes) -> None:
        if code in _ACCEPTED:  # no content has been sent that could have been accepted
            self._is_no_server(f"it answers DATA with {_words(code, text)}")
            return
        if code not in _INTERMEDIATE:
            self._ended(sending, *(sending.refusal or (code, text)))
            return
        # A server may accept DATA though it refused the envelope (RFC 2920 section 3.1): send nothing then.
        self._expected.append(lambda code, text: self._content_answered(sending, code, text))
        wire = sending.mail.wire if sending.refusal is None else b".\r\n"
        self.transport.write(wire + (b"" if self._is_stepwise else self._envelope()))

    def _content_answered(self, sending: _Sending, code: int, text: bytes) -> None:
        sending.is_accepted = False
        self._ended(sending, *(sending.refusal or (code, text)))

    def _ended(self, sending: _Sending, code: int, text: bytes) -> None:
        """Pass on the outcome of a mail, and begin the next."""
        self._has_begun = sending.is_accepted
        payload = b"%d %s" % (code, text)
        receipt = None
        if code in _ACCEPTED and sending.refusal is None:
            if sending.mail.receipt in text:
                receipt = Receipt.MATCHES
            else:
                receipt = Receipt.DIFFERS if b" sha256=" in text else Receipt.UNTOLD
        self._on_reply(sending.sequence, payload, None, _answer(code, receipt))
        if not self._expected:
            self.transport.write(self._envelope())

    # What comes.

    def dataReceived(self, data: bytes) -> None:
        """Parse replies, and give each to what waits for it."""
        try:
            replies = self._replies.received(data)
        except ReplyError as error:
            self._is_no_server(str(error))
            return
        expected = self._expected
        self._are_more = len(replies) > 1
        for code, text in replies:
            if code == 421 and self._is_in_session:
                self._fail(Failure(SessionEndedError(f"the server ended the session: {_words(code, text)}")))
                return
            if not expected:
                self._is_no_server(f"nothing asked for {_words(code, text)}")
                return
            expected.popleft()(code, text)

    @property
    def _is_in_session(self) -> bool:
        """Whether mails can be sent: the connection has begun, and neither end has ended it."""
        return self.ready.called and self._on_lost is not None

    def _is_no_server(self, words: str) -> None:
        """End the connection: the other end does not follow SMTP."""
        if self.ready.called:
            self._fail(Failure(NotSMTPError(words)))
        else:
            self._refuse(words)

    def _fail(self, reason: Failure) -> None:
        on_lost, self._on_lost = self._on_lost, None
        self._on_reply = _ignore
        self._expected.clear()
        self.transport.abortConnection()
        if not self.ready.called:
            self.ready.errback(reason)
        elif on_lost is not None:
            on_lost(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell `ready` or `on_lost`, unless we closed the connection."""
        if self._last_call is not None and self._last_call.active():
            self._last_call.cancel()
        self._part()
        on_lost, self._on_lost = self._on_lost, None
        if not self.ready.called:
            self.ready.errback(self._unready(reason))
        elif on_lost is not None:
            on_lost(reason)

    def _unready(self, reason: Failure) -> Failure:
        """Return why there is no taking mails, the connection having ended for a reason."""
        if not reason.check(ConnectionDone, ConnectionLost):  # it is the TLS failure
            return reason
        if self._is_starting_tls and not self._expected:
            words = "it accepted STARTTLS, and closed the connection in the TLS handshake"
            return Failure(TLSError(f"{self._route.target} takes no mail: {words}"))
        words = "it closed the connection in place of an answer"
        return Failure(ConnectError(f"{self._route.target} takes no mail: {words}"))

    def close(self) -> Deferred[None] | None:
        """See `Exchanger.close`: a client should wait for the reply to QUIT (RFC 5321 section 4.1.1.10)."""
        self._on_lost = None
        self._on_reply = _ignore
        if self._expected:
            self.transport.abortConnection()
            return None
        self._parted = Deferred()
        self._last_call = self._reactor.callLater(LINGER, self.transport.abortConnection)
        self._say("QUIT", self._quit_answered)
        return self._parted

    def _quit_answered(self, code: int, text: bytes) -> None:
        """Close, whatever the reply to QUIT is."""
        self.transport.loseConnection()
        self._part()

    def _part(self) -> None:
        parted, self._parted = self._parted, None
        if parted is not None:
            parted.callback(None)


@functools.lru_cache
def _answer(code: int, receipt: Receipt | None) -> Answer:
    return Answer(str(code), refused=receipt is None, receipt=receipt)


def _words(code: int, text: bytes) -> str:
    line = text.partition(b"\n")[0].decode("utf-8", "backslashreplace")
    return f"{code} {line}".strip()


def _ignore(*_: object) -> None:
    """Drop a reply: nobody waits for it any more."""
