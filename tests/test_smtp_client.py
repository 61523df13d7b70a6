"""SMTP's client against servers of every kind, played by the test."""

from __future__ import annotations

import base64
import email
import email.policy
import re
from typing import Any

import pytest
from OpenSSL.SSL import Error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from netecho.errors import ConnectError, TLSError
from netecho.plans import MailPlan, Target
from netecho.protocols import _smtp_client
from netecho.protocols._contract import Answer, Receipt, Route
from netecho.protocols._smtp_client import LINGER, NotSMTPError, SMTPExchanger
from netecho.protocols._smtp_content import Content
from netecho.protocols._smtp_mail import body_of, mail_of
from netecho.protocols._smtp_replies import MOST_LINE, MOST_LINES, Replies, ReplyError
from netecho.services.failures import explain_loss, loss_kind

GREETING = b"220 mx.example ESMTP\r\n"
OFFERS = b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n"


class Talk:
    """A client's exchanger, and what it has said and passed on."""

    def __init__(self, *, starttls: bool = False, mail: MailPlan | None = None) -> None:
        self.transport: Any = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 4321), peerAddress=IPv4Address("TCP", "127.0.0.1", 25)
        )
        target = Target("smtp", "smtp", False, port=25, upgrades=True)
        route = Route(target, starttls=starttls, mail=mail or MailPlan())
        self.replies: list[tuple[Any, bytes, Answer | None]] = []
        self.lost: list[Failure] = []
        self.clock = MemoryReactorClock()
        self.exchanger = SMTPExchanger(self.clock, route, self._reply, self.lost.append)
        self.failures: list[Failure] = []
        self.exchanger.ready.addErrback(self.failures.append)
        self.exchanger.makeConnection(self.transport)

    def _reply(
        self, sequence: int | None, payload: bytes, _: object = None, answer: Answer | None = None, /
    ) -> None:
        self.replies.append((sequence, payload, answer))

    def hear(self, *words: bytes) -> bytes:
        """Tell the client these, and return what it says then."""
        self.transport.clear()
        for word in words:
            self.exchanger.dataReceived(word)
        said: bytes = self.transport.value()
        return said

    @property
    def error(self) -> BaseException | None:
        """Return why it did not begin."""
        return self.failures[0].value if self.failures else None

    def send(self, *payloads: bytes) -> bytes:
        """Have it send messages, with the numbers 7, 8 and so on, and return what it says."""
        self.transport.clear()
        for number, payload in enumerate(payloads, 7):
            self.exchanger.send(number, payload)
        said: bytes = self.transport.value()
        return said


def begin(offers: bytes = OFFERS) -> Talk:
    """Return a talk that has come as far as mails."""
    talk = Talk()
    talk.hear(GREETING, offers)
    assert talk.exchanger.ready.called
    return talk


ENVELOPE = re.compile(
    rb"MAIL FROM:<netecho@netecho\.invalid> SIZE=[0-9]+\r\nRCPT TO:<echo@netecho\.invalid>\r\nDATA\r\n"
)


def test_begins() -> None:
    """It says who it is when it is greeted, and is ready when it knows what is offered."""
    talk = Talk()
    assert talk.transport.value() == b""
    assert talk.hear(b"220-mx.example\r\n220 ESMTP\r\n") == b"EHLO [127.0.0.1]\r\n"
    assert not talk.exchanger.ready.called
    assert talk.hear(*(OFFERS[at : at + 1] for at in range(len(OFFERS)))) == b""
    assert talk.exchanger.ready.called


def test_an_old_server() -> None:
    """One that knows no EHLO is asked in the old way, and told one thing at a time."""
    talk = Talk()
    talk.hear(GREETING)
    assert talk.hear(b"500 what?\r\n") == b"HELO [127.0.0.1]\r\n"
    talk.hear(b"250 hello\r\n")
    assert talk.send(b"one\r\n", b"two\r\n") == b"MAIL FROM:<netecho@netecho.invalid>\r\n"
    assert talk.hear(b"250 ok\r\n") == b"RCPT TO:<echo@netecho.invalid>\r\n"
    assert talk.hear(b"251 elsewhere\r\n") == b"DATA\r\n"
    assert talk.hear(b"354 go\r\n").endswith(b"\r\n\r\none\r\n.\r\n")
    assert talk.hear(b"250 done\r\n") == b"MAIL FROM:<netecho@netecho.invalid>\r\n"
    assert talk.replies == [(7, b"250 done", Answer("250", receipt=Receipt.UNTOLD))]
    assert talk.hear(b"451 later\r\n") == b""
    assert talk.replies[1] == (8, b"451 later", Answer("451", refused=True))


