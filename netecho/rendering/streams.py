"""Writing text to streams that may be a terminal, a pipe whose reader has gone, or closed from the start.

Nothing here needs Rich; `console` has what does.
"""

from __future__ import annotations

import contextlib
import os
from typing import IO, Final

from netecho.errors import OutputError

_ASCII: Final = str.maketrans(
    {"µ": "u", "·": "-", "✔": "*", "✘": "!", "—": "-", "▏": "|", "█": "#", "─": "-", "…": "~"}
)
_NAMES: Final = {"<stdout>": "standard output", "<stderr>": "standard error"}
"""What Python calls them, and people."""


def escape(text: object) -> str:
    r"""Return text that came from elsewhere so that a terminal shows it and does not obey it.

    Control characters, line ends among them, become `\x1b`-like escapes; so do the characters that
    turn the direction of writing.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def speaks_unicode(stream: IO[str] | None) -> bool:
    """Return whether characters beyond ASCII can be written to `stream`."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").startswith("utf")


def encodable(text: str, stream: IO[str]) -> str:
    r"""Return `text` in characters that `stream` has: `µ` as `u`, and others as `\xe9`-like escapes."""
    if speaks_unicode(stream):
        # A file name that is not valid text has lone surrogates, which no encoding takes.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    encoding: str = stream.encoding  # type: ignore[attr-defined]  # those with an encoding have the attribute
    return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)


def wrapped(sentence: str, stream: IO[str] | None) -> str:
    """Return a sentence in lines that end between words, if `stream` is a terminal too narrow for it."""
    if stream is None or stream.closed or not stream.isatty():
        return sentence
    columns = 0
    with contextlib.suppress(OSError):
        columns = os.get_terminal_size(stream.fileno()).columns
    if not 0 < columns < len(sentence):  # a terminal need not know how wide it is
        return sentence
    import textwrap

    return textwrap.fill(sentence, columns, break_long_words=False, break_on_hyphens=False)


def write_out(text: str, stream: IO[str] | None) -> bool:
    """Write `text` and flush; return whether anybody is still there to read it.

    When the reader has gone, the stream leads to nowhere from then on, so that neither what is written
    later nor the interpreter at its end complains.

    Raises:
        OutputError: it cannot be written for another reason, such as a full disk.
    """
    if stream is None or stream.closed:
        return False
    try:
        stream.write(encodable(text, stream))
        stream.flush()
    except BrokenPipeError:
        lead_nowhere(stream)
        return False
    except OSError as error:
        raise failed(stream, error) from None
    return True


def failed(stream: IO[str], error: OSError) -> OutputError:
    """Return the error that a stream cannot be written; it leads to nowhere from then on."""
    lead_nowhere(stream)
    name = getattr(stream, "name", "the output")
    return OutputError(error, _NAMES.get(name, name))


def lead_nowhere(stream: IO[str]) -> None:
    """Have what is written to a stream from now on go nowhere.

    What it still holds is flushed when the process ends, and must go somewhere.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
