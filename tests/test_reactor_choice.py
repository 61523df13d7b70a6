"""Which reactor runs a command: each of them runs every command, and none is there before it is chosen."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netecho.plans import ReactorName
from netecho.services import running
from tests.servers import ROOT, TIMEOUT, Listening, Server, netecho

CLASSES = {
    ReactorName.FAST: "FastReactor",
    ReactorName.EPOLL: "EPollReactor",
    ReactorName.POLL: "PollReactor",
    ReactorName.SELECT: "SelectReactor",
    ReactorName.ASYNCIO: "AsyncioSelectorReactor",
}
"""The names of the classes, as `system.reactor` of a result has them."""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own, which has no reactor yet."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module", params=list(ReactorName))
def name(request: pytest.FixtureRequest) -> ReactorName:
    """Each reactor that this system has."""
    chosen = ReactorName(request.param)
    if chosen not in running.available():
        pytest.skip(f"this system has no {chosen} reactor")
    return chosen


@pytest.fixture(scope="module")
def listeners(name: ReactorName, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listening]]:
    """One server on that reactor, with a listener of each kind, by scheme."""
    path = tmp_path_factory.mktemp("sockets") / "echo"
    urls = ["tcp://:0", "tls://:0", "udp://:0", "stamp://:0", f"unix:{path}"]
    with Server("--reactor", name, *urls) as server:
        yield {listener.scheme: listener for listener in server.listeners}


def talk(command: str, listener: Listening, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with a listener as its target, and whatever TLS needs."""
    trust = ["--cacert", listener.ca] if listener.ca is not None else []
    return netecho(command, listener.url, *trust, *words)


LOADS = [
    ("client", "-n 3 -i 1ms", 3, 3),
    ("bench", "-c 3 -n 200 --pipeline 2 --quiet", 200, 0),
]
"""Commands and their flags, how many exchanges they make, and how many lines they write beside the result."""
SCHEMES = ["tls", "udp", "stamp", "unix"]
"""What `test_pipe` and `test_own_server` do not use, which hold the same of both commands over TCP."""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_transports(name: ReactorName, scheme: str, listeners: dict[str, Listening]) -> None:
    """Probes and loads come back, from a server and to a command on the same kind of reactor.

    Each reactor has each transport with one of the commands in turn, so that it has each command with two
    transports, and each command has each transport on two reactors at least: neither command knows on which
    it runs, and on the fast one all other tests run both with everything.
    """
    command, words, count, lines = LOADS[(list(ReactorName).index(name) + SCHEMES.index(scheme)) % len(LOADS)]
    ended = talk(command, listeners[scheme], "--reactor", name, *words.split(), "--json", "-")
    assert (ended.returncode, ended.stderr.count(b"\n")) == (0, lines), ended.stderr
    result = json.loads(ended.stdout)
    assert result["system"]["reactor"] == CLASSES[name]
    assert result["exchanges"]["completed"] == result["exchanges"]["sent"] == count


def test_pipe(name: ReactorName, listeners: dict[str, Listening], tmp_path: pathlib.Path) -> None:
    """A regular file, which some ways of waiting refuse, goes out and comes back."""
    text = tmp_path / "in"
    text.write_bytes(bytes(range(256)) * 4096)
    with text.open("rb") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "netecho", "client", "--reactor", name, listeners["tcp"].url],
            stdin=file,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            cwd=ROOT,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == text.read_bytes()


OWN_SERVER = """
import sys
from netecho import program
from netecho.services import embedded

class Seen(embedded.EmbeddedServer):
    def _event(self, event):
        super()._event(event)
        if event["event"] == "listening":
            with open(f"/proc/{self.transport.pid}/cmdline") as file:
                words = file.read().split("\\0")
            print(words[words.index("--reactor") + 1], file=sys.stderr)

embedded.EmbeddedServer = Seen
sys.exit(program.run(sys.argv[1:]))
"""


