"""What `tests.benchmarks.smtp` measures beside: a sink on Twisted's own protocol and netecho's reactor."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import netecho.reactor

reactor = netecho.reactor.install()

from twisted.internet import defer  # noqa: E402 - twisted.mail would install another reactor
from twisted.mail import smtp  # noqa: E402
from zope.interface import implementer  # noqa: E402


@implementer(smtp.IMessage)
class _Mail:
    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def lineReceived(self, line: bytes) -> None:
        self._digest.update(line + b"\r\n")

    def eomReceived(self) -> Any:
        return defer.succeed(self._digest.hexdigest())

    def connectionLost(self) -> None:
        """Forget it."""


@implementer(smtp.IMessageDelivery)
class _Delivery:
    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:  # noqa: N802 - Twisted's
        return b""

    def validateFrom(self, helo: Any, origin: Any) -> Any:  # noqa: N802
        return origin

    def validateTo(self, user: Any) -> Any:  # noqa: N802
        return _Mail


class _Factory(smtp.SMTPFactory):
    def buildProtocol(self, addr: Any) -> Any:
        protocol = smtp.ESMTP()
        protocol.delivery = _Delivery()
        protocol.noisy = False
        protocol.factory = self
        return protocol


if __name__ == "__main__":
    host, _, port = sys.argv[1].partition(":")
    factory: Any = _Factory
    reactor.listenTCP(int(port), factory(), 1000, host)
    reactor.run()
