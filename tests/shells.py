"""What real shells offer when a person presses the tabulator after `netecho ...`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator

from tests.peers import need

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = ROOT / "completions"


def environment(home: pathlib.Path, root: pathlib.Path = ROOT) -> dict[str, str]:
    """Return an environment where `netecho` is a command, of the package in `root`, and home is `home`."""
    commands = home / "bin"
    commands.mkdir(exist_ok=True)
    shim = commands / "netecho"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m netecho "$@"\n')
    shim.chmod(0o755)
    return {
        "HOME": str(home),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


class Bash:
    """bash, asked through the function that its script registers."""

    def __init__(self, home: pathlib.Path, setup: str | None = None, root: pathlib.Path = ROOT) -> None:
        self.program = need("bash")
        self.root = root
        self.home = home
        self.setup = setup or f"source {SCRIPTS}/netecho.bash"

    def offers(self, line: str) -> set[str]:
        """Return what the tabulator offers at the end of the line."""
        words = line.split(" ")
        # The function that is asked is the one that bash itself has registered for the command.
        script = f"""
            {self.setup}
            registered=$(complete -p netecho) || exit 9
            [[ $registered =~ -F\\ ([^ ]+) ]] || exit 9
            COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}
            "${{BASH_REMATCH[1]}}" netecho
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        answer = subprocess.run(
            [self.program, "--norc", "-c", script],
            env=environment(self.home, self.root),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return set(answer.stdout.split())


class Fish:
    """fish, asked through `complete -C`."""

    def __init__(self, home: pathlib.Path, setup: str | None = None) -> None:
        self.program = need("fish")
        self.home = home
        self.setup = setup or f"source {SCRIPTS}/netecho.fish"

    def offers(self, line: str) -> set[str]:
        """Return what the tabulator offers at the end of the line."""
        answer = subprocess.run(
            [self.program, "-c", f"{self.setup}\ncomplete -C {shlex.quote(line)}"],
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return {offer.split("\t")[0] for offer in answer.stdout.splitlines()}


class Zsh:
    """zsh on a terminal, where what its completion adds is written down by a function of ours."""

    def __init__(self, home: pathlib.Path, setup: str | None = None) -> None:
        self.program = need("zsh")
        self.home = home
        self.setup = setup or f"fpath=({SCRIPTS} $fpath); autoload -Uz compinit; compinit -u -D"

    def offers(self, line: str) -> set[str]:
        """Return what the tabulator offers at the end of the line."""
        pipe = self.home / "offers"
        os.mkfifo(pipe)
        (self.home / "record.zsh").write_text(f"""
            PROMPT=; {self.setup}
            exec 9>{shlex.quote(str(pipe))}
            compadd() {{
                # With -O, -A or -D it only answers a question of the completion system's own.
                if [[ ${{@[1,(i)(-|--)]}} == *-[OAD]\\ * ]]; then builtin compadd "$@"; return; fi
                local -a added; builtin compadd -A added "$@"; print -rlu9 -- $added
                builtin compadd "$@"
            }}
            finish() {{ exec 9>&- }}
            comppostfuncs=(finish)
            bindkey '^I' complete-word
        """)
        with self._terminal() as terminal:
            os.write(terminal, b" source ~/record.zsh\n")
            with pipe.open() as offers:  # zsh opens the other end when it has read the file
                os.write(terminal, line.encode() + b"\t")
                return set(offers.read().split("\n")) - {""}

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[int]:
        ours, theirs = pty.openpty()
        shell = subprocess.Popen(
            [self.program, "-f", "-i"],
            env=environment(self.home),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        # What the shell paints is of no interest, but it must be read, or the shell waits.
        reader = threading.Thread(target=_read_all, args=(ours,), daemon=True)
        reader.start()
        try:
            yield ours
        finally:
            shell.kill()
            shell.wait()
            reader.join(10)
            os.close(ours)


def _read_all(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # EIO: the shell has ended
        while os.read(descriptor, 65536):
            pass
