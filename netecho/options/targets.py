"""Targets and listeners: given as a URL, or as its parts in flags, they end as the same `Target`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from netecho.errors import UsageError
from netecho.plans import LOOPBACK, Location, Target

if TYPE_CHECKING:
    from netecho.protocols._contract import Adapter


def resolve_target(text: str | None, port: int | None, proto: str | None, tls: bool) -> Target:
    """Return the target of a client: `text` is a URL, a host or a path, and the other arguments complete it.

    Without any of them, it is the server that `netecho serve` starts by default. Imports the protocol, and
    with it Twisted.

    Raises:
        UsageError: the parts contradict each other, or do not name one peer.
    """
    location = Location(host=LOOPBACK) if text is None else Location.parse(text)
    adapter, secure = _protocol(location, text, proto, tls)
    if location.path is not None and port is not None:
        raise UsageError(f"{text} is a path, and a path has no port")
    if location.port is not None and port is not None:
        raise UsageError(f"the port is given twice: in {text}, and as {port}")
    target = _complete(location, text, adapter, secure, host=None, port=port)
    if target.path is None and target.host == "*":
        raise UsageError(f"{text} is every address of a machine: say which host to talk to")
    if target.path is None and target.port == 0:
        raise UsageError("port 0 cannot be talked to")
    return target


def resolve_own_server(proto: str | None, tls: bool) -> Target:
    """Return the target of a bench that starts a server of its own; its port or path is known only then.

    Raises:
        UsageError: the protocol does not exist, or has no form with TLS.
    """
    adapter, secure = _protocol(Location(), None, proto, tls)
    return _target(adapter, secure, path="" if adapter.default_port is None else None)


def resolve_listeners(
    urls: Sequence[str], host: str | None, port: int | None, proto: str | None, tls: bool
) -> tuple[Target, ...]:
    """Return where to listen: at each URL, or at one `host` and `port`.

    A URL without a host or port takes `host` (loopback when not given) and `port` (the protocol's own
    when not given). `*` is every address of the machine, of IPv6 and IPv4. Imports the protocols, and
    with them Twisted.

    Raises:
        UsageError: the parts contradict each other, or a part is of no use to any listener.
    """
    if host is not None:
        alone = Location.parse(host)
        if alone.host is None or alone != Location(host=alone.host):
            raise UsageError(f"--host {host} is not a host or address alone")
        host = alone.host
    texts: list[str | None] = [*urls] or [None]
    locations = [Location() if text is None else Location.parse(text) for text in texts]
    if host is not None and all(location.host or location.path for location in locations):
        raise UsageError(f"--host {host} is of no use: every listener says where it is")
    if port is not None and all(location.port is not None or location.path for location in locations):
        raise UsageError(f"--port {port} is of no use: every listener says where it is")
    targets = []
    for location, text in zip(locations, texts, strict=True):
        adapter, secure = _protocol(location, text, proto, tls)
        target = _complete(location, text, adapter, secure, host=host or LOOPBACK, port=port)
        if target.resource:
            raise UsageError(
                f"{text} has a path, and a listener answers for all: write {target.scheme}://HOST:PORT"
            )
        targets.append(dataclasses.replace(target, host="::") if target.host == "*" else target)
    return tuple(targets)


def _protocol(location: Location, text: str | None, proto: str | None, tls: bool) -> tuple[Adapter, bool]:
    """Return the adapter of the protocol that a location and flags name, and whether in its secure form.

    Raises:
        UsageError: they contradict each other, or there is no such protocol or form.
    """
    from netecho import protocols

    scheme = location.scheme
    if text is not None and text.endswith(":") and (word := text.removesuffix(":")) in protocols.schemes():
        raise UsageError(f"{text} says only how: write {_form_of(word)}")
    is_path = scheme is None and location.path is not None and location.host is None
    if is_path and (proto is None or protocols.load(proto).default_port is not None):
        scheme = "unix"
    if scheme is None:
        adapter, secure = protocols.for_scheme(protocols.load(proto or "tcp").name)
    else:
        adapter, secure = protocols.for_scheme(scheme)
        if proto is not None and proto != adapter.name:
            raise UsageError(f"{text} is {adapter.name}, and --proto says {proto}")
    if tls and adapter.secure_scheme is None:
        raise UsageError(f"{adapter.name} has no form with TLS: leave --tls out")
    return adapter, secure or tls


def _form_of(scheme: str) -> str:
    """Return how a URL with this scheme is written."""
    from netecho import protocols

    return f"{scheme}:/path" if scheme in protocols.of_paths() else f"{scheme}://HOST:PORT"


def _complete(
    location: Location,
    text: str | None,
    adapter: Adapter,
    secure: bool,
    *,
    host: str | None,
    port: int | None,
) -> Target:
    scheme = (adapter.secure_scheme if secure else None) or adapter.name
    if adapter.default_port is None:
        if location.host is not None or location.port is not None or not location.path:
            raise UsageError(f"{adapter.name} takes a path: write {adapter.name}:/path")
        return _target(adapter, secure, path=location.path)
    resource = location.path or ""
    if location.query is not None:
        resource = f"{resource or '/'}?{location.query}"
    if resource not in ("", "/") and not adapter.has_resources:
        raise UsageError(f"{text} has a path, which {adapter.name} does not take: write {scheme}://HOST:PORT")
    host = location.host or host
    if host is None:
        raise UsageError(f"{text} has no host: write {scheme}://HOST:PORT")
    if host.isdecimal():  # the system would take it for an IPv4 address in an archaic form
        raise UsageError(f"{host} is a number, not a host: a port follows one: {scheme}://HOST:{host}")
    if location.port is not None:
        port = location.port
    port = adapter.default_port if port is None else port
    # As in any URL (RFC 3986 section 2.5); what is in ASCII stays as it is.
    resource = re.sub(r"[^\x00-\x7f]+", lambda found: quote(found[0]), resource)
    resource = resource.removeprefix("/") and resource
    return _target(adapter, secure, host=host, port=port, resource=resource)


def _target(adapter: Adapter, secure: bool, **where: Any) -> Target:
    """Return a target, with what all rooms need to know of its protocol."""
    from netecho.protocols._contract import Kind

    return Target(
        (adapter.secure_scheme if secure else None) or adapter.name,
        adapter.name,
        secure,
        upgrades=adapter.upgrades,
        is_dtls=secure and adapter.kind is Kind.DATAGRAM,
        **where,
    )
