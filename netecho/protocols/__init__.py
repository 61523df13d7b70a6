"""One file per `--proto` word: how a message goes out on that protocol and how its echo comes back.

Every module here whose name has no leading underscore is a protocol, found by its file name, so that
listing the protocols imports none of them. Each exports `adapter`, which provides
`netecho.protocols._contract.Adapter`; the rest of netecho knows protocols through that alone.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pathlib
from typing import TYPE_CHECKING

from netecho.errors import UsageError

if TYPE_CHECKING:
    from netecho.plans import Target
    from netecho.protocols._contract import Adapter


@functools.cache
def names() -> tuple[str, ...]:
    """Return the words that `--proto` takes, in order, without importing any protocol."""
    here = pathlib.Path(__file__).parent
    return tuple(sorted(file.stem for file in here.glob("[a-z]*.py")))


@functools.cache
def schemes() -> tuple[str, ...]:
    """Return the schemes that a URL may have, in order, without importing any protocol."""
    secure = {value for _, word, value in _written() if word == "secure_scheme" and isinstance(value, str)}
    return tuple(sorted({*names(), *secure}))


def of_paths() -> frozenset[str]:
    """Return the protocols that have a path in place of a host and port, without importing any."""
    return frozenset(name for name, word, value in _written() if word == "default_port" and value is None)


@functools.cache
def _written() -> tuple[tuple[str, str, object], ...]:
    """Return all named constants in the protocols' files: of each the protocol, the name, and the value.

    They are read from the text of the files: completion in a shell cannot wait for all their imports.
    """
    here = pathlib.Path(__file__).parent
    found: list[tuple[str, str, object]] = []
    for name in names():
        for node in ast.walk(ast.parse((here / f"{name}.py").read_text("utf-8"))):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(word)], value=ast.Constant(value))
                    | ast.AnnAssign(target=ast.Name(word), value=ast.Constant(value))
                    | ast.keyword(arg=str(word), value=ast.Constant(value))
                ):
                    found.append((name, word, value))
    return tuple(found)


def load(name: str) -> Adapter:
    """Import and return the adapter of a protocol. The reactor must be installed by now.

    Raises:
        UsageError: there is no such protocol.
    """
    if name not in names():
        raise UsageError(f"unknown protocol {name!r}: it is one of {', '.join(names())}")
    adapter: Adapter = importlib.import_module(f"{__name__}.{name}").adapter
    return adapter


def for_target(target: Target) -> Adapter:
    """Import and return the adapter of a target's protocol, in the form that the target has.

    Raises:
        UsageError: there is no such protocol.
    """
    adapter = load(target.protocol)
    return (adapter.secured if target.secure else None) or adapter


def for_scheme(scheme: str) -> tuple[Adapter, bool]:
    """Return the adapter that a URL's scheme stands for, and whether it is in its secure form.

    A scheme is a protocol's own name, or the name of its secure form (`tls` is tcp's). For protocols that are
    never in clear the two are the same.

    Raises:
        UsageError: no protocol has this scheme.
    """
    if scheme in names():
        adapter = load(scheme)
        return adapter, adapter.secure_scheme == scheme
    for name in names():
        adapter = load(name)
        if adapter.secure_scheme == scheme:
            return adapter.secured or adapter, True
    secure = {adapter.secure_scheme for adapter in map(load, names()) if adapter.secure_scheme}
    words = [*names(), *sorted(secure.difference(names()))]
    raise UsageError(f"unknown scheme {scheme!r}: it is one of {', '.join(words)}")
