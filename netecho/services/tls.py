"""OpenSSL contexts made from plans: one for all the connections of a server, or of a client.

Nothing here is done per connection but to make its OpenSSL side; what is wrong with a file or a flag is
found when the context is made, before anything listens or connects.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import idna
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL.crypto import Error as OpenSSLError
from OpenSSL.crypto import X509StoreFlags
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from netecho.errors import UsageError
from netecho.plans import ClientTLS, ServerTLS, TLSVersion
from netecho.services import certificates, files
from netecho.services.handshake import (
    UnverifiedError,
    VerifiedConnection,
    find_problem,
    name_problem,
    verification,
)
from netecho.services.keylog import KeyLog

if TYPE_CHECKING:
    from netecho.services.certificates import Credentials, LocalAuthority

INTERMEDIATE_CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
"""The TLS 1.2 suites of Mozilla's "Server Side TLS" guideline 5.7, intermediate. It has three DHE suites
more, which need a parameters file and which no client needs that has TLS 1.2 and elliptic curves."""

INTERMEDIATE_GROUPS = b"X25519:P-256:P-384"
"""The key exchange groups of the same guideline."""

_OLDEST = {TLSVersion.TLS_1_2: SSL.TLS1_2_VERSION, TLSVersion.TLS_1_3: SSL.TLS1_3_VERSION}
_DTLS_1_2 = 0xFEFD
"""RFC 6347 section 4.1; pyOpenSSL has no name for it."""
_MUST_SHOW = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


@implementer(IOpenSSLServerConnectionCreator)
@dataclasses.dataclass(frozen=True)
class ServerContext:
    """Makes the OpenSSL side of a server's connections; provides `netecho.protocols._security.Security`."""

    context: SSL.Context
    make: Callable[[int], SSL.Context] = dataclasses.field(repr=False)
    """Makes the like of `context` for one of OpenSSL's methods."""
    verifies: bool
    """Whether clients must show a certificate."""
    authority: LocalAuthority | None = None
    """Who signed our certificate, when it was made for this run."""
    made: Credentials | None = None
    """Our certificate and key, then."""
    identity: Credentials | None = None
    """What is shown: read, or made."""
    named: tuple[str, ...] = ()
    """What the plan has a listener choose from; empty: what its protocol says."""
    alpn: tuple[str, ...] = ()
    """What one listener chooses from: see `offering`."""
    keylog: KeyLog | None = None

    def offering(self, alpn: tuple[str, ...], *, datagrams: bool = False) -> ServerContext:
        """Return a context for one listener.

        Args:
            alpn: it chooses from these protocols, if the plan names none.
            datagrams: it speaks DTLS.

        Raises:
            UsageError: as of `for_server`, or DTLS cannot show the certificate.
        """
        context = self.context
        if datagrams:
            context = self.make(SSL.DTLS_METHOD)
            if self.keylog is not None:
                self.keylog.attach(context)
        return dataclasses.replace(self, context=context, alpn=self.named or alpn)

    def lapse(self, now: datetime.datetime) -> str | None:
        """Return in words why nobody takes what is shown at a time; `None` if it is valid then."""
        return None if self.identity is None else certificates.lapse(self.identity.chain[0], now)

    def verify(self, chain: Sequence[x509.Certificate]) -> None:
        """See `netecho.protocols._security.Security`."""
        problem = find_problem(self.context, chain, ExtendedKeyUsageOID.CLIENT_AUTH)
        if problem is not None:
            raise UnverifiedError(problem)

    def log_secret(self, line: bytes) -> None:
        """See `netecho.protocols._security.Security`."""
        if self.keylog is not None:
            self.keylog.write(line)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802 - Twisted's
        """Return a new connection."""
        connection = VerifiedConnection(self.context, None)
        connection.verifies = self.verifies
        connection.alpn = [name.encode() for name in self.alpn]
        return connection

    def close(self) -> None:
        """Close the key log, and delete what was written for this run. To be called when the server ends."""
        if self.keylog is not None:
            self.keylog.close()
        if self.authority is not None:
            self.authority.remove()


