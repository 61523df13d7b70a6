"""Programs that the tests talk to or run in, and that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from netecho.services.running import REPEAT


def in_ci() -> bool:
    """Return whether nothing may be left out here."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def need(program: str) -> str:
    """Return the path of a program; where it is missing, skip the test, or fail it in CI.

    It may be one that came with the packages for development, beside the interpreter, or one of the system's
    own, which are where not everybody looks.
    """
    elsewhere = os.pathsep.join([os.path.dirname(sys.executable), "/usr/sbin", "/sbin"])
    path = shutil.which(program) or shutil.which(program, path=elsewhere)
    if path is None:
        reason = f"{program} is not installed"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def outlives_a_twin(process: subprocess.Popen[bytes]) -> None:
    """Wait until a signal is not taken for the twin of the last; the process must not have ended."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * REPEAT)
