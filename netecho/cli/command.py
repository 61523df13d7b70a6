"""A command whose flags are read without pydantic, by which Typer reads every flag, given or not.

To import pydantic, and to have it make an adapter for each of bench's sixty flags, takes a fifth of the
processor time of a short run. Almost always it would only call the flag's own parser, or leave the text as it
is: the exceptions are mistakes, and choices that are written in another case.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption

_UNREAD = object()
"""Stands for a value that Typer has to read after all."""


class Command(TyperCommand):
    """A command whose parameters read their values without pydantic where they can."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, --help among them."""
        return lightly(super().get_params(ctx))


def lightly(parameters: list[Any]) -> list[Any]:
    """Return parameters that Typer has made, changed so that they read values without pydantic.

    Their class is changed because Typer has no way to choose the class of the parameters that it makes.
    """
    for parameter in parameters:
        if type(parameter) is TyperOption:
            parameter.__class__ = Option
        elif type(parameter) is TyperArgument:
            parameter.__class__ = Argument
    return parameters


class Option(TyperOption):
    """An option that reads what it can by itself."""

    def get_runtime_param(self) -> Any:
        """Return what reads this option; Typer before 0.29 does not ask, and has no pydantic."""
        return _Reader(self.type_descriptor, super().get_runtime_param)


class Argument(TyperArgument):
    """An argument that reads what it can by itself."""

    def get_runtime_param(self) -> Any:
        """Return what reads this argument, as of `Option`."""
        return _Reader(self.type_descriptor, super().get_runtime_param)


class _Reader:
    """Reads the value of a flag, or has it read by Typer's own reader, which `ask_typer` makes."""

    def __init__(self, descriptor: Any, ask_typer: Callable[[], Any]) -> None:
        self.descriptor = descriptor
        self.ask_typer = ask_typer

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the flag's value; see `typer.core`.

        Raises:
            BadParameter: it is not valid.
        """
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        read = [self._read(one) for one in value] if several else self._read(value)
        if read is _UNREAD or (several and _UNREAD in read):
            return self.ask_typer().coerce(value, param=param, ctx=ctx)
        return read

    def _read(self, one: Any) -> Any:
        if (parse := self.descriptor.parameter_info.parser) is not None:
            return parse(one)
        kind = self.descriptor.annotation
        if kind in (str, list[str]):
            return one if isinstance(one, str) else _UNREAD
        if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
            return _UNREAD
        try:
            return kind(one)
        except ValueError:
            return _UNREAD
