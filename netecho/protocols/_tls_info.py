"""What TLS came to on a server's connection, and why one has ended: for people, and ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL.SSL import Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.x509 import Name
    from twisted.python.failure import Failure

    from netecho.protocols._security import Agreement


def openssl_reasons(error: Error) -> list[str]:
    """Return what an error of OpenSSL's says, in its own words; nothing if it says nothing."""
    if error.args and isinstance(error.args[0], list):
        queue = error.args[0]
    else:  # `SysCallError`, of the system beneath
        queue = [error.args] if error.args else []
    return [str(entry[-1]).replace("_", " ") for entry in queue]


def end_seen(reason: Failure) -> str:
    """Return why a connection has ended, in words (Twisted would show an error of OpenSSL's as a list)."""
    if isinstance(reason.value, Error):
        return ", ".join(openssl_reasons(reason.value)) or "TLS failed"
    if isinstance(reason.value, OSError) and reason.value.strerror:
        return reason.value.strerror  # without its number
    return reason.getErrorMessage()


def distinguished(name: Callable[[], Name]) -> str:
    """Return a distinguished name as RFC 4514 writes it, or that it is none: peers show what they like.

    Args:
        name: gets it from its certificate, which is when it is parsed.
    """
    try:
        return name().rfc4514_string()
    except ValueError:
        return "(malformed)"


def agreement_seen(agreement: Agreement | None) -> dict[str, Any] | None:
    """Return the same as `tls_seen` for a handshake that is not OpenSSL's; `None` before it is over."""
    if agreement is None:
        return None
    certificate = None
    if agreement.chain:
        shown = agreement.chain[0]
        certificate = {
            "subject": distinguished(lambda: shown.subject),
            "sha256": shown.fingerprint(SHA256()).hex(":").upper(),
        }
    return {
        "version": agreement.version,
        "cipher": agreement.cipher,
        "sni": agreement.server_name,
        "alpn": agreement.alpn,
        "client_certificate": certificate,
    }


def tls_seen(handle: Any) -> dict[str, Any]:
    """Return what is to be seen of a TLS connection.

    Args:
        handle: its `OpenSSL.SSL.Connection`.
    """
    certificate = None
    try:
        shown = handle.get_peer_certificate()
    except Error:
        shown = None
    if shown is not None:
        subject = ", ".join(
            f"{name.decode(errors='replace')}={value.decode(errors='replace')}"
            for name, value in shown.get_subject().get_components()
        )
        certificate = {"subject": subject, "sha256": shown.digest("sha256").decode()}
    name = handle.get_servername()
    return {
        "version": handle.get_protocol_version_name(),
        "cipher": handle.get_cipher_name(),
        "sni": None if name is None else name.decode("latin-1"),
        "alpn": handle.get_alpn_proto_negotiated().decode("latin-1") or None,
        "client_certificate": certificate,
    }
