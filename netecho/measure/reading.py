"""Takes values out of objects that came from a file or another process, and believes none of them.

What is not there raises `KeyError`, what is of another kind `TypeError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")
_LARGEST: Final = (1 << 63) - 1
"""Numbers in a file that are larger than any clock or counter gives are not believed."""


def checked(values: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """Return what is under a key, which is of that kind."""
    value = values[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is not of type {kind.__name__}")
    return value


def natural(values: Mapping[str, Any], key: str) -> int:
    """Return the count or time under a key: an integer that is not below 0."""
    value = checked(values, key, int)
    if isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise TypeError(f"{key} is not a count or a time")
    return value


def naturals(values: Mapping[str, Any], form: type[Any] | None = None) -> dict[str, int]:
    """Return the numbers in an object: all of them, or those among the fields of a dataclass `form`."""
    keys = values.keys() if form is None else [field.name for field in dataclasses.fields(form)]
    return {key: natural(values, key) for key in keys if form is None or key in values}
