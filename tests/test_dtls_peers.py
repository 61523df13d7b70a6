"""DTLS with programs that nobody here wrote: openssl's and GnuTLS's, as clients and as servers."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
import trustme

from tests.lossy import LossyPath
from tests.peers import need
from tests.servers import COMMAND, ROOT, TIMEOUT, Server, netecho
from tests.test_serve_peers import Dialogue

S_CLIENT = "{openssl} s_client -dtls1_2 -quiet -verify_quiet -verify_return_error -CAfile {ca} -connect {at}"
GNUTLS = "{gnutls} --udp --logfile={log} --x509cafile {ca} -p {port} localhost"


class Files:
    """Certificates in files: of an authority, and of whom it knows."""

    def __init__(self, folder: pathlib.Path) -> None:
        authority = trustme.CA()
        self.ca, self.cert, self.key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(self.cert)
        leaf.private_key_pem.write_to_path(self.key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Make the certificates."""
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve DTLS."""
    with Server("dtls://127.0.0.1:0", "--mtu", "1280") as running:
        yield running


def command(words: str, at: tuple[str, int], ca: str | None, **more: str) -> list[str]:
    """Return a client's command line."""
    host, port = at
    places = {"at": f"{host}:{port}", "port": str(port), "ca": str(ca), **more}
    program = words.partition("}")[0].removeprefix("{")
    places[program] = need({"openssl": "openssl", "gnutls": "gnutls-cli"}[program])
    return [word.format_map(places) for word in words.split()]


@pytest.mark.parametrize("words", [S_CLIENT, f"{S_CLIENT} -mtu 400", GNUTLS])
def test_client(server: Server, tmp_path: pathlib.Path, words: str) -> None:
    """Each line comes back to it while the association stays."""
    listener = server.listener
    with Dialogue(command(words, listener.address, listener.ca, log=str(tmp_path / "log"))) as peer:
        for line in (b"hello\n", b"x" * 300 + b"\n", "h\xe9llo\n".encode()):
            peer.send(line)
            assert peer.receive(len(line)) == line


@pytest.mark.parametrize(("out", "back"), [({0}, set()), ({1}, {0})])
def test_client_whose_first_flight_is_lost(server: Server, out: set[int], back: set[int]) -> None:
    """It sends its flights again, and gets there."""
    listener = server.listener
    with (
        LossyPath(listener.address, out.__contains__, back.__contains__) as path,
        Dialogue(command(S_CLIENT, path.address, listener.ca)) as peer,
    ):
        peer.send(b"hello\n")
        assert peer.receive(6) == b"hello\n"
        assert path.lost == len(out) + len(back)


def test_server_whose_flight_is_lost(server: Server) -> None:
    """The whole of a flight that its client has seen only in part is sent again by the server's timer."""
    listener = server.listener
    with (
        LossyPath(listener.address, back={1}.__contains__) as path,
        Dialogue(command(f"{S_CLIENT} -mtu 400", path.address, listener.ca)) as peer,
    ):
        peer.send(b"hello\n")
        assert peer.receive(6) == b"hello\n"
        assert path.lost == 1


def test_goodbye_to_a_client(files: Files) -> None:
    """A client whose server ends is told so, and ends by itself."""
    with (
        Server("dtls://127.0.0.1:0", "--cert", files.cert, "--key", files.key) as server,
        Dialogue(command(S_CLIENT, server.listener.address, files.ca)) as peer,
    ):
        peer.send(b"hello\n")
        assert peer.receive(6) == b"hello\n"
        server.end()
        peer.process.wait(TIMEOUT)


