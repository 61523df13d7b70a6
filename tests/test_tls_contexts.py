"""TLS contexts made from plans, real handshakes with them, and what is said when one fails."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netecho.errors import CertificateError, ExitStatus, NetechoError, RefusedError, TLSError, UsageError
from netecho.plans import ClientTLS, ServerTLS, Target, TLSVersion
from netecho.protocols._security import Agreement
from netecho.protocols._tls import HalfCloseableTLSFactory
from netecho.services.certificates import LIFETIME, Credentials
from netecho.services.handshake import UnverifiedError, chain_problem, describe, explain
from netecho.services.sessions import ResumingContext, is_resumed
from netecho.services.tls import ClientContext, ServerContext, for_client, for_server

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
TARGET = Target("tls", "tcp", True, "localhost", 8443)


class End(Protocol):
    """One end of a connection: keeps why it ended."""

    transport: Any
    reason: Any = None

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Keep the reason."""
        self.reason = reason


class Pair:
    """A server and a client joined in memory, their handshake done or failed."""

    def __init__(self, server: ServerContext, client: ClientContext) -> None:
        self.server, self.client = End(), End()
        clock = Clock()
        transports = []
        for end, context, is_client in ((self.server, server, False), (self.client, client, True)):
            wrapped = ClientFactory.forProtocol(lambda end=end: end)  # type: ignore[misc]
            factory = HalfCloseableTLSFactory(context, is_client, wrapped, clock)  # type: ignore[arg-type]
            transports.append(factory.buildProtocol(None))
        wires = [StringTransport(), StringTransport()]
        for transport, wire in zip(transports, wires, strict=True):
            transport.makeConnection(wire)
        while any(wire.value() for wire in wires):
            for wire, other in zip(wires, reversed(transports), strict=True):
                data = wire.value()
                wire.clear()
                if data:
                    other.dataReceived(data)
        for transport, wire in zip(transports, wires, strict=True):
            if wire.disconnecting:
                transport.connectionLost(Failure(ConnectionDone()))

    @property
    def error(self) -> NetechoError:
        """What the client would be told."""
        assert self.client.reason is not None, "the client's handshake did not fail"
        return explain(self.client.reason, TARGET)


class Files:
    """An authority, and files of what it signs."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.authority = trustme.CA(organization_name="Example")
        self.ca = self.write("ca.pem", self.authority.cert_pem.bytes())
        self.issued = self.authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.pair = self.write("pair.pem", self.issued.private_key_and_cert_chain_pem.bytes())
        self.certificate = self.write("certificate.pem", self.issued.cert_chain_pems[0].bytes())
        self.key = self.write("key.pem", self.issued.private_key_pem.bytes())

    def write(self, name: str, data: bytes) -> str:
        """Write a file and return its path."""
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def issue(self, *names: str, **options: Any) -> str:
        """Issue a certificate with its key; return the path of both."""
        issued = self.authority.issue_cert(*names, **options)
        return self.write("issued.pem", issued.private_key_and_cert_chain_pem.bytes())

    def client(self, host: str = "localhost", **options: Any) -> ClientContext:
        """Return a client that trusts the authority, unless told otherwise."""
        return for_client(ClientTLS(**{"authorities": self.ca, **options}), host, {})

    def server(self, **options: Any) -> ServerContext:
        """Return a server with a good certificate, unless told otherwise."""
        return for_server(ServerTLS(**{"certificate": self.pair, **options}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files for the whole module, as keys take time to make."""
    return Files(tmp_path_factory.mktemp("certificates"))


