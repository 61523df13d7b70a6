"""What a server answers to a request to upgrade: that it does, or in so many words why it does not."""

from __future__ import annotations

from typing import Final

from websockets.http11 import Response
from websockets.streams import StreamReader

MOST_HEAD: Final = 64 << 10
"""Bytes of an answer's head, with those of the interim ones before it."""
_MOST_INTERIM: Final = 16
_UPGRADED: Final = 101
_NO_END: Final = "the server's answer has no end"


class NoAnswerError(Exception):
    """What the server says is no answer."""


class Answer:
    """The answer as far as it has come: its head alone, as the body of a refusal may have no end."""

    def __init__(self) -> None:
        self._size = 0
        self._interim = 0
        self._begin(b"")

    def _begin(self, data: bytes) -> None:
        self._came = data
        self._reader = StreamReader()
        self._reader.feed_data(data)
        reader = self._reader
        # Without what is for answers of proxies alone, the body would be waited for.
        self._parser = Response.parse(reader.read_line, reader.read_exact, reader.read_to_eof, proxy=True)

    def take(self, data: bytes) -> tuple[Response, bytes] | None:
        """Take some more; return the answer with all that has come of and behind it, if its head has ended.

        Raises:
            NoAnswerError: this is none.
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
                # The library names what is wrong by errors of many kinds.
                raise NoAnswerError(f"the server speaks no WebSocket: {error.__cause__ or error}") from error
            else:
                if self._size > MOST_HEAD:
                    raise NoAnswerError(_NO_END)
                return None
            if response.status_code >= 200 or response.status_code == _UPGRADED:
                return response, self._came
            # It says that the answer will come (RFC 9110 section 15.2).
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                raise NoAnswerError(_NO_END)
            self._begin(bytes(self._reader.buffer))


def refusal(response: Response) -> str | None:
    """Return in words that an answer is none that lets us in, and what may help; `None`: it does."""
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
