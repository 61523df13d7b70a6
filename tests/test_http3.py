"""HTTP/3 of the server, to a client of aioquic's in memory: what it answers, and what it does not take."""

from __future__ import annotations

import json
import os

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, Setting

from netecho.plans import ReplyMode
from netecho.protocols._http_limits import MOST_FIELDS, MOST_HEAD
from netecho.protocols._http_pages import MOST_DELAY
from netecho.protocols._quic_wire import WINDOW
from netecho.protocols._watched import Patience
from tests.http3_peers import Pair, head

MIB = 1 << 20


def test_answers() -> None:
    """Bodies come back with their type, and pages are those of HTTP."""
    with Pair() as pair:
        echo = pair.answer(head(b"POST", b"/", (b"content-type", b"text/x-mine")), b"hello")
        assert (echo.status, echo.body) == (200, b"hello")
        assert dict(echo.heads[0])[b"content-type"] == b"text/x-mine"
        assert pair.answer(head(b"PUT", b"/", (b"content-length", b"0"))).body == b""
        seen = json.loads(pair.answer(head(b"GET", b"/anything?a=b")).body)
        assert (seen["version"], seen["query"], seen["peer"]) == ("HTTP/3", {"a": ["b"]}, "192.0.2.1:5000")
        assert (seen["tls"]["alpn"], seen["tls"]["sni"]) == ("h3", "localhost")
        assert pair.answer(head(b"GET", b"/status/503")).status == 503
        assert len(pair.answer(head(b"GET", b"/bytes/3MiB")).body) == 3 * MIB
        pair.http._check_content_length = lambda _: None  # it does not know that HEAD has no content
        nothing = pair.answer(head(b"HEAD", b"/bytes/3MiB"))
        assert (nothing.body, dict(nothing.heads[0])[b"content-length"]) == (b"", b"%d" % (3 * MIB))
        asked = head(b"HEAD", b"/", (b"content-type", b"text/x-mine"), (b"content-length", b"5"))
        nothing = pair.answer(asked, b"hello")
        said = dict(nothing.heads[0])
        assert (nothing.body, said[b"content-type"], said[b"content-length"]) == (b"", b"text/x-mine", b"5")
        assert pair.answer(head(b"GET", b"/stream/300")).body.count(b"\n") == 300
        assert pair.answer(head(b"DELETE", b"/status/204"), b"not read").status == 204
        assert pair.totals.open == 1


def test_large_body() -> None:
    """A body larger than every window comes back as it goes out, and nothing of it is left behind."""
    body = os.urandom(5 * MIB)
    with Pair() as pair:
        assert pair.answer(head(b"POST", b"/"), body).body == body
        [link] = pair.port.open
        assert (link.bytes_received, link.bytes_sent) == (len(body), len(body))
        assert (link.wire.withheld, link.wire.backlog) == (0, 0)


def test_expected_continue() -> None:
    """Who waits to be told to go on is told."""
    with Pair() as pair:
        stream = pair.ask(head(b"POST", b"/", (b"expect", b"100-continue")), ended=False)
        pair.turn()
        assert pair.answers[stream].status == 100
        pair.http.send_data(stream, b"now", True)
        pair.turn()
        assert (pair.answers[stream].status, pair.answers[stream].body) == (200, b"now")


def test_delay() -> None:
    """What is to be answered later is, and holds up nothing else."""
    with Pair() as pair:
        late = pair.ask(head(b"POST", b"/delay/3s"), b"late")
        assert pair.answer(head(b"POST", b"/"), b"at once").body == b"at once"
        pair.turn(2.5)
        assert late not in pair.answers
        pair.turn(1.0)
        assert pair.answers[late].body == b"late"
        assert pair.answer(head(b"POST", b"/delay/%ds" % (MOST_DELAY + 1)), b"x").status == 400


def test_trailers() -> None:
    """Fields behind a body are taken, and are none of it."""
    with Pair() as pair:
        stream = pair.ask(head(b"POST", b"/"), b"body", ended=False)
        pair.http.send_headers(stream, [(b"digest", b"none")], True)
        pair.turn()
        assert (pair.answers[stream].body, pair.answers[stream].ended) == (b"body", True)