class TestLocalAuthority:
    """A server without a certificate makes an authority for this run."""

    @pytest.fixture
    def server(self) -> Iterator[ServerContext]:
        """Return such a server, and end it afterwards."""
        server = for_server(
            ServerTLS(), ["echo.example", "192.0.2.7", "0.0.0.0", "fe80::1%eth0"], "box_1.lan"
        )
        yield server
        server.close()

    def test_clients_can_trust_it(self, server: ServerContext) -> None:
        """A client that is given the authority's file trusts every name that the server listens on."""
        assert server.authority is not None
        for host in ("localhost", "127.0.0.1", "::1", "echo.example", "192.0.2.7", "fe80::1%lo"):
            client = for_client(ClientTLS(authorities=server.authority.path), host, {})
            pair = Pair(server, client)
            assert pair.client.reason is None
            found = describe(pair.client.transport)
            assert found is not None
            assert found.peer is not None
            assert found.peer.verified
            assert found.peer.not_after <= NOW + LIFETIME + DAY / 24

    def test_only_its_certificate_is_written(self, server: ServerContext) -> None:
        """The file has one certificate and no key, is private, and goes when the server ends."""
        assert server.authority is not None
        path = pathlib.Path(server.authority.path)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert list(path.parent.iterdir()) == [path]
        assert b"KEY" not in path.read_bytes()
        (certificate,) = x509.load_pem_x509_certificates(path.read_bytes())
        expected = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        assert server.authority.fingerprint == expected
        server.close()
        server.close()
        assert not path.parent.exists()

    def test_nowhere_to_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a place for it, the error says so."""
        monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
        with pytest.raises(NetechoError, match="cannot write the authority's certificate"):
            for_server(ServerTLS())


def shake(files: Files, server: ServerContext, change: Callable[[ssl.SSLContext], object]) -> ssl.SSLObject:
    """Have Python's ssl, changed somehow, shake hands with a server of ours; raise as it does."""
    context = ssl.create_default_context(cafile=files.ca)
    change(context)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    end: Any = SSL.Connection(server.context, None)
    end.set_accept_state()
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if to_server.pending:
            end.bio_write(to_server.read())
        with contextlib.suppress(SSL.Error):
            end.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            to_client.write(end.bio_read(65536))
    return client


