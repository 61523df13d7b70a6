"""Malformed HTTP/1 requests: each gets one answer of the 400 class and a close, and never a second one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.servers import Listening, Server, receive_all, receive_exactly

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""Comes after each: whoever answers it has been talked into a request that nobody may have sent."""


def post(fields: bytes, body: bytes = b"") -> bytes:
    """Return a request with fields besides its Host."""
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


def get(target: bytes, host: bytes = b"Host: a\r\n") -> bytes:
    """Return a request for a target."""
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n"


def chunked(body: bytes) -> bytes:
    """Return a request with a chunked body."""
    return post(b"Transfer-Encoding: chunked\r\n", body)


LENGTHS = {
    "length and chunks": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunks and length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "length 0 and chunks": post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
    "the same length twice": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "a list of lengths": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "length +": post(b"Content-Length: +5\r\n", b"hello"),
    "length -": post(b"Content-Length: -5\r\n", b"hello"),
    "length in hex": post(b"Content-Length: 0x5\r\n", b"hello"),
    "length with a fraction": post(b"Content-Length: 5.0\r\n", b"hello"),
    "no length in it": post(b"Content-Length: \r\n", b"hello"),
    "length beyond 64 bits": post(b"Content-Length: 99999999999999999999999\r\n", b"hello"),
    "length of two words": post(b"Content-Length: 5 5\r\n", b"hello"),
    "length in other digits": post(b"Content-Length: \xd9\xa5\r\n", b"hello"),
    "an unknown coding alone": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "chunks not last": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "chunks twice": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "chunks in two fields": post(b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    "chunks after a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
CHUNKS = {
    "chunk -": chunked(b"-1\r\n\r\n"),
    "chunk 0x": chunked(b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk of no size": chunked(b"\r\na\r\n0\r\n\r\n"),
    "chunk beyond 64 bits": chunked(b"fffffffffffffffff\r\na\r\n0\r\n\r\n"),
    "chunk after a space": chunked(b" 1\r\na\r\n0\r\n\r\n"),
    "chunk before a space": chunked(b"1 \r\na\r\n0\r\n\r\n"),
    "chunk with a bare LF": chunked(b"1\na\n0\n\n"),
    "chunk extension with a LF": chunked(b"1;a\n=b\r\na\r\n0\r\n\r\n"),
    "chunk extension with a CR": chunked(b"1;a\rb\r\na\r\n0\r\n\r\n"),
    "chunk extension with a NUL": chunked(b"1;a\0b\r\na\r\n0\r\n\r\n"),
    "trailer with a space": chunked(b"0\r\nX : a\r\n\r\n"),
    "trailer with a bare LF": chunked(b"0\r\nX: a\n\r\n"),
    "trailer without a colon": chunked(b"0\r\nX\r\n\r\n"),
    "trailer that says how to go on": chunked(b"0\r\nConnection: close\r\n\r\n"),
    "trailer that says so to a proxy": chunked(b"0\r\nProxy-Connection: close\r\n\r\n"),
    "trailer that says where it ends": chunked(b"0\r\nContent-Length: 5\r\n\r\n"),
}
FIELDS = {
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare CR everywhere": b"GET / HTTP/1.1\rHost: a\r\r",
    "bare CR in a field": post(b"X: a\rb\r\n"),
    "folded line": post(b"X: a\r\n b\r\n"),
    "folded line with a tab": post(b"X: a\r\n\tb\r\n"),
    "folded first line": b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
    "space before a colon": post(b"X : a\r\n"),
    "space before Host's colon": get(b"/", b"Host : a\r\n"),
    "no colon": post(b"X\r\n"),
    "no name": post(b": a\r\n"),
    "NUL in a field": post(b"X: a\0b\r\n"),
    "NUL in a name": post(b"X\0: a\r\n"),
    "control in a field": post(b"X: a\x01b\r\n"),
    "DEL in a field": post(b"X: a\x7fb\r\n"),
    "control in a name": post(b"X\x01: a\r\n"),
    "bracket in a name": post(b"X(: a\r\n"),
    "no ASCII in a name": post("é: a\r\n".encode()),
    "no Host": get(b"/", b""),
    "two Hosts": get(b"/", b"Host: a\r\nHost: a\r\n"),
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "Host with a path": get(b"/", b"Host: a/b\r\n"),
    "Host with a user": get(b"/", b"Host: u@a\r\n"),
    "Host of two words": get(b"/", b"Host: a b\r\n"),
    "Host that is a list": get(b"/", b"Host: a, b\r\n"),
    "Host with no port number": get(b"/", b"Host: a:b\r\n"),
    "Host with an open bracket": get(b"/", b"Host: [::1\r\n"),
    "Host that is no ASCII": get(b"/", "Host: é\r\n".encode()),
    "an unknown expectation": post(b"Content-Length: 1\r\nExpect: more\r\n", b"a"),
}
LINES = {
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/11": b"GET / HTTP/11\r\nHost: a\r\n\r\n",
    "http/1.1": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET / \r\nHost: a\r\n\r\n",
    "a tab in the line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space after the line": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a space before the line": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a target": get(b"/\0"),
    "control in a target": get(b"/\x01"),
    "no ASCII in a target": get("/é".encode()),
    "a fragment": get(b"/#x"),
    "no slash": get(b"foo"),
    "no authority": get(b"http:///x"),
    "another scheme": get(b"ftp://a/x"),
    "a user in the authority": get(b"http://u@a/x"),
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "control in a method": b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "RTSP": b"DESCRIBE rtsp://a/x RTSP/1.0\r\n\r\n",
    "ICE": b"SOURCE /x ICE/1.0\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "SMTP": b"HELO a\r\n",
}
SIZES = {
    "a long target": get(b"/" + b"a" * 17_000),
    "a target without an end": b"GET /" + b"a" * 70_000,
    "a long field": post(b"X: " + b"a" * 17_000 + b"\r\n"),
    "a long name": post(b"X" * 17_000 + b": a\r\n"),
    "a field without an end": b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000,
    "many fields": post(b"X: a\r\n" * 101),
    "many fields without an end": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 12_000,
    "a large head": post((b"X: " + b"a" * 10_000 + b"\r\n") * 7),
    "a long trailer": chunked(b"0\r\nX: " + b"a" * 17_000 + b"\r\n\r\n"),
    "a trailer without an end": chunked(b"0\r\nX: " + b"a" * 90_000),
    "many trailers": chunked(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n"),
    "large trailers": chunked(b"0\r\n" + (b"X: " + b"a" * 15_000 + b"\r\n") * 6 + b"\r\n"),
}
MALFORMED = {**LENGTHS, **CHUNKS, **FIELDS, **LINES, **SIZES}


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    """Serve for all of them."""
    with Server("http://127.0.0.1:0") as server:
        yield server.listener


def test_there_are_enough() -> None:
    """There are as many of them as were asked for, and each is another."""
    assert len(set(MALFORMED.values())) == len(MALFORMED) >= 60


def refused(answer: bytes) -> None:
    """Hold that an answer is one, of the 400 class, and says that the connection ends."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4"), answer
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert answer.count(b"HTTP/1.1 ") == 1 + body.count(b"HTTP/1.1 ")
    assert b"smuggled" not in answer


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["whole", "byte by byte"])
def test_malformed(listening: Listening, request_: bytes, piece: int) -> None:
    """Whether it comes at once or bit by bit, a request that is none is refused, and what follows it too."""
    with listening.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        everything = request_ + SMUGGLED
        step = piece if len(everything) < 1000 else max(piece, 1000)
        try:
            for start in range(0, len(everything), step):
                connection.sendall(everything[start : start + step])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had enough, and has closed
        refused(receive_all(connection))


@pytest.mark.parametrize(
    "body",
    [b"1\r\nab\r\n0\r\n\r\n", b"1\r\naX\n0\r\n\r\n", b"1\r\na\r\n0\r\nX : a\r\n\r\n", b"1\r\na\r\n-1\r\n"],
)
def test_malformed_after_content(listening: Listening, body: bytes) -> None:
    """A body that goes wrong when its echo has begun leaves that without its end."""
    with listening.connect() as connection:
        connection.sendall(chunked(b"4\r\necho\r\n"))
        answer = b""
        while not answer.endswith(b"4\r\necho\r\n"):
            answer += connection.recv(1000)
        connection.sendall(body + SMUGGLED)
        try:
            rest = receive_all(connection)
        except ConnectionResetError:
            rest = b""
        assert b"HTTP/1.1" not in rest
        assert not rest.endswith(b"0\r\n\r\n")


def test_good_requests_before(listening: Listening) -> None:
    """Those that came before it in the same segment are answered, and then it is."""
    with listening.connect() as connection:
        connection.sendall(post(b"Content-Length: 2\r\n", b"ok") * 2 + get(b"/", b"") + SMUGGLED)
        first, second, last = receive_all(connection).split(b"HTTP/1.1 ")[1:]
        assert first == second
        assert first.startswith(b"200")
        assert first.endswith(b"\r\n\r\nok")
        refused(b"HTTP/1.1 " + last)


@pytest.mark.parametrize(("status", "field"), [(401, b"WWW-Authenticate"), (407, b"Proxy-Authenticate")])
def test_authentication(listening: Listening, status: int, field: bytes) -> None:
    """An answer that asks who asks says how that is to be told (RFC 9110 sections 15.5.2 and 15.5.8)."""
    with listening.connect() as connection:
        connection.sendall(get(b"/status/%d" % status))
        connection.shutdown(socket.SHUT_WR)
        head = receive_all(connection).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\n" + field + b': Basic realm="netecho"' in head


@pytest.mark.parametrize("fields", [b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n"])
def test_upgrade_required(listening: Listening, fields: bytes) -> None:
    """An answer that asks for another protocol says which (RFC 9110 sections 15.5.22 and 7.8)."""
    with listening.connect() as connection:
        connection.sendall(get(b"/status/426", fields))
        connection.shutdown(socket.SHUT_WR)
        head = receive_all(connection).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 426 Upgrade Required"
    assert b"Upgrade: websocket" in head
    [options] = [line.removeprefix(b"Connection: ") for line in head if line.startswith(b"Connection:")]
    assert b"Upgrade" in options.split(b", ")
    assert (b"close" in options.split(b", ")) == (b"close" in fields)


def test_an_unknown_coding(listening: Listening) -> None:
    """A coding before that of chunks is not malformed, but not known here either (RFC 9112 section 6.1)."""
    with listening.connect() as connection:
        connection.sendall(post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n") + SMUGGLED)
        answer = receive_all(connection)
        assert answer.startswith(b"HTTP/1.1 501 ")
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("request_", [LINES["a tunnel"], LINES["ICE"], get(b"/status/405")])
def test_allowed_methods(listening: Listening, request_: bytes) -> None:
    """An answer of 405 says which methods there are (RFC 9110 section 15.5.6), and each is answered."""
    with listening.connect() as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        head = receive_all(connection).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 405 ")
    [methods] = [line.removeprefix(b"Allow: ") for line in head.split(b"\r\n") if line.startswith(b"Allow:")]
    with listening.connect() as connection:
        for method in methods.split(b", "):
            connection.sendall(method + b" /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection).count(b"HTTP/1.1 200 ") == len(methods.split(b", ")) > 1


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_for_no_page(listening: Listening, framing: bytes) -> None:
    """What has no answer whatever its body is gets an error before the body, and no word to go on with it."""
    with listening.connect() as connection:
        asked = post(b"Expect: 100-continue\r\n" + framing)
        connection.sendall(asked.replace(b"/", b"/status/xyz", 1))
        answer = receive_all(connection)
        refused(answer)
        assert answer.endswith(b"\r\n\r\n'xyz' is not a status of 200 to 599\n")


def test_another_version(listening: Listening) -> None:
    """A version that is known elsewhere is refused by name."""
    with listening.connect() as connection:
        connection.sendall(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n" + SMUGGLED)
        assert receive_all(connection).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("body", [b"zz\r\n", b"1\r\nab\r\n", b"0\r\nX : a\r\n\r\n"])
def test_malformed_after_100_continue(listening: Listening, body: bytes) -> None:
    """To be told to go on is no answer yet: a body that is none then gets its own."""
    with listening.connect() as connection:
        connection.sendall(post(b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"))
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert receive_exactly(connection, len(interim)) == interim
        connection.sendall(body + SMUGGLED)
        refused(receive_all(connection))


def test_trailer_behind_much_content(listening: Listening) -> None:
    """However much came before it, a trailer has an end."""
    with listening.connect() as connection:
        body = b"100000\r\n" + bytes(1 << 20) + b"\r\n0\r\nX: " + b"a" * 100_000
        connection.sendall(chunked(body).replace(b"/", b"/status/200", 1))
        answer = receive_all(connection)
        refused(answer)
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_more_framing_than_content(listening: Listening) -> None:
    """Extensions of chunks are not free."""
    with listening.connect() as connection:
        connection.sendall(chunked(b""))
        try:
            for _ in range(1000):
                connection.sendall(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
            answer = receive_all(connection)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert not answer.endswith(b"0\r\n\r\n")
        assert len(answer) < 10_000
