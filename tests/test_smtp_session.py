"""A session of SMTP as a dialogue: what a peer says, and the codes that it gets, whole and byte by byte."""

from __future__ import annotations

import hashlib
import itertools
import re

import pytest

from netecho.plans import ReplyMode
from netecho.protocols._smtp_content import MOST_EXCESS
from netecho.protocols._smtp_session import Limits, Session

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
FEW = Limits(size=1000, command=100, recipients=3, commands=10, errors=3)


def begin(
    reply: ReplyMode = ReplyMode.ECHO, limits: Limits | None = None, *, offers_tls: bool = False
) -> Session:
    """Return a session whose mails are named 1, 2, 3."""
    names = map(str, itertools.count(1))
    return Session("host.example", lambda: next(names), reply, limits or Limits(), offers_tls=offers_tls)


def codes(words: bytes) -> list[int]:
    """Return the codes of replies, each once."""
    assert words == b"" or words.endswith(b"\r\n")
    lines = words.splitlines()
    assert all(re.fullmatch(rb"[2-5][0-9]{2}[ -].*", line) for line in lines)
    return [int(line[:3]) for line in lines if line[3:4] == b" "]


def say(session: Session, *parts: bytes, step: int | None = None) -> list[int]:
    """Say these, each after the reply to the last, and return the codes that come back."""
    heard = []
    for part in parts:
        for at in range(0, len(part), step or len(part) or 1):
            heard += codes(session.received(part[at : at + (step or len(part))]))
    return heard


DIALOGUES = {
    "a mail": ([HELLO, ENVELOPE, b"DATA\r\n", b"x\r\n.\r\n", b"QUIT\r\n"], [250, 250, 250, 354, 250, 221]),
    "HELO": ([b"HELO x\r\n", ENVELOPE, b"DATA\r\n", b".\r\n"], [250, 250, 250, 354, 250]),
    "any case": ([b"ehlo x\r\nmail from:<a@b>\r\n"[:8], b"mail From:<a@b> size=3\r\n"], [250, 250]),
    "two mails": (
        [HELLO, ENVELOPE + b"DATA\r\n", b".\r\n" + ENVELOPE + b"DATA\r\n", b".\r\n"],
        [250, 250, 250, 354, 250, 250, 250, 354, 250],
    ),
    "no greeting": ([b"MAIL FROM:<a@b>\r\n"], [503]),
    "no sender": ([HELLO, b"RCPT TO:<a@b>\r\n", b"DATA\r\n"], [250, 503, 503]),
    "no recipient": ([HELLO, b"MAIL FROM:<a@b>\r\n", b"DATA\r\n"], [250, 250, 554]),
    "two senders": ([HELLO, b"MAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\n"], [250, 250, 503]),
    "reset": ([HELLO, ENVELOPE, b"RSET\r\n", b"DATA\r\n"], [250, 250, 250, 250, 503]),
    "greeting resets": ([HELLO, ENVELOPE, HELLO, b"DATA\r\n"], [250, 250, 250, 250, 503]),
    "questions": ([b"NOOP\r\nNOOP x\r\nVRFY a\r\nHELP\r\nRSET\r\n"], [250, 250, 252, 214, 250]),
    "unknown": ([b"TURN\r\n", b"EXPN a\r\n", b"\r\n", b"GET / HTTP/1.1\r\n"], [500, 500, 500, 500]),
    "arguments": ([b"EHLO\r\n", b"EHLO a b\r\n", b"DATA x\r\n", b"QUIT x\r\n", b"RSET x\r\n"], [501] * 5),
    "VRFY whom": ([b"VRFY\r\n"], [501]),
    "trailing space": ([b"QUIT \r\n"], [221]),
    "no TLS": ([HELLO, b"STARTTLS\r\n"], [250, 503]),
}


