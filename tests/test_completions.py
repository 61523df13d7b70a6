"""Completion, in the real shells, of every command, flag and choice."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable

import pytest

from netecho import protocols
from netecho.cli import COMMANDS, load
from netecho.options import units
from netecho.plans import ReactorName
from tests import completion_scripts
from tests.peers import need
from tests.shells import Bash, Fish, Zsh, environment

Shell = Bash | Fish | Zsh
CHOICES = {
    "netecho serve --reply ": {"echo", "discard", "chargen", "reject", "tempfail", "info", "broadcast"},
    "netecho serve --tls-min ": {"1.2", "1.3"},
    "netecho client --verify ": {"full", "none"},
    "netecho bench --verify ": {"full", "none"},
    "netecho serve --proto ": set(protocols.names()),
    "netecho client --proto ": set(protocols.names()),
    "netecho bench --proto ": set(protocols.names()),
    "netecho serve --reactor ": set(ReactorName),
    "netecho client --reactor ": set(ReactorName),
    "netecho bench --reactor ": set(ReactorName),
    "netecho client --dscp ": set(units.DSCP_NAMES),
}


@pytest.fixture(params=[Bash, Zsh, Fish])
def shell(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Shell:
    """A shell that has read its script in `completions/`."""
    start: Callable[[pathlib.Path], Shell] = request.param
    return start(tmp_path)


def flags_of(command: str) -> set[str]:
    """Return every flag of a command that help shows."""
    parameters = load(command).params
    return {"-h", "--help"} | {
        flag
        for parameter in parameters
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("name", completion_scripts.FILES)
def test_scripts_in_step(name: str) -> None:
    """The scripts are what Typer generates now; `python -m tests.completion_scripts` makes them so."""
    kept = completion_scripts.FOLDER / completion_scripts.FILES[name]
    assert kept.read_text() == completion_scripts.generate(name)


def test_no_other_scripts() -> None:
    """Nothing lies in the folder that is not generated."""
    assert {file.name for file in completion_scripts.FOLDER.iterdir()} == set(
        completion_scripts.FILES.values()
    )


def test_commands(shell: Shell) -> None:
    """Every command is offered after the program's name."""
    assert shell.offers("netecho ") == {"serve", "client", "bench", "report"} == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_flags(shell: Shell, command: str) -> None:
    """Every flag of a command is offered after a hyphen, and hidden ones are not."""
    offered = shell.offers(f"netecho {command} -")
    assert offered == flags_of(command)
    assert "--exit-with-stdin" not in offered


@pytest.mark.parametrize("line", CHOICES)
def test_choices(shell: Shell, line: str) -> None:
    """Every value of a flag that has a list of them is offered."""
    assert shell.offers(line) == CHOICES[line]


@pytest.mark.parametrize("command", ["serve", "client", "bench"])
def test_schemes(shell: Shell, command: str) -> None:
    """A target or listener begins with a scheme of its protocols, the secure ones among them."""
    offered = shell.offers(f"netecho {command} t")
    assert {"tcp://", "tls://"} <= offered == {url for url in protocols_urls() if url.startswith("t")}
    assert {"tls://", "udp://", "unix:"} <= set(protocols_urls())


def protocols_urls() -> list[str]:
    """Return what completion offers for a URL."""
    from netecho.options.flags import complete_url

    return complete_url()


def test_schemes_are_those_of_the_adapters() -> None:
    """The schemes that are read from the protocols' files, and which have paths, are as the protocols say."""
    adapters = [protocols.load(name) for name in protocols.names()]
    secure = {adapter.secure_scheme for adapter in adapters if adapter.secure_scheme is not None}
    assert set(protocols.schemes()) == {*protocols.names(), *secure}
    assert "tls" in protocols.schemes()
    assert protocols.of_paths() == {adapter.name for adapter in adapters if adapter.default_port is None}


@pytest.mark.parametrize("flag", ["--cacert", "--cert", "--key", "--keylog", "--json", "--csv"])
def test_files_in_fish(tmp_path: pathlib.Path, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag that takes a file is completed with the names of files."""
    (tmp_path / "certificate.pem").touch()
    monkeypatch.chdir(tmp_path)
    assert "certificate.pem" in Fish(tmp_path).offers(f"netecho client {flag} cert")


def test_files_in_bash_and_zsh(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where netecho offers nothing, bash and zsh are told to offer files."""
    (tmp_path / "certificate.pem").touch()
    monkeypatch.chdir(tmp_path)
    assert Bash(tmp_path).offers("netecho client --cacert cert") == set()
    assert "complete -o default" in (completion_scripts.FOLDER / "netecho.bash").read_text()
    assert Zsh(tmp_path).offers("netecho client --cacert cert") == {"certificate.pem"}


INSTALLED: dict[type[Shell], str] = {
    Bash: "source ~/.bashrc",
    # zsh reads the script when completion is first asked for; here it is read at once.
    Zsh: "source ~/.zshrc; autoload +X _netecho && _netecho",
    Fish: "true",  # fish finds the script by the command's name
}


@pytest.mark.parametrize("kind", INSTALLED)
def test_install(tmp_path: pathlib.Path, kind: type[Shell]) -> None:
    """After `netecho --install-completion`, a new shell completes."""
    shell = kind(tmp_path, INSTALLED[kind])
    # The trailing command keeps the shell from giving its place to netecho, which looks for its parent.
    subprocess.run(
        [need(kind.__name__.lower()), "-c", "netecho --install-completion; true"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert shell.offers("netecho ") == {"serve", "client", "bench", "report"} == set(COMMANDS)
