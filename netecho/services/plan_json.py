"""Whole plans as JSON, for a worker process that carries one out.

A result says less of its plan (`to_json` of the plan itself): no names of files with keys, for one.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

_Plan = TypeVar("_Plan")


def to_json(plan: Any) -> dict[str, Any]:
    """Return a plan, which is a dataclass of plain values, of tuples, and of others like it."""
    return dataclasses.asdict(plan)


def from_json(kind: type[_Plan], plan: Mapping[str, Any]) -> _Plan:
    """Read back what `to_json` gave of a plan of that kind, after it has been through JSON.

    Raises:
        UsageError: it makes no sense, which the plan itself says.
    """
    kinds = typing.get_type_hints(kind)
    return kind(**{name: _read(kinds[name], value) for name, value in plan.items()})


def _read(kind: Any, value: Any) -> Any:
    """Return a value as the annotation `kind` has it."""
    if value is None:
        return None
    if typing.get_origin(kind) in (types.UnionType, typing.Union):  # something or `None`
        [kind] = [one for one in typing.get_args(kind) if one is not type(None)]
    if typing.get_origin(kind) is tuple:
        return tuple(_read(typing.get_args(kind)[0], one) for one in value)
    if dataclasses.is_dataclass(kind):
        return from_json(typing.cast("type[Any]", kind), value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return value