@pytest.mark.parametrize(("said", "heard"), DIALOGUES.values(), ids=DIALOGUES)
@pytest.mark.parametrize("step", [None, 1])
def test_dialogues(said: list[bytes], heard: list[int], step: int | None) -> None:
    """Commands have their replies, in order, whether they come one by one, together or in bytes."""
    assert say(begin(), *said, step=step) == heard


SENDERS = [
    (b"<>", 250),
    (b"<a@example.org>", 250),
    (b" <a@example.org>", 250),
    (b"<@relay.example,@other.example:a@example.org>", 250),
    (b"<a.b+c@[127.0.0.1]>", 250),
    (b"<a@[IPv6:::1]>", 250),
    (b'<"a b\\"@>"@example.org>', 250),
    (b"<a@b> SIZE=1000", 250),
    (b"<a@b> SIZE=67108864", 250),
    (b"<a@b> SIZE=67108865", 552),
    (b"<a@b> SIZE=99999999999999999999", 552),
    (b"<a@b> SIZE=", 501),
    (b"<a@b> SIZE=-1", 501),
    (b"<a@b> SIZE=1k", 501),
    (b"<a@b> BODY=7BIT", 250),
    (b"<a@b> body=8bitmime SMTPUTF8 SIZE=0", 250),
    (b"<a@b> BODY=BINARYMIME", 501),
    (b"<a@b> SMTPUTF8=yes", 501),
    (b"<a@b> AUTH=<>", 555),
    (b"<a@b> RET=HDRS", 555),
    ("<ä@example.org>".encode(), 553),
    ("<ä@exämple.org> SMTPUTF8".encode(), 250),
    (b"<\xff@example.org> SMTPUTF8", 553),
    (b"a@example.org", 501),
    (b"<a@example.org", 501),
    (b"<a>", 501),
    (b"<a@>", 501),
    (b"<@b>", 501),
    (b"<a@b@c>", 501),
    (b"<a b@c>", 501),
    (b"<a\0@b>", 501),
    (b"<a\x1bc@b>", 501),
    (b"<a\x7f@b>", 501),
    (b"<a@b..c>", 501),
    (b"<a@b> <c@d>", 501),
    (b"<" + b"a" * 300 + b"@b>", 501),
    (b"<postmaster>", 250),
    (b"", 501),
]


@pytest.mark.parametrize(("path", "code"), SENDERS)
def test_senders(path: bytes, code: int) -> None:
    """Addresses and parameters are taken or refused as RFC 5321, 1870, 6152 and 6531 have it."""
    assert say(begin(), HELLO, b"MAIL FROM:" + path + b"\r\n") == [250, code]


RECIPIENTS = [
    (b"<b@c>", 250),
    (b"<Postmaster>", 250),
    (b"<>", 501),
    (b"<b@c> NOTIFY=NEVER", 555),
    (b"b", 501),
]


@pytest.mark.parametrize(("path", "code"), RECIPIENTS)
def test_recipients(path: bytes, code: int) -> None:
    """A mail is for somebody."""
    assert say(begin(), HELLO, b"MAIL FROM:<>\r\n", b"RCPT TO:" + path + b"\r\n") == [250, 250, code]


def test_whose_address_it_is() -> None:
    """An enhanced status code says whether it is the sender's or the recipient's (RFC 3463 section 3.2)."""
    session = begin()
    say(session, HELLO)
    assert session.received(b"MAIL FROM:a\r\n").startswith(b"501 5.1.7 ")
    say(session, b"MAIL FROM:<a@b>\r\n")
    assert session.received(b"RCPT TO:a\r\n").startswith(b"501 5.1.3 ")


def test_recipients_beyond_ascii() -> None:
    """They are for mails that were said to be so."""
    recipient = "RCPT TO:<ü@example.org>\r\n".encode()
    assert say(begin(), HELLO, b"MAIL FROM:<>\r\n", recipient) == [250, 250, 553]
    assert say(begin(), HELLO, b"MAIL FROM:<> SMTPUTF8\r\n", recipient) == [250, 250, 250]


