"""What came of a TLS handshake: what was negotiated, or why there is no connection."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.error import ConnectionClosed
from twisted.python.failure import Failure

from netecho.errors import CertificateError, NetechoError, TLSError
from netecho.plans import Target
from netecho.protocols._security import Agreement, TLSParameters
from netecho.protocols._tls_info import distinguished, openssl_reasons
from netecho.services import certificates

_CODES = SSL.X509VerificationCodes
_TRUST = "--cacert FILE trusts the authority in FILE, -k trusts anyone"
_TALK_ANYWAY = "-k talks to it all the same"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Why a certificate does not verify."""

    reason: str
    """What is wrong, as a clause."""
    remedy: str
    """What to do about it, and which flag would help."""


class UnverifiedError(Exception):
    """A certificate does not verify; the reason for which a connection is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class VerifiedConnection(SSL.Connection):
    """An OpenSSL connection that knows what its verify callback found."""

    verifies = False
    """Whether the peer's certificate is looked at."""
    problem: Problem | None = None
    alpn: Sequence[bytes] = ()
    """What a server chooses from, if the user names nothing."""


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names and addresses that a certificate is for (its subjectAltName)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def chain_problem(certificate: x509.Certificate, code: int, depth: int) -> Problem:
    """Say in words what OpenSSL's verification found (X509_verify_cert_error).

    Args:
        certificate: the one at which verification failed.
        code: one of `OpenSSL.SSL.X509VerificationCodes`.
        depth: how far it is from the peer's own certificate, which is 0.
    """
    issuer = distinguished(lambda: certificate.issuer)
    subject = distinguished(lambda: certificate.subject)
    whose = "the certificate" if depth == 0 else f"the certificate of its authority {subject}"
    if code == _CODES.ERR_CERT_HAS_EXPIRED:
        return Problem(f"{whose} {certificates.expiry(certificate)}", _TALK_ANYWAY)
    if code == _CODES.ERR_CERT_NOT_YET_VALID:
        reason = f"{whose} {certificates.commencement(certificate)}"
        return Problem(reason, f"check this machine's clock; {_TALK_ANYWAY}")
    if code == _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return Problem("the certificate is self-signed, and not trusted here", _TRUST)
    if code == _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return Problem(f"the certificate leads to an authority not trusted here, {issuer}", _TRUST)
    if code in (_CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT):
        return Problem(f"{whose} is signed by an authority unknown here, {issuer}", _TRUST)
    if code == _CODES.ERR_INVALID_PURPOSE:
        return Problem(f"{whose} is not made for this purpose", _TALK_ANYWAY)
    word = next((name for name, value in vars(_CODES).items() if value == code), f"ERR_{code}")
    said = word.removeprefix("ERR_").replace("_", " ").lower()
    return Problem(f"{whose} does not verify: {said}", _TALK_ANYWAY)


def find_problem(
    context: SSL.Context, chain: Sequence[x509.Certificate], usage: x509.ObjectIdentifier
) -> Problem | None:
    """Check certificates that no OpenSSL connection has looked at, as one of a context would.

    Args:
        context: has the authorities that are trusted.
        chain: what the other end has shown, its own first.
        usage: what that must be for, if it is not for everything (RFC 5280 section 4.2.1.12).
    """
    if not chain:
        return Problem("the other end showed no certificate", _TALK_ANYWAY)
    shown = [X509.from_cryptography(one) for one in chain]
    try:
        X509StoreContext(context.get_cert_store() or X509Store(), shown[0], shown[1:]).verify_certificate()
    except X509StoreContextError as error:
        code, depth, _ = error.errors
        return chain_problem(error.certificate.to_cryptography(), code, depth)
    with contextlib.suppress(x509.ExtensionNotFound):
        try:
            usages = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except ValueError as error:
            return Problem(f"the certificate is malformed ({error})", _TALK_ANYWAY)
        if usage not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
            return chain_problem(chain[0], _CODES.ERR_INVALID_PURPOSE, 0)
    return None