def test_reply_modes() -> None:
    """What comes is described, or discarded, where that is wanted."""
    with Pair(reply=ReplyMode.DISCARD) as pair:
        assert pair.answer(head(b"POST", b"/"), b"into the void").body == b""
    with Pair(reply=ReplyMode.INFO) as pair:
        assert json.loads(pair.answer(head(b"POST", b"/"), b"who am I?").body)["method"] == "POST"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (head(b"GET", b"/", *[(b"x%d" % number, b"1") for number in range(MOST_FIELDS + 1)]), 431),
        (head(b"GET", b"/", (b"x", b"1" * 20_000)), 431),
        (head(b"GET", b"/" + b"x" * 16_500), 414),
        (head(b"GET", b"nowhere"), 400),
        ([(b":method", b"GET"), (b":scheme", b"x"), (b":authority", b"a b"), (b":path", b"/")], 400),
        ([(b":method", b"CONNECT"), (b":authority", b"localhost:1")], 405),
    ],
    ids=["many", "field", "target", "path", "authority", "connect"],
)
def test_refused(fields: list[tuple[bytes, bytes]], status: int) -> None:
    """A request that asks for too much, or for what there is not, is told so; the next one is answered."""
    with Pair() as pair:
        assert pair.answer(fields).status == status
        assert pair.answer(head(b"GET", b"/healthz")).body == b"ok\n"


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"localhost:1")]
EXPECTING = (b"expect", b"100-continue")


@pytest.mark.parametrize("options", [{}, {"max_stream_data": 40}], ids=["at once", "bit by bit"])
@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (head(b"POST", b"/", (b"content-length", b"1001"), EXPECTING), b"", 413),
        (head(b"POST", b"/", (b"content-length", b"9000")), bytes(2000), 413),
        (head(b"HEAD", b"/", (b"content-length", b"1001")), b"", 413),
        (CONNECT, b"", 405),
        (head(b"POST", b"nowhere", EXPECTING), b"", 400),
        (head(b"POST", b"/a b"), b"", 400),
        (head(b"POST", b"/", (b"expect", b"more")), b"", 417),
        (head(b"POST", b"/status/xyz", EXPECTING), b"", 400),
    ],
    ids=[
        "expecting",
        "uploading",
        "HEAD",
        "CONNECT",
        "malformed",
        "a space",
        "an unknown expectation",
        "a page's arguments",
    ],
)
def test_refused_before_its_body(
    fields: list[tuple[bytes, bytes]], body: bytes, status: int, options: dict[str, int]
) -> None:
    """Whose request is refused hears so at once, and that no more of it is taken; that is no error."""
    with Pair(max_message=1000, options=options) as pair:
        pair.http._check_content_length = lambda _: None  # it does not know that HEAD has no content
        for _ in range(3):
            stream = pair.ask(fields, body, ended=False)
            pair.turn()
            answer = pair.answers[stream]
            assert [dict(one)[b":status"] for one in answer.heads] == [b"%d" % status]
            assert (b"allow" in dict(answer.heads[0])) == (status == 405)
            assert answer.ended
            assert bool(answer.body) == (fields[0][1] != b"HEAD")
            assert (pair.stops.pop(stream), pair.resets) == (ErrorCode.H3_NO_ERROR, {})
        assert pair.answer(head(b"POST", b"/"), b"next").body == b"next"
        [link] = pair.port.open
        assert not [stream for stream in link._http._stream if stream % 4 == 0]  # type: ignore[attr-defined]


def test_refused_with_its_body() -> None:
    """Who has sent all of its request is not told to send no more; what comes behind an answer is nothing."""
    with Pair(max_message=1000) as pair:
        fields = head(b"POST", b"/", (b"content-length", b"1001"))
        assert pair.answer(fields, bytes(1001)).status == 413
        stream = pair.ask(fields, bytes(500), ended=False)
        pair.http.send_data(stream, bytes(501), False)
        pair.http.send_headers(stream, [(b"digest", b"none")], True)
        pair.turn()
        assert pair.answers[stream].status == 413
        assert (pair.stops, pair.resets) == ({}, {})


def test_host() -> None:
    """Host says the authority where nothing else does, and is shown as it came."""
    fields = [field for field in head(b"GET", b"/anything", (b"host", b"a:1")) if field[0] != b":authority"]
    with Pair() as pair:
        seen = json.loads(pair.answer(fields).body)
        assert seen["headers"] == [[name.decode(), value.decode()] for name, value in fields]
        assert pair.answer([*fields[:-1], (b"host", b"a b")]).status == 400
        assert pair.answer(head(b"POST", b"/", (b"host", b"localhost")), b"both").body == b"both"


@pytest.mark.parametrize(
    "fields",
    [
        head(b"POST", b"/", (b"host", b"another")),
        [*head(b"POST", b"/")[:2], (b":path", b"/"), (b"host", b"a"), (b"host", b"b")],
    ],
    ids=["and authority", "twice"],
)
def test_host_of_another(fields: list[tuple[bytes, bytes]]) -> None:
    """A request for two hosts is malformed: it is reset, and costs no other one."""
    with Pair() as pair:
        streams = [pair.ask(fields, body, ended=bool(body)) for body in (b"", b"x")]
        pair.turn()
        assert pair.resets == dict.fromkeys(streams, ErrorCode.H3_MESSAGE_ERROR)
        assert not pair.answers
        assert pair.answer(head(b"POST", b"/"), b"next").body == b"next"