class TestServerProfile:
    """Mozilla's intermediate profile, as seen by Python's ssl."""

    def test_intermediate(self, files: Files) -> None:
        """TLS 1.3 and 1.2 are spoken, with forward secrecy and the client's choice of cipher."""
        assert shake(files, files.server(), lambda _: None).version() == "TLSv1.3"

        def older(context: ssl.SSLContext) -> None:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")

        client = shake(files, files.server(), older)
        assert client.version() == "TLSv1.2"
        assert client.compression() is None
        chosen = client.cipher()
        assert chosen is not None
        assert chosen[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("weak", ["TLS 1.1", "CBC", "no forward secrecy", "P-521"])
    def test_weak_is_refused(self, files: Files, weak: str) -> None:
        """What the profile leaves out gets no connection."""

        def weaken(context: ssl.SSLContext) -> None:
            if weak == "P-521":
                context.set_ecdh_curve("secp521r1")
                return
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            if weak == "TLS 1.1":
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
                context.set_ciphers("ALL:@SECLEVEL=0")
            elif weak == "CBC":
                context.set_ciphers("ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA")
            else:
                context.set_ciphers("AES128-GCM-SHA256")

        server = files.server(certificate=files.issue("localhost", key_type=trustme.KeyType.RSA))
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|no protocols"):
            shake(files, server, weaken)

    def test_minimum(self, files: Files) -> None:
        """A server of TLS 1.3 alone refuses TLS 1.2."""

        def older(context: ssl.SSLContext) -> None:
            context.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            shake(files, files.server(minimum=TLSVersion.TLS_1_3), older)

    def test_ciphers(self, files: Files) -> None:
        """A cipher string of one's own takes the list's place."""

        def older(context: ssl.SSLContext) -> None:
            context.maximum_version = ssl.TLSVersion.TLSv1_2

        only = files.server(ciphers="ECDHE-ECDSA-AES256-SHA384")
        chosen = shake(files, only, older).cipher()
        assert chosen is not None
        assert chosen[0] == "ECDHE-ECDSA-AES256-SHA384"


class TestNegotiation:
    """What two good ends agree upon."""

    def test_described(self, files: Files) -> None:
        """Version, cipher, group, and the peer's certificate, for people and as JSON."""
        pair = Pair(files.server(alpn=("echo", "h2")), files.client(alpn=("h2", "echo")))
        found = describe(pair.client.transport)
        assert found is not None
        assert (found.version, found.bits, found.alpn) == ("TLSv1.3", 256, "echo")
        assert found.group == "x25519"
        assert found.server_name == "localhost"
        assert found.peer is not None
        assert found.peer.names == ("localhost", "127.0.0.1", "::1")
        assert found.peer.verified
        assert "Example" in found.peer.issuer
        written = json.loads(json.dumps(found.to_json()))
        assert written["peer"]["names"] == ["localhost", "127.0.0.1", "::1"]
        assert written["peer"]["not_after"] == found.peer.not_after.isoformat()
        seen_by_server = describe(pair.server.transport)
        assert seen_by_server == dataclasses.replace(found, peer=None)

    def test_in_clear(self) -> None:
        """A transport without TLS has nothing to describe."""
        assert describe(StringTransport()) is None

    @pytest.mark.parametrize(
        ("host", "given", "sent"),
        [
            ("localhost", None, "localhost"),
            ("localhost.", None, "localhost"),
            ("127.0.0.1", None, None),
            ("::1", None, None),
            ("127.0.0.1", "localhost", "localhost"),
            ("localhost", "127.0.0.1", None),
        ],
    )
    def test_server_name(self, files: Files, host: str, given: str | None, sent: str | None) -> None:
        """SNI is the host, or the name given in its place, and never an address."""
        pair = Pair(files.server(), files.client(host, server_name=given))
        assert pair.client.reason is None
        found = describe(pair.server.transport)
        assert found is not None
        assert found.server_name == sent

    def test_international_name(self, files: Files) -> None:
        """A name beyond ASCII is sent and verified in its A-label form (RFC 5890)."""
        server = files.server(certificate=files.issue("bücher.example"))
        pair = Pair(server, files.client("bücher.example"))
        assert pair.client.reason is None
        found = describe(pair.server.transport)
        assert found is not None
        assert found.server_name == "xn--bcher-kva.example"

    def test_mutual(self, files: Files) -> None:
        """A client with a certificate is let in, and the server knows who it is."""
        pair = Pair(files.server(client_ca=files.ca), files.client(certificate=files.pair))
        assert pair.client.reason is None
        found = describe(pair.server.transport)
        assert found is not None
        assert found.peer is not None
        assert found.peer.verified

    def test_chain(self, files: Files) -> None:
        """Certificates between ours and the authority are sent along."""
        issued = files.authority.create_child_ca().issue_cert("localhost")
        path = files.write("chain.pem", issued.private_key_and_cert_chain_pem.bytes())
        assert Pair(files.server(certificate=path), files.client()).client.reason is None

    def test_trust_in_one_certificate(self, files: Files) -> None:
        """A server's own certificate will do for --cacert, without the authority that signed it."""
        assert Pair(files.server(), files.client(authorities=files.certificate)).client.reason is None

    def test_system_trust(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without --cacert the system's authorities are trusted, or those of SSL_CERT_FILE."""
        monkeypatch.setenv("SSL_CERT_FILE", files.ca)
        assert Pair(files.server(), files.client(authorities=None)).client.reason is None
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "unknown here" in str(Pair(files.server(), files.client(authorities=None)).error)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # some roots are older than the rules
    def test_system_store_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The authorities that the system keeps are found, wherever OpenSSL was built."""
        bundle = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        if not bundle.exists():
            pytest.skip("no bundle of authorities where Debian keeps it")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        context = for_client(ClientTLS(), "localhost", {}).context  # the store does not keep it alive
        store = context.get_cert_store()
        assert store is not None
        valid = [
            one
            for one in x509.load_pem_x509_certificates(bundle.read_bytes())
            if one.not_valid_after_utc > NOW
        ]
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(valid[0])).verify_certificate()


class TestKeylog:
    """Secrets are written where they are asked for, and only there."""

    @pytest.mark.parametrize("by", ["flag", "environment"])
    def test_written(self, files: Files, tmp_path: pathlib.Path, by: str) -> None:
        """The NSS key log is appended to, in a file of its owner's alone."""
        path = tmp_path / "keys"
        plan = ClientTLS(authorities=files.ca, keylog=str(path) if by == "flag" else None)
        environment = {"SSLKEYLOGFILE": str(path if by == "environment" else tmp_path / "other")}
        for _ in range(2):
            client = for_client(plan, "localhost", environment)
            Pair(files.server(), client)
            client.close()
        lines = path.read_text().splitlines()
        assert sum(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in lines) == 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not (tmp_path / "other").exists()

    def test_unwritable(self, files: Files, tmp_path: pathlib.Path) -> None:
        """A place that cannot be written is found before anything connects."""
        with pytest.raises(UsageError, match=r"--keylog .*No such file"):
            files.client(keylog=str(tmp_path / "no" / "keys"))
        with pytest.raises(UsageError, match=r"SSLKEYLOGFILE=.*No such file"):
            for_client(ClientTLS(), "localhost", {"SSLKEYLOGFILE": str(tmp_path / "no" / "keys")})


class TestRefusedCertificates:
    """Each way in which a certificate does not verify says why, and which flag would help."""

    def check(self, pair: Pair, *says: str) -> None:
        """Check the client's error, and that the server was told by an alert."""
        error = pair.error
        assert isinstance(error, CertificateError)
        assert error.exit_status is ExitStatus.FAILED
        assert str(error).startswith("tls://localhost:8443: the certificate ")
        assert "\n" not in str(error)
        for words in says:
            assert words in str(error)
        assert pair.server.reason is not None
        assert pair.server.reason.check(SSL.Error)

    def test_expired(self, files: Files) -> None:
        """An expired one names the day."""
        path = files.issue("localhost", not_before=NOW - 9 * DAY, not_after=NOW - 2 * DAY)
        pair = Pair(files.server(certificate=path), files.client())
        error = pair.error
        assert isinstance(error, CertificateError)
        assert f"expired on {NOW - 2 * DAY:%Y-%m-%d}" in str(error)
        assert "-k" in str(error)
        assert "our certificate has expired" in str(explain(pair.server.reason, "192.0.2.1"))

    def test_not_yet_valid(self, files: Files) -> None:
        """One from the future names the day, and the clock."""
        path = files.issue("localhost", not_before=NOW + 2 * DAY, not_after=NOW + 9 * DAY)
        pair = Pair(files.server(certificate=path), files.client())
        assert f"is not valid before {NOW + 2 * DAY:%Y-%m-%d}" in str(pair.error)
        assert "clock" in str(pair.error)

    def test_unknown_issuer(self, files: Files, tmp_path: pathlib.Path) -> None:
        """One of an authority that is not trusted names the authority, and --cacert."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        self.check(Pair(files.server(), files.client(authorities=str(other))), "O=Example", "--cacert", "-k")

    def test_authority_sent_along(self, files: Files, tmp_path: pathlib.Path) -> None:
        """One that comes with its untrusted authority names that."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        path = files.write(
            "long.pem", pathlib.Path(files.pair).read_bytes() + files.authority.cert_pem.bytes()
        )
        pair = Pair(files.server(certificate=path), files.client(authorities=str(other)))
        self.check(pair, "leads to an authority not trusted here", "O=Example", "--cacert")

    def test_self_signed(self, files: Files, tmp_path: pathlib.Path) -> None:
        """A self-signed one says so; given as --cacert, it is trusted."""
        key = serialization.load_pem_private_key(files.issued.private_key_pem.bytes(), None)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lonely")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW - DAY, NOW + DAY)  # type: ignore[arg-type]
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        signed = builder.add_extension(names, False).sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path = tmp_path / "lonely.pem"
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        server = files.server(certificate=str(path), key=files.key)
        self.check(Pair(server, files.client()), "self-signed", "--cacert")
        assert Pair(server, files.client(authorities=str(path))).client.reason is None

    @pytest.mark.parametrize("host", ["echo.example", "192.0.2.1"])
    def test_wrong_name(self, files: Files, host: str) -> None:
        """One for other hosts names them, and --sni."""
        pair = Pair(files.server(), files.client(host))
        self.check(pair, f"is for localhost, 127.0.0.1, ::1, not for {host}", "--sni", "-k")

    def test_no_name(self, files: Files) -> None:
        """One that names no host is for none; a common name does not count (RFC 9525)."""
        pair = Pair(files.server(certificate=files.issue(common_name="localhost")), files.client())
        assert "the certificate does not say for which host" in str(pair.error)

    def test_authority_of_the_wrong_kind(self, files: Files) -> None:
        """One signed by what is no authority names the one at fault, in OpenSSL's terms."""
        leaf = x509.load_pem_x509_certificate(files.issued.cert_chain_pems[0].bytes())
        codes = SSL.X509VerificationCodes
        reason = chain_problem(leaf, codes.ERR_INVALID_CA, 1).reason
        assert reason.startswith("the certificate of its authority OU=Testing cert")
        assert reason.endswith("does not verify: invalid ca")
        assert "purpose" in chain_problem(leaf, codes.ERR_INVALID_PURPOSE, 0).reason

    def test_insecure(self, files: Files) -> None:
        """With -k there is a connection all the same, and it says what it overlooked."""
        path = files.issue("localhost", not_before=NOW - 9 * DAY, not_after=NOW - 2 * DAY)
        pair = Pair(files.server(certificate=path), files.client("echo.example", insecure=True))
        assert pair.client.reason is None
        found = describe(pair.client.transport)
        assert found is not None
        assert found.peer is not None
        assert not found.peer.verified
        assert found.peer.problem is not None
        assert "expired" in found.peer.problem


class TestExplain:
    """Other failures, in plain words."""

    def test_no_client_certificate(self, files: Files) -> None:
        """A server that wants a certificate and gets none: the flag is named, to both sides."""
        pair = Pair(files.server(client_ca=files.ca), files.client())
        assert isinstance(pair.error, TLSError)
        assert "wants a client certificate; give one with --cert" in str(pair.error)
        assert "showed no client certificate" in str(explain(pair.server.reason, "192.0.2.1"))

    def test_unknown_client(self, files: Files, tmp_path: pathlib.Path) -> None:
        """A server that does not know our authority."""
        issued = trustme.CA().issue_cert("me")
        path = tmp_path / "me.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        pair = Pair(files.server(client_ca=files.ca), files.client(certificate=str(path)))
        assert "does not trust the authority of our certificate" in str(pair.error)

    def test_alpn(self, files: Files) -> None:
        """Nothing in common by ALPN fails the handshake (RFC 7301 section 3.2)."""
        pair = Pair(files.server(alpn=("echo",)), files.client(alpn=("h2",)))
        assert "--alpn" in str(pair.error)
        assert Pair(files.server(), files.client(alpn=("h2",))).client.reason is None
        assert Pair(files.server(alpn=("echo",)), files.client()).client.reason is None

    def test_versions(self, files: Files) -> None:
        """No TLS version in common."""
        client = files.client()
        client.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        assert "speaks no TLS version that we do" in str(
            Pair(files.server(minimum=TLSVersion.TLS_1_3), client).error
        )

    def test_ciphers(self, files: Files) -> None:
        """No cipher in common."""
        client = files.client()
        client.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        error = Pair(files.server(ciphers="ECDHE-RSA-AES128-GCM-SHA256"), client).error
        assert "no cipher in common" in str(error)

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 ready\r\n", None])
    @pytest.mark.parametrize(
        ("target", "says"),
        [
            (TARGET, "tls://localhost:8443 speaks no TLS; leave --tls out"),
            (
                Target("smtp", "smtp", False, "localhost", 25, upgrades=True),
                "smtp://localhost:25 goes on in clear after STARTTLS; leave --starttls out",
            ),
        ],
    )
    def test_not_tls(self, files: Files, answer: bytes | None, target: Target, says: str) -> None:
        """A peer in clear, be it one that greets or one that echoes, speaks no TLS: leave which flag out?"""
        end, wire = End(), StringTransport()
        wrapped = ClientFactory.forProtocol(lambda: end)
        transport = HalfCloseableTLSFactory(files.client(), True, wrapped, Clock()).buildProtocol(None)  # type: ignore[arg-type]
        transport.makeConnection(wire)
        transport.dataReceived(answer or wire.value())
        transport.connectionLost(Failure(ConnectionDone()))
        assert str(explain(end.reason, target)) == says

    @pytest.mark.parametrize(
        ("reason", "says"),
        [
            (ConnectionDone(), "closed the connection in the TLS handshake"),
            (ConnectionLost(), "closed the connection in the TLS handshake"),
            (SSL.SysCallError(-1, "Unexpected EOF"), "closed the connection in the TLS handshake"),
            (SSL.Error([("SSL routines", "", "never heard of")]), "never heard of"),
            (SSL.Error([]), "no reason given"),
            (OSError("odd"), "odd"),
        ],
    )
    def test_other_reasons(self, reason: Exception, says: str) -> None:
        """What is not known by its words is still one line."""
        error = explain(Failure(reason), TARGET)
        assert type(error) is TLSError
        assert says in str(error)

    def test_ours_stay(self) -> None:
        """An error that is already in words stays as it is."""
        error = RefusedError("nobody there")
        assert explain(Failure(error), TARGET) is error


class TestFiles:
    """What is wrong with a file or a flag is a usage error that names both."""

    @pytest.fixture
    def bad(self, files: Files) -> dict[str, str]:
        """Return files that are wrong in one way each."""
        key = serialization.load_pem_private_key(files.issued.private_key_pem.bytes(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        other = trustme.CA().issue_cert("localhost")
        return {
            "missing": str(files.directory / "missing.pem"),
            "directory": str(files.directory),
            "garbage": files.write("garbage.pem", b"not PEM"),
            "encrypted": files.write("encrypted.pem", encrypted),
            "other": files.write("other-key.pem", other.private_key_pem.bytes()),
            "certificate": files.certificate,
            "key": files.key,
        }

    @pytest.mark.parametrize("side", ["server", "client"])
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"certificate": "missing"}, "--cert {missing}: No such file or directory"),
            ({"certificate": "directory"}, "--cert {directory}: Is a directory"),
            ({"certificate": "garbage"}, "--cert {garbage}: this is not a certificate in PEM form"),
            ({"certificate": "key"}, "--cert {key}: this is not a certificate in PEM form"),
            ({"certificate": "certificate"}, "no private key is in it; name one with --key"),
            ({"certificate": "certificate", "key": "missing"}, "--key {missing}: No such file"),
            ({"certificate": "certificate", "key": "garbage"}, "--key {garbage}: this is not a private key"),
            ({"certificate": "certificate", "key": "other"}, "--key {other}: the key is not the one of"),
            ({"certificate": "certificate", "key": "encrypted"}, "--key {encrypted}: the key is encrypted"),
        ],
    )
    def test_credentials(
        self, files: Files, bad: dict[str, str], side: str, options: dict[str, str], says: str
    ) -> None:
        """Certificates and keys, of servers and of clients."""
        make: Any = getattr(files, side)
        with pytest.raises(UsageError) as caught:
            make(**{name: bad[value] for name, value in options.items()})
        assert says.format(**bad) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("kind", [Ed25519PrivateKey, Ed448PrivateKey])
    def test_key_that_dtls_does_not_take(
        self, files: Files, kind: type[Ed25519PrivateKey | Ed448PrivateKey]
    ) -> None:
        """It is good for TLS, and for a client."""
        key = kind.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
        parts = Credentials(key, [unsigned.sign(key, None)]).to_json()
        path = files.write("eddsa.pem", "".join(parts.values()).encode())
        context = files.server(certificate=path)
        assert for_client(ClientTLS(certificate=path), "localhost", {}, datagrams=True).identity is not None
        with pytest.raises(UsageError, match=f"--cert {path}: OpenSSL's DTLS servers cannot sign with EdDSA"):
            context.offering((), datagrams=True)

    def test_authorities(self, files: Files, bad: dict[str, str]) -> None:
        """Whom to trust."""
        with pytest.raises(UsageError, match=f"--client-ca {bad['missing']}: No such file"):
            files.server(client_ca=bad["missing"])
        with pytest.raises(UsageError, match=f"--cacert {bad['garbage']}: this is not a certificate"):
            files.client(authorities=bad["garbage"])

    @pytest.mark.parametrize("kind", [0x14, 0x0C], ids=["to OpenSSL a certificate", "to nobody"])
    def test_subject_that_is_no_text(self, files: Files, kind: int) -> None:
        """A certificate with such a name is a certificate all the same, if OpenSSL takes it."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "abcdXXefg")])
        signer = Ed25519PrivateKey.generate()
        made = (
            x509.CertificateBuilder(name, name, signer.public_key(), 5, NOW - DAY, NOW + DAY)
            .sign(signer, None)
            .public_bytes(serialization.Encoding.DER)
            .replace(b"\x0c\x09abcdXXefg", bytes([kind]) + b"\x09abcd\xff\xfeefg")
        )
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = ssl.DER_cert_to_PEM_cert(made).encode() + signer.private_bytes(*form)
        path = files.write("no-text.pem", pem)
        if kind == 0x0C:
            with pytest.raises(UsageError, match=f"--cert {path}: OpenSSL does not take it: .*invalid utf8"):
                files.server(certificate=path)
            return
        pair = Pair(files.server(certificate=path), files.client(insecure=True))
        negotiated = describe(pair.client.transport)
        assert negotiated is not None
        assert negotiated.peer is not None
        assert (negotiated.peer.subject, negotiated.peer.issuer) == ("(malformed)", "(malformed)")

    def test_nothing_is_left_of_a_mistake(self, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
        """The authority that was made for a server is deleted if a flag is found wrong afterwards."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(UsageError, match="--ciphers 'NONSENSE'"):
            for_server(ServerTLS(ciphers="NONSENSE"), ["127.0.0.1"])
        assert list(tmp_path.iterdir()) == []

    def test_flags(self, files: Files) -> None:
        """Words that OpenSSL, or the standard, does not take."""
        with pytest.raises(UsageError, match="--ciphers 'NONSENSE'"):
            files.server(ciphers="NONSENSE")
        for name in ("", "x" * 256, "\xe9", "\udcff"):
            with pytest.raises(UsageError, match="--alpn takes names of 1 to 255 bytes, in ASCII"):
                files.server(alpn=(name,))
        with pytest.raises(UsageError, match="no host name"):
            files.client("a..ö")