def name_problem(certificate: x509.Certificate, host: str, is_address: bool) -> Problem | None:
    """Check that a certificate is for a host (RFC 9525), and say for whom it is if it is not.

    Args:
        certificate: the peer's own.
        host: a name in ASCII form, or an IP address.
        is_address: whether it is an address.
    """
    check = verify_certificate_ip_address if is_address else verify_certificate_hostname
    try:
        check(certificate, host)
    except VerificationError:
        known = ", ".join(names(certificate))
        return Problem(
            f"the certificate is for {known}, not for {host}",
            "--sni NAME asks for, and expects, another name; " + _TALK_ANYWAY,
        )
    except Exception as error:  # whatever it is, it must not cross OpenSSL, and is no proof of identity
        return Problem(f"the certificate does not say for which host it is ({error})", _TALK_ANYWAY)
    return None


VerifyCallback = Callable[[SSL.Connection, Any, int, int, int], bool]


def verification(host: str | None, is_address: bool = False, enforce: bool = True) -> VerifyCallback:
    """Return a verify callback for an OpenSSL context, which all of its connections share.

    It notes the first problem in `VerifiedConnection.problem`, and tells the TLS transport of it by
    `failVerification`, so that the wrapped protocol's `connectionLost` has an `UnverifiedError`.

    Args:
        host: whose certificate it must be; `None` accepts any holder that an authority vouches for.
        is_address: whether `host` is an IP address.
        enforce: whether the handshake fails by it.
    """

    def verify(connection: SSL.Connection, certificate: Any, code: int, depth: int, good: int) -> bool:
        problem = None
        if not good:
            problem = chain_problem(certificate.to_cryptography(), code, depth)
        elif depth == 0 and host is not None:
            problem = name_problem(certificate.to_cryptography(), host, is_address)
        if problem is None:
            return True
        if isinstance(connection, VerifiedConnection) and connection.problem is None:
            connection.problem = problem
            if enforce:
                connection.get_app_data().failVerification(Failure(UnverifiedError(problem)))
        return not enforce

    return verify


_NO_TLS = "speaks no TLS; leave --tls out"
_NO_STARTTLS = "goes on in clear after STARTTLS; leave --starttls out"
_OF_OUR_CERTIFICATE = {
    "certificate required": "wants a client certificate; give one with --cert",
    "unknown ca": "does not trust the authority of our certificate",
    "bad certificate": "does not accept our certificate",
    "certificate unknown": "does not accept our certificate",
    "certificate expired": "says that our certificate has expired",
    "unsupported certificate": "does not accept our kind of certificate",
    "access denied": "does not let us in",
}
"""Alerts (RFC 8446 section 6.2) that a TLS 1.3 client gets when its own side of the handshake is over."""
_WORDS = {
    "wrong version number": _NO_TLS,
    "unexpected message": _NO_TLS,
    "packet length too long": _NO_TLS,
    "record layer failure": _NO_TLS,
    "http request": _NO_TLS,
    "no application protocol": "speaks none of the protocols offered to it; --alpn NAMES offers others",
    **_OF_OUR_CERTIFICATE,
    "peer did not return a certificate": "showed no client certificate",
    "protocol version": "speaks no TLS version that we do",
    "unsupported protocol": "speaks no TLS version that we do",
    "no shared cipher": "has no cipher in common with us",
    "handshake failure": "has no cipher in common with us, or wants a client certificate (--cert)",
    "unrecognized name": "knows no host of that name; --sni NAME asks for another",
    "decrypt error": "found a signature of ours wrong",
    "internal error": "failed in the handshake by an error of its own",
}
"""What the reasons in OpenSSL's error queue mean, by a part of their text, the most telling first."""


def refusal(error: BaseException | None) -> str | None:
    """Return the alert by which the other end turned down our certificate, or our lack of one, if it did."""
    said = _said(error) if isinstance(error, SSL.Error) else []
    alerts = (part for part in _OF_OUR_CERTIFICATE if any(part in reason for reason in said))
    return next(alerts, None)


def explain_refusal(alert: str, target: Target | str) -> TLSError | None:
    """Return what such an alert of a target's means and which flag would help; `None` if it is none."""
    words = _OF_OUR_CERTIFICATE.get(alert)
    return None if words is None else TLSError(f"{target} {words}")


def _said(error: SSL.Error) -> list[str]:
    return [reason.lower() for reason in openssl_reasons(error)]


