"""The connections of an SMTP server: their time limits, STARTTLS, and how they end."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import secrets
from typing import Any, Final

from netecho.protocols._addresses import address_literal
from netecho.protocols._listener import ListenSettings
from netecho.protocols._smtp_session import Limits, Session, SpoiltSession
from netecho.protocols._sockets import unsent
from netecho.protocols._starttls import begin_tls
from netecho.protocols._stream_server import HANDSHAKE_TIMEOUT, LINGER, Receiver
from netecho.protocols._watched import Patience, Progress, WatchedFactory

PATIENCE: Final = Patience(start=60.0, rate=1024.0, idle=300.0)
"""A minute for a command or a mail's content, which gets more as it moves, and five minutes until the next
command (RFC 5321 section 4.5.3.2.7)."""
LIMITS: Final = Limits()


class SMTPConnection(Receiver):
    """A connection of an SMTP server.

    `received` and `sent` count all bytes of SMTP, not only those of mails.
    """

    factory: SMTPFactory

    def __init__(self) -> None:
        super().__init__()
        self._session: Any = None
        self._progress: Any = None

    @property
    def messages(self) -> int | None:
        """How many mails have been answered."""
        return 0 if self._session is None else int(self._session.mails)

    def connectionMade(self) -> None:
        """Begin a session; when called again, after STARTTLS, only set up the new transport."""
        if self._session is not None:
            self.transport.registerProducer(self, True)
            self._shaking_hands = True
            self.setTimeout(HANDSHAKE_TIMEOUT)  # type: ignore[no-untyped-call]
            return
        factory = self.factory
        self._progress = Progress(factory.reactor.seconds())
        session = Session if self.spoil is None else functools.partial(SpoiltSession, self.spoil)
        self._session = session(
            address_literal(self.transport.getHost()),
            factory.identify,
            factory.settings.reply,
            factory.limits,
            offers_tls=factory.settings.upgrade is not None,
        )
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """Send the greeting, unless it was sent before STARTTLS."""
        super().handshakeCompleted()
        if not self.sent:
            self._say(self._session.greeting())

    def _say(self, words: bytes) -> None:
        if words:
            self.sent += len(words)
            self.transport.write(words)

    def dataReceived(self, data: bytes) -> None:
        """Take what has come, and answer it."""
        session = self._session
        if self.finished:
            return
        self.received += len(data)
        self._say(session.received(data))
        if session.turns_to_tls:
            self._begin_tls()
        elif session.is_over:
            self.finish()
        elif self.timeOut is not None or self.draining:
            self.progressed()

    def _begin_tls(self) -> None:
        self._session.begin_tls()
        plain = self.transport
        plain.unregisterProducer()
        begin_tls(plain, self, self.factory.settings.upgrade, self.factory.reactor, is_client=False)

    def finish(self) -> None:
        """Send 421, unless the session is over, and close our half."""
        if not self.finished and not self._session.is_over and not self._shaking_hands:
            self._say(self._session.farewell("is closing the connection"))
        super().finish()

    def cut(self) -> None:
        """End the connection at once; a peer amid a mail is told so when it is the server that ends.

        RFC 5321 section 3.8 has no end of ours without a 421.
        """
        in_order = self.draining and not (self.finished or self._shaking_hands or self._session.is_over)
        if in_order and not unsent(self.transport.fileno()):
            self.setTimeout(LINGER)  # type: ignore[no-untyped-call]
            self.finish()
        else:
            super().cut()

    def is_answered(self) -> bool:
        """Return whether no mail is incomplete, and all that came before the drain has been read."""
        return self._session.content is None and super().is_answered()

    def look(self, now: float, patience: Patience) -> None:
        """End the connection if the peer takes too long over its current step.

        Args:
            now: the time, in seconds.
            patience: the time limits.
        """
        if self._shaking_hands or self.finished or self._lost:
            return
        session = self._session
        waiting = bool(unsent(self.transport.fileno()))
        is_idle = session.is_idle and not waiting
        stage = session.steps, is_idle, waiting
        if self._progress.is_overdue(now, stage, session.moved, patience, idle=is_idle):
            if waiting:
                self.cut()
            else:
                self._say(session.farewell("has waited too long"))
                self.finish()


class SMTPFactory(WatchedFactory):
    """Builds the connections of an SMTP listener."""

    def __init__(
        self, reactor: Any, settings: ListenSettings, patience: Patience = PATIENCE, limits: Limits = LIMITS
    ) -> None:
        super().__init__(reactor, settings, SMTPConnection, patience)
        size = settings.max_message
        self.limits = limits if size is None else dataclasses.replace(limits, size=size)
        self._names = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count(1))

    def identify(self) -> str:
        """Return a unique name for a mail that has been received."""
        return next(self._names)
