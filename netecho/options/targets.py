"""Whom to talk to and where to listen: a URL, or its parts in flags, both ending as the same `Target`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from netecho.errors import UsageError
from netecho.plans import (
    LOOPBACK,
    Location,
    MailPlan,
    Mode,
    MultiplexPlan,
    ReplyMode,
    RequestPlan,
    Target,
)

if TYPE_CHECKING:
    from netecho.protocols._contract import Adapter

MOST_SIZE: Final = 128 << 20
"""Bytes of a message on any protocol: it is made and compared as a whole, in memory."""


def resolve_target(text: str | None, port: int | None, proto: str | None, tls: bool) -> Target:
    """Return whom to talk to: `text` is a URL, a host or a path, and the others complete it.

    Without any, it is the server that `netecho serve` starts by default. Imports the protocol, and
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


def resolve_request(
    adapter: Adapter, method: str | None, headers: Sequence[str], body: str | None, http2: bool
) -> RequestPlan | None:
    """Return what the flags for HTTP requests ask for; `None` for a protocol that has none.

    Raises:
        UsageError: they are no request, or of no use.
    """
    if not adapter.has_requests:
        given: list[tuple[str, object]] = [("--method", method), ("--body", body), ("--http2", http2)]
        if not adapter.begins_with_request:
            given.append(("--header", headers))
        for flag, value in given:
            if value:
                words = _those(lambda one: one.has_requests)
                raise UsageError(f"{flag} is for requests: add --proto {words}")
        return RequestPlan("GET", tuple(headers), upgrades=True) if headers else None
    if http2 and "h2" not in adapter.alpn:
        words = _those(lambda one: one.has_requests and "h2" in one.alpn)
        raise UsageError(f"--http2 is for --proto {words}: {adapter.name} is another version of HTTP")
    return RequestPlan("POST" if method is None else method, tuple(headers), body, http2)


def resolve_mail(
    adapter: Adapter, sender: str | None, recipient: str | None, ehlo: str | None
) -> MailPlan | None:
    """Return what the flags for mails ask for; `None` for a protocol that has none.

    Raises:
        UsageError: they are no addresses, or of no use.
    """
    if not adapter.has_envelopes:
        for flag, value in (("--from", sender), ("--to", recipient), ("--ehlo", ehlo)):
            if value is not None:
                words = _those(lambda one: one.has_envelopes)
                raise UsageError(f"{flag} is for mails: add --proto {words}")
        return None
    told = {"sender": "" if sender == "<>" else sender, "recipient": recipient, "ehlo": ehlo}
    return MailPlan(**{name: value for name, value in told.items() if value is not None})


def size_of(request: RequestPlan | None, adapter: Adapter, size: int | None) -> int:
    """Return how many bytes each message has, if -l says `size` of it, or nothing.

    Raises:
        UsageError: it says one thing, and --body another.
    """
    content = None if request is None else request.message
    if content is not None:
        if size is not None:
            raise UsageError("--body and -l/--size exclude each other: a body has its own size")
        return len(content)
    if size is not None:
        return size
    return 0 if request is not None and not request.has_content else adapter.default_size


def _those(have: Callable[[Adapter], object]) -> str:
    """Return the words of the protocols that have something, as advice names them: `smtp or ws`."""
    from netecho import protocols

    *others, last = [name for name in protocols.names() if have(protocols.load(name))]
    return f"{', '.join(others)} or {last}" if others else last