def explain(failure: Failure, target: Target | str) -> NetechoError:
    """Say in one line why a TLS connection came to nothing, and which flag would help.

    Args:
        failure: what the protocol's `connectionLost` got before its handshake was complete, or, for a
            TLS 1.3 client whose certificate is refused, shortly after.
        target: the other end, as the person named it.

    Returns:
        `CertificateError` when the other end's certificate does not verify, else `TLSError`.
    """
    error = failure.value
    if isinstance(error, NetechoError):
        return error
    if isinstance(error, UnverifiedError):
        return CertificateError(f"{target}: {error.problem.reason}; {error.problem.remedy}")
    if isinstance(error, ConnectionClosed | SSL.SysCallError):
        return TLSError(f"{target} closed the connection in the TLS handshake; perhaps it speaks no TLS")
    if isinstance(error, SSL.Error):
        said = _said(error)
        for part, words in _WORDS.items():
            if any(part in reason for reason in said):
                in_clear = words is _NO_TLS and isinstance(target, Target) and not target.secure
                return TLSError(f"{target} {_NO_STARTTLS if in_clear else words}")
        return TLSError(f"{target}: the TLS handshake failed: {', '.join(said) or 'no reason given'}")
    return TLSError(f"{target}: the TLS handshake failed: {error or type(error).__name__}")


@dataclasses.dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that the other end showed."""

    subject: str
    """A distinguished name, as RFC 4514 writes it."""
    issuer: str
    names: tuple[str, ...]
    """Host names and addresses."""
    not_before: datetime.datetime
    not_after: datetime.datetime
    fingerprint: str
    """SHA-256."""
    verified: bool
    """It leads to a trusted authority and, for a server's, is for the host that was asked for."""
    problem: str | None = None
    """Why it does not verify."""


@dataclasses.dataclass(frozen=True, slots=True)
class Negotiated(TLSParameters):
    """What the two ends of a TLS connection agreed upon, and whom we talk to."""

    peer: PeerCertificate | None = None

    def of_result(self) -> dict[str, Any]:
        """Return the `transport` object of `netecho.result/1`: nothing of whose certificate it is."""
        answer = dataclasses.asdict(self)
        del answer["peer"]
        return answer | {"verified": self.peer is not None and self.peer.verified}

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object; times are in ISO 8601."""
        answer = dataclasses.asdict(self)
        if self.peer is not None:
            answer["peer"] |= {
                "names": list(self.peer.names),
                "not_before": self.peer.not_before.isoformat(),
                "not_after": self.peer.not_after.isoformat(),
            }
        return answer


def describe(transport: Any) -> Negotiated | None:
    """Return what was negotiated on a TLS transport, or `None` on one in clear or not yet agreed."""
    agreement = getattr(transport, "agreement", None)
    if isinstance(agreement, Agreement):
        return Negotiated(
            version=agreement.version,
            cipher=agreement.cipher,
            bits=agreement.bits,
            group=agreement.group,
            alpn=agreement.alpn,
            server_name=agreement.server_name,
            peer=_peer(agreement.chain[0], agreement.verified, agreement.problem)
            if agreement.chain
            else None,
        )
    connection = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(connection, SSL.Connection):
        return None
    cipher = connection.get_cipher_name()
    if cipher is None:
        return None
    group = None
    with contextlib.suppress(NotImplementedError):  # OpenSSL before 3.2
        group = connection.get_group_name()
    server_name = connection.get_servername()
    return Negotiated(
        version=connection.get_protocol_version_name(),
        cipher=cipher,
        bits=connection.get_cipher_bits() or 0,
        group=group,
        alpn=connection.get_alpn_proto_negotiated().decode("latin-1") or None,
        server_name=None if server_name is None else server_name.decode("latin-1"),
        peer=_describe_peer(connection),
    )


def _describe_peer(connection: SSL.Connection) -> PeerCertificate | None:
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return None
    verifies = isinstance(connection, VerifiedConnection) and connection.verifies
    problem = connection.problem if isinstance(connection, VerifiedConnection) else None
    return _peer(certificate, verifies and problem is None, None if problem is None else problem.reason)


def _peer(certificate: x509.Certificate, verified: bool, problem: str | None) -> PeerCertificate:
    return PeerCertificate(
        subject=distinguished(lambda: certificate.subject),
        issuer=distinguished(lambda: certificate.issuer),
        names=names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificates.fingerprint(certificate),
        verified=verified,
        problem=problem,
    )