LENGTH = (b"content-length", b"5")
MORE = bytes(5000)
"""What takes several packets."""


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (head(b"POST", b"/", (b"transfer-encoding", b"chunked")), MORE),
        (head(b"POST", b"/", (b"te", b"gzip")), MORE),
        (head(b"POST", b"/", (b"Upper", b"case")), MORE),
        (head(b"POST", b"/", (b"x", b"1"), (b":method", b"GET")), MORE),
        ([(b"x", b"1"), *head(b"POST", b"/")], MORE),
        ([*head(b"POST", b"/"), (b":status", b"200")], MORE),
        (head(b"POST", b"")[1:], MORE),
        (head(b"POST", b"/", LENGTH), MORE),
        (head(b"POST", b"/", LENGTH), b"less"),
    ],
    ids=["encoding", "te", "case", "twice", "late", "status", "no method", "longer", "shorter"],
)
def test_malformed(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    """A malformed request is an error of its stream, however much of it has come, and costs no other one."""
    with Pair() as pair:
        other = pair.ask(head(b"POST", b"/"), b"an", ended=False)
        streams = [pair.ask(fields, body)]
        if body != b"less":
            streams.append(pair.ask(fields, body, ended=False))
        pair.turn()
        assert pair.resets == dict.fromkeys(streams, ErrorCode.H3_MESSAGE_ERROR)
        assert pair.stops == ({} if body == b"less" else pair.resets)
        pair.http.send_data(other, b"other", True)
        pair.turn()
        assert pair.answers[other].body == b"another"
        assert pair.answers.keys() == {other}
        [link] = pair.port.open
        http = link._http  # type: ignore[attr-defined]
        assert not http._malformed
        assert not [stream for stream in http._stream if stream % 4 == 0]


def test_head_too_large() -> None:
    """More than a server says it takes ends the connection, as does a frame that never ends."""
    with Pair() as pair:
        assert pair.http.received_settings[Setting.MAX_FIELD_SECTION_SIZE] == MOST_HEAD
        pair.ask(head(b"GET", b"/", *[(b"x%d" % number, b"1" * 1000) for number in range(70)]))
        pair.turn()
        assert pair.end is not None
        assert pair.end.error_code == ErrorCode.H3_EXCESSIVE_LOAD
    with Pair() as pair:
        # 64 KiB of references to what every peer knows: 19 bytes for each one.
        stream = pair.quic.get_next_available_stream_id()
        section = b"\x00\x00" + b"\xd1" * 20_000
        data = encode_uint_var(FrameType.HEADERS) + encode_uint_var(len(section)) + section
        pair.quic.send_stream_data(stream, data)
        pair.turn()
        assert pair.end is not None
        assert pair.end.error_code == ErrorCode.H3_EXCESSIVE_LOAD
    for kind in (FrameType.HEADERS, FrameType.SETTINGS):
        with Pair() as pair:
            stream = pair.quic.get_next_available_stream_id()
            if kind is FrameType.SETTINGS:
                stream = pair.http._local_control_stream_id
                pair.http._settings_received = True
                pair.port.open.copy().pop()._http._settings_received = False  # type: ignore[attr-defined]
            pair.quic.send_stream_data(stream, encode_uint_var(kind) + encode_uint_var(1 << 30))
            for _ in range(70):
                pair.quic.send_stream_data(stream, bytes(1000))
            pair.turn()
            assert pair.end is not None
            assert pair.end.error_code == ErrorCode.H3_EXCESSIVE_LOAD


def test_nothing_is_remembered() -> None:
    """A peer cannot have us keep fields for it, to refer to them, nor us keep many for it to do so."""
    settings = H3Connection._get_local_settings

    def greedy(self: H3Connection) -> dict[int, int]:
        most: dict[int, int] = {
            Setting.QPACK_MAX_TABLE_CAPACITY: 1 << 29,
            Setting.QPACK_BLOCKED_STREAMS: 9999,
        }
        return {**settings(self), **most}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(H3Connection, "_get_local_settings", greedy)
        pair = Pair()
    with pair:
        assert pair.http.received_settings[Setting.QPACK_MAX_TABLE_CAPACITY] == 0
        [link] = pair.port.open
        theirs = link._http.received_settings  # type: ignore[attr-defined]
        assert theirs[Setting.QPACK_MAX_TABLE_CAPACITY] == 4096
        assert theirs[Setting.QPACK_BLOCKED_STREAMS] == 16
        pair.quic.send_stream_data(pair.http._local_encoder_stream_id, b"\x3f\xe1\x1f\x41x\x01y")
        pair.turn()
        assert pair.end is not None
        assert pair.end.error_code == ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_slow_requests() -> None:
    """A head or a body that does not come is waited for no longer than it may take, and nobody else waits."""
    patience = Patience()
    with Pair() as pair:
        headless = pair.quic.get_next_available_stream_id()
        pair.quic.send_stream_data(headless, b"\x01")
        bodiless = pair.ask(head(b"POST", b"/", (b"content-length", b"10")), ended=False)
        dripping = pair.ask(head(b"POST", b"/"), ended=False)
        for _ in range(round(patience.start) + 2):
            pair.http.send_data(dripping, b"x", False) if dripping not in pair.resets else None
            pair.turn(1.0)
            assert pair.answer(head(b"POST", b"/"), b"in time").body == b"in time"
        wanted = dict.fromkeys((headless, bodiless, dripping), ErrorCode.H3_REQUEST_CANCELLED)
        assert pair.resets == wanted
        [link] = pair.port.open
        assert not link._exchanges  # type: ignore[attr-defined]
        assert pair.end is None


def test_peer_that_does_not_read() -> None:
    """It costs a window, whatever it asks for or sends, and no longer than it may take for that."""
    with Pair(options={"max_data": 100_000, "max_stream_data": 100_000}) as pair:
        pair.stop_reading()
        streams = [pair.ask(head(b"GET", b"/bytes/1GiB")) for _ in range(20)]
        streams += [pair.ask(head(b"POST", b"/"), bytes(MIB)) for _ in range(4)]
        pair.turn()
        [link] = pair.port.open
        assert 100_000 < link.wire.backlog + link.wire.withheld <= 2 * WINDOW
        pair.turn(200.0)
        assert set(pair.resets) == set(streams)
        assert link.wire.backlog + link.wire.withheld == 0


def test_answers_that_are_not_taken() -> None:
    """A connection whose peer takes nothing of what it was answered is cut."""
    with Pair(options={"max_data": 100_000, "max_stream_data": 100_000}) as pair:
        pair.stop_reading()
        for _ in range(3):
            pair.ask(head(b"POST", b"/"), bytes(200_000))
        pair.turn()
        [link] = pair.port.open
        assert link.wire.backlog > 400_000
        pair.turn(8.0)
        assert pair.port.open
        pair.turn(5.0)
        assert not pair.port.open
        assert pair.totals.cut == 1


@pytest.mark.parametrize("flood", ["resets", "stops", "empty", "unknown"])
def test_floods_end(flood: str) -> None:
    """Whoever has us do nothing but work is closed; who asks for something each time is not."""
    with Pair() as pair:
        for _ in range(500):
            if pair.end is not None:
                break
            stream = pair.ask(head(b"POST", b"/delay/10s"), b"x", ended=False)
            match flood:
                case "resets":
                    pair.quic.reset_stream(stream, 1)
                    pair.quic.stop_stream(stream, 1)
                case "stops":
                    pair.quic.send_stream_data(stream, b"", True)
                    pair.turn()
                    pair.quic.stop_stream(stream, 1)
                case "empty":
                    pair.quic.send_stream_data(stream, b"\x00\x00" * 500)
                case "unknown":
                    pair.quic.send_stream_data(stream, b"\x21\x00" * 500)
            pair.turn()
        assert pair.end is not None
        assert pair.end.error_code == ErrorCode.H3_EXCESSIVE_LOAD
    with Pair() as pair:
        for _ in range(1000):
            assert pair.answer(head(b"POST", b"/"), b"x").body == b"x"


def test_drain() -> None:
    """Told to end, it says from which request on it answers none, answers those before, and ends in order."""
    with Pair() as pair:
        asked = pair.ask(head(b"POST", b"/"), b"before", ended=False)
        endless = pair.ask(head(b"GET", b"/sse"))
        pair.turn()
        drained = pair.port.drain()
        late = pair.ask(head(b"POST", b"/"), b"after")
        pair.turn()
        assert pair.answers[endless].ended
        assert pair.end is None
        pair.http.send_data(asked, b" and after", True)
        pair.turn()
        assert pair.answers[asked].body == b"before and after"
        assert late not in pair.answers
        assert pair.end is not None
        assert (pair.end.error_code, pair.end.frame_type) == (ErrorCode.H3_NO_ERROR, None)
        assert drained.called


def test_idle() -> None:
    """A connection on which nothing is asked is closed after its time, in order."""
    with Pair(idle_timeout=5.0) as pair:
        pair.answer(head(b"GET", b"/healthz"))
        pair.turn(4.5)
        assert pair.end is None
        pair.turn(2.0)
        assert pair.end is not None
        assert pair.end.error_code == ErrorCode.H3_NO_ERROR
        assert pair.totals.cut == 0
