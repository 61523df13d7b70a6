"""`netecho serve` under programs that nobody here wrote: socat, ncat, nc, openssl and curl."""

from __future__ import annotations

import hashlib
import os
import pathlib
import select
import subprocess
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest
import trustme

from tests.peers import need
from tests.servers import TIMEOUT, Server

MIB = 1 << 20
SECURE_SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Those of Mozilla's intermediate profile for TLS 1.2 that need no file of Diffie-Hellman parameters."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve every form at once; return what stands in a peer's command for their addresses."""
    path = tmp_path_factory.mktemp("unix") / "echo"
    urls = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://[::1]:0", "udp://[::1]:0"]
    with Server(*urls, f"unix:{path}", "--alpn", "h2,echo/1") as server:
        words = ["TCP", "TLS", "UDP", "TCP6", "UDP6"]
        found = {word: str(one.address[1]) for word, one in zip(words, server.listeners, strict=False)}
        yield found | {"PATH": str(path), "CA": str(server.listeners[1].ca)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a file of 10 MiB that does not compress."""
    path = tmp_path_factory.mktemp("files") / "large"
    path.write_bytes(os.urandom(10 * MIB))
    return path


def command(words: str, names: dict[str, str]) -> list[str]:
    """Return a peer's command, with what the names in braces stand for."""
    program, *rest = words.format_map(names).split()
    return [need(program), *rest]


