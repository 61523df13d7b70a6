"""The key log of a server: it says what the client's own says, whoever of them is asked."""

from __future__ import annotations

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


def test_mistakes(tmp_path: pathlib.Path) -> None:
    """A file that cannot be written, and a key log of a server in clear, are found before it listens."""
    nowhere = netecho("serve", "--tls", "--keylog", str(tmp_path / "no" / "keys"))
    assert nowhere.returncode == ExitStatus.USAGE
    assert "--keylog" in errors(nowhere)
    assert "No such file" in errors(nowhere)
    in_clear = netecho("serve", "--keylog", str(tmp_path / "keys"))
    assert in_clear.returncode == ExitStatus.USAGE
    assert not (tmp_path / "keys").exists()