@implementer(IOpenSSLClientConnectionCreator)
@dataclasses.dataclass(frozen=True)
class ClientContext:
    """Makes the OpenSSL side of a client's connections, all to the same host.

    Provides `netecho.protocols._security.ClientSecurity`.
    """

    context: SSL.Context
    server_name: bytes | None
    """Sent as SNI; `None` for an address, which RFC 6066 section 3 does not permit there."""
    keylog: KeyLog | None = None
    identity: Credentials | None = None
    alpn: tuple[str, ...] = ()
    name: str = ""
    """Whose certificate is expected: a name in ASCII form, or an address."""
    enforces: bool = True
    """Whether there is no connection without one that verifies."""
    verifies: ClassVar[bool] = True
    resumes: ClassVar[bool] = False
    session: ClassVar[Any] = None

    def verify(self, chain: Sequence[x509.Certificate]) -> str | None:
        """See `netecho.protocols._security.Security`."""
        problem = find_problem(self.context, chain, ExtendedKeyUsageOID.SERVER_AUTH)
        if problem is None:
            problem = name_problem(chain[0], self.name, self.server_name is None)
        if problem is not None and self.enforces:
            raise UnverifiedError(problem)
        return None if problem is None else problem.reason

    def log_secret(self, line: bytes) -> None:
        """See `netecho.protocols._security.Security`."""
        if self.keylog is not None:
            self.keylog.write(line)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802 - Twisted's
        """Return a new connection."""
        connection = VerifiedConnection(self.context, None)
        connection.verifies = True
        if self.server_name is not None:
            connection.set_tlsext_host_name(self.server_name)
        return connection

    def close(self) -> None:
        """Close the key log. To be called when the last connection has ended."""
        if self.keylog is not None:
            self.keylog.close()


def for_server(
    plan: ServerTLS,
    hosts: Iterable[str] = (),
    hostname: str | None = None,
    made: Credentials | None = None,
) -> ServerContext:
    """Make a server's context at the intermediate level of Mozilla's guideline.

    That is: TLS 1.2 and 1.3, forward secrecy and authenticated encryption only, the client's order of
    ciphers, as it knows what its processor is good at; no compression, no renegotiation.

    Args:
        plan: certificate, client authority, protocols, and the like.
        hosts: what is listened on, for the certificate that is made when the plan has none.
        hostname: this machine's; asked of the system when not given.
        made: that certificate, if it has been made before, for another process of this run.

    Raises:
        UsageError: a file or a flag of the plan is wrong.
        NetechoError: a certificate was to be made, and there is nowhere to put its authority's.
    """
    authority_made = None
    if plan.certificate is not None:
        credentials = certificates.read_credentials(plan.certificate, plan.key)
    elif made is not None:
        credentials = made
    else:
        credentials, authority_made = certificates.make_credentials(hosts, hostname)
        made = credentials
    make = functools.partial(_server_context, plan, credentials)
    keylog = None
    try:
        context = make(SSL.TLS_METHOD)
        if plan.keylog is not None:  # last, as it may make a file
            keylog = KeyLog(plan.keylog, f"--keylog {plan.keylog}")
            keylog.attach(context)
    except BaseException:
        if authority_made is not None:
            authority_made.remove()
        raise
    verifies = plan.client_ca is not None
    return ServerContext(context, make, verifies, authority_made, made, credentials, plan.alpn, keylog=keylog)


def _server_context(plan: ServerTLS, credentials: Credentials, method: int) -> SSL.Context:
    context = _context(method, plan.minimum)
    try:
        ciphers = INTERMEDIATE_CIPHERS if plan.ciphers is None else plan.ciphers
        context.set_cipher_list(ciphers.encode("ascii"))
    except (SSL.Error, UnicodeError):
        raise UsageError(f"--ciphers {plan.ciphers!r}: no cipher of OpenSSL's matches this") from None
    _set_groups(context, INTERMEDIATE_GROUPS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"netecho")  # client certificates with session tickets need one
    context.set_alpn_select_callback(_chooser(_protocol_names(plan.alpn)))
    if plan.client_ca is not None:
        _trust(context, plan.client_ca, "--client-ca")
        with files.readable(plan.client_ca, "--client-ca") as path:
            context.load_client_ca(os.fsencode(path))
        context.set_verify(_MUST_SHOW, verification(None))
    _show(context, credentials, plan.certificate)
    if method == SSL.DTLS_METHOD:
        if isinstance(credentials.key, (Ed25519PrivateKey, Ed448PrivateKey)):
            raise UsageError(
                f"--cert {plan.certificate}: OpenSSL's DTLS servers cannot sign with EdDSA; "
                "give dtls:// a certificate with an ECDSA or RSA key"
            )
        # Who looks at ClientHellos is the connection's `app_data` while it does.
        context.set_cookie_generate_callback(lambda connection: connection.get_app_data().make_cookie())
        context.set_cookie_verify_callback(
            lambda connection, cookie: connection.get_app_data().check_cookie(cookie)
        )
    return context