REFUSED = [
    ((b"554 no\r\n",), "greets with 554 no"),
    ((GREETING, b"421 busy\r\n"), "answers EHLO with 421 busy"),
    ((GREETING, b"502 no\r\n", b"502 no\r\n"), "answers HELO with 502 no"),
]


@pytest.mark.parametrize(("said", "why"), REFUSED)
def test_a_server_that_takes_no_mail(said: tuple[bytes, ...], why: str) -> None:
    """That is why it cannot be begun, in words."""
    talk = Talk()
    talk.hear(*said)
    assert isinstance(talk.error, ConnectError)
    assert str(talk.error) == f"smtp://127.0.0.1:25 takes no mail: it {why}"
    assert talk.transport.disconnecting
    assert not talk.lost


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"x" * (MOST_LINE + 1), b"100 no\r\n", b"250?\r\n"])
def test_no_smtp(said: bytes) -> None:
    """Who does not speak SMTP is left alone, with a word on what was said in place of it."""
    talk = Talk()
    talk.hear(said)
    assert isinstance(talk.error, ConnectError)
    assert re.fullmatch("smtp://127.0.0.1:25 takes no mail: .* (no reply of SMTP|no end)", str(talk.error))


def test_pipelining() -> None:
    """Commands go together, and those of the next mail with the content of the last."""
    talk = begin()
    first = talk.send(b"one\r\n", b"two\r\n", b"three\r\n")
    assert ENVELOPE.fullmatch(first)
    said = talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    content, _, following = said.partition(b"\r\n.\r\n")
    assert content.endswith(b"\r\n\r\none")
    assert ENVELOPE.fullmatch(following)
    said = talk.hear(b"250 done\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert b"\r\n\r\ntwo\r\n.\r\nMAIL" in said
    assert [sequence for sequence, _, _ in talk.replies] == [7]
    talk.hear(b"250 done\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n")
    assert [sequence for sequence, _, _ in talk.replies] == [7, 8, 9]
    assert ENVELOPE.fullmatch(talk.send(b"four\r\n"))


def test_receipts() -> None:
    """The size and digest of what was sent, and no others, are a receipt that matches."""
    payload = b".\r\n..\r\nx\r\n"
    talk = begin()
    for receipt in (Receipt.MATCHES, Receipt.DIFFERS, Receipt.UNTOLD):
        talk.send(payload)
        said = talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
        content = Content(10_000)
        assert content.take(said) == b""
        told = f"size={content.size} sha256={content.sha256}"
        if receipt is Receipt.DIFFERS:
            told = told[:-1] + ("0" if told[-1] != "0" else "1")
        elif receipt is Receipt.UNTOLD:
            told = "queued"
        talk.hear(f"250 2.0.0 Ok: {told}\r\n".encode())
        assert talk.replies[-1][2] == Answer("250", receipt=receipt)


REFUSALS = {
    "the sender": (b"550 no\r\n503 what?\r\n503 what?\r\n", False, 550),
    "the recipient": (b"250 ok\r\n450 later\r\n503 nobody\r\n", True, 450),
    "DATA": (b"250 ok\r\n250 ok\r\n451 full\r\n", True, 451),
}


@pytest.mark.parametrize(("said", "has_begun", "code"), REFUSALS.values(), ids=REFUSALS)
def test_refused(said: bytes, has_begun: bool, code: int) -> None:
    """A mail is refused by the first code that does so; what the server has begun of it is forgotten."""
    talk = begin()
    talk.send(b"one\r\n", b"two\r\n")
    following = talk.hear(said)
    assert talk.replies == [(7, talk.replies[0][1], Answer(str(code), refused=True))]
    assert talk.replies[0][1].startswith(b"%d " % code)
    assert following.startswith(b"RSET\r\nMAIL" if has_begun else b"MAIL")
    reset = b"250 forgotten\r\n" if has_begun else b""
    talk.hear(reset + b"250 ok\r\n250 ok\r\n354 go\r\n", b"552 too much\r\n")
    assert talk.replies[1] == (8, b"552 too much", Answer("552", refused=True))


def test_content_wanted_of_a_refused_mail() -> None:
    """A server that has refused all recipients and still wants the content gets none (RFC 2920 3.1)."""
    talk = begin()
    talk.send(b"one\r\n")
    assert talk.hear(b"250 ok\r\n550 no\r\n354 go\r\n") == b".\r\n"
    talk.hear(b"250 took nothing\r\n")
    assert talk.replies == [(7, b"550 no", Answer("550", refused=True))]


@pytest.mark.parametrize("offers", [OFFERS, b"255 mx.example\r\n"], ids=["together", "stepwise"])
def test_codes_that_no_standard_names(offers: bytes) -> None:
    """A reply whose code is not known is taken by its first digit (RFC 5321 section 4.2)."""
    talk = Talk()
    talk.hear(b"221 mx.example\r\n", offers)
    talk.send(b"one\r\n", b"two\r\n")
    assert b"\r\n\r\none\r\n.\r\n" in talk.hear(b"253 ok\r\n", b"252 may be\r\n", b"355 go\r\n")
    talk.hear(b"254 done\r\n")
    assert talk.replies == [(7, b"254 done", Answer("254", receipt=Receipt.UNTOLD))]
    talk.hear(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"599 no\r\n")
    assert talk.replies[1:] == [(8, b"599 no", Answer("599", refused=True))]


ADDRESSES = [MailPlan(sender="é@example.org"), MailPlan(recipient="é@example.org")]


@pytest.mark.parametrize("mail", ADDRESSES, ids=["sender", "recipient"])
@pytest.mark.parametrize("offers", [(OFFERS,), (b"500 what?\r\n", b"250 hello\r\n")], ids=["EHLO", "HELO"])
def test_addresses_beyond_ascii(mail: MailPlan, offers: tuple[bytes, ...]) -> None:
    """Only a server that offers SMTPUTF8 is told an address beyond ASCII (RFC 6531 section 3.1)."""
    talk = Talk(mail=mail)
    talk.hear(GREETING, *offers)
    assert isinstance(talk.error, ConnectError)
    assert str(talk.error).endswith("it offers no SMTPUTF8, which an address beyond ASCII needs")
    able = Talk(mail=mail)
    able.hear(GREETING, b"250-mx.example\r\n250 SMTPUTF8\r\n")
    assert able.send(b"one\r\n").endswith(b" SMTPUTF8\r\n")


def test_lost() -> None:
    """A connection that ends is lost once, unless we have closed it."""
    talk = begin()
    talk.send(b"one\r\n")
    talk.exchanger.connectionLost(Failure(ConnectionDone()))
    assert len(talk.lost) == 1
    closed = begin()
    closed.exchanger.close()
    closed.exchanger.connectionLost(Failure(ConnectionDone()))
    assert not closed.lost


def test_given_up() -> None:
    """A connection that is given up before it can be used, as after a timeout, is not lost too."""
    talk = Talk()
    talk.hear(GREETING)
    talk.exchanger.ready.cancel()
    assert talk.transport.disconnected
    talk.exchanger.connectionLost(Failure(ConnectionAborted()))
    assert isinstance(talk.error, CancelledError)
    assert not talk.lost


def leave(talk: Talk) -> list[None]:
    """Close a connection on which nothing is under way; return what is not empty once it has been left."""
    left: list[None] = []
    talk.transport.clear()
    parted = talk.exchanger.close()
    assert parted is not None
    parted.addCallback(left.append)
    assert talk.transport.value() == b"QUIT\r\n"
    assert not talk.transport.disconnecting
    assert not left
    return left


@pytest.mark.parametrize("reply", [b"221 bye\r\n", b"421 shutting down\r\n", b"500 what?\r\n"])
def test_leaves_in_order(reply: bytes) -> None:
    """The reply to QUIT is waited for, whatever it is, and then the connection is closed."""
    talk = begin()
    left = leave(talk)
    talk.hear(reply[:5])
    assert not talk.transport.disconnecting
    talk.hear(reply[5:])
    assert talk.transport.disconnecting
    assert left
    assert not talk.transport.disconnected
    talk.exchanger.connectionLost(Failure(ConnectionDone()))
    assert not talk.clock.getDelayedCalls()
    assert not talk.lost


def test_leaves_without_an_answer() -> None:
    """A server that does not answer QUIT, or closes in place of that, is not waited for for long."""
    silent, closing = begin(), begin()
    left = leave(silent)
    silent.clock.advance(LINGER)
    assert silent.transport.disconnected
    silent.exchanger.connectionLost(Failure(ConnectionAborted()))
    assert left
    left = leave(closing)
    closing.exchanger.connectionLost(Failure(ConnectionDone()))
    assert left
    assert not closing.clock.getDelayedCalls()


def test_leaves_at_once() -> None:
    """A connection on which a mail is under way is not left in order: there is no command for that."""
    talk = begin()
    talk.send(b"one\r\n")
    assert talk.exchanger.close() is None
    assert talk.transport.disconnected


def test_unasked() -> None:
    """A reply that nothing asked for is none."""
    talk = begin()
    talk.hear(b"250 ok\r\n")
    assert isinstance(talk.lost[0].value, NotSMTPError)
    assert not talk.replies


@pytest.mark.parametrize("offers", [OFFERS, b"250 mx.example\r\n"], ids=["together", "stepwise"])
def test_accepted_before_it_was_sent(offers: bytes) -> None:
    """A mail whose content was not asked for has not been accepted, though its DATA is answered with 250."""
    talk = begin(offers)
    talk.send(b"one\r\n", b"two\r\n")
    talk.hear(b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n")
    assert not talk.replies
    assert str(explain_loss(talk.lost[0])) == "the connection was lost: it answers DATA with 250 ok"


ENDINGS = [
    (b"", 0),
    (b"250 ok\r\n250 ok\r\n", 0),
    (b"250 ok\r\n250 ok\r\n354 go\r\n", 0),
    (b"250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n", 1),
    (b"250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n", 2),
]


@pytest.mark.parametrize(("said", "answered"), ENDINGS)
def test_the_server_ends_the_session(said: bytes, answered: int) -> None:
    """421 is no answer to one command, but the end of all: whatever was asked, and if nothing was.

    No more goes out to a server that has said so, and what it left is counted by what it said.
    """
    talk = begin()
    talk.send(b"one\r\n", b"two\r\n")
    talk.hear(said)
    assert talk.hear(b"421 4.3.2 shutting down\r\n250 ok\r\n") == b""
    assert len(talk.replies) == answered
    assert talk.transport.disconnected
    (lost,) = talk.lost
    assert loss_kind(lost) == "status 421"
    assert str(explain_loss(lost)) == "the server ended the session: 421 4.3.2 shutting down"
    talk.exchanger.connectionLost(Failure(ConnectionAborted()))
    assert len(talk.lost) == 1


STARTTLS = b"250-mx.example\r\n250 STARTTLS\r\n"
INSECURE = [
    ((GREETING, OFFERS), "it offers no STARTTLS"),
    ((GREETING, STARTTLS, b"454 not now\r\n"), "it answers STARTTLS with 454 not now"),
    ((GREETING, STARTTLS, b"220 go\r\n250"), "it goes on in clear behind STARTTLS"),
    ((GREETING, STARTTLS, b"220 go\r\n" + OFFERS), "it goes on in clear behind STARTTLS"),
]


@pytest.mark.parametrize(("said", "why"), INSECURE)
def test_no_tls(said: tuple[bytes, ...], why: str) -> None:
    """Without TLS where it is asked for nothing is sent, and nothing is believed that came behind it."""
    talk = Talk(starttls=True)
    talk.hear(*said)
    assert isinstance(talk.error, TLSError)
    assert why in str(talk.error)


CLOSED: list[tuple[tuple[bytes, ...], type[Exception], str]] = [
    ((), ConnectError, "closed the connection in place of an answer"),
    ((GREETING,), ConnectError, "closed the connection in place of an answer"),
    ((GREETING, STARTTLS, b"220 go\r\n"), TLSError, "accepted STARTTLS, and closed the connection"),
]


@pytest.mark.parametrize("reason", [ConnectionDone(), ConnectionLost()])
@pytest.mark.parametrize(("said", "kind", "why"), CLOSED)
def test_closed_before_mails(
    said: tuple[bytes, ...], kind: type[Exception], why: str, reason: Exception, monkeypatch: Any
) -> None:
    """A server that closes before it takes mails is said to have done so, and how far it had come."""
    monkeypatch.setattr(_smtp_client, "begin_tls", lambda *_, **__: None)
    talk = Talk(starttls=True)
    talk.hear(*said)
    talk.exchanger.connectionLost(Failure(reason))
    assert type(talk.error) is kind
    assert why in str(talk.error)


def test_tls_failure_before_mails() -> None:
    """What TLS says of its own failure is not covered up."""
    talk = Talk()
    talk.exchanger.connectionLost(Failure(Error([("", "", "bad certificate")])))
    assert isinstance(talk.error, Error)


def test_no_ehlo_no_tls() -> None:
    """A server that knows no EHLO is not asked in the old way where TLS is asked for."""
    talk = Talk(starttls=True)
    assert talk.hear(GREETING, b"500 what?\r\n") == b"EHLO [127.0.0.1]\r\n"
    assert "EHLO" in str(talk.error)


BODIES = [
    (b"", b""),
    (b"a", b"a\r\n"),
    (b"a\nb\n", b"a\r\nb\r\n"),
    (b"a\r\n", b"a\r\n"),
    (b"\r\n", b"\r\n"),
    ("grüße".encode(), "grüße\r\n".encode()),
    (b"a" * 998, b"a" * 998 + b"\r\n"),
    (b"a" * 999, None),
    (b"a\rb", None),
    (b"a\r\nb\n", None),
    (b"a\0b", None),
    (b"\xff\xfe", None),
]
"""Messages, and what they are as lines; `None`: they are no text, and go in base64."""


@pytest.mark.parametrize(("payload", "lines"), BODIES)
def test_bodies(payload: bytes, lines: bytes | None) -> None:
    """A message can be read in its mail by those who know mail, whatever it is."""
    mail = mail_of(1, "k", payload, takes_8bit=True, addresses=("a@example.org", "b@example.org"))
    content = mail.wire.removesuffix(b".\r\n")
    assert mail.size == len(content)
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    read = email.message_from_bytes(content, policy=email.policy.default)
    assert (read["From"], read["To"]) == ("a@example.org", "b@example.org")
    assert read["Message-ID"] == "<1.k@netecho.invalid>"
    assert read["Date"].datetime is not None
    assert mail.is_8bit == (not content.isascii())
    if lines is None:
        assert read.get_payload(decode=True) == payload
        assert read["Content-Transfer-Encoding"] == "base64"
    else:
        assert content.partition(b"\r\n\r\n")[2] == lines


def test_text_for_old_servers() -> None:
    """Text beyond ASCII goes in base64 where it would not be taken as it is."""
    body = body_of("grüße".encode(), False)
    assert base64.b64decode(body.content) == "grüße".encode()


def test_replies() -> None:
    """Replies are as many lines as they are, in any pieces, and bounded."""
    replies = Replies()
    assert replies.received(b"250-a\r\n250") == []
    assert replies.has_rest
    assert replies.received(b"-b\r\n250 c\r\n354\r\n") == [(250, b"a\nb\nc"), (354, b"")]
    assert not replies.has_rest
    with pytest.raises(ReplyError, match="no end"):
        replies.received(b"250-a\r\n" * (MOST_LINES + 1))
