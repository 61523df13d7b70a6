"""What all flags share: the panels that --help shows them in, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

from netecho.errors import UsageError

_T = TypeVar("_T")

NETWORK, TLS, LIMITS, LOAD, OUTPUT = "Sockets", "TLS", "Limits", "What is sent", "Output"
REFLECTOR, REQUESTS, OPEN_LOOP = "Reflector", "HTTP", "Open loop"
OBJECTIVES, RESULTS = "Objectives", "Several results"
IMPAIRMENT, MAIL = "What goes wrong on purpose", "Mail"
"""The panels that help shows flags in."""


def read_by(parse: Callable[[str], _T]) -> Callable[[_T | str], _T]:
    """Return a Typer parser that leaves a default alone, and whose error names the flag."""

    def read(value: _T | str) -> _T:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def split_words(values: list[str] | None) -> tuple[str, ...]:
    """Return the words of a flag that may be repeated, separated by commas, or both."""
    return tuple(word for value in values or () for word in value.split(",") if word)