def test_own_server(name: ReactorName) -> None:
    """A bench's own server runs on the reactor that the bench was told to run on, and no other."""
    words = ["-c", "3", "-n", "200", "--pipeline", "2", "--quiet", "--json", "-"]
    ended = python(OWN_SERVER, "bench", *words, "--reactor", name)
    assert (ended.returncode, ended.stderr) == (0, f"{name}\n")
    result = json.loads(ended.stdout)
    assert result["system"]["reactor"] == CLASSES[name]
    assert result["exchanges"]["completed"] == result["exchanges"]["sent"] == 200


CLOCK = """
import sys, time
from netecho.plans import ReactorName
from netecho.services import running

async def main(reactor, signals):
    print(type(reactor).__name__, reactor.seconds is time.monotonic)
    return 0

running.install(ReactorName(sys.argv[1]) if sys.argv[1:] else None)
running.run(main)
"""


def test_clock(name: ReactorName) -> None:
    """Whatever the reactor, the wall clock moves no timer."""
    assert python(CLOCK, name).stdout.split() == [CLASSES[name], "True"]


@pytest.mark.skipif(ReactorName.FAST not in running.available(), reason="this system has no epoll")
@pytest.mark.parametrize("script", [CLOCK, CLOCK.replace("running.install", "lambda _: ")])
def test_default(script: str) -> None:
    """The default is the fast reactor, whether it is installed early or by `run`."""
    assert python(script).stdout.split() == ["FastReactor", "True"]


INSTALLED = """
from twisted.python.reflect import namedAny
namedAny("netecho.reactor.fast").install()
from twisted.internet import reactor
print(reactor.__module__, type(reactor).__name__)
"""


@pytest.mark.skipif(ReactorName.FAST not in running.available(), reason="this system has no epoll")
def test_installed_by_its_module() -> None:
    """The module of a reactor's class installs it: so do those who know no more of it than that."""
    assert python(INSTALLED).stdout.split() == ["netecho.reactor.fast", "FastReactor"]


NAMED = """
from twisted.application.reactors import installReactor
installReactor("netecho")
from twisted.internet import reactor
print(type(reactor).__name__)
"""


@pytest.mark.skipif(ReactorName.FAST not in running.available(), reason="this system has no epoll")
def test_installed_by_its_name() -> None:
    """What runs Twisted's programs (`twist`, `twistd`, `trial`) knows it by a name, as a plugin."""
    ended = python(NAMED)
    assert (ended.stdout, ended.stderr) == ("FastReactor\n", "")


WITHOUT_EPOLL = """
import select, sys
for name in [name for name in vars(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
"""


LACKING = f"""{WITHOUT_EPOLL}
from netecho import program
for command in ("serve", "client", "bench"):
    for name in ("fast", "epoll"):
        print(command, name, program.run([command, "--reactor", name]))
"""


def test_lacking() -> None:
    """A reactor that this system lacks is a usage error, in one line that says which there are."""
    pairs = [(command, name) for command in ("serve", "client", "bench") for name in ("fast", "epoll")]
    ended = python(LACKING)
    assert ended.returncode == 0
    assert ended.stdout == "".join(f"{command} {name} 2\n" for command, name in pairs)
    assert ended.stderr == "".join(
        f"netecho: this system has no {name} reactor: --reactor takes poll, select, asyncio\n"
        for _, name in pairs
    )


def test_default_without_epoll() -> None:
    """Where there is no epoll, Twisted's own default runs the same code."""
    reactor = python(f"{WITHOUT_EPOLL}\nfrom twisted.internet import reactor; print(type(reactor).__name__)")
    assert reactor.stdout.strip() in CLASSES.values()
    assert python(WITHOUT_EPOLL + CLOCK).stdout.split() == [reactor.stdout.strip(), "True"]


def test_no_reactor_before_it_is_chosen() -> None:
    """No module of ours imports the reactor when it is imported: it would install Twisted's default."""
    script = (
        "import importlib, pkgutil, sys, netecho\n"
        "for module in pkgutil.walk_packages(netecho.__path__, 'netecho.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "        if 'twisted.internet.reactor' in sys.modules:\n"
        "            sys.exit(module.name)\n"
        "print(len(sys.modules))\n"
    )
    ended = python(script)
    assert (ended.returncode, ended.stderr) == (0, "")
