"""What a server of WebSocket agrees on when compression is offered (RFC 7692), and what it makes of it."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest

from netecho.protocols._ws_messages import MOST_MESSAGE
from tests.servers import Server, receive_all
from tests.test_ws_attacks import (
    BINARY,
    COMPRESSED,
    CONT,
    PING,
    PONG,
    REQUEST,
    TEXT,
    answer,
    frame,
    last_code,
)

NAME = "permessage-deflate"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve for all of these tests."""
    with Server("ws://127.0.0.1:0") as server:
        yield server


def offered(server: Server, *offers: str) -> tuple[socket.socket, str, str]:
    """Return a connection for which these fields were sent, the status it got, and what was agreed on."""
    connection = server.listener.connect()
    fields = "".join(f"Sec-WebSocket-Extensions: {offer}\r\n" for offer in offers)
    connection.sendall(REQUEST[:-2] + fields.encode() + b"\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    lines = head.decode().split("\r\n")
    agreed = [line.partition(": ")[2] for line in lines if line.startswith("Sec-WebSocket-Extensions")]
    assert len(agreed) <= 1
    return connection, lines[0].split(" ")[1], "".join(agreed)


OFFERS: dict[tuple[str, ...], str] = {
    (NAME,): f"{NAME}; server_max_window_bits=12",
    (f"{NAME}; client_max_window_bits",): f"{NAME}; server_max_window_bits=12; client_max_window_bits=12",
    (f"{NAME}; client_max_window_bits=15",): f"{NAME}; server_max_window_bits=12; client_max_window_bits=12",
    (f"{NAME}; client_max_window_bits=9",): f"{NAME}; server_max_window_bits=12; client_max_window_bits=9",
    (f'{NAME}; server_max_window_bits="10"',): f"{NAME}; server_max_window_bits=10",
    (f"{NAME}; server_max_window_bits=15",): f"{NAME}; server_max_window_bits=12",
    (f"{NAME}; server_no_context_takeover",): (
        f"{NAME}; server_no_context_takeover; server_max_window_bits=12"
    ),
    (f"{NAME} ;client_no_context_takeover ; server_no_context_takeover",): (
        f"{NAME}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
    ),
    # An offer that cannot be taken is none: zlib cannot write with the smallest window, and what is not
    # known, given twice or out of its range is not guessed at (section 7.1).
    (f"{NAME}; server_max_window_bits=8",): "",
    (f"{NAME}; server_max_window_bits=8, {NAME}",): f"{NAME}; server_max_window_bits=12",
    (f"{NAME}; server_max_window_bits",): "",
    (f"{NAME}; server_max_window_bits=7",): "",
    (f"{NAME}; server_max_window_bits=16",): "",
    (f"{NAME}; server_max_window_bits=010",): "",
    (f"{NAME}; server_max_window_bits=ten",): "",
    (f"{NAME}; client_max_window_bits=7",): "",
    (f"{NAME}; client_max_window_bits=16",): "",
    (f"{NAME}; server_no_context_takeover=1",): "",
    (f"{NAME}; client_no_context_takeover=true",): "",
    (f"{NAME}; server_no_context_takeover; server_no_context_takeover",): "",
    (f"{NAME}; client_no_context_takeover; client_no_context_takeover",): "",
    (f"{NAME}; server_max_window_bits=10; server_max_window_bits=10",): "",
    (f"{NAME}; client_max_window_bits; client_max_window_bits=10",): "",
    (f"{NAME}; unknown",): "",
    (f"{NAME}; unknown=1, {NAME}; server_no_context_takeover",): (
        f"{NAME}; server_no_context_takeover; server_max_window_bits=12"
    ),
    (
        f"x-webkit-deflate-frame, {NAME}; server_max_window_bits=9, {NAME}",
    ): f"{NAME}; server_max_window_bits=9",
    ("other; a=b", NAME, NAME): f"{NAME}; server_max_window_bits=12",
    ("other",): "",
}


@pytest.mark.parametrize(("offers", "agreed"), OFFERS.items(), ids=map(", ".join, OFFERS))
def test_offers(server: Server, offers: tuple[str, ...], agreed: str) -> None:
    """The first offer that can be taken is, or narrower; without one nothing is compressed."""
    connection, status, said = offered(server, *offers)
    with connection:
        assert (status, said) == ("101", agreed)
        # Twice, as the second time the window matters.
        text = b"abcdefgh" * 1000
        if not agreed:
            connection.sendall((frame(TEXT, text)) * 2 + frame(PING))
            expected = answer(TEXT, text) * 2 + answer(PONG)
            assert receive(connection, expected[-2:]) == expected
            return
        parameters = dict(part.strip().partition("=")[::2] for part in agreed.split(";"))
        forgets = {side: f"{side}_no_context_takeover" in parameters for side in ("client", "server")}
        bits = {side: int(parameters.get(f"{side}_max_window_bits", 15)) for side in ("client", "server")}
        deflate = zlib.compressobj(wbits=-bits["client"])
        for _ in range(2):
            if forgets["client"]:
                deflate = zlib.compressobj(wbits=-bits["client"])
            content = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
            connection.sendall(frame(TEXT, content[:-4], bits=COMPRESSED))
        connection.sendall(frame(PING))
        heard = receive(connection, answer(PONG))
        inflate = zlib.decompressobj(-bits["server"])
        for _ in range(2):
            if forgets["server"]:
                inflate = zlib.decompressobj(-bits["server"])
            size = heard[1]
            assert heard[0] == TEXT | 0x80 | COMPRESSED
            assert size < 126
            assert inflate.decompress(heard[2 : 2 + size] + b"\0\0\xff\xff") == text
            heard = heard[2 + size :]
        assert heard == answer(PONG)


def receive(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes up to an end."""
    heard = b""
    while not heard.endswith(end):
        data = connection.recv(1 << 16)
        assert data, heard
        heard += data
    return heard


@pytest.mark.parametrize("offer", [";", f"{NAME};", f"{NAME}; =1", f"{NAME} {NAME}", f'{NAME}; a="b'])
def test_offers_that_are_none(server: Server, offer: str) -> None:
    """What is not in the form of an offer at all is refused (RFC 6455 section 9.1)."""
    connection, status, said = offered(server, offer)
    with connection:
        assert (status, said) == ("400", "")


def ended(content: bytes) -> bytes:
    """Return a content compressed in a stream of its own that ends (section 7.2.3.4)."""
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(content) + deflate.flush(zlib.Z_FINISH)


def echoes(heard: bytes, takeover: bool = True) -> list[bytes]:
    """Return the messages that a server has sent, inflated."""
    inflate, messages = zlib.decompressobj(-15), []
    while heard:
        size, start = heard[1], 2
        if size == 126:
            size, start = struct.unpack(">H", heard[2:4])[0], 4
        content = heard[start : start + size]
        if heard[0] & COMPRESSED:
            if not takeover:
                inflate = zlib.decompressobj(-15)
            content = inflate.decompress(content + b"\0\0\xff\xff")
        messages.append(content)
        heard = heard[start + size :]
    return messages


@pytest.mark.parametrize("takeover", [True, False])
def test_streams_that_end(server: Server, takeover: bool) -> None:
    """A message may end a stream, or have it end in its middle: what comes after is not lost."""
    connection, _, _ = offered(server, NAME if takeover else f"{NAME}; client_no_context_takeover")
    long = os.urandom(30_000)
    with connection:
        said = ended(b"one") + b"\0"
        connection.sendall(frame(BINARY, said, bits=COMPRESSED))
        connection.sendall(frame(BINARY, ended(b"two") + ended(b"three") + b"\0", bits=COMPRESSED))
        connection.sendall(frame(BINARY, ended(b"four"), last=False, bits=COMPRESSED))
        connection.sendall(frame(CONT, ended(long) + b"\0"))
        connection.sendall(frame(BINARY, said, bits=COMPRESSED) + frame(BINARY, b"as it is") + frame(PING))
        heard = receive(connection, answer(PONG))
    assert echoes(heard) == [b"one", b"twothree", b"four" + long, b"one", b"as it is", b""]


def test_mistakes_in_compression(server: Server) -> None:
    """What cannot be inflated, or costs time on purpose, ends the connection with its code."""
    half = ended(bytes(MOST_MESSAGE // 2))
    for content, code in [
        (b"\xff\xff\xff", 1002),
        (ended(b"") * 500_000, 1002),
        (half + half + ended(b"x") + b"\0", 1009),
        (half + half + half, 1009),
    ]:
        connection, _, _ = offered(server, NAME)
        with connection:
            connection.sendall(frame(BINARY, content, bits=COMPRESSED))
            heard = receive_all(connection)
        assert last_code(heard) == code
        assert len(heard) < 126


def test_largest_message_in_streams(server: Server) -> None:
    """A message that inflates to as much as there may be comes back."""
    half = bytes(MOST_MESSAGE // 2)
    connection, _, _ = offered(server, NAME)
    with connection:
        connection.sendall(frame(BINARY, ended(half) + ended(half) + b"\0", bits=COMPRESSED) + frame(PING))
        heard = receive(connection, answer(PONG))
    [echo, _] = echoes(heard)
    assert echo == half + half
