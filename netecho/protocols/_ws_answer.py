"""A server's answer to the request to upgrade to WebSocket, and why a refusal was given."""

from __future__ import annotations

from typing import Final

from websockets.http11 import Response
from websockets.streams import StreamReader

MOST_HEAD: Final = 64 << 10
"""Bytes of the largest head of an answer, those of interim answers before it included."""
_MOST_INTERIM: Final = 16
_UPGRADED: Final = 101
_NO_END: Final = "the server's answer has no end"


class NoAnswerError(Exception):
    """What the server sends is not an answer of HTTP."""


class Answer:
    """Parses the head of an answer as it comes; the body of a refusal is not waited for."""

    def __init__(self) -> None:
        self._size = 0
        self._interim = 0
        self._begin(b"")

    def _begin(self, data: bytes) -> None:
        self._came = data
        self._reader = StreamReader()
        self._reader.feed_data(data)
        reader = self._reader
        # `proxy=True` stops after the head: otherwise the body would be waited for.
        self._parser = Response.parse(reader.read_line, reader.read_exact, reader.read_to_eof, proxy=True)

    def take(self, data: bytes) -> tuple[Response, bytes] | None:
        """Take more bytes; return the answer, and all bytes from its first on, once its head is complete.

        Raises:
            NoAnswerError: it is malformed or too large.
        """
        self._size += len(data)
        self._came += data
        self._reader.feed_data(data)
        while True:
            try:
                next(self._parser)
            except StopIteration as ended:
                response: Response = ended.value
            except Exception as error:
                # The library raises exceptions of many kinds for malformed answers.
                raise NoAnswerError(f"the server speaks no WebSocket: {error.__cause__ or error}") from error
            else:
                if self._size > MOST_HEAD:
                    raise NoAnswerError(_NO_END)
                return None
            if response.status_code >= 200 or response.status_code == _UPGRADED:
                return response, self._came
            # It is an interim answer (RFC 9110 section 15.2).
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                raise NoAnswerError(_NO_END)
            self._begin(bytes(self._reader.buffer))


def refusal(response: Response) -> str | None:
    """Return what a refusal says, and what may help; `None` if the answer accepts the upgrade."""
    status = response.status_code
    if status == _UPGRADED:
        return None
    said = f"the server answered {status} {response.reason_phrase}".strip()
    locations = response.headers.get_all("Location")
    if 300 <= status < 400 and locations:
        return f"{said}: what was asked for is at {locations[0]}"
    if status == 401:
        return f"{said}: it asks who we are, which --header 'Authorization: ...' can tell"
    if status == 429 or status >= 500:
        return said
    return f"{said}: there is no WebSocket at that path"
