"""HTTP/2 of the server, frame by frame: requests that are taken back, refused, or the last."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame

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


LARGE = ("content-length", "1001")


@pytest.mark.parametrize("window", [65_535, 10], ids=["at once", "bit by bit"])
@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (head("POST", "/", LARGE, EXPECTING), b"", 413),
        (head("POST", "/", ("content-length", "9000")), bytes(2000), 413),
        (head("HEAD", "/", LARGE), b"", 413),
        ([(":method", "CONNECT"), (":authority", "localhost:1")], b"", 405),
        (head("POST", "nowhere", EXPECTING), b"", 400),
        (head("POST", "/a b"), b"", 400),
        (head("POST", "/\u00e9"), b"", 400),
        (head("POST", "/", ("expect", "more")), b"", 417),
        (head("POST", "/status/xyz", EXPECTING), b"", 400),
    ],
    ids=[
        "expecting",
        "uploading",
        "HEAD",
        "CONNECT",
        "malformed",
        "a space",
        "beyond ASCII",
        "an unknown expectation",
        "a page's arguments",
    ],
)
def test_refused_before_its_body(
    server: Server, fields: Fields, body: bytes, status: int, window: int
) -> None:
    """Whose request is refused hears so at once, and that no more of it is taken; that is no error."""
    with server.listener.connect() as connection:
        client = Client(connection, window)
        for _ in range(3):
            asked = client.ask(fields, body, ended=False)
            client.flush()
            begun = client.until("Headers", asked)
            assert int(begun.fields[b":status"]) == status
            assert (b"allow" in begun.fields) == (status == 405)
            ended = "END_STREAM" in begun.flags
            assert ended == (fields[0][1] == "HEAD")
            while not ended:
                frame = client.until("Data", asked)
                ended = "END_STREAM" in frame.flags
                client.h2.increment_flow_control_window(window, asked)
                client.flush()
            assert client.until("RstStream", asked).error_code == ErrorCodes.NO_ERROR
            client.h2.send_data(asked, bytes(500))  # it was on its way
        asked = client.ask(head("POST", "/"), b"next")
        client.flush()
        assert client.status(asked) == 200
        assert client.until("Data", asked).data == b"next"


def test_refused_with_its_body(server: Server) -> None:
    """Who has sent all of its request is not told to send no more."""
    with server.listener.connect() as connection:
        client = Client(connection)
        asked = client.ask(head("POST", "/", LARGE), bytes(1001))
        after = client.ask(head("GET", "/healthz"))
        client.flush()
        assert client.status(asked) == 413
        assert "END_STREAM" in client.until("Data", asked).flags
        came = client.next()
        assert (came.stream_id, came.fields[b":status"]) == (after, b"200")


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


@pytest.mark.parametrize(
    ("window", "asked", "content"),
    [
        (65_535, head("POST", "/delay/200ms"), b"late"),
        (65_535, head("GET", "/sse/2"), b"id: 0\ndata: 0\n\nid: 1\ndata: 1\n\n"),
        (65_535, head("HEAD", "/delay/200ms"), b""),
        (0, head("HEAD", "/delay/200ms"), b""),
        (3, head("POST", "/delay/200ms"), b"lat"),
    ],
    ids=["delayed", "bit by bit", "no content", "no content in no window", "more than its window"],
)
def test_half_closed(server: Server, window: int, asked: Fields, content: bytes) -> None:
    """A peer that asks and then closes its half is answered, as far as the windows go that it has opened."""
    with server.listener.connect() as connection:
        client = Client(connection, window)
        stream = client.ask(asked, b"late" if asked[0][1] == "POST" else b"")
        never = client.ask(head("POST", "/"), b"", ended=False)
        client.flush()
        connection.shutdown(socket.SHUT_WR)
        assert client.status(stream) == 200
        frames = list(iter(client.next, None))
        assert b"".join(one.data for one in frames if isinstance(one, DataFrame)) == content
        assert never not in {one.stream_id for one in frames}


@pytest.mark.parametrize("length", [b"4", None], ids=["known", "unknown"])
def test_head_of_an_echo(server: Server, length: bytes | None) -> None:
    """HEAD is answered with the head of the echo, as it is in HTTP/1.1 (RFC 9110 section 9.3.2)."""
    given = [] if length is None else [("content-length", length.decode())]
    with server.listener.connect() as connection:
        client = Client(connection)
        asked = client.ask(head("HEAD", "/", ("content-type", "text/x-mine"), *given), b"echo")
        client.flush()
        answer = client.until("Headers", asked)
        assert "END_STREAM" in answer.flags
        fields = answer.fields
        assert (fields[b"content-type"], fields.get(b"content-length")) == (b"text/x-mine", length)


def test_client_that_ends(server: Server) -> None:
    """A client that says that it takes no more gets what it has asked for."""
    with server.listener.connect() as connection:
        client = Client(connection)
        asked = client.ask(head("POST", "/"), b"before", ended=False)
        client.flush()
        connection.sendall(GoAwayFrame().serialize())
        assert client.until("Data", asked).data == b"before"
        client.h2.send_data(asked, b" and after", end_stream=True)
        client.flush()
        assert client.until("Data", asked).data == b" and after"