class TestWithoutOpenSSL:
    """Contexts as they serve protocols that shake hands by themselves."""

    @staticmethod
    def reason(client: ClientContext, path: str) -> str | None:
        """Return what a client says of the certificates in a file."""
        chain = x509.load_pem_x509_certificates(pathlib.Path(path).read_bytes())
        try:
            return client.verify(chain)
        except UnverifiedError as error:
            return f"refused: {error.problem.reason}"

    @pytest.mark.parametrize(
        ("names", "options", "host"),
        [
            (["localhost"], {}, "localhost"),
            (["127.0.0.1"], {}, "127.0.0.1"),
            (["localhost"], {}, "example.org"),
            (["localhost"], {}, "127.0.0.1"),
            (["localhost"], {"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "localhost"),
            (["localhost"], {"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, "localhost"),
        ],
    )
    def test_as_openssl(self, files: Files, names: list[str], options: dict[str, Any], host: str) -> None:
        """Certificates verify, or do not, for the reasons that OpenSSL's own handshake has."""
        path = files.issue(*names, **options)
        pair = Pair(for_server(ServerTLS(path)), files.client(host, insecure=True))
        peer = describe(pair.client.transport)
        assert peer is not None
        assert peer.peer is not None
        assert self.reason(files.client(host, insecure=True), path) == peer.peer.problem
        refused = None if peer.peer.problem is None else f"refused: {peer.peer.problem}"
        assert self.reason(files.client(host), path) == refused

    def test_others(self, files: Files, tmp_path: pathlib.Path) -> None:
        """Nor do those of an authority that is not trusted, and no certificates at all."""
        other = Files(tmp_path)
        assert "unknown here" in (self.reason(files.client(), other.pair) or "")
        with pytest.raises(UnverifiedError, match="showed no certificate"):
            for_server(ServerTLS(files.pair, client_ca=files.ca)).verify([])

    def test_purpose(self, files: Files) -> None:
        """A certificate that is for servers alone is none for a client, and the other way round."""
        subject = x509.Name([])
        for usage, who in (
            (ExtendedKeyUsageOID.CLIENT_AUTH, "client"),
            (ExtendedKeyUsageOID.SERVER_AUTH, "server"),
        ):
            key = files.issued.private_key_pem.bytes()
            certificate = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(files.authority._certificate.subject)
                .public_key(serialization.load_pem_private_key(key, None).public_key())  # type: ignore[arg-type]
                .serial_number(7)
                .not_valid_before(NOW - DAY)
                .not_valid_after(NOW + DAY)
                .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
                .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
                .sign(files.authority._private_key, hashes.SHA256())
            )
            path = files.write(f"{who}.pem", certificate.public_bytes(serialization.Encoding.PEM))
            says = self.reason(files.client(), path)
            server = for_server(ServerTLS(files.pair, client_ca=files.ca))
            if who == "client":
                assert says is not None
                assert "not made for this purpose" in says
                server.verify([certificate])
            else:
                assert says is None
                with pytest.raises(UnverifiedError, match="not made for this purpose"):
                    server.verify([certificate])

    def test_plain_values(self, files: Files, tmp_path: pathlib.Path) -> None:
        """What is shown, offered and logged is there without OpenSSL's objects."""
        log = tmp_path / "log"
        client = files.client(certificate=files.pair, alpn=("a", "b"), keylog=str(log))
        assert client.identity is not None
        assert client.identity.chain == x509.load_pem_x509_certificates(pathlib.Path(files.pair).read_bytes())
        assert (client.alpn, client.verifies, client.resumes) == (("a", "b"), True, False)
        client.log_secret(b"A SECRET")
        client.close()
        client.log_secret(b"of a log that is closed")
        assert log.read_bytes() == b"A SECRET\n"
        server = for_server(ServerTLS(files.pair))
        assert server.identity is not None
        assert server.offering(("x",)).alpn == ("x",)
        assert for_server(ServerTLS(files.pair, alpn=("y",))).offering(("x",)).alpn == ("y",)
        server.log_secret(b"kept")
        resuming = ResumingContext(client)
        assert (resuming.resumes, resuming.session, resuming.alpn) == (True, None, ("a", "b"))

    def test_described(self, files: Files) -> None:
        """What such a protocol tells of its connection is what is shown of it."""
        chain = x509.load_pem_x509_certificates(pathlib.Path(files.pair).read_bytes())
        agreement = Agreement("QUICv1", "AES", 128, alpn="x", chain=chain, problem="it is old", resumed=True)
        transport = types.SimpleNamespace(agreement=agreement)
        told = describe(transport)
        assert told is not None
        assert (told.version, told.cipher, told.bits, told.alpn) == ("QUICv1", "AES", 128, "x")
        assert told.peer is not None
        assert told.peer.names == ("localhost", "127.0.0.1", "::1")
        assert (told.peer.verified, told.peer.problem) == (False, "it is old")
        assert is_resumed(transport)
        transport.agreement = Agreement("QUICv1", "AES", 128)
        told = describe(transport)
        assert told is not None
        assert told.peer is None


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="openssl is not installed"
)
def test_openssl_agrees(files: Files) -> None:
    """`openssl s_client` verifies our chain over a real socket, and names what the profile promises."""
    server = files.server(alpn=("echo",))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_one() -> None:
            accepted, _ = listening.accept()
            end = SSL.Connection(server.context, accepted)
            end.set_accept_state()
            with contextlib.suppress(SSL.Error):
                end.do_handshake()
                end.recv(1)
            accepted.close()

        thread = threading.Thread(target=serve_one)
        thread.start()
        port = listening.getsockname()[1]
        command = (
            f"openssl s_client -connect 127.0.0.1:{port} -CAfile {files.ca} -verify_return_error -alpn echo"
        )
        shown = subprocess.run(command.split(), input=b"", capture_output=True, timeout=30)
        thread.join()
    text = shown.stdout.decode()
    assert "Verify return code: 0 (ok)" in text
    assert "ALPN protocol: echo" in text
    assert "New, TLSv1.3" in text
    assert "Compression: NONE" in text
    assert "Server Temp Key: X25519" in text
