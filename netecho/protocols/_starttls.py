"""A connection in clear that goes on in TLS, as protocols with a STARTTLS command have it."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from netecho.protocols._tls import HalfCloseableTLSFactory


class _Only(Factory):
    """Builds one protocol, which is there already."""

    noisy = False

    def __init__(self, built: Any) -> None:
        self._built = built

    def buildProtocol(self, addr: Any) -> Any:
        built, self._built = self._built, None  # once, and so it is freed without the garbage collector
        return built


def begin_tls(plain: Any, protocol: Any, contexts: Any, reactor: Any, *, is_client: bool) -> None:
    """Have a connection in clear go on in TLS (RFC 3207): the protocol is connected anew, through it.

    Twisted's own `startTLS` would do so without the half-close that netecho's TLS has.

    Args:
        plain: the transport of the protocol, which has no producer now.
        protocol: is told of the end of the handshake, if it listens for that.
        contexts: make the OpenSSL side of the connection.
        reactor: the TLS transport's clock.
        is_client: whether ours is the side that begins the handshake.
    """
    only: Any = _Only(protocol)
    secure = HalfCloseableTLSFactory(contexts, is_client, only, reactor).buildProtocol(plain.getPeer())
    plain.protocol = secure
    secure.makeConnection(plain)
