"""What people get: the archive of the sources, for packagers, and the wheel, which `pip install` installs."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
INSTALLED = ("netecho", "twisted")
FOLDERS = (*INSTALLED, "completions", "tests")
FILES = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")

BUILD = """
import sys
from setuptools import build_meta
built = sys.argv[1]  # a build has arguments of its own
build_meta.build_sdist(built)
build_meta.build_wheel(built)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory with both, built from a copy of this tree, as a build leaves files in it."""
    copy = tmp_path_factory.mktemp("copy")
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name)  # what Python has compiled, too
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-c", BUILD, str(built)]
    subprocess.run(command, cwd=copy, capture_output=True, timeout=120, check=True)
    return built


def files(*folders: str) -> set[str]:
    """Return the files in these folders, but for what is not of the source."""
    return {
        file.relative_to(ROOT).as_posix()
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc" and file.name != "dropin.cache"
    }


def test_sources(built: pathlib.Path) -> None:
    """The archive has all that the tests and a packager need, and nothing that is not of the source."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {member.name.partition("/")[2] for member in packed if member.isfile()}
    generated = {name for name in names if name.startswith("netecho.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert names - generated == {*files(*FOLDERS), *FILES}


def test_wheel(built: pathlib.Path) -> None:
    """What is installed is the program with its schemas and Twisted's plugin, and no test."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == files(*INSTALLED)
    assert any(name.endswith("/licenses/LICENSE") for name in described)