def test_client_certificates(files: Files) -> None:
    """With --client-ca, who shows a certificate is served, and who shows none is not."""
    words = ["--cert", files.cert, "--key", files.key, "--client-ca", files.ca]
    with Server("dtls://127.0.0.1:0", *words) as server:
        at = server.listener.address
        with Dialogue(
            command(f"{S_CLIENT} -cert {{cert}} -key {{key}}", at, files.ca, cert=files.cert, key=files.key)
        ) as peer:
            peer.send(b"hello\n")
            assert peer.receive(6) == b"hello\n"
        done = subprocess.run(
            command(S_CLIENT, at, files.ca),
            input=b"hello\n",
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode != 0
        assert done.stdout == b""
        target = server.listener.url, "--cacert", files.ca, "-n", "1"
        assert netecho("client", *target, "--cert", files.cert, "--key", files.key).returncode == 0
        refused = netecho("client", *target)
        assert refused.returncode == 1
        assert b"--cert" in refused.stderr


def free_port() -> int:
    """Return the number of a UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def is_bound(port: int) -> bool:
    """Return whether somebody listens on a UDP port of IPv4."""
    return f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text()


@contextlib.contextmanager
def serving(words: list[str], port: int) -> Iterator[None]:
    """Run a server, whose standard output goes back to its standard input: what it gets, it sends.

    Each message stays one: in pipes, those that wait would become one.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with its:
            process = subprocess.Popen(
                words, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL
            )

        def pump() -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while data := ours.recv(65_536):
                    ours.send(data)

        thread = threading.Thread(target=pump)
        thread.start()
        try:
            while not is_bound(port):
                assert process.poll() is None, "it did not start"
            yield
        finally:
            process.kill()
            process.wait()
            thread.join()


S_SERVER = "-dtls1_2 -quiet -cert {cert} -key {key} -accept 127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("", ""),
        ("-listen", ""),
        ("-listen -mtu 400", "--mtu 400 -l 200"),
        ("-Verify 1 -verify_return_error -CAfile {ca}", "--cert {cert} --key {key}"),
        ("-alpn x,echo/1", "--alpn echo/1"),
    ],
    ids=["plain", "cookies", "mtu", "client-certificate", "alpn"],
)
def test_openssl_server(files: Files, server: str, client: str) -> None:
    """With openssl's server, with cookies or without, we shake hands, show what it asks for, and talk."""
    port = free_port()
    places = {"cert": files.cert, "key": files.key, "ca": files.ca, "port": str(port)}
    words = [need("openssl"), "s_server", *f"{S_SERVER} {server}".format_map(places).split()]
    with serving(words, port), LossyPath(("127.0.0.1", port)) as path:
        url = "dtls://{}:{}".format(*path.address)
        flags = ["--cacert", files.ca, "-n", "3", "-i", "20ms", "-v", *client.format_map(places).split()]
        done = netecho("client", url, *flags)
    assert done.returncode == 0
    assert b"3 sent, 3 received" in done.stdout
    if "--mtu" in client:
        assert max(path.sizes) <= 400 - 28


@pytest.mark.parametrize("cookies", ["", "-listen"])
def test_openssl_server_that_is_started_again(files: Files, cookies: str) -> None:
    """A server that is killed and started again at the same port is shaken hands with anew."""
    port = free_port()
    places = {"cert": files.cert, "key": files.key, "port": str(port)}
    words = [need("openssl"), "s_server", *f"{S_SERVER} {cookies}".format_map(places).split()]
    under_way = threading.Event()

    def loses(place: int) -> bool:
        if place == 20:
            under_way.set()
        return False

    with LossyPath(("127.0.0.1", port), out=loses) as path, contextlib.ExitStack() as first:
        first.enter_context(serving(words, port))
        url = "dtls://{}:{}".format(*path.address)
        flags = ["--cacert", files.ca, "-n", "300", "-i", "10ms", "-w", "1s", "--quiet", "--json", "-"]
        with subprocess.Popen([*COMMAND, "client", url, *flags], stdout=subprocess.PIPE, cwd=ROOT) as client:
            assert under_way.wait(TIMEOUT)
            first.close()
            with serving(words, port):
                output, _ = client.communicate(timeout=TIMEOUT)
    result = json.loads(output)
    assert result["connections"]["reopened"] == 1
    assert result["exchanges"]["completed"] > 100


def test_openssl_server_through_losses(files: Files) -> None:
    """What is lost of our flights, or of its, is sent again."""
    port = free_port()
    places = {"cert": files.cert, "key": files.key, "port": str(port)}
    words = [need("openssl"), "s_server", *f"{S_SERVER} -listen".format_map(places).split()]
    with (
        serving(words, port),
        LossyPath(("127.0.0.1", port), {0, 2}.__contains__, {2}.__contains__) as path,
    ):
        url = "dtls://{}:{}".format(*path.address)
        done = netecho("client", url, "--cacert", files.ca, "-n", "1", "-w", "20s")
        assert path.lost == 3
    assert done.returncode == 0


def test_openssl_server_that_does_not_know_us(files: Files) -> None:
    """A server that wants a certificate which we do not have says so, and so do we."""
    port = free_port()
    places = {"cert": files.cert, "key": files.key, "ca": files.ca, "port": str(port)}
    words = f"{S_SERVER} -Verify 1 -verify_return_error -CAfile {{ca}}".format_map(places).split()
    with serving([need("openssl"), "s_server", *words], port):
        done = netecho("client", f"dtls://127.0.0.1:{port}", "--cacert", files.ca, "-n", "1")
    assert done.returncode == 1
    assert b"--cert" in done.stderr


def test_gnutls_server(files: Files) -> None:
    """GnuTLS's echo server sends back what it gets."""
    port = free_port()
    words = [need("gnutls-serv"), "--udp", "--echo", "-p", str(port)]
    words += ["--x509certfile", files.cert, "--x509keyfile", files.key]
    with serving(words, port):
        flags = ["--cacert", files.ca, "-n", "3", "-i", "20ms"]
        done = netecho("client", f"dtls://127.0.0.1:{port}", *flags)
    assert b"3 sent, 3 received" in done.stdout
    assert done.returncode == 0
