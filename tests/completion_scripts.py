"""The scripts in `completions/`, as they are generated: `python -m tests.completion_scripts` writes them."""

from __future__ import annotations

import pathlib

from typer.completion import get_completion_script  # type: ignore[attr-defined]

FOLDER = pathlib.Path(__file__).parent.parent / "completions"
FILES = {"bash": "netecho.bash", "zsh": "_netecho", "fish": "netecho.fish", "powershell": "netecho.ps1"}

# compinit makes the file the body of a function, called when the first completion is asked for: without
# this, that one finds nothing.
ZSH_FIRST_CALL = '\n[[ $funcstack[1] == _netecho ]] && _netecho_completion "$@"\n'


def generate(shell: str) -> str:
    """Return the text of a shell's script."""
    script: str = get_completion_script(prog_name="netecho", complete_var="_NETECHO_COMPLETE", shell=shell)
    return script + (ZSH_FIRST_CALL if shell == "zsh" else "\n")


if __name__ == "__main__":
    for shell, name in FILES.items():
        (FOLDER / name).write_text(generate(shell))
