"""What is said of the machine."""

from __future__ import annotations

import builtins
import io
import os
import pathlib
from typing import Any

import pytest

from netecho.services import system
from netecho.services.system import ProcessorTime


def read_instead(monkeypatch: pytest.MonkeyPatch, *texts: bytes) -> None:
    """Have `/proc/stat` say these, one after the other, and not be there in the end."""
    waiting = list(texts)

    def opened(path: str, mode: str) -> Any:
        assert path == "/proc/stat"
        if not waiting:
            raise FileNotFoundError
        return io.BytesIO(waiting.pop(0))

    monkeypatch.setattr(builtins, "open", opened)


def test_time_that_the_host_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the eighth number, of the first eight: those after them are counted among them already."""
    read_instead(monkeypatch, b"cpu  1 2 3 4 5 6 7 8 9 9\ncpu0 0 0\n", b"cpu  11 2 3 4 5 6 7 38 99 99\n")
    before = ProcessorTime.now()
    assert before == ProcessorTime(stolen=8, total=36)
    assert before.steal_share() == 30 / 40
    assert before.steal_share() is None


@pytest.mark.parametrize("text", [b"", b"cpu  1 2 3\n", b"cpu  one two\n"])
def test_nobody_tells(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """A file of another shape says nothing, as no file does; nor does one that has not moved."""
    read_instead(monkeypatch, text)
    assert ProcessorTime.now() is None
    assert ProcessorTime.now() is None
    read_instead(monkeypatch, b"cpu 1 1 1 1 1 1 1 1\n")
    assert ProcessorTime(1, 8).steal_share() is None


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="Linux alone tells")
def test_of_this_machine() -> None:
    """There is something to read here."""
    now = ProcessorTime.now()
    assert now is not None
    assert 0 <= now.stolen < now.total
    assert system.cpus()


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("", {"cpu.max": "100000 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/host/docker/0123\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/../outside\n", {"cpu.max": "200000 100000\n"}, 2.0),
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            3.0,
        ),
        ("0::/a:b\u2028c/\udce9\n", {"a:b\u2028c/cpu.max": "200000 100000\n"}, 2.0),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1\n", "cpu/cpu.cfs_period_us": "1\n"}, None),
    ],
)
def test_quota(own: str, files: dict[str, str], quota: float | None, tmp_path: pathlib.Path) -> None:
    """It is the least of all groups that a process is in, of either version of them."""
    root = tmp_path / "cgroup"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "own").write_bytes(os.fsencode(own))
    assert system.cpu_quota(root, tmp_path / "own") == quota


@pytest.mark.parametrize(
    ("quota", "cpus"), [(None, 4), (0.5, 1), (1.0, 1), (1.5, 1), (2.9, 2), (4.0, 4), (64.0, 4)]
)
def test_processors_of_a_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, cpus: int) -> None:
    """They are the whole ones, and no more than there are; one at the least."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(system, "cpu_quota", lambda: quota)
    assert system.cpus() == cpus
