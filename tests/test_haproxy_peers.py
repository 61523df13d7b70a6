"""netecho behind HAProxy, which says whose its connections are, and before it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.benches import all_good, bench
from tests.clients import process
from tests.peers import need
from tests.servers import COMMAND, TIMEOUT, Server, receive_all

DEFAULTS = """
defaults
    mode tcp
    timeout connect 30s
    timeout client 30s
    timeout server 30s
"""
FRONT = """
listen {name}
    bind fd@{descriptor} {bind}
    {more}
    server netecho 127.0.0.1:{behind} {words}
"""
OPTIONS = "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,crc32c,authority,unique-id"


@contextlib.contextmanager
def haproxy(directory: pathlib.Path, fronts: dict[str, dict[str, Any]]) -> Iterator[dict[str, int]]:
    """Run HAProxy; gives the port of each of its fronts, whose socket is there before it, and made for it.

    Args:
        directory: where it may have a file.
        fronts: by any name, the port that stands `behind`, and with which `words` it is talked to; how it
            is talked to itself (`bind`), and `more` lines of configuration, if there are any.
    """
    program, file = need("haproxy"), directory / "haproxy.cfg"
    text, sockets = DEFAULTS, {}
    with contextlib.ExitStack() as stack:
        for name, front in fronts.items():
            one = sockets[name] = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            text += FRONT.format_map(
                {"bind": "", "more": "", **front, "name": name, "descriptor": one.fileno()}
            )
        file.write_text(text)
        inherited = [one.fileno() for one in sockets.values()]
        with process([program, "-db", "-q", "-f", str(file)], pass_fds=inherited) as child:
            yield {name: one.getsockname()[1] for name, one in sockets.items()}
            assert child.poll() is None


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Make an authority, and what a proxy and a client show of it."""
    directory = tmp_path_factory.mktemp("trust")
    authority = trustme.CA()
    files = {name: str(directory / f"{name}.pem") for name in ("ca", "proxy", "client")}
    authority.cert_pem.write_to_path(files["ca"])
    for name, issued in (
        ("proxy", authority.issue_cert("localhost")),
        ("client", authority.issue_cert("me@example.org", common_name="me")),
    ):
        issued.private_key_and_cert_chain_pem.write_to_path(files[name])
    return files


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Say what is seen of connections that come through a proxy."""
    urls = [f"{scheme}://127.0.0.1:0" for scheme in ("tcp", "tls", "http")]
    with Server(*urls, "--reply", "info", "--proxy-protocol") as server:
        yield server


@pytest.fixture(scope="module")
def ports(
    server: Server, trust: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """Have HAProxy in front of it, in several ways."""
    tcp, tls, http = (one.address[1] for one in server.listeners)
    own = f"ssl crt {trust['proxy']}"
    asks = f"{own} ca-file {trust['ca']} verify optional alpn http/1.1"
    more = "mode http\n    unique-id-format id-%pid"
    fronts = {
        "v1": {"behind": tcp, "words": "send-proxy"},
        "v2": {"behind": tcp, "words": "send-proxy-v2"},
        "options": {"behind": tcp, "words": OPTIONS},
        "tls": {"behind": tls, "words": "send-proxy-v2"},
        "http": {"behind": http, "words": OPTIONS, "bind": asks, "more": more},
        "accepts": {"behind": tcp, "words": "send-proxy-v2", "bind": "accept-proxy"},
        "accepts_tls": {"behind": tcp, "words": "send-proxy-v2", "bind": f"accept-proxy {own}"},
    }
    with haproxy(tmp_path_factory.mktemp("haproxy"), fronts) as found:
        yield found


@pytest.mark.parametrize(("name", "version"), [("v1", 1), ("v2", 2), ("options", 2)])
def test_in_front_of_tcp(ports: dict[str, int], name: str, version: int) -> None:
    """HAProxy's header, of either version, says where the client is; its checksum is the one expected.

    The client ends what it sends only after that: HAProxy gives up a connection whose client has ended,
    and has sent nothing, before the one behind it is made.
    """
    with socket.create_connection(("127.0.0.1", ports[name]), TIMEOUT) as connection:
        source = "{}:{}".format(*connection.getsockname())
        with connection.makefile("rb") as lines:
            seen = json.loads(lines.readline())
            connection.shutdown(socket.SHUT_WR)
            assert lines.read() == b""
    assert (seen["peer"], seen["local"]) == (source, f"127.0.0.1:{ports[name]}")
    proxy = seen["proxy"]
    assert (proxy["version"], proxy["command"], proxy["family"]) == (version, "PROXY", "TCP4")
    assert proxy["address"] != proxy["source"] == source
    assert len(proxy["tlvs"].get("crc32c", "")) == (8 if name == "options" else 0)


def test_in_front_of_tls(server: Server, ports: dict[str, int]) -> None:
    """Where HAProxy passes TLS on as it is, its header comes before that."""
    with (
        socket.create_connection(("127.0.0.1", ports["tls"]), TIMEOUT) as plain,
        server.listeners[1].context().wrap_socket(plain, server_hostname="localhost") as connection,
        connection.makefile() as lines,
    ):
        seen = json.loads(lines.readline())
        assert seen["peer"] == "{}:{}".format(*connection.getsockname())
    assert seen["tls"]["version"] == "TLSv1.3"
    assert (seen["proxy"]["version"], seen["proxy"]["family"]) == (2, "TCP4")


def test_in_front_of_http(ports: dict[str, int], trust: dict[str, str]) -> None:
    """The page about a request has all that HAProxy says of the client's TLS, which it has ended."""
    url = f"https://localhost:{ports['http']}/anything"
    page = subprocess.run(
        [need("curl"), "-sS", "--cacert", trust["ca"], "--cert", trust["client"], url],
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT,
    ).stdout
    seen = json.loads(page)
    assert seen["peer"] == seen["proxy"]["source"] != seen["proxy"]["address"]
    assert seen["local"] == f"127.0.0.1:{ports['http']}"
    assert seen["tls"] is None
    tlvs = seen["proxy"]["tlvs"]
    assert tlvs["authority"] == "localhost"
    assert tlvs["unique_id"].startswith("id-")
    assert len(tlvs["crc32c"]) == 8
    ssl = tlvs["ssl"]
    assert ssl.items() >= {"tls": True, "client_certificate": True, "verified": True, "cn": "me"}.items()
    assert ssl["version"].startswith("TLSv1")
    assert ssl["cipher"]


