"""A mail's content on the wire: what is kept of it, where it ends, and what is none."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netecho.protocols._smtp_content import MOST_EXCESS, Content, ContentError, TooLargeError, on_the_wire

MOST = 1 << 20

lines = st.lists(st.binary(max_size=40).map(lambda line: line.translate(None, b"\r\n")), max_size=8)


def take(pieces: list[bytes], most: int = MOST) -> tuple[Content, bytes | None]:
    """Return a content that has taken these, and what it said of the last."""
    content = Content(most)
    rest: bytes | None = None
    for piece in pieces:
        assert rest is None, "it ended before"
        rest = content.take(piece)
    return content, rest


@given(lines, st.lists(st.integers(0, 400), max_size=5), st.binary(max_size=5))
def test_round_trip(text: list[bytes], cuts: list[int], following: bytes) -> None:
    """What is sent is what is received, dots and all, however it is cut on the way."""
    sent = b"".join(line + b"\r\n" for line in text)
    wire = on_the_wire(sent)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[start:end] for start, end in itertools.pairwise(places)]
    pieces[-1] += following
    content, rest = take(pieces)
    assert rest == following
    assert (content.size, content.sha256) == (len(sent), hashlib.sha256(sent).hexdigest())
    assert not content.has_long_line


DOTS = [
    (b".\r\n", b""),
    (b"..\r\n.\r\n", b".\r\n"),
    (b"...\r\n.\r\n", b"..\r\n"),
    (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
    (b".a\r\n.\r\n", b"a\r\n"),
    (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
    (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
    (b" .\r\n.\r\n", b" .\r\n"),
    (b". \r\n.\r\n", b" \r\n"),
]
"""On the wire, and what it stands for (RFC 5321 section 4.5.2)."""


@pytest.mark.parametrize(("wire", "meant"), DOTS)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_dots(wire: bytes, meant: bytes, step: int) -> None:
    """A dot that begins a line is taken off; the end is a dot alone."""
    content, rest = take([wire[at : at + step] for at in range(0, len(wire), step)])
    assert rest == b""
    assert content.sha256 == hashlib.sha256(meant).hexdigest()


ENDS = [
    one + b"." + other
    for one in (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\r")
    for other in (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\r")
    if (one, other) != (b"\r\n", b"\r\n")
] + [b"\r\n\0.\r\n\n", b"\r\n.\0\r\n\r\r\n", b"\r\n.\r\r\n", b"\r\n\n.\r\n"]
"""What somebody else might take for the end of a mail (CVE-2023-51764, -51765, -51766)."""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_smuggling(end: bytes, step: int) -> None:
    """Nothing ends a mail but the one end: a CR or LF that stands alone makes it no mail at all."""
    wire = b"Subject: x\r\n\r\nbody" + end + b"MAIL FROM:<a@example.org>\r\n"
    content = Content(MOST)
    with pytest.raises(ContentError, match="CR LF"):  # noqa: PT012 - some piece of it raises
        for at in range(0, len(wire), step):
            assert content.take(wire[at : at + step]) is None
        content.take(b"\r\n.\r\n")


@pytest.mark.parametrize(("size", "is_long"), [(998, False), (999, True), (5000, True)])
@pytest.mark.parametrize("step", [7, 10_000])
def test_long_lines(size: int, is_long: bool, step: int) -> None:
    """A line has at most 998 octets and its end; the rest of one that has more is not kept."""
    wire = b"a" * size + b"\r\n.\r\n" if step > size else b"short\r\n" + b"a" * size + b"\r\n.\r\n"
    content, rest = take([wire[at : at + step] for at in range(0, len(wire), step)])
    assert rest == b""
    assert content.has_long_line == is_long


@pytest.mark.parametrize(("size", "is_long"), [(998, False), (999, True)])
@pytest.mark.parametrize("before", [b"", b"short\r\n"])
def test_long_lines_with_a_dot(size: int, is_long: bool, before: bytes) -> None:
    """The dot that is put before another one does not count (RFC 5321 section 4.5.3.1.6)."""
    mail = before + b"." + b"a" * (size - 1) + b"\r\n"
    content, rest = take([on_the_wire(mail)])
    assert (rest, content.size) == (b"", len(mail))
    assert content.has_long_line == is_long


def test_the_end_of_a_long_line() -> None:
    """A dot that follows a line's first thousand octets begins no line."""
    content, rest = take([b"a" * 1500, b".\r\n.", b"\r\n"])
    assert rest == b""
    assert content.has_long_line
    content, rest = take([b"a" * 1500 + b"\r", b"\n", b".\r\n"])
    assert rest == b""


def test_too_large() -> None:
    """Of a mail that is too large the rest is thrown away until its end, but not for ever."""
    line = b"a" * 98 + b"\r\n"
    content, rest = take([line * 10, line * 10, b".\r\n"], most=1500)
    assert rest == b""
    assert content.is_too_large
    content, _ = take([line * 15], most=1500)
    assert not content.is_too_large
    with pytest.raises(TooLargeError, match="at most 1500 octets"):
        take([line * 100] * (MOST_EXCESS // 9000), most=1500)
    with pytest.raises(TooLargeError, match="at most 1500 octets"):
        take([b"a" * 10_000] * (MOST_EXCESS // 9000), most=1500)


@pytest.mark.parametrize("alone", [b"x\n", b"x\n.\n", b"\n", b"x\ry", b"\r\r"])
def test_no_end_of_a_line(alone: bytes) -> None:
    """Whoever ends lines in another way learns it at once: such a mail would never have an end."""
    with pytest.raises(ContentError, match="CR LF"):
        Content(MOST).take(alone)