class Dialogue:
    """A peer that is told what to send, and shows what comes back; ended on leaving the block."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        return self

    def send(self, data: bytes) -> None:
        """Have it send."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def receive(self, size: int) -> bytes:
        """Return so many bytes of what it shows, or fewer if it ends."""
        assert self.process.stdout is not None
        received, until = b"", time.monotonic() + TIMEOUT
        while len(received) < size:
            assert select.select([self.process.stdout], [], [], until - time.monotonic())[0], "nothing comes"
            data = os.read(self.process.stdout.fileno(), size - len(received))
            if not data:
                break
            received += data
        return received

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, if it has not ended by itself."""
        self.process.kill()
        self.process.communicate()


def run(command: list[str], sent: bytes = b"") -> tuple[int, str]:
    """Run a command to its end; return its exit status and all that it said."""
    done = subprocess.run(
        command,
        input=sent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


@pytest.mark.parametrize(
    "words",
    [
        "socat -t 60 STDIO TCP:127.0.0.1:{TCP}",
        "socat -t 60 STDIO TCP:127.0.0.1:{TCP},shut-down",
        "socat -t 60 STDIO TCP6:[::1]:{TCP6}",
        "socat -t 60 -b 4099 STDIO TCP:127.0.0.1:{TCP}",
        "socat -t 60 STDIO UNIX-CONNECT:{PATH}",
        "ncat 127.0.0.1 {TCP}",
        "ncat -6 ::1 {TCP6}",
        "ncat -U {PATH}",
        "ncat --ssl --ssl-verify --ssl-trustfile {CA} localhost {TLS}",
        "nc -N 127.0.0.1 {TCP}",
        "nc -N -6 ::1 {TCP6}",
        "nc -N -U {PATH}",
    ],
)
def test_whole_file(names: dict[str, str], large: pathlib.Path, words: str) -> None:
    """10 MiB are sent, the peer closes its half, and has every byte back before it sees the end of ours."""
    with large.open("rb") as file:
        done = subprocess.run(
            command(words, names), stdin=file, capture_output=True, timeout=TIMEOUT, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(large.read_bytes()).digest()


@pytest.mark.parametrize(
    "words",
    [
        "socat STDIO TCP:127.0.0.1:{TCP}",
        "socat STDIO UNIX-CONNECT:{PATH}",
        "socat STDIO OPENSSL:localhost:{TLS},cafile={CA}",
        "ncat 127.0.0.1 {TCP}",
        "ncat --ssl --ssl-verify --ssl-trustfile {CA} localhost {TLS}",
        "nc 127.0.0.1 {TCP}",
        "nc -U {PATH}",
        "curl --silent --no-buffer telnet://127.0.0.1:{TCP}",
        "openssl s_client -quiet -verify_quiet -connect localhost:{TLS} -CAfile {CA} -verify_return_error "
        "-verify_hostname localhost -tls1_2",
        "openssl s_client -quiet -verify_quiet -connect localhost:{TLS} -CAfile {CA} -verify_return_error "
        "-verify_hostname localhost -tls1_3",
    ],
)
def test_dialogue(names: dict[str, str], words: str) -> None:
    """Each line comes back while the connection stays open."""
    with Dialogue(command(words, names)) as peer:
        for line in (b"hello\n", b"x" * 1000 + b"\n", "h\xe9llo\n".encode()):
            peer.send(line)
            assert peer.receive(len(line)) == line


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_small_records(names: dict[str, str], version: str) -> None:
    """A peer that wants small TLS records (RFC 6066 section 4) has all of its echo in such."""
    words = f"openssl s_client -quiet -verify_quiet -connect localhost:{{TLS}} {version} -maxfraglen 512"
    message = b"%s\n" % os.urandom(20_000).hex().encode()
    with Dialogue(command(words, names)) as peer:
        peer.send(message)
        assert peer.receive(len(message)) == message


@pytest.mark.parametrize(
    "words",
    [
        "socat STDIO UDP:127.0.0.1:{UDP}",
        "socat STDIO UDP6:[::1]:{UDP6}",
        "socat STDIO UDP4-DATAGRAM:127.0.0.1:{UDP}",
        "ncat -u 127.0.0.1 {UDP}",
        "nc -u 127.0.0.1 {UDP}",
        "nc -6 -u ::1 {UDP6}",
    ],
)
def test_datagrams(names: dict[str, str], words: str) -> None:
    """Datagrams come back, one for each."""
    with Dialogue(command(words, names)) as peer:
        for size in (1, 512, 1472, 4096):  # a page: what is written to a pipe at once is read at once
            message = os.urandom(size)
            peer.send(message)
            assert peer.receive(size) == message


def test_largest_datagram(names: dict[str, str]) -> None:
    """65,507 bytes, which is all that UDP over IPv4 can carry, come back in one datagram."""
    message = os.urandom(65_507)
    with Dialogue(command("socat -b 65507 STDIO UDP:127.0.0.1:{UDP}", names)) as peer:
        peer.send(message)
        assert peer.receive(len(message)) == message


def test_sends_and_goes() -> None:
    """A peer that sends and leaves without reading its echo disturbs nobody."""
    with Server("--port", "0") as server:
        names = {"TCP": str(server.listener.address[1])}
        # Not more than fits on the way there and back: the server reads no further than it can send.
        assert run(command("ncat --send-only 127.0.0.1 {TCP}", names), b"x" * 65_536) == (0, "")
        with Dialogue(command("nc 127.0.0.1 {TCP}", names)) as peer:
            peer.send(b"still there?")
            assert peer.receive(12) == b"still there?"
        assert server.end()["connections"] == 2


def test_only_receives() -> None:
    """Lines of RFC 864 go to a peer for as long as it likes."""
    with Server("--reply", "chargen", "--port", "0") as server:
        names = {"TCP": str(server.listener.address[1])}
        with Dialogue(command("ncat --recv-only 127.0.0.1 {TCP}", names)) as peer:
            line, following = peer.receive(148).split(b"\r\n")[:2]
        assert len(line) == 72
        assert following[:-1] == line[1:]


S_CLIENT = "openssl s_client -connect localhost:{TLS} -CAfile {CA} -verify_hostname localhost"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", "New, TLSv1.3, Cipher is TLS_"),
        ("-tls1_2", "New, TLSv1.2, Cipher is ECDHE-"),
        ("-alpn echo/1", "ALPN protocol: echo/1"),
        ("-alpn nonsense,echo/1,h2", "ALPN protocol: h2"),
        ("", "No ALPN negotiated"),
        ("-groups X25519", "Server Temp Key: X25519"),
        ("-groups P-256", "Server Temp Key: ECDH, prime256v1"),
        ("-groups P-384", "Server Temp Key: ECDH, secp384r1"),
        ("-tls1_2", "Secure Renegotiation IS supported"),
        ("", "Compression: NONE"),
    ],
)
def test_negotiation(names: dict[str, str], flags: str, expected: str) -> None:
    """It verifies the server's certificate and says what was agreed; of ALPN, what we like best."""
    status, said = run(command(f"{S_CLIENT} -verify_return_error {flags}", names))
    assert status == 0
    assert "Verify return code: 0 (ok)" in said
    assert expected in said


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("-tls1_1 -cipher DEFAULT:@SECLEVEL=0", "alert protocol version"),
        ("-tls1 -cipher DEFAULT:@SECLEVEL=0", "alert protocol version"),
        ("-groups P-521", "alert handshake failure"),
        ("-alpn nonsense", "alert no application protocol"),
    ],
)
def test_refused(names: dict[str, str], flags: str, reason: str) -> None:
    """What is outside of the profile, or of what was asked for, is refused with the alert that says so."""
    status, said = run(command(f"{S_CLIENT} {flags}", names))
    assert status != 0
    assert reason in said


