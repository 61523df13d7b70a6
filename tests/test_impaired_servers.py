"""What a server does to its answers on purpose is what its peers see: nothing less, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benches import bench, checked
from tests.servers import Server, exchange, netecho, receive_all

MS = 1_000_000


def impaired(url: str, impairment: str, load: str, status: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a bench against an impaired server; return its result, and the server's totals."""
    with Server(url, *impairment.split()) as server:
        listener = server.listener
        trust = [] if listener.ca is None else ["--cacert", listener.ca]
        result = bench(listener.url, *trust, *load.split(), status=status)
        return result, server.end()


@pytest.mark.parametrize("scheme", ["udp", "stamp"])
def test_datagrams(scheme: str) -> None:
    """Of all that is lost, doubled and reordered the client knows exactly, and of nothing else."""
    result, totals = impaired(
        f"{scheme}://127.0.0.1:0",
        "--loss 5% --duplicate 5% --reorder 5% --delay 20ms~10ms:20% --seed 3",
        "-q 1000 -n 1000 -c 2 -w 2s",
        0,
    )
    seen, done = result["exchanges"], totals["impaired"]
    assert totals["datagrams_received"] == totals["datagrams_sent"] == seen["sent"] == 1000
    assert totals["dropped"] == {}
    for name in ("lost", "duplicated", "reordered"):
        assert seen[name] == done[name] > 10, name
    assert seen["errors"] == {"timeout": done["lost"]}
    assert (seen["late"], seen["corrupted"]) == (0, 0)
    assert done["delayed"] > 100
    assert result["latency_ns"]["response"]["max"] >= 29 * MS


def test_damaged_datagrams() -> None:
    """What is damaged or cut short counts as corrupted, each once; and as lost, if nobody can tell what it was."""
    result, totals = impaired("udp://127.0.0.1:0", "--corrupt 10% --truncate 10%", "-q 1000 -n 500 -w 1s", 3)
    seen, done = result["exchanges"], totals["impaired"]
    both = done["corrupted"] + done["truncated"] - seen["corrupted"]
    assert 0 <= both <= min(done.values()), "some are damaged and cut short"
    assert min(done.values()) > 20
    assert 0 < seen["lost"] < seen["corrupted"]


ON_CONNECTIONS = ["tcp", "tls", "http", "https", "ws", "wss", "smtp", "smtps"]


@pytest.mark.parametrize("scheme", ON_CONNECTIONS)
def test_content(scheme: str) -> None:
    """An answer that is damaged is a corrupted echo, in whatever form, and all arrive."""
    words = "--http2" if scheme == "https" else ""
    result, totals = impaired(
        f"{scheme}://127.0.0.1:0", "--corrupt 10% --delay 2ms~2ms:50%", f"-n 200 -c 4 {words}", 3
    )
    seen, done = result["exchanges"], totals["impaired"]
    assert (seen["completed"], seen["lost"], seen["errors"]) == (200, 0, {})
    assert seen["corrupted"] == done["corrupted"] > 5
    assert 60 < done["delayed"] < 140


@pytest.mark.parametrize("scheme", ON_CONNECTIONS)
def test_ends(scheme: str) -> None:
    """A connection that ends in the middle of an answer costs that one; one that ends after it, the next."""
    words = "--http2" if scheme == "https" else ""
    result, totals = impaired(f"{scheme}://127.0.0.1:0", "--truncate 3% --close-after 20", f"-n 200 {words}", 1)
    seen, done = result["exchanges"], totals["impaired"]
    assert seen["completed"] + seen["lost"] == 200
    assert done["truncated"] > 1
    assert done["closed"] > 1
    # The last connection may have ended with the last exchange, whose echo was the last that it carried.
    assert seen["lost"] in (sum(done.values()) - 1, sum(done.values()))
    assert seen["errors"] == {"closed": seen["lost"]}
    assert seen["corrupted"] == 0


@pytest.mark.parametrize("scheme", ["tcp", "tls", "udp", "http", "ws", "smtp"])
def test_delay(scheme: str) -> None:
    """No echo comes before its delay is over."""
    result, totals = impaired(f"{scheme}://127.0.0.1:0", "--delay 30ms~10ms", "-n 20 -c 4", 0)
    assert totals["impaired"] == {"delayed": 20}
    assert result["latency_ns"]["response"]["min"] >= 20 * MS


def test_the_same_again() -> None:
    """The same seed does the same to the same connections, in each worker too; another one does other things."""

    def corrupted(seed: int) -> int:
        result, totals = impaired(
            "tcp://127.0.0.1:0", f"--corrupt 30% --seed {seed} --workers 2", "-n 300 -c 1", 3
        )
        assert totals["impaired"] == {"corrupted": result["exchanges"]["corrupted"]}
        return int(totals["impaired"]["corrupted"])

    one, again, other = corrupted(1), corrupted(1), corrupted(8)
    assert one == again or one != other  # whichever worker took the connection has its own


def test_a_stream_in_order() -> None:
    """Megabytes come back through delays as they were, to the end that comes last."""
    message = bytes(range(256)) * 16_384
    with (
        Server("tcp://127.0.0.1:0", "--delay", "10ms~10ms:50%") as server,
        server.listener.connect() as connection,
    ):
        assert exchange(connection, message, half_close=True) == message


def test_a_graceful_stop() -> None:
    """What is held when a server is told to end is still delivered."""
    words = ("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--delay", "500ms")
    with Server(*words) as server:
        stream, datagrams = (listener.connect() for listener in server.listeners)
        with stream, datagrams:
            stream.sendall(b"held")
            datagrams.send(b"held")
            server.tell()
            assert receive_all(stream) == b"held"
            assert datagrams.recv(100) == b"held"
        assert server.wait_for("stopped")["impaired"] == {"delayed": 2}


def test_totals_in_words() -> None:
    """The totals say in text what was done on purpose."""
    with Server("udp://127.0.0.1:0", "--loss", "100%") as server:
        done = netecho("client", server.listener.url, "-n", "2", "-i", "1ms", "-w", "10ms", "--json", "-")
        assert done.returncode == 1
        checked_lost = server.end()["impaired"]
    assert checked_lost == {"lost": 2}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            "tcp://127.0.0.1:0 udp://127.0.0.1:0 --loss 1%",
            "--loss is nothing that happens on tcp: it takes --delay, --corrupt, --truncate, --close-after",
        ),
        ("ws://127.0.0.1:0 --duplicate 1%", "--duplicate is nothing that happens on ws: it takes --delay"),
        ("unix:/tmp/none --reorder 1%", "--reorder is nothing that happens on unix: it takes --delay"),
        ("udp://127.0.0.1:0 --close-after 5", "--close-after is nothing that happens on udp: it takes --delay"),
    ],
)
def test_no_such_thing(words: str, complaint: str) -> None:
    """What cannot happen is refused before anything listens."""
    done = netecho("serve", *words.split())
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"netecho: {complaint}".encode())
    assert done.stderr.count(b"\n") == 1