def resolve_own_server(proto: str | None, tls: bool) -> Target:
    """Return the target of a bench that starts a server of its own: where exactly is found out later.

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
    """Return the protocol that a location and the flags together stand for, and if it is secure."""
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
    resource = resource.removeprefix("/") and resource
    return _target(adapter, secure, host=host, port=port, resource=resource)


def _target(adapter: Adapter, secure: bool, **where: Any) -> Target:
    """Return a target with what its protocol has everybody know of it."""
    from netecho.protocols._contract import Kind

    return Target(
        (adapter.secure_scheme if secure else None) or adapter.name,
        adapter.name,
        secure,
        upgrades=adapter.upgrades,
        is_dtls=secure and adapter.kind is Kind.DATAGRAM,
        **where,
    )


def check_reflection(adapters: Iterable[Adapter], hmac_key: str | None, stateful: bool = False) -> None:
    """Check that one of the protocols reflects, if flags for reflectors are given.

    Raises:
        UsageError: none does.
    """
    given = [flag for flag, value in (("--hmac-key", hmac_key), ("--stateful", stateful)) if value]
    if given and not any(adapter.reflects for adapter in adapters):
        words = _those(lambda one: one.reflects)
        raise UsageError(f"{given[0]} is for reflectors: add --proto {words}")


def check_addresses(adapters: Sequence[Adapter], targets: Sequence[Target]) -> None:
    """Check that no two protocols are to share an address: ports of TCP are others than those of UDP.

    Raises:
        UsageError: two are.
    """
    fixed = [
        (adapter.takes_proxy, target.host, target.port)
        for adapter, target in zip(adapters, targets, strict=True)
        if target.path is None and target.port
    ]
    if len(set(fixed)) < len(fixed):
        raise UsageError("the same address is to be listened on twice")


def check_proxy(adapters: Iterable[Adapter], flag: str, given: bool) -> None:
    """Check that connections of each of the protocols can begin with a PROXY header, if `flag` was given.

    Raises:
        UsageError: one has none.
    """
    for adapter in adapters:
        if given and not adapter.takes_proxy:
            raise UsageError(f"{flag} is for stream connections, which {adapter.name} does not have")


def check_multiplex(adapter: Adapter, multiplex: MultiplexPlan, request: RequestPlan | None) -> None:
    """Check that a protocol can use streams, or log them, as it is asked to.

    Raises:
        UsageError: it cannot.
    """
    if multiplex.streams is not None:
        if not adapter.multiplexes:
            raise UsageError(f"--streams is for protocols that have many at once: {adapter.name} has not")
        if request is not None and "h2" in adapter.alpn and not request.http2:
            raise UsageError("--streams is for HTTP/2: add --http2")
    if multiplex.qlog is not None:
        check_qlog([adapter], multiplex.qlog)


def check_retry(adapters: Iterable[Adapter], wanted: bool) -> None:
    """Check that one of the protocols can have peers prove their addresses first, if that is wanted.

    Raises:
        UsageError: none can.
    """
    if wanted and not any(adapter.retries for adapter in adapters):
        words = _those(lambda one: one.retries)
        raise UsageError(f"--quic-retry is for QUIC, which no listener speaks: add --proto {words}")


def check_qlog(adapters: Iterable[Adapter], directory: str | None) -> None:
    """Check that one of the protocols writes what it does to a directory, if one is given, and that it can.

    Raises:
        UsageError: none does, or there is no such directory, or nobody may write to it.
    """
    if directory is None:
        return
    if not any(adapter.has_qlog for adapter in adapters):
        raise UsageError("--qlog is for protocols that write down what they do, which this one does not")
    if not os.path.isdir(directory):
        raise UsageError(f"--qlog {directory}: there is no such directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"--qlog {directory}: this directory cannot be written to")


def check_replies(adapters: Iterable[Adapter], reply: ReplyMode) -> None:
    """Check that each of the protocols can answer so.

    Raises:
        UsageError: one cannot.
    """
    for adapter in adapters:
        if reply not in adapter.replies:
            words = ", ".join(mode for mode in ReplyMode if mode in adapter.replies)
            raise UsageError(f"{adapter.name} cannot answer with --reply {reply}: it takes {words}")


def check_bounds(adapters: Iterable[Adapter], max_message: int | None) -> None:
    """Check that one of the protocols bounds its messages, if a bound is given.

    Raises:
        UsageError: none does.
    """
    if max_message is not None and not any(adapter.bounds_messages for adapter in adapters):
        words = _those(lambda one: one.bounds_messages)
        raise UsageError(f"--max-message is for protocols that bound messages: add --proto {words}")


def check_mode(adapter: Adapter, mode: Mode, size: int | None) -> None:
    """Check that a protocol has connections to open, if that is what is measured, and nothing to send.

    Raises:
        UsageError: it has none, or a size of messages was asked for.
    """
    if mode is Mode.EXCHANGE:
        return
    from netecho.protocols._contract import Kind

    if adapter.kind is Kind.DATAGRAM and (mode is Mode.CONNECT or adapter.secure_scheme is None):
        raise UsageError(f"--mode {mode} is for protocols that connect, which {adapter.name} does not")
    if mode is Mode.CONNECT and adapter.secure_scheme == adapter.name:
        raise UsageError(f"{adapter.name} connects by its handshake: write --mode {Mode.HANDSHAKE}")
    if size is not None:
        raise UsageError(f"-l/--size is of no use with --mode {mode}, which sends no messages")


def check_size(adapter: Adapter, size: int, flag: str) -> None:
    """Check that a protocol can carry messages of `size` bytes, which `flag` asked for.

    Raises:
        UsageError: it cannot.
    """
    least, most = adapter.minimum_size, min(adapter.maximum_size or MOST_SIZE, MOST_SIZE)
    if size < least:
        unit = "byte" if least == 1 else "bytes"
        raise UsageError(f"{flag}: a message on {adapter.name} has at least {least} {unit}, not {size}")
    if size > most:
        raise UsageError(f"{flag}: a message on {adapter.name} has at most {most} bytes, not {size}")