def test_offers() -> None:
    """What is offered is said in the reply to EHLO, TLS only where there is a certificate."""
    words = [b"PIPELINING", b"SIZE 67108864", b"ENHANCEDSTATUSCODES", b"8BITMIME", b"SMTPUTF8"]
    plain = begin().received(HELLO)
    assert [line[4:] for line in plain.splitlines()[1:]] == words
    secured = begin(offers_tls=True).received(HELLO)
    assert {line[4:] for line in secured.splitlines()[1:]} == {*words, b"STARTTLS"}


def test_receipt() -> None:
    """The reply to a mail has a name of its own, its size, and its SHA-256, dots taken off."""
    session = begin()
    say(session, HELLO, ENVELOPE, b"DATA\r\n")
    first = session.received(b"Subject: x\r\n\r\n..\r\n.\r\n")
    content = b"Subject: x\r\n\r\n.\r\n"
    digest = hashlib.sha256(content).hexdigest()
    assert first == f"250 2.0.0 Ok: received as 1 size={len(content)} sha256={digest}\r\n".encode()
    say(session, ENVELOPE, b"DATA\r\n")
    assert session.received(b".\r\n").startswith(b"250 2.0.0 Ok: received as 2 size=0 sha256=e3b0c442")


@pytest.mark.parametrize(
    ("reply", "code"), [(ReplyMode.REJECT, 550), (ReplyMode.TEMPFAIL, 451), (ReplyMode.DISCARD, 250)]
)
def test_reply_modes(reply: ReplyMode, code: int) -> None:
    """A mail is refused for good, or for now, or taken without a word about it; the next one likewise."""
    session = begin(reply)
    heard = say(session, HELLO, *[ENVELOPE, b"DATA\r\n", b"x\r\n.\r\n"] * 30)
    assert heard == [250, *[250, 250, 354, code] * 30]
    say(session, ENVELOPE, b"DATA\r\n")
    assert b"sha256" not in session.received(b".\r\n")


