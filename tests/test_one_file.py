"""One file adds a protocol: in a copy of the package to which nothing else is done, everything can use it.

The file is `netstring.py`, beside this one. What netecho is asked to do with it here has no word about it.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

from netecho import protocols
from netecho.protocols._contract import Adapter
from tests import netstring
from tests.benches import all_good, bench, checked, echo, serving
from tests.servers import ROOT, TIMEOUT, Listening, Server, netecho, receive_all, receive_exactly
from tests.shells import Bash

OTHERS = {
    "mist": """
from netecho.protocols.udp import DTLS, UDP
class Mist(UDP):
    name = "mist"
    secure_scheme = "mists"
    @property
    def secured(self):
        return secured
class Mists(DTLS):
    name = "mist"
    secure_scheme = "mists"
adapter, secured = Mist(), Mists()
""",
    "pipe": """
from netecho.protocols.unix import UNIX
class Pipe(UNIX):
    name = "pipe"
    default_port = None
adapter = Pipe()
""",
}
"""Protocols that carry datagrams, in DTLS too, and that have paths: only by their names are they new."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Copy the package and its tests, and add one file."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("netecho", "tests", "completions"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    shutil.copy(netstring.__file__, copy / "netecho" / "protocols")
    return copy


@pytest.fixture(scope="module")
def larger_tree(tree: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Copy that, and add a file for each of the others."""
    copy = tmp_path_factory.mktemp("larger") / "copy"
    shutil.copytree(tree, copy)
    for name, text in OTHERS.items():
        (copy / "netecho" / "protocols" / f"{name}.py").write_text(text)
    return copy


def test_is_new() -> None:
    """Nobody else knows the protocol: no other file of the package has its name."""
    assert netstring.adapter.name not in protocols.names()
    for file in (ROOT / "netecho").rglob("*.py"):
        assert netstring.adapter.name not in file.read_text("utf-8").lower(), file


Both = tuple[Listening, Listening]


@pytest.fixture(scope="module")
def served(tree: pathlib.Path) -> Iterator[Both]:
    """Serve it in clear and in TLS, by two processes, with a limit; at the end nobody has been cut off."""
    words = ("netstring://127.0.0.1:0", "netstrings://127.0.0.1:0", "--workers", "2", "--max-message", "200k")
    with Server(*words, root=tree) as server:
        clear, secure = server.listeners
        yield clear, secure
        ended = server.end()
    assert (ended["open"], ended["cut"]) == (0, 0)
    assert ended["connections"] > 0


def test_serve(served: Both) -> None:
    """Its server answers a socket that knows no netecho, in clear and in TLS, however strings are cut."""
    clear, secure = served
    said = b"5:hello,0:,3:a:,,"
    with socket.create_connection(clear.address, TIMEOUT) as connection:
        for byte in said:
            connection.sendall(bytes([byte]))
        connection.sendall(said)
        assert receive_exactly(connection, 2 * len(said)) == 2 * said
    with (
        socket.create_connection(secure.address, TIMEOUT) as plain,
        secure.context().wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(said)
        assert receive_exactly(connection, len(said)) == said


@pytest.mark.parametrize("wrong", [b"200001:" + b"x" * 200_001 + b",", b"3:four,", b"GET / HTTP/1.1\r\n\r\n"])
def test_limits(served: Both, wrong: bytes) -> None:
    """What is too large, or no string, ends the connection in order: what came before it is answered."""
    most = b"200000:" + b"x" * 200_000 + b","
    with socket.create_connection(served[0].address, TIMEOUT) as connection:
        connection.sendall(most)
        assert receive_exactly(connection, len(most)) == most
        connection.sendall(b"2:hi," + wrong)
        assert receive_all(connection) == b"2:hi,"


def test_client(tree: pathlib.Path, served: Both) -> None:
    """The client talks in probes to a server that nobody here wrote, and through a pipe to its own in TLS."""
    with serving(echo, "netstring") as url:
        done = netecho("client", url, "-n", "3", "-i", "1ms", "--json", "-", root=tree)
    counts = checked(json.loads(done.stdout))["exchanges"]
    assert (counts["completed"], counts["corrupted"]) == (3, 0)
    content = os.urandom(100_000)
    host, port = served[1].address
    trust = ("--tls", "--cacert", str(served[1].ca))
    done = netecho("client", host, str(port), "--proto", "netstring", *trust, input=content, root=tree)
    assert done.stdout == content


def test_bench(tree: pathlib.Path) -> None:
    """A closed loop, with a server of its own, loses nothing, and says that it has compared every byte."""
    result = bench("--proto", "netstring", "-n", "2000", "-c", "10", root=tree)
    all_good(result, 2000, connections=10)
    assert (result["plan"]["model"], result["plan"]["verify"]) == ("closed", "full")


def test_bench_by_workers(tree: pathlib.Path, served: Both, tmp_path: pathlib.Path) -> None:
    """Nor do two processes that send on a schedule, in TLS; and a report can be made of what they measure."""
    _, secure = served
    words = ("-q", "1k", "-n", "600", "-c", "4", "-l", "20k", "--workers", "2", "--cacert", str(secure.ca))
    result = bench(secure.url, *words, root=tree)
    all_good(result, 600, size=20_000, connections=4)
    assert (result["plan"]["model"], result["plan"]["verify"]) == ("open", "full")
    (tmp_path / "result.json").write_text(json.dumps(result))
    done = netecho("report", str(tmp_path / "result.json"), root=tree)
    assert (done.returncode, done.stderr) == (0, b"")
    assert secure.url.encode() in done.stdout


def test_differences_are_seen(tree: pathlib.Path) -> None:
    """Echoes that its server spoils on purpose are found to be other than what was sent."""
    with Server("netstring://127.0.0.1:0", "--corrupt", "10%", "--seed", "1", root=tree) as server:
        result = bench(server.listener.url, "-n", "500", status=3, root=tree)
        assert result["exchanges"]["corrupted"] == server.end()["impaired"]["corrupted"] > 10
    assert result["exchanges"]["completed"] == 500


def test_words(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """It is offered and named wherever protocols are, and its sizes are known."""
    done = netecho("serve", "--proto", "netstrong", root=tree)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b" http3, netstring, quic, " in done.stderr
    done = netecho("bench", "netstring://127.0.0.1:1", "-l", "2MiB", root=tree)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a message on netstring has at most 1,048,576 bytes, not 2,097,152" in done.stderr
    shell = Bash(tmp_path, root=tree)
    assert shell.offers("netecho serve --proto n") == {"netstring"}
    assert shell.offers("netecho bench net") == {"netstring://", "netstrings://"}


def test_words_of_others(larger_tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Which have a path in place of a host and port is known too."""
    shell = Bash(tmp_path, root=larger_tree)
    assert shell.offers("netecho bench pip") == {"pipe:"}
    assert shell.offers("netecho bench mis") == {"mist://", "mists://"}


def test_conformance(larger_tree: pathlib.Path) -> None:
    """They pass what every adapter must: in the copy the tests find them, and no test is changed."""
    names = [netstring.adapter.name, *OTHERS]
    chosen = f"({' or '.join(names)}) and not huge and not slow_reader"
    files = [f"tests/test_{name}.py" for name in ("conformance", "proxied", "workers")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", chosen, *files],
        cwd=larger_tree,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=4 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = set(re.findall(r"^tests/test_\w+.py::test_(\S+) PASSED", done.stdout, re.M))
    forms = ["netstring", "netstrings", "mist", "mists", "pipe"]
    assert passed >= {
        *(
            f"{test}[{form}]"
            for test in ("conversation", "exchanges_in_flight", "impairment")
            for form in forms
        ),
        *(f"exchanges[{reactor}-{form}]" for reactor in ("fast", "epoll") for form in forms),
        *(f"sockets_for_several[{name}]" for name in names),
        *(f"every_protocol[{form}-{version}]" for form in ("netstring", "netstrings") for version in (1, 2)),
        "datagram_sizes[65507-mist]",
        "half_close[pipe]",
    }


def unlisted(adapters: Iterable[Adapter]) -> list[str]:
    """Return what the README's table of protocols lacks, as who adds a protocol is to be told."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \| .* \|$", (ROOT / "README.md").read_text("utf-8"), re.M))
    lacking = []
    for adapter in adapters:
        where = "/path`" if adapter.default_port is None else "//host:port"
        secure = {None: "", adapter.name: "always"}.get(adapter.secure_scheme, f"`{adapter.secure_scheme}://")
        if not rows.get(adapter.name, "").startswith(f"`{adapter.name}:{where}"):
            lacking.append(
                f"| `{adapter.name}` | `{adapter.name}:{where} ... | {secure} ... | what it carries |"
            )
        elif secure not in rows[adapter.name]:
            lacking.append(f"{adapter.name} has a secure form: {secure}")
    return lacking


def test_readme() -> None:
    """The README's table has a row for each protocol, and says which one is missing."""
    assert unlisted(map(protocols.load, protocols.names())) == []
    [row] = unlisted([netstring.adapter])
    assert row.startswith("| `netstring` | `netstring://host:port ... | `netstrings://")