@pytest.mark.parametrize(
    ("scheme", "header"),
    [("tcp", "v1"), ("tcp", "v2:192.0.2.7:4711"), ("tls", "v1:[2001:db8::7]:4711"), ("tls", "v2:192.0.2.7")],
)
def test_before_haproxy(ports: dict[str, int], trust: dict[str, str], scheme: str, header: str) -> None:
    """HAProxy takes the header of a client, in front of TLS too, and passes on what it says."""
    flags = ["--cacert", trust["ca"]] if scheme == "tls" else []
    port = ports["accepts_tls" if scheme == "tls" else "accepts"]
    words = ["client", *flags, "--send-proxy", header, f"{scheme}://localhost:{port}", "-4"]
    # Of TLS in which only one side has ended HAProxy knows nothing, so that the client's input has no end.
    with process([*COMMAND, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as talking:
        assert talking.stdout is not None
        peer = json.loads(talking.stdout.readline())["peer"]
    source = header.partition(":")[2] or "127.0.0.1"
    assert peer == source or peer.startswith(f"{source}:")


def test_without_header(ports: dict[str, int]) -> None:
    """HAProxy refuses who sends none where it takes one: those above are not ignored."""
    with socket.create_connection(("127.0.0.1", ports["accepts"]), TIMEOUT) as connection:
        connection.sendall(b"hello")
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(connection) == b""


def test_echoes_and_health_checks(tmp_path: pathlib.Path) -> None:
    """HAProxy looks whether we are there by connections of its own, beside those of a bench's processes."""
    with Server("tcp://127.0.0.1:0", "--proxy-protocol", "-v") as server:
        front = {
            "behind": server.listener.address[1],
            "words": "send-proxy-v2 check check-send-proxy inter 100ms",
            "bind": "accept-proxy",
        }
        with haproxy(tmp_path, {"front": front}) as ports:
            connected = server.wait_for("connected")
            assert connected["peer"] == connected["proxy"]
            words = ["-c", "4", "-n", "400", "--workers", "2", "--send-proxy", "v2:192.0.2.7"]
            result = bench(f"tcp://127.0.0.1:{ports['front']}", *words)
        all_good(result, 400, connections=4)
        assert result["plan"]["send_proxy"] == {"version": 2, "source": "192.0.2.7", "port": None}
        assert server.end()["rejected"] == 0
    assert sum(event.get("peer", "").startswith("192.0.2.7:") for event in server.events) == 8
