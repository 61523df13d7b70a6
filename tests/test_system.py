"""What is said of the machine."""

from __future__ import annotations

import builtins
import io
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
