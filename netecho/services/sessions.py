"""TLS sessions that are resumed: each connection's by the one that comes after it in its place.

In TLS 1.3 (RFC 8446 section 2.2) the server sends its tickets after the handshake, so that they are there
only when something has been read; the session is therefore asked for no sooner than it is needed. A server
that does not resume it shakes hands in full, which is for `is_resumed` to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL, _util
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from netecho.errors import NetechoError
from netecho.protocols._security import Agreement

if TYPE_CHECKING:
    from netecho.services.tls import ClientContext

# pyOpenSSL has methods for all about sessions but this.
_reused = getattr(_util.lib, "SSL_session_reused", None)


@implementer(IOpenSSLClientConnectionCreator)
class ResumingContext:
    """Makes the OpenSSL side of connections that follow one another.

    Provides `netecho.protocols._security.ClientSecurity`, for connections whose TLS is not OpenSSL's.

    Args:
        connections: makes each of them.

    Raises:
        NetechoError: it cannot be told which handshakes are resumed.
    """

    def __init__(self, connections: ClientContext) -> None:
        if _reused is None:
            raise NetechoError("this version of pyOpenSSL does not tell whether a session is resumed")
        self._connections = connections
        self._last: SSL.Connection | None = None
        self.resumes = True
        self.session: Any = None

    def __getattr__(self, name: str) -> Any:
        """Be as what makes the connections, in all that is not about sessions."""
        return getattr(self._connections, name)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802 - Twisted's
        """Return a new connection, with the session of the last one if that had any."""
        connection: SSL.Connection = self._connections.clientConnectionForTLS(tlsProtocol)
        session = None if self._last is None else self._last.get_session()
        if session is not None:
            connection.set_session(session)
        self._last = connection
        return connection


def is_resumed(transport: Any) -> bool:
    """Return whether the handshake of a TLS transport resumed a session."""
    agreement = getattr(transport, "agreement", None)
    if isinstance(agreement, Agreement):
        return agreement.resumed
    connection = transport.getHandle()
    return _reused is not None and bool(_reused(connection._ssl))