def for_client(
    plan: ClientTLS,
    host: str,
    environment: Mapping[str, str] = os.environ,
    *,
    datagrams: bool = False,
) -> ClientContext:
    """Make a client's context, for any number of connections to one host.

    Args:
        plan: whom to trust, certificate, protocols, and the like.
        host: the target's name or address, whose certificate is expected unless the plan has a name.
        environment: `SSLKEYLOGFILE` in it names a key log, when the plan has none. (`SSL_CERT_FILE` and
            `SSL_CERT_DIR` are OpenSSL's, and read from the process's own.)
        datagrams: they speak DTLS.

    Raises:
        UsageError: a file or a flag of the plan is wrong.
    """
    context = _context(SSL.DTLS_METHOD if datagrams else SSL.TLS_METHOD, TLSVersion.TLS_1_2)
    name, is_address = _identity(plan.server_name or host)
    if plan.authorities is None:
        context.set_default_verify_paths()
    else:
        _trust(context, plan.authorities, "--cacert")
    context.set_verify(SSL.VERIFY_PEER, verification(name, is_address, enforce=not plan.insecure))
    credentials = None
    if plan.certificate is not None:
        credentials = certificates.read_credentials(plan.certificate, plan.key)
        _show(context, credentials, plan.certificate)
    if plan.alpn:
        context.set_alpn_protos(_protocol_names(plan.alpn))
    keylog = None
    if plan.keylog is not None:
        keylog = KeyLog(plan.keylog, f"--keylog {plan.keylog}")
    elif environment.get("SSLKEYLOGFILE"):
        path = environment["SSLKEYLOGFILE"]
        keylog = KeyLog(path, f"SSLKEYLOGFILE={path}")
    if keylog is not None:
        keylog.attach(context)
    server_name = None if is_address else name.encode("ascii")
    return ClientContext(context, server_name, keylog, credentials, plan.alpn, name, not plan.insecure)


def _context(method: int, oldest: TLSVersion) -> SSL.Context:
    context = SSL.Context(method)
    if method == SSL.DTLS_METHOD:
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        # Who has the socket knows how large datagrams may be; OpenSSL has memory alone, and cannot ask it.
        context.set_options(SSL.OP_NO_QUERY_MTU)
    else:
        context.set_min_proto_version(_OLDEST[oldest])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # Idle connections then cost no record buffers, which are most of what one takes.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _set_groups(context: SSL.Context, groups: bytes) -> None:
    # pyOpenSSL can name a single curve only (set_tmp_ecdh), so this calls OpenSSL beneath it; where that
    # has changed its name, OpenSSL's own choice of groups stays, which includes these.
    from OpenSSL import _util

    set_list = getattr(_util.lib, "SSL_CTX_set1_curves_list", None)
    if set_list is not None:
        set_list(context._context, groups)


def _identity(host: str) -> tuple[str, bool]:
    """Return a host as certificates name it, and whether it is an address."""
    bare = host.partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare)), True
    except ValueError:
        pass
    name = host.rstrip(".")
    try:
        return (name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")), False
    except UnicodeError:
        raise UsageError(f"{host!r} is no host name that a certificate could be for") from None


def _protocol_names(words: Iterable[str]) -> list[bytes]:
    names = list(words)
    for name in names:
        if not (name.isascii() and 1 <= len(name) <= 255):  # RFC 7301 sections 3.1 and 6
            raise UsageError("--alpn takes names of 1 to 255 bytes, in ASCII")
    return [name.encode("ascii") for name in names]


def _chooser(ours: list[bytes]) -> Callable[[Any, list[bytes]], Any]:
    def choose(connection: Any, theirs: list[bytes]) -> Any:
        known = ours or connection.alpn
        for name in known:
            if name in theirs:
                return name
        if not known:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        # RFC 7301 section 3.2 has the handshake fail; pyOpenSSL's own sentinel would go on without.
        raise SSL.Error([("SSL routines", "", "no application protocol")])

    return choose


def _trust(context: SSL.Context, path: str, flag: str) -> None:
    """Trust the certificates in a file, be they roots, intermediate authorities or a peer's very own."""
    with files.readable(path, flag) as readable:  # which says better than OpenSSL why it cannot be read
        try:
            context.load_verify_locations(readable)
        except SSL.Error:
            raise UsageError(f"{flag} {path}: this is not a certificate in PEM form") from None
    store = context.get_cert_store()
    if store is not None:
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)


def _show(context: SSL.Context, credentials: Credentials, path: str | None) -> None:
    """Have connections show a certificate, and those between it and its authority."""
    try:
        context.use_certificate(credentials.chain[0])
        key: Any = credentials.key  # OpenSSL says which kinds it takes
        context.use_privatekey(key)
        for certificate in credentials.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.check_privatekey()
    except (SSL.Error, OpenSSLError, TypeError) as error:
        reasons = [] if isinstance(error, TypeError) or not error.args else error.args[0]
        said = ", ".join(str(entry[-1]) for entry in reasons) or "not a key that TLS can use"
        raise UsageError(f"--cert {path}: OpenSSL does not take it: {said}") from None
