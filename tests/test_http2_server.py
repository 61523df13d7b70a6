"""HTTP/2 of the server, frame by frame: requests that are taken back, refused, or the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes

from tests.http2_peers import Client, Fields, head
from tests.servers import Server

EXPECTING = ("expect", "100-continue")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve HTTP, with bodies of 1,000 bytes at most."""
    with Server("http://127.0.0.1:0", "--max-message", "1000") as server:
        yield server


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (head("POST", "/", EXPECTING), b""),
        (head("POST", "/"), bytes(1001)),
        (head("POST", "/"), bytes(100)),
        (head("POST", "/anything"), bytes(100)),
    ],
    ids=["expecting", "too large", "echo", "page"],
)
def test_taken_back_at_once(server: Server, fields: Fields, body: bytes) -> None:
    """A request whose reset comes in one segment with it is forgotten, and the next one is answered."""
    with server.listener.connect() as connection:
        client = Client(connection)
        client.h2.reset_stream(client.ask(fields, body, ended=False), ErrorCodes.CANCEL)
        asked = client.ask(head("GET", "/healthz"))
        client.flush()
        assert client.status(asked) == 200
        assert client.until("Data", asked).data == b"ok\n"


def test_told_to_end() -> None:
    """A server says which request is the last, refuses what comes later, and finishes what came before.

    A connection on which nothing is under way hears it too, before it is closed.
    """
    with (
        Server("http://127.0.0.1:0") as server,
        server.listener.connect() as connection,
        server.listener.connect() as idle,
    ):
        client, resting = Client(connection), Client(idle)
        rested = resting.ask(head("GET", "/healthz"))
        resting.flush()
        assert resting.until("Data", rested).data == b"ok\n"
        asked = client.ask(head("POST", "/"), b"before", ended=False)
        endless = client.ask(head("GET", "/sse"))
        client.flush()
        assert client.until("Data", asked).data == b"before"
        assert client.until("Data", endless).data.startswith(b"id: 0")
        server.tell()
        for one, last in ((client, endless), (resting, rested)):
            said = one.until("GoAway")
            assert (said.last_stream_id, said.error_code) == (last, ErrorCodes.NO_ERROR)
        assert resting.next() is None
        assert "END_STREAM" in client.until("Data", endless).flags
        late = client.ask(head("POST", "/"), b"after")
        client.flush()
        assert client.until("RstStream", late).error_code == ErrorCodes.REFUSED_STREAM
        client.h2.send_data(asked, b" and after", end_stream=True)
        client.flush()
        echo = client.until("Data", asked)
        assert (echo.data, "END_STREAM" in echo.flags) == (b" and after", True)
        assert client.next() is None