BROKEN = {
    "bare LF in a command": b"NOOP\nNOOP\r\n",
    "bare LF ends a command": b"EHLO x\n",
    "bare CR in a command": b"NOOP\rNOOP\r\n",
    "bare CR without an end": b"NO\rOP",
    "a command without end": b"X" * 3000,
    "a command too long": b"NOOP " + b"x" * 2050 + b"\r\n",
    "bare LF in a mail": HELLO,
    "something behind EHLO": HELLO + b"MAIL FROM:<>\r\n",
    "something behind HELO": b"HELO x\r\nM",
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_broken(said: bytes) -> None:
    """Whoever cannot be understood gets one reply of the 500 class and the end, never a second reply."""
    session = begin()
    if said == HELLO:
        assert say(session, HELLO, ENVELOPE, b"DATA\r\n") == [250, 250, 250, 354]
        said = b"x\n.\nMAIL FROM:<smuggled@example.org>\r\n.\r\n"
    heard = say(session, said, ENVELOPE, b"QUIT\r\n")
    assert len(heard) == 1
    assert 500 <= heard[0] <= 599
    assert session.is_over


@pytest.mark.parametrize("following", [b"x\r\n.\r\n", b"M"])
def test_content_before_its_time(following: bytes) -> None:
    """What comes together with DATA has not waited for the reply to that (RFC 2920 section 3.1)."""
    session = begin()
    assert say(session, HELLO, ENVELOPE + b"DATA\r\n" + following, b".\r\n") == [250, 250, 250, 554]
    assert session.is_over


def test_tls() -> None:
    """After STARTTLS everything begins anew; what came behind it in clear is never taken (CVE-2011-0411)."""
    session = begin(offers_tls=True)
    assert say(session, HELLO, ENVELOPE, b"STARTTLS x\r\n", b"STARTTLS\r\n") == [250, 250, 250, 501, 220]
    assert session.turns_to_tls
    session.begin_tls()
    assert say(session, b"MAIL FROM:<>\r\n", HELLO, b"DATA\r\n", b"STARTTLS\r\n") == [503, 250, 503, 503]
    for before, after in (([], b"MAIL FROM:<>\r\n"), ([ENVELOPE], b"DATA\r\n")):
        forgetful = begin(offers_tls=True)
        say(forgetful, HELLO, *before, b"STARTTLS\r\n")
        forgetful.begin_tls()
        assert say(forgetful, after) == [503]
    injected = begin(offers_tls=True)
    assert say(injected, HELLO, b"STARTTLS\r\nMAIL FROM:<>\r\n", b"RSET\r\n") == [250, 554]
    assert injected.is_over
    assert not injected.turns_to_tls


def test_sizes() -> None:
    """A mail that is too large is refused when it is announced, or at its end, and the session goes on."""
    session = begin(limits=FEW)
    assert say(session, HELLO, b"MAIL FROM:<> SIZE=1001\r\n", ENVELOPE, b"DATA\r\n") == [
        *(250, 552, 250, 250, 354)
    ]
    assert say(session, b"x" * 600 + b"\r\n", b"x" * 600 + b"\r\n.\r\n") == [552]
    assert say(session, ENVELOPE, b"DATA\r\n", b"x\r\n.\r\n") == [250, 250, 354, 250]


def test_a_size_beyond_patience() -> None:
    """The end of a mail that is far too large is not waited for: it is refused, for its size."""
    session = begin(limits=FEW)
    say(session, HELLO, ENVELOPE, b"DATA\r\n")
    reply = session.received((b"x" * 70 + b"\r\n") * (MOST_EXCESS // 70))
    assert reply == b"552 5.3.4 a mail has at most 1000 octets\r\n"
    assert session.is_over


def test_long_lines() -> None:
    """A mail with too long a line is refused at its end, and the session goes on."""
    session = begin()
    assert say(session, HELLO, ENVELOPE, b"DATA\r\n", b"x" * 999 + b"\r\n.\r\n") == [250, 250, 250, 354, 554]
    assert say(session, ENVELOPE, b"DATA\r\n", b"x" * 998 + b"\r\n.\r\n") == [250, 250, 354, 250]


def test_many_recipients() -> None:
    """There are only so many for a mail, and those that there are receive it."""
    session = begin(limits=FEW)
    assert say(session, HELLO, ENVELOPE, *[b"RCPT TO:<c@d>\r\n"] * 3, b"DATA\r\n", b".\r\n") == [
        *(250, 250, 250, 250, 250, 452, 354, 250)
    ]


def test_more_recipients_than_errors_are_forgiven() -> None:
    """A peer that is told of each recipient too many, as it must be, can still send to the others."""
    session = begin(limits=FEW)
    envelope = ENVELOPE + b"RCPT TO:<c@d>\r\n" * 7 + b"DATA\r\n"
    assert say(session, HELLO, envelope, b".\r\n") == [*(250, 250, 250, 250, 250), *[452] * 5, 354, 250]


def test_many_commands() -> None:
    """A session that brings no mail comes to an end; one that does goes on."""
    session = begin(limits=FEW)
    assert say(session, b"NOOP\r\n" * 12) == [250] * 10 + [421]
    assert session.is_over
    busy = begin(limits=FEW)
    assert say(busy, HELLO, *[ENVELOPE, b"DATA\r\n", b".\r\n"] * 20) == [250, *[250, 250, 354, 250] * 20]


def test_many_errors() -> None:
    """So does one that has nothing but errors."""
    session = begin(limits=FEW)
    assert say(session, b"WHAT\r\n" * 12) == [500] * 3 + [421]
    assert session.is_over


def test_farewell() -> None:
    """The last words end a session, in a mail too."""
    session = begin()
    assert codes(session.greeting()) == [220]
    say(session, HELLO, ENVELOPE, b"DATA\r\n")
    assert not session.is_idle
    assert codes(session.farewell("is closing")) == [421]
    assert session.received(b".\r\n") == b""
