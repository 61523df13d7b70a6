"""A server's session of SMTP (RFC 5321), without I/O: bytes in, replies out.

It accepts mails and keeps none: the reply to each has the name under which it was received, its size in
octets, and its SHA-256.

There is no maintained sans-I/O library for the server side of SMTP (smtpproto is for clients, aiosmtpd for
asyncio). Twisted's `twisted.mail.smtp` has none of the extensions offered here, calls a method for each line
of a mail, and accepts a bare CR or LF in mails, and commands before the reply that they have to wait for; to
have it refuse those, nearly all of it would have to be replaced. Under smtp-source it accepts 0.3 to 0.5
times as many mails as smtp-sink does, and this session 0.5 to 0.8 times as many (`tests/benchmarks/smtp.py`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from netecho.plans import ReplyMode
from netecho.protocols._smtp_commands import Path, path_of
from netecho.protocols._smtp_content import LINE_END, Content, ContentError


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a session."""

    size: int = 64 << 20
    """Octets of the largest mail (RFC 1870)."""
    command: int = 2048
    """Octets of the longest command, with its CR LF: RFC 5321 section 4.5.3.1.4 and room for extensions."""
    recipients: int = 1000
    """The most recipients of a mail."""
    commands: int = 200
    """The most commands from one mail to the next, not counting RCPT."""
    errors: int = 20
    """The most errors from one mail to the next."""


_SIZE: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_GREETING: Final = re.compile(rb"[\x21-\x7e\x80-\xff]{1,255}")
_OK: Final = b"250 2.0.0 Ok\r\n"
_SENDER_OK: Final = b"250 2.1.0 Ok\r\n"
_RECIPIENT_OK: Final = b"250 2.1.5 Ok\r\n"
_TOO_MANY_RECIPIENTS: Final = b"452 4.5.3 too many recipients\r\n"
_GO_AHEAD: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"


class _RefusedError(Exception):
    """A command is refused with this reply, and has no effect."""


