"""The key log of a server: it says what the client's own says, whoever of them is asked."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from netecho.errors import ExitStatus
from tests.clients import client, errors
from tests.servers import Server, netecho

LISTENERS = ("tls://127.0.0.1:0", "dtls://127.0.0.1:0", "quic://127.0.0.1:0")


@pytest.mark.parametrize("workers", [1, 2])
def test_both_ends_say_the_same(tmp_path: pathlib.Path, workers: int) -> None:
    """The secrets of TLS, DTLS and QUIC are those that their clients have, in a file of the owner's alone."""
    theirs, ours = tmp_path / "server", tmp_path / "client"
    with Server(*LISTENERS, "--keylog", str(theirs), "--workers", str(workers)) as server:
        for listener in server.listeners:
            assert listener.ca is not None
            words = ("-n", "1", "--cacert", listener.ca, "--keylog", str(ours))
            assert client(listener.url, *words).returncode == 0
        server.end()
    lines = theirs.read_text().splitlines()
    assert sum(line.startswith("CLIENT_RANDOM ") for line in lines) == 1
    assert sum(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in lines) == 2
    assert sorted(lines) == sorted(ours.read_text().splitlines())
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600


def test_a_pipe_that_workers_do_not_have(tmp_path: pathlib.Path) -> None:
    """A shell gives the pipe of a process substitution to the first process alone; workers write to it."""
    ours = tmp_path / "client"
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        keylog = ("--keylog", f"/dev/fd/{write}")
        with Server(*LISTENERS, *keylog, "--workers", "2", pass_fds=[write]) as server:
            os.close(write)
            for listener in server.listeners:
                assert listener.ca is not None
                words = ("-n", "1", "--cacert", listener.ca, "--keylog", str(ours))
                assert client(listener.url, *words).returncode == 0
            server.end()
        assert sorted(pipe.read().decode().splitlines()) == sorted(ours.read_text().splitlines())


def test_mistakes(tmp_path: pathlib.Path) -> None:
    """A file that cannot be written, and a key log of a server in clear, are found before it listens."""
    nowhere = netecho("serve", "--tls", "--keylog", str(tmp_path / "no" / "keys"))
    assert nowhere.returncode == ExitStatus.USAGE
    assert "--keylog" in errors(nowhere)
    assert "No such file" in errors(nowhere)
    in_clear = netecho("serve", "--keylog", str(tmp_path / "keys"))
    assert in_clear.returncode == ExitStatus.USAGE
    assert not (tmp_path / "keys").exists()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    unread = netecho("serve", "--tls", "--keylog", str(fifo))
    assert unread.returncode == ExitStatus.USAGE
    assert errors(unread) == f"netecho: --keylog {fifo}: nobody reads the pipe: start what does first\n"


def test_a_mistake_elsewhere_leaves_no_log(tmp_path: pathlib.Path) -> None:
    """What else is wrong with the flags is found before the file is made."""
    wrong = netecho("serve", "--tls", "--keylog", str(tmp_path / "keys"), "--ciphers", "NONSENSE")
    assert wrong.returncode == ExitStatus.USAGE
    assert not (tmp_path / "keys").exists()