def test_no_renegotiation(names: dict[str, str]) -> None:
    """A client that asks for a new handshake in mid-connection gets none."""
    status, said = run(command(f"{S_CLIENT} -tls1_2", names), b"R\n")
    assert status != 0
    assert "no renegotiation" in said


@pytest.mark.parametrize("kind", list(trustme.KeyType), ids=[kind.name for kind in trustme.KeyType])
def test_only_the_intermediate_suites(tmp_path: pathlib.Path, kind: trustme.KeyType) -> None:
    """Of all that openssl knows for TLS 1.2, the profile's suites are taken and no others.

    With an RSA key as well, for which 3DES, CBC and plain-RSA suites could be.
    """
    listed = run([need("openssl"), "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])[1]
    suites = [suite for suite in listed.strip().split(":") if not suite.startswith("TLS_")]
    assert {"AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", *SECURE_SUITES} <= set(suites)
    secure = {suite for suite in SECURE_SUITES if f"-{kind.name}-" in suite.replace("ECDHE-", "-", 1)}
    certificate = tmp_path / "server.pem"
    issued = trustme.CA(key_type=kind).issue_cert("localhost", key_type=kind)
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    with Server("tls://127.0.0.1:0", "--cert", str(certificate)) as server:
        target = f"localhost:{server.listener.address[1]}"
        base = [need("openssl"), "s_client", "-connect", target, "-tls1_2", "-cipher"]
        for suite in secure:
            assert run([*base, f"{suite}:@SECLEVEL=0"])[0] == 0
        others = ":".join(suite for suite in suites if suite not in secure)
        status, said = run([*base, f"{others}:@SECLEVEL=0"])  # of which the server would choose any
    assert status != 0
    assert "handshake failure" in said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("who", ["known", "unknown", "nobody"])
def test_client_certificates(tmp_path: pathlib.Path, version: str, who: str) -> None:
    """With --client-ca only those are served whom one of its authorities vouches for."""
    ours, authority = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    issuer = authority if who == "known" else trustme.CA()
    issuer.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "client.pem"
    )
    flags = ["--cert", f"{tmp_path}/server.pem", "--client-ca", f"{tmp_path}/clients.pem"]
    with Server("tls://127.0.0.1:0", *flags) as server:
        names = {"TLS": str(server.listener.address[1]), "CA": f"{tmp_path}/ca.pem"}
        words = f"{S_CLIENT} -quiet -verify_quiet {version}"
        if who != "nobody":
            words += f" -cert {tmp_path}/client.pem"
        if who == "known":
            with Dialogue(command(words, names)) as peer:
                peer.send(b"hello\n")
                assert peer.receive(6) == b"hello\n"
        else:
            status, said = run(command(words, names), b"hello\n")
            assert status != 0
            assert "alert" in said
            assert "hello" not in said