class Session:
    """The session of one peer.

    Args:
        host: our own name, a domain or an address literal.
        identify: returns a unique name for a mail that has been received.
        reply: how mails are answered.
        limits: the limits of the session.
        offers_tls: whether STARTTLS is offered.
    """

    def __init__(
        self,
        host: str,
        identify: Callable[[], str],
        reply: ReplyMode = ReplyMode.ECHO,
        limits: Limits = Limits(),
        *,
        offers_tls: bool = False,
    ) -> None:
        self._host = host
        self._identify = identify
        self._reply = reply
        self._limits = limits
        self.offers_tls = offers_tls
        self.is_over = False
        """The session has ended: nothing more is taken or sent."""
        self.turns_to_tls = False
        """STARTTLS was accepted, and the TLS handshake comes next: see `begin_tls`."""
        self.content: Content | None = None
        """The mail that is being received."""
        self.moved = 0
        """Octets of mails that have come so far."""
        self.mails = 0
        """Mails that have been answered."""
        self.steps = 0
        """Commands and mails that have been completed: a change of it means progress."""
        self._rest = b""
        """An incomplete command."""
        self._peer: bytes | None = None
        """The peer's name from HELO or EHLO; `None` before that."""
        self._errors = self._commands = 0
        self._forget()

    def _forget(self) -> None:
        """Forget the mail that was begun."""
        self._has_sender = False
        self._recipients = 0
        self._smtputf8 = False

    @property
    def is_idle(self) -> bool:
        """Whether no command and no mail's content is incomplete."""
        return self.content is None and not self._rest

    def greeting(self) -> bytes:
        """Return the greeting."""
        return f"220 {self._host} ESMTP netecho\r\n".encode("ascii")

    def farewell(self, why: str) -> bytes:
        """End the session; return the reply 421. An incomplete mail is not accepted."""
        self.is_over = True
        return f"421 4.3.2 {self._host} {why}\r\n".encode("ascii")

    def begin_tls(self) -> None:
        """Reset the session, as TLS begins: nothing that came before counts (RFC 3207 section 4.2)."""
        self.turns_to_tls = self.offers_tls = False
        self._peer = None
        self._forget()

    def received(self, data: bytes) -> bytes:
        """Take what has come; return the replies."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        return b"".join(self._replies(data))

    def _replies(self, data: bytes) -> Iterator[bytes]:
        while data and not self.is_over:
            if self.content is not None:
                self.moved += len(data)
                try:
                    rest = self.content.take(data)
                except ContentError as error:
                    yield self._break(error.code, str(error))
                    return
                if rest is None:
                    return
                self.moved -= len(rest)
                data = rest
                yield self._received_mail(self.content)
            else:
                end = data.find(b"\n") + 1
                line = data[:end] if end else data
                if len(line) > self._limits.command:
                    yield self._break(b"500 5.5.2", "the command is too long")
                elif b"\r" in line[:-2] or (end and not line.endswith(LINE_END)):
                    yield self._break(b"500 5.5.2", "lines end in CR LF (nc -C sends those)")
                elif not end:
                    self._rest = line
                    return
                else:
                    data = data[end:]
                    yield self._command(line[:-2], data)

    def _break(self, code: bytes, why: str) -> bytes:
        """End the session with an error: what follows can no longer be told apart into commands."""
        self.is_over = True
        return b"%s %s\r\n" % (code, why.encode("ascii"))

    def _command(self, line: bytes, following: bytes) -> bytes:
        self.steps += 1
        self._commands += 1
        if self._commands > self._limits.commands:
            return self._break(b"421 4.7.0", "too many commands and no mail")
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        command = _COMMANDS.get(verb)
        try:
            if command is None:
                raise _RefusedError("500 5.5.1 this command is not known here")
            if following and verb in (b"HELO", b"EHLO", b"DATA", b"STARTTLS"):
                # These must be last in a group of commands (RFC 2920 section 3.1): the rest may be injected.
                self.is_over = True
                raise _RefusedError(f"554 5.5.0 nothing may follow {verb.decode()} before its reply")
            return command(self, argument)
        except _RefusedError as error:
            self._errors += 1
            if self._errors > self._limits.errors:
                return self._break(b"421 4.7.0", "too many errors")
            return f"{error}\r\n".encode("ascii")

    def _received_mail(self, content: Content) -> bytes:
        """Return the reply to a mail that has come whole."""
        self.content = None
        self.steps += 1
        self.mails += 1
        self._errors = self._commands = 0
        self._forget()
        if content.is_too_large:
            return f"552 5.3.4 a mail has at most {self._limits.size} octets\r\n".encode("ascii")
        if content.has_long_line:
            return b"554 5.6.0 a line has at most 1000 octets, its end included\r\n"
        match self._reply:
            case ReplyMode.REJECT:
                return b"550 5.7.1 refused, as --reply reject has it\r\n"
            case ReplyMode.TEMPFAIL:
                return b"451 4.7.1 try again later, as --reply tempfail has it\r\n"
            case ReplyMode.DISCARD:
                return f"250 2.0.0 Ok: thrown away as {self._identify()}\r\n".encode("ascii")
        told = f"size={content.size} sha256={content.sha256}"
        return f"250 2.0.0 Ok: received as {self._identify()} {told}\r\n".encode("ascii")

    # The commands.

    def _greeted(self, argument: bytes) -> None:
        if not _GREETING.fullmatch(argument.strip(b" ")):
            raise _RefusedError("501 5.5.4 say who you are: EHLO host.example")
        self._peer = argument
        self._forget()

    def _helo(self, argument: bytes) -> bytes:
        self._greeted(argument)
        return f"250 {self._host}\r\n".encode("ascii")

    def _ehlo(self, argument: bytes) -> bytes:
        self._greeted(argument)
        words = [self._host, "PIPELINING", f"SIZE {self._limits.size}"]
        if self.offers_tls:
            words.append("STARTTLS")
        words += ["ENHANCEDSTATUSCODES", "8BITMIME"]
        return "".join([*(f"250-{word}\r\n" for word in words), "250 SMTPUTF8\r\n"]).encode("ascii")

    def _mail(self, argument: bytes) -> bytes:
        if self._peer is None:
            raise _RefusedError("503 5.5.1 say who you are first: EHLO")
        if self._has_sender:
            raise _RefusedError("503 5.5.1 a mail has one sender")
        path = _path(b"FROM", argument, "MAIL FROM:<address>")
        smtputf8 = False
        for name, value in path.parameters:
            match name:
                case "SIZE" if _SIZE.fullmatch(value):
                    if int(value) > self._limits.size:
                        raise _RefusedError(f"552 5.3.4 a mail has at most {self._limits.size} octets")
                case "BODY" if value.upper() in ("7BIT", "8BITMIME"):
                    pass
                case "SMTPUTF8" if not value:
                    smtputf8 = True
                case "SIZE" | "BODY" | "SMTPUTF8":
                    raise _RefusedError(f"501 5.5.4 {name} has another value than it can")
                case _:
                    raise _RefusedError("555 5.5.4 a parameter is not known here")
        if path.needs_smtputf8 and not smtputf8:
            raise _RefusedError("553 5.6.7 the address needs SMTPUTF8")
        self._has_sender = True
        self._smtputf8 = smtputf8
        return _SENDER_OK

    def _rcpt(self, argument: bytes) -> bytes:
        if not self._has_sender:
            raise _RefusedError("503 5.5.1 a mail has a sender first: MAIL")
        path = _path(b"TO", argument, "RCPT TO:<address>")
        if path.parameters:
            raise _RefusedError("555 5.5.4 a parameter is not known here")
        if not path.address:
            raise _RefusedError("501 5.1.3 a mail is for somebody")
        if path.needs_smtputf8 and not self._smtputf8:
            raise _RefusedError("553 5.6.7 the address needs SMTPUTF8")
        if self._recipients >= self._limits.recipients:
            # No error of the peer's, which is to send its mail to those that were accepted (RFC 5321 section
            # 4.5.3.1.10).
            return _TOO_MANY_RECIPIENTS
        self._recipients += 1
        self._commands -= 1
        return _RECIPIENT_OK

    def _data(self, argument: bytes) -> bytes:
        _check_alone(argument)
        if not self._has_sender:
            raise _RefusedError("503 5.5.1 a mail has a sender first: MAIL")
        if not self._recipients:
            raise _RefusedError("554 5.5.1 nobody is to receive it")
        self.content = Content(self._limits.size)
        return _GO_AHEAD

    def _rset(self, argument: bytes) -> bytes:
        _check_alone(argument)
        self._forget()
        return _OK

    def _noop(self, argument: bytes) -> bytes:
        return _OK

    def _vrfy(self, argument: bytes) -> bytes:
        if not argument:
            raise _RefusedError("501 5.5.4 VRFY whom?")
        return b"252 2.5.0 any mail is received, and for nobody\r\n"

    def _help(self, argument: bytes) -> bytes:
        return b"214 2.0.0 %s\r\n" % b" ".join(_COMMANDS)

    def _quit(self, argument: bytes) -> bytes:
        _check_alone(argument)
        self.is_over = True
        return f"221 2.0.0 {self._host}\r\n".encode("ascii")

    def _starttls(self, argument: bytes) -> bytes:
        if not self.offers_tls:
            raise _RefusedError("503 5.5.1 TLS is not offered here")
        _check_alone(argument)
        self.turns_to_tls = True
        return b"220 2.0.0 begin TLS\r\n"


class SpoiltSession(Session):
    """A session whose receipts may be corrupted on purpose.

    Args:
        spoil: returns the digest, corrupted or not.
        arguments, options: those of `Session`.
    """

    def __init__(self, spoil: Callable[[bytes], bytes], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._spoil = spoil

    def _received_mail(self, content: Content) -> bytes:
        """Return the reply to a mail, with its digest passed through `spoil`."""
        words, mark, digest = super()._received_mail(content).partition(b" sha256=")
        return words + mark + self._spoil(digest[:-2]) + digest[-2:] if mark else words


_COMMANDS: Final[dict[bytes, Callable[[Session, bytes], bytes]]] = {
    b"EHLO": Session._ehlo,
    b"HELO": Session._helo,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"VRFY": Session._vrfy,
    b"HELP": Session._help,
    b"QUIT": Session._quit,
    b"STARTTLS": Session._starttls,
}


def _check_alone(argument: bytes) -> None:
    if argument.strip(b" "):
        raise _RefusedError("501 5.5.4 nothing may follow this command")


def _path(word: bytes, argument: bytes, form: str) -> Path:
    try:
        path = path_of(word, argument)
    except UnicodeDecodeError:
        raise _RefusedError("553 5.6.7 the address is not UTF-8") from None
    if path is None:
        status = "5.1.7" if word == b"FROM" else "5.1.3"  # RFC 3463 section 3.2
        raise _RefusedError(f"501 {status} this is no address: write {form}")
    return path
