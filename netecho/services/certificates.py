"""Certificates and keys: read from files, or made for one run by an authority of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence

import idna
import trustme
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from netecho.errors import NetechoError, UsageError
from netecho.services import files

LIFETIME = datetime.timedelta(days=7)
"""How long the certificate of a local authority is valid."""
_TIME = "%Y-%m-%d %H:%M UTC"


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """A private key, and the certificates that lead from its own to an authority, its own first."""

    key: PrivateKeyTypes = dataclasses.field(repr=False)
    chain: Sequence[x509.Certificate]

    def to_json(self) -> dict[str, str]:
        """Return them in PEM form, for another process of ours and nobody else: the key is in clear."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)
        return {"key": key.decode("ascii"), "chain": chain.decode("ascii")}

    @classmethod
    def from_json(cls, credentials: Mapping[str, str]) -> Credentials:
        """Read back what `to_json` gave."""
        key = load_pem_private_key(credentials["key"].encode("ascii"), password=None)
        return cls(key, x509.load_pem_x509_certificates(credentials["chain"].encode("ascii")))


@dataclasses.dataclass(frozen=True, slots=True)
class LocalAuthority:
    """The authority behind a certificate made for one run, as its clients need to know it."""

    path: str
    """The authority's certificate, PEM, alone in a directory that only its owner can enter."""
    fingerprint: str
    """Of that certificate: SHA-256, as pairs of hexadecimal digits with colons between."""

    def remove(self) -> None:
        """Delete the certificate and its directory. More than once does no harm."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self.path))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return a certificate's SHA-256 fingerprint: hexadecimal, colons between the bytes."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def expiry(certificate: x509.Certificate) -> str:
    """Return the words for that a certificate has expired."""
    return f"expired on {certificate.not_valid_after_utc:{_TIME}}"


def commencement(certificate: x509.Certificate) -> str:
    """Return the words for that a certificate is not valid yet."""
    return f"is not valid before {certificate.not_valid_before_utc:{_TIME}}"


def lapse(certificate: x509.Certificate, now: datetime.datetime) -> str | None:
    """Return in words why nobody takes a certificate at a time; `None` if it is valid then."""
    if now > certificate.not_valid_after_utc:
        return expiry(certificate)
    return commencement(certificate) if now < certificate.not_valid_before_utc else None


def read_credentials(certificate: str, key: str | None) -> Credentials:
    """Return a certificate chain and its key from PEM files, or both from the one.

    Raises:
        UsageError: a file cannot be read or is not what it should be, the key is encrypted, or it is
            not the certificate's.
    """
    content = files.read(certificate, "--cert")
    try:
        chain = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise UsageError(f"--cert {certificate}: this is not a certificate in PEM form") from None
    path, flag = (certificate, "--cert") if key is None else (key, "--key")
    try:
        private = load_pem_private_key(content if key is None else files.read(key, flag), password=None)
    except TypeError:
        raise UsageError(
            f"{flag} {path}: the key is encrypted, and passwords are not asked for; "
            f"decrypt it with `openssl pkey -in {path} -out FILE`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        if key is None:
            raise UsageError(f"--cert {path}: no private key is in it; name one with --key") from None
        raise UsageError(f"--key {path}: this is not a private key in PEM form") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        place = "first certificate" if len(chain) > 1 else "certificate"
        raise UsageError(f"{flag} {path}: the key is not the one of the {place} in --cert {certificate}")
    return Credentials(private, chain)


def make_credentials(hosts: Iterable[str], hostname: str | None = None) -> tuple[Credentials, LocalAuthority]:
    """Make a certificate for this machine, and an authority that signs it and nothing ever after.

    Keys stay in memory. The certificate is for localhost, the loopback addresses, this host's name and
    `hosts`, and is valid for `LIFETIME`.

    Raises:
        NetechoError: there is nowhere to write the authority's certificate.
    """
    authority = trustme.CA(organization_name="netecho", organization_unit_name="short-lived local authority")
    names = ["localhost", "127.0.0.1", "::1", hostname or socket.gethostname(), *hosts]
    issued = authority.issue_cert(
        *dict.fromkeys(filter(_can_be_certified, (name.partition("%")[0] for name in names))),
        common_name="netecho",
        organization_name="netecho",
        organization_unit_name="short-lived certificate",
        not_after=datetime.datetime.now(datetime.UTC) + LIFETIME,
    )
    certificate = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    made = None
    try:
        made = LocalAuthority(
            os.path.join(tempfile.mkdtemp(prefix="netecho-"), "ca.pem"), fingerprint(certificate)
        )
        authority.cert_pem.write_to_path(made.path)
    except OSError as error:
        if made is not None:
            made.remove()
        raise NetechoError(
            f"cannot write the authority's certificate: {error}; set TMPDIR, or give --cert"
        ) from None
    chain = [x509.load_pem_x509_certificate(pem.bytes()) for pem in issued.cert_chain_pems]
    key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    return Credentials(key, chain), made


def _can_be_certified(name: str) -> bool:
    """Return whether a name can stand in a certificate: an address of one host, or a host name."""
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        pass
    try:
        return bool(idna.encode(name, uts46=True))
    except UnicodeError:
        return False
